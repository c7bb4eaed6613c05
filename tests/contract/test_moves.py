from __future__ import annotations

import pytest

from holdfast.model.commit import Compensate, Finish, Park, Progress, Release, RunCommit
from holdfast.model.ids import Json, WorkerId
from holdfast.model.run import Signal
from holdfast.model.status import TERMINAL_STATUSES, RunStatus, WaitOutcome
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    RESULT,
    Scene,
    attempt,
    entry,
    message,
    run_id,
    signal_wait,
    timer,
)

ENDS = [
    (RunStatus.COMPLETED, "completed"),
    (RunStatus.FAILED, "error"),
    (RunStatus.CANCELLED, "cancelled"),
    (RunStatus.STUCK, "non_determinism"),
]


@pytest.mark.requirement("fault-7")
def test_a_released_run_is_in_the_line_at_once(scene: Scene) -> None:
    run = scene.held(1)
    scene.clock.advance(11)

    scene.accept(run, entries=[entry(run, "charge", 1)], move=Release())

    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.worker) == (RunStatus.QUEUED, "drained", None)
    assert (row.ready_ms, row.wake_ms, row.crashes) == (scene.clock.now_ms, None, 0)
    [again] = scene.claim(BOB)
    assert (again.epoch, [one.key for one in again.journal]) == (run.epoch + 1, ["charge"])


def test_a_released_run_keeps_its_open_waits(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 50)], move=Release())

    [again] = scene.claim()

    assert [(wait.key, wait.outcome) for wait in again.waits] == [("nap", None)]


@pytest.mark.requirement("S-08", "promise-8")
def test_compensating_keeps_the_lease_and_stores_the_error(scene: Scene) -> None:
    run = scene.held(1)

    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.error) == (RunStatus.COMPENSATING, "retries_exhausted", ERROR)
    assert (row.worker, row.epoch, row.ready_ms, row.finalized_ms) == (ALICE, run.epoch, None, None)
    scene.accept(run, entries=[entry(run, "charge~", 1)])


@pytest.mark.requirement("S-54", "promise-8")
def test_a_compensating_run_ends_failed(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    scene.accept(run, move=Finish(RunStatus.FAILED, "compensated", error=ERROR))

    row = scene.run(run.id)
    assert (row.status, row.terminal_reason, row.error) == (RunStatus.FAILED, "compensated", ERROR)


@pytest.mark.requirement("S-54", "fault-48")
def test_a_compensating_run_that_is_released_is_claimed_as_compensating(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    scene.accept(run, move=Release())
    assert scene.place(run.id) == (RunStatus.COMPENSATING, True)

    [again] = scene.claim()

    assert (again.status, again.error) == (RunStatus.COMPENSATING, ERROR)


@pytest.mark.parametrize(("status", "reason"), ENDS)
@pytest.mark.requirement("S-04", "promise-5", "C-54")
def test_a_finished_run_is_ended_in_every_column(scene: Scene, status: RunStatus, reason: str) -> None:
    run = scene.held(1, timeout_ms=60_000)
    scene.clock.advance(13)
    result, error = (RESULT, None) if status is RunStatus.COMPLETED else (None, ERROR)

    scene.accept(run, entries=[entry(run, "last", 1)], move=Finish(status, reason, result, error))

    row = scene.run(run.id)
    assert (row.status, row.terminal_reason, row.result, row.error) == (status, reason, result, error)
    assert (row.worker, row.ready_ms, row.wake_ms) == (None, None, None)
    assert row.finalized_ms == scene.clock.now_ms
    assert [one.key for one in scene.detail(run.id).journal] == ["last"]


@pytest.mark.requirement("fault-55", "C-54")
def test_a_run_that_its_worker_sets_aside_says_why(scene: Scene) -> None:
    run = scene.held(1)

    scene.accept(run, move=Finish(RunStatus.STUCK, "non_determinism", error=ERROR))

    row = scene.run(run.id)
    assert (row.status_reason, row.terminal_reason) == ("non_determinism", "non_determinism")
    assert scene.detail(run.id).transitions[-1].reason == "non_determinism"


@pytest.mark.requirement("promise-5", "fault-47", "C-10")
def test_a_run_has_exactly_one_terminal_transition_and_nothing_after_it(scene: Scene) -> None:
    run = scene.held(1, timeout_ms=1_000)
    scene.accept(run, waits=[timer("nap", 1, 10)])
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    ended = scene.detail(run.id)
    scene.clock.advance(1_000_000)

    scene.commit(run, move=Finish(RunStatus.FAILED, "error", error=ERROR))
    scene.store.wake_due(limit=10)
    scene.store.requeue_lost(limit=10, crashes_max=1)
    scene.store.send_signal(message(1, None))
    assert scene.claim(BOB) == []

    after = scene.detail(run.id)
    assert (after.run, after.waits, after.transitions) == (ended.run, ended.waits, ended.transitions)
    assert sum(one.to_status in TERMINAL_STATUSES for one in after.transitions) == 1


@pytest.mark.requirement("promise-5")
def test_the_end_closes_what_is_still_open(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 10), signal_wait("approval", 2), signal_wait("closed", 3)])
    scene.accept(run, cancelled=["closed"])
    closed = scene.wait(run.id, "closed")
    scene.clock.advance(1)

    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))

    waits = {wait.key: (wait.outcome, wait.closed_ms) for wait in scene.detail(run.id).waits}
    assert waits["nap"] == waits["approval"] == (WaitOutcome.CANCELLED, scene.clock.now_ms)
    assert scene.wait(run.id, "closed") == closed


