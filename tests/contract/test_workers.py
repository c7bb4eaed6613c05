from __future__ import annotations

from typing import Any

import pytest

from holdfast.model.commit import Compensate, Finish, Park, RunCommit
from holdfast.model.ids import WorkerId
from holdfast.model.status import RunStatus
from holdfast.store.port import WORKER_KEPT_MS
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    LEASE_MS,
    PAYLOAD,
    WORKFLOWS,
    Scene,
    attempt,
    entry,
    message,
    run_id,
    signal_wait,
    timer,
)


def test_a_registered_worker_is_listed_until_its_lease_runs_out(scene: Scene) -> None:
    scene.register(ALICE, host="box", pid=42, version="1.2", queues=["default", "slow"])
    scene.clock.advance(5)
    scene.register(BOB)

    rows = {row.id: row for row in scene.store.list_workers()}
    assert set(rows) == {ALICE, BOB}
    alice = rows[ALICE]
    assert (alice.host, alice.pid, alice.version) == ("box", 42, "1.2")
    assert (alice.queues, alice.codes) == (["default", "slow"], list(WORKFLOWS))
    assert alice.started_ms == alice.heartbeat_ms == scene.clock.now_ms - 5
    assert alice.lease_until_ms == scene.clock.now_ms - 5 + LEASE_MS

    scene.clock.advance(LEASE_MS - 2)
    assert [row.id for row in scene.store.list_workers()] == [BOB]


def test_registering_again_is_no_error(scene: Scene) -> None:
    scene.register()
    scene.register(queues=["other"])

    [row] = scene.store.list_workers()
    assert row.queues == ["other"]


@pytest.mark.requirement("promise-6", "fault-6", "fault-10")
def test_a_heartbeat_keeps_the_lease(scene: Scene) -> None:
    run = scene.held(1)
    for _ in range(3):
        scene.clock.advance(LEASE_MS - 1)
        assert scene.store.heartbeat(ALICE, lease_ms=LEASE_MS) == scene.clock.now_ms
        assert scene.store.requeue_lost(limit=10, crashes_max=3) == {}

    [row] = scene.store.list_workers()
    assert (row.heartbeat_ms, row.lease_until_ms) == (scene.clock.now_ms, scene.clock.now_ms + LEASE_MS)
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))


@pytest.mark.requirement("promise-4", "fault-1", "fault-4", "S-52")
def test_a_lost_workers_run_goes_to_the_next_one_with_a_higher_epoch(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "charge", 1)])
    scene.clock.advance(LEASE_MS - 1)
    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {}

    scene.clock.advance(2)
    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {run.id: False}

    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.worker) == (RunStatus.QUEUED, "worker_lost", None)
    assert (row.epoch, row.ready_ms) == (run.epoch + 1, scene.clock.now_ms)
    [again] = scene.claim(BOB)
    assert (again.epoch, [one.key for one in again.journal]) == (run.epoch + 2, ["charge"])
    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {}


@pytest.mark.requirement("fault-4", "promise-4")
def test_a_worker_that_comes_back_has_lost_what_was_taken_from_it(scene: Scene) -> None:
    taken = scene.held(1)
    scene.lose(taken)
    scene.store.heartbeat(ALICE, lease_ms=LEASE_MS)

    assert list(scene.commit(taken, entries=[entry(taken, "late", 1)]).refused) == [taken.id]
    [again] = scene.claim_only(ALICE).runs
    scene.accept(again, move=Finish(RunStatus.COMPLETED, "completed"))


def test_a_worker_that_comes_back_in_time_keeps_its_runs(scene: Scene) -> None:
    run = scene.held(1)
    scene.clock.advance(LEASE_MS * 3)
    scene.store.heartbeat(ALICE, lease_ms=LEASE_MS)

    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {}
    scene.accept(run, entries=[entry(run, "charge", 1)])


def test_only_the_lost_workers_runs_are_taken(scene: Scene) -> None:
    lost = scene.held(1, ALICE)
    scene.clock.advance(LEASE_MS)
    kept = scene.held(2, BOB)
    scene.clock.advance(1)

    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {lost.id: False}
    assert scene.place(kept.id) == (RunStatus.RUNNING, False)


