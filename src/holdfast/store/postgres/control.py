"""Commands on single runs: one transaction each, decided from the locked row and guarded by what the decision saw."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw, Struct

from holdfast.core.control import LOOKS, Closing, Effect, Situation, check_retry, check_source, decide, is_for_newest
from holdfast.errors import RunNotFound, StoreError
from holdfast.model.command import Order, RunCopy
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import Entry, Run, Started
from holdfast.store.port import Hint
from holdfast.store.postgres.connection import Cursor, Document, Row
from holdfast.store.postgres.rows import (
    attempts_by_run,
    document,
    entries_by_run,
    id_array,
    quota_error,
    raw,
    waits_by_run,
)
from holdfast.store.postgres.session import Session, rows_of
from holdfast.store.postgres.statements import Params
from holdfast.store.records import run_from, transition_from


class _Replaced(Struct, gc=False):
    key: str
    result: Raw


class _ClosingRow(Struct, gc=False):
    key: str
    outcome: str
    result: Raw | None
    error: Raw | None
    child_status: str | None


def obey(session: Session, order: Order, run_id: RunId, params: Params) -> tuple[Run, Hint]:
    """Let a run obey a command; the run as it is then, and what listeners should hear.

    ``params`` are shard, now_ms and tenant. Raises RunNotFound, RunFinished, CommandRefused.
    """
    given = {**params, "id": run_id, "command_id": order.id, "ids": id_array([run_id]), "closed": False}

    def carry_out(cursor: Cursor, rows: list[Row]) -> tuple[Run, Hint]:
        if not rows:
            raise RunNotFound(run_id=run_id)
        run, which = _receiver(cursor, run_from(rows_of(cursor, "get_run", given)[0]), order, given)
        name = "command_seen" if run.chain_id is None else "command_seen_in_chain"
        now_ms, seen = rows_of(cursor, name, {**which, "chain_id": run.chain_id})[0]
        effect = None if seen else decide(_look(cursor, run, now_ms, order, which), order)
        if effect is None:
            return run, Hint()
        _write(cursor, run, effect, order, which)
        told = tell_waiters(cursor, [run.id], which) if effect.ends(run) else []
        children = _cancel_children(cursor, which) if effect.ends(run) else []
        return effect.after, _hint(run, effect, told, children)

    return session.transaction(("command_lock", given), carry_out)


def _receiver(cursor: Cursor, run: Run, order: Order, params: Params) -> tuple[Run, Params]:
    """Who obeys a command to this locked run, itself or the last link of its chain, which is locked then too."""
    which = params
    while is_for_newest(run, order.command):
        [(newest,)] = rows_of(cursor, "find_newest", {**params, "chain_id": run.chain_id})
        if newest == run.id:
            break
        which = {**params, "id": newest, "ids": id_array([newest])}
        rows_of(cursor, "command_lock", which)
        run = run_from(rows_of(cursor, "get_run", which)[0])
    return run, which


def tell_waiters(cursor: Cursor, ended: Sequence[RunId], params: Params) -> list[Row]:
    """Close the waits for runs that this transaction ended: who waited, and whether it stands in the line now."""
    given = {**params, "ids": id_array(ended)}
    rows_of(cursor, "lock_waiters", given)
    return rows_of(cursor, "close_child_waits", given)


def _cancel_children(cursor: Cursor, params: Params) -> list[Row]:
    rows_of(cursor, "cancel_children_lock", params)
    return rows_of(cursor, "cancel_children", params)


def _look(cursor: Cursor, run: Run, now_ms: UnixMs, order: Order, params: Params) -> Situation:
    if not isinstance(order.command, LOOKS):
        return Situation(now_ms=now_ms, run=run)
    return Situation(
        now_ms=now_ms,
        run=run,
        journal=entries_by_run(rows_of(cursor, "read_journal", params)).get(run.id, []),
        waits=waits_by_run(rows_of(cursor, "read_waits", params)).get(run.id, []),
        attempts=attempts_by_run(rows_of(cursor, "read_attempts", params)).get(run.id, []),
        transitions=[transition_from(row) for row in rows_of(cursor, "read_transitions", params)],
    )


def _write(cursor: Cursor, run: Run, effect: Effect, order: Order, params: Params) -> None:
    after = effect.after
    given = {
        **params,
        **{name: getattr(after, name) for name in _COLUMNS},
        "status": after.status.value,
        "keeps_error": after.error is not None,
        "from_status": run.status.value,
        "from_epoch": run.epoch,
        "from_worker": run.worker,
        "from_hash": run.definition_hash,
        "seen_seq": effect.seen_seq,
        "moved": None if effect.moved is None else document(effect.moved),
        "ends": effect.ends(run),
        "key": effect.key,
        "actor": order.actor,
        "note": order.note,
    }
    if effect.entry is not None:
        rows_of(cursor, "command_settle", {**given, **_entry(effect.entry)})
    if effect.renamed:
        rows_of(cursor, "command_rename", {**given, "renamed": document(effect.renamed)})
    if effect.closings:
        rows_of(cursor, "command_waits", {**given, "closings": document([_closing(one) for one in effect.closings])})
    if rows_of(cursor, "command_move", given) != [(1,)]:
        raise StoreError(f"run {run.id} was moved by others while it was locked; nothing was done")


_COLUMNS = (
    "status_reason",
    "version",
    "definition_hash",
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
"""What a command may change of a run, under the names of its columns."""


def _entry(entry: Entry) -> Params:
    return {
        "seq": entry.seq,
        "kind": entry.kind.value,
        "name": entry.name,
        "entry_status": entry.status.value,
        "result": None if entry.result is None else Document(entry.result),
        "error": None if entry.error is None else Document(entry.error),
        "attempts": entry.attempts,
        "settled_by": entry.settled_by,
    }


def _closing(one: Closing) -> _ClosingRow:
    status = None if one.child_status is None else one.child_status.value
    return _ClosingRow(one.key, one.outcome.value, raw(one.result), raw(one.error), status)


def _hint(run: Run, effect: Effect, told: list[Row], children: list[Row]) -> Hint:
    live = [run.id] if effect.tells_holder(run) else []
    live += [waiter for waiter, ready in told if not ready]
    live += [child for child, _, held in children if held]
    work = effect.makes_work(run) or any(row[1] for row in told) or any(row[1] for row in children)
    return Hint(work=work, ended=(run.id,) if effect.ends(run) else (), live=tuple(live))


def start_copy(session: Session, tenant: Tenant, copy: RunCopy, params: Params) -> Started:
    """Start a run with records of another. ``params`` are shard and now_ms.

    Raises RunNotFound, CommandRefused, QuotaExceeded.
    """
    given = {
        **params,
        "tenant": tenant,
        "id": copy.source_id,
        "copy_id": copy.id,
        "retry": copy.retry,
        "from_hash": copy.definition_hash,
        "journal": copy.journal,
        "waits": copy.waits,
        "input": None if copy.input is None else Document(copy.input),
        "replaced": document([_Replaced(key, Raw(result)) for key, result in copy.replaced.items()]),
        "changed": copy.input is not None or bool(copy.replaced),
        "bytes": copy.bytes_given,
        "actor": copy.actor,
        "note": copy.note,
    }

    def start(cursor: Cursor, rows: list[Row]) -> Started:
        if not rows:
            raise RunNotFound(run_id=copy.source_id)
        source = run_from(rows_of(cursor, "get_run", given)[0])
        if rows_of(cursor, "get_run", {**given, "id": copy.id}):
            return Started(copy.id, created=False)
        check_source(source, copy)
        if copy.retry and source.root_id != source.id:
            rows_of(cursor, "start_copy_root", {**given, "root_id": source.root_id})
        place = {**given, "root_id": source.root_id, "attempt": source.attempt + 1}
        if copy.retry:
            check_retry(source, again=bool(rows_of(cursor, "start_copy_place", place)))
        started, excess = rows_of(cursor, "start_copy", given)[0]
        if excess is not None:
            raise quota_error(tenant, excess)
        if started != 1:
            raise StoreError(f"run {source.id} was moved by others while it was locked; nothing was done")
        return Started(copy.id, created=True)

    return session.transaction(("command_lock", given), start)
