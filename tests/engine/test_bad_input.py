"""Bad input: a typed error with a stable code that names the thing and the way out, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import timedelta
from typing import Any

import msgspec
import pytest

import holdfast as hf
from holdfast.model.ids import Json, RunId
from holdfast.model.run import NewRun
from holdfast.model.status import RunStatus
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio

SHORT = timedelta(milliseconds=300)


class Order(msgspec.Struct):
    """An order."""

    number: int


def deep(levels: int) -> Any:
    """A document of so many levels."""
    document: Any = 1
    for _ in range(levels):
        document = [document]
    return document


BAD_VALUES = {
    "a NUL character": ("a\x00b", "NUL"),
    "a lone surrogate": ("\ud800", "surrogate"),
    "NaN": (math.nan, "NaN"),
    "infinity": ([1.0, math.inf], "finite|Infinity|infinite|NaN"),
    "an integer past 64 bits": ({"n": 2**64}, "64"),
    "a document 100 deep": (deep(100), "deep|levels"),
    "an object of no known type": (object(), "object"),
}


@pytest.mark.requirement("promise-12", "fault-69", "fault-70", "fault-71")
@pytest.mark.parametrize("what", BAD_VALUES)
async def test_a_value_that_cannot_be_stored_is_refused_where_it_is_passed_and_where_it_is_returned(
    engine: Engine, what: str
) -> None:
    value, named = BAD_VALUES[what]

    @engine.app.step
    async def give() -> Any:
        return value

    @engine.app.workflow
    async def giving(_: Any = None) -> str:
        try:
            await give()
        except hf.errors.EncodeError as error:
            return error.code
        return "stored"

    @engine.app.workflow
    async def returning() -> Any:
        return value

    with pytest.raises(hf.errors.EncodeError, match=named) as refused:
        await engine.client.start(giving, value)
    assert refused.value.code == "encode_error"
    assert "giving" in str(refused.value)
    async with engine.worker():
        assert await (await engine.client.start(giving)).result(60) == "encode_error"
        with pytest.raises(hf.errors.RunFailed, match="returning"):
            await (await engine.client.start(returning)).result(60)


@pytest.mark.requirement("fault-52")
async def test_a_payload_over_the_limit_is_refused_with_both_sizes(engine: Engine) -> None:
    @engine.app.step
    async def give() -> str:
        return "x" * 3_000_000

    @engine.app.workflow
    async def giving(_: str = "") -> str:
        try:
            await give()
        except hf.errors.PayloadTooLarge as error:
            return error.code
        return "stored"

    with pytest.raises(hf.errors.PayloadTooLarge, match="limit"):
        await engine.client.start(giving, "x" * 3_000_000)
    async with engine.worker():
        assert await (await engine.client.start(giving)).result(60) == "payload_too_large"


@pytest.mark.requirement("S-01", "S-17")
async def test_an_unknown_workflow_is_refused_at_once_with_the_known_ones(engine: Engine) -> None:
    @engine.app.workflow
    async def known() -> None:
        return None

    with pytest.raises(hf.errors.WorkflowNotRegistered, match="known") as refused:
        await engine.client.start("unknown")
    assert refused.value.code == "workflow_not_registered"


@pytest.mark.requirement("promise-12", "S-15")
async def test_a_run_whose_workflow_no_worker_knows_stays_queued_says_so_and_blocks_nobody(engine: Engine) -> None:
    other = hf.App("other")

    @other.workflow
    async def elsewhere() -> str:
        return "elsewhere"

    @engine.app.workflow
    async def here() -> str:
        return "here"

    strange = hf.Client(engine.store, engine.host)
    run = await strange.start("elsewhere")
    async with engine.worker():
        assert await (await engine.client.start(here)).result(60) == "here"
        explanation = await engine.client.explain(run.id)
        assert explanation.status is RunStatus.QUEUED
        assert explanation.reasons[0].kind == "no_worker"
        assert "elsewhere" in str(explanation)
        async with engine.worker(other):
            assert await run.result(60) == "elsewhere"


@pytest.mark.requirement("promise-12")
async def test_an_argument_that_does_not_decode_fails_its_run_with_the_parameter_named(engine: Engine) -> None:
    @engine.app.workflow
    async def buy(order: Order) -> int:
        return order.number

    async with engine.worker():
        run = await hf.Client(engine.store, engine.host).start("buy", {"number": "seven"})
        with pytest.raises(hf.errors.RunFailed, match="order") as failed:
            await run.result(60)
        assert failed.value.reason == "undecodable"
        assert failed.value.failure.code == "decode_error"
        assert await (await engine.client.start(buy, Order(7))).result(60) == 7


async def test_a_row_with_rubbish_as_its_input_fails_alone(engine: Engine) -> None:
    @engine.app.workflow
    async def fine() -> str:
        return "fine"

    engine.store.start_runs(
        [NewRun(id=RunId("0196f000-0000-7000-8000-00000000000f"), workflow="fine", input=Json(b'{"other":[1]}'))]
    )
    async with engine.worker():
        rubbish: hf.RunHandle[object] = engine.client.handle("0196f000-0000-7000-8000-00000000000f")
        with pytest.raises(hf.errors.RunFailed):
            await rubbish.result(60)
        assert await (await engine.client.start(fine)).result(60) == "fine"


async def test_a_step_that_is_no_longer_there_to_be_undone_sets_the_run_aside(engine: Engine) -> None:
    @engine.app.step
    async def charge() -> None:
        return None

    @charge.compensate
    async def refund(_: None) -> None:
        return None

    @engine.app.workflow
    async def buy() -> None:
        await charge()
        charge.compensation = None
        raise ValueError("later")

    async with engine.worker():
        run = await engine.client.start(buy)
        with pytest.raises(hf.errors.RunStuck, match="compensation_unavailable"):
            await run.result(60)

    assert b"charge" in (engine.detail(run.id).run.error or b"")


@pytest.mark.requirement("S-14", "fault-69")
@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 300, "\ud800"], ids=["empty", "nul", "long", "surrogate"])
async def test_bad_names_and_keys_are_refused_where_they_are_given(engine: Engine, name: str) -> None:
    @engine.app.workflow
    async def fine() -> None:
        return None

    with pytest.raises(hf.errors.UsageError):
        engine.app.step(name=name or "\n")(fine.function)
    with pytest.raises(hf.errors.UsageError):
        await engine.client.start(fine, key=name)
    with pytest.raises(hf.errors.UsageError):
        await engine.client.signal(name, run_id="0196f000-0000-7000-8000-000000000001")


async def test_durations_that_make_no_sense_are_refused(engine: Engine) -> None:
    @engine.app.workflow
    async def fine() -> None:
        return None

    for delay in (-1, math.nan, math.inf, 1e30):
        with pytest.raises(hf.errors.UsageError):
            await engine.client.start(fine, delay=delay)
    with pytest.raises(hf.errors.UsageError):
        await engine.client.start(fine, priority=5000)


@pytest.mark.requirement("S-02")
async def test_an_unknown_run_is_not_found_by_any_method(engine: Engine) -> None:
    missing = "0196f000-0000-7000-8000-00000000dead"
    client = engine.client
    for call in (client.get, client.detail, client.explain, client.cancel, client.wait_for_end):
        with pytest.raises(hf.errors.RunNotFound, match=missing):
            await call(missing)
    with pytest.raises(hf.errors.RunNotFound):
        await client.signal("go", run_id=missing)
    with pytest.raises(hf.errors.UsageError):
        await client.get("not-an-id")


@pytest.mark.requirement("fault-6", "promise-12", "B-53")
async def test_a_handler_that_blocks_the_loop_keeps_its_lease(engine: Engine) -> None:
    calls: list[int] = []

    @engine.app.step
    async def blocks() -> str:
        calls.append(1)
        time.sleep(1.0)
        return "finished"

    @engine.app.workflow
    async def blocking() -> str:
        return await blocks()

    async with engine.worker(lease=SHORT):
        run = await engine.client.start(blocking)
        assert await run.result(60) == "finished"

    assert calls == [1]
    assert engine.detail(run.id).run.epoch == 1


@pytest.mark.requirement("promise-12")
async def test_a_step_that_never_returns_holds_up_nobody_else(engine: Engine) -> None:
    begun = asyncio.Event()

    @engine.app.step
    async def never() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    @engine.app.workflow
    async def hanging() -> None:
        await never()

    @engine.app.workflow
    async def other() -> str:
        await hf.sleep(LONG_S)
        return "on time"

    async with engine.worker(grace=SHORT):
        hung = await engine.client.start(hanging)
        await begun.wait()
        assert await (await engine.client.start(other)).result(60) == "on time"

    # The drain handed it back at once: the next worker may take it.
    assert (await hung.get()).status is RunStatus.QUEUED
