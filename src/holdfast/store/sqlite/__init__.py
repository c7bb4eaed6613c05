"""The SQLite store: the embedded default, one file, any number of threads and processes on one machine."""

from __future__ import annotations

from holdfast.store.sqlite.adapter import SqliteStore

__all__ = ["SqliteStore"]
