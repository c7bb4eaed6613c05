"""Schedules in the database, written once for both over ``Store.transact``.

A schedule's row is moved and its runs are started in one transaction, guarded by the next slot and the revision that
the decision saw: of any number of workers that decide about the same slot one does it, and the others do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import ColumnElement, delete, select, update

from holdfast.core.schedules import Plan, decode_spec, due_from, encode_spec
from holdfast.core.slots import next_slot
from holdfast.errors import ScheduleExists, ScheduleNotFound, StoreCorrupt
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.model.schedule import ScheduleRow, ScheduleSpec, Tick, TickCause, TickOutcome, TickRow
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_new
from holdfast.store.tables import SCHEDULE_TICKS, SCHEDULES

DUE_MAX: Final = 50
"""Schedules that are looked at together."""

TICKS_KEPT: Final = 1_000
"""The newest entries of a schedule's history that are kept."""

RECENT: Final = 20
"""So many of the runs that a schedule started last are looked at to see whether one is under way."""

_ids: Final = msgspec.json.Decoder(list[RunId])


class Unreadable(NamedTuple):
    """A schedule of which not even the name of its workflow can be told."""

    tenant: Tenant
    name: str
    revision: int
    error: StoreCorrupt


_S: Final = SCHEDULES.c
_T: Final = SCHEDULE_TICKS.c
_OWN: Final = ("spec", "input", "recent")
_PLAIN: Final = [name for name in ScheduleRow.__struct_fields__ if name not in _OWN]
_COLUMNS: Final = [_S.document, _S.input, _S.recent, *(_S[name] for name in _PLAIN)]
_TICK: Final = [
    _T.number, _T.at_ms, _T.slot_ms, _T.until_ms, _T.slots, _T.cause, _T.outcome, _T.started_run_id
]  # fmt: skip


# --- As programs ask for them ------------------------------------------------------------------------------------


def put_schedule(
    statements: Statements,
    tenant: Tenant,
    name: str,
    spec: ScheduleSpec,
    *,
    payload: Json,
    declared_by: str = "",
    actor: str = "",
    must_be_new: bool = False,
) -> ScheduleRow:
    """Record a schedule, or what has changed of it. Its slots begin after now, and so do those of a changed timing.

    Raises: ScheduleExists if it must be new, and there is another one.
    """
    now_ms = statements.now_ms
    values: dict[str, Any] = {
        "workflow": spec.workflow,
        "document": encode_spec(spec),
        "input": payload.decode(),
        "declared_by": declared_by,
        "actor": actor,
    }
    fresh = ScheduleRow(
        tenant=tenant,
        name=name,
        spec=spec,
        input=payload,
        declared_by=declared_by,
        next_ms=next_slot(spec.timing, now_ms),
        due_ms=None,
        queued_ms=None,
        last_ms=None,
        recent=[],
        ticks=0,
        revision=0,
        problem="",
        paused_ms=None,
        actor=actor,
        note="",
        created_ms=now_ms,
        changed_ms=now_ms,
    )
    new = {**values, **_place(fresh, now_ms), "tenant": tenant, "name": name, "note": "", "created_ms": now_ms}
    row: ScheduleRow | None = None
    while row is None:
        if statements.changed(insert_new(SCHEDULES).values({**new, "changed_ms": now_ms})):
            return find_schedule(statements, tenant, name)
        # Somebody may delete it between the two.
        row = _find_locked(statements, tenant, name)
    if row.spec == spec and row.input == payload and row.declared_by == declared_by:
        return row
    if must_be_new:
        raise ScheduleExists(schedule=name)
    if row.spec.timing != spec.timing and row.paused_ms is None:
        row = structs.replace(row, next_ms=next_slot(spec.timing, now_ms), last_ms=None)
    row = structs.replace(row, spec=spec)
    return _change(statements, row, {**values, **_place(row, now_ms), "problem": "", "changed_ms": now_ms})


def find_schedule(statements: Statements, tenant: Tenant, name: str) -> ScheduleRow:
    """The schedule. Raises ScheduleNotFound."""
    rows = statements.rows(select(*_COLUMNS).where(*_mine(tenant, name)))
    if not rows:
        raise ScheduleNotFound(schedule=name)
    return _row(rows[0])


def list_schedules(statements: Statements, tenant: Tenant, *, limit: int, after: str) -> list[ScheduleRow]:
    """The tenant's schedules behind a name, by name."""
    query = select(*_COLUMNS).where(_S.tenant == tenant, _S.name > after).order_by(_S.name).limit(limit)
    return [_row(row) for row in statements.rows(query)]


