"""What a run that continues must leave alone: each guard of its statements has a test that fails without it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from holdfast.core.ids import successor_id
from holdfast.model.commit import Continue, Finish, Park, RunCommit
from holdfast.model.ids import Json, RunId
from holdfast.model.run import ClaimedRun
from holdfast.model.status import RunStatus, WaitOutcome
from holdfast.store.tables import RECEIPTS, SIGNALS
from tests.contract.conftest import Opener
from tests.contract.scene import BOB, OTHER_TENANT, RESULT, Scene, child_wait, message, new_run, signal_wait
from tests.contract.stores import ManualClock

NEXT = Json(b'{"value":2}')
DONE = Finish(RunStatus.COMPLETED, "completed", RESULT)


def go_on(scene: Scene, run: ClaimedRun) -> None:
    """Let the run continue."""
    scene.accept(run, move=Continue(successor_id(run.id), NEXT))


def child_of(scene: Scene, parent: ClaimedRun, number: int = 50) -> ClaimedRun:
    """A child of the parent, held by Bob."""
    child = new_run(number, workflow="ship", parent_id=parent.id, parent_key=f"ship{number}")
    scene.accept(parent, children=[child])
    [held] = [one for one in scene.claim(BOB) if one.id == child.id]
    return held


@pytest.mark.requirement("promise-5")
def test_waits_that_were_closed_keep_their_outcome(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("one", 1), signal_wait("two", 2, "other")])
    scene.store.send_signal(message(1, run.id))

    go_on(scene, run)

    assert scene.wait(run.id, "one").outcome is WaitOutcome.SIGNALLED
    assert scene.wait(run.id, "two").outcome is WaitOutcome.CANCELLED


@pytest.mark.requirement("promise-4")
def test_a_stale_worker_takes_no_family_along(scene: Scene) -> None:
    parent = scene.held(1)
    run = child_of(scene, parent)
    child = child_of(scene, run, 51)
    scene.park(parent, child_wait("ship", 1, run.id))
    scene.lose(run)

    answer = scene.store.commit([RunCommit(run.id, run.epoch, move=Continue(successor_id(run.id), NEXT))])

    assert list(answer.refused) == [run.id]
    assert scene.wait(parent.id, "ship").child_id == run.id
    assert scene.run(child.id).parent_id == run.id


@pytest.mark.requirement("promise-4")
def test_a_worker_that_has_given_a_run_back_does_not_let_it_continue(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.retire_worker(scene.register(), limit=10)

    answer = scene.store.commit([RunCommit(run.id, run.epoch, move=Continue(successor_id(run.id), NEXT))])

    assert list(answer.refused) == [run.id]
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-5")
def test_who_waits_for_a_run_no_more_is_told_of_no_successor(scene: Scene) -> None:
    parent = scene.held(1)
    child = child_of(scene, parent)
    scene.accept(parent, waits=[child_wait("ship", 1, child.id)])
    scene.accept(parent, cancelled=["ship"])

    go_on(scene, child)

    wait = scene.wait(parent.id, "ship")
    assert (wait.child_id, wait.outcome) == (child.id, WaitOutcome.CANCELLED)


@pytest.mark.requirement("promise-10")
def test_another_tenants_wait_does_not_follow_a_run(scene: Scene) -> None:
    run = scene.held(1)
    other = scene.held(2, tenant=OTHER_TENANT)
    scene.accept(other, waits=[child_wait("theirs", 1, run.id)], move=Park(open_waits=1))

    go_on(scene, run)

    [wait] = scene.detail(other.id, OTHER_TENANT).waits
    assert (wait.child_id, wait.outcome) == (run.id, None)


def test_children_that_have_ended_stay_the_children_of_the_link_that_started_them(scene: Scene) -> None:
    run = scene.held(1)
    ended, living = child_of(scene, run), child_of(scene, run, 51)
    scene.accept(ended, move=DONE)

    go_on(scene, run)

    assert scene.run(ended.id).parent_id == run.id
    assert scene.run(living.id).parent_id == successor_id(run.id)


def receipts(scene: Scene, of: RunId) -> list[RunId]:
    """The signals for all that a run is taken to have heard."""
    c = RECEIPTS.c
    query = select(c.signal_id).where(c.run_id == of).order_by(c.signal_id)
    found = scene.store.transact(None, lambda statements: statements.rows(query), read_only=True)
    return [RunId(str(row[0])) for row in found]


def receiver(scene: Scene, signal: RunId) -> RunId:
    """To whom a signal is."""
    query = select(SIGNALS.c.run_id).where(SIGNALS.c.id == signal)
    [row] = scene.store.transact(None, lambda statements: statements.rows(query), read_only=True)
    return RunId(str(row[0]))


@pytest.mark.requirement("promise-7")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_only_what_may_still_be_heard_is_handed_over(open_store: Opener, kind: str) -> None:
    with open_store(kind, ManualClock()) as opened:
        scene = Scene(opened)
        run = scene.held(1)
        scene.accept(run, waits=[signal_wait(key, seq) for seq, key in enumerate(("one", "two", "three"), 1)])
        heard, over, left = message(1, run.id), message(2, None), message(4, run.id)
        kept = message(3, None, keep_ms=60_000)
        for signal in (heard, over, kept, left):
            scene.store.send_signal(signal)
        assert receipts(scene, run.id) == [over.id, kept.id]

        go_on(scene, run)

        assert receipts(scene, successor_id(run.id)) == [kept.id]
        assert (receiver(scene, heard.id), receiver(scene, left.id)) == (run.id, successor_id(run.id))
