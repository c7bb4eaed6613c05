"""What a statement decides from its snapshot while others move the rows: in slow motion, on two connections.

After it has waited for a row, PostgreSQL looks again at the conditions on that row alone, and only if the row satisfied
them before, too. What was read of other rows stays as it was when the statement began.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pytest

from holdfast.core.ids import successor_id
from holdfast.model.commit import Continue, Park, RunCommit
from holdfast.model.ids import Json
from holdfast.model.run import ClaimedRun
from holdfast.model.status import RunStatus, WaitOutcome
from tests.contract.scene import ALICE, BOB, Scene, message, new_run, signal_wait, timer
from tests.postgres_stage import (
    Background,
    execute,
    execute_commit,
    migrated_database,
    open_scene,
    transaction,
    wait_for_lock,
)

NEXT = Json(b'{"value":2}')


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture
def scene(url: str) -> Generator[Scene, None, None]:
    with open_scene(url) as scene:
        yield scene
        scene.check_histories()


def family(scene: Scene) -> tuple[ClaimedRun, ClaimedRun]:
    """A parked parent and its child, which Bob holds."""
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, workflow="ship", parent_id=parent.id, parent_key="ship")])
    [child] = scene.claim(BOB)
    scene.park(parent, signal_wait("never", 1, "never"))
    return parent, child


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_parks_while_its_parent_is_cancelled_is_cancelled_too(scene: Scene, url: str) -> None:
    parent, child = family(scene)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(child.id, child.epoch, waits=[timer("nap", 1, 99)], move=Park(1)))
        cancelling = Background(partial(scene.cancel, parent.id))
        wait_for_lock(url)
        other.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(child.id).cancel_requested
    assert scene.place(child.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_is_claimed_while_its_parent_is_cancelled_is_cancelled_too(scene: Scene, url: str) -> None:
    parent, child = family(scene)
    scene.store.retire_worker(BOB, limit=10)
    scene.register(ALICE)
    with transaction(url) as other:
        line = {"worker": ALICE, "queues": ["default"], "codes": ["ship"], "limit": 2, "suspects": 1, "look": 2}
        [claimed] = execute(other, "claim_runs", scene, **line)
        assert claimed[1] == child.id
        cancelling = Background(partial(scene.cancel, parent.id))
        wait_for_lock(url)
        other.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(child.id).cancel_requested


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_continues_behind_its_parent_is_cancelled_with_the_parents_successor(
    scene: Scene, url: str
) -> None:
    """The child waits for its parent, becomes the successor's, and must then hold the successor."""
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, workflow="ship", parent_id=parent.id, parent_key="ship")])
    [child] = scene.claim(BOB)
    with transaction(url) as first, transaction(url) as second:
        execute_commit(first, scene, RunCommit(parent.id, parent.epoch, move=Continue(successor_id(parent.id), NEXT)))
        goes_on = RunCommit(child.id, child.epoch, move=Continue(successor_id(child.id), NEXT))
        continuing = Background(partial(execute_commit, second, scene, goes_on))
        wait_for_lock(url)
        first.execute("commit")
        continuing.result()
        cancelling = Background(partial(scene.cancel, successor_id(parent.id)))
        wait_for_lock(url)
        second.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(successor_id(child.id)).parent_id == successor_id(parent.id)
    assert scene.run(successor_id(child.id)).cancel_requested


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_kept_signal_that_a_run_sent_reaches_who_was_opening_a_wait(scene: Scene, url: str) -> None:
    sender, run = scene.held(1), scene.held(2)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(run.id, run.epoch, waits=[signal_wait("approval", 1)], move=Park(1)))
        scene.accept(sender, signals=[message(1, None, keep_ms=60_000)])
        sweeping = Background(partial(scene.store.sweep_signals, limit=10))
        wait_for_lock(url)
        other.execute("commit")

    sweeping.result()
    assert scene.wait(run.id, "approval").outcome is WaitOutcome.SIGNALLED
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-7")
def test_a_signal_for_all_goes_on_behind_a_run_that_was_deleted_meanwhile(scene: Scene, url: str) -> None:
    ids = [scene.parked(number, signal_wait("approval", 1)).id for number in (1, 2)]
    with transaction(url) as other:
        other.execute("delete from holdfast.runs where id = %s", [ids[0]])
        sending = Background(partial(scene.store.send_signal, message(1, None), limit=1))
        wait_for_lock(url)
        other.execute("commit")

    sending.result()
    while scene.store.sweep_signals(limit=1).more:
        pass
    assert scene.wait(ids[1], "approval").outcome is WaitOutcome.SIGNALLED
