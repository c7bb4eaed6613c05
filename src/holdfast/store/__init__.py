"""Durable storage: the port, its adapters for SQLite and PostgreSQL, and the in-memory reference."""
