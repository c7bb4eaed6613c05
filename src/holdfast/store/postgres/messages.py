"""What others send to runs: signals, and people's answers to approvals. Each transaction locks the run first.

The answers are rows of (run id, whether it is in the line now, whether a worker holds it): whose wait was closed.
"""

from __future__ import annotations

from holdfast.core.approvals import approvers, read_question
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished, RunNotFound
from holdfast.model.ids import RunId
from holdfast.model.run import Answer, Signal
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.postgres.connection import Cursor, Document, Row
from holdfast.store.postgres.rows import id_array, status_of
from holdfast.store.postgres.session import Session, rows_of
from holdfast.store.postgres.statements import Params


def send(session: Session, now: Params, signal: Signal) -> list[Row]:
    """Deliver a signal. Raises RunNotFound, RunFinished, DataRefused."""
    params = {
        **now,
        "tenant": signal.tenant,
        "id": signal.run_id,
        "name": signal.name,
        "signal_id": signal.id,
        "payload": Document(signal.payload),
    }

    def deliver(cursor: Cursor, rows: list[Row]) -> list[Row]:
        if rows_of(cursor, "send_signal_seen", params):
            return []
        if signal.run_id is not None:
            _check_receiver(signal.run_id, rows)
        if not rows_of(cursor, "send_signal_keep", params):
            return []
        ids = [signal.run_id] if signal.run_id is not None else [row[0] for row in rows]
        return rows_of(cursor, "send_signal", {**params, "ids": id_array(ids)}) if ids else []

    first = "send_signal_waiters" if signal.run_id is None else "send_signal_lock"
    return session.transaction((first, params), deliver)


def _check_receiver(run_id: RunId, rows: list[Row]) -> None:
    if not rows:
        raise RunNotFound(run_id=run_id)
    status = status_of(rows[0][0])
    if status in TERMINAL_STATUSES:
        raise RunFinished(run_id=run_id, status=status)


def answer(session: Session, now: Params, given: Answer) -> list[Row]:
    """Close an approval. Raises RunNotFound, ApprovalNotFound, ApprovalClosed, NotAnApprover, DataRefused."""
    params = {
        **now,
        "tenant": given.tenant,
        "id": given.run_id,
        "key": given.key,
        "names": list(given.names),
        "answer_id": given.id,
        "verdict": Document(given.verdict),
    }

    def close(cursor: Cursor, rows: list[Row]) -> list[Row]:
        if not rows:
            raise RunNotFound(run_id=given.run_id)
        found = rows_of(cursor, "send_answer_find", params)
        if not found:
            raise ApprovalNotFound(run_id=given.run_id, key=given.key)
        outcome, answer_id, opened_ms, request, now_ms = found[0]
        if outcome is not None:
            if answer_id == given.id:
                return [(given.run_id, False, False)]
            raise ApprovalClosed(run_id=given.run_id, key=given.key, outcome=outcome)
        closed = rows_of(cursor, "send_answer", params)
        if not closed:
            allowed = ", ".join(approvers(read_question(request), opened_ms=opened_ms, now_ms=now_ms))
            raise NotAnApprover(run_id=given.run_id, key=given.key, by=given.names[0], approvers=allowed)
        return closed

    return session.transaction(("send_signal_lock", params), close)
