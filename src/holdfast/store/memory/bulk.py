"""Whether there is a bulk job to work on, without what ``Store.transact`` would import for it."""

from __future__ import annotations

import sqlite3

from holdfast.model.ids import UnixMs


def bulk_is_due(documents: sqlite3.Connection | None, now_ms: UnixMs) -> bool:
    """Whether a batch of a bulk job is due. None: nobody has used the tables yet."""
    due = "select 1 from bulk_jobs where status = 'running' and next_ms <= ? limit 1"
    return documents is not None and documents.execute(due, (now_ms,)).fetchone() is not None
