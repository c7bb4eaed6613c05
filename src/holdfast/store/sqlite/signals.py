"""Delivering signals. Each function takes an open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from msgspec import structs

from holdfast.core.approvals import approvers, read_question
from holdfast.core.matching import Heard, Listening, match
from holdfast.core.quotas import check_stored
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunFinished, RunNotFound
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import Answer, Signal, Sweep
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.sqlite.ending import Change, wake
from holdfast.store.sqlite.rows import ALIKE, HEARD, IDS, LISTENING, refuse_nul
from holdfast.store.sqlite.statements import Value, as_json, read_json, read_row, run

Pair = tuple[RunId, str, Tenant, RunId]
"""A run, its wait, and the signal (with its tenant) that closes it."""


def send(change: Change, signal: Signal, limit: int) -> list[RunId]:
    """Deliver a signal. Raises RunNotFound, RunFinished, QuotaExceeded, ValueError for a bad text."""
    refuse_nul(signal.id, signal.name)
    if read_row(change.connection, "send_signal_known", tenant=signal.tenant, id=signal.id) == (1,):
        return []
    if signal.run_id is None:
        check_account(change, signal.tenant)
        accept(change, [signal])
        return _pass_on(change, signal.tenant, signal.name, signal.id, "", limit)
    receiver, is_link = check_receiver(change, signal)
    check_account(change, signal.tenant)
    if is_link:
        signal = structs.replace(signal, run_id=receiver)
        run(change.connection, "signal_forward", tenant=signal.tenant, name=signal.name, limit=-1)
    accept(change, [signal])
    woken = _deliver(change, signal.tenant, signal.name, [receiver])
    _passed(change, signal.tenant, [signal.id], None)
    return woken


def check_receiver(change: Change, signal: Signal) -> tuple[RunId, bool]:
    """Who takes the signal, and whether it is a link of a chain. Raises RunNotFound, RunFinished."""
    row = read_row(change.connection, "send_signal_run", run_id=signal.run_id, tenant=signal.tenant)
    if row is None:
        raise RunNotFound(run_id=signal.run_id)
    if row[0] in TERMINAL_STATUSES:
        raise RunFinished(run_id=row[1], status=row[0])
    return RunId(str(row[1])), row[2] == 1


def check_account(change: Change, tenant: Tenant) -> None:
    """Raise QuotaExceeded if the tenant has passed its quota of stored bytes."""
    row = read_row(change.connection, "signal_account", tenant=tenant)
    if row is not None:
        check_stored(tenant, limit=int(row[0] or 0), stored=int(row[1] or 0))


def accept(change: Change, signals: Sequence[Signal]) -> None:
    """Record signals that are under way from now on, as far as they are new. Raises ValueError for a bad text."""
    rows = [(one.id, one.tenant, one.name, one.run_id, one.keep_ms, one.payload.decode()) for one in signals]
    for one in signals:
        refuse_nul(one.id, one.tenant, one.name)
    run(change.connection, "signal_accept", rows=as_json(rows), now_ms=change.now_ms)


def sweep(change: Change, limit: int) -> Sweep:
    """Go on with the oldest signal that is under way, and delete expired ones."""
    connection, most = change.connection, max(limit, 0)
    expired = read_json(connection, "sweep_signals_expired", ALIKE, now_ms=change.now_ms, limit=most)
    if expired:
        run(connection, "sweep_signals_receipts", rows=as_json(expired))
        run(connection, "sweep_signals_delete", rows=as_json(expired))
    row = read_row(connection, "sweep_signals_pick")
    if row is None:
        return Sweep(0, len(expired) == limit)
    tenant, signal_id, name, receiver, passed = (
        Tenant(str(row[0])),
        RunId(str(row[1])),
        str(row[2]),
        row[3],
        str(row[4]),
    )
    if receiver is None:
        return Sweep(len(_pass_on(change, tenant, name, signal_id, passed, limit)), more=True)
    run(connection, "signal_forward", tenant=tenant, name=name, limit=most)
    alike = read_json(connection, "sweep_signals_alike", ALIKE, tenant=tenant, name=name, limit=most)
    woken = _deliver(change, tenant, name, sorted({to for _, to in alike}))
    _passed(change, tenant, [RunId(one) for one, _ in alike], None)
    return Sweep(len(woken), more=True)


def _pass_on(change: Change, tenant: Tenant, name: str, signal_id: RunId, passed: str, limit: int) -> list[RunId]:
    """Deliver a signal for all to the next runs that wait for its name."""
    which: dict[str, Value] = {"tenant": tenant, "name": name, "passed": passed, "limit": max(limit, 0)}
    ids = read_json(change.connection, "signal_waiters", IDS, **which)
    woken = _deliver(change, tenant, name, ids) if ids else []
    more = len(ids) == limit
    _passed(change, tenant, [signal_id], ids[-1] if more else None)
    change.signals |= more
    return woken


def _passed(change: Change, tenant: Tenant, ids: Sequence[RunId], passed: str | None) -> None:
    run(change.connection, "signal_passed", tenant=tenant, ids=as_json(ids), passed=passed, now_ms=change.now_ms)


def _deliver(change: Change, tenant: Tenant, name: str, ids: Sequence[RunId]) -> list[RunId]:
    """Give the open waits of these runs the signals of the name that are under way to them; who was woken."""
    which: dict[str, Value] = {"tenant": tenant, "name": name, "run_ids": as_json(ids)}
    listening = read_json(change.connection, "signal_listening", LISTENING, **which)
    if not listening:
        return []
    heard = read_json(change.connection, "signal_heard", HEARD, **which, now_ms=change.now_ms)
    pairs: list[Pair] = []
    notes: list[tuple[RunId, str, str]] = []
    for run_id, rows in groupby(listening, key=itemgetter(0)):
        mine = [Listening(key, name, None if asked is None else Json(asked.encode())) for _, key, asked, _, _ in rows]
        signals = [
            Heard(signal_id, name, Json(payload.encode()))
            for signal_id, receiver, payload, kept, passed, received in heard
            if receiver == run_id or (receiver is None and (kept or run_id > passed) and run_id not in received)
        ]
        found = match(mine, signals)
        pairs += [(run_id, key, tenant, signal_id) for key, signal_id in found.pairs]
        notes += [(run_id, key, note) for key, note in found.notes.items()]
    close_matched(change, pairs, notes)
    closed = {(run_id, key) for run_id, key, _, _ in pairs}
    waits = [(run_id, key, held, in_line) for run_id, key, _, held, in_line in listening if (run_id, key) in closed]
    if waits:
        wake(change, waits, reason="signalled")
    return list(dict.fromkeys(run_id for run_id, _, _, _ in waits))


def close_matched(change: Change, pairs: Sequence[Pair], notes: Sequence[tuple[RunId, str, str]]) -> None:
    """Close waits with the signals that match them, and note why filters failed."""
    if notes:
        run(change.connection, "signal_note", rows=as_json(notes))
    if pairs:
        rows, now_ms = as_json(pairs), change.now_ms
        run(change.connection, "signal_close", rows=rows, now_ms=now_ms)
        run(change.connection, "signal_received", rows=rows, now_ms=now_ms)
        run(change.connection, "signal_consumed", rows=rows, now_ms=now_ms)


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
