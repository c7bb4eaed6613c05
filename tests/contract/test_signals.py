from __future__ import annotations

import msgspec
import pytest

from holdfast.core.matching import SignalFilter
from holdfast.errors import RunFinished, RunNotFound
from holdfast.model.commit import Compensate, Finish, NewWait, Park
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import (
    ERROR,
    OTHER_TENANT,
    PAYLOAD,
    Scene,
    all_runs,
    entry,
    message,
    run_id,
    signal_wait,
    timer,
)


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


@pytest.mark.requirement("C-27")
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


# To all, in parts


def _reached(scene: Scene, key: str = "w") -> list[RunId]:
    """The runs whose wait under that key was signalled, by id."""
    runs = sorted(run.id for run in all_runs(scene.opened, DEFAULT_TENANT))
    return [
        run for run in runs if any((w.key, w.outcome) == (key, WaitOutcome.SIGNALLED) for w in scene.detail(run).waits)
    ]


def _sweep(scene: Scene, limit: int = 100) -> list[int]:
    """How many runs each round of the sweep woke, until there is no more to do."""
    woken: list[int] = []
    while (sweep := scene.store.sweep_signals(limit=limit)).more:
        woken.append(sweep.woken)
    return woken


def _due(scene: Scene) -> bool:
    return scene.store.read_agenda(queues=["default"], codes=["order"], unwanted=[]).signals_due


@pytest.mark.requirement("promise-7", "C-53", "C-13")
def test_a_signal_to_all_goes_on_in_parts_from_where_it_has_come(scene: Scene) -> None:
    for number in range(1, 8):
        scene.parked(number, signal_wait("w", 1))

    assert scene.store.send_signal(message(1, None), limit=3) == [run_id(1), run_id(2), run_id(3)]

    assert _reached(scene) == [run_id(1), run_id(2), run_id(3)]
    assert _due(scene)
    # Whoever was reached and waits again is not reached twice.
    scene.park(next(run for run in scene.claim() if run.id == run_id(2)), signal_wait("again", 2))
    assert _sweep(scene, 3) == [3, 1]
    assert _reached(scene) == [run_id(number) for number in range(1, 8)]
    assert _reached(scene, "again") == []
    assert not _due(scene)
    assert scene.store.send_signal(message(1, None), limit=3) == []


@pytest.mark.requirement("C-53")
def test_a_signal_to_all_that_is_under_way_reaches_who_opens_a_wait_before_it_comes_by(scene: Scene) -> None:
    for number in range(1, 4):
        scene.parked(number, signal_wait("w", 1))
    late = scene.held(9)
    scene.store.send_signal(message(1, None), limit=2)

    scene.park(late, signal_wait("w", 1))

    assert _reached(scene) == [run_id(1), run_id(2), run_id(9)]
    [again] = [run for run in scene.claim() if run.id == late.id]
    scene.park(again, signal_wait("more", 2))
    _sweep(scene, 2)
    assert _reached(scene, "more") == []


@pytest.mark.requirement("promise-7", "C-52")
def test_a_signal_to_all_is_kept_for_waits_to_come_and_each_run_consumes_it_once(scene: Scene) -> None:
    first = scene.parked(1, signal_wait("w", 1))
    late, later = scene.held(2), scene.held(3)
    assert scene.store.send_signal(message(1, None, keep_ms=1_000)) == [first.id]
    scene.clock.advance(900)

    scene.accept(late, waits=[signal_wait("w", 1), signal_wait("x", 2)])
    [again] = [run for run in scene.claim() if run.id == first.id]
    scene.accept(again, waits=[signal_wait("x", 2)])

    assert _reached(scene) == [first.id, late.id]
    assert _reached(scene, "x") == []
    scene.clock.advance(100)
    scene.accept(later, waits=[signal_wait("w", 1)])
    assert _reached(scene) == [first.id, late.id]


