"""Durations, as people write them: a timedelta, or seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from holdfast.errors import UsageError

LONGEST: Final = timedelta(days=366 * 100)
"""A century keeps every stored time far inside a 64-bit integer and a datetime."""


def seconds(value: timedelta | float, what: str) -> timedelta:
    """A duration given as a timedelta or in seconds. Raises UsageError for a negative, infinite or endless one."""
    try:
        duration = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (OverflowError, ValueError) as error:
        raise UsageError(f"{what} must be a duration, not {value!r}") from error
    if duration < timedelta(0) or duration > LONGEST:
        raise UsageError(f"{what} must be between 0 and {LONGEST.days} days, not {value!r}")
    return duration


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds, rounded up: nothing may come early."""
    return -(-duration // timedelta(milliseconds=1))


def unix_milliseconds(moment: datetime) -> int:
    """An aware moment in whole milliseconds since 1970, rounded up."""
    return milliseconds(moment - datetime(1970, 1, 1, tzinfo=UTC))


def optional_seconds(value: timedelta | float | None, what: str) -> timedelta | None:
    """As ``seconds``; None stays None, for no limit."""
    return None if value is None else seconds(value, what)
