"""New runs that begin with records of others: retries and forks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.lineage import BELOW_MAX
from holdfast.errors import CommandRefused, RunNotFound, UsageError
from holdfast.model.lineage import Relative
from holdfast.model.status import RunStatus
from tests.engine.conftest import Engine

pytestmark = pytest.mark.anyio

NEVER = hf.Retry.never()


async def _end(engine: Engine, run_id: str) -> hf.Run:
    return await engine.client.wait_for_end(run_id, timeout=60)


@pytest.mark.requirement("R-09", "R-51", "R-53", "L-30", "L-31")
async def test_a_retry_is_a_new_run_of_the_lineage_that_goes_on_from_the_failed_step(engine: Engine) -> None:
    did: list[str] = []

    @engine.app.step
    async def first() -> str:
        did.append("first")
        return "1"

    @engine.app.step(retry=NEVER)
    async def second() -> str:
        did.append("second")
        if did.count("second") < 3:
            raise OSError("closed")
        return "2"

    @engine.app.workflow
    async def two() -> str:
        return await first() + await second()

    async with engine.worker():
        run = await engine.client.start(two, attributes={"customer": "ann"})
        assert (await _end(engine, run.id)).status is RunStatus.FAILED
        again = await engine.client.retry(run.id, actor="ann", reason="the bank has opened")
        assert (again.root_id, again.retry_of_id, again.attempt) == (run.id, run.id, 2)
        assert (again.workflow, again.attributes) == ("two", {"customer": "ann"})
        assert (await engine.client.retry(run.id)).id == again.id
        assert (await _end(engine, again.id)).status is RunStatus.FAILED
        third = await engine.client.retry(again.id)
        assert (third.root_id, third.retry_of_id, third.attempt) == (run.id, again.id, 3)
        assert await engine.client.handle(third.id).result(60) == "12"
        with pytest.raises(CommandRefused):
            await engine.client.retry(third.id)

    assert did == ["first", "second", "second", "second"]
    assert engine.detail(again.id).transitions[0].actor == "ann"
    assert len((await engine.client.list(root_id=run.id)).runs) == 3


async def test_retries_that_are_asked_for_at_once_start_one_run(engine: Engine) -> None:
    @engine.app.workflow
    async def broken() -> None:
        raise OSError("no")

    async with engine.worker():
        run = await engine.client.start(broken)
        await _end(engine, run.id)
        runs = await asyncio.gather(*(engine.client.retry(run.id) for _ in range(5)))

    assert len({one.id for one in runs}) == 1


@pytest.mark.requirement("L-31")
async def test_what_was_compensated_is_made_again_by_a_retry(engine: Engine) -> None:
    did: list[str] = []

    @engine.app.step
    async def look() -> None:
        did.append("look")

    @engine.app.step
    async def charge() -> str:
        did.append("charge")
        return "receipt"

    @charge.compensate
    async def refund(receipt: str) -> None:
        did.append("refund")

    @engine.app.step(retry=NEVER)
    async def ship() -> None:
        did.append("ship")
        if did.count("ship") == 1:
            raise OSError("no van")

    @engine.app.workflow
    async def sell() -> None:
        await look()
        await charge()
        await ship()

    async with engine.worker():
        run = await engine.client.start(sell)
        await _end(engine, run.id)
        again = await engine.client.retry(run.id)
        assert (await _end(engine, again.id)).status is RunStatus.COMPLETED

    assert did == ["look", "charge", "ship", "refund", "charge", "ship"]


async def test_a_failure_that_the_workflow_went_on_after_is_not_tried_again(engine: Engine) -> None:
    did: list[str] = []

    @engine.app.step(retry=NEVER)
    async def fragile(name: str) -> None:
        did.append(name)
        if name != "last" or did.count("last") == 1:
            raise OSError(name)

    @engine.app.step
    async def steady() -> None:
        did.append("steady")

    @engine.app.workflow
    async def stubborn() -> None:
        await hf.gather(fragile("a"), fragile("b"), return_exceptions=True)
        await steady()
        await fragile("last")

    async with engine.worker():
        run = await engine.client.start(stubborn)
        await _end(engine, run.id)
        again = await engine.client.retry(run.id)
        assert (await _end(engine, again.id)).status is RunStatus.COMPLETED

    assert sorted(did) == ["a", "b", "last", "last", "steady"]


@pytest.mark.requirement("L-31")
async def test_a_fork_keeps_what_was_recorded_before_a_step_and_changes_what_is_asked(engine: Engine) -> None:
    calls: list[tuple[str, int]] = []

    @engine.app.step
    async def add(name: str, value: int) -> int:
        calls.append((name, value))
        return value + 1

    @engine.app.workflow
    async def chain(start: int) -> int:
        one = await add("one", start)
        two = await add("two", one)
        return await add("three", two)

    async with engine.worker():
        run = await engine.client.start(chain, 10)
        assert await run.result(60) == 13
        calls.clear()
        fork = await engine.client.fork(run.id, before="add#2", actor="ann", request_id="x")
        assert (fork.root_id, fork.forked_from_id, fork.attempt) == (fork.id, run.id, 1)
        assert (await engine.client.fork(run.id, before="add#2", request_id="x")).id == fork.id
        assert await engine.client.handle(fork.id).result(60) == 13
        assert calls == [("two", 11), ("three", 12)]
        calls.clear()
        other = await engine.client.fork(run.id, results={"add#2": 100}, actor="ann")
        assert await engine.client.handle(other.id).result(60) == 101
        assert calls == [("three", 100)]
        fresh = await engine.client.fork(run.id, args=[20])
        assert await engine.client.handle(fresh.id).result(60) == 23
        with pytest.raises(UsageError):
            await engine.client.fork(run.id, before="nothing")

    assert {entry.key: entry.settled_by for entry in engine.detail(other.id).journal}["add#2"] == "ann"
    assert (await run.get()).status is RunStatus.COMPLETED


def _tree(one: Relative) -> list[Any]:
    return [one.kinship.value, one.id, *(_tree(below) for below in one.relatives)]


@pytest.mark.requirement("R-09", "R-53", "L-30")
async def test_the_lineage_of_any_run_is_the_whole_tree_it_stands_in(engine: Engine) -> None:
    broken = True

    @engine.app.step(retry=NEVER)
    async def charge() -> None:
        if broken:
            raise OSError("closed")

    @engine.app.workflow
    async def ship(left: int) -> None:
        if left:
            hf.continue_as_new(left - 1)

    @engine.app.workflow
    async def sell() -> None:
        await hf.run_child(ship, 2)
        await charge()

    client = engine.client
    async with engine.worker():
        first = await client.start(sell)
        await _end(engine, first.id)
        second = await client.retry(first.id)
        await _end(engine, second.id)
        broken = False
        third = await client.retry(second.id)
        fork = await client.fork(second.id)
        for run in (third, fork):
            await _end(engine, run.id)

    async def chain(parent: str) -> list[str]:
        runs = (await client.list(parent_id=parent)).runs
        return [run.id for run in sorted(runs, key=lambda run: run.link or 0)]

    links, others = await chain(first.id), await chain(fork.id)
    expected = [
        "origin",
        first.id,
        ["retry", second.id, ["retry", third.id], ["fork", fork.id, ["child", others[0], *_linked(others)]]],
        ["child", links[0], *_linked(links)],
    ]

    for run_id in (first.id, third.id, fork.id, *links, *others):
        found = await client.lineage(run_id)
        assert (found.asked_id, _tree(found.origin)) == (run_id, expected)

    found = await client.lineage(third.id)
    assert found.size == 10
    assert [one.error for one in (found.origin, *found.origin.relatives)] == ["OSError: closed"] * 2 + [None]
    assert [(one.link, one.parent_key) for one in found.origin.relatives[1].relatives] == [(2, None), (3, None)]
    assert found.origin.relatives[1].parent_key == "ship"


def _linked(links: list[str]) -> list[list[str]]:
    return [["continued", link] for link in links[1:]]


@pytest.mark.requirement("R-09", "L-30")
async def test_a_lineage_shows_so_many_runs_and_always_the_one_asked_for(engine: Engine) -> None:
    @engine.app.workflow
    async def leaf(number: int) -> int:
        return number

    @engine.app.workflow
    async def many() -> None:
        await hf.gather(*(hf.start_child(leaf, number) for number in range(BELOW_MAX + 3)))

    async with engine.worker():
        run = await engine.client.start(many)
        await _end(engine, run.id)
        found = await engine.client.lineage(run.id)
        assert (found.size, found.origin.more) == (1 + BELOW_MAX, True)
        last = (await engine.client.list(parent_id=run.id)).runs[0].id
        await _end(engine, last)

        found = await engine.client.lineage(last, most=4)

        assert (found.size, found.origin.id, found.origin.more) == (4, run.id, True)
        assert last in [one.id for one in found.origin.relatives]
        assert (await engine.client.lineage(last, most=1)).size == 2
        with pytest.raises(RunNotFound):
            await engine.client.lineage("00000000-0000-7000-8000-000000000000")
