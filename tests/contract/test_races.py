"""Promises that must hold while several threads use one store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from holdfast.model.commit import Finish, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import RunFilter
from holdfast.model.status import TERMINAL_STATUSES, RunStatus, WaitOutcome
from holdfast.store.port import count_runs
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    RESULT,
    Scene,
    child_wait,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
    timer,
)
from tests.contract.together import together

ROUNDS = 10


@pytest.mark.requirement("promise-1", "fault-44")
def test_many_starts_of_one_run_make_one_run(scene: Scene) -> None:
    runs = [new_run(number) for number in range(1, 21)]
    orders = [runs, runs[::-1], runs[10:] + runs[:10], runs[::-1]]

    answers = together(*(partial(scene.store.start_runs, order) for order in orders))

    created = [one.run_id for answer in answers for one in answer if one.created]
    assert sorted(created) == [run.id for run in runs]
    assert all(len(scene.detail(run.id).transitions) == 1 for run in runs)


@pytest.mark.requirement("promise-4", "S-37")
def test_no_run_is_claimed_by_two_workers(scene: Scene) -> None:
    scene.store.start_runs([new_run(number) for number in range(1, 41)])
    scene.register(ALICE)
    scene.register(BOB)

    def claim_all(worker: Any) -> list[Any]:
        claimed: list[Any] = []
        while runs := scene.claim_only(worker, limit=3).runs:
            claimed += runs
        return claimed

    answers = together(*(partial(claim_all, worker) for worker in (ALICE, BOB, ALICE)))

    claimed = [run.id for answer in answers for run in answer]
    claimed += [run.id for run in scene.claim_only(ALICE).runs]  # one that was passed over while others looked at it
    assert sorted(claimed) == [run_id(number) for number in range(1, 41)]
    assert {run.epoch for answer in answers for run in answer} == {1}


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_signal_that_meets_a_parking_run_is_never_lost(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        together(
            partial(scene.park, run, signal_wait("approval", 1)),
            partial(scene.store.send_signal, message(number, run.id)),
        )
        assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_ends_while_its_parent_parks_is_never_missed(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        child_id = run_id(100 + number)
        scene.accept(parent, children=[new_run(100 + number, parent_id=parent.id, parent_key="ship")])
        [child] = scene.claim(BOB)
        assert child.id == child_id
        together(
            partial(scene.park, parent, child_wait("ship", 1, child_id)),
            partial(scene.accept, child, move=Finish(RunStatus.COMPLETED, "completed", RESULT)),
        )
        assert scene.place(parent.id) == (RunStatus.QUEUED, True)
        scene.cancel(parent.id)


@pytest.mark.requirement("promise-5", "B-24", "B-52")
def test_two_children_that_end_at_once_both_count_and_wake_their_parent_once(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        ids = [run_id(100 + 2 * number + side) for side in (0, 1)]
        scene.accept(
            parent,
            children=[new_run(100 + 2 * number + side, parent_id=parent.id, parent_key=str(side)) for side in (0, 1)],
            waits=[child_wait(str(side), 1 + side, ids[side]) for side in (0, 1)],
            move=Park(open_waits=2),
        )
        ends = [
            partial(scene.accept, child, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
            for child in scene.claim(BOB)
        ]
        together(*ends)
        waits = scene.detail(parent.id).waits
        assert [wait.outcome for wait in waits] == [WaitOutcome.CHILD_ENDED] * 2
        assert scene.place(parent.id) == (RunStatus.QUEUED, True)
        woken = [one.reason for one in scene.detail(parent.id).transitions].count("child_ended")
        assert woken == 1
        scene.cancel(parent.id)


@pytest.mark.requirement("promise-5", "fault-47")
def test_a_run_that_is_ended_in_many_ways_at_once_ends_once(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        answers = together(
            partial(scene.commit, run, move=Finish(RunStatus.COMPLETED, "completed", RESULT)),
            partial(scene.commit, run, move=Finish(RunStatus.FAILED, "error", error=ERROR)),
            partial(scene.commit, run, entries=[entry(run, "late", 1)], move=Park(open_waits=1)),
        )
        assert sum(not answer.refused for answer in answers) == 1
        history = scene.detail(run.id).transitions
        assert sum(one.to_status in TERMINAL_STATUSES for one in history) <= 1
        assert len(history) == 3
        scene.claim_only(BOB)


@pytest.mark.requirement("promise-4", "fault-4")
def test_a_run_is_taken_over_or_written_but_never_both(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        scene.clock.advance(100_000)
        taken, answer = together(
            lambda: scene.store.requeue_lost(limit=10, crashes_max=100),
            partial(scene.commit, run, move=Finish(RunStatus.COMPLETED, "completed", RESULT)),
        )
        assert (run.id in taken) == (run.id in answer.refused)
        assert (scene.run(run.id).status is RunStatus.COMPLETED) == (run.id not in taken)
        scene.claim_only(BOB)


@pytest.mark.requirement("promise-6")
def test_a_timer_fires_once_however_many_look(scene: Scene) -> None:
    for number in range(1, 21):
        scene.parked(number, timer("nap", 1, 10))
    scene.clock.advance(10)

    answers: Sequence[int] = together(*(partial(scene.store.wake_due, limit=7) for _ in range(4)))
    woken = sum(answers)
    while more := scene.store.wake_due(limit=100):
        woken += more

    assert woken == 20
    assert all(len(scene.detail(run_id(number)).transitions) == 4 for number in range(1, 21))


@pytest.mark.requirement("promise-12", "fault-22")
def test_batches_that_touch_the_same_runs_in_other_orders_all_get_through(scene: Scene) -> None:
    parents = [scene.held(number) for number in range(1, 5)]
    for parent in parents:
        scene.accept(
            parent,
            children=[new_run(100 + n, workflow="ship", parent_id=parent.id, parent_key="c") for n in range(8)]
            if parent is parents[0]
            else [],
            waits=[child_wait("ship", 1, run_id(100))],
        )
    children = scene.claim(BOB, codes=["ship"])

    def finish(order: Sequence[Any]) -> Any:
        return scene.store.commit(
            [
                RunCommit(run_id=one.id, epoch=one.epoch, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
                for one in order
            ]
        )

    answers = together(
        lambda: finish(children),
        lambda: finish(children[::-1]),
        lambda: finish(parents[::-1]),
        lambda: [scene.store.send_signal(message(n, None)) for n in range(5)],
    )

    accepted = [8 - len(answer.refused) for answer in answers[:2]]
    assert sum(accepted) == 8
    assert answers[2].refused == {}
    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {"completed": 12}
