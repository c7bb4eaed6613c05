"""Whether there are bulk jobs, schedules and breakers to work on, without the imports of ``Store.transact``."""

from __future__ import annotations

import sqlite3

from holdfast.model.ids import UnixMs


def bulk_is_due(documents: sqlite3.Connection | None, now_ms: UnixMs) -> bool:
    """Whether a batch of a bulk job is due. None: nobody has used the tables yet."""
    due = "select 1 from holdfast_bulk_jobs where status = 'running' and next_ms <= ? limit 1"
    return documents is not None and documents.execute(due, (now_ms,)).fetchone() is not None


def next_tick(documents: sqlite3.Connection | None) -> UnixMs | None:
    """When to look next at a schedule."""
    found = None if documents is None else documents.execute("select min(due_ms) from holdfast_schedules").fetchone()[0]
    return None if found is None else UnixMs(found)


def next_breaker(documents: sqlite3.Connection | None) -> UnixMs | None:
    """When to look next at a breaker."""
    found = None if documents is None else documents.execute("select min(next_ms) from holdfast_breakers").fetchone()[0]
    return None if found is None else UnixMs(found)
