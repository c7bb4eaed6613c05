from __future__ import annotations

import pytest

from holdfast.model.command import RunCopy, Terminate
from holdfast.model.commit import Compensate, Finish, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import ClaimedRun, RunFilter
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from tests.contract.scene import BOB, ERROR, OTHER_TENANT, RESULT, Scene, child_wait, new_run, run_id, signal_wait

CHILD = run_id(50)


def _with_child(scene: Scene, *, move: Park | None) -> ClaimedRun:
    parent = scene.held(1)
    scene.accept(
        parent,
        children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")],
        waits=[child_wait("ship", 1, CHILD)],
        move=move,
    )
    return parent


def _end(scene: Scene, status: RunStatus = RunStatus.COMPLETED) -> None:
    [child] = scene.claim(BOB, codes=["ship"])
    assert child.id == CHILD
    done = status is RunStatus.COMPLETED
    scene.accept(child, move=Finish(status, status.value, RESULT if done else None, None if done else ERROR))


@pytest.mark.requirement("S-57", "B-52")
def test_a_child_is_started_with_its_parents_commit(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))

    child = scene.run(CHILD)
    assert (child.status, child.workflow) == (RunStatus.QUEUED, "ship")
    assert (child.parent_id, child.parent_key) == (parent.id, "ship")
    wait = scene.wait(parent.id, "ship")
    assert (wait.kind, wait.child_id, wait.outcome) == (WaitKind.CHILD, CHILD, None)


def test_a_claimed_child_knows_its_parent_and_others_have_none(scene: Scene) -> None:
    parent = _with_child(scene, move=None)
    [child] = scene.claim(BOB, codes=["ship"])

    assert (parent.parent_id, child.parent_id) == (None, parent.id)


def test_a_run_that_nobody_awaits_ends_like_any_other(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])

    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT, awaited=False))

    assert scene.run(run.id).status is RunStatus.COMPLETED
    assert scene.wait(run.id, "approval").outcome is WaitOutcome.CANCELLED


@pytest.mark.requirement("S-57", "promise-4")
def test_a_refused_parent_starts_no_child(scene: Scene) -> None:
    parent = scene.held(1)

    answer = scene.store.commit(
        [
            RunCommit(
                run_id=parent.id,
                epoch=parent.epoch - 1,
                children=[new_run(50, parent_id=parent.id, parent_key="ship")],
            )
        ]
    )

    assert list(answer.refused) == [parent.id]
    assert scene.store.get_runs(DEFAULT_TENANT, [CHILD]) == []


@pytest.mark.requirement("promise-5", "C-51", "fault-49")
def test_the_end_of_a_child_closes_its_parents_wait_and_makes_it_claimable(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))
    scene.clock.advance(4)

    _end(scene)

    wait = scene.wait(parent.id, "ship")
    assert (wait.outcome, wait.closed_ms) == (WaitOutcome.CHILD_ENDED, scene.clock.now_ms)
    assert (wait.result, wait.error, wait.child_status) == (RESULT, None, RunStatus.COMPLETED)
    row = scene.run(parent.id)
    assert (row.status, row.status_reason, row.ready_ms) == (
        RunStatus.QUEUED,
        "child_ended",
        scene.clock.now_ms,
    )


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_parent_hears_how_its_child_ended(scene: Scene, status: RunStatus) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))

    _end(scene, status)

    wait = scene.wait(parent.id, "ship")
    assert (wait.outcome, wait.result, wait.error) == (WaitOutcome.CHILD_ENDED, None, ERROR)
    assert wait.child_status is status
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


def test_the_end_of_a_child_does_not_move_a_parent_that_is_held(scene: Scene) -> None:
    parent = _with_child(scene, move=None)

    _end(scene)

    assert scene.place(parent.id) == (RunStatus.RUNNING, False)
    assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CHILD_ENDED