def test_no_more_runs_are_taken_than_the_limit(scene: Scene) -> None:
    for number in range(1, 6):
        scene.start(number)
    assert len(scene.claim()) == 5
    scene.clock.advance(LEASE_MS + 1)

    taken = [scene.store.requeue_lost(limit=2, crashes_max=3) for _ in range(4)]

    assert [len(one) for one in taken] == [2, 2, 1, 0]


@pytest.mark.requirement("fault-53", "promise-12")
def test_a_run_that_takes_worker_after_worker_down_is_set_aside(scene: Scene) -> None:
    scene.start(1, timeout_ms=10**9)
    for crashes in (1, 2):
        [run] = scene.claim()
        assert not scene.lose(run, crashes_max=3)
        assert scene.run(run.id).crashes == crashes
    [run] = scene.claim()

    assert scene.lose(run, crashes_max=3)

    row = scene.run(run.id)
    assert (row.status, row.status_reason, row.terminal_reason) == (
        RunStatus.STUCK,
        "worker_crashes",
        "worker_crashes",
    )
    assert (row.crashes, row.epoch, row.worker, row.ready_ms) == (3, run.epoch + 1, None, None)
    assert (row.wake_ms, row.finalized_ms) == (None, scene.clock.now_ms)
    assert scene.claim(BOB) == []


@pytest.mark.requirement("fault-53")
@pytest.mark.parametrize("what", ["entry", "attempt", "wait"])
def test_a_lease_that_journaled_anything_starts_the_count_again(scene: Scene, what: str) -> None:
    scene.start(1)
    for _ in range(2):
        [run] = scene.claim()
        scene.lose(run)
    [run] = scene.claim()
    parts: dict[str, dict[str, Any]] = {
        "entry": {"entries": [entry(run, "charge", 1)]},
        "attempt": {"attempts": [attempt("charge", 1)]},
        "wait": {"waits": [timer("nap", 1, 10)]},
    }
    scene.accept(run, **parts[what])

    assert not scene.lose(run, crashes_max=3)

    assert scene.run(run.id).crashes == 1


@pytest.mark.requirement("fault-53")
def test_what_an_earlier_lease_journaled_does_not_count_for_the_lost_one(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "charge", 1)])
    for crashes in (1, 2):
        scene.lose(run)
        [run] = scene.claim()
        assert run.crashes == crashes


@pytest.mark.requirement("fault-53")
def test_parking_forgets_the_crashes(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)
    [run] = scene.claim()
    assert run.crashes == 1

    scene.park(run, timer("nap", 1, 10))

    assert scene.run(run.id).crashes == 0


def test_parking_that_goes_on_at_once_forgets_the_crashes_too(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)
    [run] = scene.claim()
    scene.store.send_signal(message(1, run.id))

    scene.park(run, signal_wait("approval", 1))

    assert (scene.place(run.id), scene.run(run.id).crashes) == ((RunStatus.QUEUED, True), 0)


@pytest.mark.requirement("fault-48", "S-54")
def test_a_lost_run_that_compensates_goes_on_compensating(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    scene.lose(run)

    assert scene.place(run.id) == (RunStatus.COMPENSATING, True)
    [again] = scene.claim(BOB)
    assert (again.status, again.error, again.epoch) == (RunStatus.COMPENSATING, ERROR, run.epoch + 2)


@pytest.mark.requirement("R-52")
def test_what_a_stuck_run_waited_for_stays_open_for_the_time_after_its_release(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])

    assert scene.lose(run, crashes_max=1)

    assert scene.wait(run.id, "approval").outcome is None


@pytest.mark.requirement("fault-7")
def test_a_retired_worker_hands_its_runs_back_at_once(scene: Scene) -> None:
    for number in range(1, 6):
        scene.start(number)
    runs = scene.claim()
    scene.accept(runs[0], entries=[entry(runs[0], "charge", 1)])

    assert scene.store.retire_worker(ALICE, limit=2) == 3
    assert scene.store.retire_worker(ALICE, limit=2) == 1
    assert scene.store.retire_worker(ALICE, limit=2) == 0
    assert scene.store.retire_worker(ALICE, limit=2) == 0

    assert scene.store.list_workers() == []
    row = scene.run(run_id(1))
    assert (row.status, row.status_reason, row.crashes) == (RunStatus.QUEUED, "drained", 0)
    assert (row.worker, row.ready_ms) == (None, scene.clock.now_ms)
    assert len(scene.claim(BOB)) == 5
    assert list(scene.commit(runs[0], entries=[entry(runs[0], "late", 2)]).refused) == [runs[0].id]


