from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.model.commit import Compensate, Finish, Move, Park, Release, RunCommit
from holdfast.model.ids import Json
from holdfast.model.run import ClaimedRun
from holdfast.model.status import RunStatus
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    RESULT,
    Scene,
    attempt,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
    timer,
)

Write = Callable[[ClaimedRun], dict[str, Any]]


def _moving(move: Move) -> Write:
    return lambda _: {"move": move}


def _moving_and_closing(move: Move) -> Write:
    return lambda _: {"cancelled": ["nap"], "move": move}


WRITES: dict[str, Write] = {
    "nothing": lambda _: {},
    "entry": lambda run: {"entries": [entry(run, "late", 50)]},
    "attempt": lambda _: {"attempts": [attempt("late", 1)]},
    "wait": lambda _: {"waits": [timer("late", 50, 1)]},
    "child": lambda run: {"children": [new_run(99, parent_id=run.id, parent_key="late")]},
    "elapsed": lambda _: {"elapsed": ["nap"]},
    "cancelled": lambda _: {"cancelled": ["nap"]},
    "attribute": lambda _: {"attributes": {"late": 1}},
    "signal": lambda _: {"signals": [message(97, None, "late", keep_ms=60_000)]},
}
MOVES: dict[str, Move] = {
    "park": Park(open_waits=0),
    "release": Release(),
    "compensate": Compensate(ERROR, "retries_exhausted"),
    "complete": Finish(RunStatus.COMPLETED, "completed", result=RESULT),
    "fail": Finish(RunStatus.FAILED, "error", error=ERROR),
    "cancel": Finish(RunStatus.CANCELLED, "cancelled"),
    "set aside": Finish(RunStatus.STUCK, "non_determinism", error=ERROR),
}
EVERYTHING: dict[str, Write] = {
    **WRITES,
    **{name: _moving(move) for name, move in MOVES.items()},
    # A store may record an end with more than journal entries in other statements than one without.
    **{f"{name} and close a wait": _moving_and_closing(move) for name, move in MOVES.items()},
}


def _refused_without_a_trace(scene: Scene, stale: ClaimedRun, parts: dict[str, Any]) -> None:
    before = scene.detail(stale.id)

    answer = scene.commit(stale, **parts)

    assert list(answer.refused) == [stale.id]
    assert (answer.broken, answer.waits) == ({}, {})
    assert scene.detail(stale.id) == before
    assert scene.store.get_runs(stale.tenant, [run_id(99)]) == []


def _sent_nothing(scene: Scene) -> None:
    listener = scene.parked(98, signal_wait("late", 1, "late"))
    scene.store.sweep_signals(limit=10)
    assert scene.wait(listener.id, "late").outcome is None


@pytest.mark.parametrize("write", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.requirement("promise-4", "fault-4", "C-28")
def test_a_stale_epoch_cannot_write(scene: Scene, write: Write) -> None:
    stale = scene.held(1)
    scene.accept(stale, waits=[timer("nap", 1, 1)])
    scene.lose(stale)
    [current] = scene.claim(BOB)
    assert current.epoch > stale.epoch

    _refused_without_a_trace(scene, stale, write(stale))
    scene.accept(current, move=Finish(RunStatus.COMPLETED, "completed"))
    _sent_nothing(scene)


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.requirement("promise-4", "S-53", "fault-4")
def test_a_run_in_the_line_takes_no_writes_even_at_its_last_epoch(scene: Scene, move: Move) -> None:
    run = scene.held(1)
    scene.accept(run, move=Release())

    _refused_without_a_trace(scene, run, {"entries": [entry(run, "late", 50)], "move": move})


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
@pytest.mark.requirement("promise-4", "S-53")
def test_a_parked_run_takes_no_writes(scene: Scene, move: Move) -> None:
    run = scene.parked(1, timer("nap", 1, 10_000))

    _refused_without_a_trace(scene, run, {"entries": [entry(run, "late", 50)], "move": move})


@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
@pytest.mark.parametrize("write", EVERYTHING.values(), ids=EVERYTHING)
@pytest.mark.requirement("promise-5", "S-03", "fault-47", "C-28")
def test_nothing_is_written_after_the_end(scene: Scene, end: RunStatus, write: Write) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 1)], move=Finish(end, end.value))

    _refused_without_a_trace(scene, run, write(run))
    _sent_nothing(scene)


