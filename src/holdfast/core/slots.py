"""Slots: which moments a cron expression or an interval names, in any time zone.

The slots of a timing are a fixed set of moments, whoever asks and from where: the next slot after a moment is the
least of them beyond it. So a slot can be the key of its run.

Where clocks are put forward or back (ADR 0033):

- An expression whose minute or hour begins with ``*`` names every moment at which the local clock shows a time that it
  matches: nothing for the hour that is left out, twice for the hour that comes twice.
- Any other names times of day, each of which comes once: one that is left out comes when the clock goes on, one that
  is shown twice comes the first time.

``cronsim`` reads expressions and counts through a calendar without time zones; zones are dealt with here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.schedule import Cron, Every, Timing

EXPRESSION_MAX: Final = 200
FIELDS: Final = 5
EVERY_MIN_MS: Final = 1_000
COUNTED_MAX: Final = 1_000
"""Further slots are not counted one by one."""

MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_LOCAL: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a place in a calendar without zones
_MS: Final = timedelta(milliseconds=1)
_DAY_MS: Final = 86_400_000
_LATEST_MS: Final = UnixMs((datetime(9_900, 1, 1, tzinfo=UTC) - _EPOCH) // _MS)  # nothing is planned beyond


def check_timing(timing: Timing) -> None:
    """Raise UsageError unless it can be read, its zone is known, and it has slots."""
    if isinstance(timing, Every):
        if timing.every_ms < EVERY_MIN_MS:
            raise UsageError(f"a schedule's interval must be at least {EVERY_MIN_MS} ms, not {timing.every_ms}")
        return
    check_cron(timing)
    if next_slot(timing, UnixMs(0)) is None:
        raise UsageError(f"the cron expression {timing.expression!r} names no moment that ever comes")


def check_cron(timing: Cron) -> None:
    """Raise UsageError unless it can be read and its zone is known."""
    fields = _fields(timing.expression)
    try:
        CronSim(fields, _EPOCH_LOCAL)
    except (CronSimError, ValueError, AssertionError) as error:
        raise UsageError(
            f"the cron expression {timing.expression!r} cannot be read: {error or 'bad step'}; it is minute, hour, day "
            "of month, month and day of week, as in '30 2 * * MON-FRI'"
        ) from error
    _zone(timing.timezone)


def next_slot(timing: Timing, after_ms: UnixMs) -> UnixMs | None:
    """The first slot after a moment; None if there is none within 50 years."""
    match timing:
        case Every(every_ms=every_ms):
            return UnixMs((after_ms // every_ms + 1) * every_ms)
        case Cron():
            if after_ms >= _LATEST_MS:
                return None
            if _is_by_the_clock(timing.expression):
                return _next_shown(timing, after_ms)
            return _next_time_of_day(timing, after_ms)


def slots_from(timing: Timing, first_ms: UnixMs | None, until_ms: UnixMs) -> Iterator[UnixMs]:
    """The slots from one on, that one included, up to a moment."""
    slot_ms = first_ms
    while slot_ms is not None and slot_ms <= until_ms:
        yield slot_ms
        slot_ms = next_slot(timing, slot_ms)


def last_slot(timing: Timing, after_ms: UnixMs, until_ms: UnixMs) -> UnixMs | None:
    """The last slot after one moment and up to another; None if there is none."""
    if isinstance(timing, Every):
        found = UnixMs(until_ms // timing.every_ms * timing.every_ms)
        return found if found > after_ms else None
    reach_ms = 60_000
    while True:
        start_ms = max(after_ms, until_ms - reach_ms)
        newest = deque(slots_from(timing, next_slot(timing, UnixMs(start_ms)), until_ms), maxlen=1)
        if newest or start_ms == after_ms:
            return newest[0] if newest else None
        reach_ms *= 4


def count_slots(timing: Timing, first_ms: UnixMs, before_ms: UnixMs) -> int | None:
    """How many slots there are from one on, before a moment; None if they are more than ``COUNTED_MAX``."""
    count = 0
    for _ in slots_from(timing, first_ms, UnixMs(before_ms - 1)):
        count += 1
        if count > COUNTED_MAX:
            return None
    return count


# --- Local time --------------------------------------------------------------------------------------------------


def _next_time_of_day(timing: Cron, after_ms: UnixMs) -> UnixMs | None:
    """By the calendar, and then to moments: a time that is left out is moved to where the clock goes on."""
    zone = _zone(timing.timezone)
    # No time of day up to the one that is shown now comes any more.
    for wall in _calendar(timing.expression, _local(after_ms, zone)):
        slot_ms = _moment(wall, zone)
        if slot_ms > after_ms:
            return slot_ms
    return None


def _next_shown(timing: Cron, after_ms: UnixMs) -> UnixMs | None:
    """By the clock: between two changes of the zone's offset local time runs evenly."""
    zone = _zone(timing.timezone)
    start_ms = after_ms
    give_up_ms = min(UnixMs(after_ms + 50 * 366 * _DAY_MS), _LATEST_MS)
    while start_ms < give_up_ms:
        offset_ms = _offset_ms(start_ms, zone)
        wall = next(_calendar(timing.expression, _EPOCH_LOCAL + (start_ms + offset_ms) * _MS), None)
        if wall is None:
            return None
        slot_ms = UnixMs((wall - _EPOCH_LOCAL) // _MS - offset_ms)
        change_ms = _next_change(zone, start_ms, slot_ms)
        if change_ms is None:
            return slot_ms
        # The clock is put there and may show a time that matches at once.
        shown = _local(change_ms, zone)
        if next(_calendar(timing.expression, shown - _MS), None) == shown:
            return change_ms
        start_ms = change_ms
    return None


def _calendar(expression: str, after: datetime) -> Iterator[datetime]:
    """The local times that an expression names, without regard to zones."""
    # cronsim looks behind the second that it is given, of which it drops the fraction.
    return CronSim(_fields(expression), after)


def _next_change(zone: ZoneInfo, after_ms: UnixMs, until_ms: UnixMs) -> UnixMs | None:
    """When the zone's offset changes first after one moment and up to another; None if it does not."""
    low_ms, offset_ms = after_ms, _offset_ms(after_ms, zone)
    while low_ms < until_ms:
        high_ms = min(UnixMs(low_ms + _DAY_MS), until_ms)
        if _offset_ms(high_ms, zone) != offset_ms:
            while high_ms - low_ms > 1:
                middle_ms = UnixMs((low_ms + high_ms) // 2)
                if _offset_ms(middle_ms, zone) == offset_ms:
                    low_ms = middle_ms
                else:
                    high_ms = middle_ms
            return high_ms
        low_ms = high_ms
    return None


def _offset_ms(at_ms: UnixMs, zone: ZoneInfo) -> int:
    offset = (_EPOCH + at_ms * _MS).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // _MS


def _local(at_ms: UnixMs, zone: ZoneInfo) -> datetime:
    return (_EPOCH + at_ms * _MS).astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(wall: datetime, zone: ZoneInfo) -> UnixMs:
    """When the clock first shows this time; when it goes on, if it never does."""
    aware = wall.replace(tzinfo=zone)
    found_ms = UnixMs((aware - _EPOCH) // _MS)
    if _local(found_ms, zone) == wall:
        return found_ms
    # With the offset from before the gap the moment lies behind it, and with the one from behind it before it.
    later = aware.replace(fold=1)
    change_ms = _next_change(zone, UnixMs((later - _EPOCH) // _MS), found_ms)
    assert change_ms is not None
    return change_ms


def _is_by_the_clock(expression: str) -> bool:
    minute, hour, *_ = _fields(expression).split()
    return minute.startswith("*") or hour.startswith("*")


@lru_cache(maxsize=1_000)
def _fields(expression: str) -> str:
    """The five fields. Raises UsageError if there are more or less."""
    text = MACROS.get(expression.strip().lower(), expression)
    fields = text.split()
    if len(fields) != FIELDS or len(text) > EXPRESSION_MAX or not text.isascii():
        raise UsageError(
            f"the cron expression {expression[:EXPRESSION_MAX]!r} must have five fields: minute, hour, day of month, "
            f"month and day of week; or be one of {', '.join(MACROS)}"
        )
    return " ".join(fields)


@lru_cache(maxsize=1_000)
def _zone(name: str) -> ZoneInfo:
    """The zone of that name. Raises UsageError."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise UsageError(
            f"there is no time zone {name!r}: name one of the IANA database, such as Europe/Berlin; where the system "
            "has none of them, the package tzdata brings them"
        ) from error
