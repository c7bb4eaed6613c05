"""Bulk jobs as programs ask for them, carried out by workers, over each store."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.errors import BulkJobNotFound, BulkTooLarge, UsageError
from holdfast.model.bulk import BulkStatus
from holdfast.model.command import Change
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio

MANY = 1_000
PATIENCE_S = 60.0


def write_workflows(app: hf.App) -> None:
    @app.workflow
    async def wait() -> str:
        said: str = await hf.wait_for_signal("go")
        return said

    @app.workflow
    async def fail() -> None:
        raise hf.NonRetryable("no")


async def start(engine: Engine, workflow: str, count: int, queue: str = "default") -> list[str]:
    starts = [hf.Start(workflow=workflow, queue=queue) for _ in range(count)]
    return [run.id for run in await engine.client.start_many(starts)]


@pytest.mark.requirement("O-09", "L-33")
async def test_a_thousand_runs_are_cancelled_by_a_filter_and_each_once(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    doomed = await start(engine, "wait", MANY, "nobody")
    kept = await start(engine, "wait", 3, "others")
    counted = await client.bulk.count("queue:nobody")

    job = await client.bulk.start("cancel", "queue:nobody", most=MANY, actor="ann", reason="wrong import")
    async with engine.worker():
        job = await client.bulk.wait(job.id, timeout=PATIENCE_S)

    assert counted == {"queued": MANY}
    assert (job.status, job.expected, job.done, job.failed) == (BulkStatus.DONE, MANY, MANY, 0)
    ends = [event async for event in client.events(statuses=["cancelled"])]
    assert Counter(event.run_id for event in ends) == Counter(doomed)
    assert {event.actor for event in ends} == {"ann"}
    assert sum((await client.count(queue="others")).values()) == len(kept)


async def test_signals_reach_all_that_wait_and_a_repeated_job_none_twice(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    async with engine.worker():
        runs = await start(engine, "wait", 5)
        for run in runs:
            async for event in client.events(run, follow=True):
                if event.status == "waiting":
                    break
        job = await client.bulk.signal("go", "now", status="waiting", request_id="once")
        assert (await client.bulk.signal("go", "now", status="waiting", request_id="once")).id == job.id
        await client.bulk.wait(job.id, timeout=PATIENCE_S)
        results = [await client.wait_for_result(run, timeout=PATIENCE_S) for run in runs]

    assert results == ["now"] * 5
    assert [one.id for one in await client.bulk.list()] == [job.id]


@pytest.mark.requirement("L-31")
async def test_failed_runs_are_retried_deleted_and_what_cannot_obey_is_listed(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    async with engine.worker():
        runs = await start(engine, "fail", 3)
        for run in runs:
            await client.wait_for_end(run, timeout=PATIENCE_S)
        retried = await client.bulk.wait((await client.bulk.start("retry", "status:failed")).id, timeout=PATIENCE_S)
        again = [run for run in (await client.list()).runs if run.attempt == 2]
        for attempt in again:
            await client.wait_for_end(attempt.id, timeout=PATIENCE_S)
        refused = await client.bulk.wait((await client.bulk.start("resume", all_runs=True)).id, timeout=PATIENCE_S)
        errors = await client.bulk.errors(refused.id)
        behind = await client.bulk.errors(refused.id, after=errors[3].run_id)
        deleted = await client.bulk.wait((await client.bulk.start("delete", "status:failed")).id, timeout=PATIENCE_S)

    assert (retried.done, len(again)) == (3, 3)
    assert (refused.done, refused.failed, {error.code for error in errors}) == (0, 6, {"run_finished"})
    assert behind == errors[4:]
    assert deleted.done == 6
    assert await client.count() == {}


async def test_a_job_needs_no_worker_if_somebody_carries_it_out(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    await start(engine, "wait", 60)

    job = await client.bulk.start(Change(priority=9), "workflow:wait", rate=1_000)
    done = await client.bulk.work(job.id)

    assert (done.status, done.done) == (BulkStatus.DONE, 60)
    assert {run.priority for run in (await client.list(limit=100)).runs} == {9}


async def test_a_job_is_stopped(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    await start(engine, "wait", 20, "nobody")

    job = await client.bulk.start("cancel", "queue:nobody", rate=1)
    async with engine.worker():
        async for event in client.events(follow=True, statuses=["cancelled"]):
            assert event.workflow == "wait"
            break
        stopped = await client.bulk.stop(job.id, actor="bob")

    assert (stopped.status, stopped.stopped_by) == (BulkStatus.STOPPED, "bob")
    assert (await client.count(queue="nobody"))["queued"] > 10


def test_a_program_without_a_loop_starts_jobs_too(engine: Engine) -> None:
    write_workflows(engine.app)
    with closing(hf.SyncClient(engine.client)) as client:
        client.start("wait")
        assert client.bulk.count(workflow="wait") == {"queued": 1}
        job = client.bulk.start("pause", workflow="wait")
        assert client.bulk.work(job.id).done == 1
        assert client.bulk.wait(job.id, timeout=timedelta(seconds=5)) == client.bulk.get(job.id)
        assert client.bulk.errors(job.id) == []
        assert [one.id for one in client.bulk.list()] == [job.id]
        assert client.bulk.stop(job.id).status is BulkStatus.DONE
        assert client.bulk.signal("go", 1, "status:paused").expected == 1


async def test_what_is_not_meant_is_refused(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    await start(engine, "wait", 3)

    with pytest.raises(BulkTooLarge, match="3 runs match"):
        await client.bulk.start("cancel", "workflow:wait", most=2)
    with pytest.raises(UsageError, match="say which runs"):
        await client.bulk.start("cancel")
    with pytest.raises(UsageError, match="there are cancel"):
        await client.bulk.start("explode", "workflow:wait")
    with pytest.raises(UsageError, match="rate"):
        await client.bulk.start("cancel", "workflow:wait", rate=0)
    with pytest.raises(UsageError, match="at most"):
        await client.bulk.start("cancel", "workflow:wait", reason="x" * 901)
    with pytest.raises(BulkJobNotFound):
        await client.bulk.get("00000000-0000-7000-8000-000000000001")
    assert await client.bulk.list() == []