@pytest.mark.requirement("fault-49", "promise-7")
@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_wait_for_a_child_that_has_ended_is_closed_at_once(scene: Scene, status: RunStatus) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")])
    _end(scene, status)
    scene.clock.advance(9)

    answer = scene.park(parent, child_wait("ship", 1, CHILD))

    [wait] = answer.waits[parent.id]
    assert (wait.outcome, wait.child_status) == (WaitOutcome.CHILD_ENDED, status)
    assert wait.closed_ms == scene.clock.now_ms
    assert (wait.result is not None, wait.error is not None) == (
        status is RunStatus.COMPLETED,
        status is not RunStatus.COMPLETED,
    )
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-49")
def test_a_child_that_ends_in_the_batch_in_which_its_parent_parks_wakes_it(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")])
    [child] = scene.claim(codes=["ship"])

    answer = scene.store.commit(
        [
            RunCommit(
                run_id=parent.id,
                epoch=parent.epoch,
                waits=[child_wait("ship", 1, CHILD)],
                move=Park(open_waits=1),
            ),
            RunCommit(run_id=child.id, epoch=child.epoch, move=Finish(RunStatus.COMPLETED, "completed", RESULT)),
        ]
    )

    assert (answer.refused, answer.broken) == ({}, {})
    assert scene.wait(parent.id, "ship").result == RESULT
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-49")
def test_the_end_of_one_of_many_children_wakes_the_parent_once(scene: Scene) -> None:
    parent = scene.held(1)
    numbers = range(50, 60)
    scene.accept(
        parent,
        children=[new_run(n, workflow="ship", parent_id=parent.id, parent_key=f"ship-{n}") for n in numbers],
        waits=[child_wait(f"ship-{n}", n, run_id(n)) for n in numbers],
        move=Park(open_waits=10),
    )
    children = scene.claim(BOB, codes=["ship"])
    assert len(children) == 10

    answer = scene.store.commit(
        [
            RunCommit(run_id=one.id, epoch=one.epoch, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
            for one in children
        ]
    )

    assert (answer.refused, answer.broken) == ({}, {})
    assert all(wait.outcome is WaitOutcome.CHILD_ENDED for wait in scene.detail(parent.id).waits)
    assert [one.reason for one in scene.detail(parent.id).transitions].count("child_ended") == 1
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


def test_a_child_whose_id_exists_is_left_as_it_is(scene: Scene) -> None:
    scene.start(50, workflow="ship", priority=3)
    parent = scene.held(1, workflow="order", priority=9)

    scene.accept(parent, children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")])

    child = scene.run(CHILD)
    assert (child.priority, child.parent_id) == (3, None)


@pytest.mark.requirement("S-59", "fault-49")
def test_a_cancelled_child_closes_its_parents_wait(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))

    scene.cancel(CHILD)

    wait = scene.wait(parent.id, "ship")
    assert (wait.outcome, wait.child_status) == (WaitOutcome.CHILD_ENDED, RunStatus.CANCELLED)
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-53", "fault-49", "promise-12")
def test_a_child_that_is_set_aside_closes_its_parents_wait(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))
    [child] = scene.claim(BOB, codes=["ship"])

    assert scene.lose(child, crashes_max=1)

    wait = scene.wait(parent.id, "ship")
    assert (wait.outcome, wait.child_status) == (WaitOutcome.CHILD_ENDED, RunStatus.STUCK)
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


def test_a_compensating_parent_is_woken_by_its_child(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, move=Compensate(ERROR, "retries_exhausted"))
    scene.accept(
        parent,
        children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")],
        waits=[child_wait("ship", 1, CHILD)],
        move=Park(open_waits=1),
    )

    _end(scene)

    assert scene.place(parent.id) == (RunStatus.COMPENSATING, True)


def test_a_parent_that_ended_first_is_left_alone(scene: Scene) -> None:
    parent = _with_child(scene, move=None)
    scene.accept(parent, move=Finish(RunStatus.COMPLETED, "completed"))
    before = scene.detail(parent.id)

    _end(scene)

    after = scene.detail(parent.id)
    assert (after.run, after.waits, after.transitions) == (before.run, before.waits, before.transitions)
    assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CANCELLED


@pytest.mark.requirement("fault-49")
def test_a_parent_that_is_cancelled_leaves_its_children_to_themselves(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))

    scene.cancel(parent.id)

    assert scene.place(CHILD) == (RunStatus.QUEUED, True)


