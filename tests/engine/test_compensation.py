"""Sagas: what a failed run did is undone, in reverse order of completion."""

from __future__ import annotations

import asyncio

import pytest

import holdfast as hf
from holdfast.model.commit import RunCommit
from holdfast.model.status import EntryKind, EntryStatus
from tests.engine.conftest import LONG_S, QUICK, Engine

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """It is broken."""


def book(engine: Engine) -> tuple[list[str], hf.App]:
    """An App with three compensated steps and one that fails; and the list that says what they did."""
    did: list[str] = []
    app = engine.app

    for name in ("charge", "reserve", "pack"):

        async def do(order: str, name: str = name) -> str:
            did.append(name)
            return f"{name}-{order}"

        async def undo(order: str, name: str, result: str) -> None:
            did.append(f"undo {result}")

        app.step(name=name)(do).compensate(undo)

    @app.step(name="ship", retry=hf.Retry.never())
    async def ship(order: str) -> None:
        did.append("ship")
        raise Broken(order)

    return did, app


@pytest.mark.requirement("promise-8", "S-08", "S-09", "S-54")
async def test_completed_steps_are_compensated_in_reverse_order_and_the_failed_one_is_not(engine: Engine) -> None:
    did, app = book(engine)

    @app.workflow
    async def fulfil(order: str) -> None:
        for name in ("charge", "reserve", "pack", "ship"):
            step = app.find_step(name)
            assert step is not None
            await (step(order, name) if name != "ship" else step(order))  # type: ignore[operator]

    async with engine.worker():
        run = await engine.client.start(fulfil, "o1")
        with pytest.raises(hf.errors.RunFailed, match="Broken: o1") as failed:
            await run.result(60)

    assert did == ["charge", "reserve", "pack", "ship", "undo pack-o1", "undo reserve-o1", "undo charge-o1"]
    assert isinstance(failed.value.__cause__, Broken)
    detail = engine.detail(run.id)
    assert detail.run.terminal_reason == "compensated"
    compensations = [entry for entry in detail.journal if entry.kind is EntryKind.COMPENSATION]
    assert [entry.key for entry in compensations] == ["pack~compensate", "reserve~compensate", "charge~compensate"]
    assert [move.to_status.value for move in detail.transitions][-2:] == ["compensating", "failed"]


@pytest.mark.requirement("S-54", "promise-8")
async def test_a_compensation_is_retried_like_a_step_also_across_a_park(engine: Engine) -> None:
    tried: list[int] = []

    @engine.app.step
    async def charge() -> int:
        return 1

    @charge.compensate_with(retry=hf.Retry(max_attempts=3, initial=QUICK.initial * 1000 * LONG_S, factor=1, jitter=0))
    async def refund(receipt: int) -> None:
        tried.append(receipt)
        if len(tried) < 3:
            raise Broken

    @engine.app.workflow
    async def buying() -> None:
        await charge()
        raise Broken("later")

    async with engine.worker():
        run = await engine.client.start(buying)
        with pytest.raises(hf.errors.RunFailed, match="later"):
            await run.result(60)

    assert tried == [1, 1, 1]
    assert engine.detail(run.id).run.terminal_reason == "compensated"


@pytest.mark.requirement("S-09", "S-54", "promise-8")
async def test_a_compensation_that_fails_for_good_does_not_stop_the_others_and_is_told(engine: Engine) -> None:
    undone: list[str] = []

    @engine.app.step
    async def first() -> None:
        return None

    @first.compensate
    async def undo_first(_: None) -> None:
        undone.append("first")

    @engine.app.step
    async def second() -> None:
        return None

    @second.compensate_with(retry=hf.Retry.never())
    async def undo_second(_: None) -> None:
        raise Broken("cannot")

    @engine.app.workflow
    async def buying() -> None:
        await first()
        await second()
        raise ValueError("the reason")

    async with engine.worker():
        run = await engine.client.start(buying)
        with pytest.raises(hf.errors.RunFailed, match="compensation_failed") as failed:
            await run.result(60)

    assert undone == ["first"]
    assert isinstance(failed.value.__cause__, hf.errors.CompensationError)
    assert failed.value.__cause__.failures == {"second": "Broken: cannot"}
    assert "the reason" in (failed.value.failure.cause.message)
    entries = {entry.key: entry.status for entry in engine.detail(run.id).journal}
    assert entries["second~compensate"] is EntryStatus.FAILED


