"""Events as programs follow them, over each store, with workers."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from itertools import pairwise

import pytest

import holdfast as hf
from holdfast.client import watching
from holdfast.errors import UsageError
from holdfast.model.event import Event, EventKind
from holdfast.store.port import Hint
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0
CLOCK_TICK_S = 0.02


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is woken by a hint, or not at all within this test."""
    monkeypatch.setattr(watching, "POLL_FIRST_S", 10 * PATIENCE_S)
    monkeypatch.setattr(watching, "POLL_MAX_S", 10 * PATIENCE_S)


def write_workflows(app: hf.App) -> None:
    @app.step
    async def pack(item: int) -> int:
        return item

    @app.workflow
    async def ship(items: int) -> int:
        for item in range(items):
            await pack(item)
        approval: dict[str, int] = await hf.wait_for_signal("go")
        return approval["weight"]

    @app.workflow
    async def count() -> None:
        async for update in hf.updates("add", int):
            await hf.emit("sums", update.value)
            await update.answer(update.value + 1)
            if update.value == 3:
                return


@pytest.mark.requirement("R-20", "L-33")
@pytest.mark.usefixtures("no_polls")
async def test_whoever_follows_a_run_hears_all_of_it_once_and_by_hints(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    run = await client.start("ship", 2)
    heard: list[Event] = []

    async def follow() -> None:
        async for event in client.events(run.id, follow=True, kinds=["transition", "record"]):
            heard.append(event)
            if event.status == "waiting":
                await client.signal("go", {"weight": 7}, run_id=run.id)

    async with asyncio.timeout(PATIENCE_S), engine.worker():
        await follow()

    told = [(event.kind.value, event.reason) for event in heard]
    assert told[:2] == [("transition", "started"), ("transition", "claimed")]
    assert [event.key for event in heard if event.reason == "step"] == ["pack", "pack#2"]
    assert told[-1] == ("transition", "completed")
    numbers = [event.seq for event in heard if event.kind is EventKind.TRANSITION]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({event.cursor for event in heard}) == len(heard)


@pytest.mark.requirement("R-20", "L-33")
async def test_whoever_follows_all_runs_misses_none_and_may_come_back_with_any_cursor(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    early: list[Event] = []
    starts = [hf.Start(workflow="ship", args=(1,), key=str(number)) for number in range(10)]
    runs = [run.id for run in await client.start_many(starts[:5])]
    ended: set[str] = set()

    async def follow(after: str | None) -> None:
        async for event in client.events(after=after, follow=True):
            early.append(event)
            if event.status == "waiting":
                await client.signal("go", {"weight": 1}, run_id=event.run_id)
            if event.status == "completed":
                ended.add(str(event.run_id))
            if len(ended) == 10 or (after is None and len(early) == 13):
                return

    async with asyncio.timeout(PATIENCE_S), engine.worker():
        await follow(None)
        runs += [run.id for run in await client.start_many(starts[5:])]
        await follow(early[-1].cursor)

    whole = [event async for event in client.events()]
    assert {event.run_id for event in whole} == set(runs)
    assert [event.cursor for event in early] == [event.cursor for event in whole[: len(early)]]
    for run_id in runs:
        numbers = [event.seq for event in whole if event.run_id == run_id]
        assert all(after == before + 1 for before, after in pairwise(numbers))


@pytest.mark.usefixtures("no_polls")
async def test_streams_and_updates_are_woken_by_hints(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    run = await client.start("count")
    items: list[int] = []

    async def read() -> None:
        items.extend([item.value async for item in client.stream(run.id, "sums", int)])

    async with asyncio.timeout(PATIENCE_S), engine.worker():
        reading = asyncio.create_task(read())
        answers = [await client.update(run.id, "add", number, type_=int) for number in (1, 2, 3)]
        await reading

    assert (items, answers) == ([1, 2, 3], [2, 3, 4])


def _never(_watch: watching.Watch, _hint: Hint) -> bool:
    return False


async def test_a_reader_that_gets_no_hints_polls(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    write_workflows(engine.app)
    client = engine.client
    monkeypatch.setattr(watching.Watch, "_is_for_us", _never)
    run = await client.start("ship", 0)
    heard: list[str] = []

    async with asyncio.timeout(PATIENCE_S), engine.worker():
        async for event in client.events(run.id, follow=True):
            heard.append(event.reason)
            if event.status == "waiting":
                await client.signal("go", {"weight": 7}, run_id=run.id)

    assert heard[-1] == "completed"


def test_a_program_without_a_loop_follows_too(engine: Engine) -> None:
    write_workflows(engine.app)
    with closing(hf.SyncClient(engine.client)) as client:
        run = client.start("ship", 1)
        client.cancel(run.id, actor="ann")

        told = [event.reason for event in client.events(run.id, follow=True)]
        first = next(iter(client.events(follow=True)))
        rest = list(client.events(after=first.cursor))

    assert told == ["started", "cancelled"]
    assert (first.reason, [event.reason for event in rest]) == ("started", ["cancelled"])


async def test_words_that_there_are_not_are_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="transition, record, gap"):
        await anext(engine.client.events(kinds=["steps"]))
    with pytest.raises(UsageError, match="queued, running"):
        await anext(engine.client.events(statuses=["done"]))
    for speed in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="a positive number"):
            await anext(engine.client.events(speed=speed))


@pytest.mark.requirement("R-26")
async def test_what_happened_is_played_at_its_original_pace_or_faster(engine: Engine) -> None:
    write_workflows(engine.app)
    client = engine.client
    run = await client.start("ship", 1)
    await asyncio.sleep(0.2)
    await client.cancel(run.id, actor="ann")
    recorded = [event async for event in client.events(run.id)]
    gap_s = (recorded[-1].at_ms - recorded[0].at_ms) / 1000

    for speed in (1, 4):
        heard = [(event, time.monotonic()) async for event in client.events(run.id, speed=speed)]

        assert [event for event, _ in heard] == recorded
        assert heard[-1][1] - heard[0][1] >= gap_s / speed - CLOCK_TICK_S
    assert gap_s >= 0.1
