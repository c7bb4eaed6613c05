"""Whether a failed step is tried again, and when.

The decision is a value: ``after_failure`` looks at the policy, the attempt and the error and answers ``RetryIn`` or
``GiveUp``; the runtime writes the answer down. Randomness is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from holdfast.errors import NonDeterminismError, UsageError

DELAY_MS_MAX: Final = 366 * 24 * 3600 * 1000
"""No delay is longer than a year, whatever an error asks for."""

GiveUpReason = Literal["retries_exhausted", "error", "non_determinism"]


class NonRetryable(Exception):
    """Raise it, or a subclass of it, in a step to say that trying again is pointless."""


class RetryAfter(Exception):
    """Raise it in a step to say when it should be tried again; the attempt counts like any other.

    ``delay`` is a timedelta or seconds. It takes precedence over the policy's own delay and is not jittered.
    Any other exception may say the same with an attribute ``retry_after``.
    """

    retry_after: float
    """Seconds."""

    def __init__(self, delay: timedelta | float, message: str = "") -> None:
        seconds = _seconds(delay)
        if seconds is None:
            raise UsageError(f"RetryAfter needs a delay of zero or more seconds, not {delay!r}")
        self.retry_after = seconds
        super().__init__(message or f"to be tried again in {seconds:g} s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When a failed step is tried again.

    The delay before attempt n + 1 is ``initial * factor ** (n - 1)``, at most ``max_delay``, less a random part of
    up to ``jitter`` of it. Raises: UsageError if a field makes no sense.
    """

    max_attempts: int = 3
    """The first try included; at least 1."""
    initial: timedelta | float = timedelta(seconds=1)
    """The delay after the first failure, a timedelta or seconds."""
    factor: float = 2.0
    """How much longer each further delay is; at least 1."""
    max_delay: timedelta | float = timedelta(seconds=60)
    """The longest delay, a timedelta or seconds; at least ``initial``."""
    jitter: float = 0.2
    """Which fraction of the delay is random, 0 to 1: it keeps many failed steps from coming back together."""
    non_retryable: tuple[type[BaseException], ...] = ()
    """Errors of these types are final at once."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise UsageError(f"Retry(max_attempts={self.max_attempts}): at least 1, for the first try counts")
        for field in ("initial", "max_delay"):
            object.__setattr__(self, field, _read_delay(field, getattr(self, field)))
        if self.max_delay_ms < self.initial_ms:
            raise UsageError(f"Retry(max_delay={self.max_delay}): not shorter than initial={self.initial}")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise UsageError(f"Retry(factor={self.factor}): a finite number, at least 1")
        if not 0 <= self.jitter <= 1:
            raise UsageError(f"Retry(jitter={self.jitter}): a fraction from 0 to 1")
        for kind in self.non_retryable:
            _check_exception_type(kind)

    @property
    def initial_ms(self) -> float:
        """The delay after the first failure, in milliseconds."""
        return _in_ms(self.initial)

    @property
    def max_delay_ms(self) -> float:
        """The longest delay, in milliseconds."""
        return _in_ms(self.max_delay)

    @classmethod
    def never(cls) -> Retry:
        """One attempt only."""
        return cls(max_attempts=1)


def _read_delay(field: str, given: object) -> timedelta:
    try:
        if isinstance(given, bool) or not isinstance(given, timedelta | int | float):
            raise UsageError(f"Retry({field}={given!r}): a timedelta, or a number of seconds")
        delay = given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (OverflowError, ValueError) as error:
        raise UsageError(f"Retry({field}={given!r}): {error}") from error
    if delay < timedelta(0):
        raise UsageError(f"Retry({field}={given!r}): a delay cannot be negative")
    return delay


def _in_ms(delay: timedelta | float) -> float:
    return (delay if isinstance(delay, timedelta) else timedelta(seconds=delay)) / timedelta(milliseconds=1)


def _check_exception_type(kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise UsageError(f"Retry(non_retryable=...): {kind!r} is not an exception type")


class RetryIn(Struct, frozen=True):
    """Try again."""

    delay_ms: int
    """This long after the failure."""


class GiveUp(Struct, frozen=True):
    """The failure is final."""

    reason: GiveUpReason
    """The word for the record: attempts used up, an error that is never retried, or a diverging workflow."""


def after_failure(policy: Retry, *, attempt: int, error: BaseException, random: float) -> RetryIn | GiveUp:
    """What to do after attempt number ``attempt`` (1 for the first) ended with ``error``.

    ``random`` is uniform in [0, 1). Errors that only a change of the program can cure are never retried, nor is
    anything that is not an ``Exception`` (such as ``SystemExit``).
    """
    if isinstance(error, NonDeterminismError):
        return GiveUp("non_determinism")
    if not is_retryable(policy, error):
        return GiveUp("error")
    if attempt >= policy.max_attempts:
        return GiveUp("retries_exhausted")
    asked = _seconds(_delay_of(error))
    if asked is not None:
        return RetryIn(min(math.ceil(asked * 1000), DELAY_MS_MAX))
    return RetryIn(math.floor(_backoff_ms(policy, attempt) * (1 - policy.jitter * random)))


def is_retryable(policy: Retry, error: BaseException) -> bool:
    """Whether another attempt can help after this error, were there any left."""
    final = (UsageError, NonRetryable, *policy.non_retryable)
    return isinstance(error, Exception) and not isinstance(error, final)


def _backoff_ms(policy: Retry, attempt: int) -> float:
    initial_ms, cap_ms = policy.initial_ms, min(policy.max_delay_ms, float(DELAY_MS_MAX))
    try:
        return min(initial_ms * policy.factor ** (attempt - 1), cap_ms)
    except OverflowError:
        return cap_ms if initial_ms else 0.0


def _delay_of(error: BaseException) -> object:
    """The error's own wish; a property that fails means that it has none."""
    try:
        return getattr(error, "retry_after", None)
    except Exception:  # noqa: BLE001 - the user's code
        return None


def _seconds(delay: object) -> float | None:
    """A delay in seconds; None for what is no delay, such as a header's text or a negative number."""
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < math.inf:
        return None
    return float(min(delay, DELAY_MS_MAX / 1000))