@pytest.mark.requirement("promise-8")
async def test_a_failure_that_the_workflow_handles_compensates_nothing(engine: Engine) -> None:
    undone: list[str] = []

    @engine.app.step
    async def charge() -> None:
        return None

    @charge.compensate
    async def refund(_: None) -> None:
        undone.append("refund")

    @engine.app.step(retry=hf.Retry.never())
    async def ship() -> None:
        raise Broken

    @engine.app.workflow
    async def buying() -> str:
        await charge()
        try:
            await ship()
        except Broken:
            return "by hand"
        return "shipped"

    async with engine.worker():
        assert await (await engine.client.start(buying)).result(60) == "by hand"

    assert undone == []


@pytest.mark.requirement("promise-8")
async def test_a_step_that_finishes_while_its_sibling_fails_is_compensated_too(engine: Engine) -> None:
    failed, undone = asyncio.Event(), list[str]()

    @engine.app.step
    async def slow() -> str:
        await failed.wait()
        return "slow"

    @slow.compensate
    async def undo_slow(result: str) -> None:
        undone.append(result)

    @engine.app.step(retry=hf.Retry.never())
    async def quick() -> None:
        failed.set()
        raise Broken

    @engine.app.workflow
    async def both() -> None:
        await hf.gather(slow(), quick())

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed):
            await (await engine.client.start(both)).result(60)

    assert undone == ["slow"]


@pytest.mark.requirement("promise-8", "S-59")
async def test_a_run_that_passes_its_deadline_is_compensated(engine: Engine) -> None:
    undone: list[int] = []

    @engine.app.step
    async def charge() -> int:
        return 7

    @charge.compensate
    async def refund(receipt: int) -> None:
        undone.append(receipt)

    @engine.app.workflow
    async def buying() -> None:
        await charge()
        await hf.wait_for_signal("never")

    async with engine.worker():
        run = await engine.client.start(buying, timeout=LONG_S)
        with pytest.raises(hf.errors.RunFailed):
            await run.result(60)

    assert undone == [7]


@pytest.mark.requirement("promise-8")
async def test_a_step_that_failed_once_is_tried_to_its_end_when_its_sibling_fails(engine: Engine) -> None:
    failed, did = asyncio.Event(), list[str]()

    @engine.app.step(retry=hf.Retry(max_attempts=2, initial=QUICK.initial * 100, jitter=0))
    async def answer_lost() -> str:
        did.append("effect")
        if len(did) == 1:
            failed.set()
            raise Broken("the answer was lost, but the effect was not")
        return "made"

    @answer_lost.compensate
    async def unmake(result: str) -> None:
        did.append(f"undo {result}")

    @engine.app.step(retry=hf.Retry.never())
    async def sibling() -> None:
        await failed.wait()
        raise Broken("sibling")

    @engine.app.workflow
    async def both() -> None:
        await hf.gather(answer_lost(), sibling())

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match="sibling"):
            await (await engine.client.start(both)).result(60)

    assert did == ["effect", "effect", "undo made"]


@pytest.mark.requirement("promise-8", "promise-11")
async def test_a_run_whose_record_is_refused_is_compensated(engine: Engine) -> None:
    undone: list[str] = []

    @engine.app.step
    async def charge(order: str) -> str:
        return order

    @charge.compensate
    async def refund(order: str, receipt: str) -> None:
        undone.append(receipt)

    @engine.app.workflow
    async def buying() -> None:
        await charge("good")
        await charge("spoilt")
        await hf.sleep(LONG_S)

    async with engine.worker() as worker:
        commit = worker.store.commit

        def spoil(batch: list[RunCommit]) -> object:
            return commit(
                [
                    RunCommit(one.run_id, one.epoch, entries=[*one.entries, *one.entries], move=one.move)
                    if any(entry.result == b'{"value":"spoilt"}' for entry in one.entries)
                    else one
                    for one in batch
                ]
            )

        worker.store.commit = spoil  # type: ignore[method-assign,assignment]
        run = await engine.client.start(buying)
        with pytest.raises(hf.errors.RunFailed, match="refused"):
            await run.result(60)

    assert undone == ["spoilt", "good"]
