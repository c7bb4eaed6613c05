"""The order of events, and the cursors that name a place in it.

The events of one run are its transitions by number, and its records by number. Those of a tenant are in the order of
their *position*: on PostgreSQL the id of the transaction that wrote them, read only as far as no older transaction
is open; elsewhere the number of the row. Of two transactions that met in one run, the one with the higher id may have
moved it first. What it overtook is then *held* back until its predecessor has been told, so that the events of each
run come in their own order; a cursor names what is held at its place.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct, structs

from holdfast.errors import UsageError
from holdfast.model.event import Event, EventFilter, EventKind
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Entry, Run, Transition
from holdfast.model.status import TERMINAL_STATUSES

LAST: Final = RunId("ffffffff-ffff-ffff-ffff-ffffffffffff")
"""Behind every run's id."""

FIRST: Final = RunId("00000000-0000-0000-0000-000000000000")
"""Before every run's id."""

_SEQ_MAX: Final = 2**31 - 1
_LENGTH_MAX: Final = 8_192

Key = tuple[int, RunId, int]
"""A place among the events of a tenant: position, run, number of the transition."""


class RunPlace(Struct, frozen=True, tag="run", array_like=True):
    """A place among the events of one run: the last transition and the last record before it."""

    run_id: RunId
    seq: int = 0
    record: int = 0


class TenantPlace(Struct, frozen=True, tag="all", array_like=True):
    """A place among the events of a tenant."""

    position: int = 0
    run_id: RunId = FIRST
    seq: int = 0
    pruned: int = 0
    """Up to this position it is known that events are gone."""
    held: tuple[tuple[RunId, int], ...] = ()
    """Transitions before this place that were not told yet, because an earlier one of their run comes behind it."""

    @property
    def key(self) -> Key:
        """What is ordered."""
        return (self.position, self.run_id, self.seq)


Place = RunPlace | TenantPlace

_decoder = msgspec.json.Decoder(Place)


def encode_place(place: Place) -> str:
    """A cursor: text that is safe in a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode("ascii").rstrip("=")


def decode_place(text: str, run_id: RunId | None) -> Place:
    """Read back what ``encode_place`` made for this run, or for all. Raises UsageError for anything else."""
    try:
        if len(text) > _LENGTH_MAX:
            raise ValueError("too long")
        raw = text.encode("ascii") + b"=" * (-len(text) % 4)
        place: Place = _decoder.decode(base64.b64decode(raw, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise UsageError("the cursor was not given out with an event") from error
    if (place.run_id if isinstance(place, RunPlace) else None) != run_id:
        raise UsageError("the cursor was given out for the events of another run, or of all runs")
    return place


def passes(where: EventFilter, event: Event) -> bool:
    """Whether the event is one that was asked for."""
    if event.kind is EventKind.GAP:
        return True
    return (
        event.kind in where.kinds
        and (not where.reasons or event.reason in where.reasons)
        and event.reason not in where.without
        and (not where.statuses or event.status in where.statuses)
        and where.workflow in (None, event.workflow)
        and where.key in (None, event.key)
        and (where.from_ms is None or event.at_ms >= where.from_ms)
        and (where.before_ms is None or event.at_ms < where.before_ms)
    )


def transition_event(run_id: RunId, workflow: str, moved: Transition, place: Place) -> Event:
    """A transition as a subscriber sees it."""
    return Event(
        kind=EventKind.TRANSITION,
        cursor=encode_place(place),
        at_ms=moved.at_ms,
        run_id=run_id,
        workflow=workflow,
        seq=moved.seq,
        reason=moved.reason,
        from_status=moved.from_status,
        status=moved.to_status,
        key=moved.key,
        worker=moved.worker,
        epoch=moved.epoch,
        actor=moved.actor,
        note=moved.note,
        command_id=moved.command_id,
    )


def gap_event(at_ms: UnixMs, place: TenantPlace) -> Event:
    """Between the place before and this one, events were deleted that had not been read."""
    return Event(kind=EventKind.GAP, cursor=encode_place(place), at_ms=at_ms, reason="pruned")


def _record_event(run: Run, entry: Entry, place: Place) -> Event:
    return Event(
        kind=EventKind.RECORD,
        cursor=encode_place(place),
        at_ms=entry.completed_ms,
        run_id=run.id,
        workflow=run.workflow,
        seq=entry.seq,
        reason=entry.kind.value,
        key=entry.key,
        name=entry.name,
        outcome=entry.status,
        attempts=entry.attempts,
        epoch=entry.epoch,
        actor=entry.settled_by,
    )


# --- One run -----------------------------------------------------------------------------------------------------


def merge_run(run: Run, transitions: Sequence[Transition], entries: Sequence[Entry], place: RunPlace) -> list[Event]:
    """Transitions and records of a run as one sequence: each in its own order, by lease and then by time.

    What a lease recorded comes behind its claim and before the run's end, whatever the worker's clock said.
    """
    events: list[Event] = []
    left = list(entries)
    for moved in transitions:
        while left and _is_before(left[0], moved):
            entry = left.pop(0)
            place = structs.replace(place, record=entry.seq)
            events.append(_record_event(run, entry, place))
        place = structs.replace(place, seq=moved.seq)
        events.append(transition_event(run.id, run.workflow, moved, place))
    for entry in left:
        place = structs.replace(place, record=entry.seq)
        events.append(_record_event(run, entry, place))
    return events


def _is_before(entry: Entry, moved: Transition) -> bool:
    if entry.epoch != moved.epoch:
        return entry.epoch < moved.epoch
    if moved.reason == "claimed":
        return False
    return moved.to_status in TERMINAL_STATUSES or entry.completed_ms <= moved.at_ms


# --- A tenant ----------------------------------------------------------------------------------------------------


class FeedRow(Struct, frozen=True):
    """A transition in the order of positions."""

    position: int
    run_id: RunId
    transition: Transition | None
    """None for the last of a full window if it is another tenant's: it only tells how far was looked."""
    workflow: str
    seq: int
    prior: int
    """The position of the run's transition before it; 0 for the first."""

    @property
    def key(self) -> Key:
        """What is ordered."""
        return (self.position, self.run_id, self.seq)

    @property
    def prior_key(self) -> Key:
        """Where the run's transition before it stands."""
        return (self.prior, self.run_id, self.seq - 1)


