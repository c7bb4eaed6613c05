"""The client: what it starts, finds, lists, tells and refuses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

import holdfast as hf
from holdfast.client.sync import SyncClient
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.ids import Tenant
from holdfast.model.run import NewRun, Started
from holdfast.model.status import RunStatus
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio


class Colour(Enum):
    """A colour."""

    RED = "red"


def register(engine: Engine) -> Any:
    """A workflow that returns what it is given."""

    @engine.app.workflow
    async def echo(value: Any = None) -> Any:
        return value

    return echo


@pytest.mark.requirement("S-18")
def test_everything_that_users_need_has_one_public_name_and_says_what_it_is() -> None:
    for name in hf.__all__:
        thing = getattr(hf, name)
        assert thing.__doc__, f"holdfast.{name} has no docstring"
    assert {"App", "Retry", "gather", "map", "sleep", "wait_for_signal", "run_child", "connect"} <= set(hf.__all__)


@pytest.mark.requirement("R-53", "S-01", "S-11")
async def test_a_new_run_is_the_root_of_its_own_lineage(engine: Engine) -> None:
    echo = register(engine)

    run = await engine.client.start(echo, 1)

    record = await run.get()
    assert (record.root_id, record.retry_of_id, record.attempt) == (run.id, None, 1)
    assert record.status is RunStatus.QUEUED
    assert record.input == b'{"value":{"args":[1]}}'


@pytest.mark.requirement("promise-1", "S-59", "O-08")
async def test_the_same_key_is_the_same_run_per_workflow_and_tenant(engine: Engine) -> None:
    echo = register(engine)
    other = hf.Client(engine.store, engine.host, registry=engine.app, tenant=Tenant("other"))

    first = await engine.client.start(echo, 1, key="k")
    again = await engine.client.start(echo, 2, key="k")
    elsewhere = await other.start(echo, 3, key="k")

    assert (first.created, again.created, elsewhere.created) == (True, False, True)
    assert first.id == again.id != elsewhere.id
    with pytest.raises(hf.errors.RunNotFound):
        await other.get(first.id)


@pytest.mark.requirement("promise-1", "promise-11", "fault-19", "fault-44")
async def test_a_start_whose_answer_is_lost_is_asked_again_and_starts_one_run(engine: Engine) -> None:
    echo = register(engine)
    client = engine.client
    start_runs, calls = engine.store.start_runs, list[str]()

    def lossy(runs: list[NewRun]) -> list[Started]:
        calls.append(runs[0].id)
        if len(calls) == 1:
            raise StoreUnavailable(url="test", why="not sent")
        started = start_runs(runs)
        if len(calls) == 2:
            raise CommitUnknown(why="the answer was lost")
        return started

    engine.store.start_runs = lossy  # type: ignore[method-assign,assignment]
    run = await client.start(echo, 1)

    assert set(calls) == {run.id}
    assert await client.count() == {"queued": 1}


@pytest.mark.requirement("promise-11")
async def test_a_database_that_stays_away_is_told_as_not_done_or_as_unknown(engine: Engine) -> None:
    echo = register(engine)
    client = engine.client
    errors: list[Exception] = []

    def away(runs: list[NewRun]) -> list[Started]:
        raise errors[min(len(asked), len(errors) - 1)]

    asked: list[int] = []

    def counting(runs: list[NewRun]) -> list[Started]:
        try:
            return away(runs)
        finally:
            asked.append(1)

    engine.store.start_runs = counting  # type: ignore[method-assign,assignment]
    errors[:] = [StoreUnavailable(url="test", why="away")]
    with pytest.raises(StoreUnavailable):
        await client.start(echo)
    asked.clear()
    errors[:] = [CommitUnknown(why="lost"), StoreUnavailable(url="test", why="away")]
    with pytest.raises(CommitUnknown):
        await client.start(echo)


@pytest.mark.requirement("S-59", "B-06")
async def test_runs_are_listed_by_filters_and_pages(engine: Engine) -> None:
    echo = register(engine)
    client = engine.client
    await client.start_many(
        hf.Start(workflow=echo, args=(number,), key=f"k{number}", attributes={"parity": str(number % 2)})
        for number in range(7)
    )
    await client.cancel((await client.start(echo, queue="side")).id)

    pages: list[list[str | None]] = []
    after = None
    while True:
        page = await client.list(attributes={"parity": "0"}, limit=2, after=after)
        pages.append([run.key for run in page.runs])
        if (after := page.next) is None:
            break

    assert sorted(key or "" for keys in pages for key in keys) == ["k0", "k2", "k4", "k6"]
    assert [len(keys) for keys in pages[:2]] == [2, 2]
    assert [run.queue for run in (await client.list(status="cancelled")).runs] == ["side"]
    assert [run.key for run in (await client.list(key="k3")).runs] == ["k3"]
    assert await client.count() == {"cancelled": 1, "queued": 7}
    assert (await client.list(created_before=datetime.now(UTC) - timedelta(days=1))).runs == []
    malformed: list[dict[str, Any]] = [
        {"status": "done"},
        {"limit": 0},
        {"after": "???"},
        {"created_from": datetime(2026, 1, 1)},  # noqa: DTZ001 - without a time zone is what is refused
    ]
    for bad in malformed:
        with pytest.raises(hf.errors.UsageError):
            await client.list(**bad)


@pytest.mark.requirement("B-02", "S-58")
@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 1.5, -0.0, 1e22, "", "text \u2028 \U0001f40b", [], [[], {}], {"a": None}, {"": ""}]
)
async def test_any_plain_value_comes_back_as_it_was_given(engine: Engine, value: Any) -> None:
    echo = register(engine)

    async with engine.worker():
        result = await (await engine.client.start(echo, value)).result(60)

    assert result == value
    assert repr(result) == repr(value)


async def test_typed_values_come_back_as_their_types(engine: Engine) -> None:
    @engine.app.step
    async def pass_on(when: datetime, what: UUID, how: Colour, data: bytes) -> tuple[datetime, UUID, Colour, bytes]:
        return when, what, how, data

    @engine.app.workflow
    async def passing(when: datetime, what: UUID, how: Colour, data: bytes) -> tuple[datetime, UUID, Colour, bytes]:
        return await pass_on(when, what, how, data)

    given = (datetime(2026, 2, 28, 12, tzinfo=UTC), UUID(int=7), Colour.RED, b"\x00\xff")
    async with engine.worker():
        assert await (await engine.client.start(passing, *given)).result(60) == given


async def test_result_gives_up_when_told_and_the_run_goes_on(engine: Engine) -> None:
    @engine.app.workflow
    async def waiting() -> str:
        return await hf.wait_for_signal("go", str)

    async with engine.worker():
        run = await engine.client.start(waiting)
        with pytest.raises(hf.errors.ResultTimeout, match="goes on"):
            await run.result(0.05)
        await run.signal("go", "on")
        assert await run.result(60) == "on"


async def test_many_may_wait_for_one_run(engine: Engine) -> None:
    echo = register(engine)
    client = engine.client

    run = await client.start(echo, 5)
    waiting = [asyncio.create_task(client.wait_for_result(run.id)) for _ in range(5)]
    async with engine.worker():
        assert await asyncio.gather(*waiting) == [5] * 5


@pytest.mark.requirement("S-03", "S-53")
async def test_an_ended_run_takes_no_more_commands(engine: Engine) -> None:
    echo = register(engine)

    async with engine.worker():
        run = await engine.client.start(echo)
        await run.result(60)
        with pytest.raises(hf.errors.RunFinished, match="completed"):
            await run.signal("go")
        with pytest.raises(hf.errors.RunFinished):
            await run.cancel()


def test_the_blocking_client_does_the_same_without_a_loop(engine: Engine) -> None:
    echo = register(engine)
    client = SyncClient(engine.client)
    try:
        run = client.start(echo, {"a": 1}, key="k")
        assert client.get(run.id).status is RunStatus.QUEUED
        assert client.explain(run.id).reasons[0].kind == "no_worker"
        assert [one.id for one in client.list(workflow="echo").runs] == [run.id]
        assert client.cancel(run.id).status is RunStatus.CANCELLED
        with pytest.raises(hf.errors.RunCancelled):
            run.result(60)
        assert client.count() == {"cancelled": 1}
        assert client.workers() == []
        with pytest.raises(hf.errors.RunNotFound):
            client.get("0196f000-0000-7000-8000-00000000dead")
    finally:
        client.close()