def test_a_compensating_run_is_handed_back_as_compensating(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    assert scene.store.retire_worker(ALICE, limit=10) == 0

    assert scene.place(run.id) == (RunStatus.COMPENSATING, True)


def test_retiring_a_worker_that_nobody_knows_is_no_error(scene: Scene) -> None:
    assert scene.store.retire_worker(WorkerId("nobody"), limit=10) == 0


@pytest.mark.requirement("fault-19")
def test_a_worker_hands_back_what_it_does_not_know_it_holds(scene: Scene) -> None:
    known, unknown, foreign = scene.held(1), scene.held(2), scene.held(3, BOB)

    assert scene.store.release_unknown(ALICE, known=[known.id, run_id(99)]) == 1
    assert scene.store.release_unknown(ALICE, known=[known.id]) == 0

    assert scene.place(unknown.id) == (RunStatus.QUEUED, True)
    assert scene.run(unknown.id).crashes == 0
    assert [scene.place(run.id) for run in (known, foreign)] == [(RunStatus.RUNNING, False)] * 2
    assert [run.id for run in scene.claim(BOB)] == [unknown.id]


@pytest.mark.requirement("promise-7", "fault-46")
def test_live_news_are_closed_waits_and_cancel_requests_of_held_runs(scene: Scene) -> None:
    quiet, signalled, cancelled, foreign = (
        scene.held(1),
        scene.held(2),
        scene.held(3),
        scene.held(4, BOB),
    )
    for run in (quiet, signalled, foreign):
        scene.accept(run, waits=[signal_wait("approval", 1), signal_wait("other", 2)])
    scene.store.send_signal(message(1, signalled.id))
    scene.store.send_signal(message(2, foreign.id))
    scene.cancel(cancelled.id)

    news = {one.run_id: one for one in scene.store.read_live(ALICE, {run_id(number): None for number in range(1, 6)})}

    assert set(news) == {signalled.id, cancelled.id}
    assert not news[signalled.id].cancel_requested
    assert [(wait.key, wait.result) for wait in news[signalled.id].waits] == [("approval", PAYLOAD)]
    assert news[cancelled.id].cancel_requested
    assert news[cancelled.id].waits == []


def test_live_news_are_only_of_the_runs_asked_for(scene: Scene) -> None:
    run = scene.held(1)
    scene.cancel(run.id)

    assert scene.store.read_live(ALICE, {}) == []
    assert scene.store.read_live(ALICE, {run_id(2): None}) == []
    assert scene.store.read_live(BOB, {run.id: None}) == []


def test_live_news_of_a_run_hold_all_its_closed_waits(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 0), signal_wait("approval", 2), timer("open", 3, 10)], elapsed=["nap"])
    scene.store.send_signal(message(1, run.id))

    [news] = scene.store.read_live(ALICE, {run.id: None})

    assert sorted(wait.key for wait in news.waits) == ["approval", "nap"]


@pytest.mark.requirement("fault-50")
def test_live_news_of_a_run_hold_the_waits_that_are_asked_for_and_closed(scene: Scene) -> None:
    run, other = scene.held(1), scene.held(2)
    for one in (run, other):
        waits = [timer("nap", 1, 0), signal_wait("approval", 2), timer("open", 3, 10)]
        scene.accept(one, waits=waits, elapsed=["nap"])
    scene.store.send_signal(message(1, run.id))

    news = scene.store.read_live(ALICE, {run.id: ["approval", "open", "unknown"], other.id: ["approval", "open"]})

    assert [(one.run_id, [wait.key for wait in one.waits]) for one in news] == [(run.id, ["approval"])]
    assert scene.store.read_live(ALICE, {run.id: [], other.id: []}) == []


def test_the_agenda_of_an_empty_store_is_empty(scene: Scene) -> None:
    agenda = scene.store.read_agenda(queues=["default"], codes=WORKFLOWS)

    assert agenda.now_ms == scene.clock.now_ms
    assert (agenda.claimable, agenda.next_wake_ms, agenda.workers_lost) == (False, None, False)


