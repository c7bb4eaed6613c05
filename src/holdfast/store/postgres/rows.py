"""Between records and rows: what is sent as JSON documents, and what comes back as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from holdfast.model.ids import Json, RunId
from holdfast.model.run import Attempt, ClaimedRun, Entry, NewRun, Run, Transition, Wait, WorkerRow
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store.postgres.connection import Document, Row

_ENCODE: Final = msgspec.json.Encoder().encode

# Members are looked up by their text some hundred thousand times per second.
_STATUS: Final = {status.value: status for status in RunStatus}
_ENTRY_KIND: Final = {kind.value: kind for kind in EntryKind}
_ENTRY_STATUS: Final = {status.value: status for status in EntryStatus}
_WAIT_KIND: Final = {kind.value: kind for kind in WaitKind}
_OUTCOME: Final[dict[str | None, WaitOutcome | None]] = {None: None, **{one.value: one for one in WaitOutcome}}
_MAYBE_STATUS: Final[dict[str | None, RunStatus | None]] = {None: None, **{one.value: one for one in RunStatus}}


class Lease(Struct):
    """Whose writes, and under which epoch. ``running``: the run may not be compensating already."""

    id: RunId
    epoch: int
    running: bool


class EntryRow(Struct):
    """A row of the journal."""

    run_id: RunId
    key: str
    seq: int
    kind: EntryKind
    name: str
    status: EntryStatus
    result: Raw | None
    error: Raw | None
    fingerprint: str
    input: Raw | None
    attempts: int
    epoch: int
    started_ms: int
    completed_ms: int


class StartRow(Struct, kw_only=True):
    """A run to be started, under its parent's lease if it is a child."""

    id: RunId
    tenant: str
    workflow: str
    input: Raw
    queue: str
    key: str | None
    priority: int
    delay_ms: int
    timeout_ms: int | None
    attributes: dict[str, str]
    root_id: RunId | None
    parent_id: RunId | None
    parent_key: str | None
    lease_id: RunId | None = None
    lease_epoch: int | None = None
    lease_running: bool | None = None


def raw(payload: Json | None) -> Raw | None:
    """A payload as part of a document, kept to the letter."""
    return None if payload is None else Raw(payload)


def document(rows: Sequence[Any]) -> Document:
    """Rows as one JSON parameter. Raises UnicodeEncodeError for a text with a lone surrogate."""
    return Document(_ENCODE(rows))


def id_array(ids: Iterable[RunId]) -> str:
    """Ids as the text of an array."""
    return "{" + ",".join(ids) + "}"


def entry_row(run_id: RunId, entry: Entry) -> EntryRow:
    """A journal entry as a row."""
    result, error, argument = entry.result, entry.error, entry.input
    return EntryRow(
        run_id,
        entry.key,
        entry.seq,
        entry.kind,
        entry.name,
        entry.status,
        None if result is None else Raw(result),
        None if error is None else Raw(error),
        entry.fingerprint,
        None if argument is None else Raw(argument),
        entry.attempts,
        entry.epoch,
        entry.started_ms,
        entry.completed_ms,
    )


def start_row(run: NewRun, lease: Lease | None = None) -> StartRow:
    """A run to be started as a row."""
    return StartRow(
        id=run.id,
        tenant=run.tenant,
        workflow=run.workflow,
        input=Raw(run.input),
        queue=run.queue,
        key=run.key,
        priority=run.priority,
        delay_ms=run.delay_ms,
        timeout_ms=run.timeout_ms,
        attributes=run.attributes,
        root_id=run.root_id,
        parent_id=run.parent_id,
        parent_key=run.parent_key,
        lease_id=None if lease is None else lease.id,
        lease_epoch=None if lease is None else lease.epoch,
        lease_running=None if lease is None else lease.running,
    )