@pytest.mark.parametrize("parts", [{}, {"attempts": [attempt("pack", 1)]}], ids=["alone", "with an attempt"])
def test_a_run_that_its_worker_sets_aside_keeps_its_waits_open(scene: Scene, parts: dict[str, Any]) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])

    scene.accept(run, move=Finish(RunStatus.STUCK, "non_determinism", error=ERROR), **parts)

    assert scene.run(run.id).status is RunStatus.STUCK
    assert scene.wait(run.id, "approval").outcome is None


@pytest.mark.requirement("promise-4")
def test_an_epoch_from_the_future_cannot_write(scene: Scene) -> None:
    run = scene.held(1)

    answer = scene.store.commit([RunCommit(run_id=run.id, epoch=run.epoch + 1, entries=[entry(run, "late", 1)])])

    assert list(answer.refused) == [run.id]
    assert scene.detail(run.id).journal == []


def test_a_run_that_does_not_exist_is_refused(scene: Scene) -> None:
    answer = scene.store.commit([RunCommit(run_id=run_id(7), epoch=1, move=Release())])

    assert list(answer.refused) == [run_id(7)]


def test_an_empty_batch_is_no_error(scene: Scene) -> None:
    answer = scene.store.commit([])

    assert (answer.refused, answer.broken, answer.waits) == ({}, {}, {})


@pytest.mark.requirement("promise-12", "promise-4")
def test_a_refused_run_disturbs_nobody_in_its_batch(scene: Scene) -> None:
    first, stale, last = (scene.held(number) for number in (1, 2, 3))
    scene.accept(stale, move=Release())

    answer = scene.store.commit(
        [
            RunCommit(run_id=run.id, epoch=run.epoch, entries=[entry(run, "charge", 1)], waits=[timer("nap", 2, 5)])
            for run in (first, stale, last)
        ]
    )

    assert list(answer.refused) == [stale.id]
    assert set(answer.waits) == {first.id, last.id}
    assert [len(scene.detail(run_id(number)).journal) for number in (1, 2, 3)] == [1, 0, 1]


@pytest.mark.requirement("S-13", "promise-2", "promise-12")
def test_a_journal_key_is_written_once_and_the_second_is_broken_alone(scene: Scene) -> None:
    first, repeated, last = (scene.held(number) for number in (1, 2, 3))
    scene.accept(repeated, entries=[entry(repeated, "charge", 1)])
    before = scene.detail(repeated.id)

    answer = scene.store.commit(
        [
            RunCommit(
                run_id=run.id,
                epoch=run.epoch,
                entries=[
                    entry(run, "other", 2),
                    entry(run, "charge", 3, result=Json(b'{"value":"again"}')),
                ],
                attempts=[attempt("other", 1)],
                waits=[timer("nap", 4, 5)],
                children=[new_run(90 + number, parent_id=run.id, parent_key="ship")],
                move=Park(open_waits=1),
            )
            for number, run in enumerate((first, repeated, last))
        ]
    )

    assert (answer.refused, list(answer.broken)) == ({}, [repeated.id])
    assert scene.detail(repeated.id) == before
    assert [scene.run(run.id).status for run in (first, last)] == [RunStatus.WAITING, RunStatus.WAITING]
    assert {run.id for run in scene.store.get_runs(first.tenant, [run_id(n) for n in (90, 91, 92)])} == {
        run_id(90),
        run_id(92),
    }
    scene.accept(repeated, entries=[entry(repeated, "reserve", 2)])


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"result": Json(b'{"value":\xff}')}, id="payload is not UTF-8"),
        pytest.param({"seq": 2**63}, id="integer past 64 bits"),
        pytest.param({"name": "\ud800"}, id="lone surrogate"),
    ],
)
@pytest.mark.requirement("S-56", "promise-12", "fault-69", "fault-70", "fault-72")
def test_a_row_that_cannot_be_stored_is_broken_alone(scene: Scene, bad: dict[str, Any]) -> None:
    first, broken, last = (scene.held(number) for number in (1, 2, 3))

    answer = scene.store.commit(
        [
            RunCommit(
                run_id=run.id,
                epoch=run.epoch,
                entries=[entry(run, "charge", **{"seq": 1, **(bad if run is broken else {})})],
                move=Finish(RunStatus.COMPLETED, "completed"),
            )
            for run in (first, broken, last)
        ]
    )

    assert (answer.refused, list(answer.broken)) == ({}, [broken.id])
    assert scene.run(first.id).status is RunStatus.COMPLETED
    assert scene.run(last.id).status is RunStatus.COMPLETED
    assert scene.run(broken.id).status is RunStatus.RUNNING
    assert scene.detail(broken.id).journal == []


