"""Commands that meet what else may happen to a run: each race has one winner."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from holdfast.errors import Conflict
from holdfast.model.command import Cancel, Command, Order, Pause, RunCopy, Terminate
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.status import TERMINAL_STATUSES, RunStatus, WaitOutcome
from tests.contract.scene import RESULT, Scene, message, run_id, signal_wait, timer
from tests.contract.test_races import ROUNDS
from tests.contract.together import together


def _try(scene: Scene, of: RunId, command: Command, number: int) -> Any:
    order = Order(id=run_id(3_000_000 + number), command=command, actor="ann")
    try:
        return scene.store.command(DEFAULT_TENANT, of, order)
    except Conflict as refused:
        return refused


def _ends(scene: Scene, of: RunId) -> list[RunStatus]:
    return [one.to_status for one in scene.detail(of).transitions if one.to_status in TERMINAL_STATUSES]


@pytest.mark.requirement("promise-4", "promise-5", "fault-47")
def test_a_run_is_terminated_or_completed_but_never_both(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        answer, told = together(
            partial(scene.commit, run, move=Finish(RunStatus.COMPLETED, "completed", RESULT)),
            partial(_try, scene, run.id, Terminate(), number),
        )
        completed = run.id not in answer.refused
        assert _ends(scene, run.id) == [RunStatus.COMPLETED if completed else RunStatus.CANCELLED]
        assert isinstance(told, Conflict) is completed


@pytest.mark.requirement("promise-5", "fault-47")
def test_a_cancel_that_meets_the_end_of_a_parked_run_leaves_one_end(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.parked(number, timer("nap", 1, 10))
        scene.clock.advance(10)
        woken, told = together(partial(scene.store.wake_due, limit=10), partial(_try, scene, run.id, Cancel(), number))
        assert told.status is RunStatus.CANCELLED
        assert _ends(scene, run.id) == [RunStatus.CANCELLED]
        outcome = WaitOutcome.ELAPSED if woken else WaitOutcome.CANCELLED
        assert scene.wait(run.id, "nap").outcome is outcome


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_pause_that_meets_a_wake_up_loses_neither(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.parked(number, signal_wait("approval", 1))
        together(
            partial(scene.store.send_signal, message(number, run.id)), partial(_try, scene, run.id, Pause(), number)
        )
        assert scene.place(run.id) == (RunStatus.PAUSED, False)
        assert scene.wait(run.id, "approval").outcome is WaitOutcome.SIGNALLED


@pytest.mark.requirement("R-53")
def test_retries_that_meet_make_one_attempt(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        scene.accept(run, move=Finish(RunStatus.FAILED, "error"))

        def retry(id_: int, source: RunId = run.id) -> Any:
            copy = RunCopy(id=run_id(id_), source_id=source, retry=True, journal=[], waits=[])
            try:
                return scene.store.start_copy(DEFAULT_TENANT, copy).created
            except Conflict as refused:
                return refused

        answers = together(*(partial(retry, 4_000_000 + 10 * number + one) for one in range(3)))
        assert [answer for answer in answers if answer is True] == [True]
        assert sum(isinstance(answer, Conflict) for answer in answers) == 2
        scene.claim()
