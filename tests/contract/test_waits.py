from __future__ import annotations

import pytest

from holdfast.model.commit import Compensate, Finish, NewWait, Park
from holdfast.model.ids import UnixMs
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from tests.contract.scene import ERROR, Scene, entry, message, run_id, signal_wait, timer


@pytest.mark.requirement("C-09", "C-25")
def test_a_parked_run_gives_its_lease_back_and_waits(scene: Scene) -> None:
    run = scene.held(1)

    answer = scene.park(run, timer("nap", 1, 1_000), signal_wait("approval", 2))

    assert [(wait.key, wait.outcome) for wait in answer.waits[run.id]] == [("nap", None), ("approval", None)]
    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.worker, row.ready_ms) == (RunStatus.WAITING, "waiting", None, None)
    assert row.wake_ms == scene.clock.now_ms + 1_000
    assert row.epoch == run.epoch
    nap = scene.wait(run.id, "nap")
    assert (nap.kind, nap.seq, nap.opened_ms) == (WaitKind.TIMER, 1, scene.clock.now_ms)
    assert (nap.due_ms, nap.outcome, nap.closed_ms) == (scene.clock.now_ms + 1_000, None, None)


def test_a_parked_run_is_not_claimed(scene: Scene) -> None:
    scene.parked(1, timer("nap", 1, 1_000))

    assert scene.claim() == []


@pytest.mark.requirement("promise-6", "C-50", "fault-11", "C-24", "C-25")
def test_a_timer_never_fires_early_and_fires_once(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 1_000))

    scene.clock.advance(999)
    assert scene.store.wake_due(limit=10) == 0
    assert scene.place(run.id) == (RunStatus.WAITING, False)
    assert scene.wait(run.id, "nap").outcome is None

    scene.clock.advance(1)
    assert scene.store.wake_due(limit=10) == 1
    assert scene.store.wake_due(limit=10) == 0
    nap = scene.wait(run.id, "nap")
    assert (nap.outcome, nap.closed_ms) == (WaitOutcome.ELAPSED, scene.clock.now_ms)
    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.ready_ms) == (RunStatus.QUEUED, "timer_elapsed", scene.clock.now_ms)
    assert row.wake_ms is None


@pytest.mark.requirement("promise-6", "fault-65")
def test_a_timer_may_be_a_century_away(scene: Scene) -> None:
    century_ms = 100 * 365 * 86_400_000
    run = scene.parked(1, timer("nap", 1, century_ms))

    scene.clock.advance(century_ms - 1)
    assert scene.store.wake_due(limit=10) == 0
    scene.clock.advance(1)
    assert scene.store.wake_due(limit=10) == 1
    assert scene.wait(run.id, "nap").outcome is WaitOutcome.ELAPSED


def test_a_wait_until_a_moment_is_due_then(scene: Scene) -> None:
    due = UnixMs(scene.clock.now_ms + 70)
    run = scene.parked(1, NewWait(key="nap", seq=1, kind=WaitKind.TIMER, due_ms=due))

    assert scene.wait(run.id, "nap").due_ms == due
    assert scene.run(run.id).wake_ms == due


@pytest.mark.requirement("C-09")
def test_the_earliest_wait_wakes_the_run_and_the_others_stay_open(scene: Scene) -> None:
    run = scene.parked(1, timer("late", 1, 500), timer("soon", 2, 100), timer("sooner", 3, 90))
    scene.clock.advance(100)

    assert scene.store.wake_due(limit=10) == 1

    outcomes = {wait.key: wait.outcome for wait in scene.detail(run.id).waits}
    assert outcomes == {"late": None, "soon": WaitOutcome.ELAPSED, "sooner": WaitOutcome.ELAPSED}
    [again] = scene.claim()
    scene.accept(again, move=Park(open_waits=1))
    assert scene.run(run.id).wake_ms == scene.wait(run.id, "late").due_ms


@pytest.mark.requirement("C-55")
def test_wake_due_takes_no_more_than_its_limit_and_the_earliest_first(scene: Scene) -> None:
    for number, delay_ms in ((1, 30), (2, 10), (3, 20)):
        scene.parked(number, timer("nap", 1, delay_ms))
    scene.clock.advance(100)

    assert scene.store.wake_due(limit=2) == 2
    assert [scene.run(run_id(number)).status for number in (1, 2, 3)] == [
        RunStatus.WAITING,
        RunStatus.QUEUED,
        RunStatus.QUEUED,
    ]
    assert scene.store.wake_due(limit=2) == 1


def test_a_wait_without_a_time_is_never_woken_by_time(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("approval", 1), timer("never", 2, None))

    assert scene.run(run.id).wake_ms is None
    scene.clock.advance(10**12)
    assert scene.store.wake_due(limit=10) == 0


@pytest.mark.requirement("C-50", "promise-7", "C-22")
def test_a_wait_with_a_timeout_closes_once_whatever_comes_first(scene: Scene) -> None:
    late = scene.parked(1, signal_wait("approval", 1, delay_ms=100))
    early = scene.parked(2, signal_wait("approval", 1, delay_ms=100))
    scene.store.send_signal(message(1, early.id))
    scene.clock.advance(100)
    scene.store.wake_due(limit=10)

    assert scene.store.send_signal(message(2, late.id)) == []
    assert scene.wait(late.id, "approval").outcome is WaitOutcome.ELAPSED
    assert scene.wait(early.id, "approval").outcome is WaitOutcome.SIGNALLED
    assert scene.wait(late.id, "approval").result is None


