"""Workers that are killed, stopped, continued and asked to end, in the middle of their steps."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.model.run import RunDetail
from holdfast.model.status import EntryKind, RunStatus
from tests.process import program
from tests.process.harness import QUICKLY, Stage, check_ended_once, eventually, times_lost, wait_until_ended

WITHIN = timedelta(seconds=2)
"""How long after the end of its lease a dead worker's run may wait (on an idle machine)."""
SLACK = timedelta(seconds=5)
"""What a busy machine adds."""


@pytest.mark.requirement("promise-2", "promise-5", "fault-1", "fault-3", "S-05", "S-15", "S-52")
@pytest.mark.parametrize("workflow", ["three", "three_in_thread"])
def test_a_run_whose_worker_is_killed_in_a_step_goes_on_elsewhere_from_that_step(stage: Stage, workflow: str) -> None:
    with stage.client() as client:
        victim = stage.worker()
        run = client.start(workflow, "gate")
        stage.wait_for_effects("held")
        heir = stage.worker()

        killed_ms = time.time_ns() // 1_000_000
        victim.kill()
        stage.wait_for_effects("held", 2)
        stage.open_gate("gate")

        assert run.result(30) == 6
        detail = client.detail(run.id)
    assert [effect.what for effect in stage.effects] == ["first", "held", "held", "last"]
    assert [effect.pid for effect in stage.effects] == [victim.pid, victim.pid, heir.pid, heir.pid]
    assert len({effect.idempotency_key for effect in stage.effects_of("held")}) == 1
    assert [entry.epoch for entry in detail.journal] == [1, detail.run.epoch, detail.run.epoch]
    check_ended_once(detail)
    [lost] = [move for move in detail.transitions if move.reason == "worker_lost"]
    assert lost.at_ms - killed_ms <= (QUICKLY.lease + WITHIN + SLACK).total_seconds() * 1000


@pytest.mark.requirement("promise-1", "promise-2", "promise-5", "promise-8", "fault-1", "fault-2", "fault-48", "S-54")
@pytest.mark.parametrize("seed", [20])
def test_orders_survive_workers_that_are_killed_again_and_again(stage: Stage, seed: int) -> None:
    chance = random.Random(seed)
    settings = replace(QUICKLY, concurrency=8, crashes_max=20)
    numbers = range(60)
    with stage.client() as client:
        runs = client.start_many(
            hf.Start(workflow=program.fulfil, args=(number,), key=f"order-{number}") for number in numbers
        )
        workers = [stage.worker(settings=settings) for _ in range(2)]
        kills = 0
        for threshold in sorted(chance.sample(range(1, 200), 6)):
            _wait_for_so_many_effects(stage, threshold)
            number = chance.randrange(2)
            workers[number].kill()
            kills += 1
            workers[number] = stage.worker(settings=settings, is_ready=False)
        wait_until_ended(client, [run.id for run in runs])

        details = [client.detail(run.id) for run in runs]
        again = client.start_many(
            hf.Start(workflow=program.fulfil, args=(number,), key=f"order-{number}") for number in numbers
        )
    assert [run.id for run in again] == [run.id for run in runs]
    assert sum(times_lost(detail) for detail in details) > 0
    for number, detail in zip(numbers, details, strict=True):
        _check_order(stage, number, detail, kills)


def _wait_for_so_many_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.effects) >= count, f"{count} effects")


def _check_order(stage: Stage, number: int, detail: RunDetail, kills: int) -> None:
    fails = number % 3 == 0
    steps = ["reserve", "charge", "ship"]
    undone = ["charge~compensate", "reserve~compensate"] if fails else []
    check_ended_once(detail)
    assert detail.run.status is (RunStatus.FAILED if fails else RunStatus.COMPLETED)
    assert detail.run.terminal_reason == ("compensated" if fails else "completed")
    assert [entry.key for entry in detail.journal] == [*steps, *undone]
    assert [entry.kind for entry in detail.journal[3:]] == [EntryKind.COMPENSATION] * len(undone)

    effects = [effect.what for effect in stage.effects if effect.run == detail.run.id]
    # In the order of the journal: a step that has given way to the next never runs again.
    assert list(dict.fromkeys(effects)) == [*steps, *undone]
    assert effects == sorted(effects, key=[*steps, *undone].index)
    assert max(Counter(effects).values()) <= 1 + times_lost(detail)
    assert times_lost(detail) <= kills


