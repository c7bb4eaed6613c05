"""What the statements' JSON answers hold, and the records that are made of it.

Payloads travel inside these answers as JSON strings, so that they come out as they were stored, to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast.core.attributes import index_row, plain_attributes
from holdfast.model.commit import LiveUpdate, Progress
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import Attempt, ClaimedRun, Entry, NewRun, Wait
from holdfast.model.search import AttributeValue
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store.sqlite.statements import Value, as_json

EntryRow = tuple[
    str,
    int,
    EntryKind,
    str,
    EntryStatus,
    str | None,
    str | None,
    str,
    str | None,
    int,
    int,
    UnixMs,
    UnixMs,
    str | None,
]
WaitRow = tuple[
    str,
    int,
    WaitKind,
    str | None,
    RunId | None,
    UnixMs | None,
    UnixMs,
    WaitOutcome | None,
    UnixMs | None,
    str | None,
    str | None,
    RunStatus | None,
    str | None,
    str | None,
]
AttemptRow = tuple[str, int, str, UnixMs, UnixMs]
ClaimedRow = tuple[
    RunId,
    Tenant,
    str,
    str,
    RunStatus,
    str,
    str | None,
    str | None,
    RunId,
    int,
    int,
    int,
    int,
    UnixMs,
    UnixMs | None,
    int,
    int | None,
    str | None,
    int,
    int,
    RunId | None,
]

TEXTS: Final = msgspec.json.Decoder(list[str])
IDS: Final = msgspec.json.Decoder(list[RunId])
PLACES: Final = msgspec.json.Decoder(list[list[tuple[int, UnixMs, RunId]]])
CLAIMED: Final = msgspec.json.Decoder(list[ClaimedRow])
ENTRIES: Final = msgspec.json.Decoder(list[tuple[RunId, EntryRow]])
WAITS: Final = msgspec.json.Decoder(list[tuple[RunId, WaitRow]])
ATTEMPTS: Final = msgspec.json.Decoder(list[tuple[RunId, AttemptRow]])
FENCES: Final = msgspec.json.Decoder(list[tuple[RunId, str, int, int]])
QUOTAS: Final = msgspec.json.Decoder(list[tuple[Tenant, int | None, int | None, int | None, int, int]])
KEPT: Final = msgspec.json.Decoder(list[tuple[RunId, str, Tenant, RunId, str, str]])
PROGRESS: Final = msgspec.json.Decoder(list[tuple[RunId, RunStatus, int, int, int]])
LIVE: Final = msgspec.json.Decoder(list[tuple[RunId, int, int, list[WaitRow]]])
JUDGED: Final = msgspec.json.Decoder(list[tuple[RunId, str, str, str | None]])
ROOMS: Final = msgspec.json.Decoder(list[tuple[str, str, int | None, int | None]])
BARS: Final = msgspec.json.Decoder(list[tuple[str, str, int]])
MARKED: Final = msgspec.json.Decoder(list[tuple[RunId, int]])
"""Run ids, each with a number: crashes, or a mark of 0 or 1."""
PARENT_WAITS: Final = msgspec.json.Decoder(list[tuple[int, RunId, str, int, int]])
BREAKER_WAITS: Final = msgspec.json.Decoder(list[tuple[RunId, str, int, int]])
LISTENING: Final = msgspec.json.Decoder(list[tuple[RunId, str, str | None, int, int]])
HEARD: Final = msgspec.json.Decoder(list[tuple[RunId, RunId | None, str, int, str, list[RunId]]])
ALIKE: Final = msgspec.json.Decoder(list[tuple[str, RunId]])
"""Pairs of texts: a signal's id and its receiver, or a tenant and a signal's id."""

exact = str.__str__
"""The plain string of an enum's member, which the driver binds much faster than the member."""


def payload(text: str | None) -> Json | None:
    """A stored payload that may be absent."""
    return None if text is None else Json(text.encode())


def text_of(value: Json | None) -> str | None:
    """A payload as it is stored. Raises UnicodeDecodeError if it is not UTF-8."""
    return None if value is None else value.decode()


def entry_values(run_id: RunId, epoch: int, entry: Entry) -> tuple[Value, ...]:
    """An entry as the columns of commit_entries. Raises ValueError if a text cannot be stored."""
    refuse_nul(entry.key, entry.name, entry.fingerprint)
    return (
        run_id,
        epoch,
        entry.key,
        entry.seq,
        exact(entry.kind),
        entry.name,
        exact(entry.status),
        None if entry.result is None else entry.result.decode(),
        None if entry.error is None else entry.error.decode(),
        entry.fingerprint,
        None if entry.input is None else entry.input.decode(),
        entry.attempts,
        entry.epoch,
        entry.started_ms,
        entry.completed_ms,
    )