def test_the_children_of_a_run_can_be_listed(scene: Scene) -> None:
    parent = _with_child(scene, move=Park(open_waits=1))

    page = scene.store.list_runs(DEFAULT_TENANT, RunFilter(parent_id=parent.id), limit=10, after=None)

    assert [run.id for run in page.runs] == [RunId(CHILD)]


def test_other_waits_stay_open_when_a_child_ends(scene: Scene) -> None:
    parent = _with_child(scene, move=None)
    scene.accept(parent, waits=[signal_wait("approval", 2)], move=Park(open_waits=2))

    _end(scene)

    assert scene.wait(parent.id, "approval").outcome is None


@pytest.mark.requirement("promise-10")
def test_a_wait_for_another_tenants_run_hears_nothing_of_it(scene: Scene) -> None:
    early, late = scene.held(50, BOB, tenant=OTHER_TENANT), scene.held(51, BOB, tenant=OTHER_TENANT)
    scene.accept(early, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    spy = scene.held(1)

    scene.accept(spy, waits=[child_wait("early", 1, early.id), child_wait("late", 2, late.id)])
    scene.accept(late, move=Finish(RunStatus.COMPLETED, "completed", RESULT))

    assert [wait.outcome for wait in scene.detail(spy.id).waits] == [None, None]


def _retry_of_child(scene: Scene) -> RunId:
    copy = RunCopy(id=run_id(60), source_id=CHILD, retry=True, journal=[], waits=[])
    return scene.store.start_copy(DEFAULT_TENANT, copy).run_id


def _end_retry(scene: Scene) -> None:
    [retry] = scene.claim(BOB, codes=["ship"])
    assert retry.parent_id is None
    scene.accept(retry, move=Finish(RunStatus.COMPLETED, "completed", RESULT))


@pytest.mark.requirement("S-57", "R-53")
def test_a_retry_of_a_child_is_nobodys_child_and_changes_nothing_of_what_its_parent_was_told(scene: Scene) -> None:
    """The parent has heard of the end of the run that it started, and its record is written once."""
    parent = _with_child(scene, move=Park(open_waits=1))
    _end(scene, RunStatus.FAILED)
    told, place = scene.wait(parent.id, "ship"), scene.place(parent.id)

    retry = _retry_of_child(scene)
    _end_retry(scene)

    assert scene.run(retry).status is RunStatus.COMPLETED
    assert (scene.wait(parent.id, "ship"), scene.place(parent.id)) == (told, place)
    assert told.child_status is RunStatus.FAILED


@pytest.mark.requirement("S-57", "R-53")
def test_a_wait_that_is_opened_after_a_retry_hears_of_the_run_that_it_names(scene: Scene) -> None:
    """Whoever looks before the retry or after it sees the same: a wait is for a run, not for a lineage."""
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")])
    _end(scene, RunStatus.FAILED)
    _retry_of_child(scene)
    _end_retry(scene)

    answer = scene.accept(parent, waits=[child_wait("ship", 1, CHILD)])

    [wait] = answer.waits[parent.id]
    assert (wait.outcome, wait.child_status) == (WaitOutcome.CHILD_ENDED, RunStatus.FAILED)


@pytest.mark.requirement("S-57", "R-53")
def test_a_retry_of_a_child_goes_on_when_the_parent_is_terminated(scene: Scene) -> None:
    parent = _with_child(scene, move=None)
    _end(scene, RunStatus.FAILED)
    retry = _retry_of_child(scene)

    scene.order(parent.id, Terminate())

    assert scene.place(retry) == (RunStatus.QUEUED, True)
    assert not scene.run(retry).cancel_requested
