"""A worker's commit: what is checked, and what is then written, in the order of the engine's contract."""

from __future__ import annotations

from typing import Any, assert_never

from msgspec import structs

from holdfast.model.commit import Compensate, Continue, Finish, Move, NewWait, Park, Release, RunCommit
from holdfast.model.ids import UnixMs
from holdfast.model.run import Run, Wait
from holdfast.model.status import (
    HELD_STATUSES,
    TERMINAL_STATUSES,
    TRANSITIONS,
    RunStatus,
    WaitKind,
    WaitOutcome,
)
from holdfast.store.memory.continuing import continue_run
from holdfast.store.memory.messages import accept, take_signals
from holdfast.store.memory.storable import unstorable
from holdfast.store.memory.tables import Record, StoredAttempt, StoredWait, Tables
from holdfast.store.memory.unit import Unit


def find_refusal(tables: Tables, commit: RunCommit) -> str | None:
    """Why the fence refuses this commit, or None: the run must be held at this epoch and may make this move."""
    record = tables.records.get(commit.run_id)
    if record is None:
        return "there is no such run"
    run = record.run
    if run.worker is None or run.status not in HELD_STATUSES or run.epoch != commit.epoch:
        held = "held by nobody" if run.worker is None else "held"
        return f"the run is {run.status} at epoch {run.epoch}, {held}"
    match commit.move:
        case Compensate():
            to = RunStatus.COMPENSATING
            legal = run.status is RunStatus.RUNNING
        case Continue():
            to = RunStatus.COMPLETED
            legal = run.status is RunStatus.RUNNING
        case Finish(status=to):
            legal = to in TERMINAL_STATUSES and to in TRANSITIONS[run.status].values()
        case None | Park() | Release():
            return None
        case _:
            assert_never(commit.move)
    return None if legal else f"a run that is {run.status} cannot become {to}"


def find_defect(record: Record, commit: RunCommit) -> str | None:
    """Why the run's rows cannot be written, or None."""
    entries = [entry.key for entry in commit.entries]
    waits = [wait.key for wait in commit.waits]
    attempts = [(attempt.key, attempt.attempt) for attempt in commit.attempts]
    for keys, known in ((entries, record.journal), (waits, record.waits), (attempts, record.attempts)):
        if len(set(keys)) < len(keys) or any(key in known for key in keys):
            return "a key is recorded already"
    return unstorable(commit)


def apply_commit(unit: Unit, commit: RunCommit) -> list[Wait]:
    """Write what one run wants recorded; the waits that it opened, elapsed or cancelled, as they then stand."""
    record = unit.tables.records[commit.run_id]
    for entry in commit.entries:
        record.journal[entry.key] = entry
    for attempt in commit.attempts:
        record.attempts[(attempt.key, attempt.attempt)] = StoredAttempt(attempt, commit.epoch)
    for child in commit.children:
        unit.start(child)
    for new in commit.waits:
        _open_wait(unit, record, new, commit.epoch)
    if commit.attributes:
        named = {**record.run.attributes, **commit.attributes}
        kept = {name: value for name, value in named.items() if value is not None}
        record.run = structs.replace(record.run, attributes=kept)
    _take_kept_signals(unit, record, commit)
    for key in commit.elapsed:
        if _is_due(record, key, unit.now_ms):
            unit.close_wait(record, key, WaitOutcome.ELAPSED)
    for key in commit.cancelled:
        if key in record.waits and record.waits[key].wait.outcome is None:
            unit.close_wait(record, key, WaitOutcome.CANCELLED)
    touched = {*(new.key for new in commit.waits), *commit.elapsed, *commit.cancelled}
    _make_move(unit, record, commit.move)
    return [wait for wait in record.all_waits() if wait.key in touched]


def send_signals(unit: Unit, commit: RunCommit) -> None:
    """Accept what an accepted commit sends: after the whole batch, whose waits do not see it under way yet."""
    for signal in commit.signals:
        accept(unit, signal)
        unit.tell_of_signals()


def _is_due(record: Record, key: str, now_ms: UnixMs) -> bool:
    stored = record.waits.get(key)
    if stored is None or stored.wait.outcome is not None:
        return False
    return stored.wait.due_ms is not None and stored.wait.due_ms <= now_ms


