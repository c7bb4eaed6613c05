"""Replay: code that moved goes on; code that disagrees with its journal stops, and says where."""

from __future__ import annotations

import random
import time

import pytest

import holdfast as hf
from holdfast.model.status import RunStatus
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


async def stuck(run: hf.RunHandle[object]) -> hf.errors.RunStuck:
    """The error of a run that was set aside."""
    with pytest.raises(hf.errors.RunStuck) as error:
        await run.result(60)
    return error.value


@pytest.mark.requirement("S-55", "promise-9", "fault-55")
async def test_a_random_branch_is_noticed_on_replay_and_names_both_sides(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.step
    async def left() -> None:
        return None

    @engine.app.step
    async def right() -> None:
        return None

    @engine.app.workflow
    async def tossing() -> None:
        passes.append(1)
        await (left() if len(passes) == 1 else right())
        await hf.sleep(LONG_S)

    async with engine.worker():
        run = await engine.client.start(tossing)
        error = await stuck(run)

    assert error.reason == "non_determinism"
    detail = engine.detail(run.id)
    assert b"left" in (detail.run.error or b"")
    assert b"non_determinism" in (detail.run.error or b"")


@pytest.mark.requirement("S-55", "fault-55")
@pytest.mark.parametrize("source", [time.time_ns, random.random], ids=["clock", "chance"])
async def test_a_clock_or_chance_that_reaches_a_step_is_noticed_on_replay(engine: Engine, source: object) -> None:
    @engine.app.step
    async def use(value: float) -> None:
        return None

    @engine.app.workflow
    async def impure() -> None:
        await use(source())  # type: ignore[operator]
        await hf.sleep(LONG_S)

    async with engine.worker():
        run = await engine.client.start(impure)
        await stuck(run)

    error = engine.detail(run.id).run.error or b""
    assert b"with other arguments" in error
    assert b"hf.random()" in error


@pytest.mark.requirement("S-55")
async def test_reordered_steps_go_on_with_what_is_recorded(engine: Engine) -> None:
    passes: list[int] = []
    called: list[str] = []

    @engine.app.step
    async def first() -> str:
        called.append("first")
        return "1"

    @engine.app.step
    async def second() -> str:
        called.append("second")
        return "2"

    @engine.app.workflow
    async def moving() -> str:
        passes.append(1)
        steps = [first, second] if len(passes) == 1 else [second, first]
        results = [await step() for step in steps]
        await hf.sleep(LONG_S)
        return "".join(sorted(results))

    async with engine.worker():
        assert await (await engine.client.start(moving)).result(60) == "12"

    assert called == ["first", "second"]


@pytest.mark.requirement("S-55")
async def test_a_key_whose_kind_changed_stops_the_run(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.step(name="thing")
    async def thing() -> None:
        return None

    @engine.app.workflow
    async def changing() -> None:
        passes.append(1)
        if len(passes) == 1:
            await thing()
        else:
            await hf.wait_for_signal("thing", key="thing")
        await hf.sleep(LONG_S)

    async with engine.worker():
        run = await engine.client.start(changing)
        await stuck(run)

    assert (await run.get()).status is RunStatus.STUCK


async def test_a_step_that_the_code_no_longer_asks_for_stops_the_run_before_it_ends(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.step
    async def removed() -> None:
        return None

    @engine.app.workflow
    async def shrinking() -> str:
        passes.append(1)
        if len(passes) == 1:
            await removed()
        await hf.sleep(LONG_S)
        return "done"

    async with engine.worker():
        run = await engine.client.start(shrinking)
        await stuck(run)

    assert b"removed" in (engine.detail(run.id).run.error or b"")
