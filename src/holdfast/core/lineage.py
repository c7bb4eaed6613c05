"""What a new run takes over from the record of another: which outcomes still hold, and which are to be made again."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from holdfast.core.ids import retry_id
from holdfast.errors import UsageError
from holdfast.model.command import RunCopy
from holdfast.model.run import Entry, RunDetail, Wait
from holdfast.model.status import OF_STEPS, EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome

_COMPENSATION = "~compensate"


class Kept(Struct, frozen=True):
    """The keys of the records that hold."""

    journal: list[str]
    waits: list[str]


def keep_for_retry(detail: RunDetail) -> Kept:
    """All but what the run failed of: it is tried again from there.

    A failure that the workflow went on after is part of its history; one that nothing follows, in its own branch and in
    those around it, is tried again. If steps were compensated, everything from the first of these on is made again.
    """
    undone = {entry.key.removesuffix(_COMPENSATION) for entry in detail.journal if entry.kind is EntryKind.COMPENSATION}
    first = min((entry.seq for entry in detail.journal if entry.key in undone), default=None)
    records = _records(detail)
    return _keys(
        record
        for record in records
        if (first is None or record.seq < first) and not (_failed(record) and _is_last(record, records))
    )


def retry_of(detail: RunDetail, *, from_start: bool, actor: str, note: str) -> RunCopy:
    """The next attempt of a run. Its id is derived from the run's: asked for again, it is the same attempt."""
    kept = Kept([], []) if from_start else keep_for_retry(detail)
    return RunCopy(
        id=retry_id(detail.run.id),
        source_id=detail.run.id,
        retry=True,
        journal=kept.journal,
        waits=kept.waits,
        definition_hash=detail.run.definition_hash,
        actor=actor,
        note=note,
    )


def keep_before(detail: RunDetail, key: str) -> Kept:
    """What was recorded before the step or wait with this key. Raises UsageError if there is none."""
    records = _records(detail)
    at = next((record.seq for record in records if record.key == key), None)
    if at is None:
        known = ", ".join(record.key for record in sorted(records, key=lambda record: record.seq))
        raise UsageError(f"run {detail.run.id} has no recorded step {key!r} to fork from; it has: {known or 'none'}")
    return _keys(record for record in records if record.seq < at)


def keep_through(detail: RunDetail, keys: Iterable[str]) -> Kept:
    """What was recorded up to the last of these outcomes. Raises UsageError if one of them does not exist."""
    seqs = {entry.key: entry.seq for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION}
    wanted = list(keys)
    for key in wanted:
        if key not in seqs:
            known = ", ".join(seqs) or "none"
            raise UsageError(f"run {detail.run.id} has no outcome {key!r} to replace; it has: {known}")
    return _keys(record for record in _records(detail) if record.seq <= max(seqs[key] for key in wanted))


def _records(detail: RunDetail) -> list[Entry | Wait]:
    """What a replay reads: outcomes that are no compensations, and waits that were closed by what they waited for."""
    records: list[Entry | Wait] = [entry for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION]
    records += [
        wait for wait in detail.waits if wait.outcome not in (None, WaitOutcome.CANCELLED) and wait.kind not in OF_STEPS
    ]
    return records


def _keys(records: Iterable[Entry | Wait]) -> Kept:
    kept = list(records)
    return Kept(
        [record.key for record in kept if isinstance(record, Entry)],
        [record.key for record in kept if isinstance(record, Wait)],
    )


def _failed(record: Entry | Wait) -> bool:
    if isinstance(record, Entry):
        return record.status is EntryStatus.FAILED
    if record.kind is WaitKind.CHILD:
        return record.child_status is not RunStatus.COMPLETED
    return record.kind is WaitKind.SIGNAL and record.outcome is WaitOutcome.ELAPSED


def _is_last(record: Entry | Wait, records: list[Entry | Wait]) -> bool:
    """Whether nothing was recorded after it in its own branch or in one around it."""
    scope = _scope(record.key)
    return not any(other.seq > record.seq and scope.startswith(_scope(other.key)) for other in records)


def _scope(key: str) -> str:
    return key[: key.rfind("/") + 1]
