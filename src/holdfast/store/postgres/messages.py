"""What others send to runs: signals, and people's answers to approvals. Each transaction locks the run first.

The answers are rows of (run id, whether it is in the line now, whether a worker holds it): whose wait was closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Raw, structs

from holdfast.core.approvals import approvers, read_question
from holdfast.core.matching import Heard, Listening, match
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished, RunNotFound
from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Answer, Signal
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.postgres.connection import Cursor, Document, Row
from holdfast.store.postgres.rows import NoteRow, PairRow, SignalRow, document, id_array, quota_error, status_of
from holdfast.store.postgres.session import DataRefused, Session, rows_of, rows_of_all
from holdfast.store.postgres.statements import Params

NIL: Final = "00000000-0000-0000-0000-000000000000"
"""Below every run's id."""


def signal_params(now: Params, signal: Signal) -> Params:
    """The parameters of the statements about one signal."""
    row = SignalRow(signal.id, signal.tenant, signal.name, signal.run_id, signal.keep_ms, Raw(signal.payload))
    try:
        signals = document([row])
    except UnicodeEncodeError as error:
        raise DataRefused(why=str(error)) from error
    return {
        **now,
        "tenant": signal.tenant,
        "id": signal.run_id,
        "name": signal.name,
        "signal_id": signal.id,
        "signal_ids": id_array([signal.id]),
        "signals": signals,
    }


def send(session: Session, now: Params, signal: Signal, limit: int) -> tuple[list[Row], bool]:
    """Deliver a signal; the rows, and whether it is still under way.

    Raises RunNotFound, RunFinished, QuotaExceeded, DataRefused.
    """
    params = signal_params(now, signal)
    if signal.run_id is None:
        return _send_all(session, params, signal, limit)
    asked = signal.run_id

    def deliver(cursor: Cursor, rows: list[Row]) -> list[Row]:
        if rows_of(cursor, "send_signal_seen", params):
            return []
        receiver, rows = _follow(cursor, params, asked, rows)
        check_receiver(receiver, rows)
        given = params
        if rows[0][1] is not None:
            given = signal_params(now, structs.replace(signal, run_id=receiver))
            rows_of(cursor, "signal_forward", {**given, "signal_ids": None})
        if not check_accepted(signal.tenant, rows_of(cursor, "signal_accept", given)):
            return []
        told = _deliver(cursor, given, [receiver])
        rows_of(cursor, "signal_passed", {**given, "passed": None})
        return told

    return session.transaction(("send_signal_lock", params), deliver), False


def _follow(cursor: Cursor, params: Params, run_id: RunId, rows: list[Row]) -> tuple[RunId, list[Row]]:
    """From a locked run to the last link of its chain, locked too; its id and row."""
    while rows and rows[0][2] is not None:
        [(newest,)] = rows_of(cursor, "find_newest", {**params, "chain_id": rows[0][1]})
        if newest == run_id:
            break
        run_id, rows = newest, rows_of(cursor, "send_signal_lock", {**params, "id": newest})
    return run_id, rows


def _send_all(session: Session, params: Params, signal: Signal, limit: int) -> tuple[list[Row], bool]:
    """Accept it in one transaction, so that it is known before anyone is looked for, and begin to deliver it.

    One that is known already is left to those who sweep: they go on with it, if it is still under way.
    """

    def accept(cursor: Cursor, rows: list[Row]) -> bool:
        if rows:
            return False
        if signal.keep_ms is not None:
            rows_of(cursor, "signal_gate", params)
        return check_accepted(signal.tenant, rows_of(cursor, "signal_accept", params))

    def begin(cursor: Cursor, rows: list[Row]) -> tuple[list[Row], bool]:
        return _pass_on(cursor, params, rows[0][0], limit) if rows else ([], False)

    if not session.transaction(("send_signal_seen", params), accept):
        return [], True
    return session.transaction(("signal_lock", params), begin)


def _pass_on(cursor: Cursor, params: Params, passed: str, limit: int) -> tuple[list[Row], bool]:
    """Deliver a locked signal for all to the next runs; the rows, and whether it is still under way."""
    next_ones = rows_of(cursor, "signal_waiters", {**params, "passed": passed, "limit": limit})
    ids = [run_id for run_id, found in next_ones if found]
    told = _deliver(cursor, params, ids) if ids else []
    more = len(next_ones) == limit
    rows_of(cursor, "signal_passed", {**params, "passed": next_ones[-1][0] if more else None})
    return told, more


