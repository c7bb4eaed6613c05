"""Endless workflows: runs that continue as new ones, as programs write them and clients follow them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.history import history_of
from holdfast.model.ids import RunId
from holdfast.model.run import RunFilter
from holdfast.testing.replay import replay
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


def chain_of(engine: Engine, run_id: str) -> list[hf.Run]:
    """All links of the run's chain, in order."""
    run = engine.store.get_run(engine.client.tenant, RunId(run_id))
    found = engine.store.list_runs(run.tenant, RunFilter(root_id=run.root_id), limit=100, after=None).runs
    return sorted(found, key=lambda one: one.link or 0)


async def test_the_result_of_a_run_that_continues_is_that_of_the_last_run(engine: Engine) -> None:
    done: list[int] = []

    @engine.app.step
    async def work(number: int) -> int:
        done.append(number)
        return number

    @engine.app.workflow
    async def count(number: int, *, total: int = 0) -> int:
        total += await work(number)
        if number < 5:
            hf.continue_as_new(number + 1, total=total)
        return total

    async with engine.worker():
        run = await engine.client.start(count, 1)
        assert await run.result(60) == 15

    assert done == [1, 2, 3, 4, 5]
    links = chain_of(engine, run.id)
    assert [one.terminal_reason for one in links] == ["continued"] * 4 + ["completed"]
    assert [len(engine.detail(one.id).journal) for one in links] == [1] * 5
    assert await engine.client.wait_for_result(links[2].id, timeout=60) == 15


async def test_a_plain_workflow_continues_as_well(engine: Engine) -> None:
    @engine.app.step
    def work(number: int) -> int:
        return number

    @engine.app.workflow
    def count(number: int) -> int:
        if work(number) < 3:
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker():
        run = await engine.client.start(count, 1)
        assert await run.result(60) == 3

    assert len(chain_of(engine, run.id)) == 3


async def test_an_endless_loop_takes_each_signal_once_and_in_order(engine: Engine) -> None:
    @engine.app.workflow
    async def listen(heard: list[int]) -> list[int]:
        heard = [*heard, await hf.wait_for_signal("number", int)]
        if len(heard) < 12:
            hf.continue_as_new(heard)
        return heard

    async with engine.worker():
        nothing: list[int] = []
        run = await engine.client.start(listen, nothing, key="loop")
        for number in range(12):
            await engine.client.signal("number", number, run_id=run.id, key=f"n{number}")
            await engine.client.signal("number", number, run_id=run.id, key=f"n{number}")
        assert await run.result(60) == list(range(12))


async def test_the_key_leads_to_the_living_successor(engine: Engine) -> None:
    @engine.app.workflow
    async def listen(number: int) -> int:
        if await hf.wait_for_signal("go on", bool):
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker():
        first = await engine.client.start(listen, 1, key="loop")
        await first.signal("go on", True)
        while (await first.get(newest=True)).link != 2:
            await asyncio.sleep(0.02)
        again = await engine.client.start(listen, 1, key="loop")
        [one, two] = await engine.client.start_many([hf.Start(workflow=listen, args=(1,), key=key) for key in "ab"])
        [same, *_] = await engine.client.start_many([hf.Start(workflow=listen, args=(1,), key="loop")])
        assert (again.created, again.id) == (False, (await first.get(newest=True)).id)
        assert (same.id, one.created, two.created) == (again.id, True, True)
        assert again.id != first.id
        await again.signal("go on", False)
        assert await first.result(60) == await again.result(60) == 2


async def test_a_parent_gets_the_result_of_the_last_run_of_its_childs_chain(engine: Engine) -> None:
    @engine.app.workflow
    async def ship(number: int) -> int:
        await hf.sleep(0.01)
        if number < 4:
            hf.continue_as_new(number + 1)
        return number

    @engine.app.workflow
    async def order() -> list[int]:
        later = await hf.start_child(ship, 2)
        at_once = await hf.run_child(ship, 1)
        await hf.sleep(LONG_S)
        return [at_once, await later.result()]

    async with engine.worker():
        run = await engine.client.start(order)
        assert await run.result(60) == [4, 4]


async def test_a_graph_waits_for_the_last_run_of_its_childs_chain(engine: Engine) -> None:
    @engine.app.workflow
    async def ship(number: int) -> int:
        if number < 3:
            hf.continue_as_new(number + 1)
        return number

    @engine.app.step
    async def first(given: int) -> int:
        return given

    graph = engine.app.graph("orders").step("first", first).child("ship", ship, input={"number": "results.first"})

    async with engine.worker():
        run = await engine.client.start(graph, 1)
        assert (await run.result(60))["ship"] == 3


