"""Queues, workflows and tenants that are paused, quotas, and what is told of runs that stand in the line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.core.explain import Reason
from holdfast.errors import UsageError
from holdfast.model.ids import Tenant
from holdfast.model.status import RunStatus
from holdfast.model.tenant import TenantPolicy
from holdfast.store.tenancy import write_policy
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again until it holds."""
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.02)


async def _reason(engine: Engine, run_id: str, kind: str) -> Reason:
    found = [one for one in (await engine.client.explain(run_id)).reasons if one.kind == kind]
    assert len(found) == 1, await engine.client.explain(run_id)
    return found[0]


@pytest.mark.requirement("O-09", "C-11", "C-54")
async def test_a_paused_workflow_is_explained_listed_and_goes_on_at_once_when_it_is_resumed(engine: Engine) -> None:
    @engine.app.workflow
    async def ship() -> str:
        return "shipped"

    client = engine.client
    await client.pauses.pause(workflow="ship", actor="ann", reason="the lorry is broken")
    async with engine.worker(poll=timedelta(seconds=30)):
        run = await client.start(ship)
        await asyncio.sleep(0.2)
        reason = await _reason(engine, run.id, "paused_workflow")
        waiting = await client.list(waiting_on="workflow:ship")
        elsewhere = await client.list(waiting_on="queue")

        assert (reason.name, reason.actor, reason.note) == ("ship", "ann", "the lorry is broken")
        assert reason.since_ms is not None
        assert "workflow 'ship' was paused" in reason.text
        assert "by ann (the lorry is broken)" in reason.text
        assert [one.id for one in waiting.runs] == [run.id]
        assert elsewhere.runs == []
        assert (await client.get(run.id)).status is RunStatus.QUEUED

        assert await client.pauses.resume(workflow="ship")
        assert await run.result(timeout=60) == "shipped"
    assert await client.pauses.list() == []


@pytest.mark.requirement("O-09")
async def test_a_recalled_run_is_given_back_between_two_steps_and_goes_on_where_it_was(engine: Engine) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    @engine.app.step
    async def first() -> None:
        done.append("first")
        begun.set()
        await release.wait()

    @engine.app.step
    async def second() -> None:
        done.append("second")

    @engine.app.workflow
    async def both() -> str:
        await first()
        await second()
        return "done"

    client = engine.client
    async with engine.worker():
        run = await client.start(both)
        await asyncio.wait_for(begun.wait(), 20)
        await client.pauses.pause(queue="default", recall=True)
        await asyncio.sleep(0.2)
        release.set()

        async def is_given_back() -> bool:
            return (await client.get(run.id)).worker is None

        await eventually(is_given_back)
        assert done == ["first"]
        await client.pauses.resume(queue="default")
        assert await run.result(timeout=60) == "done"
    assert done == ["first", "second"]


@pytest.mark.requirement("C-56", "C-11", "promise-12")
async def test_a_run_beyond_its_tenants_quota_is_explained_and_begins_as_soon_as_another_one_ends(
    engine: Engine,
) -> None:
    release = asyncio.Event()

    @engine.app.workflow
    async def work(number: int) -> int:
        await gate(number)
        return number

    @engine.app.step
    async def gate(number: int) -> None:
        if number == 1:
            await release.wait()

    policy = TenantPolicy(tenant=Tenant("default"), running_max=1)
    engine.store.transact(None, lambda statements: write_policy(statements, policy))
    client = engine.client
    async with engine.worker(poll=timedelta(seconds=30)):
        first = await client.start(work, 1)

        async def is_held() -> bool:
            return (await client.get(first.id)).worker is not None

        await eventually(is_held)
        second = await client.start(work, 2)
        third = await client.start(work, 3)

        async def is_barred() -> bool:
            return len((await client.list(waiting_on="quota")).runs) == 2

        await eventually(is_barred)
        reason = await _reason(engine, second.id, "quota")
        other = await _reason(engine, third.id, "quota")
        assert (reason.limit, reason.holders) == (1, [first.id])
        assert first.id in reason.text
        # Both may have begun to wait in the same millisecond.
        assert {reason.ahead, other.ahead} == {0, 1}

        release.set()
        assert [await one.result(timeout=60) for one in (first, second, third)] == [1, 2, 3]


@pytest.mark.requirement("C-11", "C-54")
async def test_a_queued_run_is_told_its_position_and_the_runs_that_hold_the_workers(engine: Engine) -> None:
    release = asyncio.Event()

    @engine.app.step
    async def wait() -> None:
        await release.wait()

    @engine.app.workflow
    async def slow() -> None:
        await wait()

    client = engine.client
    async with engine.worker(concurrency=1):
        first = await client.start(slow)

        async def is_held() -> bool:
            return (await client.get(first.id)).worker is not None

        await eventually(is_held)
        others = [await client.start(slow) for _ in range(3)]
        reasons = [await _reason(engine, one.id, "claimable") for one in others]

        assert sorted(reason.ahead or 0 for reason in reasons) == [0, 1, 2]
        assert all(reason.holders == [first.id] for reason in reasons)
        assert f"held meanwhile: {first.id} (slow" in reasons[0].text
        release.set()


async def test_a_pause_names_one_thing(engine: Engine) -> None:
    with pytest.raises(UsageError, match="name one of"):
        await engine.client.pauses.pause(queue="a", tenant=True)
    with pytest.raises(UsageError, match="name one of"):
        await engine.client.pauses.resume()


def test_the_blocking_client_pauses_and_resumes(engine: Engine) -> None:
    with contextlib.closing(hf.SyncClient(engine.client)) as client:
        paused = client.pauses.pause(tenant=True, actor="ann")

        assert (paused.kind, paused.name, paused.actor) == ("tenant", "default", "ann")
        assert client.pauses.list() == [paused]
        assert client.pauses.resume(tenant=True)
        assert client.pauses.list() == []
