"""What is paused, or more than a tenant may run, is not claimed, and is in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.model.command import Change
from holdfast.model.commit import Finish, Park, Release
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, WorkerId
from holdfast.model.pause import Pause, PauseKind
from holdfast.model.status import RunStatus, WaitOutcome
from holdfast.model.tenant import TenantPolicy
from holdfast.store.tenancy import delete_pause, list_pauses, write_pause, write_policy
from tests.contract.scene import ALICE, BOB, OTHER_TENANT, RESULT, Scene, message, new_run, run_id, signal_wait, timer


def pause(scene: Scene, kind: PauseKind, name: str = "", **given: Any) -> Pause:
    """Pause it for a tenant, the default one unless told otherwise."""
    tenant = given.pop("tenant", DEFAULT_TENANT)
    wanted = Pause(tenant=tenant, kind=kind, name=name or tenant, since_ms=scene.clock.now_ms, **given)
    return scene.store.transact(None, lambda statements: write_pause(statements, wanted))


def resume(scene: Scene, kind: PauseKind, name: str = "", tenant: Tenant = DEFAULT_TENANT) -> bool:
    """Take the pause back."""
    return scene.store.transact(None, lambda statements: delete_pause(statements, tenant, kind, name or tenant))


def limit_running(scene: Scene, most: int | None, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Set how many runs of the tenant workers may hold."""
    policy = TenantPolicy(tenant=tenant, running_max=most)
    scene.store.transact(None, lambda statements: write_policy(statements, policy))


def claimed(scene: Scene, worker: WorkerId = ALICE, **given: Any) -> list[RunId]:
    """Claim; the ids."""
    return [run.id for run in scene.claim(worker, **given)]


def claimable(scene: Scene, queues: Sequence[str] = ("default",)) -> bool:
    """What the agenda says."""
    return scene.store.read_agenda(queues=queues, codes=["order", "ship"]).claimable


PAUSES: list[tuple[PauseKind, str]] = [("queue", "default"), ("workflow", "order"), ("tenant", "")]


@pytest.mark.requirement("O-09")
@pytest.mark.parametrize(("kind", "name"), PAUSES)
def test_what_is_paused_is_not_claimed_until_it_is_resumed(scene: Scene, kind: PauseKind, name: str) -> None:
    scene.start(1)
    pause(scene, kind, name)
    scene.start(2)

    assert claimed(scene) == []
    assert not claimable(scene)
    assert [scene.place(run_id(number)) for number in (1, 2)] == [(RunStatus.QUEUED, True)] * 2

    assert resume(scene, kind, name)
    assert claimable(scene)
    assert claimed(scene) == [run_id(1), run_id(2)]


@pytest.mark.requirement("O-09", "promise-10")
def test_a_pause_is_of_its_queue_workflow_and_tenant_alone(scene: Scene) -> None:
    scene.start(1, queue="slow")
    scene.start(2, workflow="ship")
    scene.start(3, tenant=OTHER_TENANT, queue="slow", workflow="ship")
    scene.start(4)
    scene.start(5, tenant=OTHER_TENANT)
    pause(scene, "queue", "slow")
    pause(scene, "workflow", "ship")
    pause(scene, "tenant", tenant=OTHER_TENANT)

    assert claimed(scene, queues=["default", "slow"]) == [run_id(4)]
    assert resume(scene, "tenant", tenant=OTHER_TENANT)
    assert claimed(scene, queues=["default", "slow"]) == [run_id(3), run_id(5)]


@pytest.mark.requirement("O-09")
def test_a_run_that_two_pauses_bar_waits_for_the_end_of_both(scene: Scene) -> None:
    scene.start(1)
    pause(scene, "queue", "default")
    pause(scene, "workflow", "order")
    assert claimed(scene) == []

    resume(scene, "queue", "default")
    assert claimed(scene) == []
    resume(scene, "workflow", "order")
    assert claimed(scene) == [run_id(1)]


@pytest.mark.requirement("O-09")
def test_the_place_in_the_line_outlives_a_pause(scene: Scene) -> None:
    scene.start(1)
    pause(scene, "queue", "default")
    assert claimed(scene) == []
    scene.clock.advance(5)
    resume(scene, "queue", "default")
    scene.start(2)
    scene.start(3, priority=1)

    assert claimed(scene) == [run_id(3), run_id(1), run_id(2)]


@pytest.mark.requirement("O-09", "promise-7")
def test_while_paused_signals_and_timers_close_waits(scene: Scene) -> None:
    signalled = scene.parked(1, signal_wait("w", 1))
    sleeping = scene.parked(2, timer("t", 1, 50))
    pause(scene, "tenant")

    scene.store.send_signal(message(1, signalled.id))
    scene.clock.advance(50)
    scene.store.wake_due(limit=10)

    assert scene.wait(signalled.id, "w").outcome is WaitOutcome.SIGNALLED
    assert scene.wait(sleeping.id, "t").outcome is WaitOutcome.ELAPSED
    assert claimed(scene) == []
    resume(scene, "tenant")
    assert claimed(scene) == [run_id(1), run_id(2)]


