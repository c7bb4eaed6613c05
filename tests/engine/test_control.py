"""Operating runs by hand, with workers that execute them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.errors import CommandRefused
from holdfast.model.status import RunStatus
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


async def _until(engine: Engine, run: hf.RunHandle[object], status: str) -> None:
    async with asyncio.timeout(60):
        while engine.detail(run.id).run.status != status:
            await asyncio.sleep(0.01)


@pytest.mark.requirement("O-09")
async def test_a_run_is_paused_when_its_handler_has_ended_and_repeats_nothing(engine: Engine) -> None:
    calls: list[str] = []
    entered, go_on = asyncio.Event(), asyncio.Event()

    @engine.app.step
    async def first() -> str:
        calls.append("first")
        entered.set()
        await go_on.wait()
        return "1"

    @engine.app.step
    async def second() -> str:
        calls.append("second")
        return "2"

    @engine.app.workflow
    async def two() -> str:
        return await first() + await second()

    async with engine.worker():
        run = await engine.client.start(two)
        await entered.wait()
        asked = await engine.client.pause(run.id, actor="ann", reason="lunch")
        assert (asked.status, asked.pause_requested) == ("running", True)
        await asyncio.sleep(LONG_S)
        go_on.set()
        await _until(engine, run, "paused")
        assert calls == ["first"]
        await engine.client.resume(run.id)

        assert await run.result(60) == "12"

    assert calls == ["first", "second"]


@pytest.mark.requirement("O-09")
async def test_a_paused_sleeper_finds_its_time_past_when_it_resumes(engine: Engine) -> None:
    @engine.app.workflow
    async def nap() -> str:
        await hf.sleep(LONG_S)
        return "rested"

    async with engine.worker():
        run = await engine.client.start(nap)
        await _until(engine, run, "waiting")
        await engine.client.pause(run.id)
        await asyncio.sleep(LONG_S)
        assert (await run.get()).status is RunStatus.PAUSED
        await engine.client.resume(run.id)

        assert await run.result(60) == "rested"


@pytest.mark.requirement("O-09", "promise-8")
@pytest.mark.parametrize("waits", [False, True], ids=["in a step", "parked"])
async def test_a_cancelled_run_undoes_what_it_did_if_that_is_asked(engine: Engine, *, waits: bool) -> None:
    did: list[str] = []
    entered = asyncio.Event()

    @engine.app.step
    async def charge() -> str:
        did.append("charge")
        return "receipt"

    @charge.compensate
    async def refund(receipt: str) -> None:
        did.append(f"refund {receipt}")

    @engine.app.step
    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    @engine.app.workflow
    async def sale() -> None:
        await charge()
        if waits:
            await hf.wait_for_signal("never")
        else:
            await hang()

    async with engine.worker():
        run = await engine.client.start(sale)
        if waits:
            await _until(engine, run, "waiting")
        else:
            await entered.wait()
        await run.cancel("changed my mind", compensate=True)
        with pytest.raises(hf.errors.RunCancelled):
            await run.result(60)

    ended = engine.detail(run.id).run
    assert (ended.status, ended.terminal_reason) == ("cancelled", "compensated")
    assert did == ["charge", "refund receipt"]


@pytest.mark.requirement("R-23", "promise-4")
async def test_a_terminated_run_stops_its_handler_at_once_and_undoes_nothing(engine: Engine) -> None:
    entered, interrupted = asyncio.Event(), asyncio.Event()

    @engine.app.step
    async def hang() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()

    @engine.app.workflow
    async def forever() -> None:
        await hang()

    async with engine.worker(poll=timedelta(seconds=30)):
        run = await engine.client.start(forever)
        await entered.wait()
        after = await engine.client.terminate(run.id, actor="ann")
        assert (after.status, after.terminal_reason) == ("cancelled", "terminated")
        async with asyncio.timeout(60):
            await interrupted.wait()

    assert engine.detail(run.id).journal == []


@pytest.mark.requirement("O-09")
async def test_a_tree_of_runs_is_cancelled_from_its_root(engine: Engine) -> None:
    @engine.app.workflow
    async def leaf() -> None:
        await hf.wait_for_signal("never")

    @engine.app.workflow
    async def middle() -> None:
        await hf.gather(hf.run_child(leaf.with_options(key="a")), hf.run_child(leaf.with_options(key="b")))

    @engine.app.workflow
    async def loner() -> None:
        await hf.wait_for_signal("never")

    @engine.app.workflow
    async def root() -> None:
        await hf.start_child(loner.with_options(policy="abandon"))
        await hf.run_child(middle)

    async with engine.worker():
        run = await engine.client.start(root)
        async with asyncio.timeout(60):
            while (await engine.client.count()).get("waiting", 0) < 5:
                await asyncio.sleep(0.02)
        await run.cancel()
        async with asyncio.timeout(60):
            while (await engine.client.count()).get("cancelled", 0) < 4:
                await asyncio.sleep(0.02)

    assert await engine.client.count() == {"cancelled": 4, "waiting": 1}


@pytest.mark.requirement("R-52")
async def test_a_stuck_run_goes_on_with_mended_code_when_it_is_released(engine: Engine) -> None:
    old, broken = hf.App("old"), hf.App("broken")
    did: list[str] = []

    @old.step(name="write")
    async def write(text: str) -> None:
        did.append(text)

    @old.workflow(name="letter")
    async def letter() -> None:
        await write("dear")
        await hf.wait_for_signal("post")

    @broken.workflow(name="letter")
    async def forgetful_letter() -> None:
        return None

    async with engine.worker(old):
        run = await _plain(engine).start("letter")
        await _until(engine, run, "waiting")
    await _plain(engine).signal("post", run_id=run.id)
    async with engine.worker(broken):
        await _until(engine, run, "stuck")
    await _plain(engine).release(run.id, actor="ann", reason="mended")
    async with engine.worker(old):
        await run.result(60)

    assert did == ["dear"]


def _plain(engine: Engine) -> hf.Client:
    """A client that knows no App."""
    return hf.Client(engine.store, engine.host)


async def test_a_failing_step_is_settled_by_hand(engine: Engine) -> None:
    calls: list[int] = []

    @engine.app.step(retry=hf.Retry(max_attempts=5, initial=timedelta(seconds=60)))
    async def pay(amount: int) -> str:
        calls.append(amount)
        raise OSError("the bank is closed")

    @engine.app.workflow
    async def buy(amount: int) -> str:
        return await pay(amount)

    async with engine.worker():
        run = await engine.client.start(buy, 7)
        await _until(engine, run, "waiting")
        with pytest.raises(CommandRefused):
            await engine.client.settle(run.id, "pya", result="in cash")
        await engine.client.settle(run.id, "pay", result="in cash", actor="ann")

        assert await run.result(60) == "in cash"

    [entry] = engine.detail(run.id).journal
    assert (calls, entry.settled_by) == ([7], "ann")
