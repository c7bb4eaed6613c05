"""``hf.patched``: one body for runs that began before a change and for those that come to it afterwards."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.model.status import EntryKind, WaitOutcome
from holdfast.testing import crash_everywhere
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


class Shop:
    """Two versions of a program: the change is a step before the parcel is sent."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.old, self.new = hf.App("shop"), hf.App("shop")
        for app in (self.old, self.new):
            self.add_steps(app)

        @self.old.workflow(name="order")
        async def order_before() -> str:
            await self.charge()
            await hf.wait_for_signal("go")
            return await self.send()

        @self.new.workflow(name="order")
        async def order_after() -> str:
            await self.charge()
            if hf.patched("weigh first"):
                await self.weigh()
            await hf.wait_for_signal("go")
            return await self.send()

    def add_steps(self, app: hf.App) -> None:
        @app.step
        async def charge() -> None:
            self.called.append("charge")

        @app.step
        async def weigh() -> None:
            self.called.append("weigh")

        @app.step
        async def send() -> str:
            self.called.append("send")
            return "sent"

        self.charge, self.weigh, self.send = charge, weigh, send


async def start(engine: Engine, app: hf.App) -> hf.RunHandle[Any]:
    """A run of the one workflow of a program."""
    return await Client(engine.store, engine.host, registry=app).start(app.workflow_names[0])


async def open_wait(engine: Engine, run: hf.RunHandle[Any]) -> None:
    """Return when the run is parked."""
    while (await run.get()).status != "waiting":
        await asyncio.sleep(0.01)


@pytest.mark.requirement("S-55", "promise-9", "fault-56")
async def test_a_run_that_has_passed_the_place_goes_on_as_it_began(engine: Engine) -> None:
    shop = Shop()
    async with engine.worker(shop.old):
        run = await start(engine, shop.old)
        await open_wait(engine, run)
    async with engine.worker(shop.new):
        await run.signal("go", None)
        assert await run.result(60) == "sent"

    assert shop.called == ["charge", "send"]
    assert "patch:weigh first" not in {entry.key for entry in engine.detail(run.id).journal}


@pytest.mark.requirement("S-55", "fault-56")
async def test_a_run_that_comes_there_with_the_new_code_takes_the_new_path_and_keeps_it(engine: Engine) -> None:
    shop = Shop()
    async with engine.worker(shop.new):
        run = await start(engine, shop.old)
        await open_wait(engine, run)
    async with engine.worker(shop.new):
        await run.signal("go", None)
        assert await run.result(60) == "sent"

    assert shop.called == ["charge", "weigh", "send"]
    entry = next(entry for entry in engine.detail(run.id).journal if entry.kind is EntryKind.PATCH)
    assert (entry.key, entry.name) == ("patch:weigh first", "weigh first")


@pytest.mark.requirement("S-55", "fault-56")
async def test_a_patch_is_retired_by_deleting_its_condition(engine: Engine) -> None:
    shop, later = Shop(), hf.App("shop")
    shop.add_steps(later)

    @later.workflow
    async def order() -> str:
        await shop.charge()
        await shop.weigh()
        await hf.wait_for_signal("go")
        return await shop.send()

    async with engine.worker(shop.new):
        run = await start(engine, shop.old)
        await open_wait(engine, run)
    async with engine.worker(later):
        await run.signal("go", None)
        assert await run.result(60) == "sent"


@pytest.mark.requirement("S-55", "fault-56")
async def test_a_run_of_the_old_path_under_a_retired_patch_is_stopped(engine: Engine) -> None:
    shop, later = Shop(), hf.App("shop")
    shop.add_steps(later)

    @later.workflow
    async def order() -> str:
        await shop.weigh()
        return await shop.send()

    async with engine.worker(shop.old):
        run = await start(engine, shop.old)
        await open_wait(engine, run)
    async with engine.worker(later):
        await run.signal("go", None)
        with pytest.raises(hf.errors.RunStuck):
            await run.result(60)