@pytest.mark.requirement("O-09")
def test_a_held_run_of_a_pause_goes_on_and_is_given_back_only_if_that_is_asked(scene: Scene) -> None:
    run = scene.held(1)
    pause(scene, "queue", "default")
    assert scene.store.read_live(ALICE, {run.id: []}) == []

    pause(scene, "queue", "default", recalls=True)

    [news] = scene.store.read_live(ALICE, {run.id: []})
    assert (news.run_id, news.pause_requested, news.cancel_requested) == (run.id, True, False)
    scene.accept(run, move=Release())
    assert scene.place(run.id) == (RunStatus.QUEUED, True)
    assert claimed(scene) == []
    resume(scene, "queue", "default")
    assert claimed(scene) == [run.id]


@pytest.mark.requirement("O-09")
def test_a_run_that_is_moved_to_another_queue_leaves_the_pause_behind(scene: Scene) -> None:
    scene.start(1)
    pause(scene, "queue", "default")
    assert claimed(scene) == []

    scene.order(run_id(1), Change(queue="slow"))

    assert claimed(scene, queues=["slow"]) == [run_id(1)]


@pytest.mark.requirement("O-09")
def test_a_barred_run_can_be_cancelled_and_paused_by_itself(scene: Scene) -> None:
    scene.start(1)
    scene.start(2)
    pause(scene, "queue", "default")
    assert claimed(scene) == []

    scene.cancel(run_id(1))
    assert scene.run(run_id(1)).status is RunStatus.CANCELLED


@pytest.mark.requirement("O-09")
def test_a_pause_says_who_when_and_why_and_the_first_word_stays(scene: Scene) -> None:
    first = pause(scene, "queue", "slow", actor="ann", note="the printer burns")
    scene.clock.advance(100)
    pause(scene, "queue", "slow", actor="bob")
    pause(scene, "tenant", tenant=OTHER_TENANT)

    assert scene.store.transact(None, lambda s: list_pauses(s, DEFAULT_TENANT), read_only=True) == [first]
    assert (first.actor, first.note, first.since_ms) == ("ann", "the printer burns", scene.clock.now_ms - 100)
    assert resume(scene, "queue", "slow")
    assert not resume(scene, "queue", "slow")


@pytest.mark.requirement("O-09", "promise-12")
def test_many_barred_runs_at_the_head_of_a_line_are_met_once_and_starve_nobody(scene: Scene) -> None:
    for number in range(1, 41):
        scene.start(number, tenant=OTHER_TENANT, priority=5)
    scene.start(100)
    pause(scene, "tenant", tenant=OTHER_TENANT)

    assert claimed(scene, limit=3) == [run_id(100)]
    scene.start(101)
    assert claimed(scene, limit=1) == [run_id(101)]
    resume(scene, "tenant", tenant=OTHER_TENANT)
    assert claimed(scene, limit=50) == [run_id(number) for number in range(1, 41)]


# --- How many runs of a tenant workers may hold -----------------------------------------------------------------------


@pytest.mark.requirement("C-56", "promise-12")
def test_no_more_runs_of_a_tenant_are_claimed_than_it_may_run_and_others_are_not_kept_waiting(scene: Scene) -> None:
    limit_running(scene, 2, OTHER_TENANT)
    for number in range(1, 6):
        scene.start(number, tenant=OTHER_TENANT, priority=9)
    scene.start(6)

    claim = scene.claim(limit=3)

    assert [run.id for run in claim] == [run_id(1), run_id(2), run_id(6)]
    assert claimed(scene, BOB) == []
    assert not claimable(scene)


@pytest.mark.requirement("C-56")
def test_a_run_that_ends_or_waits_makes_room_for_the_next_of_its_tenant(scene: Scene) -> None:
    limit_running(scene, 1)
    for number in (1, 2, 3, 4):
        scene.start(number)
    [first] = scene.claim()
    assert claimed(scene) == []

    scene.accept(first, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    assert claimable(scene)
    [second] = scene.claim()
    scene.accept(second, waits=[signal_wait("w", 1)], move=Park(1))
    [third] = scene.claim()

    assert [first.id, second.id, third.id] == [run_id(1), run_id(2), run_id(3)]
    scene.store.send_signal(message(1, second.id))
    assert claimed(scene) == []
    scene.accept(third, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    assert claimed(scene) == [second.id]
    assert claimed(scene) == []


@pytest.mark.requirement("C-56")
def test_a_larger_quota_and_one_that_is_lifted_let_barred_runs_go_on(scene: Scene) -> None:
    limit_running(scene, 0)
    for number in (1, 2, 3):
        scene.start(number)
    assert claimed(scene) == []

    limit_running(scene, 1)
    assert claimed(scene) == [run_id(1)]
    limit_running(scene, None)
    assert claimed(scene) == [run_id(2), run_id(3)]


@pytest.mark.requirement("C-56")
def test_what_may_run_is_no_matter_of_starts(scene: Scene) -> None:
    limit_running(scene, 0)

    scene.start(1)

    assert scene.place(run_id(1)) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("C-56", "promise-12")
def test_claims_at_the_same_moment_keep_within_the_quota_together(scene: Scene) -> None:
    limit_running(scene, 3)
    scene.store.start_runs([new_run(number) for number in range(1, 60)])
    workers = [scene.register(WorkerId(f"worker-{number}"), lease_ms=600_000) for number in range(6)]
    barrier = threading.Barrier(len(workers))
    held: list[RunId] = []

    def claim(worker: WorkerId) -> None:
        barrier.wait(60)
        for _ in range(3):
            held.extend(run.id for run in scene.claim_only(worker, limit=2).runs)

    threads = [threading.Thread(target=claim, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(held) == len(set(held)) == 3
