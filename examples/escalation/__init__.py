"""Notifications that escalate until somebody has read them."""
