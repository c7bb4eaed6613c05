"""What a graph's nodes call: functions become steps, and steps stay what they are."""

from __future__ import annotations

import functools
import sqlite3
from datetime import timedelta

import pytest

from holdfast.core.retry import Retry
from holdfast.model.definition import RetryPolicy, StepNode
from holdfast.workflow.registry import Registry
from holdfast.workflow.step import AsyncStep, PlainStep, PlainTransaction
from tests.unit.workflow.graphs import create_mailbox, only, problems, start_billing, undo, work


@pytest.fixture
def app() -> Registry:
    return Registry("tests")


@pytest.mark.requirement("S-14")
def test_a_function_becomes_a_step_of_its_kind_named_after_its_place(app: Registry) -> None:
    app.graph("g").step("plain", work).step("async", create_mailbox).step("again", work).build()

    assert isinstance(app.find_step("g.plain"), PlainStep)
    assert isinstance(app.find_step("g.async"), AsyncStep)
    assert app.step_names == ["g.again", "g.async", "g.plain"]


def test_a_registered_step_keeps_its_name_and_its_options(app: Registry) -> None:
    charge = app.step(name="charge", retry=Retry(max_attempts=7))(work)

    node = only(app.graph("g").step("pay", charge), StepNode)

    assert node == StepNode(key="pay", handler="charge")
    assert app.step_names == ["charge"]


@pytest.mark.requirement("S-36")
def test_a_compensation_is_attached_to_the_step_it_undoes_and_has_a_name_of_its_own(app: Registry) -> None:
    node = only(app.graph("g").step("pay", work, compensate=undo), StepNode)

    step = app.find_step(node.handler)
    assert step is not None
    assert step.compensation is undo
    assert step.compensation_options.retry == Retry(max_attempts=10)
    assert node.compensate == "g.pay~compensate"
    assert app.find_step("g.pay~compensate") is not None


@pytest.mark.requirement("S-36")
def test_a_registered_step_that_a_node_undoes_stays_as_it_is_for_others(app: Registry) -> None:
    charge = app.step(name="charge", retry=Retry(max_attempts=7), timeout=5)(work)
    refund = app.step(name="refund", retry=Retry(max_attempts=2), timeout=6)(undo)

    node = only(app.graph("g").step("pay", charge, compensate=refund), StepNode)

    assert (node.handler, node.compensate) == ("g.pay", "refund")
    step = app.find_step("g.pay")
    assert step is not None
    assert charge.compensation is None
    assert (step.function, step.options, step.compensation) == (work, charge.options, undo)
    assert step.compensation_options.retry == Retry(max_attempts=2)
    assert step.compensation_options.timeout == timedelta(seconds=6)


def test_a_transaction_that_a_node_undoes_stays_a_transaction(app: Registry) -> None:
    @app.transaction
    def book(connection: sqlite3.Connection, number: int) -> int:
        return number

    node = only(app.graph("g").step("book", book, compensate=undo), StepNode)

    step = app.find_step(node.handler)
    assert isinstance(step, PlainTransaction)
    assert step.wants is sqlite3.Connection


def test_options_of_a_step_used_here_are_written_down(app: Registry) -> None:
    charge = app.step(name="charge")(work)

    node = only(app.graph("g").step("pay", charge.with_options(retry=Retry.never(), timeout=3)), StepNode)

    assert (node.handler, node.timeout_ms) == ("charge", 3000)
    assert node.retry == RetryPolicy(max_attempts=1)


def test_lambdas_partials_and_callable_objects_can_be_handlers(app: Registry) -> None:
    class Worker:
        def __call__(self, value: int = 0) -> int:
            return value

    graph = app.graph("g").step("l", lambda: 1).step("p", functools.partial(work, 1)).step("o", Worker())

    assert graph.build()
    app.learn_errors()


def test_a_step_of_another_app_is_refused(app: Registry) -> None:
    foreign = Registry("other").step(name="charge")(work)

    assert problems(app.graph("g").step("pay", foreign)) == [("pay", "unknown_handler")]


def test_a_name_that_is_taken_is_refused(app: Registry) -> None:
    app.step(name="g.pay")(work)
    app.workflow(name="g.ship")(start_billing)

    assert problems(app.graph("g").step("pay", work).child("ship", start_billing)) == [
        ("pay", "duplicate_handler"),
        ("ship", "duplicate_handler"),
    ]
