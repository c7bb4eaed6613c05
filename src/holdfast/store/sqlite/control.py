"""Commands on single runs, in an open transaction: decided from the run as it is, guarded by what the decision saw."""

from __future__ import annotations

import sqlite3

from holdfast.core.control import LOOKS, Effect, Situation, check_retry, check_source, decide, is_for_newest
from holdfast.errors import StoreError
from holdfast.model.command import Order, RunCopy
from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Entry, Run, Started
from holdfast.store.sqlite.commit import check_start
from holdfast.store.sqlite.continuing import find_newest
from holdfast.store.sqlite.ending import Change, cancel_children, end_waits
from holdfast.store.sqlite.reading import Listings
from holdfast.store.sqlite.rows import IDS, refuse_nul, text_of
from holdfast.store.sqlite.statements import Value, as_json, read_json, read_row, run


def obey(change: Change, tenant: Tenant, run_id: RunId, order: Order) -> Run:
    """Let a run obey a command; the run as it is then.

    Raises RunNotFound, RunFinished, CommandRefused; ValueError for a text that cannot be stored.
    """
    refuse_nul(order.actor, order.note)
    listings = Listings(change.connection)
    before = listings.get_run(tenant, run_id)
    if is_for_newest(before, order.command):
        run_id = find_newest(change.connection, before.chain_id, run_id)
        before = listings.get_run(tenant, run_id)
    if before.chain_id is None:
        seen = read_row(change.connection, "command_seen", run_id=run_id, command_id=order.id) == (1,)
    else:
        chain: dict[str, Value] = {"chain_id": before.chain_id, "command_id": order.id}
        seen = read_row(change.connection, "command_seen_in_chain", **chain) == (1,)
    situation = Situation(now_ms=change.now_ms, run=before)
    if isinstance(order.command, LOOKS):
        situation = listings.situation(before, change.now_ms)
    effect = None if seen else decide(situation, order)
    if effect is None:
        return before
    _write(change, before, effect, order)
    if effect.tells_holder(before):
        change.live.append(run_id)
    change.work |= effect.makes_work(before)
    if effect.ends(before):
        end_waits(change, [run_id])
        cancel_children(change, [run_id])
    return effect.after


def _write(change: Change, before: Run, effect: Effect, order: Order) -> None:
    connection, after = change.connection, effect.after
    if effect.entry is not None:
        _settle(connection, before.id, effect.entry)
    if effect.renamed:
        _rename(connection, before.id, effect.renamed)
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
        from_hash=before.definition_hash,
        seen_seq=effect.seen_seq,
        **{name: getattr(after, name) for name in _COLUMNS},
    )
    if moved != 1:
        raise StoreError(f"run {before.id} was moved by others while it was locked; nothing was done")
    signs: dict[str, Value] = {"actor": order.actor, "note": order.note, "command_id": order.id, "key": effect.key}
    signs["moved"] = None if effect.moved is None else as_json(effect.moved)
    run(connection, "command_sign", run_id=before.id, **signs)


_COLUMNS = (
    "status_reason",
    "version",
    "definition_hash",
    "code",
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
    "aside_until_ms",
    "deadline_ms",
    "finalized_ms",
    "updated_ms",
)


_RENAMES = ("command_rename_journal", "command_rename_waits", "command_rename_attempts", "command_rename_children")


def _rename(connection: sqlite3.Connection, run_id: RunId, renamed: dict[str, str]) -> None:
    refuse_nul(*renamed.values())
    pairs = as_json(renamed)
    for statement in _RENAMES:
        run(connection, statement, run_id=run_id, renamed=pairs)


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


def start_copy(change: Change, tenant: Tenant, copy: RunCopy) -> Started:
    """Start a run with records of another. Raises RunNotFound, CommandRefused, QuotaExceeded, ValueError."""
    refuse_nul(copy.id, copy.actor, copy.note, *copy.journal, *copy.waits)
    connection = change.connection
    source = Listings(connection).get_run(tenant, copy.source_id)
    if read_json(connection, "start_runs_known", IDS, run_ids=as_json([copy.id])):
        return Started(copy.id, created=False)
    check_source(source, copy)
    check_start(connection, tenant, copy.bytes_given)
    ids: dict[str, Value] = {"id": copy.id, "source_id": copy.source_id}
    params: dict[str, Value] = {"retry": copy.retry, "tenant": tenant, "input": text_of(copy.input)}
    params["from_hash"] = copy.definition_hash
    try:
        started = run(connection, "start_copy", **ids, **params, now_ms=change.now_ms)
    except sqlite3.IntegrityError as error:
        if "root_id" not in str(error):
            raise
        check_retry(source, again=True)
        raise
    if not started:
        check_retry(source, again=False)
        raise StoreError(f"run {source.id} was moved by others while it was read; nothing was done")
    replaced = as_json({key: result.decode() for key, result in copy.replaced.items()})
    changed = copy.input is not None or bool(copy.replaced)
    keys = as_json(copy.journal)
    run(connection, "start_copy_journal", **ids, keys=keys, replaced=replaced, changed=changed, actor=copy.actor)
    run(connection, "start_copy_waits", **ids, keys=as_json(copy.waits))
    run(connection, "start_copy_attributes", **ids, now_ms=change.now_ms)
    run(
        connection,
        "command_sign",
        run_id=copy.id,
        actor=copy.actor,
        note=copy.note,
        command_id=None,
        key=None,
        moved=None,
    )
    change.work = True
    return Started(copy.id, created=True)
