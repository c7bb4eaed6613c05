"""Two transactions that meet, in slow motion: one stops before its COMMIT, and the other must wait or pass over it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, LiteralString

import pytest
from psycopg import errors
from psycopg.sql import SQL

from holdfast.model.commit import Finish, NewWait, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import ClaimedRun, Signal
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from holdfast.store.postgres.messages import signal_params
from holdfast.store.postgres.rows import id_array
from tests.contract.scene import ALICE, BOB, LEASE_MS, PAYLOAD, RESULT, Scene, entry, run_id
from tests.postgres_stage import (
    Background,
    execute,
    execute_commit,
    migrated_database,
    open_inside,
    open_scene,
    transaction,
    wait_for_lock,
)


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture
def scene(url: str) -> Generator[Scene, None, None]:
    with open_scene(url) as scene:
        yield scene
        scene.check_histories()


def journal_of(run: ClaimedRun) -> RunCommit:
    return RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)])


@pytest.mark.requirement("promise-4", "fault-4")
def test_a_take_over_passes_over_a_run_that_its_worker_is_writing_to(scene: Scene, url: str) -> None:
    run = scene.held(1)
    with transaction(url) as other:
        execute_commit(other, scene, journal_of(run))
        scene.clock.advance(LEASE_MS + 1)

        assert scene.store.requeue_lost(limit=10, crashes_max=5) == {}
        other.execute("commit")

    assert scene.store.requeue_lost(limit=10, crashes_max=5) == {run.id: False}
    [again] = scene.claim(BOB)
    assert [found.key for found in again.journal] == ["charge"]
    assert again.crashes == 1


@pytest.mark.requirement("promise-4", "fault-4", "C-07", "C-28")
def test_a_write_that_met_a_take_over_is_refused_when_that_commits(scene: Scene, url: str) -> None:
    run = scene.held(1)
    scene.clock.advance(LEASE_MS + 1)
    with transaction(url) as other:
        [(lost,)] = execute(other, "requeue_lost_lock", scene, limit=10)
        execute(other, "requeue_lost", scene, ids=id_array([lost]), crashes_max=5)
        writing = Background(lambda: scene.store.commit([journal_of(run)]))
        wait_for_lock(url)
        other.execute("commit")

    assert list(writing.result().refused) == [run.id]
    assert scene.detail(run.id).journal == []


@pytest.mark.requirement("promise-4")
def test_a_write_that_met_a_take_over_is_done_when_that_is_rolled_back(scene: Scene, url: str) -> None:
    run = scene.held(1)
    scene.clock.advance(LEASE_MS + 1)
    with transaction(url) as other:
        [(lost,)] = execute(other, "requeue_lost_lock", scene, limit=10)
        execute(other, "requeue_lost", scene, ids=id_array([lost]), crashes_max=5)
        writing = Background(lambda: scene.store.commit([journal_of(run)]))
        wait_for_lock(url)
        other.execute("rollback")

    assert writing.result().refused == {}


def test_claimers_that_meet_share_the_line_without_waiting(scene: Scene, url: str) -> None:
    ids = [scene.start(number) for number in range(1, 7)]
    scene.register(BOB)
    scene.register(ALICE)
    with transaction(url) as other:
        params = {"worker": ALICE, "queues": ["default"], "codes": ["order"], "limit": 2, "suspects": 1, "look": 2}
        first = execute(other, "claim_runs", scene, **params)

        second = scene.claim(BOB, limit=3)
        other.execute("commit")

    assert [row[1] for row in first] == ids[:2]
    assert [run.id for run in second] == ids[2:5]


PAUSED = "barred_by = 'workflow:order'"
# What another transaction does to a run while a claim looks: each takes it out of the line in which it was seen.
LEAVES_THE_LINE = {
    "claimed": "ready_ms = null, status = 'running', worker = 'alice', epoch = 1",
    "paused": PAUSED,
    "moved to another version": "version = 2, definition_hash = repeat('b', 64)",
    "moved to another queue": "queue = 'slow'",
    "found to be suspect": "suspect = true",
}


@pytest.mark.requirement("promise-4", "S-37", "C-02")
@pytest.mark.parametrize("limit", [5, 1], ids=["all that there is", "the first of many"])
@pytest.mark.parametrize("change", LEAVES_THE_LINE.values(), ids=LEAVES_THE_LINE)
def test_a_run_that_leaves_the_line_while_a_claim_looks_is_not_claimed(
    scene: Scene, url: str, change: LiteralString, limit: int
) -> None:
    ids = [scene.start(number) for number in range(1, 4)]
    scene.register(BOB)
    with transaction(url) as gate, transaction(url) as other:
        # Whoever asks for the time waits: by then the claim has its snapshot, in which all runs are free.
        other.execute(
            """
            create or replace function holdfast.now_ms(given bigint) returns bigint language plpgsql volatile as $$
            begin
                perform pg_advisory_xact_lock_shared(1);
                return coalesce(given, 0);
            end $$
            """
        )
        other.execute("commit")
        gate.execute("select pg_advisory_xact_lock(1)")
        line: dict[str, Any] = {"queues": ["default"], "codes": ["order"]}
        claiming = Background(lambda: scene.store.claim_runs(BOB, **line, limit=limit, suspects=0))
        wait_for_lock(url)
        change_run = SQL(
            """
            with changed as (
                update holdfast.runs set {}, transition_seq = 2 where id = %s
                returning shard, id, status, worker, epoch)
            insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, worker, epoch, at_ms)
            select c.shard, c.id, 2, 'queued', c.status, 'claimed', c.worker, c.epoch, 0 from changed c
            """
        )
        other.execute(change_run.format(SQL(change)), [ids[0]])
        if change == PAUSED:
            other.execute(
                "insert into holdfast.pauses values ('default', 'workflow:order', 'workflow', 'order', false, 0)"
            )
        other.execute("commit")
        gate.execute("commit")

    assert ids[0] not in [run.id for run in claiming.result().runs]


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_signal_that_meets_a_parking_run_waits_and_wakes_it(scene: Scene, url: str) -> None:
    run = scene.held(1)
    wait = NewWait(key="approval", seq=1, kind=WaitKind.SIGNAL, signal="approved")
    signal = Signal(id=run_id(50), tenant=DEFAULT_TENANT, name="approved", payload=PAYLOAD, run_id=run.id)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(run.id, run.epoch, waits=[wait], move=Park(1)))
        sending = Background(lambda: scene.store.send_signal(signal))
        wait_for_lock(url)
        other.execute("commit")

    assert sending.result() == [run.id]
    assert scene.place(run.id) == (RunStatus.QUEUED, True)
    assert scene.wait(run.id, "approval").result == PAYLOAD


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_run_that_parks_while_a_signal_comes_takes_it_along(scene: Scene, url: str) -> None:
    run = scene.held(1)
    wait = NewWait(key="approval", seq=1, kind=WaitKind.SIGNAL, signal="approved")
    sent = Signal(id=run_id(50), tenant=DEFAULT_TENANT, name="approved", payload=PAYLOAD, run_id=run.id)
    signal = signal_params({}, sent)
    with transaction(url) as other:
        execute(other, "send_signal_lock", scene, **signal)
        execute(other, "signal_accept", scene, **signal)
        execute(other, "signal_passed", scene, **signal, passed=None)
        parking = Background(lambda: scene.park(run, wait))
        wait_for_lock(url)
        other.execute("commit")

    [opened] = parking.result().waits[run.id]
    assert opened.outcome is WaitOutcome.SIGNALLED
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_signal_kept_for_all_waits_for_those_who_open_a_wait_and_reaches_them(scene: Scene, url: str) -> None:
    run = scene.held(1)
    wait = NewWait(key="approval", seq=1, kind=WaitKind.SIGNAL, signal="approved")
    signal = Signal(id=run_id(50), tenant=DEFAULT_TENANT, name="approved", payload=PAYLOAD, keep_ms=1_000)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(run.id, run.epoch, waits=[wait], move=Park(1)))
        sending = Background(lambda: scene.store.send_signal(signal))
        wait_for_lock(url)
        other.execute("commit")

    assert sending.result() == [run.id]
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-49")
def test_a_child_that_ends_while_its_parent_parks_waits_and_wakes_it(scene: Scene, url: str) -> None:
    parent, child = scene.held(1), scene.held(2, parent_id=run_id(1), parent_key="ship")
    wait = NewWait(key="ship", seq=1, kind=WaitKind.CHILD, child_id=child.id)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(parent.id, parent.epoch, waits=[wait], move=Park(1)))
        ending = Background(lambda: scene.accept(child, move=Finish(RunStatus.COMPLETED, "completed", RESULT)))
        wait_for_lock(url)
        other.execute("commit")

    ending.result()
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)
    assert scene.wait(parent.id, "ship").result == RESULT


@pytest.mark.requirement("fault-49")
def test_a_parent_that_parks_while_its_child_ends_finds_it_ended(scene: Scene, url: str) -> None:
    parent, child = scene.held(1), scene.held(2, parent_id=run_id(1), parent_key="ship")
    wait = NewWait(key="ship", seq=1, kind=WaitKind.CHILD, child_id=child.id)
    with transaction(url) as other:
        finish = Finish(RunStatus.COMPLETED, "completed", RESULT)
        execute_commit(other, scene, RunCommit(child.id, child.epoch, move=finish))
        parking = Background(lambda: scene.park(parent, wait))
        wait_for_lock(url)
        other.execute("commit")

    [opened] = parking.result().waits[parent.id]
    assert opened.outcome is WaitOutcome.CHILD_ENDED
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-47", "C-07")
def test_a_cancel_that_meets_the_last_commit_finds_the_run_ended(scene: Scene, url: str) -> None:
    run = scene.held(1)
    with transaction(url) as other:
        finish = Finish(RunStatus.CANCELLED, "cancelled")
        execute_commit(other, scene, RunCommit(run.id, run.epoch, move=finish))
        cancelling = Background(lambda: scene.cancel(run.id))
        wait_for_lock(url)
        other.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert not cancelling.result().cancel_requested


@pytest.mark.requirement("fault-22")
def test_a_deadlock_is_tried_again(scene: Scene, url: str) -> None:
    first, second = scene.held(1), scene.held(2)
    batch = [RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)]) for run in (first, second)]
    with transaction(url) as other:
        # It is the store that notices the deadlock and gives way.
        other.execute("set local deadlock_timeout = '1min'")
        execute(other, "command_lock", scene, tenant=DEFAULT_TENANT, id=second.id)
        committing = Background(lambda: scene.store.commit(batch))
        wait_for_lock(url)
        execute(other, "command_lock", scene, tenant=DEFAULT_TENANT, id=first.id)
        other.execute("commit")

    answer = committing.result()
    assert (answer.refused, answer.broken) == ({}, {})
    assert [len(scene.detail(run.id).journal) for run in (first, second)] == [1, 1]


@pytest.mark.requirement("fault-22")
def test_pauses_between_colliding_attempts_grow_and_are_jittered(url: str) -> None:
    pauses: list[float] = []
    colliding = iter(range(3))

    def collide(cursor: object, rows: object) -> str:
        if next(colliding, None) is None:
            return "done"
        raise errors.SerializationFailure("collided")

    with open_inside(url, jitter=lambda: 0.25, sleep=pauses.append) as inside:
        assert inside.session.transaction(("read_clock", {"now_ms": None}), collide) == "done"

    assert pauses == pytest.approx([0.0075, 0.015, 0.03])
