"""Workers: they share the line, survive each other, and hand back what they hold."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.model.commit import RunCommit
from holdfast.model.status import RunStatus
from holdfast.runtime.execution import RunExecution
from holdfast.runtime.worker import Worker
from tests.engine.conftest import QUICK, Engine

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("S-03", "promise-1", "promise-5")
async def test_two_workers_execute_every_run_once(engine: Engine) -> None:
    calls: list[int] = []

    @engine.app.step
    async def work(number: int) -> None:
        calls.append(number)

    @engine.app.workflow
    async def working(number: int) -> int:
        await work(number)
        return number

    runs = await engine.client.start_many(
        hf.Start(workflow=working, args=(number,), key=f"k-{number}") for number in range(60)
    )
    async with engine.worker(concurrency=20), engine.worker(concurrency=20):
        assert [await run.result(60) for run in runs] == list(range(60))

    assert sorted(calls) == list(range(60))
    again = await engine.client.start_many(
        hf.Start(workflow=working, args=(number,), key=f"k-{number}") for number in range(60)
    )
    assert [run.id for run in again] == [run.id for run in runs]
    assert not any(run.created for run in again)


@pytest.mark.requirement("S-06", "S-50", "promise-2")
async def test_a_handler_starts_only_when_the_result_before_it_is_durable(engine: Engine) -> None:
    seen: list[int] = []

    @engine.app.step
    async def first() -> int:
        return 1

    @engine.app.step
    async def second() -> None:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        detail = await asyncio.to_thread(engine.detail, info.run_id)
        seen.append(len(detail.journal))

    @engine.app.workflow
    async def both() -> None:
        await first()
        await second()
        await second()

    async with engine.worker():
        await (await engine.client.start(both)).result(60)

    assert seen == [1, 2]


@pytest.mark.requirement("fault-7")
async def test_a_draining_worker_lets_steps_finish_and_hands_everything_back(engine: Engine) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    did: list[str] = []

    @engine.app.step
    async def slow() -> None:
        begun.set()
        await go_on.wait()
        did.append("slow")

    @engine.app.step
    async def after() -> None:
        did.append("after")

    @engine.app.workflow
    async def working() -> str:
        await slow()
        await after()
        return "done"

    async with engine.worker() as worker:
        run = await engine.client.start(working)
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        await worker.drain()
        assert did == ["slow"]
        detail = engine.detail(run.id)
        assert detail.run.status is RunStatus.QUEUED
        assert detail.run.worker is None
        assert [entry.key for entry in detail.journal] == ["slow"]

    async with engine.worker():
        assert await run.result(60) == "done"

    assert did == ["slow", "after"]


@pytest.mark.requirement("promise-4", "fault-4", "S-03")
async def test_a_worker_that_lost_its_lease_writes_nothing_more(engine: Engine) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    @engine.app.step
    async def slow() -> int:
        calls.append(1)
        if len(calls) == 1:
            begun.set()
            await go_on.wait()
        return len(calls)

    @engine.app.workflow
    async def working() -> int:
        return await slow()

    async with engine.worker(lease=timedelta(milliseconds=300), poll=timedelta(seconds=30)) as lazy:
        run = await engine.client.start(working)
        await begun.wait()
        lazy.heartbeat.stop()
        async with engine.worker():
            assert await run.result(60) == 2
            go_on.set()
            while lazy.held_runs:
                await asyncio.sleep(0.01)
    detail = engine.detail(run.id)
    assert [(entry.key, entry.epoch) for entry in detail.journal] == [("slow", detail.run.epoch)]
    assert [move.to_status for move in detail.transitions].count(RunStatus.COMPLETED) == 1


@pytest.mark.requirement("promise-12", "fault-53")
async def test_a_run_that_takes_its_workers_down_is_set_aside(engine: Engine) -> None:
    @engine.app.workflow
    async def poison() -> None:
        await hf.wait_for_signal("never")

    run = await engine.client.start(poison)
    for number in range(3):
        worker = f"0196f000-0000-7000-8000-00000000000{number}"
        _claim_and_die(engine, worker)
    async with engine.worker(crashes_max=3):
        with pytest.raises(hf.errors.RunStuck, match="worker_crashes"):
            await run.result(60)


def _claim_and_die(engine: Engine, worker: str) -> None:
    from holdfast.model.ids import WorkerId
    from holdfast.model.run import WorkerInfo

    store, one = engine.store, WorkerId(worker)
    info = WorkerInfo(id=one, queues=["default"], codes=["poison"])
    store.register_worker(info, lease_ms=60_000)
    claimed = store.claim_runs(one, queues=["default"], codes=["poison"], limit=1, suspects=1)
    assert len(claimed.runs) == 1
    store.register_worker(info, lease_ms=0)
    if not worker.endswith("2"):
        store.requeue_lost(limit=10, crashes_max=99)


@pytest.mark.requirement("S-16")
async def test_a_worker_serves_only_its_queues(engine: Engine) -> None:
    @engine.app.workflow(queue="heavy")
    async def heavy() -> str:
        return "heavy"

    @engine.app.workflow
    async def light() -> str:
        return "light"

    first = await engine.client.start(heavy)
    async with engine.worker():
        assert await (await engine.client.start(light)).result(60) == "light"
        assert (await first.get()).status is RunStatus.QUEUED
    async with engine.worker(queues=("heavy",)):
        assert await first.result(60) == "heavy"


async def test_a_delayed_run_starts_when_it_is_time(engine: Engine) -> None:
    @engine.app.workflow
    async def late() -> str:
        return "late"

    async with engine.worker():
        run = await engine.client.start(late, delay=0.2)
        assert (await run.get()).status is RunStatus.QUEUED
        assert await run.result(60) == "late"
    detail = engine.detail(run.id).run
    assert (detail.started_ms or 0) - detail.created_ms >= 200


@pytest.mark.requirement("S-37")
async def test_a_worker_without_workflows_or_started_twice_is_refused(engine: Engine) -> None:
    with pytest.raises(hf.errors.UsageError, match="no workflow"):
        async with engine.worker(hf.App("empty")):
            pass

    @engine.app.workflow
    async def fine() -> None:
        return None

    async with engine.worker() as worker:
        with pytest.raises(hf.errors.UsageError, match="once"):
            await worker.start()


@pytest.mark.requirement("promise-11", "S-56")
async def test_a_record_that_the_database_refuses_fails_its_run_and_no_other(engine: Engine) -> None:
    @engine.app.step
    async def work(number: int) -> int:
        return number

    @engine.app.workflow
    async def working(number: int) -> int:
        return await work(number)

    async with engine.worker() as worker:
        commit = worker.services.store.commit

        def spoil(batch: list[RunCommit]) -> object:
            # A key twice in one commit: the database must refuse that run's rows, and only those.
            spoilt = [
                RunCommit(one.run_id, one.epoch, entries=[*one.entries, *one.entries], move=one.move)
                if any(entry.result == b'{"value":13}' for entry in one.entries)
                else one
                for one in batch
            ]
            return commit(spoilt)

        worker.services.store.commit = spoil  # type: ignore[method-assign,assignment]
        runs = [await engine.client.start(working, number) for number in (12, 13, 14)]
        assert await runs[0].result(60) == 12
        assert await runs[2].result(60) == 14
        with pytest.raises(hf.errors.RunFailed, match="refused"):
            await runs[1].result(60)


async def test_a_run_that_ended_or_was_parked_leaves_nothing_for_the_garbage_collector(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    @engine.app.step(retry=QUICK)
    async def work(number: int) -> int:
        if hf.current_step().attempt == 1:
            raise ValueError(number)
        return number

    @engine.app.workflow
    async def ending() -> int:
        return sum(await hf.gather(work(1), work(2)))

    @engine.app.workflow
    async def parking() -> None:
        await hf.wait_for_signal("never")

    seen: list[weakref.ref[RunExecution]] = []
    begin = Worker.begin_execution

    def look_on(execution: RunExecution) -> None:
        seen.append(weakref.ref(execution))
        begin(execution)

    monkeypatch.setattr(Worker, "begin_execution", staticmethod(look_on))
    async with engine.worker():
        gc.disable()
        try:
            await (await engine.client.start(ending)).result(60)
            parked = await engine.client.start(parking)
            while (await parked.get()).status is not RunStatus.WAITING:
                await asyncio.sleep(0.01)
            for _ in range(6_000):
                if not any(one() for one in seen):
                    break
                await asyncio.sleep(0.01)
        finally:
            gc.enable()
        left = [one for one in seen if one() is not None]

    assert len(seen) == 2
    assert left == []