async def test_a_run_continues_neither_beside_others_nor_in_a_graph_nor_in_a_step(engine: Engine) -> None:
    @engine.app.step
    async def inside() -> None:
        hf.continue_as_new()

    @engine.app.step(retry=hf.Retry(max_attempts=1))
    async def handler(given: int) -> int:
        hf.continue_as_new(given)

    @engine.app.workflow
    async def wrong(how: str) -> str:
        async def branch() -> None:
            hf.continue_as_new(how)

        if how == "gather":
            await hf.gather(branch())
        elif how == "map":
            await hf.map(lambda _item: branch(), [1])
        elif how == "arguments":
            hf.continue_as_new("too", "many")
        elif how == "value":
            hf.continue_as_new(object())
        await inside()
        return how

    graph = engine.app.graph("orders").step("first", handler)

    async with engine.worker():
        codes: dict[str, str | None] = {}
        for how in ("gather", "map", "arguments", "value", "step"):
            run: hf.RunHandle[Any] = await engine.client.start(wrong, how)
            with pytest.raises(hf.errors.RunFailed) as failed:
                await run.result(60)
            codes[how] = failed.value.failure.code
        of_graph = await engine.client.start(graph, 1)
        with pytest.raises(hf.errors.RunFailed, match="works only"):
            await of_graph.result(60)

    assert codes == {
        "gather": "cannot_continue",
        "map": "cannot_continue",
        "arguments": "usage_error",
        "value": "encode_error",
        "step": "not_in_workflow",
    }


async def test_outside_a_run_it_raises_what_a_test_looks_for() -> None:
    app = hf.App("tests")

    @app.workflow
    async def count(number: int) -> int:
        try:
            hf.continue_as_new(number + 1, fast=True)
        except Exception:  # noqa: BLE001 - such a clause must let it by
            return number

    with pytest.raises(hf.ContinueAsNew) as raised:
        await count(1)

    assert (raised.value.args, raised.value.kwargs) == ((2,), {"fast": True})


async def test_what_a_finally_block_does_is_done_before_the_run_ends(engine: Engine) -> None:
    done: list[str] = []

    @engine.app.step
    async def note(what: str) -> None:
        done.append(what)

    @engine.app.workflow
    async def careful(number: int) -> int:
        try:
            if number == 1:
                hf.continue_as_new(2)
        finally:
            await note(f"closed {number}")
        return number

    async with engine.worker():
        assert await (await engine.client.start(careful, 1)).result(60) == 2
    assert done == ["closed 1", "closed 2"]


async def test_an_error_on_the_way_out_is_not_hidden(engine: Engine) -> None:
    @engine.app.workflow
    async def clumsy() -> None:
        try:
            hf.continue_as_new()
        finally:
            raise ValueError("not closed")

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match="not closed"):
            await (await engine.client.start(clumsy)).result(60)


async def test_raised_by_hand_it_fails_the_run(engine: Engine) -> None:
    @engine.app.workflow
    async def forged() -> None:
        raise hf.ContinueAsNew((), {})

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match="call the function"):
            await (await engine.client.start(forged)).result(60)


async def test_compensations_are_dropped_with_the_run_that_registered_them(engine: Engine) -> None:
    undone: list[int] = []

    @engine.app.step
    async def reserve(number: int) -> int:
        return number

    @reserve.compensate
    async def free(number: int, result: int) -> None:
        undone.append(number)

    @engine.app.workflow
    async def loop(number: int) -> None:
        await reserve(number)
        if number == 3:
            raise ValueError("broken")
        hf.continue_as_new(number + 1)

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match="broken"):
            await (await engine.client.start(loop, 1)).result(60)

    assert undone == [3]


async def test_a_cancelled_run_does_not_continue_and_one_that_continued_is_cancelled(engine: Engine) -> None:
    @engine.app.workflow
    async def stubborn(number: int) -> None:
        try:
            await hf.wait_for_signal("never")
        finally:
            hf.continue_as_new(number + 1)

    @engine.app.workflow
    async def endless(number: int) -> None:
        await hf.sleep(0.02)
        hf.continue_as_new(number + 1)

    async with engine.worker():
        held = await engine.client.start(stubborn, 1)
        while not (await held.explain()).pending_signals:
            await asyncio.sleep(0.02)
        running = await engine.client.start(endless, 1)
        while (await running.get()).continued_as_id is None:
            await asyncio.sleep(0.02)
        for run in (held, running):
            await run.cancel("enough")
            with pytest.raises(hf.errors.RunCancelled):
                await run.result(60)

    assert [one.terminal_reason for one in chain_of(engine, held.id)] == ["cancelled"]
    assert (await running.get(newest=True)).terminal_reason == "cancelled"