def _open_wait(unit: Unit, record: Record, new: NewWait, epoch: int) -> None:
    wait = Wait(
        key=new.key,
        seq=new.seq,
        kind=new.kind,
        signal=new.signal,
        child_id=new.child_id,
        due_ms=new.due_ms if new.delay_ms is None else UnixMs(unit.now_ms + new.delay_ms),
        opened_ms=unit.now_ms,
        request=new.request,
    )
    record.waits[new.key] = StoredWait(wait, epoch)
    if new.kind is WaitKind.CHILD and new.child_id is not None:
        child = unit.tables.records.get(new.child_id)
        if child is None or child.run.tenant != record.run.tenant:
            return
        if child.run.continued_as_id is not None:
            child = unit.tables.newest(child)
            record.waits[new.key] = StoredWait(structs.replace(wait, child_id=child.run.id), epoch)
        if child.run.status in TERMINAL_STATUSES:
            unit.close_wait(record, wait.key, WaitOutcome.CHILD_ENDED, child=child.run)


def _take_kept_signals(unit: Unit, record: Record, commit: RunCommit) -> None:
    """Give the signal waits that the commit opened, oldest first, the signals that were kept for them."""
    opened = {new.key for new in commit.waits if new.kind is WaitKind.SIGNAL}
    waits = [wait for wait in record.open_waits() if wait.key in opened]
    if waits:
        heard = [stored for stored in unit.tables.signals.values() if stored.is_for(record.run, unit.now_ms)]
        take_signals(unit, record, waits, heard)


def _make_move(unit: Unit, record: Record, move: Move | None) -> None:
    match move:
        case None:
            pass
        case Park():
            _park(unit, record, move)
        case Release(reason=reason):
            if _is_to_be_paused(record.run):
                _pause(unit, record)
            elif (until_ms := _aside_until_ms(unit, record.run)) is not None:
                unit.move(record, RunStatus.QUEUED, reason=reason, worker=None, wake_ms=until_ms)
            else:
                unit.put_in_line(record, reason=reason)
        case Compensate(error=error, reason=reason):
            unit.move(record, RunStatus.COMPENSATING, reason=reason, error=error)
            if reason == "cancelled" and record.run.cancel_requested:
                unit.cancel_children(record.run)
        case Finish():
            unit.end(
                record,
                move.status,
                terminal_reason=move.reason,
                result=move.result,
                error=move.error,
                crashes=0,
            )
            if move.status is RunStatus.CANCELLED:
                unit.cancel_children(record.run)
        case Continue():
            continue_run(unit, record, move)
        case _:
            assert_never(move)


def _aside_until_ms(unit: Unit, run: Run) -> UnixMs | None:
    """Until when it is kept for who wants to move it; None if nobody does."""
    until_ms = run.aside_until_ms
    if run.cancel_requested or run.status is not RunStatus.RUNNING or until_ms is None or until_ms <= unit.now_ms:
        return None
    return until_ms if run.deadline_ms is None else min(until_ms, run.deadline_ms)


def _is_to_be_paused(run: Run) -> bool:
    return run.pause_requested and not run.cancel_requested and run.status is RunStatus.RUNNING


def _pause(unit: Unit, record: Record, **changes: Any) -> None:
    unit.move(record, RunStatus.PAUSED, reason="paused", worker=None, wake_ms=None, pause_requested=False, **changes)


def _park(unit: Unit, record: Record, move: Park) -> None:
    waits = record.open_waits()
    run = record.run
    if _is_to_be_paused(run):
        _pause(unit, record, crashes=0)
        return
    # A cancel that raced the park must not be left to a worker that is about to forget the run. A run that compensates
    # is not cancelled any more, and would only be claimed and parked again without end.
    is_cancelled = run.cancel_requested and run.status is RunStatus.RUNNING
    if len(waits) < move.open_waits or is_cancelled:
        unit.put_in_line(record, reason="waiting", crashes=0)
        return
    moments = [wait.due_ms for wait in waits if wait.due_ms is not None]
    if run.deadline_ms is not None:
        moments.append(run.deadline_ms)
    to = RunStatus.COMPENSATING if run.status is RunStatus.COMPENSATING else RunStatus.WAITING
    unit.move(record, to, reason="waiting", worker=None, wake_ms=min(moments, default=None), crashes=0)