async def test_one_name_is_answered_once_so_that_a_loop_stays_on_its_path(engine: Engine) -> None:
    apps, answers = [hf.App("loop"), hf.App("loop")], [list[bool](), list[bool]()]
    for number, app in enumerate(apps):

        @app.workflow
        async def loop(number: int = number) -> None:
            for turn in range(3):
                if number and turn != 1:
                    answers[number].append(hf.patched("x"))
                await hf.wait_for_signal("turn")

    async with engine.worker(apps[0]):
        run = await start(engine, apps[0])
        await open_wait(engine, run)
    async with engine.worker(apps[1]):
        for _ in range(3):
            await run.signal("turn", None)
        await run.result(60)

    assert answers[1]
    assert not any(answers[1])


async def test_a_wait_a_failed_attempt_and_a_child_each_say_that_the_place_was_passed(engine: Engine) -> None:
    app = hf.App("passed")
    passes: dict[str, list[bool]] = {"sleep": [], "attempt": [], "child": []}

    @app.step(retry=hf.Retry(max_attempts=2, initial=timedelta(seconds=LONG_S)))
    async def fail_once() -> None:
        if hf.current_step().attempt == 1:
            raise ConnectionError

    @app.workflow
    async def child() -> None:
        return None

    @app.workflow
    async def parent(kind: str) -> None:
        passes[kind].append(bool(passes[kind]) and hf.patched("x"))
        match kind:
            case "sleep":
                await hf.sleep(LONG_S)
            case "attempt":
                await fail_once()
            case _:
                await hf.start_child(child)
        await hf.sleep(LONG_S)

    async with engine.worker(app):
        runs = [await engine.client.start(parent, kind) for kind in passes]
        for run in runs:
            await run.result(60)

    assert all(len(answers) > 1 and not any(answers) for answers in passes.values())


@pytest.mark.requirement("S-55", "fault-56")
async def test_each_branch_of_a_gather_is_asked_for_itself(engine: Engine) -> None:
    apps, answers = [hf.App("side"), hf.App("side")], dict[str, bool]()
    for number, app in enumerate(apps):

        @app.step(name="work")
        async def work(name: str) -> None:
            return None

        @app.workflow
        async def side(number: int = number) -> None:
            async def branch(name: str, *, waits: bool) -> None:
                if waits:
                    await hf.wait_for_signal("go")
                if number:
                    answers[name] = hf.patched("x")
                await work(name)

            await hf.gather(branch("done", waits=False), branch("waiting", waits=True))
            if number:
                answers["after"] = hf.patched("x")

    async with engine.worker(apps[0]):
        run = await start(engine, apps[0])
        await open_wait(engine, run)
    async with engine.worker(apps[1]):
        await run.signal("go", None)
        await run.result(60)

    assert answers == {"done": False, "waiting": True, "after": True}


async def test_a_branch_keeps_the_answer_of_the_body_around_it(engine: Engine) -> None:
    @engine.app.workflow
    async def around() -> list[bool]:
        hf.patched("x")

        async def branch(number: int) -> bool:
            await hf.sleep(LONG_S)
            return hf.patched("x")

        return await hf.map(branch, [1, 2])

    async with engine.worker():
        run = await engine.client.start(around)
        assert await run.result(60) == [True, True]

    assert [entry.key for entry in engine.detail(run.id).journal if entry.kind is EntryKind.PATCH] == ["patch:x"]


async def test_a_plain_workflow_asks_the_same_way(engine: Engine) -> None:
    answers: list[bool] = []

    @engine.app.workflow
    def plain() -> None:
        answers.append(hf.patched("x"))
        answers.append(hf.blocking.patched("x"))
        hf.blocking.sleep(LONG_S)

    async with engine.worker():
        await (await engine.client.start(plain)).result(60)

    assert answers == [True] * 4


