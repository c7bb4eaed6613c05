"""What others send to runs: signals, and people's answers to approvals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from holdfast.core.approvals import approvers, is_escalated, may_answer, read_question
from holdfast.core.matching import Heard, Listening, match
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import Answer, Approval, Signal, Sweep, Wait
from holdfast.model.status import TERMINAL_STATUSES, WaitKind, WaitOutcome
from holdfast.store.memory.tables import Record, StoredSignal, Tables
from holdfast.store.memory.unit import Unit
from holdfast.store.paging import place_of


def send(unit: Unit, signal: Signal, limit: int, check_account: Callable[[Tenant], None]) -> list[RunId]:
    """Deliver a signal. Raises RunNotFound, RunFinished, and what ``check_account`` raises."""
    if (signal.tenant, signal.id) in unit.tables.signals:
        return []
    if signal.run_id is None:
        check_account(signal.tenant)
        return _pass_on(unit, accept(unit, signal), limit)
    record = unit.tables.newest(unit.tables.find(signal.tenant, signal.run_id))
    receiver = record.run.id
    if record.run.status in TERMINAL_STATUSES:
        raise RunFinished(run_id=receiver, status=record.run.status)
    check_account(signal.tenant)
    _forward(unit, list(unit.tables.signals.values()))
    woken = _deliver(unit, record, signal.name, accept(unit, structs.replace(signal, run_id=receiver)))
    stored = unit.tables.signals[(signal.tenant, signal.id)]
    unit.tables.signals[(signal.tenant, signal.id)] = structs.replace(stored, passed=None)
    return [receiver] if woken else []


def _forward(unit: Unit, found: Sequence[StoredSignal]) -> list[StoredSignal]:
    """Signals, those under way to runs that have continued for the last links of their chains."""
    forwarded: list[StoredSignal] = []
    for stored in found:
        signal = stored.signal
        record = None if signal.run_id is None else unit.tables.records.get(signal.run_id)
        if stored.passed is not None and record is not None and record.run.tenant == signal.tenant:
            to = structs.replace(signal, run_id=unit.tables.newest(record).run.id)
            unit.tables.signals[(signal.tenant, signal.id)] = structs.replace(stored, signal=to)
        forwarded.append(unit.tables.signals[(signal.tenant, signal.id)])
    return forwarded


def accept(unit: Unit, signal: Signal) -> StoredSignal:
    """Record a signal that is under way from now on; one that is known already is left as it is."""
    place = (signal.tenant, signal.id)
    if place not in unit.tables.signals:
        expires_ms = None if signal.keep_ms is None else UnixMs(unit.now_ms + signal.keep_ms)
        unit.tables.signals[place] = StoredSignal(signal, unit.now_ms, expires_ms=expires_ms, passed="")
    return unit.tables.signals[place]


def sweep(unit: Unit, limit: int) -> Sweep:
    """Go on with the oldest signal that is under way, and delete expired ones."""
    signals = unit.tables.signals
    expired = [
        place
        for place, stored in signals.items()
        if stored.expires_ms is not None and stored.expires_ms <= unit.now_ms and stored.passed is None
    ][:limit]
    for place in expired:
        del signals[place]
    oldest = next((stored for stored in signals.values() if stored.passed is not None), None)
    if oldest is None:
        return Sweep(0, len(expired) == limit)
    if oldest.signal.run_id is None:
        return Sweep(len(_pass_on(unit, oldest, limit)), more=True)
    alike = [
        stored
        for stored in signals.values()
        if stored.passed is not None
        and stored.signal.run_id is not None
        and (stored.signal.tenant, stored.signal.name) == (oldest.signal.tenant, oldest.signal.name)
    ][:limit]
    alike = _forward(unit, alike)
    ids = {stored.signal.run_id for stored in alike}
    records = [record for record in unit.tables.by_id(unit.tables.records.values()) if record.run.id in ids]
    woken = sum(_deliver(unit, record, oldest.signal.name) for record in records)
    for stored in alike:
        place = (stored.signal.tenant, stored.signal.id)
        signals[place] = structs.replace(signals[place], passed=None)
    return Sweep(woken, more=True)


def _pass_on(unit: Unit, stored: StoredSignal, limit: int) -> list[RunId]:
    """Deliver a signal for all to the next runs that wait for its name."""
    signal = stored.signal
    waiting = [
        record
        for record in unit.tables.by_id(unit.tables.records.values())
        if record.run.tenant == signal.tenant
        and record.run.id > (stored.passed or "")
        and any(wait.signal == signal.name for wait in record.open_waits())
    ][:limit]
    woken = [record.run.id for record in waiting if _deliver(unit, record, signal.name)]
    place = (signal.tenant, signal.id)
    now = unit.tables.signals[place]
    if len(waiting) == limit:
        unit.tables.signals[place] = structs.replace(now, passed=waiting[-1].run.id)
        unit.tell_of_signals()
    elif now.expires_ms is None:
        unit.tables.signals[place] = structs.replace(now, passed=None, consumed_ms=unit.now_ms)
    else:
        unit.tables.signals[place] = structs.replace(now, passed=None)
    return woken


def _deliver(unit: Unit, record: Record, name: str, fresh: StoredSignal | None = None) -> bool:
    """Give the run's open waits of that name the signals that are under way to it; whether a wait was closed."""
    waits = [wait for wait in record.open_waits() if wait.kind is WaitKind.SIGNAL and wait.signal == name]
    heard = [
        stored
        for stored in unit.tables.signals.values()
        if (stored.passed is not None or stored is fresh)
        and stored.signal.name == name
        and stored.is_for(record.run, unit.now_ms)
    ]
    keys = take_signals(unit, record, waits, heard)
    for key in keys[:1]:
        unit.tell(record, reason="signalled", key=key)
    return bool(keys)


