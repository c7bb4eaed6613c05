"""Hearing of the ends of runs: readers that acknowledge, and handlers that are runs of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.client.sync import SyncClient
from holdfast.errors import UsageError
from holdfast.model.ids import Tenant
from holdfast.model.status import RunStatus
from holdfast.model.tenant import TenantPolicy
from holdfast.store.outbox import Outbox
from holdfast.store.tenancy import write_policy
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio


async def until_told(told: list[hf.Closing], count: int) -> None:
    """Wait until handlers have been told of so many ends."""
    async with asyncio.timeout(60):
        while len(told) < count:
            await asyncio.sleep(0.02)


@pytest.mark.requirement("B-25", "B-54")
async def test_a_handler_is_a_run_of_its_own_for_each_end(engine: Engine) -> None:
    told: list[hf.Closing] = []

    @engine.app.step(retry=hf.Retry.never())
    async def charge(n: int) -> int:
        if n == 2:
            raise OSError("no money")
        return n

    @engine.app.workflow
    async def order(n: int) -> int:
        return await charge(n)

    @engine.app.step
    async def note(closing: hf.Closing) -> None:
        told.append(closing)

    @engine.app.on_end(order)
    async def tell(closing: hf.Closing) -> str:
        await note(closing)
        return f"{closing.key}: {closing.status}"

    async with engine.worker():
        runs = [await engine.client.start(order, n, key=f"order-{n}") for n in (1, 2)]
        await until_told(told, 2)
        handlers = (await engine.client.list(workflow="tell")).runs
        results = {await engine.client.handle(run.id, str).result(60) for run in handlers}

    by_run = {closing.run_id: closing for closing in told}
    assert by_run.keys() == {run.id for run in runs}
    paid, refused = (by_run[run.id] for run in runs)
    assert (paid.status, paid.failed_steps) == (RunStatus.COMPLETED, [])
    assert (refused.status, refused.failed_steps) == (RunStatus.FAILED, ["charge"])
    assert (refused.error_type, refused.error_message) == ("OSError", "no money")
    assert {run.key for run in handlers} == {paid.id, refused.id}
    assert results == {"order-1: completed", "order-2: failed"}
    assert Outbox(engine.store).claim(None, ["@tell"], limit=10, lease_ms=0) == []


@pytest.mark.requirement("B-54")
async def test_an_end_that_is_handed_over_twice_starts_its_handler_once(engine: Engine) -> None:
    told: list[str] = []

    @engine.app.workflow
    async def order() -> None:
        return None

    @engine.app.on_end("order")
    async def tell(closing: hf.Closing) -> None:
        told.append(closing.id)

    async with engine.worker() as worker:
        closings = worker.closings
        assert closings is not None
        run = await engine.client.start(order)
        await engine.client.wait_for_end(run.id, timeout=60)
        async with asyncio.timeout(60):
            while not told:
                await asyncio.sleep(0.02)
        ended = engine.detail(run.id)
        end = hf.Closing(
            run_id=ended.run.id,
            seq=len(ended.transitions),
            subscription="@tell",
            tenant=ended.run.tenant,
            workflow="order",
            key=None,
            status=ended.run.status,
            reason="completed",
            error_type=None,
            error_message=None,
            failed_steps=[],
            ended_ms=ended.run.updated_ms,
            deliveries=2,
        )
        await closings.start(end.tenant, [end])
        await closings.start(end.tenant, [end])
        assert len((await engine.client.list(workflow="tell")).runs) == 1

    assert told == [end.id]


async def test_a_handler_serves_every_tenant_in_that_tenant(engine: Engine) -> None:
    told: list[hf.Closing] = []

    @engine.app.workflow
    async def order() -> None:
        return None

    @engine.app.on_end(order)
    async def tell(closing: hf.Closing) -> None:
        told.append(closing)

    other = Client(engine.store, engine.host, tenant=Tenant("other"), registry=engine.app)
    async with engine.worker():
        await engine.client.start(order)
        await other.start(order)
        await until_told(told, 2)

    assert sorted(one.tenant for one in told) == ["default", "other"]
    assert len((await engine.client.list(workflow="tell")).runs) == 1
    assert len((await other.list(workflow="tell")).runs) == 1


@pytest.mark.requirement("promise-12")
async def test_a_tenant_at_its_quota_delays_its_own_handlers_alone(engine: Engine) -> None:
    told: list[hf.Closing] = []

    @engine.app.workflow
    async def order() -> None:
        return None

    @engine.app.on_end(order)
    async def tell(closing: hf.Closing) -> None:
        told.append(closing)

    full = Client(engine.store, engine.host, tenant=Tenant("full"), registry=engine.app)
    Outbox(engine.store).subscribe(None, "@tell", ["order"])
    run = await full.start(order)
    await full.cancel(run.id)
    policy = TenantPolicy(tenant=Tenant("full"), queued_max=0)
    engine.store.transact(None, lambda statements: write_policy(statements, policy))
    async with engine.worker():
        await engine.client.start(order)
        await until_told(told, 1)
        async with asyncio.timeout(60):
            # Its end is acknowledged after it was told. Leaving the worker's block must not cut that off.
            while [one.undelivered for one in Outbox(engine.store).subscriptions(None)] != [1]:
                await asyncio.sleep(0.02)

    assert [one.tenant for one in told] == ["default"]


async def test_handlers_that_would_start_each_other_for_ever_are_refused(engine: Engine) -> None:
    async def first(closing: hf.Closing) -> None: ...

    async def second(closing: hf.Closing) -> None: ...

    engine.app.on_end("second")(first)

    with pytest.raises(UsageError, match="again"):
        engine.app.on_end("first")(second)
    with pytest.raises(UsageError, match="again"):
        engine.app.on_end("second")(second)
    with pytest.raises(UsageError, match="needs the workflows"):
        engine.app.on_end()


@pytest.mark.requirement("B-54")
async def test_a_reader_follows_the_ends_and_what_it_did_not_finish_comes_again(engine: Engine) -> None:
    @engine.app.workflow
    async def order(n: int) -> int:
        return n

    client = engine.client
    await client.closings.subscribe("billing", order)
    async with engine.worker():
        runs = [(await client.start(order, n)).id for n in range(3)]
        heard: list[hf.Closing] = []
        async for closing in client.closings.follow("billing", lease=0.3):
            heard.append(closing)
            if len(heard) == 2:
                break
        async with asyncio.timeout(60):
            async for closing in client.closings.follow("billing", lease=timedelta(seconds=30)):
                heard.append(closing)
                if len(heard) == 4:
                    break

    told = [closing.run_id for closing in heard]
    assert sorted(set(told)) == sorted(runs)
    assert told.count(heard[1].run_id) == 2
    assert {one.id for one in heard if one.run_id == heard[1].run_id} == {heard[1].id}


async def test_the_blocking_client_reads_ends_too(engine: Engine) -> None:
    @engine.app.workflow
    async def order() -> None:
        return None

    def read() -> None:
        client = SyncClient(Client(engine.store, engine.host, registry=engine.app))
        try:
            client.closings.subscribe("audit")
            first, second = client.start(order), client.start("order")
            client.cancel(first.id)
            client.cancel(second.id)
            assert [(one.name, one.workflow, one.undelivered) for one in client.closings.list()] == [("audit", None, 2)]
            following = client.closings.follow("audit", lease=0.1)
            assert next(following).run_id == first.id
            assert next(following).run_id == second.id
            del following
            [left] = client.closings.list()
            assert left.undelivered == 1
            client.closings.acknowledge(client.closings.claim("audit") or _claimed_later(client))
            assert client.closings.claim("audit", lease=0.001) == []
            assert client.closings.unsubscribe("audit")
        finally:
            client.close()

    await asyncio.to_thread(read)


def _claimed_later(client: SyncClient) -> list[hf.Closing]:
    while not (found := client.closings.claim("audit")):
        pass
    return found


async def test_what_a_reader_asks_for_is_checked(engine: Engine) -> None:
    closings = engine.client.closings

    with pytest.raises(UsageError, match="must not begin"):
        await closings.subscribe("@tell")
    with pytest.raises(UsageError, match="limit"):
        await closings.claim("billing", limit=0)
    with pytest.raises(UsageError, match="empty"):
        await closings.subscribe("")
