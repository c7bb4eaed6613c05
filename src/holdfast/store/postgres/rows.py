"""Between records and rows: what is sent as JSON documents, and what comes back as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from holdfast.core.attributes import plain_attributes
from holdfast.errors import QuotaExceeded
from holdfast.model.ids import Json, RunId, Tenant
from holdfast.model.run import Attempt, ClaimedRun, Entry, NewRun, Wait
from holdfast.model.status import EntryKind, EntryStatus, RunStatus
from holdfast.store.postgres.connection import Document, Row
from holdfast.store.records import attempt_from, entry_from, wait_from

_ENCODE: Final = msgspec.json.Encoder().encode

_STATUS: Final = {status.value: status for status in RunStatus}

T = TypeVar("T")


def quota_error(tenant: Tenant, excess: str) -> QuotaExceeded:
    """What ``find_excess`` says, as an error."""
    name, limit, found = msgspec.json.decode(excess, type=tuple[str, int, int])
    return QuotaExceeded(tenant=tenant, quota=name, limit=limit, found=found)


class Lease(Struct, gc=False):
    """Whose writes, and under which epoch. ``running``: the run may not be compensating already."""

    id: RunId
    epoch: int
    running: bool


class EntryRow(Struct, gc=False):
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


class StartRow(Struct, kw_only=True, gc=False):
    """A run to be started, under its parent's lease if it is a child."""

    id: RunId
    tenant: str
    workflow: str
    version: int | None
    definition_hash: str | None
    input: Raw
    queue: str
    key: str | None
    priority: int
    delay_ms: int
    timeout_ms: int | None
    attributes: dict[str, Any]
    root_id: RunId | None
    parent_id: RunId | None
    parent_key: str | None
    parent_policy: str
    lease_id: RunId | None = None
    lease_epoch: int | None = None
    lease_running: bool | None = None


class WaitKeyRow(Struct, gc=False):
    """A wait."""

    id: RunId
    key: str


class PairRow(Struct, gc=False):
    """A wait, and the signal that closes it."""

    id: RunId
    key: str
    tenant: str
    signal_id: RunId


class NoteRow(Struct, gc=False):
    """A wait, and why its filter failed."""

    id: RunId
    key: str
    note: str


class SignalRow(Struct, gc=False):
    """A signal to be accepted."""

    id: RunId
    tenant: str
    name: str
    run_id: RunId | None
    keep_ms: int | None
    payload: Raw


def raw(payload: Json | None) -> Raw | None:
    """A payload as part of a document, kept to the letter."""
    return None if payload is None else Raw(payload)


def document(rows: Sequence[Any] | Mapping[str, Any] | Struct) -> Document:
    """Rows, or whatever else, as one JSON parameter. Raises UnicodeEncodeError for a text with a lone surrogate."""
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
        version=run.version,
        definition_hash=run.definition_hash,
        input=Raw(run.input),
        queue=run.queue,
        key=run.key,
        priority=run.priority,
        delay_ms=run.delay_ms,
        timeout_ms=run.timeout_ms,
        attributes=plain_attributes(run.attributes),
        root_id=run.root_id,
        parent_id=run.parent_id,
        parent_key=run.parent_key,
        parent_policy=run.parent_policy,
        lease_id=None if lease is None else lease.id,
        lease_epoch=None if lease is None else lease.epoch,
        lease_running=None if lease is None else lease.running,
    )


def claimed_run(row: Row, journal: list[Entry], waits: list[Wait], attempts: list[Attempt]) -> ClaimedRun:
    """A row of ``claim_runs``: the time, and the columns of the run in the order of its fields."""
    return ClaimedRun(
        id=row[1],
        tenant=row[2],
        workflow=row[3],
        queue=row[4],
        status=_STATUS[row[5]],
        input=row[6],
        error=row[7],
        key=row[8],
        root_id=row[9],
        attempt=row[10],
        epoch=row[11],
        crashes=row[12],
        cancel_requested=row[13],
        created_ms=row[14],
        deadline_ms=row[15],
        priority=row[16],
        version=row[17],
        definition_hash=row[18],
        cancel_compensates=row[19],
        pause_requested=row[20],
        parent_id=row[21],
        counted=row[23],
        journal=journal,
        waits=waits,
        attempts=attempts,
    )


def entries_by_run(rows: Iterable[Row]) -> dict[RunId, list[Entry]]:
    """Rows of ``read_journal``."""
    return _by_run(rows, entry_from)


def waits_by_run(rows: Iterable[Row]) -> dict[RunId, list[Wait]]:
    """Rows of ``read_waits``."""
    return _by_run(rows, wait_from)


def attempts_by_run(rows: Iterable[Row]) -> dict[RunId, list[Attempt]]:
    """Rows of ``read_attempts``."""
    return _by_run(rows, attempt_from)


def _by_run(rows: Iterable[Row], record: Callable[[Row], T]) -> dict[RunId, list[T]]:
    """Records by the run that stands in the first column."""
    found: dict[RunId, list[T]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(record(row[1:]))
    return found


def status_of(text: str) -> RunStatus:
    """A stored status."""
    return _STATUS[text]