def run_values(new: NewRun, now_ms: UnixMs) -> tuple[Value, ...]:
    """A new run as the columns of start_runs. Raises ValueError if a text cannot be stored."""
    attributes = as_json(plain_attributes(new.attributes)) if new.attributes else "{}"
    refuse_nul(new.id, new.tenant, new.workflow, new.queue, new.key, new.parent_key, new.root_id, new.parent_id)
    refuse_nul(new.definition_hash)
    if new.attributes:
        refuse_nul(*attribute_texts(new.attributes))
    delayed = new.delay_ms > 0
    deadline_ms = None if new.timeout_ms is None else now_ms + new.timeout_ms
    wake_ms = now_ms + new.delay_ms if deadline_ms is None else min(now_ms + new.delay_ms, deadline_ms)
    return (
        new.id,
        new.tenant,
        new.workflow,
        new.version,
        new.definition_hash,
        new.queue,
        "delayed" if delayed else "started",
        new.input.decode(),
        new.key,
        new.priority,
        new.root_id or new.id,
        new.parent_id,
        new.parent_key,
        exact(new.parent_policy),
        attributes,
        now_ms,
        None if delayed else now_ms,
        wake_ms if delayed else None,
        deadline_ms,
    )


def attribute_texts(attributes: Mapping[str, AttributeValue | None]) -> list[str]:
    """Names and textual values."""
    return [*attributes, *(value for value in attributes.values() if isinstance(value, str))]


def attribute_rows(run_id: RunId, attributes: Mapping[str, AttributeValue | None]) -> list[tuple[Value | float, ...]]:
    """The columns of start_runs_attributes for the attributes that have a value."""
    return [(run_id, name, *index_row(value)) for name, value in attributes.items() if value is not None]


def refuse_nul(*texts: str | None) -> None:
    """Raise ValueError if a text holds a NUL character, which PostgreSQL does not take and tools cut texts at."""
    for text in texts:
        if text is not None and "\x00" in text:
            raise ValueError("a text holds a NUL character")


def entry_from(row: EntryRow) -> Entry:
    """A journal entry."""
    return Entry(
        key=row[0],
        seq=row[1],
        kind=row[2],
        name=row[3],
        status=row[4],
        result=payload(row[5]),
        error=payload(row[6]),
        fingerprint=row[7],
        input=payload(row[8]),
        attempts=row[9],
        epoch=row[10],
        started_ms=row[11],
        completed_ms=row[12],
        settled_by=row[13],
    )


def wait_from(row: WaitRow) -> Wait:
    """A wait."""
    return Wait(
        key=row[0],
        seq=row[1],
        kind=row[2],
        signal=row[3],
        child_id=row[4],
        due_ms=row[5],
        opened_ms=row[6],
        outcome=row[7],
        closed_ms=row[8],
        result=payload(row[9]),
        error=payload(row[10]),
        child_status=row[11],
        request=payload(row[12]),
        note=row[13],
    )


def attempt_from(row: AttemptRow) -> Attempt:
    """A failed attempt."""
    return Attempt(key=row[0], attempt=row[1], error=Json(row[2].encode()), started_ms=row[3], ended_ms=row[4])


def claimed_from(row: ClaimedRow, *, counted: bool) -> ClaimedRun:
    """A claimed run; what it has recorded is appended to its lists afterwards."""
    return ClaimedRun(
        id=row[0],
        tenant=row[1],
        workflow=row[2],
        queue=row[3],
        status=row[4],
        input=Json(row[5].encode()),
        error=payload(row[6]),
        key=row[7],
        root_id=row[8],
        attempt=row[9],
        epoch=row[10],
        crashes=row[11],
        cancel_requested=row[12] == 1,
        created_ms=row[13],
        deadline_ms=row[14],
        priority=row[15],
        version=row[16],
        definition_hash=row[17],
        cancel_compensates=row[18] == 1,
        pause_requested=row[19] == 1,
        parent_id=row[20],
        counted=counted,
        journal=[],
        waits=[],
        attempts=[],
    )


def progress_from(row: tuple[RunId, RunStatus, int, int, int]) -> Progress:
    """How far a run has come."""
    return Progress(row[1], row[2], row[3], row[4])


def live_from(row: tuple[RunId, int, int, list[WaitRow]]) -> LiveUpdate:
    """News for a held run, its waits in order."""
    return LiveUpdate(row[0], row[1] == 1, sorted_waits([wait_from(wait) for wait in row[3]]), row[2] == 1)


def sorted_waits(waits: list[Wait]) -> list[Wait]:
    """Waits, oldest first."""
    return sorted(waits, key=lambda wait: (wait.seq, wait.key))
