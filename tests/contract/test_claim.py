from __future__ import annotations

import pytest

from holdfast.model.commit import Park, Release
from holdfast.model.ids import RunId
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import ALICE, BOB, ERROR, INPUT, Scene, attempt, entry, message, run_id, signal_wait, timer


def test_runs_are_claimed_by_priority_then_age_then_id(scene: Scene) -> None:
    scene.start(3)
    scene.start(2)
    scene.clock.advance(1)
    scene.start(1)
    scene.start(4, priority=5)
    scene.start(5, priority=-5)

    order = [run.id for _ in range(5) for run in scene.claim(limit=1)]

    assert order == [run_id(4), run_id(2), run_id(3), run_id(1), run_id(5)]


def test_one_claim_answers_in_the_order_of_the_line(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, priority=9)
    scene.start(3, priority=3)

    assert [run.id for run in scene.claim()] == [run_id(2), run_id(3), run_id(1)]


@pytest.mark.requirement("S-06", "promise-4")
def test_a_claim_holds_the_run_and_raises_its_epoch(scene: Scene) -> None:
    started = scene.start(1, key="order-1", timeout_ms=9_000, priority=4)
    scene.register()
    scene.clock.advance(5)

    claim = scene.claim_only(ALICE)

    [claimed] = claim.runs
    assert claim.now_ms == scene.clock.now_ms
    assert (claimed.id, claimed.status, claimed.epoch, claimed.crashes) == (started, RunStatus.RUNNING, 1, 0)
    assert (claimed.workflow, claimed.queue, claimed.input, claimed.key) == ("order", "default", INPUT, "order-1")
    assert (claimed.root_id, claimed.attempt, claimed.error, claimed.cancel_requested) == (started, 1, None, False)
    assert claimed.priority == 4
    assert (claimed.journal, claimed.waits, claimed.attempts) == ([], [], [])
    run = scene.run(started)
    assert claimed.created_ms == run.created_ms
    assert claimed.deadline_ms == run.deadline_ms
    assert (run.worker, run.epoch, run.ready_ms, run.wake_ms) == (ALICE, 1, None, None)
    assert (run.status_reason, run.started_ms) == ("claimed", scene.clock.now_ms)


def test_a_held_run_is_not_claimed_again(scene: Scene) -> None:
    scene.held(1)

    assert scene.claim(BOB) == []


def test_started_ms_is_the_first_claim(scene: Scene) -> None:
    run = scene.held(1)
    first = scene.run(run.id).started_ms
    scene.accept(run, move=Release())
    scene.clock.advance(100)

    [again] = scene.claim()

    assert again.epoch == 2
    assert scene.run(run.id).started_ms == first


@pytest.mark.requirement("promise-12")
def test_a_claim_takes_only_from_its_queues(scene: Scene) -> None:
    scene.start(1, queue="slow")
    scene.start(2, queue="fast")
    scene.start(3, queue="other")

    assert [run.id for run in scene.claim(queues=["fast", "slow"])] == [run_id(1), run_id(2)]
    assert scene.claim(queues=["default"]) == []
    assert scene.place(run_id(3)) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("S-17", "promise-12", "fault-56")
def test_a_workflow_that_the_worker_does_not_know_stays_queued_and_blocks_nobody(scene: Scene) -> None:
    for number in range(1, 6):
        scene.start(number, workflow="unknown", priority=100)
    scene.start(6)

    assert [run.id for run in scene.claim(limit=1)] == [run_id(6)]
    assert scene.place(run_id(1)) == (RunStatus.QUEUED, True)
    assert scene.run(run_id(1)).epoch == 0


def test_a_claim_takes_no_more_than_its_limit(scene: Scene) -> None:
    for number in range(1, 6):
        scene.start(number)

    assert len(scene.claim(limit=2)) == 2
    assert len(scene.claim(BOB, limit=2)) == 2
    assert len(scene.claim(limit=2)) == 1
    assert scene.claim(limit=2) == []


def test_a_claim_of_nothing_takes_nothing(scene: Scene) -> None:
    scene.start(1)

    assert scene.claim(limit=0) == []
    assert scene.claim(queues=[]) == []
    assert scene.claim(codes=[]) == []


