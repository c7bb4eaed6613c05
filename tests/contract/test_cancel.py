from __future__ import annotations

import pytest

from holdfast.errors import CommandRefused, RunFinished, RunNotFound
from holdfast.model.commit import Compensate, Finish, Park, Release
from holdfast.model.ids import RunId
from holdfast.model.run import Run
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import ALICE, ERROR, OTHER_TENANT, RESULT, Scene, entry, run_id, signal_wait, timer


def _cancel(scene: Scene, of: RunId) -> Run:
    return scene.cancel(of)


@pytest.mark.requirement("S-59", "promise-5")
def test_a_queued_run_is_cancelled_at_once(scene: Scene) -> None:
    started = scene.start(1)
    scene.clock.advance(3)

    cancelled = _cancel(scene, started)

    assert (cancelled.status, cancelled.status_reason, cancelled.terminal_reason) == (
        RunStatus.CANCELLED,
        "cancelled",
        "cancelled",
    )
    assert (cancelled.ready_ms, cancelled.finalized_ms) == (None, scene.clock.now_ms)
    assert scene.run(started) == cancelled
    assert scene.claim() == []


def test_a_delayed_run_is_cancelled_at_once(scene: Scene) -> None:
    started = scene.start(1, delay_ms=10)

    assert _cancel(scene, started).wake_ms is None
    scene.clock.advance(10)
    assert scene.store.wake_due(limit=10) == 0


@pytest.mark.requirement("S-59", "C-50")
def test_a_waiting_run_is_cancelled_at_once_with_all_it_waits_for(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 100), signal_wait("approval", 2))

    assert _cancel(scene, run.id).status is RunStatus.CANCELLED

    assert [wait.outcome for wait in scene.detail(run.id).waits] == [WaitOutcome.CANCELLED] * 2
    scene.clock.advance(1_000)
    assert scene.store.wake_due(limit=10) == 0


@pytest.mark.requirement("S-59", "fault-47")
def test_a_held_run_is_cancelled_by_its_worker(scene: Scene) -> None:
    run = scene.held(1)

    asked = _cancel(scene, run.id)
    assert (asked.status, asked.cancel_requested, asked.worker) == (RunStatus.RUNNING, True, ALICE)
    assert scene.run(run.id).cancel_requested

    assert scene.accept(run, entries=[entry(run, "charge", 1)]).cancel_requested == [run.id]
    scene.accept(run, move=Finish(RunStatus.CANCELLED, "cancelled"))
    assert scene.run(run.id).status is RunStatus.CANCELLED


def test_a_commit_without_a_cancel_request_says_so(scene: Scene) -> None:
    run = scene.held(1)

    assert scene.accept(run, entries=[entry(run, "charge", 1)]).cancel_requested == []


def test_a_cancel_request_is_not_lost_with_its_worker(scene: Scene) -> None:
    run = scene.held(1)
    _cancel(scene, run.id)
    scene.lose(run)

    [again] = scene.claim()

    assert again.cancel_requested


def test_a_cancel_request_outlives_a_release(scene: Scene) -> None:
    run = scene.held(1)
    _cancel(scene, run.id)
    scene.accept(run, move=Release())

    assert [one.cancel_requested for one in scene.claim()] == [True]


@pytest.mark.requirement("promise-5", "fault-47")
def test_a_run_that_ends_before_it_notices_the_request_ends_as_it_ends(scene: Scene) -> None:
    run = scene.held(1)
    _cancel(scene, run.id)

    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT))

    assert (scene.run(run.id).status, scene.run(run.id).result) == (RunStatus.COMPLETED, RESULT)


def test_cancelling_twice_does_nothing_more(scene: Scene) -> None:
    queued, held = scene.start(1, workflow="unknown"), scene.held(2)
    first = [_cancel(scene, queued), _cancel(scene, held.id)]
    scene.clock.advance(1)

    assert [_cancel(scene, queued), _cancel(scene, held.id)] == first


@pytest.mark.requirement("promise-5", "promise-11")
@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_a_run_that_ended_otherwise_cannot_be_cancelled(scene: Scene, end: RunStatus) -> None:
    run = scene.held(1)
    scene.accept(run, move=Finish(end, end.value))

    with pytest.raises(RunFinished) as caught:
        _cancel(scene, run.id)

    assert (caught.value.run_id, caught.value.status) == (run.id, end)


def test_a_stuck_run_cannot_be_cancelled(scene: Scene) -> None:
    run = scene.held(1)
    assert scene.lose(run, crashes_max=1)

    with pytest.raises(CommandRefused) as caught:
        _cancel(scene, run.id)

    assert caught.value.allowed == "release, close, settle, move"


@pytest.mark.requirement("promise-10")
def test_another_tenants_run_cannot_be_cancelled(scene: Scene) -> None:
    scene.start(1, tenant=OTHER_TENANT)

    with pytest.raises(RunNotFound):
        _cancel(scene, run_id(1))
    with pytest.raises(RunNotFound):
        _cancel(scene, run_id(2))

    assert scene.run(run_id(1), OTHER_TENANT).status is RunStatus.QUEUED


@pytest.mark.requirement("promise-8", "S-53")
def test_a_compensating_run_is_not_cancelled_what_it_began_to_undo_it_undoes_to_the_end(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    scene.accept(run, waits=[timer("retry", 1, 100)], move=Park(open_waits=1))

    asked = _cancel(scene, run.id)

    assert (asked.status, asked.cancel_requested) == (RunStatus.COMPENSATING, True)
    assert _cancel(scene, run.id) == asked


@pytest.mark.parametrize("move", [Park(open_waits=1), Release()], ids=["parked", "released"])
@pytest.mark.requirement("fault-47", "S-59", "promise-11")
def test_a_cancel_that_raced_the_end_of_a_lease_is_kept_for_the_next_one(scene: Scene, move: Park | Release) -> None:
    run = scene.held(1, timeout_ms=60_000)
    _cancel(scene, run.id)
    scene.clock.advance(3)

    scene.accept(run, waits=[timer("nap", 1, 10_000)], move=move)

    row = scene.run(run.id)
    assert (row.status, row.ready_ms, row.wake_ms) == (RunStatus.QUEUED, scene.clock.now_ms, None)
    [again] = scene.claim(ALICE)
    assert (again.id, again.cancel_requested) == (run.id, True)


@pytest.mark.requirement("fault-48")
def test_a_run_that_compensates_is_parked_even_if_somebody_wants_it_cancelled(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    _cancel(scene, run.id)

    scene.park(run, timer("nap", 1, 10_000))

    row = scene.run(run.id)
    assert (scene.place(run.id), row.wake_ms) == ((RunStatus.COMPENSATING, False), scene.clock.now_ms + 10_000)
    assert scene.claim(ALICE) == []


@pytest.mark.requirement("fault-47")
def test_listeners_hear_of_a_cancelled_run_that_was_parked_into_the_line(scene: Scene) -> None:
    run = scene.held(1)
    _cancel(scene, run.id)
    heard: list[bool] = []
    unsubscribe = scene.store.hints.subscribe(lambda hint: heard.append(hint.work))

    scene.park(run, timer("nap", 1, 10_000))
    unsubscribe()

    assert True in heard
