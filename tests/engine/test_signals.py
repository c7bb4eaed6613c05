"""Signals as programs and workflows send and hear them, and what runs let others read, over each store."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


async def until_waiting(run: hf.RunHandle[Any]) -> None:
    """Until the run waits for a signal."""
    while not (await run.explain()).pending_signals:
        await asyncio.sleep(0.01)


@pytest.mark.requirement("promise-7", "C-13")
async def test_a_wait_takes_the_signal_that_its_filter_is_about(engine: Engine) -> None:
    @engine.app.workflow
    async def ship(order: dict[str, str]) -> str:
        told = await hf.wait_for_signal(
            "paid", dict[str, str], where="payload.order == input.id && payload.by != me", values={"me": "zoe"}
        )
        return told["by"]

    async with engine.worker():
        one = await engine.client.start(ship, {"id": "o-1"})
        two = await engine.client.start(ship, {"id": "o-2"})
        for run in (one, two):
            await until_waiting(run)
        assert "where payload.order == input.id" in str(await one.explain())
        assert await engine.client.signal("paid", {"order": "o-2", "by": "zoe"}) == []
        assert await engine.client.signal("paid", {"order": "o-2", "by": "ann"}) == [two.id]
        assert await engine.client.signal("paid", {"order": "o-1", "by": "bob"}) == [one.id]
        assert [await one.result(60), await two.result(60)] == ["bob", "ann"]


async def test_a_filter_that_cannot_work_is_refused(engine: Engine) -> None:
    for where, words in (("payload ==", "no expression"), ("order.id == 1", "values=")):
        with pytest.raises(hf.errors.UsageError, match=words):
            await hf.wait_for_signal("paid", where=where)


@pytest.mark.requirement("promise-7", "C-52")
async def test_a_signal_to_all_is_kept_for_a_run_that_starts_later(engine: Engine) -> None:
    @engine.app.workflow
    async def listen() -> list[str]:
        first = await hf.wait_for_signal("news", str)
        try:
            return [first, await hf.wait_for_signal("news", str, timeout=0.05)]
        except hf.errors.SignalTimeout:
            return [first]

    async with engine.worker():
        await engine.client.signal("news", "hello", keep=60, key="bulletin 7")
        await engine.client.signal("news", "hello again", keep=60, key="bulletin 7")
        for _ in range(2):
            assert await (await engine.client.start(listen)).result(60) == ["hello"]


@pytest.mark.requirement("promise-7")
async def test_a_run_signals_others_once_however_often_it_is_replayed(engine: Engine) -> None:
    @engine.app.workflow
    async def listen() -> list[int]:
        heard = [await hf.wait_for_signal("number", int)]
        try:
            while True:
                heard.append(await hf.wait_for_signal("number", int, timeout=2 * LONG_S))
        except hf.errors.SignalTimeout:
            return heard

    @engine.app.workflow
    async def tell(receiver: str) -> None:
        await hf.signal("number", 1, run_id=receiver)
        await hf.signal("number", 2)
        await hf.sleep(LONG_S)
        await hf.signal("number", 3, run_id=receiver, keep=60)

    async with engine.worker():
        listener = await engine.client.start(listen)
        await until_waiting(listener)
        await engine.client.start(tell, listener.id)
        assert sorted(await listener.result(60)) in ([1, 2, 3], [1, 3])


@pytest.mark.requirement("promise-7")
async def test_a_key_names_a_message(engine: Engine) -> None:
    @engine.app.workflow
    async def listen() -> list[int]:
        return [await hf.wait_for_signal("n", int), await hf.wait_for_signal("n", int)]

    async with engine.worker():
        run = await engine.client.start(listen)
        for _ in range(3):
            await engine.client.signal("n", 1, run_id=run.id, key="webhook 17")
        await engine.client.signal("n", 2, run_id=run.id, key="webhook 18")
        assert await run.result(60) == [1, 2]
    with pytest.raises(hf.errors.UsageError, match="not both"):
        await engine.client.signal("n", 1, key="a", signal_id="0196f000-0000-7000-8000-000000000001")


async def test_a_value_that_a_run_published_is_read_while_it_goes_on_and_after(engine: Engine) -> None:
    @engine.app.workflow
    async def count() -> str:
        await hf.publish("progress", {"done": 1})
        await hf.wait_for_signal("go")
        await hf.publish("progress", {"done": 2})
        return "ok"

    async with engine.worker():
        run = await engine.client.start(count)
        await until_waiting(run)
        assert await engine.client.read(run.id, "progress") == {"done": 1}
        await run.signal("go")
        await run.result(60)
        answer = await engine.client.query(run.id, "progress", dict[str, int])
        assert (answer.value, answer.status) == ({"done": 2}, hf.RunStatus.COMPLETED)
        with pytest.raises(hf.errors.ValueNotFound):
            await engine.client.read(run.id, "other")


async def test_late_readers_of_a_stream_lose_nothing_and_go_on_from_an_offset(engine: Engine) -> None:
    @engine.app.workflow
    async def talk() -> None:
        for number in range(3):
            await hf.emit("lines", f"line {number}")
            await hf.emit("other", number)
        await hf.wait_for_signal("go")
        await hf.emit("lines", "last line")

    async with engine.worker():
        run = await engine.client.start(talk)
        live = engine.client.stream(run.id, "lines", str)
        early = [await anext(live) for _ in range(3)]
        assert [item.value for item in early] == ["line 0", "line 1", "line 2"]
        await run.signal("go")
        assert [item.value async for item in live] == ["last line"]
        again = [item.value async for item in engine.client.stream(run.id, "lines", str)]
        assert again == ["line 0", "line 1", "line 2", "last line"]
        rest = [item.value async for item in engine.client.stream(run.id, "lines", str, after=early[1].offset)]
        assert rest == ["line 2", "last line"]


@pytest.mark.requirement("promise-7")
async def test_an_update_is_checked_answered_and_applied_once(engine: Engine) -> None:
    @engine.app.workflow
    async def shop() -> list[int]:
        prices: list[int] = []
        async for update in hf.updates("price", int, check=lambda price: "too low" if price < 1 else None):
            prices.append(update.value)
            await update.answer({"was": prices[:-1], "now": update.value})
            if len(prices) == 2:
                break
            await hf.sleep(LONG_S)
        return prices

    async with engine.worker():
        run = await engine.client.start(shop)
        with pytest.raises(hf.errors.UpdateRefused, match="too low"):
            await engine.client.update(run.id, "price", 0, timeout=60)
        with pytest.raises(hf.errors.UpdateRefused, match="fit"):
            await engine.client.update(run.id, "price", "free", timeout=60)
        first = await engine.client.update(run.id, "price", 5, key="monday", timeout=60)
        again = await engine.client.update(run.id, "price", 5, key="monday", timeout=60)
        assert first == again == {"was": [], "now": 5}
        assert await engine.client.update(run.id, "price", 7, timeout=60) == {"was": [5], "now": 7}
        assert await run.result(60) == [5, 7]
        with pytest.raises(hf.errors.RunFinished):
            await engine.client.update(run.id, "price", 9, timeout=60)


async def test_an_update_that_nobody_answers_times_out_or_ends_with_its_run(engine: Engine) -> None:
    @engine.app.workflow
    async def deaf(seconds: float) -> None:
        await hf.sleep(seconds)

    async with engine.worker():
        run = await engine.client.start(deaf, 60.0)
        with pytest.raises(hf.errors.UpdateTimeout):
            await engine.client.update(run.id, "price", 1, timeout=timedelta(milliseconds=50))
        ending = await engine.client.start(deaf, LONG_S)
        with pytest.raises(hf.errors.RunFinished):
            await engine.client.update(ending.id, "price", 1, timeout=60)
