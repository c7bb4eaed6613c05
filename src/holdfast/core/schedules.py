"""What a schedule does when its time has come: a decision from its row, the clock, and whether a run is under way."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from holdfast.core.names import check_name
from holdfast.core.slots import count_slots, last_slot, next_slot, slots_from
from holdfast.errors import UsageError
from holdfast.model.ids import Json, UnixMs
from holdfast.model.schedule import CatchUp, Overlap, ScheduleRow, ScheduleSpec, Tick, TickCause, TickOutcome, Timing

NAME_MAX: Final = 100
"""The most characters of a schedule's name: with the slot behind it, it is the key of a run."""

LATE_MS: Final = 60_000
"""A slot that is older than this when it is looked at came while nobody was there."""

BURST: Final = 100
"""The most slots that are decided together."""

BURST_PAUSE_MS: Final = 1_000
"""How long the next ones wait if there are more."""

LOOK_MS: Final = 2_000
"""How often to look whether the run has ended that a slot waits for."""

ATTRIBUTE_NAME: Final = "schedule"
ATTRIBUTE_SLOT: Final = "slot"

SLOT: Final = {"holdfast.slot": True}
"""Among the arguments of a schedule: the slot itself, which the run is given as a moment (``datetime``) in UTC."""

_MARK: Final = msgspec.json.encode(SLOT)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_specs: Final = msgspec.json.Decoder(ScheduleSpec)


class _Call(Struct, omit_defaults=True):
    args: list[Raw] = []
    kwargs: dict[str, Raw] = {}


