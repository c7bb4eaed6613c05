"""Whether and when a failed step is tried again."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.retry import DELAY_MS_MAX, GiveUp, NonRetryable, Retry, RetryAfter, RetryIn, after_failure
from holdfast.errors import EncodeError, NonDeterminismError, StepTimeout, UsageError

RANDOM = st.floats(0, 1, exclude_max=True)


def policy_of(initial: timedelta, extra: timedelta, factor: float, jitter: float) -> Retry:
    return Retry(max_attempts=10_001, initial=initial, max_delay=initial + extra, factor=factor, jitter=jitter)


POLICIES = st.builds(
    policy_of,
    st.timedeltas(timedelta(0), timedelta(days=400)),
    st.timedeltas(timedelta(0), timedelta(days=400)),
    st.floats(1, 1e300),
    st.floats(0, 1),
)


def delay_ms(policy: Retry, attempt: int, *, error: BaseException | None = None, random: float = 0.0) -> int:
    verdict = after_failure(policy, attempt=attempt, error=error or ValueError(), random=random)
    assert isinstance(verdict, RetryIn)
    return verdict.delay_ms


@pytest.mark.requirement("S-07")
def test_delays_grow_by_the_factor_up_to_the_cap_until_the_attempts_are_used_up() -> None:
    policy = Retry(max_attempts=6, max_delay=timedelta(seconds=5))

    assert [delay_ms(policy, attempt) for attempt in range(1, 6)] == [1000, 2000, 4000, 5000, 5000]
    assert after_failure(policy, attempt=6, error=ValueError(), random=0.0) == GiveUp("retries_exhausted")


@pytest.mark.requirement("S-07", "S-37")
@given(policy=POLICIES, attempt=st.integers(1, 10_000), random=RANDOM)
@settings(max_examples=200, deadline=None)
def test_no_delay_is_negative_or_above_the_cap_and_jitter_only_shortens(
    policy: Retry, attempt: int, random: float
) -> None:
    full = delay_ms(policy, attempt)
    jittered = delay_ms(policy, attempt, random=random)

    cap_ms = min(policy.max_delay_ms, DELAY_MS_MAX)
    assert 0 <= jittered <= full <= cap_ms
    assert jittered >= full * (1 - policy.jitter) - 1
    assert full <= delay_ms(policy, attempt + 1) if attempt < 10_000 else True


def test_the_ten_thousandth_attempt_has_a_delay_too() -> None:
    assert delay_ms(Retry(max_attempts=10_001, factor=10.0), 10_000) == 60_000
    assert delay_ms(Retry(max_attempts=10_001, factor=10.0, initial=timedelta(0)), 10_000) == 0


def test_one_attempt_only_means_that_the_first_failure_is_final() -> None:
    assert after_failure(Retry.never(), attempt=1, error=OSError(), random=0.5) == GiveUp("retries_exhausted")


@pytest.mark.parametrize(
    "error",
    [
        NonRetryable("no such account"),
        UsageError("wrong"),
        EncodeError(where="the result", why="because"),
        KeyError("x"),
        SystemExit(1),
        KeyboardInterrupt(),
    ],
)
def test_an_error_that_another_attempt_cannot_cure_is_final(error: BaseException) -> None:
    policy = Retry(non_retryable=(LookupError,))

    assert after_failure(policy, attempt=1, error=error, random=0.0) == GiveUp("error")


def test_a_diverging_workflow_is_never_tried_again() -> None:
    error = NonDeterminismError(run_id="r", key="k", recorded="a", asked="b")

    assert after_failure(Retry(), attempt=1, error=error, random=0.0) == GiveUp("non_determinism")


def test_a_timeout_of_a_step_is_tried_again() -> None:
    assert delay_ms(Retry(), 1, error=StepTimeout(step="s", timeout_s=1)) == 1000


@pytest.mark.parametrize("delay", [timedelta(minutes=2), 120, 120.0])
def test_an_error_may_ask_for_its_own_delay_beyond_the_cap_and_without_jitter(delay: timedelta | float) -> None:
    policy = Retry(max_delay=timedelta(seconds=5))

    assert delay_ms(policy, 1, error=RetryAfter(delay), random=0.9) == 120_000
    assert after_failure(policy, attempt=3, error=RetryAfter(delay), random=0.9) == GiveUp("retries_exhausted")


class Throttled(Exception):
    def __init__(self, retry_after: object) -> None:
        self.retry_after = retry_after


@pytest.mark.parametrize("wish", [None, "120", -1, float("nan"), float("inf"), True, timedelta(seconds=-1), object()])
def test_a_wish_that_is_no_delay_leaves_the_policy_in_force(wish: object) -> None:
    assert delay_ms(Retry(), 1, error=Throttled(wish)) == 1000


@pytest.mark.parametrize("wish", [10**400, 1e308, timedelta.max])
def test_no_error_can_ask_for_more_than_a_year(wish: object) -> None:
    assert delay_ms(Retry(), 1, error=Throttled(wish)) == DELAY_MS_MAX


class Broken(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("no header")


def test_an_error_whose_wish_cannot_be_read_has_none() -> None:
    assert delay_ms(Retry(), 1, error=Broken()) == 1000


def test_a_fraction_of_a_millisecond_is_not_cut_off_the_delay_asked_for() -> None:
    assert delay_ms(Retry(), 1, error=RetryAfter(timedelta(microseconds=1))) == 1


@pytest.mark.parametrize("delay", [-1, float("nan"), timedelta(seconds=-1)])
def test_a_delay_before_now_is_refused(delay: timedelta | float) -> None:
    with pytest.raises(UsageError, match="RetryAfter needs"):
        RetryAfter(delay)


def no_exception_type() -> Retry:
    kinds: Any = ("ValueError",)
    return Retry(non_retryable=kinds)


def test_delays_are_timedeltas_or_seconds() -> None:
    assert Retry(initial=0.2, max_delay=90) == Retry(
        initial=timedelta(milliseconds=200), max_delay=timedelta(minutes=1, seconds=30)
    )
    assert delay_ms(Retry(initial=0.2, max_delay=90, jitter=0), 1) == 200


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Retry(max_attempts=0), "max_attempts"),
        (lambda: Retry(initial=timedelta(seconds=-1)), "initial"),
        (lambda: Retry(initial=-0.5), "negative"),
        (lambda: Retry(initial=cast("float", "soon")), "a number of seconds"),
        (lambda: Retry(max_delay=True), "a number of seconds"),
        (lambda: Retry(max_delay=math.inf), "max_delay"),
        (lambda: Retry(max_delay=math.nan), "max_delay"),
        (lambda: Retry(initial=timedelta(seconds=2), max_delay=timedelta(seconds=1)), "max_delay"),
        (lambda: Retry(factor=0.5), "factor"),
        (lambda: Retry(factor=float("inf")), "factor"),
        (lambda: Retry(factor=float("nan")), "factor"),
        (lambda: Retry(jitter=1.5), "jitter"),
        (lambda: Retry(jitter=float("nan")), "jitter"),
        (no_exception_type, "non_retryable"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_the_name_of_its_field(
    make: Callable[[], Retry], field: str
) -> None:
    with pytest.raises(UsageError, match=field):
        make()