@pytest.mark.requirement("promise-4", "fault-4", "fault-5", "S-03")
def test_a_worker_that_was_stopped_for_longer_than_its_lease_writes_nothing_and_works_on(stage: Stage) -> None:
    with stage.client() as client:
        zombie = stage.worker()
        run = client.start(program.three, "gate")
        stage.wait_for_effects("held")
        zombie.stop()
        heir = stage.worker()
        stage.wait_for_effects("held", 2)
        stage.open_gate("gate")
        assert run.result(30) == 6
        finished = client.detail(run.id)

        heir.kill()
        zombie.send(signal.SIGCONT)
        zombie.says("lease lost")

        assert client.start(program.short).result(30) == 3
        assert client.detail(run.id).run == finished.run
        assert client.detail(run.id).transitions == finished.transitions
    assert "no sign of life" in zombie.log
    assert [entry.epoch for entry in finished.journal] == [1, finished.run.epoch, finished.run.epoch]
    assert [effect.pid for effect in stage.effects_of("last")] == [heir.pid, zombie.pid]
    check_ended_once(finished)


@pytest.mark.requirement("fault-7")
def test_a_worker_that_is_asked_to_end_finishes_its_step_and_hands_the_run_back_at_once(stage: Stage) -> None:
    # Were the lease waited for, the test would time out.
    settings = replace(QUICKLY, lease=timedelta(minutes=5))
    with stage.client() as client:
        leaver = stage.worker(settings=settings)
        run = client.start(program.three, "gate")
        stage.wait_for_effects("held")

        leaver.send(signal.SIGTERM)
        leaver.says("drains")
        stage.open_gate("gate")
        assert leaver.wait() == 0
        handed_back = client.detail(run.id)
        heir = stage.worker(settings=settings)

        assert run.result(30) == 6
        assert times_lost(client.detail(run.id)) == 0
    assert handed_back.run.status is RunStatus.QUEUED
    assert handed_back.run.status_reason == "drained"
    assert [entry.key for entry in handed_back.journal] == ["first", "held"]
    assert [effect.pid for effect in stage.effects] == [leaver.pid, leaver.pid, heir.pid]


@pytest.mark.requirement("fault-7")
def test_a_step_that_outlasts_the_grace_is_handed_back_too(stage: Stage) -> None:
    settings = replace(QUICKLY, lease=timedelta(minutes=5), grace=timedelta(milliseconds=200))
    with stage.client() as client:
        leaver = stage.worker(settings=settings)
        runs = [client.start(program.three, "gate"), client.start(program.three_in_thread, "gate")]
        stage.wait_for_effects("held", 2)

        leaver.send(signal.SIGTERM)
        assert leaver.wait() == 0
        assert [run.get().status for run in runs] == [RunStatus.QUEUED] * 2
        stage.open_gate("gate")
        stage.worker(settings=settings)

        assert [run.result(30) for run in runs] == [6, 6]
    assert Counter(effect.what for effect in stage.effects) == {"first": 2, "held": 4, "last": 2}


@pytest.mark.requirement("promise-12", "fault-53")
@pytest.mark.parametrize("how", ["abort", "exit"])
def test_a_run_that_takes_every_worker_down_is_set_aside_and_the_others_complete(
    sqlite_stage: Stage, postgres_stage: Stage, how: str
) -> None:
    stage = sqlite_stage if how == "exit" else postgres_stage
    settings = replace(QUICKLY, crashes_max=3)
    with stage.client() as client:
        poison = client.start(program.poison, how)
        others = [client.start(program.healthy, number) for number in range(8)]
        for _ in range(3):
            worker = stage.worker(settings=settings, is_ready=False)
            assert worker.wait() == (-signal.SIGABRT if how == "abort" else 0)
        survivor = stage.worker(settings=settings)

        with pytest.raises(hf.errors.RunStuck, match="worker_crashes"):
            poison.result(30)
        assert [run.result(30) for run in others] == list(range(8))
        detail = client.detail(poison.id)
        assert survivor.lives
    assert len(stage.effects_of(how)) == 3
    assert times_lost(detail) + 1 == detail.run.crashes == 3
    check_ended_once(detail)


