"""Commands on single runs, in an open transaction: decided from the run as it is, guarded by what the decision saw."""

from __future__ import annotations

import sqlite3

from holdfast.core.control import LOOKS, Effect, Situation, decide
from holdfast.errors import StoreError
from holdfast.model.command import Order
from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Entry, Run
from holdfast.store.sqlite.ending import Change, cancel_children, end_waits
from holdfast.store.sqlite.reading import Listings
from holdfast.store.sqlite.rows import refuse_nul, text_of
from holdfast.store.sqlite.statements import Value, read_row, run


def obey(change: Change, tenant: Tenant, run_id: RunId, order: Order) -> Run:
    """Let a run obey a command; the run as it is then.

    Raises RunNotFound, RunFinished, CommandRefused; ValueError for a text that cannot be stored.
    """
    refuse_nul(order.actor, order.note)
    listings = Listings(change.connection)
    before = listings.get_run(tenant, run_id)
    seen = read_row(change.connection, "command_seen", run_id=run_id, command_id=order.id) == (1,)
    situation = Situation(now_ms=change.now_ms, run=before)
    if isinstance(order.command, LOOKS):
        situation = listings.situation(before, change.now_ms)
    effect = None if seen else decide(situation, order)
    if effect is None:
        return before
    _write(change, before, effect, order)
    if effect.tells_holder(before):
        change.live.append(run_id)
    change.work |= effect.after.ready_ms is not None
    if effect.ends(before):
        end_waits(change, [run_id])
        cancel_children(change, [run_id])
    return effect.after


def _write(change: Change, before: Run, effect: Effect, order: Order) -> None:
    connection, after = change.connection, effect.after
    if effect.entry is not None:
        _settle(connection, before.id, effect.entry)
    for closing in effect.closings:
        run(
            connection,
            "command_wait",
            run_id=before.id,
            key=closing.key,
            outcome=closing.outcome.value,
            result=text_of(closing.result),
            error=text_of(closing.error),
            child_status=None if closing.child_status is None else closing.child_status.value,
            updated_ms=after.updated_ms,
        )
    moved = run(
        connection,
        "command_move",
        run_id=before.id,
        tenant=before.tenant,
        status=after.status.value,
        keeps_error=after.error is not None,
        from_status=before.status.value,
        from_epoch=before.epoch,
        from_worker=before.worker,
        **{name: getattr(after, name) for name in _COLUMNS},
    )
    if moved != 1:
        raise StoreError(f"run {before.id} was moved by others while it was locked; nothing was done")
    signs: dict[str, Value] = {"actor": order.actor, "note": order.note, "command_id": order.id, "key": effect.key}
    run(connection, "command_sign", run_id=before.id, **signs)


_COLUMNS = (
    "status_reason",
    "terminal_reason",
    "queue",
    "priority",
    "worker",
    "epoch",
    "crashes",
    "cancel_requested",
    "cancel_compensates",
    "pause_requested",
    "ready_ms",
    "wake_ms",
    "kept_wake_ms",
    "deadline_ms",
    "finalized_ms",
    "updated_ms",
)


def _settle(connection: sqlite3.Connection, run_id: RunId, entry: Entry) -> None:
    refuse_nul(entry.key, entry.name, entry.settled_by)
    run(
        connection,
        "command_settle",
        run_id=run_id,
        key=entry.key,
        seq=entry.seq,
        kind=entry.kind.value,
        name=entry.name,
        entry_status=entry.status.value,
        result=text_of(entry.result),
        error=text_of(entry.error),
        attempts=entry.attempts,
        updated_ms=entry.completed_ms,
        settled_by=entry.settled_by,
    )