async def test_outside_a_run_the_new_path_is_taken() -> None:
    shop = Shop()

    @shop.new.workflow
    async def simple() -> bool:
        return hf.patched("x")

    assert await simple()


async def test_a_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(hf.errors.UsageError, match="patch name"):
        hf.patched("")


@pytest.mark.requirement("promise-9")
async def test_a_divergence_names_the_line_of_the_workflow(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.step
    async def use(value: int) -> int:
        return value

    async def in_between() -> None:
        await use(len(passes))  # the line of an async body

    @engine.app.workflow
    async def direct() -> None:
        passes.append(1)
        await in_between()
        await hf.sleep(LONG_S)

    @engine.app.workflow
    async def side_by_side() -> None:
        passes.append(1)
        await hf.gather(use(len(passes)))  # the line of a gather
        await hf.sleep(LONG_S)

    @engine.app.workflow
    def plain() -> None:
        passes.append(1)
        use.sync(len(passes))  # the line of a plain body
        hf.blocking.sleep(LONG_S)

    lines = Path(__file__).read_text("utf-8").splitlines()
    wanted = {"direct": "an async body", "side_by_side": "a gather", "plain": "a plain body"}
    for name, words in wanted.items():
        async with engine.worker():
            run = await engine.client.start(name)
            with pytest.raises(hf.errors.RunStuck):
                await run.result(60)
        number = next(at for at, line in enumerate(lines, start=1) if line.endswith(f"# the line of {words}"))
        assert f"test_patches.py:{number})" in (engine.detail(run.id).run.error or b"").decode()


@pytest.mark.requirement("S-55", "fault-55")
async def test_a_body_that_catches_everything_cannot_swallow_its_divergence(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.step
    async def use(value: int) -> int:
        return value

    @engine.app.workflow
    async def careless() -> str:
        passes.append(1)
        try:
            await use(len(passes))
        except Exception:  # noqa: BLE001 - what the promise is about
            return "went on regardless"
        await hf.sleep(LONG_S)
        return "done"

    async with engine.worker():
        run = await engine.client.start(careless)
        with pytest.raises(hf.errors.RunStuck):
            await run.result(60)


@pytest.mark.requirement("S-55", "fault-56")
async def test_a_sleep_that_the_code_no_longer_asks_for_stops_the_run(engine: Engine) -> None:
    passes: list[int] = []

    @engine.app.workflow
    async def shrinking() -> None:
        passes.append(1)
        if len(passes) == 1:
            await hf.sleep(0.01, key="removed")
        await hf.sleep(2 * LONG_S)  # the short one lets it linger in memory

    async with engine.worker():
        run = await engine.client.start(shrinking)
        with pytest.raises(hf.errors.RunStuck):
            await run.result(60)

    assert b"removed" in (engine.detail(run.id).run.error or b"")
    assert next(wait.outcome for wait in engine.detail(run.id).waits if wait.key == "removed") is WaitOutcome.ELAPSED


def test_a_patch_is_kept_wherever_the_worker_dies() -> None:
    app = hf.App("patched")

    @app.step
    async def work(name: str) -> str:
        return name

    @app.workflow
    async def changed() -> list[str]:
        async def branch(name: str) -> str:
            first = await work(f"{name}1")
            return first if hf.patched("inside") else await work("old")

        before = await work("before")
        done = [before]
        if hf.patched("one"):
            done.append(await work("new"))
        done += await hf.gather(branch("a"), branch("b"))
        await hf.sleep(60)
        if hf.patched("two"):
            done.append(await work("newer"))
        return done

    report = crash_everywhere(changed, app=app)

    assert report.outcome.result == ["before", "new", "a1", "b1", "newer"]
    assert [key for key in report.outcome.journal if "patch:" in key] == [
        "gather[0]/patch:inside",
        "gather[1]/patch:inside",
        "patch:one",
        "patch:two",
    ]