def _deliver(cursor: Cursor, params: Params, ids: Sequence[RunId]) -> list[Row]:
    """Give the open waits of these locked runs the signals of the name that are under way to them."""
    which = {**params, "ids": id_array(ids)}
    listening, heard = rows_of_all(cursor, [("signal_listening", which), ("signal_heard", which)])
    for_all = [row[0] for row in heard if row[1] is None]
    received: set[tuple[RunId, RunId]] = set()
    if for_all:
        received = set(rows_of(cursor, "signal_receipts", {**which, "signal_ids": id_array(for_all)}))
    waits: dict[RunId, list[Listening]] = {}
    for run_id, key, request in listening:
        waits.setdefault(run_id, []).append(Listening(key, params["name"], request))
    pairs: list[PairRow] = []
    notes: list[NoteRow] = []
    for run_id, mine in waits.items():
        signals = [
            Heard(signal_id, params["name"], payload)
            for signal_id, receiver, payload, kept, passed in heard
            if receiver == run_id
            or (receiver is None and (kept or run_id > passed) and (signal_id, run_id) not in received)
        ]
        found = match(mine, signals)
        # The oldest wait is the one that the run's transition names.
        order = {wait.key: place for place, wait in enumerate(mine)}
        for key, signal_id in sorted(found.pairs, key=lambda pair: order[pair[0]]):
            pairs.append(PairRow(run_id, key, params["tenant"], signal_id))
        notes += [NoteRow(run_id, key, note) for key, note in found.notes.items()]
    if notes:
        rows_of(cursor, "signal_note", {**params, "notes": document(notes)})
    return rows_of(cursor, "signal_close", {**params, "pairs": document(pairs)}) if pairs else []


def sweep(session: Session, now: Params, limit: int) -> tuple[list[Row], bool]:
    """Go on with the oldest signal that is under way, and delete expired ones; the rows, and whether there is more."""
    params = {**now, "limit": limit}

    def go_on(cursor: Cursor, rows: list[Row]) -> tuple[list[Row], bool]:
        gone: int = rows_of(cursor, "sweep_signals_expired", params)[0][0]
        if not rows:
            return [], gone == limit
        tenant, signal_id, name, receiver, passed = rows[0]
        picked = {**params, "tenant": tenant, "name": name, "signal_id": signal_id}
        if receiver is None:
            if passed == NIL:
                rows_of(cursor, "signal_gate_pass", picked)
            told, _ = _pass_on(cursor, {**picked, "signal_ids": id_array([signal_id])}, passed, limit)
            return told, True
        alike: dict[RunId, RunId] = dict(rows_of(cursor, "sweep_signals_alike", picked))
        arrived = {**picked, "signal_ids": id_array(alike)}
        found = _lock_receivers(cursor, picked, alike)
        while any(continued for _, continued in found):
            forwarded = rows_of(cursor, "signal_forward", arrived)
            if not forwarded:
                break
            alike |= dict(forwarded)
            found = _lock_receivers(cursor, picked, alike)
        told = _deliver(cursor, picked, [run_id for run_id, _ in found]) if found else []
        rows_of(cursor, "signal_passed", {**arrived, "passed": None})
        return told, True

    return session.transaction(("sweep_signals_pick", params), go_on)


def _lock_receivers(cursor: Cursor, params: Params, receivers: Mapping[RunId, RunId]) -> list[Row]:
    ids = id_array(sorted(set(receivers.values())))
    return rows_of(cursor, "sweep_signals_lock", {**params, "ids": ids})


def check_accepted(tenant: Tenant, rows: Sequence[Row]) -> bool:
    """Whether signals were accepted, by the rows of ``signal_accept``. Raises QuotaExceeded."""
    if rows and rows[0][1] is not None:
        raise quota_error(tenant, rows[0][1])
    return bool(rows)


def is_receiver(rows: Sequence[Row]) -> bool:
    """Whether the run is there and takes signals."""
    return bool(rows) and status_of(rows[0][0]) not in TERMINAL_STATUSES


def check_receiver(run_id: RunId, rows: Sequence[Row]) -> None:
    """Raise RunNotFound or RunFinished unless the run takes signals."""
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
