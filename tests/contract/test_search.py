"""Runs are found by what they are, what they wait for and how they ended, in order, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.errors import UsageError
from holdfast.model.commit import Finish, Park
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, GroupBy, RunOrder, WaitingOn
from holdfast.model.status import RunStatus
from holdfast.store import paging
from holdfast.store.port import count_runs
from tests.contract.scene import OTHER_TENANT, Scene, child_wait, run_id, signal_wait, timer


def _failure(type_: str, message: str) -> Json:
    return Json(b'{"type":"%s","message":"%s","retryable":false}' % (type_.encode(), message.encode()))


def _listed(scene: Scene, *, limit: int = 100, **where: Any) -> list[int]:
    """The numbers of all runs that the filter lets through, page by page."""
    found: list[RunId] = []
    after = None
    while True:
        page = scene.store.list_runs(DEFAULT_TENANT, RunFilter(**where), limit=limit, after=after)
        found += [run.id for run in page.runs]
        after = page.next
        if after is None:
            break
    assert sum(count_runs(scene.store, DEFAULT_TENANT, RunFilter(**where)).values()) >= len(found)
    return [int(one[-12:], 16) for one in found]


def _fail(scene: Scene, number: int, error: Json, **given: Any) -> None:
    scene.accept(scene.held(number, **given), move=Finish(RunStatus.FAILED, "error", error=error))


@pytest.mark.requirement("L-33")
@pytest.mark.requirement("L-33", "O-07")
def test_no_more_runs_of_a_status_are_counted_than_asked_for(scene: Scene) -> None:
    scene.held(6)
    for number in range(1, 6):
        scene.start(number, workflow="ship" if number == 5 else "order")

    def count(most: int, **where: Any) -> dict[str, int]:
        return count_runs(scene.store, DEFAULT_TENANT, RunFilter(**where), most=most)

    assert count(1) == {"queued": 1, "running": 1}
    assert count(3) == {"queued": 3, "running": 1}
    assert count(5) == count(100) == {"queued": 5, "running": 1}
    assert count(4, workflow="order") == {"queued": 4, "running": 1}
    assert count(2, statuses=frozenset({RunStatus.QUEUED, RunStatus.FAILED})) == {"queued": 2}
    assert count(2, created_before_ms=UnixMs(1)) == {}
    for where, name in (({"queue": "default"}, "queue"), ({"attributes": {"a": 1}}, "attribute$")):
        with pytest.raises(UsageError, match=name):
            count(2, **where)
    with pytest.raises(UsageError, match="at least 1"):
        count(0)


def test_attributes_keep_their_types(scene: Scene) -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
    given = {"text": "42", "whole": 42, "real": 2.5, "large": 1e22, "yes": True, "no": False, "due": moment}
    scene.start(1, attributes=given)

    found = scene.run(run_id(1)).attributes

    assert found == given
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in given.items()}


@pytest.mark.requirement("L-33")
def test_an_attribute_is_found_by_a_value_of_its_own_kind_alone(scene: Scene) -> None:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    for number, value in enumerate(("1", 1, 1.0, True, moment), 1):
        scene.start(number, attributes={"x": value})
    scene.start(6, tenant=OTHER_TENANT, attributes={"x": 1})

    assert _listed(scene, attributes={"x": "1"}) == [1]
    assert _listed(scene, attributes={"x": 1}) == [3, 2]
    assert _listed(scene, attributes={"x": True}) == [4]
    assert _listed(scene, attributes={"x": moment}) == [5]
    assert _listed(scene, attributes={"y": 1}) == []


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        (">", 2, [4, 3]),
        (">=", 2, [4, 3, 2]),
        ("<", 2.5, [2, 1]),
        ("<=", -1, [1]),
        (">=", "b", [7, 6]),
        ("<", "b", [5]),
        (">", datetime(2026, 1, 1, tzinfo=UTC), [9]),
        ("<=", datetime(2026, 1, 1, tzinfo=UTC), [8]),
    ],
)
def test_attributes_are_compared_within_their_kind(
    scene: Scene, operator: Any, value: Any, expected: list[int]
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    values = (-1, 2, 2.5, 10, "B", "b", "é", start, start + timedelta(milliseconds=1))
    for number, one in enumerate(values, 1):
        scene.start(number, attributes={"x": one})

    assert _listed(scene, ranges=(AttributeRange("x", operator, value),)) == expected


@pytest.mark.requirement("L-33")
def test_a_workflow_sets_and_takes_away_attributes_with_a_commit(scene: Scene) -> None:
    run = scene.held(1, attributes={"stage": "new", "customer": "ann"})

    scene.accept(run, attributes={"stage": "paid", "total": 12, "customer": None})

    assert scene.run(run.id).attributes == {"stage": "paid", "total": 12}
    assert _listed(scene, attributes={"stage": "paid"}) == [1]
    assert _listed(scene, attributes={"total": 12}) == [1]
    assert _listed(scene, attributes={"stage": "new"}) == _listed(scene, attributes={"customer": "ann"}) == []


@pytest.mark.requirement("L-33", "promise-4")
def test_a_stale_worker_sets_no_attributes(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)

    answer = scene.commit(run, attributes={"stage": "paid"})

    assert list(answer.refused) == [run.id]
    assert scene.run(run.id).attributes == {}
    assert _listed(scene, attributes={"stage": "paid"}) == []


@pytest.mark.requirement("L-33", "C-11")
def test_runs_are_found_by_what_they_wait_for(scene: Scene) -> None:
    scene.parked(1, signal_wait("a", 1, "order.approved"))
    scene.parked(2, timer("nap", 1, 5_000))
    scene.parked(3, child_wait("ship", 1, run_id(1)), signal_wait("b", 2, "paid"))
    closed = scene.held(4)
    scene.accept(closed, waits=[signal_wait("a", 1, "order.approved")])
    scene.accept(closed, cancelled=["a"], move=Finish(RunStatus.COMPLETED, "completed"))
    scene.start(5)

    assert _listed(scene, waiting_on=WaitingOn("signal", "order.approved")) == [1]
    assert _listed(scene, waiting_on=WaitingOn("signal")) == [3, 1]
    assert _listed(scene, waiting_on=WaitingOn("timer")) == [2]
    assert _listed(scene, waiting_on=WaitingOn("child", run_id(1))) == [3]
    assert _listed(scene, waiting_on=WaitingOn("signal"), statuses=frozenset({RunStatus.COMPLETED})) == []


@pytest.mark.requirement("L-33")
def test_runs_are_found_and_grouped_by_the_error_that_they_ended_with(scene: Scene) -> None:
    _fail(scene, 1, _failure("orders.Refused", "order 17 of 2026-01-31 was refused"))
    _fail(scene, 2, _failure("orders.Refused", "order 18 of 2025-12-24 was refused"))
    _fail(scene, 3, _failure("orders.Refused", "no such customer"))
    _fail(scene, 4, _failure("OSError", "no route"), workflow="ship", queue="default")
    scene.accept(scene.held(5), move=Finish(RunStatus.COMPLETED, "completed"))

    groups = scene.store.group_runs(DEFAULT_TENANT, RunFilter(), GroupBy.ERROR, limit=10)
    largest = groups[0]

    assert [group.count for group in groups] == [2, 1, 1]
    assert largest.label is not None
    assert largest.label.startswith("orders.Refused: order 1")
    assert largest.sample_id == run_id(2)
    assert _listed(scene, fingerprint=largest.value) == [2, 1]
    assert _listed(scene, error_type="orders.Refused") == [3, 2, 1]
    assert _listed(scene, error_type="OSError", workflow="order") == []
    assert len(scene.store.group_runs(DEFAULT_TENANT, RunFilter(), GroupBy.ERROR, limit=1)) == 1


@pytest.mark.requirement("L-33", "O-07")
def test_runs_are_counted_by_status_workflow_and_queue_within_a_filter(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, workflow="ship", queue="slow", parent_id=run_id(1), parent_key="a")
    scene.start(3, workflow="ship", parent_id=run_id(1), parent_key="b")
    scene.start(4, tenant=OTHER_TENANT)
    scene.accept(scene.held(5, parent_id=run_id(1), parent_key="c"), move=Finish(RunStatus.COMPLETED, "completed"))

    def grouped(by: GroupBy, **where: Any) -> list[tuple[str, int]]:
        found = scene.store.group_runs(DEFAULT_TENANT, RunFilter(**where), by, limit=10)
        return [(group.value, group.count) for group in found]

    assert grouped(GroupBy.WORKFLOW) == [("order", 2), ("ship", 2)]
    assert grouped(GroupBy.QUEUE) == [("default", 3), ("slow", 1)]
    assert grouped(GroupBy.STATUS, workflow="ship") == [("queued", 1), ("running", 1)]
    # The children of a run, by status, in one look.
    counts = count_runs(scene.store, DEFAULT_TENANT, RunFilter(parent_id=run_id(1)))
    assert sum(counts.values()) == 3
    assert counts["completed"] == 1


@pytest.mark.requirement("L-33")
def test_a_text_is_looked_for_in_key_workflow_and_error_message(scene: Scene) -> None:
    scene.start(1, key="Order-42")
    scene.start(2, workflow="ship")
    _fail(scene, 3, _failure("OSError", "no ROUTE to 100% of hosts_"), workflow="order")

    assert _listed(scene, text="order-4") == [1]
    assert _listed(scene, text="SHIP") == [2]
    assert _listed(scene, text="route") == [3]
    assert _listed(scene, text="100%") == [3]
    assert _listed(scene, text="hosts_") == [3]
    assert _listed(scene, text="0_") == []


@pytest.mark.requirement("L-33")
def test_runs_are_listed_oldest_first_or_last_ended_first(scene: Scene) -> None:
    for number in (1, 2, 3):
        scene.start(number)
        scene.clock.advance(5)
    held = {run.id: run for run in scene.claim()}
    for number in (2, 1):
        scene.accept(held[run_id(number)], move=Finish(RunStatus.COMPLETED, "completed"))
        scene.clock.advance(5)

    assert _listed(scene, order=RunOrder.NEWEST, limit=1) == [3, 2, 1]
    assert _listed(scene, order=RunOrder.OLDEST, limit=1) == [1, 2, 3]
    assert _listed(scene, order=RunOrder.ENDED, limit=1) == [1, 2]
    assert _listed(scene, order=RunOrder.ENDED, attributes={"x": 1}) == []


@pytest.mark.requirement("L-33")
def test_runs_are_found_by_when_they_were_moved_and_ended(scene: Scene) -> None:
    start = scene.clock.now_ms
    for number in (1, 2, 3):
        scene.start(number)
    scene.clock.advance(10)
    [one, two, _] = scene.claim()
    scene.clock.advance(10)
    scene.accept(one, move=Finish(RunStatus.COMPLETED, "completed"))
    scene.clock.advance(10)
    scene.accept(two, move=Finish(RunStatus.COMPLETED, "completed"))

    def at(ms: int) -> UnixMs:
        return UnixMs(start + ms)

    assert _listed(scene, updated_from_ms=at(11)) == [2, 1]
    assert _listed(scene, updated_before_ms=at(20)) == [3]
    assert _listed(scene, finalized_from_ms=at(20), finalized_before_ms=at(30)) == [1]
    assert _listed(scene, finalized_from_ms=at(21), order=RunOrder.ENDED) == [2]
    assert _listed(scene, created_from_ms=at(1), order=RunOrder.ENDED) == []


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("order", list(RunOrder))
def test_what_no_index_serves_is_found_window_by_window(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, order: RunOrder
) -> None:
    monkeypatch.setattr(paging, "WINDOW", 4)
    for number in range(1, 12):
        scene.start(number, queue="slow" if number in {2, 9} else "default")
        scene.clock.advance(number % 2)
    for run in scene.claim(queues=("default", "slow")):
        scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))
    expected = [2, 9] if order is RunOrder.OLDEST else [9, 2]

    pages = 1
    page = scene.store.list_runs(DEFAULT_TENANT, RunFilter(queue="slow", order=order), limit=5, after=None)
    while page.next is not None:
        page = scene.store.list_runs(DEFAULT_TENANT, RunFilter(queue="slow", order=order), limit=5, after=page.next)
        pages += 1

    assert _listed(scene, queue="slow", order=order, limit=5) == expected
    assert _listed(scene, queue="slow", order=order, limit=1) == expected
    assert pages == 3


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("order", list(RunOrder))
def test_what_few_wait_for_is_gathered_and_what_many_wait_for_is_found_window_by_window(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, order: RunOrder
) -> None:
    monkeypatch.setattr(paging, "WINDOW", 4)
    monkeypatch.setattr(paging, "GATHERED", 2)
    for number in range(1, 12):
        run = scene.held(number)
        scene.accept(run, waits=[signal_wait("w", 1, "rare" if number in {2, 9} else "usual")], move=Park(1))
        scene.clock.advance(number % 2)
    ended = order is RunOrder.ENDED
    rare = [] if ended else [2, 9] if order is RunOrder.OLDEST else [9, 2]
    usual = [] if ended else sorted({*range(1, 12)} - {2, 9}, reverse=order is not RunOrder.OLDEST)

    for name, expected in (("rare", rare), ("usual", usual)):
        asked = WaitingOn("signal", name)
        assert _listed(scene, waiting_on=asked, order=order, limit=1) == expected
        assert _listed(scene, waiting_on=asked, order=order, limit=50) == expected
        assert _listed(scene, waiting_on=asked, order=order, workflow="other") == []
    first = scene.store.list_runs(DEFAULT_TENANT, RunFilter(waiting_on=asked, order=order), limit=50, after=None)
    assert len(first.runs) <= 4


@pytest.mark.requirement("L-33")
def test_each_page_is_asked_for_with_its_own_values(scene: Scene) -> None:
    for number, name in enumerate(("100%", "10_", "1/0", "100", "ann"), 1):
        scene.start(number, key=name, attributes={"customer": name, "total": number})

    for number, name in enumerate(("100%", "10_", "1/0"), 1):
        assert _listed(scene, text=name) == [number]
        assert _listed(scene, key=name) == [number]
        assert _listed(scene, attributes={"customer": name}) == [number]
        assert _listed(scene, ranges=(AttributeRange("total", ">", number),), limit=1) == [*range(5, number, -1)]
        assert _listed(scene, text="'; select 1; --" + name) == []


@pytest.mark.requirement("L-33")
def test_a_run_that_has_ended_waits_for_nothing(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("w", 1, "paid")])
    scene.accept(run, move=Finish(RunStatus.STUCK, "worker_crashes"))

    for statuses in (frozenset[RunStatus](), frozenset({RunStatus.STUCK}), frozenset(RunStatus)):
        assert _listed(scene, waiting_on=WaitingOn("signal", "paid"), statuses=statuses) == []
        assert _listed(scene, waiting_on=WaitingOn("signal"), statuses=statuses) == []
