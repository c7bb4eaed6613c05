"""Runs that continue while others send them signals, wait for them, command them or cancel their parents."""

from __future__ import annotations

from functools import partial

import pytest

from holdfast.core.ids import successor_id
from holdfast.model.command import Pause
from holdfast.model.commit import Continue, Finish, Park
from holdfast.model.ids import Json
from holdfast.model.run import ClaimedRun, Run
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import BOB, RESULT, Scene, child_wait, message, new_run, run_id, signal_wait
from tests.contract.together import together

ROUNDS = 12
NEXT = Json(b'{"value":2}')


def go_on(scene: Scene, run: ClaimedRun) -> None:
    """Let the run continue."""
    scene.accept(run, move=Continue(successor_id(run.id), NEXT))


def child_of(scene: Scene, parent: ClaimedRun, number: int) -> ClaimedRun:
    """A child of the parent, held."""
    child = new_run(1_000 + number, workflow="ship", parent_id=parent.id, parent_key="ship")
    scene.accept(parent, children=[child])
    [held] = [one for one in scene.claim(BOB) if one.id == child.id]
    return held


def newest(scene: Scene, run: ClaimedRun) -> Run:
    """The last link of the run's chain."""
    return scene.store.get_run(run.tenant, run.id, newest=True)


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_signal_that_meets_a_run_that_continues_is_taken_once_by_the_successor(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        together(partial(go_on, scene, run), partial(scene.store.send_signal, message(number, run.id)))

        [new] = [one for one in scene.claim() if one.id == successor_id(run.id)]
        scene.accept(new, waits=[signal_wait("one", 1), signal_wait("two", 2)])
        assert scene.wait(new.id, "one").outcome is WaitOutcome.SIGNALLED
        assert scene.wait(new.id, "two").outcome is None


@pytest.mark.requirement("promise-7")
def test_a_signal_under_way_that_meets_a_run_that_continues_is_not_lost(scene: Scene) -> None:
    sender = scene.held(500)
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        together(
            partial(go_on, scene, run),
            partial(scene.accept, sender, signals=[message(number, run.id)]),
            partial(scene.store.sweep_signals, limit=10),
        )
        [new] = [one for one in scene.claim() if one.id == successor_id(run.id)]
        scene.accept(new, waits=[signal_wait("one", 1)], move=Park(open_waits=1))
        while scene.store.sweep_signals(limit=10).more:
            pass
        assert scene.wait(new.id, "one").outcome is WaitOutcome.SIGNALLED


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_continues_while_its_parent_begins_to_wait_is_not_missed(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        child = child_of(scene, parent, number)
        together(
            partial(go_on, scene, child),
            partial(scene.accept, parent, waits=[child_wait("ship", 1, child.id)], move=Park(open_waits=1)),
        )
        assert scene.wait(parent.id, "ship").child_id == successor_id(child.id)
        [last] = [one for one in scene.claim(BOB) if one.id == successor_id(child.id)]
        scene.accept(last, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
        assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CHILD_ENDED
        assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-5")
def test_a_wait_for_a_chain_that_goes_on_and_ends_meanwhile_is_closed(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        first = child_of(scene, parent, number)
        go_on(scene, first)
        [second] = [one for one in scene.claim(BOB) if one.id == successor_id(first.id)]
        move = Finish(RunStatus.COMPLETED, "completed", RESULT)
        ends = number % 2
        together(
            partial(scene.accept, second, move=move) if ends else partial(go_on, scene, second),
            partial(scene.accept, parent, waits=[child_wait("ship", 1, first.id)], move=Park(open_waits=1)),
        )
        if not ends:
            [last] = [one for one in scene.claim(BOB) if one.id == successor_id(second.id)]
            scene.accept(last, move=move)
        assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CHILD_ENDED


def test_a_command_that_meets_a_run_that_continues_is_obeyed_by_one_of_the_two(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = scene.held(number)
        together(partial(go_on, scene, run), partial(scene.order, run.id, Pause()))

        assert newest(scene, run).status is RunStatus.PAUSED


@pytest.mark.requirement("promise-8")
def test_a_child_that_continues_while_its_parent_is_cancelled_is_cancelled_too(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        child = child_of(scene, parent, number)
        scene.accept(parent, waits=[signal_wait("never", 1, "never")], move=Park(open_waits=1))
        together(partial(go_on, scene, child), partial(scene.cancel, parent.id))

        assert scene.run(parent.id).status is RunStatus.CANCELLED
        assert newest(scene, child).cancel_requested


def test_a_parent_and_its_child_that_continue_together_stay_a_family(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        parent = scene.held(number)
        child = child_of(scene, parent, number)
        together(partial(go_on, scene, child), partial(go_on, scene, parent))

        assert newest(scene, child).parent_id == successor_id(parent.id)
        assert run_id(1_000 + number) == child.id
