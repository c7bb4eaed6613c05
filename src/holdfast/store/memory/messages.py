"""What others send to runs: signals, and people's answers to approvals."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from holdfast.core.approvals import approvers, is_escalated, may_answer, read_question
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import Answer, Approval, Signal, Wait
from holdfast.model.status import TERMINAL_STATUSES, WaitKind, WaitOutcome
from holdfast.store.memory.tables import Record, StoredSignal, Tables
from holdfast.store.memory.unit import Unit
from holdfast.store.paging import place_of


def send(unit: Unit, signal: Signal) -> list[RunId]:
    """Deliver a signal. Raises RunNotFound, RunFinished."""
    if (signal.tenant, signal.id) in unit.tables.signals:
        return []
    return _broadcast(unit, signal) if signal.run_id is None else _send(unit, signal, signal.run_id)


def _send(unit: Unit, signal: Signal, run_id: RunId) -> list[RunId]:
    record = unit.tables.find(signal.tenant, run_id)
    if record.run.status in TERMINAL_STATUSES:
        raise RunFinished(run_id=run_id, status=record.run.status)
    key = _deliver(unit, record, signal)
    consumed_ms = None if key is None else unit.now_ms
    stored = StoredSignal(signal, unit.now_ms, consumed_ms=consumed_ms, wait_key=key)
    unit.tables.signals[(signal.tenant, signal.id)] = stored
    return [] if key is None else [run_id]


def _broadcast(unit: Unit, signal: Signal) -> list[RunId]:
    unit.tables.signals[(signal.tenant, signal.id)] = StoredSignal(signal, unit.now_ms, consumed_ms=unit.now_ms)
    mine = [record for record in unit.tables.records.values() if record.run.tenant == signal.tenant]
    return [record.run.id for record in unit.tables.by_id(mine) if _deliver(unit, record, signal) is not None]


def _deliver(unit: Unit, record: Record, signal: Signal) -> str | None:
    """Close the run's oldest open wait for this signal; its key, or None if there is none."""
    for wait in record.open_waits():
        if wait.kind is WaitKind.SIGNAL and wait.signal == signal.name:
            unit.close_wait(record, wait.key, WaitOutcome.SIGNALLED, payload=signal.payload)
            unit.tell(record, reason="signalled", key=wait.key)
            return wait.key
    return None


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