@pytest.mark.requirement("fault-53", "promise-12")
def test_no_more_suspects_are_claimed_than_allowed(scene: Scene) -> None:
    for number in (1, 2, 3):
        scene.start(number, priority=10)
    for _ in range(2):
        assert len(scene.claim()) == 3
        scene.clock.advance(100_000)
        scene.store.requeue_lost(limit=10, crashes_max=10)
    scene.start(4)
    scene.start(5)

    assert [run.id for run in scene.claim(suspects=0)] == [run_id(4), run_id(5)]
    assert [(run.id, run.crashes) for run in scene.claim(suspects=1, limit=2)] == [(run_id(1), 2)]
    assert [run.id for run in scene.claim(suspects=5)] == [run_id(2), run_id(3)]


def test_a_run_that_lost_one_worker_is_no_suspect_yet(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)

    assert [(one.id, one.crashes) for one in scene.claim(suspects=0)] == [(run.id, 1)]


@pytest.mark.requirement("S-05", "promise-2")
def test_a_claim_brings_the_journal_the_waits_and_the_attempts(scene: Scene) -> None:
    run = scene.held(1)
    journal = [entry(run, "charge", 1), entry(run, "charge#2", 3, input=INPUT, fingerprint="f", attempts=2)]
    scene.accept(
        run,
        entries=[journal[1], journal[0]],
        attempts=[attempt("reserve", 1), attempt("reserve", 2)],
        waits=[timer("nap", 2, 50), signal_wait("approval", 4)],
        move=Park(open_waits=2),
    )
    scene.store.send_signal(message(1, run.id))

    [again] = scene.claim(BOB)

    assert again.journal == journal
    assert [(wait.key, wait.outcome) for wait in again.waits] == [
        ("nap", None),
        ("approval", WaitOutcome.SIGNALLED),
    ]
    assert sorted(one.attempt for one in again.attempts) == [1, 2]
    assert [one.error for one in again.attempts] == [ERROR, ERROR]


def test_a_claim_brings_each_run_its_own_rows(scene: Scene) -> None:
    runs = [scene.held(number) for number in (1, 2)]
    for number, run in enumerate(runs):
        scene.accept(run, entries=[entry(run, f"step-{number}", 1)], move=Release())

    claimed = {run.id: [one.key for one in run.journal] for run in scene.claim()}

    assert claimed == {run_id(1): ["step-0"], run_id(2): ["step-1"]}


@pytest.mark.parametrize("workflows", [2, 7, 30])
@pytest.mark.requirement("fault-60")
def test_lines_of_many_workflows_are_served_as_one(scene: Scene, workflows: int) -> None:
    names = [f"workflow-{number}" for number in range(workflows)]
    expected: list[tuple[int, int, RunId]] = []
    for number in range(1, 61):
        priority, queue = (0, 0, 3, -2)[number % 4], ("default", "slow")[number % 2]
        started = scene.start(number, workflow=names[number * 7 % workflows], queue=queue, priority=priority)
        expected.append((-priority, scene.clock.now_ms, started))
        scene.start(1_000 + number, workflow="unknown")
        scene.clock.advance(number % 3)
    expected.sort()

    claimed = [
        run.id for limit in (1, 9, 50, 10) for run in scene.claim(queues=("default", "slow"), codes=names, limit=limit)
    ]

    assert claimed == [started for _, _, started in expected]


@pytest.mark.parametrize("workflows", [1, 12])
@pytest.mark.requirement("fault-53")
def test_no_more_suspects_are_taken_than_allowed_over_all_lines(scene: Scene, workflows: int) -> None:
    names = [f"workflow-{number}" for number in range(workflows)]
    for number in range(1, 9):
        scene.start(number, workflow=names[number % workflows], queue=("default", "slow")[number % 2])
    for _ in range(2):
        lost = scene.claim(queues=("default", "slow"), codes=names)
        scene.lose(lost[0])
    for number in range(9, 13):
        scene.start(number, workflow=names[number % workflows], queue=("default", "slow")[number % 2])

    taken = scene.claim(queues=("default", "slow"), codes=names, suspects=3)

    assert [run.id for run in taken] == [run_id(number) for number in (1, 2, 3, 9, 10, 11, 12)]