@pytest.mark.requirement("promise-2", "S-12")
def test_a_journal_is_read_as_it_was_written(scene: Scene) -> None:
    run = scene.held(1)
    written = [
        entry(run, "charge", 1, result=RESULT, fingerprint="abc", attempts=3),
        entry(run, "reserve", 2, status="failed", result=None, error=ERROR),
        entry(run, "now", 3, kind="value", result=None),
    ]

    scene.accept(run, entries=written[:1])
    scene.accept(run, entries=written[1:])

    journal = scene.detail(run.id).journal
    assert [(one.key, one.seq, one.kind, one.status) for one in journal] == [
        ("charge", 1, "step", "completed"),
        ("reserve", 2, "step", "failed"),
        ("now", 3, "value", "completed"),
    ]
    assert journal[0] == written[0]
    assert (journal[1].result, journal[1].error) == (None, ERROR)


@pytest.mark.requirement("S-07", "C-29")
def test_failed_attempts_are_kept_across_leases(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, attempts=[attempt("charge", 1)], waits=[timer("charge#1", 1, 10)], move=Park(open_waits=1))
    scene.clock.advance(10)
    scene.store.wake_due(limit=1)

    [again] = scene.claim(BOB)

    assert again.attempts == [attempt("charge", 1)]


@pytest.mark.requirement("promise-11", "fault-19")
def test_progress_tells_how_far_a_runs_record_has_come(scene: Scene) -> None:
    run = scene.held(1)
    scene.start(2)
    assert scene.store.read_progress([run.id, run_id(2), run_id(99)]) == {
        run.id: Progress(RunStatus.RUNNING, run.epoch, 0, 0),
        run_id(2): Progress(RunStatus.QUEUED, 0, 0, 0),
    }

    scene.accept(run, entries=[entry(run, "charge", 1), entry(run, "pack", 2)], attempts=[attempt("ship", 1)])
    assert scene.store.read_progress([run.id]) == {run.id: Progress(RunStatus.RUNNING, run.epoch, 2, 1)}

    scene.accept(run, attempts=[attempt("ship", 2)], waits=[timer("nap", 7, 10)], move=Park(open_waits=1))
    assert scene.store.read_progress([run.id]) == {run.id: Progress(RunStatus.WAITING, run.epoch, 7, 2)}
    assert scene.store.read_progress([]) == {}


@pytest.mark.requirement("promise-12")
def test_one_batch_moves_many_runs_in_many_ways(scene: Scene) -> None:
    moves = {
        1: None,
        2: Park(open_waits=1),
        3: Release(),
        4: Compensate(ERROR, "retries_exhausted"),
        5: Finish(RunStatus.COMPLETED, "completed", RESULT),
        6: Finish(RunStatus.FAILED, "error", error=ERROR),
    }
    runs = {number: scene.held(number) for number in moves}

    answer = scene.store.commit(
        [
            RunCommit(
                run_id=run.id,
                epoch=run.epoch,
                entries=[entry(run, "charge", 1)],
                waits=[timer("nap", 2, 10)],
                move=moves[number],
            )
            for number, run in runs.items()
        ]
    )

    assert (answer.refused, answer.broken) == ({}, {})
    assert answer.now_ms == scene.clock.now_ms
    assert [scene.run(run_id(number)).status for number in moves] == [
        RunStatus.RUNNING,
        RunStatus.WAITING,
        RunStatus.QUEUED,
        RunStatus.COMPENSATING,
        RunStatus.COMPLETED,
        RunStatus.FAILED,
    ]
    assert all(len(scene.detail(run_id(number)).journal) == 1 for number in moves)


@pytest.mark.requirement("C-10", "C-28")
def test_transitions_name_who_moved_the_run_and_when(scene: Scene) -> None:
    run = scene.held(1)
    scene.clock.advance(5)
    scene.accept(run, move=Release())

    history = scene.detail(run.id).transitions

    assert [(one.from_status, one.to_status, one.reason, one.epoch) for one in history] == [
        (None, RunStatus.QUEUED, "started", 0),
        (RunStatus.QUEUED, RunStatus.RUNNING, "claimed", 1),
        (RunStatus.RUNNING, RunStatus.QUEUED, "drained", 1),
    ]
    assert history[0].worker is None
    assert history[1].worker == WorkerId(ALICE)
    assert history[2].at_ms == scene.clock.now_ms


@pytest.mark.requirement("C-12", "C-28")
def test_no_transition_holds_a_payload(scene: Scene) -> None:
    secret = Json(b'{"value":"s3cret"}')
    scene.start(1, input=secret, key="s3cret-key", attributes={"name": "s3cret"})
    [run] = scene.claim()
    done = [entry(run, "charge", 2, result=secret)]
    scene.accept(run, waits=[signal_wait("w", 1)], entries=done, move=Park(1))
    scene.store.send_signal(Signal(id=run_id(9), tenant=run.tenant, name="approved", payload=secret, run_id=run.id))
    [run] = scene.claim()
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", secret))

    moves = scene.detail(run.id).transitions

    assert len(moves) == 6
    assert "s3cret" not in repr(moves)
