from __future__ import annotations

import pytest

from holdfast.errors import RunFinished, RunNotFound
from holdfast.model.commit import Compensate, Finish, Park
from holdfast.model.ids import Json
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import ERROR, OTHER_TENANT, PAYLOAD, Scene, message, run_id, signal_wait, timer


def _payload(number: int) -> Json:
    return Json(b'{"value":%d}' % number)


@pytest.mark.requirement("promise-7", "C-51", "C-13")
def test_a_signal_to_a_waiting_run_closes_its_wait_and_makes_it_claimable(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("approval", 1), timer("nap", 2, 1_000))
    scene.clock.advance(7)

    assert scene.store.send_signal(message(1, run.id)) == [run.id]

    wait = scene.wait(run.id, "approval")
    assert (wait.outcome, wait.closed_ms, wait.result) == (WaitOutcome.SIGNALLED, scene.clock.now_ms, PAYLOAD)
    row = scene.run(run.id)
    assert (row.status, row.status_reason) == (RunStatus.QUEUED, "signalled")
    assert (row.ready_ms, row.wake_ms) == (scene.clock.now_ms, None)
    assert scene.wait(run.id, "nap").outcome is None


@pytest.mark.requirement("promise-7", "C-52", "S-57", "fault-45")
def test_a_signal_that_comes_before_its_wait_is_kept_for_it(scene: Scene) -> None:
    started = scene.start(1)
    assert scene.store.send_signal(message(1, started)) == []
    [run] = scene.claim()
    scene.clock.advance(3)

    answer = scene.accept(run, waits=[signal_wait("approval", 1)])

    [wait] = answer.waits[started]
    assert (wait.outcome, wait.result, wait.closed_ms) == (WaitOutcome.SIGNALLED, PAYLOAD, scene.clock.now_ms)
    assert scene.wait(started, "approval") == wait


@pytest.mark.requirement("promise-7")
def test_a_signal_to_a_held_run_closes_the_wait_without_moving_the_run(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])

    assert scene.store.send_signal(message(1, run.id)) == [run.id]

    assert scene.place(run.id) == (RunStatus.RUNNING, False)
    assert scene.wait(run.id, "approval").result == PAYLOAD


@pytest.mark.requirement("promise-7", "fault-44")
def test_the_same_signal_twice_does_nothing_the_second_time(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("first", 1), signal_wait("second", 2))

    assert scene.store.send_signal(message(1, run.id)) == [run.id]
    before = scene.detail(run.id)
    assert scene.store.send_signal(message(1, run.id)) == []

    assert scene.detail(run.id) == before


@pytest.mark.requirement("promise-7", "fault-44")
def test_a_kept_signal_sent_twice_is_kept_once(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, run.id))
    scene.store.send_signal(message(1, run.id))

    scene.accept(run, waits=[signal_wait("first", 1), signal_wait("second", 2)])

    assert [wait.outcome for wait in scene.detail(run.id).waits] == [WaitOutcome.SIGNALLED, None]


@pytest.mark.requirement("promise-11", "fault-44")
def test_repeating_a_signal_is_no_error_after_the_run_has_ended(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, run.id))
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))

    assert scene.store.send_signal(message(1, run.id)) == []


@pytest.mark.requirement("promise-7")
def test_kept_signals_are_taken_oldest_first_and_once_each(scene: Scene) -> None:
    run = scene.held(1)
    for number in (3, 1, 2):
        scene.store.send_signal(message(number, run.id, payload=_payload(number)))
        scene.clock.advance(1)

    scene.accept(run, waits=[signal_wait(f"wait-{number}", number) for number in (1, 2)])
    scene.accept(run, waits=[signal_wait(f"wait-{number}", number) for number in (3, 4)])

    results = [wait.result for wait in scene.detail(run.id).waits]
    assert results == [_payload(3), _payload(1), _payload(2), None]


@pytest.mark.requirement("promise-7")
def test_signals_of_one_millisecond_are_taken_in_the_order_of_arrival(scene: Scene) -> None:
    run = scene.held(1)
    for number in (3, 1, 2):
        scene.store.send_signal(message(number, run.id, payload=_payload(number)))

    scene.accept(run, waits=[signal_wait(f"wait-{number}", number) for number in (1, 2, 3)])

    results = [wait.result for wait in scene.detail(run.id).waits]
    assert results == [_payload(3), _payload(1), _payload(2)]


@pytest.mark.requirement("promise-7")
def test_a_signal_closes_the_oldest_open_wait_of_its_name(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("other", 1, "paid"), signal_wait("b", 2), signal_wait("a", 3))

    scene.store.send_signal(message(1, run.id))
    scene.store.send_signal(message(2, run.id, payload=_payload(2)))
    scene.store.send_signal(message(3, run.id))

    waits = {wait.key: wait.result for wait in scene.detail(run.id).waits}
    assert waits == {"other": None, "b": PAYLOAD, "a": _payload(2)}


def test_a_signal_of_another_name_is_not_taken(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, run.id, "paid"))

    scene.accept(run, waits=[signal_wait("approval", 1, "approved")])

    assert scene.wait(run.id, "approval").outcome is None


def test_a_kept_signal_is_for_its_own_run_alone(scene: Scene) -> None:
    first, second = scene.held(1), scene.held(2)
    scene.store.send_signal(message(1, first.id))

    scene.accept(second, waits=[signal_wait("approval", 1)])

    assert scene.wait(second.id, "approval").outcome is None