def order_feed(
    place: TenantPlace, rows: Iterable[FeedRow], held: Iterable[FeedRow]
) -> tuple[list[tuple[FeedRow, TenantPlace]], TenantPlace]:
    """What to tell, each with the place behind it, and the place behind all.

    ``rows`` are those behind ``place``, in the order of their keys; ``held`` are those that ``place.held`` names, as
    far as they are still there.
    """
    feed = _Feed(place, held)
    feed.release_due()
    for row in rows:
        feed.take(row)
    return feed.told, feed.place


class _Feed:
    def __init__(self, place: TenantPlace, held: Iterable[FeedRow]) -> None:
        self.told: list[tuple[FeedRow, TenantPlace]] = []
        self._held: dict[tuple[RunId, int], FeedRow] = {(row.run_id, row.seq): row for row in held}
        self.place = structs.replace(place, held=tuple(sorted(self._held)))

    def release_due(self) -> None:
        """Tell what was held at the place where the reader left, if its predecessor was told there."""
        for (run_id, seq), row in sorted(self._held.items()):
            if (run_id, seq - 1) not in self._held and row.prior_key <= self.place.key:
                self._release(run_id, seq)

    def take(self, row: FeedRow) -> None:
        before = (row.run_id, row.seq - 1)
        self.place = structs.replace(self.place, position=row.position, run_id=row.run_id, seq=row.seq)
        if row.transition is None:
            return
        if row.prior > row.position or before in self._held:
            self._held[row.run_id, row.seq] = row
            self.place = structs.replace(self.place, held=tuple(sorted(self._held)))
            return
        self.told.append((row, self.place))
        self._release(row.run_id, row.seq + 1)

    def _release(self, run_id: RunId, seq: int) -> None:
        while (row := self._held.pop((run_id, seq), None)) is not None:
            self.place = structs.replace(self.place, held=tuple(sorted(self._held)))
            self.told.append((row, self.place))
            seq += 1


def behind(place: TenantPlace, horizon: int) -> TenantPlace:
    """The place behind all that stands before a position."""
    if place.position >= horizon:
        return place
    return structs.replace(place, position=horizon - 1, run_id=LAST, seq=_SEQ_MAX)
