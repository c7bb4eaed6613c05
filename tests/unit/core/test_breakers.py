"""What a call, its outcome, the time and a person make of a circuit breaker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from holdfast.core.breakers import (
    Breaker,
    Ticket,
    after_failure,
    after_look,
    after_nothing,
    after_success,
    ask,
    close_by_hand,
    open_by_hand,
    waits_to_end,
)
from holdfast.core.retry import NonRetryable, Retry
from holdfast.errors import StepTimeout, UsageError
from holdfast.model.breaker import BreakerRow, BreakerState
from holdfast.model.ids import DEFAULT_TENANT, RunId, UnixMs

pytestmark = pytest.mark.requirement("S-37")

NEW = BreakerRow(tenant=DEFAULT_TENANT, name="stripe")
STRIPE = Breaker("stripe", failures=3, within=10, open_for=5, rate=50)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"failures": 0}, "failures"),
        ({"failures": 1001}, "failures"),
        ({"within": 0}, "within"),
        ({"within": -1.0}, "within"),
        ({"open_for": timedelta(0)}, "open_for"),
        ({"open_for": "soon"}, "open_for"),
        ({"max_open": float("inf")}, "max_open"),
        ({"probe_limit": True}, "probe_limit"),
        ({"factor": 0.5}, "factor"),
        ({"factor": float("nan")}, "factor"),
        ({"rate": 0}, "rate"),
        ({"on": ()}, "on"),
        ({"on": ("ConnectionError",)}, "on"),
    ],
)
def test_a_breaker_that_makes_no_sense_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=rf"Breaker\('stripe', {field}="):
        Breaker("stripe", **given)


def test_seconds_and_timedeltas_say_the_same() -> None:
    assert Breaker("a", within=60, open_for=1.5) == Breaker(
        "a", within=timedelta(minutes=1), open_for=timedelta(milliseconds=1500)
    )
    assert Breaker("a") != Breaker("a", rate=1)
    with pytest.raises(UsageError, match="must not be empty"):
        Breaker("")


def test_errors_of_the_call_itself_are_no_failures_of_the_service() -> None:
    retry = Retry(non_retryable=(KeyError,))
    errors = [ConnectionError(), StepTimeout(step="a", timeout_s=1), NonRetryable(), KeyError(), UsageError("no")]

    assert [STRIPE.counts(error, retry) for error in errors] == [True, True, False, False, False]
    assert not Breaker("a", on=(OSError,)).counts(ValueError(), Retry())
    assert Breaker("a", on=(OSError,)).counts(ConnectionError(), Retry.never())


def test_it_stays_open_for_longer_each_time_up_to_a_most() -> None:
    assert [STRIPE.open_ms(trips) for trips in (1, 2, 3, 7, 8, 5000)] == [
        5000,
        10_000,
        20_000,
        300_000,
        300_000,
        300_000,
    ]
    assert Breaker("a", open_for=900).open_ms(9) == 900_000
    assert Breaker("a", open_for=1, factor=1).open_ms(10**6) == 1000


WHAT = st.sampled_from(["ask", "fail", "succeed", "stop", "open", "close", "look"])


@given(st.lists(st.tuples(WHAT, st.integers(0, 12_000), st.integers(0, 5)), max_size=60))
def test_whatever_happens_one_call_at_most_tries_and_only_what_it_is_told_of_changes_a_breaker(
    events: list[tuple[str, int, int]],
) -> None:
    row, now_ms = NEW, UnixMs(1)
    tickets: list[Ticket] = []
    for what, passes_ms, which in events:
        now_ms = UnixMs(now_ms + passes_ms)
        before, ticket = row, tickets[which % len(tickets)] if tickets else Ticket(0)
        match what:
            case "ask":
                row, given_ = ask(row, STRIPE, f"run-{which}", now_ms, waits=which == 0)
                if given_ is not None:
                    tickets.append(given_)
                may = before.state is BreakerState.CLOSED and not (which == 0 and before.flow)
                assert (given_ is not None and not given_.probes) is may
                if given_ is not None and given_.probes:
                    assert before.term < given_.term == row.term
                    assert not any(one.term == given_.term for one in tickets[:-1])
            case "fail":
                row = after_failure(row, STRIPE, ticket, now_ms)
            case "succeed":
                row = after_success(row, ticket, now_ms)
            case "stop":
                row = after_nothing(row, ticket, now_ms)
            case "open":
                row = open_by_hand(row, now_ms, for_ms=5000 if which else None, actor="ann", note="")
            case "close":
                row = close_by_hand(row, now_ms, actor="ann", note="")
            case _:
                count = waits_to_end(row, now_ms)
                assert 0 <= count <= STRIPE.rate
                row = after_look(row, now_ms, RunId("r") if which else None) if count else row
        if what in {"fail", "succeed", "stop"} and ticket.term != before.term:
            assert row == before
        assert (row.opened_ms is None) is (row.state is BreakerState.CLOSED)
        assert (row.prober is not None) is (row.state is BreakerState.HALF_OPEN)
        assert row.state is before.state or row.term > before.term
        assert len(row.failures) <= STRIPE.failures


def test_in_no_second_more_go_on_than_its_rate_and_all_of_them_do() -> None:
    row = structs.replace(
        close_by_hand(structs.replace(NEW, state=BreakerState.OPEN), UnixMs(0), actor="", note=""), rate=50
    )
    left, ended = 300, list[tuple[int, int]]()
    now_ms = UnixMs(0)
    while row.next_ms is not None:
        now_ms = row.next_ms
        count = min(waits_to_end(row, now_ms), left)
        left -= count
        ended.append((now_ms, count))
        row = after_look(row, now_ms, RunId("r") if count else None)

    seconds = [sum(count for at_ms, count in ended if begin <= at_ms < begin + 1000) for begin in range(0, now_ms, 100)]
    assert left == 0
    assert max(seconds) <= 50
    assert seconds[0] == 1
    assert now_ms < 15_000