@pytest.mark.requirement("promise-7", "fault-45")
def test_a_second_signal_to_a_run_in_the_line_closes_its_wait_too(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("first", 1), signal_wait("second", 2))
    scene.store.send_signal(message(1, run.id))
    before = scene.run(run.id)
    scene.clock.advance(5)

    assert scene.store.send_signal(message(2, run.id)) == [run.id]

    assert scene.wait(run.id, "second").outcome is WaitOutcome.SIGNALLED
    assert scene.run(run.id).ready_ms == before.ready_ms


@pytest.mark.requirement("promise-7", "C-13")
def test_a_broadcast_reaches_every_run_that_waits_for_it_once(scene: Scene) -> None:
    waiting = scene.parked(1, signal_wait("a", 1), signal_wait("b", 2))
    held = scene.held(2)
    scene.accept(held, waits=[signal_wait("a", 1)])
    scene.parked(3, signal_wait("a", 1, "paid"))
    scene.start(4)

    assert sorted(scene.store.send_signal(message(1, None))) == [waiting.id, held.id]

    assert [wait.outcome for wait in scene.detail(waiting.id).waits] == [WaitOutcome.SIGNALLED, None]
    assert scene.place(waiting.id) == (RunStatus.QUEUED, True)
    assert scene.place(held.id) == (RunStatus.RUNNING, False)
    assert scene.wait(run_id(3), "a").outcome is None


@pytest.mark.requirement("promise-7", "fault-44")
def test_a_broadcast_is_neither_kept_nor_repeated(scene: Scene) -> None:
    first = scene.parked(1, signal_wait("a", 1), signal_wait("b", 2))
    assert scene.store.send_signal(message(1, None)) == [first.id]

    late = scene.parked(2, signal_wait("a", 1))

    assert scene.wait(late.id, "a").outcome is None
    assert scene.store.send_signal(message(1, None)) == []
    assert scene.wait(first.id, "b").outcome is None


def test_a_broadcast_that_nobody_waits_for_reaches_nobody(scene: Scene) -> None:
    scene.start(1)

    assert scene.store.send_signal(message(1, None)) == []


@pytest.mark.requirement("promise-10")
def test_a_signal_does_not_reach_another_tenant(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("approval", 1), tenant=OTHER_TENANT)

    with pytest.raises(RunNotFound):
        scene.store.send_signal(message(1, run.id))
    assert scene.store.send_signal(message(2, None)) == []

    assert scene.detail(run.id, OTHER_TENANT).waits[0].outcome is None
    assert scene.store.send_signal(message(3, None, tenant=OTHER_TENANT)) == [run.id]


def test_a_signal_to_no_run_is_an_error_and_is_not_remembered(scene: Scene) -> None:
    with pytest.raises(RunNotFound) as caught:
        scene.store.send_signal(message(1, run_id(1)))
    assert caught.value.run_id == run_id(1)

    scene.parked(1, signal_wait("approval", 1))
    assert scene.store.send_signal(message(1, run_id(1))) == [run_id(1)]


@pytest.mark.requirement("promise-5", "promise-11", "fault-45")
@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_signal_to_an_ended_run_is_a_typed_error(scene: Scene, end: RunStatus) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)], move=Finish(end, end.value))

    with pytest.raises(RunFinished) as caught:
        scene.store.send_signal(message(1, run.id))

    assert (caught.value.run_id, caught.value.status) == (run.id, end)


def test_a_signal_reaches_a_compensating_run_that_waits(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    scene.park(run, signal_wait("approval", 1))

    assert scene.store.send_signal(message(1, run.id)) == [run.id]
    assert scene.place(run.id) == (RunStatus.COMPENSATING, True)


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_signal_is_not_lost_to_a_worker_that_dies_before_it_used_it(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, run.id))
    scene.accept(run, waits=[signal_wait("approval", 1)])
    scene.lose(run)

    [again] = scene.claim()

    assert [wait.result for wait in again.waits] == [PAYLOAD]
    scene.accept(again, waits=[signal_wait("approval#2", 2)], move=Park(open_waits=1))
    assert scene.place(run.id) == (RunStatus.WAITING, False)


@pytest.mark.requirement("promise-10", "promise-7")
def test_another_tenants_signal_with_the_same_id_is_another_signal(scene: Scene) -> None:
    ours = scene.parked(1, signal_wait("approval", 1))
    theirs = scene.parked(2, tenant=OTHER_TENANT)
    assert scene.store.send_signal(message(1, theirs.id, tenant=OTHER_TENANT)) == []

    assert scene.store.send_signal(message(1, ours.id)) == [ours.id]

    assert scene.store.send_signal(message(1, ours.id)) == []
    assert scene.store.send_signal(message(1, theirs.id, tenant=OTHER_TENANT)) == []


@pytest.mark.requirement("promise-10", "promise-7")
def test_signals_of_two_tenants_with_one_id_are_each_consumed_by_their_own_run(scene: Scene) -> None:
    ours, theirs = scene.held(1), scene.held(2, tenant=OTHER_TENANT)
    scene.store.send_signal(message(1, ours.id, payload=_payload(1)))
    scene.store.send_signal(message(1, theirs.id, tenant=OTHER_TENANT, payload=_payload(2)))

    answers = [scene.accept(run, waits=[signal_wait("approval", 1)]) for run in (ours, theirs)]

    taken = [answer.waits[run.id][0].result for answer, run in zip(answers, (ours, theirs), strict=True)]
    assert taken == [_payload(1), _payload(2)]
