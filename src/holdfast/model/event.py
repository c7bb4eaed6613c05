"""What a subscriber sees of runs: their transitions, on request their records, and the gaps that deletion left."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from holdfast.model.ids import RunId, UnixMs, WorkerId
from holdfast.model.status import EntryStatus, RunStatus


class EventKind(StrEnum):
    """What an event tells."""

    TRANSITION = "transition"
    """A run moved."""
    RECORD = "record"
    """A run recorded the outcome of a step, a child, or anything else that its journal holds."""
    GAP = "gap"
    """Runs were deleted whose events had not been read yet."""


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened to a run. Structural facts and the words of who asked, never payloads."""

    kind: EventKind
    cursor: str
    """Where it stands: pass it as ``after`` to go on behind it, in this process or any other."""
    at_ms: UnixMs
    run_id: RunId | None = None
    """None for a gap."""
    workflow: str | None = None
    seq: int = 0
    """The number of the transition, or of the record, within its run."""
    reason: str
    """Of a transition its reason, of a record its kind in the journal, of a gap ``pruned``."""
    from_status: RunStatus | None = None
    status: RunStatus | None = None
    """The run's status from then on; None for records and gaps."""
    key: str | None = None
    """The key of the step or wait that it is about."""
    name: str | None = None
    """The step's name; None for transitions."""
    outcome: EntryStatus | None = None
    """How the step ended; None for transitions."""
    attempts: int | None = None
    """How many attempts the step took; None for transitions."""
    worker: WorkerId | None = None
    epoch: int = 0
    actor: str | None = None
    note: str | None = None
    command_id: RunId | None = None


class EventFilter(Struct, frozen=True, kw_only=True):
    """Which events; every given condition must hold. Gaps are always told."""

    run_id: RunId | None = None
    """Of this run; of all the tenant's runs if None."""
    kinds: frozenset[EventKind] = frozenset({EventKind.TRANSITION})
    reasons: frozenset[str] = frozenset()
    """Any of these; all if empty."""
    without: frozenset[str] = frozenset()
    """None of these reasons."""
    statuses: frozenset[RunStatus] = frozenset()
    """Transitions to one of these."""
    workflow: str | None = None
    key: str | None = None
    from_ms: UnixMs | None = None
    before_ms: UnixMs | None = None


class EventPage(Struct, frozen=True, kw_only=True):
    """A part of the events, in their order."""

    events: list[Event]
    next: str
    """The cursor behind all that was looked at."""
    more: bool = False
    """There is more behind it already."""
    settling: bool = False
    """Something has happened whose place in the order is not certain yet: older transactions are still open."""
    ended: bool = False
    """The run has ended, and this was all."""
