"""Which moments are slots, compared with the plainest reference: look at every minute of the clock on the wall."""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.slots import check_timing, count_slots, last_slot, next_slot, slots_from
from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.schedule import Cron, Every

pytestmark = pytest.mark.requirement("S-37", "promise-6")

MINUTE_MS = 60_000
ZONES = sorted(zoneinfo.available_timezones() - {"localtime"})
EVERY_DAY = frozenset(range(7))


def ms(moment: datetime) -> UnixMs:
    return UnixMs(int(moment.timestamp()) * 1000)


def at(text: str) -> UnixMs:
    return ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def slots(expression: str, zone: str, after: str, count: int) -> list[str]:
    timing = Cron(expression=expression, timezone=zone)
    found = islice(slots_from(timing, next_slot(timing, at(after)), UnixMs(2**62)), count)
    return [f"{datetime.fromtimestamp(slot / 1000, UTC):%Y-%m-%dT%H:%M}" for slot in found]


# --- The reference -----------------------------------------------------------------------------------------------


class Wall:
    """The minutes of some days in a zone, with what the clock on the wall shows in each."""

    def __init__(self, zone: str, first: datetime, days: int) -> None:
        tz = ZoneInfo(zone)
        self.first_ms = ms(first)
        self.shown = [
            (first + timedelta(minutes=minute)).astimezone(tz).replace(tzinfo=None, fold=0)
            for minute in range(days * 1440)
        ]

    def moment(self, minute: int) -> UnixMs:
        return UnixMs(self.first_ms + minute * MINUTE_MS)

    def follow(self, minutes: Sequence[int], hours: Sequence[int], weekdays: Sequence[int]) -> list[UnixMs]:
        """Every minute at which the wall shows a time that matches."""
        return [
            self.moment(number)
            for number, shown in enumerate(self.shown)
            if shown.minute in minutes and shown.hour in hours and shown.isoweekday() % 7 in weekdays
        ]

    def times_of_day(self, minutes: Sequence[int], hours: Sequence[int], weekdays: Sequence[int]) -> list[UnixMs]:
        """Of each time of day the first minute that shows it, or the first behind it if none does; each once."""
        day, last = self.shown[0].date(), self.shown[-1].date()
        found: set[UnixMs] = set()
        while (day := day + timedelta(days=1)) < last:
            for hour in hours if day.isoweekday() % 7 in weekdays else ():
                for minute in minutes:
                    wanted = datetime.combine(day, time(hour, minute))
                    found.add(self.moment(next(n for n, shown in enumerate(self.shown) if shown >= wanted)))
        return sorted(found)


def changes(zone: str, years: range) -> list[datetime]:
    """The days on which the zone's offset changes."""
    tz = ZoneInfo(zone)

    def offset(number: int) -> timedelta | None:
        return (start + timedelta(days=number)).astimezone(tz).utcoffset()

    start = datetime(years.start, 1, 1, tzinfo=UTC)
    return [
        start + timedelta(days=day)
        for week in range(0, 366 * len(years), 7)
        if offset(week) != offset(week + 7)
        for day in range(week, week + 7)
        if offset(day) != offset(day + 1)
    ]


def compare(zone: str, around: datetime, random_: random.Random) -> None:
    wall = Wall(zone, around - timedelta(days=2), 6)
    minutes = sorted(random_.sample(range(60), random_.choice([1, 1, 2])))
    hours = sorted(random_.sample([0, 1, 2, 3, 23, random_.randrange(24)], random_.choice([1, 2, 3])))
    weekdays = sorted(random_.sample(range(7), random_.choice([3, 7])))
    days = "*" if len(weekdays) == 7 else ",".join(map(str, weekdays))
    listed = [",".join(map(str, one)) for one in (minutes, hours)]
    lists = f"{listed[0]} {listed[1]} * * {days}", wall.times_of_day(minutes, hours, weekdays)
    steps = f"*/20 {listed[1]} * * {days}", wall.follow([0, 20, 40], hours, weekdays)
    hourly = f"{listed[0]} * * * {days}", wall.follow(minutes, range(24), weekdays)
    # A day at either end of what was looked at is incomplete.
    from_ms, until_ms = wall.moment(1440 + 900), wall.moment(4 * 1440 + 300)
    for expression, expected in (lists, steps, hourly):
        timing = Cron(expression=expression, timezone=zone)
        found = list(slots_from(timing, next_slot(timing, UnixMs(from_ms - 1)), until_ms))
        assert found == [one for one in expected if from_ms <= one <= until_ms], (expression, zone, around)


@pytest.mark.parametrize("part", range(4))
def test_around_every_change_of_a_clock_each_zone_has_the_slots_that_its_walls_show(part: int) -> None:
    random_ = random.Random(part)
    # Many names are of one and the same clock.
    clocks = {tuple(found): zone for zone in ZONES[part::4] if (found := changes(zone, range(2010, 2030)))}
    for days, zone in clocks.items():
        for around in random_.sample(days, min(len(days), 3)):
            compare(zone, around, random_)

    assert len(clocks) > 10


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("Australia/Lord_Howe", "2026-04-04T00:00:00+00:00"),  # half an hour
        ("Pacific/Apia", "2011-12-30T00:00:00+00:00"),  # a whole day is left out
        ("America/Caracas", "2016-05-01T00:00:00+00:00"),
        ("Africa/Casablanca", "2026-02-15T00:00:00+00:00"),
        ("Asia/Beirut", "2026-03-28T00:00:00+00:00"),  # midnight is left out
        ("America/Havana", "2026-03-08T00:00:00+00:00"),
        ("America/Sao_Paulo", "2018-11-04T00:00:00+00:00"),
        ("Antarctica/Troll", "2026-03-29T00:00:00+00:00"),  # two hours
        ("Pacific/Kwajalein", "1993-08-20T00:00:00+00:00"),
    ],
)
def test_the_odd_changes_of_history_are_like_any_other(zone: str, around: str) -> None:
    for seed in range(12):
        compare(zone, datetime.fromisoformat(around), random.Random(seed))


