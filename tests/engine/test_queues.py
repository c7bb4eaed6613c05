"""Limits of queues: set and read, explained, and freed places that are taken at once."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.errors import UsageError
from holdfast.model.status import RunStatus
from tests.engine.conftest import Engine
from tests.engine.test_pauses import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("fault-62", "C-11", "C-54", "promise-12")
async def test_a_run_beyond_its_queues_limit_is_explained_and_begins_as_soon_as_another_one_leaves(
    engine: Engine,
) -> None:
    gates = {number: asyncio.Event() for number in (1, 2, 3)}

    @engine.app.step
    async def gate(number: int) -> None:
        await gates[number].wait()

    @engine.app.workflow
    async def deliver(number: int) -> int:
        await gate(number)
        if number == 1:
            await hf.wait_for_signal("receipt")
        return number

    client = engine.client
    await client.queues.limit("mail", running=1, actor="ann", reason="one line to the post office")
    settings: dict[str, Any] = {"poll": timedelta(seconds=30), "queues": ["mail", "other"]}
    async with engine.worker(**settings), engine.worker(**settings):
        runs = [await client.start(deliver, 1, queue="mail")]

        async def is_held() -> bool:
            return (await client.get(runs[0].id)).worker is not None

        await eventually(is_held)
        runs += [await client.start(deliver, number, queue="mail") for number in (2, 3)]

        async def are_barred() -> bool:
            return len((await client.list(waiting_on="limit:mail")).runs) == 2

        await eventually(are_barred)
        explained = [await client.explain(run.id) for run in runs[1:]]
        reasons = [reason for one in explained for reason in one.reasons if reason.kind == "limit"]
        assert [(one.name, one.limit, one.holders) for one in reasons] == [("mail", 1, [runs[0].id])] * 2
        assert {one.ahead for one in reasons} == {0, 1}
        assert "workers may hold 1 run(s) of queue 'mail' of tenant 'default', and hold 1" in reasons[0].text
        assert f"held meanwhile: {runs[0].id} (deliver" in reasons[0].text

        # It waits for its signal and makes room, the others follow each other; nobody waits for the poll.
        for event in gates.values():
            event.set()
        assert sorted([await run.result(timeout=60) for run in runs[1:]]) == [2, 3]

        async def waits() -> bool:
            return (await client.get(runs[0].id)).status is RunStatus.WAITING

        await eventually(waits)
        await client.signal("receipt", run_id=runs[0].id)
        assert await runs[0].result(timeout=60) == 1


@pytest.mark.requirement("fault-62")
async def test_a_higher_limit_is_heard_of_at_once(engine: Engine) -> None:
    @engine.app.workflow
    async def work() -> str:
        return "done"

    client = engine.client
    await client.queues.limit("default", running=0)
    async with engine.worker(poll=timedelta(seconds=30)):
        run = await client.start(work)

        async def is_barred() -> bool:
            return bool((await client.list(waiting_on="limit")).runs)

        await eventually(is_barred)
        await client.queues.limit("default", running=1)
        assert await run.result(timeout=60) == "done"


async def test_queues_are_listed_with_limits_pauses_and_runs(engine: Engine) -> None:
    @engine.app.workflow
    async def work() -> None:
        return None

    client = engine.client
    assert await client.queues.list() == []
    limit = await client.queues.limit("mail", running=20, actor="ann", reason="twenty connections")
    pause = await client.pauses.pause(queue="slow")
    await client.pauses.pause(workflow="mail")
    await client.start(work)

    rows = await client.queues.list()

    assert [(row.queue, row.limit, row.pause, row.queued, row.running) for row in rows] == [
        ("default", None, None, 1, 0),
        ("mail", limit, None, 0, 0),
        ("slow", None, pause, 0, 0),
    ]
    assert (limit is not None and limit.running_max, limit and limit.actor) == (20, "ann")
    assert await client.queues.limit("mail", running=None) is None
    assert (await client.queues.get("mail")).limit is None


@pytest.mark.parametrize("bad", [-1, 2**40])
async def test_a_limit_is_a_number_of_runs(engine: Engine, bad: int) -> None:
    with pytest.raises(UsageError, match="is a number from 0"):
        await engine.client.queues.limit("mail", running=bad)


def test_the_blocking_client_sets_and_reads_limits(engine: Engine) -> None:
    with contextlib.closing(hf.SyncClient(engine.client)) as client:
        limit = client.queues.limit("mail", running=3)

        assert client.queues.get("mail").limit == limit
        assert [row.queue for row in client.queues.list()] == ["mail"]