@pytest.mark.requirement("C-52")
def test_a_signal_to_one_run_expires_and_is_deleted_in_parts(scene: Scene) -> None:
    run = scene.held(1)
    for number in range(1, 6):
        scene.store.send_signal(message(number, run.id, keep_ms=100))
    scene.clock.advance(99)
    scene.accept(run, waits=[signal_wait("in time", 1)])
    assert scene.wait(run.id, "in time").outcome is WaitOutcome.SIGNALLED
    assert not _due(scene)
    scene.clock.advance(1)

    scene.accept(run, waits=[signal_wait("too late", 2)])

    assert scene.wait(run.id, "too late").outcome is None
    assert _due(scene)
    assert scene.store.sweep_signals(limit=2).more
    assert scene.store.sweep_signals(limit=2).more
    assert not scene.store.sweep_signals(limit=2).more
    assert not _due(scene)


@pytest.mark.requirement("promise-7")
def test_the_order_of_arrival_holds_when_the_clock_steps_back(scene: Scene) -> None:
    run = scene.held(1)
    for number in (3, 1, 2):
        scene.store.send_signal(message(number, run.id, payload=_payload(number)))
        scene.clock.advance(-10_000)

    scene.accept(run, waits=[signal_wait(f"wait-{number}", number) for number in (1, 2, 3)])

    assert [wait.result for wait in scene.detail(run.id).waits] == [_payload(3), _payload(1), _payload(2)]


@pytest.mark.requirement("promise-7")
def test_a_later_signal_to_one_run_does_not_overtake_one_to_all_that_is_under_way(scene: Scene) -> None:
    scene.parked(1, signal_wait("w", 1))
    run = scene.parked(2, signal_wait("w", 1), signal_wait("x", 2))
    scene.store.send_signal(message(1, None, payload=_payload(1)), limit=1)

    assert scene.store.send_signal(message(2, run.id, payload=_payload(2))) == [run.id]

    assert [wait.result for wait in scene.detail(run.id).waits] == [_payload(1), _payload(2)]
    _sweep(scene)
    assert [wait.result for wait in scene.detail(run.id).waits] == [_payload(1), _payload(2)]


# From a run, and from the caller's transaction


@pytest.mark.requirement("promise-7", "C-27", "C-26")
def test_a_signal_that_a_run_sends_is_accepted_with_its_commit_and_delivered_once(scene: Scene) -> None:
    listener = scene.parked(1, signal_wait("w", 1), signal_wait("x", 2))
    sender = scene.held(2)

    scene.accept(sender, entries=[entry(sender, "send", 1)], signals=[message(1, listener.id)])

    assert (scene.wait(listener.id, "w").outcome, _due(scene)) == (None, True)
    assert _sweep(scene) == [1]
    assert [wait.outcome for wait in scene.detail(listener.id).waits] == [WaitOutcome.SIGNALLED, None]
    scene.accept(sender, entries=[entry(sender, "again", 2)], signals=[message(1, listener.id)])
    assert (_sweep(scene), _due(scene)) == ([], False)


@pytest.mark.requirement("promise-4", "promise-7")
def test_a_stale_worker_sends_nothing(scene: Scene) -> None:
    listener = scene.parked(1, signal_wait("w", 1))
    sender = scene.held(2)
    scene.lose(sender)

    answer = scene.commit(sender, signals=[message(1, listener.id)])

    assert list(answer.refused) == [sender.id]
    assert (_sweep(scene), _due(scene)) == ([], False)


@pytest.mark.requirement("promise-7")
def test_signals_under_way_to_many_runs_are_delivered_together_and_to_the_ended_not(scene: Scene) -> None:
    runs = [scene.parked(number, signal_wait("w", 1)) for number in (1, 2, 3)]
    sender, ended = scene.held(8), scene.held(9)
    scene.accept(ended, move=Finish(RunStatus.COMPLETED, "completed"))
    to = [*(run.id for run in runs), ended.id, run_id(77)]

    scene.accept(sender, signals=[message(number, receiver) for number, receiver in enumerate(to)])

    assert _sweep(scene, 2) == [2, 1, 0]
    assert _reached(scene) == [run.id for run in runs]
    assert not _due(scene)


# With a filter