async def test_a_deadline_is_that_of_the_whole_chain(engine: Engine) -> None:
    @engine.app.workflow
    async def endless(number: int) -> None:
        await hf.sleep(0.05)
        hf.continue_as_new(number + 1)

    async with engine.worker():
        run = await engine.client.start(endless, 1, timeout=0.6)
        with pytest.raises(hf.errors.RunFailed, match="deadline"):
            await run.result(60)

    assert len(chain_of(engine, run.id)) > 1


async def test_an_update_is_answered_by_the_link_that_takes_it(engine: Engine) -> None:
    @engine.app.workflow
    async def counter(total: int) -> int:
        async for update in hf.updates("add", int):
            await update.answer(total + update.value)
            if total + update.value >= 6:
                return total + update.value
            hf.continue_as_new(total + update.value)
        return total

    async with engine.worker():
        run = await engine.client.start(counter, 0)
        totals = [await engine.client.update(run.id, "add", 1, key="once", timeout=60)]
        totals += [await engine.client.update(run.id, "add", number, timeout=60) for number in (2, 3)]
        assert await engine.client.update(run.id, "add", 1, key="once", timeout=60) == 1
        assert totals == [1, 3, 6]
        assert await run.result(60) == 6


async def test_what_a_chain_published_last_is_read_from_any_link(engine: Engine) -> None:
    @engine.app.workflow
    async def loop(number: int) -> int:
        if number != 3:
            await hf.publish("state", number)
        if number < 4:
            hf.continue_as_new(number + 1)
        await hf.wait_for_signal("end")
        return number

    @engine.app.workflow
    async def silent(number: int) -> int:
        if number < 3:
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker():
        run = await engine.client.start(loop, 1)
        while not (await engine.client.explain((await run.get(newest=True)).id)).pending_signals:
            await asyncio.sleep(0.02)
        found = [await engine.client.query(one.id, "state", int) for one in chain_of(engine, run.id)]
        assert [(one.value, one.status) for one in found] == [(4, hf.RunStatus.WAITING)] * 4
        await run.signal("end")
        assert await run.result(60) == 4
        other = await engine.client.start(silent, 1)
        assert await other.result(60) == 3
        with pytest.raises(hf.errors.ValueNotFound):
            await engine.client.read(other.id, "state")


async def test_a_replay_knows_where_a_run_continued(engine: Engine) -> None:
    @engine.app.step
    async def work(number: int) -> int:
        return number

    @engine.app.workflow
    async def loop(number: int) -> int:
        await work(number)
        if number < 2:
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker():
        run = await engine.client.start(loop, 1)
        await run.result(60)
    first, last = (history_of(engine.detail(one.id)) for one in chain_of(engine, run.id))
    assert (await asyncio.to_thread(replay, engine.app, [first, last])).replayed == 2

    later = hf.App("later")
    later_work = later.step(name=work.name)(work.function)

    async def changed(number: int) -> int:
        await later_work(number)
        if number == 2:
            hf.continue_as_new(number + 1)
        return number

    later.workflow(name=first.run.workflow)(changed)

    report = await asyncio.to_thread(replay, later, [first, last], check=False)
    found = {(one.run_id, one.kind, one.recorded) for one in report.partings}
    assert found == {
        (first.run.id, "outcome", "that it continued as a new run"),
        (last.run.id, "outcome", "the end of the run as completed: completed"),
    }


async def test_an_explanation_names_the_successor(engine: Engine) -> None:
    @engine.app.workflow
    async def loop(number: int) -> int:
        if number < 2:
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker():
        run = await engine.client.start(loop, 1)
        await run.result(60)

    first, last = chain_of(engine, run.id)
    assert f"continued as run {last.id}" in str(await engine.client.explain(first.id))
    assert f"link 2 of the chain of run {first.id}" in str(await engine.client.explain(last.id))


async def test_a_chain_of_hundreds_is_as_quick_at_its_end(engine: Engine) -> None:
    @engine.app.workflow
    async def loop(number: int) -> int:
        if number < 200:
            hf.continue_as_new(number + 1)
        return number

    async with engine.worker(poll=timedelta(milliseconds=20)):
        run = await engine.client.start(loop, 1)
        assert await run.result(60) == 200

    assert (await run.get(newest=True)).link == 200
