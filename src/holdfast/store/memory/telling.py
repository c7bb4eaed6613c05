"""The rows of the outbox of the reference store: one for each end of a run and each who is subscribed to it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import json
from sqlalchemy import select

from holdfast.core.fingerprint import ErrorFacts, error_facts
from holdfast.model.closing import EVERY
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, WaitOutcome
from holdfast.store.memory.tables import Record
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_new
from holdfast.store.tables import OUTBOX, SUBSCRIPTIONS


def tell_of_ends(statements: Statements, ended: Sequence[Record]) -> None:
    """Write what the ends of these runs, which have just ended, are to be told."""
    s = SUBSCRIPTIONS.c
    for record in ended:
        run = record.run
        error = _error(record)
        asked = select(s.name).where(s.tenant.in_((EVERY, run.tenant)), s.workflow.in_((EVERY, run.workflow)))
        for (name,) in statements.rows(asked):
            facts = {
                "shard": 0,
                "run_id": run.id,
                "seq": len(record.transitions),
                "subscription": name,
                "tenant": run.tenant,
                "workflow": run.workflow,
                "key": run.key,
                "status": run.status.value,
                "reason": run.terminal_reason,
                "error_type": None if error is None else error.type,
                "error_message": None if error is None else error.message,
                "failed": json.encode(_failed(record)).decode(),
                "ended_ms": run.updated_ms,
                "lease_until_ms": 0,
                "deliveries": 0,
            }
            statements.changed(insert_new(OUTBOX).values(facts))


def _error(record: Record) -> ErrorFacts | None:
    """What is known of the error that the run ended with: what a worker ended it with, and a person left as it was."""
    if record.run.error is None:
        return None
    closed = (RunStatus.FAILED, RunStatus.STUCK)
    others = (one for one in reversed(record.transitions) if one.command_id is None or one.to_status not in closed)
    last = next(others)
    by_worker = last.to_status in TERMINAL_STATUSES and last.command_id is None and last.reason != "worker_crashes"
    return error_facts(record.run.error) if by_worker else None


def _failed(record: Record) -> list[str]:
    steps = [
        entry.key
        for entry in record.all_entries()
        if entry.kind is EntryKind.STEP and entry.status is EntryStatus.FAILED
    ]
    children = [
        wait.key
        for wait in record.all_waits()
        if wait.outcome is WaitOutcome.CHILD_ENDED and wait.child_status is not RunStatus.COMPLETED
    ]
    return sorted({*steps, *children})