def take_signals(unit: Unit, record: Record, waits: Sequence[Wait], heard: Sequence[StoredSignal]) -> list[str]:
    """Close these open waits of a run with these signals as far as they match; the keys of those that were closed."""
    found = match(
        [Listening(wait.key, wait.signal or "", wait.request) for wait in waits],
        [Heard(stored.signal.id, stored.signal.name, stored.signal.payload) for stored in heard],
    )
    for key, note in found.notes.items():
        record.waits[key] = structs.replace(record.waits[key], wait=structs.replace(record.waits[key].wait, note=note))
    for key, signal_id in found.pairs:
        stored = unit.tables.signals[(record.run.tenant, signal_id)]
        unit.close_wait(record, key, WaitOutcome.SIGNALLED, payload=stored.signal.payload)
        if stored.signal.run_id is None:
            stored = structs.replace(stored, received=stored.received | {record.run.id})
        else:
            stored = structs.replace(stored, consumed_ms=unit.now_ms, wait_key=key)
        unit.tables.signals[(record.run.tenant, signal_id)] = stored
    order = [wait.key for wait in waits]
    return sorted((key for key, _ in found.pairs), key=order.index)


def answer(unit: Unit, given: Answer) -> list[RunId]:
    """Close an approval. Raises RunNotFound, ApprovalNotFound, ApprovalClosed, NotAnApprover."""
    record = unit.tables.find(given.tenant, given.run_id)
    stored = record.waits.get(given.key)
    if stored is None or stored.wait.kind is not WaitKind.APPROVAL or stored.wait.request is None:
        raise ApprovalNotFound(run_id=given.run_id, key=given.key)
    wait = stored.wait
    if wait.outcome is not None:
        if stored.answer_id == given.id:
            return [given.run_id]
        raise ApprovalClosed(run_id=given.run_id, key=given.key, outcome=wait.outcome.value)
    question = read_question(stored.wait.request)
    if not may_answer(question, given.names, opened_ms=wait.opened_ms, now_ms=unit.now_ms):
        allowed = approvers(question, opened_ms=wait.opened_ms, now_ms=unit.now_ms)
        raise NotAnApprover(run_id=given.run_id, key=given.key, by=given.names[0], approvers=", ".join(allowed))
    unit.close_wait(record, wait.key, WaitOutcome.ANSWERED, payload=given.verdict)
    record.waits[wait.key] = structs.replace(record.waits[wait.key], answer_id=given.id)
    unit.tell(record, reason="answered", key=wait.key)
    return [given.run_id]


def open_approvals(tables: Tables, tenant: Tenant, names: Sequence[str], now_ms: UnixMs) -> list[Approval]:
    """The tenant's open approvals, oldest first; only those that somebody with these names may answer, if any."""
    found = [
        _approval(record, wait, now_ms)
        for record in tables.records.values()
        if record.run.tenant == tenant
        for wait in record.open_waits()
        if wait.kind is WaitKind.APPROVAL
    ]
    mine = [
        one for one in found if not names or may_answer(one.question, names, opened_ms=one.opened_ms, now_ms=now_ms)
    ]
    return sorted(mine, key=place_of)


def _approval(record: Record, wait: Wait, now_ms: UnixMs) -> Approval:
    assert wait.request is not None
    question = read_question(wait.request)
    return Approval(
        run_id=record.run.id,
        key=wait.key,
        workflow=record.run.workflow,
        opened_ms=wait.opened_ms,
        due_ms=wait.due_ms,
        question=question,
        escalated=is_escalated(question, opened_ms=wait.opened_ms, now_ms=now_ms),
    )
