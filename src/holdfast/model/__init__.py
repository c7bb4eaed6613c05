"""Frozen records, ids, statuses and the transition table. Imports nothing of ours."""