def claimed_run(row: Row, journal: list[Entry], waits: list[Wait], attempts: list[Attempt]) -> ClaimedRun:
    """A row of ``claim_runs``: the time, and the columns of the run."""
    _, id_, tenant, workflow, queue, status, input_, error, key, root, attempt, epoch, crashes, cancel, created, due = (
        row
    )
    return ClaimedRun(
        id=id_,
        tenant=tenant,
        workflow=workflow,
        queue=queue,
        status=_STATUS[status],
        input=input_,
        error=error,
        key=key,
        root_id=root,
        attempt=attempt,
        epoch=epoch,
        crashes=crashes,
        cancel_requested=cancel,
        created_ms=created,
        deadline_ms=due,
        journal=journal,
        waits=waits,
        attempts=attempts,
    )


def entries_by_run(rows: Iterable[Row]) -> dict[RunId, list[Entry]]:
    """Rows of ``read_journal``."""
    found: dict[RunId, list[Entry]] = {}
    for row in rows:
        (
            run_id,
            key,
            seq,
            kind,
            name,
            status,
            result,
            error,
            fingerprint,
            input_,
            attempts,
            epoch,
            started,
            completed,
        ) = row
        entry = Entry(
            key=key,
            seq=seq,
            kind=_ENTRY_KIND[kind],
            name=name,
            status=_ENTRY_STATUS[status],
            result=result,
            error=error,
            fingerprint=fingerprint,
            input=input_,
            attempts=attempts,
            epoch=epoch,
            started_ms=started,
            completed_ms=completed,
        )
        found.setdefault(run_id, []).append(entry)
    return found


def waits_by_run(rows: Iterable[Row]) -> dict[RunId, list[Wait]]:
    """Rows of ``read_waits``."""
    found: dict[RunId, list[Wait]] = {}
    for row in rows:
        run_id, key, seq, kind, signal, child, due, opened, outcome, closed, result, error, child_status = row
        wait = Wait(
            key=key,
            seq=seq,
            kind=_WAIT_KIND[kind],
            signal=signal,
            child_id=child,
            due_ms=due,
            opened_ms=opened,
            outcome=_OUTCOME[outcome],
            closed_ms=closed,
            result=result,
            error=error,
            child_status=_MAYBE_STATUS[child_status],
        )
        found.setdefault(run_id, []).append(wait)
    return found


def attempts_by_run(rows: Iterable[Row]) -> dict[RunId, list[Attempt]]:
    """Rows of ``read_attempts``."""
    found: dict[RunId, list[Attempt]] = {}
    for run_id, key, attempt, error, started, ended in rows:
        one = Attempt(key=key, attempt=attempt, error=error, started_ms=started, ended_ms=ended)
        found.setdefault(run_id, []).append(one)
    return found


def transition_of(row: Row) -> Transition:
    """A row of ``read_transitions``."""
    seq, from_status, to_status, reason, key, worker, epoch, at_ms = row
    return Transition(
        seq=seq,
        from_status=_MAYBE_STATUS[from_status],
        to_status=_STATUS[to_status],
        reason=reason,
        key=key,
        worker=worker,
        epoch=epoch,
        at_ms=at_ms,
    )


_RUN_COLUMNS: Final = [
    "id",
    "tenant",
    "workflow",
    "queue",
    "status",
    "status_reason",
    "terminal_reason",
    "input",
    "result",
    "error",
    "key",
    "priority",
    "version",
    "definition_hash",
    "root_id",
    "retry_of_id",
    "attempt",
    "parent_id",
    "parent_key",
    "attributes",
    "worker",
    "epoch",
    "crashes",
    "cancel_requested",
    "created_ms",
    "updated_ms",
    "ready_ms",
    "wake_ms",
    "deadline_ms",
    "started_ms",
    "finalized_ms",
]

_WORKER_COLUMNS: Final = [
    "id",
    "queues",
    "workflows",
    "host",
    "pid",
    "version",
    "started_ms",
    "heartbeat_ms",
    "lease_until_ms",
]


def run_of(row: Row) -> Run:
    """A row of ``get_run``."""
    values = dict(zip(_RUN_COLUMNS, row, strict=True))
    values["status"] = _STATUS[values["status"]]
    return Run(**values)


def worker_of(row: Row) -> WorkerRow:
    """A row of ``list_workers``."""
    return WorkerRow(**dict(zip(_WORKER_COLUMNS, row, strict=True)))


def status_of(text: str) -> RunStatus:
    """A stored status."""
    return _STATUS[text]