def list_declared(statements: Statements, tenant: Tenant, declared_by: str) -> list[ScheduleRow]:
    """Those that the programs of an App declare or once declared."""
    query = select(*_COLUMNS).where(_S.tenant == tenant, _S.declared_by == declared_by).order_by(_S.name)
    return [_row(row) for row in statements.rows(query)]


def list_ticks(
    statements: Statements, tenant: Tenant, name: str, *, limit: int, before: int | None = None
) -> list[TickRow]:
    """What came of its slots, newest first. Raises ScheduleNotFound."""
    find_schedule(statements, tenant, name)
    query = select(*_TICK).where(_T.tenant == tenant, _T.schedule == name)
    if before is not None:
        query = query.where(_T.number < before)
    return [_tick(row) for row in statements.rows(query.order_by(_T.number.desc()).limit(limit))]


def pause_schedule(statements: Statements, tenant: Tenant, name: str, *, actor: str, note: str) -> ScheduleRow:
    """Let no slot start a run. A slot that waits is given up. Repeatable. Raises ScheduleNotFound."""
    row = _locked(statements, tenant, name)
    if row.paused_ms is not None:
        return row
    now_ms = statements.now_ms
    if row.queued_ms is not None:
        _record(statements, row, [Tick(slot_ms=row.queued_ms, until_ms=row.queued_ms, outcome=TickOutcome.SKIPPED)])
    stopped = {"next_ms": None, "due_ms": None, "queued_ms": None, "problem": "", "paused_ms": now_ms}
    ticks = row.ticks + (row.queued_ms is not None)
    return _change(statements, row, {**stopped, "ticks": ticks, "actor": actor, "note": note, "changed_ms": now_ms})


def resume_schedule(statements: Statements, tenant: Tenant, name: str, *, actor: str) -> ScheduleRow:
    """Go on with the first slot after now; those in between are gone. Repeatable. Raises ScheduleNotFound."""
    row = _locked(statements, tenant, name)
    if row.paused_ms is None:
        return row
    now_ms = statements.now_ms
    row = structs.replace(row, next_ms=next_slot(row.spec.timing, now_ms), last_ms=None, paused_ms=None)
    changes = {**_place(row, now_ms), "last_ms": None, "paused_ms": None, "actor": actor, "note": ""}
    return _change(statements, row, {**changes, "changed_ms": now_ms})


def delete_schedule(statements: Statements, tenant: Tenant, name: str) -> bool:
    """Delete it with its history; its runs stay. Whether there was one."""
    gone = statements.changed(delete(SCHEDULES).where(*_mine(tenant, name))) > 0
    if gone:
        statements.changed(delete(SCHEDULE_TICKS).where(_T.tenant == tenant, _T.schedule == name))
    return gone


def start_aside(
    statements: Statements, tenant: Tenant, name: str, runs: Mapping[UnixMs, NewRun], cause: TickCause
) -> list[Started]:
    """Start runs for these slots, beside what the clock does, and record those that are new.

    Raises ScheduleNotFound, QuotaExceeded.
    """
    row = _locked(statements, tenant, name)
    started = statements.start_runs(list(runs.values()))
    ticks = [
        Tick(slot_ms=slot_ms, until_ms=slot_ms, cause=cause, outcome=TickOutcome.STARTED, run_id=one.run_id)
        for slot_ms, one in zip(runs, started, strict=True)
        if one.created
    ]
    if ticks:
        _record(statements, row, ticks)
        fresh = [one.run_id for one in started if one.created]
        _change(statements, row, {"ticks": row.ticks + len(ticks), "recent": _recent(row, fresh)})
    return started


# --- Ticking -----------------------------------------------------------------------------------------------------


def list_due(statements: Statements) -> list[ScheduleRow | Unreadable]:
    """Schedules of all tenants that are to be looked at, the longest due first."""
    due = select(*_COLUMNS).where(_S.due_ms <= statements.now_ms).order_by(_S.due_ms).limit(DUE_MAX)
    found: list[ScheduleRow | Unreadable] = []
    for row in statements.rows(due):
        try:
            found.append(_row(row))
        except StoreCorrupt as error:
            values = dict(zip(_PLAIN, row[3:], strict=True))
            found.append(Unreadable(values["tenant"], values["name"], values["revision"], error))
    return found