def _filtered(key: str, seq: int, where: str, **values: object) -> NewWait:
    request = Json(msgspec.json.encode(SignalFilter(where=where, values=values)))
    return signal_wait(key, seq, request=request)


@pytest.mark.requirement("promise-7", "C-13")
def test_a_signal_closes_the_oldest_wait_whose_filter_it_passes(scene: Scene) -> None:
    run = scene.parked(1, _filtered("big", 1, "payload > 10"), _filtered("own", 2, "payload == wanted", wanted=3))

    assert scene.store.send_signal(message(1, run.id, payload=_payload(5))) == []
    assert scene.store.send_signal(message(2, run.id, payload=_payload(3))) == [run.id]

    waits = {wait.key: wait.result for wait in scene.detail(run.id).waits}
    assert waits == {"big": None, "own": _payload(3)}


@pytest.mark.requirement("promise-7", "C-52")
def test_a_wait_takes_the_oldest_kept_signal_that_passes_its_filter(scene: Scene) -> None:
    run = scene.held(1)
    for number in (5, 20, 30, 6):
        scene.store.send_signal(message(number, run.id, payload=_payload(number)))

    scene.accept(run, waits=[_filtered("big", 1, "payload > 10"), signal_wait("any", 2)])

    assert {wait.key: wait.result for wait in scene.detail(run.id).waits} == {"big": _payload(20), "any": _payload(5)}
    scene.accept(run, waits=[_filtered("next", 3, "payload > 10"), _filtered("none", 4, "payload > 99")])
    assert (scene.wait(run.id, "next").result, scene.wait(run.id, "none").outcome) == (_payload(30), None)


@pytest.mark.requirement("promise-12")
def test_a_filter_that_fails_is_no_match_and_leaves_a_note(scene: Scene) -> None:
    run = scene.parked(1, _filtered("w", 1, "payload.missing > 1"))
    kept = scene.held(2)
    scene.store.send_signal(message(2, kept.id))

    assert scene.store.send_signal(message(1, None)) == []
    scene.accept(kept, waits=[_filtered("w", 1, "payload")])

    assert "missing" in (scene.wait(run.id, "w").note or "")
    assert "no boolean" in (scene.wait(kept.id, "w").note or "")


@pytest.mark.requirement("C-13", "promise-10")
def test_a_signal_to_all_stays_within_its_tenant_also_while_it_is_kept(scene: Scene) -> None:
    theirs = scene.held(1, tenant=OTHER_TENANT)
    scene.store.send_signal(message(1, None, keep_ms=1_000))

    scene.accept(theirs, waits=[signal_wait("w", 1)])

    assert scene.detail(theirs.id, OTHER_TENANT).waits[0].outcome is None


FILTER = Json(msgspec.json.encode(SignalFilter(where='payload.by == "ann"')))


@pytest.mark.requirement("promise-10")
@pytest.mark.parametrize("request_", [None, FILTER], ids=["any", "filtered"])
@pytest.mark.parametrize("waits_first", [True, False])
def test_a_run_sends_nothing_to_a_run_of_another_tenant(scene: Scene, request_: Json | None, waits_first: bool) -> None:
    sender, other = scene.held(1), scene.held(2, tenant=OTHER_TENANT)
    wait = signal_wait("approval", 1, request=request_)
    if waits_first:
        scene.park(other, wait)
    scene.accept(sender, signals=[message(1, other.id)])
    while scene.store.sweep_signals(limit=10).more:
        pass
    if not waits_first:
        scene.park(other, wait)

    [found] = scene.detail(other.id, OTHER_TENANT).waits
    assert found.outcome is None


@pytest.mark.requirement("promise-10")
def test_a_signal_of_another_tenant_that_is_under_way_is_not_taken_by_a_wait_that_opens(scene: Scene) -> None:
    sender, other = scene.held(1), scene.held(2, tenant=OTHER_TENANT)
    scene.accept(sender, signals=[message(1, other.id)])

    scene.park(other, signal_wait("approval", 1))

    [found] = scene.detail(other.id, OTHER_TENANT).waits
    assert found.outcome is None
