"""The commit in which a run ends and its successor begins."""

from __future__ import annotations

from msgspec import structs

from holdfast.model.commit import Continue
from holdfast.model.ids import RunId
from holdfast.model.run import NewRun, Run
from holdfast.model.status import RunStatus, WaitOutcome
from holdfast.store.memory.tables import Record, StoredWait
from holdfast.store.memory.unit import Unit, first_row


def continue_run(unit: Unit, record: Record, move: Continue) -> None:
    """End a running run and start its successor, which takes over what does not stand in the journal."""
    for wait in record.open_waits():
        unit.close_wait(record, wait.key, WaitOutcome.CANCELLED)
    before = record.run
    unit.move(
        record,
        RunStatus.COMPLETED,
        reason="continued",
        terminal_reason="continued",
        continued_as_id=move.successor_id,
        chain_id=before.chain_id or before.id,
        link=before.link or 1,
        worker=None,
        ready_ms=None,
        wake_ms=None,
        finalized_ms=unit.now_ms,
        crashes=0,
    )
    unit.ended.append(record)
    run = structs.replace(
        first_row(_successor(before, move), unit.now_ms),
        status_reason="continued",
        attempt=before.attempt,
        chain_id=record.run.chain_id,
        link=(record.run.link or 1) + 1,
        continued_from_id=before.id,
        deadline_ms=before.deadline_ms,
        cancel_requested=before.cancel_requested,
        cancel_compensates=before.cancel_compensates,
        pause_requested=before.pause_requested,
    )
    successor = unit.begin(run)
    _hand_over(unit, before, move.successor_id)
    if before.pause_requested and not before.cancel_requested:
        unit.move(successor, RunStatus.PAUSED, reason="paused", ready_ms=None, pause_requested=False)


def _successor(run: Run, move: Continue) -> NewRun:
    return NewRun(
        id=move.successor_id,
        tenant=run.tenant,
        workflow=run.workflow,
        version=run.version,
        definition_hash=run.definition_hash,
        input=move.input,
        queue=run.queue,
        key=run.key,
        priority=run.priority,
        attributes=run.attributes,
        root_id=run.root_id,
        parent_id=run.parent_id,
        parent_key=run.parent_key,
        parent_policy=run.parent_policy,
    )


def _hand_over(unit: Unit, run: Run, successor_id: RunId) -> None:
    """Signals that nobody consumed, waits for its end, and children that have not ended, are the successor's."""
    tables = unit.tables
    for place, stored in tables.signals.items():
        if stored.signal.tenant != run.tenant or stored.consumed_ms is not None:
            continue
        if stored.signal.run_id == run.id:
            forwarded = structs.replace(stored.signal, run_id=successor_id)
            tables.signals[place] = structs.replace(stored, signal=forwarded)
        elif run.id in stored.received:
            tables.signals[place] = structs.replace(stored, received=stored.received | {successor_id})
    for waiter, wait in tables.waiting_for_child(run):
        epoch = waiter.waits[wait.key].epoch
        waiter.waits[wait.key] = StoredWait(structs.replace(wait, child_id=successor_id), epoch)
    for child in tables.records.values():
        if child.run.parent_id == run.id and child.run.finalized_ms is None:
            child.run = structs.replace(child.run, parent_id=successor_id)
