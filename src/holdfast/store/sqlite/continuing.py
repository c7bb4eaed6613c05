"""Chains of runs: the commit in which a run ends and its successor begins, and the way to the last link of a chain."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from holdfast.model.commit import Continue
from holdfast.model.ids import RunId
from holdfast.store.sqlite.ending import Change, end_waits
from holdfast.store.sqlite.rows import refuse_nul
from holdfast.store.sqlite.statements import as_json, read_row, run

_HANDED_OVER: Final = (
    "commit_continue_attributes",
    "commit_continue_signals",
    "commit_continue_receipts",
    "commit_continue_waits",
    "commit_continue_children",
    "commit_continue_pause",
)


def continue_runs(change: Change, ending: Sequence[tuple[RunId, int, Continue]]) -> int:
    """End runs, start their successors and hand over what is theirs; how many passed the fence."""
    if not ending:
        return 0
    refuse_nul(*(move.successor_id for _, _, move in ending))
    connection = change.connection
    rows = as_json([(run_id, epoch, move.successor_id, move.input.decode()) for run_id, epoch, move in ending])
    ended = run(connection, "commit_continue", rows=rows, now_ms=change.now_ms)
    if ended < len(ending):
        return ended
    run(connection, "commit_continue_start", rows=rows, now_ms=change.now_ms)
    for statement in _HANDED_OVER:
        run(connection, statement, rows=rows, now_ms=change.now_ms)
    end_waits(change, [run_id for run_id, _, _ in ending])
    change.work = True
    return ended


def find_newest(connection: sqlite3.Connection, chain_id: RunId | None, run_id: RunId) -> RunId:
    """The last link of a chain; the run itself if there is none."""
    row = None if chain_id is None else read_row(connection, "find_newest", chain_id=chain_id)
    return run_id if row is None else RunId(str(row[0]))