def test_the_agenda_says_whether_there_is_something_to_claim(scene: Scene) -> None:
    scene.start(1)

    def claimable(queue: str, workflow: str) -> bool:
        return scene.store.read_agenda(queues=[queue], codes=[workflow]).claimable

    assert claimable("default", "order")
    assert not claimable("slow", "order")
    assert not claimable("default", "unknown")
    scene.claim()
    assert not claimable("default", "order")


@pytest.mark.requirement("promise-6")
def test_the_agenda_says_when_the_next_run_is_due(scene: Scene) -> None:
    scene.parked(1, timer("nap", 1, 500))
    scene.start(2, delay_ms=300)

    def next_wake() -> int | None:
        return scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).next_wake_ms

    assert next_wake() == scene.clock.now_ms + 300
    scene.clock.advance(400)
    assert next_wake() == scene.clock.now_ms - 100
    scene.store.wake_due(limit=10)
    assert next_wake() == scene.clock.now_ms + 100


def test_the_agenda_says_whether_a_worker_was_lost_with_runs(scene: Scene) -> None:
    scene.register(BOB)
    scene.held(1)

    def lost() -> bool:
        return scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).workers_lost

    assert not lost()
    scene.clock.advance(LEASE_MS + 1)
    assert lost()
    scene.store.requeue_lost(limit=10, crashes_max=3)
    assert not lost()


def test_the_store_tells_its_time(scene: Scene) -> None:
    assert scene.store.read_clock() == scene.clock.now_ms
    scene.clock.advance(1)
    assert scene.store.read_clock() == scene.clock.now_ms


def test_a_run_that_parks_while_its_lease_ran_out_is_not_taken(scene: Scene) -> None:
    run = scene.held(1)
    scene.clock.advance(LEASE_MS + 1)

    answer = scene.store.commit(
        [RunCommit(run_id=run.id, epoch=run.epoch, waits=[timer("nap", 1, 50)], move=Park(open_waits=1))]
    )

    assert answer.refused == {}
    assert scene.store.requeue_lost(limit=10, crashes_max=1) == {}


def _started_ms(scene: Scene, worker: WorkerId) -> int:
    """When the worker first registered, as far as the store remembers it; registers it."""
    scene.register(worker)
    [row] = [row for row in scene.store.list_workers() if row.id == worker]
    return row.started_ms


def test_a_worker_that_holds_nothing_is_forgotten_a_day_after_its_lease_ran_out(scene: Scene) -> None:
    scene.register(ALICE)
    registered_ms = scene.clock.now_ms
    scene.clock.advance(LEASE_MS + WORKER_KEPT_MS)
    assert not scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).workers_lost
    scene.store.requeue_lost(limit=10, crashes_max=3)
    assert _started_ms(scene, ALICE) == registered_ms

    scene.clock.advance(LEASE_MS + WORKER_KEPT_MS + 1)
    assert scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).workers_lost
    scene.store.requeue_lost(limit=10, crashes_max=3)

    assert not scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).workers_lost
    scene.store.heartbeat(ALICE, lease_ms=LEASE_MS)
    assert scene.store.list_workers() == []
    assert _started_ms(scene, ALICE) == scene.clock.now_ms


def test_a_worker_that_still_holds_a_run_is_not_forgotten(scene: Scene) -> None:
    for number in (1, 2):
        scene.start(number)
    registered_ms = scene.clock.now_ms
    assert len(scene.claim(ALICE)) == 2
    scene.clock.advance(LEASE_MS + WORKER_KEPT_MS + 1)

    assert len(scene.store.requeue_lost(limit=1, crashes_max=3)) == 1

    assert _started_ms(scene, ALICE) == registered_ms


def test_the_last_run_taken_from_a_worker_lets_it_be_forgotten(scene: Scene) -> None:
    run = scene.held(1)
    scene.clock.advance(LEASE_MS + WORKER_KEPT_MS + 1)

    assert scene.store.requeue_lost(limit=10, crashes_max=3) == {run.id: False}
    scene.store.requeue_lost(limit=10, crashes_max=3)

    assert not scene.store.read_agenda(queues=["default"], codes=WORKFLOWS).workers_lost
    assert _started_ms(scene, ALICE) == scene.clock.now_ms