@pytest.mark.requirement("fault-46", "promise-7")
def test_parking_with_a_wait_closed_meanwhile_makes_the_run_claimable_at_once(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1), timer("nap", 2, 1_000)])
    scene.store.send_signal(message(1, run.id))

    scene.accept(run, move=Park(open_waits=2))

    row = scene.run(run.id)
    assert (row.status, row.ready_ms) == (RunStatus.QUEUED, scene.clock.now_ms)
    assert (row.wake_ms, row.worker) == (None, None)
    [again] = scene.claim()
    assert {wait.key: wait.outcome for wait in again.waits} == {"approval": WaitOutcome.SIGNALLED, "nap": None}


@pytest.mark.requirement("fault-46", "promise-7")
def test_parking_on_a_wait_that_a_kept_signal_closed_at_once_does_not_wait(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, run.id))

    answer = scene.park(run, signal_wait("approval", 1))

    assert [wait.outcome for wait in answer.waits[run.id]] == [WaitOutcome.SIGNALLED]
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_parking_knowing_of_the_closed_wait_waits_for_the_rest(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1), timer("nap", 2, 1_000)])
    scene.store.send_signal(message(1, run.id))

    scene.accept(run, move=Park(open_waits=1))

    assert scene.place(run.id) == (RunStatus.WAITING, False)


def test_a_held_run_elapses_its_own_due_wait(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 100), timer("long", 2, 5_000)])
    scene.clock.advance(100)

    answer = scene.accept(run, elapsed=["nap"])

    [nap] = answer.waits[run.id]
    assert (nap.key, nap.outcome, nap.closed_ms) == ("nap", WaitOutcome.ELAPSED, scene.clock.now_ms)
    assert scene.wait(run.id, "long").outcome is None


@pytest.mark.requirement("promise-6", "fault-10")
def test_a_wait_that_a_worker_thinks_due_stays_open_if_the_stores_clock_disagrees(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 100)])
    scene.clock.advance(99)

    answer = scene.accept(run, elapsed=["nap"])

    assert [(wait.key, wait.outcome) for wait in answer.waits[run.id]] == [("nap", None)]
    assert scene.wait(run.id, "nap").outcome is None


def test_a_held_run_cancels_its_own_open_wait(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 100), signal_wait("approval", 2)])

    answer = scene.accept(run, cancelled=["approval"])

    [approval] = answer.waits[run.id]
    assert (approval.outcome, approval.closed_ms) == (WaitOutcome.CANCELLED, scene.clock.now_ms)
    assert scene.store.send_signal(message(1, run.id)) == []


@pytest.mark.requirement("C-50", "promise-7")
def test_a_closed_wait_keeps_its_first_outcome(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1, delay_ms=10)])
    scene.store.send_signal(message(1, run.id))
    signalled = scene.wait(run.id, "approval")
    scene.clock.advance(10)

    answer = scene.accept(run, elapsed=["approval"], cancelled=["approval"])

    assert answer.waits[run.id] == [signalled]
    assert scene.wait(run.id, "approval") == signalled


def test_a_wait_that_closes_while_the_run_is_held_does_not_move_it(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])

    assert scene.store.send_signal(message(1, run.id)) == [run.id]
    assert scene.place(run.id) == (RunStatus.RUNNING, False)
    assert scene.run(run.id).worker is not None


@pytest.mark.requirement("promise-6")
def test_a_run_is_never_parked_past_its_deadline(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 5_000), timeout_ms=1_000)
    row = scene.run(run.id)
    assert row.wake_ms == row.deadline_ms

    scene.clock.advance(1_000)
    assert scene.store.wake_due(limit=10) == 1

    assert scene.wait(run.id, "nap").outcome is None
    assert scene.run(run.id).status_reason == "deadline_exceeded"
    [again] = scene.claim()
    scene.accept(again, move=Finish(RunStatus.FAILED, "deadline_exceeded", error=ERROR))
    assert scene.wait(run.id, "nap").outcome is WaitOutcome.CANCELLED


@pytest.mark.requirement("S-54", "promise-8")
def test_a_compensating_run_that_waits_keeps_its_status(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    scene.park(run, timer("retry", 1, 100))
    assert scene.place(run.id) == (RunStatus.COMPENSATING, False)
    assert scene.claim() == []

    scene.clock.advance(100)
    assert scene.store.wake_due(limit=10) == 1
    assert scene.place(run.id) == (RunStatus.COMPENSATING, True)
    [again] = scene.claim()
    assert (again.status, again.error, again.epoch) == (RunStatus.COMPENSATING, ERROR, run.epoch + 1)


@pytest.mark.requirement("S-06", "promise-5")
def test_entries_and_waits_of_one_commit_come_together(scene: Scene) -> None:
    run = scene.held(1)

    scene.accept(run, entries=[entry(run, "charge", 1)], waits=[timer("nap", 2, 10)], move=Park(open_waits=1))

    detail = scene.detail(run.id)
    assert [one.key for one in detail.journal] == ["charge"]
    assert [one.key for one in detail.waits] == ["nap"]
    assert detail.run.status is RunStatus.WAITING