def record_plan(statements: Statements, row: ScheduleRow, plan: Plan, runs: Sequence[NewRun]) -> list[Started] | None:
    """Move the schedule on and start these runs, one for each entry of the plan that says so, in one transaction.

    None: nothing was done, because somebody else has done it or has changed the schedule, or because it is not time
    yet: the clock was set back since it was looked at. Raises QuotaExceeded: nothing was done.
    """
    if any(tick.until_ms > statements.now_ms for tick in plan.ticks):
        return None
    moved = {
        "next_ms": plan.next_ms,
        "queued_ms": plan.queued_ms,
        "last_ms": plan.last_ms,
        "due_ms": plan.due_ms,
        "recent": _recent(row, [run.id for run in runs]),
        "ticks": row.ticks + len(plan.ticks),
        "revision": row.revision + 1,
        "problem": "",
    }
    seen = _S.next_ms.is_(None) if row.next_ms is None else _S.next_ms == row.next_ms
    guard = [*_mine(row.tenant, row.name), _S.revision == row.revision, seen]
    if not statements.changed(update(SCHEDULES).where(*guard).values(moved)):
        return None
    started = statements.start_runs(runs)
    ids = iter(started)
    _record(
        statements,
        row,
        [
            structs.replace(tick, run_id=next(ids).run_id) if tick.outcome is TickOutcome.STARTED else tick
            for tick in plan.ticks
        ],
    )
    return started


def postpone(statements: Statements, row: ScheduleRow | Unreadable, *, problem: str, due_ms: UnixMs) -> None:
    """Its slot cannot be started now: say why, and look again later. Nothing if it was changed meanwhile."""
    guard = [*_mine(row.tenant, row.name), _S.revision == row.revision, _S.due_ms.is_not(None)]
    later = {"due_ms": due_ms, "problem": problem, "revision": row.revision + 1}
    statements.changed(update(SCHEDULES).where(*guard).values(later))


# --- Rows --------------------------------------------------------------------------------------------------------


def _mine(tenant: Tenant, name: str) -> list[ColumnElement[bool]]:
    return [_S.tenant == tenant, _S.name == name]


def _locked(statements: Statements, tenant: Tenant, name: str) -> ScheduleRow:
    """The schedule, which nobody else changes until this transaction ends; what others decided about it is void."""
    row = _find_locked(statements, tenant, name)
    if row is None:
        raise ScheduleNotFound(schedule=name)
    return row


def _find_locked(statements: Statements, tenant: Tenant, name: str) -> ScheduleRow | None:
    if not statements.changed(update(SCHEDULES).where(*_mine(tenant, name)).values(revision=_S.revision + 1)):
        return None
    return find_schedule(statements, tenant, name)


def _change(statements: Statements, row: ScheduleRow, values: dict[str, Any]) -> ScheduleRow:
    statements.changed(update(SCHEDULES).where(*_mine(row.tenant, row.name)).values(values))
    return find_schedule(statements, row.tenant, row.name)


def _recent(row: ScheduleRow, started: Sequence[RunId]) -> str:
    return msgspec.json.encode([*started[::-1], *row.recent][:RECENT]).decode()


def _place(row: ScheduleRow, now_ms: UnixMs) -> dict[str, Any]:
    """Where a schedule is after a change."""
    if row.paused_ms is not None:
        return {"next_ms": None, "due_ms": None}
    return {
        "next_ms": row.next_ms,
        "last_ms": row.last_ms,
        "due_ms": due_from(row, row.next_ms, row.queued_ms, now_ms),
    }


def _record(statements: Statements, row: ScheduleRow, ticks: Sequence[Tick]) -> None:
    """Append to the history, and forget what is older than its newest entries."""
    for number, tick in enumerate(ticks, row.ticks + 1):
        values = {
            "tenant": row.tenant,
            "schedule": row.name,
            "number": number,
            "slot_ms": tick.slot_ms,
            "until_ms": tick.until_ms,
            "slots": tick.slots,
            "cause": tick.cause.value,
            "outcome": tick.outcome.value,
            "started_run_id": tick.run_id,
            "at_ms": statements.now_ms,
        }
        statements.changed(insert_new(SCHEDULE_TICKS).values(values))
    oldest = row.ticks + len(ticks) - TICKS_KEPT
    if ticks and oldest > 0:
        old = [_T.tenant == row.tenant, _T.schedule == row.name, _T.number <= oldest]
        statements.changed(delete(SCHEDULE_TICKS).where(*old))


def _row(row: Sequence[Any]) -> ScheduleRow:
    document, payload, recent, *plain = row
    values: dict[str, Any] = dict(zip(_PLAIN, plain, strict=True))
    try:
        return ScheduleRow(
            spec=decode_spec(document), input=Json(payload.encode()), recent=_ids.decode(recent), **values
        )
    except ValueError as error:
        raise StoreCorrupt(what=f"schedule {values['name']}", why=str(error)) from error


def _tick(row: Sequence[Any]) -> TickRow:
    number, at_ms, slot_ms, until_ms, slots, cause, outcome, run_id = row
    return TickRow(
        number=number,
        at_ms=at_ms,
        slot_ms=slot_ms,
        until_ms=until_ms,
        slots=slots,
        cause=TickCause(cause),
        outcome=TickOutcome(outcome),
        run_id=None if run_id is None else RunId(str(run_id)),
    )