@pytest.mark.requirement("S-15", "promise-12")
def test_a_run_that_only_a_newcomer_knows_waits_in_line_and_holds_up_nobody(stage: Stage) -> None:
    with stage.client() as client, hf.connect_sync(stage.url, app=program.newcomer) as other:
        stage.worker()
        waiting = other.start(program.unheard_of)
        assert client.start(program.short).result(30) == 3
        assert waiting.get().status is RunStatus.QUEUED
        assert "unheard_of" in str(waiting.explain())

        stage.worker("newcomer")

        assert waiting.result(30) == "done by the newcomer"


# What holds the interpreter, the loop, or a copy of the process


@pytest.mark.requirement("fault-6", "promise-2", "promise-4")
@pytest.mark.parametrize("how", ["interpreter", "loop"])
def test_a_step_that_stops_its_worker_for_longer_than_it_may_is_told_and_the_run_ends_once(
    stage: Stage, how: str
) -> None:
    settings = replace(QUICKLY, stall=timedelta(seconds=1))
    with stage.client() as client:
        holder = stage.worker(settings=settings)
        run = client.start(program.holding, how, 3.5)
        stage.wait_for_effects("hold")
        heir = stage.worker(settings=settings)

        assert run.result(30) == 3
        holder.says("lease lost")
        detail = client.detail(run.id)
        heir.kill()
        assert client.start(program.short).result(30) == 3
    assert [effect.pid for effect in stage.effects] == [holder.pid, heir.pid, heir.pid, holder.pid]
    assert ("no sign of life" if how == "interpreter" else "the event loop has been blocked") in holder.log
    assert times_lost(detail) == 1
    check_ended_once(detail)


@pytest.mark.requirement("fault-6", "B-53")
def test_a_loop_that_is_blocked_for_less_than_the_stall_keeps_its_runs(stage: Stage) -> None:
    with stage.client() as client:
        holder = stage.worker()
        stage.worker()
        run = client.start(program.holding, "loop", 2.0)

        assert run.result(30) == 3
        assert times_lost(client.detail(run.id)) == 0
    [hold, _] = stage.effects
    blocked = [worker for worker in stage.processes if worker.pid == hold.pid]
    assert "the event loop has been blocked" in blocked[0].log
    assert "block_loop" in blocked[0].log
    assert holder.lives


@pytest.mark.requirement("fault-9", "promise-2")
def test_a_step_that_forks_and_returns_twice_goes_on_in_the_parent_alone(stage: Stage) -> None:
    with stage.client() as client:
        worker = stage.worker()
        ways = ["loop", "thread", "raise", "sqlite" if stage.is_sqlite else "psycopg"]
        runs = [client.start(program.forking, where) for where in ways]

        assert [run.result(30) for run in runs] == [70, 70, 70, 70]
        details = [client.detail(run.id) for run in runs]
    for detail in details:
        assert [entry.attempts for entry in detail.journal] == [1, 1]
        check_ended_once(detail)
    assert worker.log.count("forked and returned in the child process") == 4
    assert {effect.pid for effect in stage.effects} == {worker.pid}
    assert Counter(effect.what for effect in stage.effects) == {"fork": 4, "last": 4}


@pytest.mark.requirement("fault-9")
def test_a_step_may_start_processes_of_its_own(stage: Stage) -> None:
    with stage.client() as client:
        stage.worker()
        runs = [client.start(program.with_processes) for _ in range(3)]

        assert [run.result(30) for run in runs] == [["42", "25", "0"]] * 3
        assert client.start(program.short).result(30) == 3