class _Input(Struct):
    value: _Call


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be recorded, all of it or nothing."""

    ticks: tuple[Tick, ...]
    """The entries of the history; those that are STARTED are to be started."""
    next_ms: UnixMs | None
    queued_ms: UnixMs | None
    last_ms: UnixMs | None
    due_ms: UnixMs | None


def plan(row: ScheduleRow, now_ms: UnixMs, *, under_way: bool) -> Plan:
    """Decide about the slots that are due.

    Args:
        row: the schedule as it was read; what is decided may be recorded at its revision only.
        now_ms: by the database's clock.
        under_way: whether a run of it has not ended.
    """
    spec, ticks, queued_ms = row.spec, list[Tick](), row.queued_ms
    if queued_ms is not None and not under_way:
        ticks.append(Tick(slot_ms=queued_ms, until_ms=queued_ms, outcome=TickOutcome.STARTED))
        queued_ms, under_way = None, True
    first_ms = _first_due(row, now_ms)
    next_ms, last_ms = first_ms, row.last_ms
    if first_ms is not None and first_ms <= now_ms:
        kept_ms = _kept_from(spec, first_ms, now_ms)
        if kept_ms > first_ms:
            next_ms = next_slot(spec.timing, UnixMs(kept_ms - 1))
            missed = _missed(spec.timing, first_ms, kept_ms)
            if missed is not None:
                ticks.append(missed)
                last_ms = missed.until_ms
        for slot_ms in islice(slots_from(spec.timing, next_ms, now_ms), BURST):
            if slot_ms + jitter_of(row, slot_ms) > now_ms:
                break
            outcome = _decide(spec.overlap, under_way=under_way, queued=queued_ms is not None)
            if outcome is TickOutcome.QUEUED:
                queued_ms = slot_ms
            under_way = under_way or outcome is TickOutcome.STARTED
            _add(ticks, slot_ms, outcome)
            last_ms, next_ms = slot_ms, next_slot(spec.timing, slot_ms)
    due_ms = due_from(row, next_ms, queued_ms, now_ms)
    return Plan(ticks=tuple(ticks), next_ms=next_ms, queued_ms=queued_ms, last_ms=last_ms, due_ms=due_ms)


def due_from(row: ScheduleRow, next_ms: UnixMs | None, queued_ms: UnixMs | None, now_ms: UnixMs) -> UnixMs | None:
    """When to look again."""
    moments = [] if queued_ms is None else [UnixMs(now_ms + LOOK_MS)]
    if next_ms is not None:
        turn_ms = UnixMs(next_ms + jitter_of(row, next_ms))
        moments.append(turn_ms if turn_ms > now_ms else UnixMs(now_ms + BURST_PAUSE_MS))
    return min(moments, default=None)


def jitter_of(row: ScheduleRow, slot_ms: UnixMs) -> int:
    """How much later than its slot the run is started: the same for everyone who asks."""
    if not row.spec.jitter_ms:
        return 0
    digest = hashlib.sha256(f"{row.tenant}\0{row.name}\0{slot_ms}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % (row.spec.jitter_ms + 1)


def _first_due(row: ScheduleRow, now_ms: UnixMs) -> UnixMs | None:
    """The next slot, unless the rules of its time zone have been changed since it was recorded."""
    timing, recorded_ms = row.spec.timing, row.next_ms
    if recorded_ms is None or recorded_ms > now_ms or next_slot(timing, UnixMs(recorded_ms - 1)) == recorded_ms:
        return recorded_ms
    return next_slot(timing, row.changed_ms if row.last_ms is None else row.last_ms)


def _kept_from(spec: ScheduleSpec, first_ms: UnixMs, now_ms: UnixMs) -> UnixMs:
    """The oldest moment whose slots are not missed."""
    on_time_ms = UnixMs(now_ms - LATE_MS - spec.jitter_ms)
    if first_ms >= on_time_ms:
        return first_ms
    window_ms = UnixMs(now_ms - spec.window_ms)
    match spec.catch_up:
        case CatchUp.NONE:
            return on_time_ms
        case CatchUp.ALL:
            return max(first_ms, window_ms)
        case CatchUp.ONE:
            newest_ms = last_slot(spec.timing, UnixMs(first_ms - 1), now_ms)
            return max(window_ms, first_ms if newest_ms is None else newest_ms)


def _missed(timing: Timing, first_ms: UnixMs, kept_ms: UnixMs) -> Tick | None:
    until_ms = last_slot(timing, UnixMs(first_ms - 1), UnixMs(kept_ms - 1))
    if until_ms is None:
        return None
    slots = count_slots(timing, first_ms, kept_ms)
    return Tick(slot_ms=first_ms, until_ms=until_ms, slots=slots, outcome=TickOutcome.MISSED)


def _decide(overlap: Overlap, *, under_way: bool, queued: bool) -> TickOutcome:
    if not under_way or overlap is Overlap.ALLOW:
        return TickOutcome.STARTED
    return TickOutcome.QUEUED if overlap is Overlap.QUEUE and not queued else TickOutcome.SKIPPED


def _add(ticks: list[Tick], slot_ms: UnixMs, outcome: TickOutcome) -> None:
    """Slots in a row that are skipped are one entry."""
    last = ticks[-1] if ticks else None
    if outcome is TickOutcome.SKIPPED and last is not None and last.outcome is outcome and last.slots is not None:
        ticks[-1] = msgspec.structs.replace(last, until_ms=slot_ms, slots=last.slots + 1)
    else:
        ticks.append(Tick(slot_ms=slot_ms, until_ms=slot_ms, outcome=outcome))


# --- Names -------------------------------------------------------------------------------------------------------


def check_schedule_name(name: str) -> str:
    """The name itself. Raises UsageError."""
    if len(check_name("schedule", name)) > NAME_MAX:
        raise UsageError(f"the schedule name {name[:40]!r}... has {len(name)} characters; the limit is {NAME_MAX}")
    return name


def slot_text(slot_ms: UnixMs) -> str:
    """A slot as keys and people write it."""
    return moment_of(slot_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")


def moment_of(at_ms: UnixMs) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def run_key(name: str, cause: TickCause, slot_ms: UnixMs, request_id: str = "") -> str:
    """The key of the run of a slot: a slot starts one run, whoever tries and however often.

    A backfill is for the slots themselves; who pulls a trigger twice with one request id pulls it once.
    """
    if cause is TickCause.TRIGGER:
        return f"schedule:{name}:trigger:{request_id}"
    return f"schedule:{name}:{slot_text(slot_ms)}"


def fill_slot(payload: Json, slot_ms: UnixMs) -> Json:
    """The arguments of a run: those of the schedule, with the slot in the place of ``SLOT``."""
    if payload.find(_MARK) < 0:
        return payload
    call, slot = msgspec.json.decode(payload, type=_Input), Raw(msgspec.json.encode(slot_text(slot_ms)))

    def fill(value: Raw) -> Raw:
        return slot if bytes(value) == _MARK else value

    filled = _Call([fill(one) for one in call.value.args], {name: fill(one) for name, one in call.value.kwargs.items()})
    return Json(msgspec.json.encode(_Input(filled)))


def run_attributes(name: str, slot_ms: UnixMs) -> dict[str, Any]:
    """What shows of every run which schedule started it, and for which slot."""
    return {ATTRIBUTE_NAME: name, ATTRIBUTE_SLOT: moment_of(slot_ms)}


# --- Stored form -------------------------------------------------------------------------------------------------


def encode_spec(spec: ScheduleSpec) -> str:
    """A spec as it is stored."""
    return msgspec.json.encode(spec).decode()


def decode_spec(text: str) -> ScheduleSpec:
    """Read back what ``encode_spec`` made. Raises ValueError."""
    return _specs.decode(text)