def test_a_wait_key_is_opened_once(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 5)])
    before = scene.detail(run.id)

    answer = scene.commit(run, waits=[timer("nap", 2, 50), signal_wait("approval", 3)])

    assert list(answer.broken) == [run.id]
    assert scene.detail(run.id) == before


@pytest.mark.requirement("S-07")
def test_an_attempt_is_recorded_once(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, attempts=[attempt("charge", 1)])

    answer = scene.commit(run, attempts=[attempt("charge", 2), attempt("charge", 1)])

    assert list(answer.broken) == [run.id]
    assert [one.attempt for one in scene.detail(run.id).attempts] == [1]


@pytest.mark.requirement("S-53", "promise-5")
def test_a_run_that_compensates_cannot_complete_or_compensate_again(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    for move in (MOVES["complete"], MOVES["compensate"]):
        _refused_without_a_trace(scene, run, {"move": move})


@pytest.mark.requirement("promise-4", "fault-4")
def test_a_compensating_run_that_was_taken_over_refuses_its_old_worker(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    scene.lose(run)

    _refused_without_a_trace(scene, run, {"entries": [entry(run, "late", 50)]})


UNHELD: dict[str, dict[str, Any]] = {
    "released": {"move": Release()},
    "parked": {"waits": [timer("pause", 40, 10_000)], "move": Park(open_waits=2)},
}


@pytest.mark.parametrize("left", UNHELD.values(), ids=UNHELD)
@pytest.mark.parametrize(
    "write", [write for name, write in EVERYTHING.items() if name not in ("complete", "compensate")]
)
@pytest.mark.requirement("promise-4", "fault-4", "S-53")
def test_a_compensating_run_that_nobody_holds_refuses_its_last_worker(
    scene: Scene, write: Write, left: dict[str, Any]
) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 1)], move=Compensate(ERROR, "retries_exhausted"))
    scene.accept(run, **left)

    _refused_without_a_trace(scene, run, write(run))


@pytest.mark.requirement("promise-4", "fault-7")
def test_a_compensating_run_that_its_worker_handed_back_refuses_it(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    assert scene.store.retire_worker(ALICE, limit=10) == 0

    _refused_without_a_trace(scene, run, {"entries": [entry(run, "late", 50)]})


@pytest.mark.parametrize("how", ["alone", "in a batch", "with a handler"])
@pytest.mark.requirement("promise-4", "S-53", "S-13")
def test_an_illegal_move_is_refused_even_if_a_key_is_recorded_already(scene: Scene, how: str) -> None:
    run, other = scene.held(1), scene.held(2)
    scene.accept(run, entries=[entry(run, "charge", 1)], move=Compensate(ERROR, "retries_exhausted"))
    before = scene.detail(run.id)
    commit = RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 2)], move=MOVES["complete"])

    if how == "with a handler":
        answer = scene.store.commit_with(lambda _: commit, wants=scene.opened.connection)
    elif how == "in a batch":
        good = RunCommit(other.id, other.epoch, entries=[entry(other, "charge", 1)])
        answer = scene.store.commit([good, commit])
        assert len(scene.detail(other.id).journal) == 1
    else:
        answer = scene.store.commit([commit])

    assert (list(answer.refused), answer.broken) == ([run.id], {})
    assert scene.detail(run.id) == before
