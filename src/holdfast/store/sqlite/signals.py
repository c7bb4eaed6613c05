"""Delivering signals. Each function takes an open transaction."""

from __future__ import annotations

from holdfast.core.approvals import approvers, read_question
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished, RunNotFound
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import Answer, Signal
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.sqlite.ending import Change, wake
from holdfast.store.sqlite.rows import OPEN_WAITS, refuse_nul
from holdfast.store.sqlite.statements import as_json, read_json, read_row, run


def send(change: Change, signal: Signal) -> list[RunId]:
    """Deliver a signal. Raises RunNotFound, RunFinished, ValueError if a text cannot be stored."""
    refuse_nul(signal.id, signal.name)
    if read_row(change.connection, "send_signal_known", tenant=signal.tenant, id=signal.id) == (1,):
        return []
    if signal.run_id is None:
        return _broadcast(change, signal)
    row = read_row(change.connection, "send_signal_run", run_id=signal.run_id, tenant=signal.tenant)
    if row is None:
        raise RunNotFound(run_id=signal.run_id)
    if row[0] in TERMINAL_STATUSES:
        raise RunFinished(run_id=signal.run_id, status=row[0])
    whose = {"tenant": signal.tenant, "name": signal.name, "run_id": signal.run_id}
    waits = read_json(change.connection, "send_signal_wait", OPEN_WAITS, **whose)
    _record(change, signal, consumed_ms=change.now_ms if waits else None, wait_key=waits[0][1] if waits else None)
    return _close(change, signal, waits)


def _broadcast(change: Change, signal: Signal) -> list[RunId]:
    _record(change, signal, consumed_ms=change.now_ms, wait_key=None)
    parameters = {"name": signal.name, "tenant": signal.tenant}
    return _close(change, signal, read_json(change.connection, "send_signal_waits", OPEN_WAITS, **parameters))


def _record(change: Change, signal: Signal, *, consumed_ms: UnixMs | None, wait_key: str | None) -> None:
    run(
        change.connection,
        "send_signal",
        id=signal.id,
        tenant=signal.tenant,
        name=signal.name,
        run_id=signal.run_id,
        payload=signal.payload.decode(),
        now_ms=change.now_ms,
        consumed_ms=consumed_ms,
        wait_key=wait_key,
    )


def _close(change: Change, signal: Signal, waits: list[tuple[RunId, str, int, int]]) -> list[RunId]:
    if waits:
        rows = as_json([(run_id, key) for run_id, key, _, _ in waits])
        payload = signal.payload.decode()
        run(change.connection, "send_signal_close", rows=rows, payload=payload, now_ms=change.now_ms)
        wake(change, waits, reason="signalled")
    return [run_id for run_id, _, _, _ in waits]


def answer(change: Change, given: Answer) -> list[RunId]:
    """Close an approval. Raises RunNotFound, ApprovalNotFound, ApprovalClosed, NotAnApprover, ValueError."""
    refuse_nul(given.id, given.key, *given.names)
    whose = {"run_id": given.run_id, "key": given.key, "tenant": given.tenant}
    if read_row(change.connection, "send_signal_run", run_id=given.run_id, tenant=given.tenant) is None:
        raise RunNotFound(run_id=given.run_id)
    row = read_row(change.connection, "send_answer_find", **whose)
    if row is None:
        raise ApprovalNotFound(run_id=given.run_id, key=given.key)
    outcome, answer_id, opened_ms, request, held, in_line = row
    if outcome is not None:
        if answer_id == given.id:
            return [given.run_id]
        raise ApprovalClosed(run_id=given.run_id, key=given.key, outcome=outcome)
    closed = run(
        change.connection,
        "send_answer",
        run_id=given.run_id,
        key=given.key,
        names=as_json(given.names),
        verdict=given.verdict.decode(),
        id=given.id,
        now_ms=change.now_ms,
    )
    if not closed:
        question = read_question(Json(str(request).encode()))
        allowed = approvers(question, opened_ms=UnixMs(int(opened_ms or 0)), now_ms=change.now_ms)
        raise NotAnApprover(run_id=given.run_id, key=given.key, by=given.names[0], approvers=", ".join(allowed))
    wake(change, [(given.run_id, given.key, int(held or 0), int(in_line or 0))], reason="answered")
    return [given.run_id]
