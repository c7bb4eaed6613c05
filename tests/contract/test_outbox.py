"""The outbox: the end of a run and the rows of those who are told of it are one, on every store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.model.closing import EVERY, Closing
from holdfast.model.command import CloseStuck, ReleaseStuck, Terminate
from holdfast.model.commit import Compensate, Finish
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.model.run import ClaimedRun
from holdfast.model.status import EntryStatus, RunStatus
from holdfast.model.tenant import Ended, Everything
from holdfast.store.outbox import Outbox
from tests.contract.scene import (
    BOB,
    ERROR,
    OTHER_TENANT,
    RESULT,
    Scene,
    attempt,
    child_wait,
    entry,
    run_id,
    signal_wait,
)
from tests.contract.stores import OpenStore

LEASE_MS = 60_000
DONE = Finish(RunStatus.COMPLETED, "completed", RESULT)
BROKEN = Finish(RunStatus.FAILED, "error", error=ERROR)


@pytest.fixture
def outbox(opened: OpenStore) -> Outbox:
    """The outbox of each store in turn, with a reader ``audit`` of the ends of workflow ``order``."""
    outbox = Outbox(opened.store)
    outbox.subscribe(DEFAULT_TENANT, "audit", ["order"])
    return outbox


def claimed(
    outbox: Outbox, name: str = "audit", tenant: Tenant | None = DEFAULT_TENANT, *, limit: int = 100
) -> list[Closing]:
    """What the reader is told, and works on from then on."""
    return outbox.claim(tenant, [name], limit=limit, lease_ms=LEASE_MS)


def finish(scene: Scene, number: int, move: Finish = DONE, **given: Any) -> ClaimedRun:
    """Start a run, claim it and end it."""
    run = scene.held(number, **given)
    scene.accept(run, move=move)
    return run


# --- What is told ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B-25", "B-54")
def test_the_end_of_a_run_is_told_with_how_it_ended(scene: Scene, outbox: Outbox) -> None:
    run = finish(scene, 1, key="order-1")

    [closing] = claimed(outbox)

    ended = scene.detail(run.id)
    assert (closing.run_id, closing.seq) == (run.id, len(ended.transitions))
    assert (closing.workflow, closing.tenant, closing.key) == ("order", DEFAULT_TENANT, "order-1")
    assert (closing.status, closing.reason) == (RunStatus.COMPLETED, "completed")
    assert (closing.error_type, closing.error_message, closing.failed_steps) == (None, None, [])
    assert (closing.ended_ms, closing.deliveries) == (ended.run.finalized_ms, 1)
    assert closing.id == f"{run.id}:{closing.seq}"


@pytest.mark.requirement("B-25")
def test_a_failed_run_is_told_with_its_error_and_the_names_of_the_steps_that_failed(
    scene: Scene, outbox: Outbox
) -> None:
    child = scene.start(2, workflow="ship")
    run = scene.held(1)
    scene.accept(run, waits=[child_wait("deliver", 1, child)])
    scene.order(child, Terminate())
    failed = {"status": EntryStatus.FAILED, "result": None, "error": ERROR}
    entries = [
        entry(run, "load", 2),
        entry(run, "parcels[1]", 3, **failed),
        entry(run, "mail/b", 4, **failed),
        entry(run, "mail/a", 5, **failed),
        entry(run, "charge#2", 6, **failed),
    ]
    scene.accept(run, entries=entries, attempts=[attempt("charge#2", 1)], move=BROKEN)

    [closing] = claimed(outbox)

    assert (closing.status, closing.reason) == (RunStatus.FAILED, "error")
    assert (closing.error_type, closing.error_message) == ("Refused", "no")
    assert closing.failed_steps == ["charge", "deliver", "mail", "parcels"]


def _by_finish(scene: Scene) -> RunStatus:
    finish(scene, 1)
    return RunStatus.COMPLETED


def _by_failing_while_it_compensates(scene: Scene) -> RunStatus:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "error"))
    scene.accept(run, move=Finish(RunStatus.FAILED, "compensated", error=ERROR))
    return RunStatus.FAILED


def _by_a_cancel_that_nobody_holds(scene: Scene) -> RunStatus:
    scene.cancel(scene.start(1))
    return RunStatus.CANCELLED


def _by_a_cancel_while_it_waits(scene: Scene) -> RunStatus:
    scene.cancel(scene.parked(1, signal_wait("w", 1)).id)
    return RunStatus.CANCELLED


def _by_its_worker_after_a_cancel(scene: Scene) -> RunStatus:
    run = scene.held(1)
    scene.cancel(run.id)
    scene.accept(run, move=Finish(RunStatus.CANCELLED, "cancelled"))
    return RunStatus.CANCELLED


def _by_being_terminated(scene: Scene) -> RunStatus:
    scene.order(scene.held(1).id, Terminate())
    return RunStatus.CANCELLED


def _by_being_set_aside_by_its_worker(scene: Scene) -> RunStatus:
    finish(scene, 1, Finish(RunStatus.STUCK, "non_determinism", error=ERROR))
    return RunStatus.STUCK


def _by_losing_too_many_workers(scene: Scene) -> RunStatus:
    assert scene.lose(scene.held(1), crashes_max=1)
    return RunStatus.STUCK


ENDS = [
    _by_finish,
    _by_failing_while_it_compensates,
    _by_a_cancel_that_nobody_holds,
    _by_a_cancel_while_it_waits,
    _by_its_worker_after_a_cancel,
    _by_being_terminated,
    _by_being_set_aside_by_its_worker,
    _by_losing_too_many_workers,
]


@pytest.mark.requirement("B-54")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.removeprefix("_by_"))
def test_whatever_ends_a_run_tells_of_it_once(scene: Scene, outbox: Outbox, end: Callable[[Scene], RunStatus]) -> None:
    status = end(scene)

    [closing] = claimed(outbox)

    run = scene.run(run_id(1))
    assert (closing.status, closing.reason, closing.ended_ms) == (status, run.terminal_reason, run.finalized_ms)
    assert run.status is status


@pytest.mark.requirement("B-54")
def test_a_run_that_was_set_aside_and_ends_again_is_told_again_under_another_id(scene: Scene, outbox: Outbox) -> None:
    run = scene.held(1)
    scene.lose(run, crashes_max=1)
    scene.order(run.id, ReleaseStuck())
    [again] = scene.claim(BOB)
    scene.accept(again, move=DONE)

    first, second = claimed(outbox)

    assert [first.status, second.status] == [RunStatus.STUCK, RunStatus.COMPLETED]
    assert first.id != second.id
    assert first.seq < second.seq


@pytest.mark.requirement("B-54")
def test_a_run_that_was_set_aside_and_is_closed_is_told_of_both(scene: Scene, outbox: Outbox) -> None:
    run = scene.held(1)
    scene.lose(run, crashes_max=1)
    scene.order(run.id, CloseStuck())

    assert [(one.status, one.reason) for one in claimed(outbox)] == [
        (RunStatus.STUCK, "worker_crashes"),
        (RunStatus.FAILED, "closed"),
    ]


@pytest.mark.requirement("B-54")
def test_what_ends_no_run_is_told_to_nobody(scene: Scene, outbox: Outbox) -> None:
    late = scene.held(1)
    scene.lose(late)
    waiting = scene.parked(2, signal_wait("w", 1), worker=BOB)
    refused = scene.commit(late, move=DONE).refused
    scene.cancel(waiting.id)
    scene.cancel(waiting.id)

    assert refused.keys() == {late.id}
    assert [one.run_id for one in claimed(outbox)] == [waiting.id]


def test_a_batch_of_ends_is_told_in_the_order_of_ending(scene: Scene, outbox: Outbox) -> None:
    for number in (3, 1, 2):
        finish(scene, number)
        scene.clock.advance(1)

    assert [one.run_id for one in claimed(outbox)] == [run_id(3), run_id(1), run_id(2)]


# --- Who is told -------------------------------------------------------------------------------------------------


def rows(scene: Scene) -> int:
    """How many rows the outbox has, of all tenants."""
    from sqlalchemy import func, select

    from holdfast.store.tables import OUTBOX

    count = select(func.count()).select_from(OUTBOX)
    return int(scene.store.transact(None, lambda statements: statements.rows(count))[0][0])


def test_nothing_is_written_for_a_run_that_nobody_listens_to(scene: Scene, outbox: Outbox) -> None:
    finish(scene, 1, workflow="ship")
    scene.cancel(scene.start(2, workflow="ship"))
    finish(scene, 3, tenant=OTHER_TENANT)

    assert rows(scene) == 0
    assert claimed(outbox) == []


@pytest.mark.requirement("promise-10")
def test_a_reader_hears_of_its_own_tenant_alone(scene: Scene, outbox: Outbox) -> None:
    outbox.subscribe(OTHER_TENANT, "audit", ["order"])
    finish(scene, 1)
    finish(scene, 2, tenant=OTHER_TENANT)

    mine, theirs = claimed(outbox), claimed(outbox, tenant=OTHER_TENANT)

    assert [one.run_id for one in mine] == [run_id(1)]
    assert [one.run_id for one in theirs] == [run_id(2)]


def test_every_reader_is_told_and_acknowledges_for_itself(scene: Scene, outbox: Outbox) -> None:
    outbox.subscribe(DEFAULT_TENANT, "all", [EVERY])
    finish(scene, 1)
    finish(scene, 2, workflow="ship")

    audit, everything = claimed(outbox), claimed(outbox, "all")
    outbox.acknowledge(audit)

    assert [one.run_id for one in audit] == [run_id(1)]
    assert [one.run_id for one in everything] == [run_id(1), run_id(2)]
    scene.clock.advance(LEASE_MS)
    assert [one.run_id for one in claimed(outbox)] == []
    assert [one.run_id for one in claimed(outbox, "all")] == [run_id(1), run_id(2)]


def test_who_is_subscribed_to_a_workflow_and_to_all_is_told_once(scene: Scene, outbox: Outbox) -> None:
    outbox.subscribe(DEFAULT_TENANT, "audit", [EVERY, "ship"])
    finish(scene, 1)

    assert len(claimed(outbox)) == 1


def test_a_handler_is_told_of_the_ends_of_every_tenant(scene: Scene, outbox: Outbox) -> None:
    outbox.subscribe(None, "@tell", ["order"])
    finish(scene, 1)
    finish(scene, 2, tenant=OTHER_TENANT)

    found = claimed(outbox, "@tell", None)

    assert [(one.run_id, one.tenant) for one in found] == [
        (run_id(1), DEFAULT_TENANT),
        (run_id(2), OTHER_TENANT),
    ]
    assert [one.name for one in outbox.subscriptions(None)] == ["@tell"]
    assert [one.name for one in outbox.subscriptions(DEFAULT_TENANT)] == ["audit"]


def test_a_subscription_is_made_once_and_ends_with_what_waits_for_it(scene: Scene, outbox: Outbox) -> None:
    outbox.subscribe(DEFAULT_TENANT, "audit", ["order", "ship"])
    finish(scene, 1)
    told = [(one.name, one.workflow, one.undelivered) for one in outbox.subscriptions(DEFAULT_TENANT)]

    assert told == [("audit", "order", 1), ("audit", "ship", 1)]
    assert outbox.unsubscribe(DEFAULT_TENANT, "audit", "ship")
    assert not outbox.unsubscribe(OTHER_TENANT, "audit")
    assert len(claimed(outbox)) == 1
    assert outbox.unsubscribe(DEFAULT_TENANT, "audit")
    assert not outbox.unsubscribe(DEFAULT_TENANT, "audit")
    finish(scene, 2)
    assert rows(scene) == 0


# --- How often ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B-54")
def test_what_one_reader_works_on_comes_to_no_other_until_its_time_is_up(scene: Scene, outbox: Outbox) -> None:
    for number in (1, 2, 3):
        finish(scene, number)

    first, second = claimed(outbox, limit=2), claimed(outbox, limit=2)
    scene.clock.advance(LEASE_MS - 1)
    nothing = claimed(outbox)
    outbox.acknowledge(first[:1])
    scene.clock.advance(1)
    again = claimed(outbox)

    assert [one.run_id for one in first] == [run_id(1), run_id(2)]
    assert [one.run_id for one in second] == [run_id(3)]
    assert nothing == []
    assert [(one.run_id, one.deliveries) for one in again] == [(run_id(2), 2), (run_id(3), 2)]
    assert again[0].id == first[1].id


def test_an_end_that_was_acknowledged_never_comes_again(scene: Scene, outbox: Outbox) -> None:
    finish(scene, 1)
    found = claimed(outbox)

    outbox.acknowledge(found)
    outbox.acknowledge(found)

    scene.clock.advance(10 * LEASE_MS)
    assert claimed(outbox) == []
    assert rows(scene) == 0


def test_an_end_that_nobody_has_heard_of_outlives_its_run_but_not_its_tenant(scene: Scene, outbox: Outbox) -> None:
    run = finish(scene, 1)
    scene.clock.advance(1)
    scene.store.prune(Ended(DEFAULT_TENANT, scene.clock.now_ms), limit=10)

    assert scene.store.get_runs(DEFAULT_TENANT, [run.id]) == []
    assert [one.run_id for one in claimed(outbox)] == [run.id]

    scene.store.prune(Everything(DEFAULT_TENANT), limit=10)

    assert rows(scene) == 0
    assert outbox.subscriptions(DEFAULT_TENANT) == []


@pytest.mark.requirement("B-54")
def test_an_end_that_is_not_recorded_is_told_to_nobody(scene: Scene, outbox: Outbox) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "a", 1)])

    answer = scene.commit(run, entries=[entry(run, "a", 2)], move=DONE)

    assert answer.broken.keys() == {run.id}
    assert scene.run(run.id).status is RunStatus.RUNNING
    assert claimed(outbox) == []
