"""Of a queue with a limit workers hold no more runs than that, and what is beyond it is in nobody's way."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.model.command import Change, Terminate
from holdfast.model.commit import Finish, Park, Release
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.limit import QueueLimit
from holdfast.model.run import Claim, ClaimedRun, RunFilter
from holdfast.model.search import GroupBy, WaitingOn
from holdfast.model.status import RunStatus
from holdfast.model.tenant import TenantPolicy
from holdfast.store.port import CLAIM_LOOK
from holdfast.store.queues import delete_limit, list_limits, write_limit
from holdfast.store.tenancy import write_policy
from tests.contract.scene import (
    ALICE,
    BOB,
    OTHER_TENANT,
    RESULT,
    WORKFLOWS,
    Scene,
    message,
    new_run,
    run_id,
    signal_wait,
)
from tests.contract.test_hints import Ear
from tests.contract.test_pauses import claimable, claimed, pause, resume

END = Finish(RunStatus.COMPLETED, "completed", RESULT)


def limit(scene: Scene, most: int | None, queue: str = "default", tenant: Tenant = DEFAULT_TENANT, **given: Any) -> Any:
    """Set how many runs of the queue workers may hold; None: as many as they like."""
    if most is None:
        return scene.store.transact(None, lambda s: delete_limit(s, tenant, queue))
    wanted = QueueLimit(tenant=tenant, queue=queue, running_max=most, set_ms=UnixMs(0), **given)
    return scene.store.transact(None, lambda s: write_limit(s, wanted))


def barred(scene: Scene, queue: str | None = None) -> list[RunId]:
    """The runs that wait for a place, as the last claim found them."""
    where = RunFilter(waiting_on=WaitingOn("limit", queue))
    return sorted(run.id for run in scene.store.list_runs(DEFAULT_TENANT, where, limit=100, after=None).runs)


def count_barred(scene: Scene) -> int:
    """How many runs wait for a place."""
    where = RunFilter(waiting_on=WaitingOn("limit"))
    return sum(one.count for one in scene.store.group_runs(DEFAULT_TENANT, where, GroupBy.QUEUE, limit=10))


@pytest.mark.requirement("fault-62", "promise-12")
def test_no_more_runs_of_a_queue_are_held_than_its_limit_and_other_queues_are_not_kept_waiting(scene: Scene) -> None:
    limit(scene, 2)
    for number in range(1, 6):
        scene.start(number, priority=9)
    scene.start(6, queue="quick")

    claim = scene.claim(queues=["default", "quick"], limit=3)

    assert [(run.id, run.counted) for run in claim] == [(run_id(1), True), (run_id(2), True), (run_id(6), False)]
    assert claimed(scene, BOB) == []
    assert not claimable(scene)
    assert barred(scene) == barred(scene, "default") == [run_id(number) for number in (3, 4, 5)]
    assert barred(scene, "quick") == []


@pytest.mark.requirement("fault-62", "promise-12")
def test_a_claim_that_meets_very_many_waiting_runs_finds_those_of_other_queues_at_once(scene: Scene) -> None:
    """And bars only so many, because what it has taken waits for that; the next ones bar the others."""
    waiting = 3 * CLAIM_LOOK
    for queue in ("default", "slow"):
        limit(scene, 0, queue)
    runs = [new_run(number, queue="default" if number % 2 else "slow") for number in range(1, waiting + 1)]
    scene.store.start_runs(runs)
    scene.clock.advance(1)
    for number in range(waiting + 1, waiting + 8):
        scene.start(number, queue="quick")
    queues = ["default", "slow", "quick"]
    scene.register(ALICE, queues=queues)

    def claim() -> Claim:
        return scene.claim_only(ALICE, queues=queues, codes=WORKFLOWS, limit=3, suspects=1)

    first = claim()

    assert [run.id for run in first.runs] == [run_id(waiting + number) for number in (1, 2, 3)]
    assert 0 < count_barred(scene) <= CLAIM_LOOK + 3 * 3
    second = claim()
    assert len(second.runs) == 3
    third = claim()
    assert (len(third.runs), third.more) == (1, True)
    claims = 3
    while third.more:
        before = count_barred(scene)
        third = claim()
        claims += 1
        assert count_barred(scene) - before <= CLAIM_LOOK + 2 * 3
    assert count_barred(scene) == waiting
    assert claims <= waiting // CLAIM_LOOK + 2
    assert (third.runs, third.barred) == ([], True)


@pytest.mark.requirement("promise-10")
def test_a_limit_is_of_its_tenants_queue_alone(scene: Scene) -> None:
    limit(scene, 1, tenant=OTHER_TENANT)
    limit(scene, 1, "slow")
    for number in (1, 2):
        scene.start(number)
        scene.start(number + 10, queue="slow")
        scene.start(number + 20, tenant=OTHER_TENANT)

    found = claimed(scene, queues=["default", "slow"])

    assert sorted(found) == sorted(run_id(number) for number in (1, 2, 11, 21))


@pytest.mark.requirement("fault-62")
@pytest.mark.parametrize("leaves", ["ends", "waits", "is given back", "is lost", "is terminated"])
def test_a_run_that_leaves_its_worker_makes_room_for_the_first_of_the_line(scene: Scene, leaves: str) -> None:
    limit(scene, 1)
    for number in (1, 2):
        scene.start(number)
    scene.start(3, priority=1)
    [run] = scene.claim()
    assert run.id == run_id(3)
    assert claimed(scene) == []

    ear = Ear(scene)
    _leave(scene, run, leaves)

    assert ear.hears(lambda hint: hint.work)
    assert claimable(scene)
    assert claimed(scene, BOB) == [run_id(3 if leaves in {"is given back", "is lost"} else 1)]
    assert claimed(scene, BOB) == []


def _leave(scene: Scene, run: ClaimedRun, how: str) -> None:
    match how:
        case "ends":
            scene.accept(run, move=END, counted=run.counted)
        case "waits":
            scene.accept(run, waits=[signal_wait("w", 1)], move=Park(1), counted=run.counted)
        case "is given back":
            scene.accept(run, move=Release(), counted=run.counted)
        case "is terminated":
            scene.order(run.id, Terminate())
        case _:
            scene.lose(run)


@pytest.mark.requirement("fault-62", "promise-7")
def test_a_run_that_waits_holds_no_place_and_takes_its_turn_when_it_is_woken(scene: Scene) -> None:
    limit(scene, 1)
    for number in (1, 2):
        scene.start(number)
    [first] = scene.claim()
    scene.accept(first, waits=[signal_wait("w", 1)], move=Park(1), counted=True)
    [second] = scene.claim()

    scene.store.send_signal(message(1, first.id))

    assert second.id == run_id(2)
    assert claimed(scene) == []
    scene.accept(second, move=END, counted=True)
    assert claimed(scene) == [first.id]


def test_a_higher_limit_and_one_that_is_lifted_let_runs_go_on(scene: Scene) -> None:
    limit(scene, 0)
    for number in range(1, 5):
        scene.start(number)
    assert claimed(scene) == []

    limit(scene, 1)
    assert claimed(scene) == [run_id(1)]
    limit(scene, 2)
    assert claimed(scene) == [run_id(2)]
    limit(scene, 1)
    assert claimed(scene) == []
    assert limit(scene, None)
    assert not limit(scene, None)
    assert claimed(scene) == [run_id(3), run_id(4)]


def test_a_limit_says_who_set_it_when_and_why(scene: Scene) -> None:
    limit(scene, 9, "slow", actor="ann", note="twenty connections")
    scene.clock.advance(100)
    last = limit(scene, 5, "slow", actor="bob", note="they said ten")
    limit(scene, 1, tenant=OTHER_TENANT)

    assert scene.store.transact(None, lambda s: list_limits(s, DEFAULT_TENANT), read_only=True) == [last]
    assert (last.running_max, last.actor, last.note, last.set_ms) == (5, "bob", "they said ten", scene.clock.now_ms)


@pytest.mark.requirement("promise-12")
def test_a_limit_within_a_quota_keeps_to_both(scene: Scene) -> None:
    scene.store.transact(None, lambda s: write_policy(s, TenantPolicy(tenant=DEFAULT_TENANT, running_max=3)))
    limit(scene, 2)
    for number in range(1, 5):
        scene.start(number)
        scene.start(number + 10, queue="quick")
    both = ["default", "quick"]

    held = scene.claim(queues=both)
    assert [run.id for run in held] == [run_id(1), run_id(2), run_id(11)]
    assert claimed(scene, queues=both) == []

    scene.accept(held[2], move=END, counted=True)
    assert claimed(scene, queues=both) == [run_id(12)]
    scene.accept(held[0], move=END, counted=True)
    assert claimed(scene, queues=["quick"]) == [run_id(13)]
    assert claimed(scene, queues=both) == []


@pytest.mark.requirement("O-09")
def test_a_paused_queue_with_a_limit_goes_on_within_it(scene: Scene) -> None:
    limit(scene, 1)
    pause(scene, "queue", "default")
    for number in (1, 2):
        scene.start(number)
    assert claimed(scene) == []

    resume(scene, "queue", "default")

    assert claimed(scene) == [run_id(1)]


def test_a_run_that_is_moved_to_another_queue_leaves_the_limit_behind(scene: Scene) -> None:
    limit(scene, 0)
    scene.start(1)
    assert claimed(scene) == []

    scene.order(run_id(1), Change(queue="slow"))

    assert claimed(scene, queues=["slow"]) == [run_id(1)]


@pytest.mark.requirement("C-11", "C-54")
def test_what_is_read_of_a_run_beyond_the_limit_is_the_limit_its_holders_and_how_many_are_before_it(
    scene: Scene,
) -> None:
    limit(scene, 2)
    scene.start(20, queue="quick")
    for number in (1, 2):
        scene.start(number)
    assert len(scene.claim(queues=["default", "quick"])) == 3
    scene.clock.advance(5)
    for number in (3, 4, 5):
        scene.start(number)
        scene.clock.advance(1)
    assert claimed(scene) == []

    standing = scene.detail(run_id(5)).standing

    assert (standing.queue_running_max, standing.queue_running, standing.barred_ahead) == (2, 2, 2)
    assert [one.run_id for one in standing.holders] == [run_id(1), run_id(2)]


@pytest.mark.requirement("fault-62", "promise-12")
def test_claims_at_the_same_moment_keep_within_the_limit_together(scene: Scene) -> None:
    limit(scene, 3)
    scene.store.start_runs([new_run(number) for number in range(1, 60)])
    scene.store.start_runs([new_run(number, queue="quick") for number in range(100, 160)])
    names = [WorkerId(f"worker-{number}") for number in range(8)]
    workers = [scene.register(name, lease_ms=600_000) for name in names]
    barrier = threading.Barrier(len(workers))
    held: list[ClaimedRun] = []

    def claim(worker: WorkerId) -> None:
        barrier.wait(60)
        for _ in range(4):
            held.extend(scene.claim_only(worker, queues=("default", "quick"), limit=2).runs)

    threads = [threading.Thread(target=claim, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    limited = [run.id for run in held if run.queue == "default"]
    assert len(limited) == len(set(limited)) == 3
    rest = claimed(scene, queues=["default", "quick"])
    assert len({run.id for run in held} | {*rest}) == len(held) + len(rest) == 3 + 60


@pytest.mark.requirement("fault-62", "promise-4")
def test_places_that_change_hands_all_the_time_are_never_more_than_the_limit(scene: Scene) -> None:
    most, count = 2, 40
    limit(scene, most)
    scene.store.start_runs([new_run(number) for number in range(1, count + 1)])
    workers = [scene.register(WorkerId(f"worker-{number}"), lease_ms=600_000) for number in range(4)]
    barrier, lock = threading.Barrier(len(workers)), threading.Lock()
    left, held, excess = set(range(count)), 0, 0

    def work(worker: WorkerId) -> None:
        nonlocal held, excess
        barrier.wait(60)
        while left:
            runs = scene.claim_only(worker, limit=5).runs
            with lock:
                # Those that are about to end are counted out before they do: this can only count too few.
                held += len(runs)
                excess = max(excess, held - most)
            for run in runs:
                with lock:
                    held -= 1
                    left.pop()
                scene.accept(run, move=END, counted=run.counted)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert (left, held, excess) == (set(), 0, 0)
    assert claimed(scene, ALICE) == []