# --- The documented rule -----------------------------------------------------------------------------------------


def test_a_time_of_day_that_is_left_out_comes_when_the_clock_goes_on() -> None:
    found = slots("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2)

    assert found == ["2026-03-29T01:00", "2026-03-30T00:30"]


def test_a_time_of_day_that_is_shown_twice_comes_the_first_time() -> None:
    found = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2)

    assert found == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_an_expression_with_a_star_follows_the_clock() -> None:
    assert slots("30 * * * *", "Europe/Berlin", "2026-10-24T23:00", 4) == [
        "2026-10-24T23:30",
        "2026-10-25T00:30",
        "2026-10-25T01:30",
        "2026-10-25T02:30",
    ]
    assert slots("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 1) == ["2026-03-30T00:00"]


def test_two_times_of_day_that_are_left_out_together_are_one_slot() -> None:
    assert slots("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["2026-03-29T01:00", "2026-03-30T00:00"]


def test_names_lists_ranges_steps_and_last_days_are_understood() -> None:
    assert slots("0 9 * JAN-FEB/1 MON#1", "UTC", "2026-01-01T00:00", 2) == ["2026-01-05T09:00", "2026-02-02T09:00"]
    assert slots("0 0 L * *", "UTC", "2028-02-01T00:00", 2) == ["2028-02-29T00:00", "2028-03-31T00:00"]
    assert slots("15 10 1,15 * *", "UTC", "2026-12-20T00:00", 2) == ["2027-01-01T10:15", "2027-01-15T10:15"]
    assert slots("0 12 13 * FRI", "UTC", "2026-11-01T00:00", 3) == [
        "2026-11-06T12:00",
        "2026-11-13T12:00",
        "2026-11-20T12:00",
    ]
    assert slots("@yearly", "UTC", "2026-06-01T00:00", 1) == ["2027-01-01T00:00"]


def test_leap_days_come_in_leap_years_only() -> None:
    found = slots("0 0 29 2 *", "America/New_York", "2026-01-01T00:00", 3)

    assert found == ["2028-02-29T05:00", "2032-02-29T05:00", "2036-02-29T05:00"]


def test_an_interval_counts_from_the_epoch_whoever_asks() -> None:
    timing = Every(every_ms=90_000)

    assert next_slot(timing, UnixMs(1)) == 90_000
    assert next_slot(timing, UnixMs(90_000)) == 180_000
    assert last_slot(timing, UnixMs(0), UnixMs(200_000)) == 180_000
    assert last_slot(timing, UnixMs(180_000), UnixMs(200_000)) is None


@given(
    st.sampled_from(["* * * * *", "*/7 */5 * * *", "0 3 * * MON", "59 23 31 12 *", "5 4 L * *", "0 0 29 2 *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 4_000_000_000_000),
    st.integers(0, 400 * 86_400_000),
)
@settings(max_examples=100, deadline=None)
def test_the_last_slot_before_a_moment_is_the_one_that_the_next_ones_lead_to(
    expression: str, zone: str, until_ms: int, back_ms: int
) -> None:
    timing = Cron(expression=expression, timezone=zone)
    after_ms = UnixMs(max(until_ms - back_ms, 0))

    found = last_slot(timing, after_ms, UnixMs(until_ms))

    if found is None:
        following = next_slot(timing, after_ms)
        assert following is None or following > until_ms
    else:
        following = next_slot(timing, found)
        assert after_ms < found <= until_ms
        assert following is None or following > until_ms
        assert next_slot(timing, UnixMs(found - 1)) == found


def test_slots_are_counted_up_to_a_bound() -> None:
    assert count_slots(Every(every_ms=1_000), UnixMs(5_000), UnixMs(10_000)) == 5
    assert count_slots(Every(every_ms=1_000), UnixMs(5_000), UnixMs(10_000_000)) is None


# --- What is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "0 * * * * *", "61 * * * *", "a b c d e", "0 0 31 2 *", "*/0 * * * *", "5-1 * * * *", "@reboot",
     "0 0 * * 5LL", "1#2/2 * * * *", "9" * 5_000 + " * * * *", "\uff10 0 * * *"],
)  # fmt: skip
def test_what_is_no_expression_or_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(UsageError):
        check_timing(Cron(expression=expression))


@given(st.text(alphabet="0123456789*/,-#LW MONJA ", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_expression_or_a_usage_error(text: str) -> None:
    timing = Cron(expression=text)
    try:
        check_timing(timing)
    except UsageError:
        return
    assert next_slot(timing, UnixMs(0)) is not None


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe/Berlin\0"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(UsageError, match="time zone"):
        check_timing(Cron(expression="0 0 * * *", timezone=zone))


def test_an_interval_has_a_least_length() -> None:
    with pytest.raises(UsageError, match="at least"):
        check_timing(Every(every_ms=999))
