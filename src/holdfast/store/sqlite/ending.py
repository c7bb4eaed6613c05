"""What one transaction did that listeners should hear of, and what follows when a wait is closed from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from holdfast.model.ids import RunId, UnixMs
from holdfast.store.port import Hint
from holdfast.store.sqlite.rows import PARENT_WAITS
from holdfast.store.sqlite.statements import as_json, decode, read_row, run, sql


@dataclass
class Change:
    """One transaction under way, at the moment ``now_ms``."""

    connection: sqlite3.Connection
    now_ms: UnixMs
    work: bool = False
    signals: bool = False
    ended: list[RunId] = field(default_factory=list[RunId])
    live: list[RunId] = field(default_factory=list[RunId])

    def hint(self) -> Hint:
        """What listeners should hear once it is committed."""
        return Hint(work=self.work, signals=self.signals, ended=tuple(self.ended), live=tuple(dict.fromkeys(self.live)))


class Entangled(Exception):
    """Runs of one batch touch each other, so that the order in which they are recorded matters."""


def end_waits(change: Change, run_ids: Sequence[RunId], *, batch: Collection[RunId] = ()) -> None:
    """Close what these runs, which have just ended, waited for, and the waits of those that waited for them.

    ``batch`` are the other runs of the transaction: raises Entangled if one of them waited.
    """
    connection, ids = change.connection, as_json(run_ids)
    row = read_row(connection, "end_waits", run_ids=ids)
    has_own, parents = row if row is not None else (0, "[]")
    if has_own:
        run(connection, "end_own_waits", run_ids=ids, now_ms=change.now_ms)
    if isinstance(parents, str) and parents != "[]":
        waits = decode(PARENT_WAITS, parents, "end_waits")
        waits.sort()
        if any(wait[1] in batch for wait in waits):
            raise Entangled
        rows = as_json([(wait[1], wait[2]) for wait in waits])
        run(connection, "end_parent_waits", rows=rows, now_ms=change.now_ms)
        wake(change, [wait[1:] for wait in waits], reason="child_ended")
    change.ended.extend(run_ids)


def wake(change: Change, waits: Sequence[tuple[RunId, str, int, int]], *, reason: str) -> None:
    """These waits (run id, key, held, in the line) were closed by others.

    A parked run becomes claimable, once, by the first of its waits; a held one's worker is told.
    """
    first: dict[RunId, str] = {}
    for run_id, key, held, in_line in waits:
        if held:
            change.live.append(run_id)
        elif not in_line:
            first.setdefault(run_id, key)
    if first:
        rows = as_json(list(first.items()))
        change.work |= run(change.connection, "wake_waiting", rows=rows, reason=reason, now_ms=change.now_ms) > 0
        run(change.connection, "wake_waiting_keys", rows=rows)


def cancel_children(change: Change, run_ids: Sequence[RunId]) -> None:
    """Ask for the children of these runs, which were just cancelled, to be cancelled, as each one's policy has it."""
    if not run_ids:
        return
    found = change.connection.execute(sql("cancel_children"), {"run_ids": as_json(run_ids), "now_ms": change.now_ms})
    for run_id, ready, held in found.fetchall():
        change.work |= ready == 1
        if held:
            change.live.append(run_id)
