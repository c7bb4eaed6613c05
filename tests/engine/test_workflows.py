"""Workflows: side by side, over time, with children and signals; replayed without a difference."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.model.status import RunStatus
from tests.engine.conftest import LONG_S, QUICK, Engine

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """It is broken."""


async def test_gather_returns_results_in_order_and_journals_each_branch(engine: Engine) -> None:
    @engine.app.step
    async def pack(item: str) -> str:
        return f"[{item}]"

    async def unpack_and_pack(item: str) -> str:
        return await pack(await pack(item))

    @engine.app.workflow
    async def packing() -> list[str]:
        return [*await hf.gather(pack("a"), unpack_and_pack("b"), unpack_and_pack("c"))]

    async with engine.worker():
        run = await engine.client.start(packing)
        assert await run.result(60) == ["[a]", "[[b]]", "[[c]]"]

    keys = {entry.key for entry in engine.detail(run.id).journal}
    assert keys == {"pack", "gather[1]/pack", "gather[1]/pack#2", "gather[2]/pack", "gather[2]/pack#2"}


async def test_branches_that_sleep_wake_by_themselves_while_another_is_busy(engine: Engine) -> None:
    woken = asyncio.Event()

    @engine.app.step
    async def busy() -> str:
        await woken.wait()
        return "busy"

    @engine.app.step
    async def wake() -> str:
        woken.set()
        return "woken"

    async def later() -> str:
        await hf.sleep(LONG_S)
        return await wake()

    @engine.app.workflow
    async def both() -> list[str]:
        return [*await hf.gather(busy(), later())]

    async with engine.worker():
        assert await (await engine.client.start(both)).result(60) == ["busy", "woken"]


async def test_the_first_failure_of_a_gather_stops_the_others_at_their_next_step(engine: Engine) -> None:
    done: list[str] = []
    failed = asyncio.Event()

    @engine.app.step(retry=hf.Retry.never())
    async def fail() -> None:
        failed.set()
        raise Broken("first")

    @engine.app.step
    async def work(name: str) -> None:
        await failed.wait()
        done.append(name)

    async def two_steps() -> None:
        await work("one")
        await hf.sleep(30)
        await work("two")

    @engine.app.workflow
    async def gathering() -> str:
        try:
            await hf.gather(two_steps(), fail())
        except Broken as error:
            return str(error)
        return "not reached"

    async with engine.worker():
        run = await engine.client.start(gathering)
        assert await run.result(60) == "first"

    assert done == ["one"]
    assert {entry.key for entry in engine.detail(run.id).journal} == {"fail", "gather[0]/work"}


async def test_gather_can_return_failures_in_their_places(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def maybe(number: int) -> int:
        if number == 2:
            raise Broken("two")
        return number

    @engine.app.workflow
    async def gathering() -> list[str]:
        results = await hf.gather(maybe(1), maybe(2), maybe(3), return_exceptions=True)
        return [repr(result) for result in results]

    async with engine.worker():
        assert await (await engine.client.start(gathering)).result(60) == ["1", "Broken('two')", "3"]


async def test_map_bounds_its_concurrency_and_keeps_the_order(engine: Engine) -> None:
    running, most = 0, 0

    @engine.app.step
    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number * 10

    @engine.app.workflow
    async def mapping() -> list[int]:
        return await hf.map(work, range(20), concurrency=3)

    async with engine.worker():
        assert await (await engine.client.start(mapping)).result(60) == [number * 10 for number in range(20)]

    assert 1 <= most <= 3


@pytest.mark.requirement("promise-12")
async def test_map_tolerates_as_many_failures_as_it_is_told(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def work(number: int) -> int:
        if number % 5 == 0:
            raise Broken(str(number))
        return number

    @engine.app.workflow
    async def mapping(tolerate: float) -> list[str]:
        results = await hf.map(work, range(1, 11), tolerate=tolerate)
        return ["failed" if isinstance(result, Exception) else str(result) for result in results]

    async with engine.worker():
        two_failed = ["1", "2", "3", "4", "failed", "6", "7", "8", "9", "failed"]
        assert await (await engine.client.start(mapping, 0.2)).result(60) == two_failed
        assert await (await engine.client.start(mapping, 2)).result(60) == two_failed
        with pytest.raises(hf.errors.RunFailed, match="Broken: 5"):
            await (await engine.client.start(mapping, 0.1)).result(60)


async def test_map_items_have_names_of_their_own_if_asked(engine: Engine) -> None:
    @engine.app.step
    async def work(name: str) -> str:
        return name

    @engine.app.workflow
    async def mapping() -> list[str]:
        return await hf.map(work, ["x", "y"], key=lambda name: name)

    async with engine.worker():
        run = await engine.client.start(mapping)
        assert await run.result(60) == ["x", "y"]

    assert {entry.key for entry in engine.detail(run.id).journal} == {"map[x]/work", "map[y]/work"}


@pytest.mark.requirement("promise-6")
async def test_a_sleeping_run_is_held_by_no_worker_and_never_wakes_early(engine: Engine) -> None:
    @engine.app.workflow
    async def sleeping() -> list[float]:
        before = hf.now()
        await hf.sleep(LONG_S)
        return [(hf.now() - before).total_seconds()]

    async with engine.worker() as worker:
        run = await engine.client.start(sleeping)
        while (await run.get()).status is not RunStatus.WAITING or worker.held_runs:
            # The database may know before the worker has heard its answer.
            await asyncio.sleep(0.01)
        assert (await run.get()).worker is None
        assert (await run.result(60))[0] >= LONG_S

    wait = engine.detail(run.id).waits[0]
    assert (wait.closed_ms or 0) >= (wait.due_ms or 0)


async def test_recorded_values_are_the_same_on_replay(engine: Engine) -> None:
    seen: list[tuple[str, ...]] = []

    @engine.app.workflow
    async def valuing() -> None:
        seen.append((str(hf.now()), str(hf.uuid4()), str(hf.random()), str(hf.uuid4())))
        await hf.sleep(LONG_S)

    async with engine.worker():
        await (await engine.client.start(valuing)).result(60)

    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][1] != seen[0][3]


@pytest.mark.requirement("S-57", "promise-7", "C-52")
async def test_a_signal_reaches_a_wait_before_and_after_it_opened(engine: Engine) -> None:
    @engine.app.workflow
    async def waiting() -> list[int]:
        first = await hf.wait_for_signal("number", int)
        await hf.sleep(LONG_S)
        return [first, await hf.wait_for_signal("number", int), await hf.wait_for_signal("number", int)]

    async with engine.worker():
        run = await engine.client.start(waiting)
        while not (await run.explain()).pending_signals:
            await asyncio.sleep(0.01)
        assert await run.signal("number", 1) is True
        assert await run.signal("number", 2) is False or True
        await run.signal("number", 3)
        assert await run.result(60) == [1, 2, 3]


@pytest.mark.requirement("S-57", "promise-7")
async def test_a_signal_that_is_sent_twice_with_one_id_arrives_once(engine: Engine) -> None:
    @engine.app.workflow
    async def waiting() -> str:
        await hf.wait_for_signal("go")
        try:
            await hf.wait_for_signal("go", timeout=0.05)
        except hf.errors.SignalTimeout:
            return "once"
        return "twice"

    async with engine.worker():
        run = await engine.client.start(waiting)
        for _ in range(3):
            await engine.client.signal("go", run_id=run.id, signal_id="0196f000-0000-7000-8000-000000000001")
        assert await run.result(60) == "once"


@pytest.mark.requirement("S-57", "S-31", "O-16")
async def test_a_wait_for_a_signal_times_out(engine: Engine) -> None:
    @engine.app.workflow
    async def waiting(seconds: float) -> str:
        try:
            await hf.wait_for_signal("never", timeout=seconds)
        except hf.errors.SignalTimeout as error:
            return f"{error.code} {error.signal}"
        return "signalled"

    async with engine.worker():
        for seconds in (0.01, LONG_S):
            assert await (await engine.client.start(waiting, seconds)).result(60) == "signal_timeout never"


async def test_a_signal_to_all_reaches_every_waiting_run(engine: Engine) -> None:
    @engine.app.workflow
    async def waiting() -> str:
        return await hf.wait_for_signal("news", str)

    async with engine.worker():
        runs = [await engine.client.start(waiting) for _ in range(3)]
        for run in runs:
            while not (await run.explain()).pending_signals:
                await asyncio.sleep(0.01)
        assert set(await engine.client.signal("news", "hello")) == {run.id for run in runs}
        assert [await run.result(60) for run in runs] == ["hello"] * 3


@pytest.mark.requirement("S-57", "S-02")
async def test_a_child_run_knows_its_parent_and_starts_once(engine: Engine) -> None:
    started: list[int] = []

    @engine.app.step
    async def note(number: int) -> None:
        started.append(number)

    @engine.app.workflow
    async def child(number: int) -> int:
        await note(number)
        return number + 1

    @engine.app.workflow
    async def parent() -> list[int]:
        first = await hf.run_child(child, 1)
        later = await hf.start_child(child.with_options(key="second", priority=5), 10)
        await hf.sleep(LONG_S)
        return [first, await later.result(), *await hf.gather(hf.run_child(child, 20), hf.run_child(child, 30))]

    async with engine.worker():
        run = await engine.client.start(parent)
        assert await run.result(60) == [2, 11, 21, 31]

    assert sorted(started) == [1, 10, 20, 30]
    children = (await engine.client.list(parent_id=run.id)).runs
    assert {one.parent_key for one in children} == {"child", "second", "gather[0]/child", "gather[1]/child"}


async def test_a_failed_child_fails_its_parent_with_the_reason(engine: Engine) -> None:
    @engine.app.workflow
    async def child() -> None:
        raise Broken("inside")

    @engine.app.workflow
    async def parent() -> str:
        try:
            await hf.run_child(child)
        except hf.errors.RunFailed as error:
            return f"{type(error.__cause__).__name__}: {error.failure.message}"
        return "not reached"

    async with engine.worker():
        assert await (await engine.client.start(parent)).result(60) == "Broken: inside"


async def test_a_parent_of_many_children_gets_all_results(engine: Engine) -> None:
    @engine.app.workflow
    async def child(number: int) -> int:
        return number

    async def call(number: int) -> int:
        return await hf.run_child(child, number)

    @engine.app.workflow
    async def parent() -> int:
        return sum(await hf.map(call, range(60), concurrency=25))

    async with engine.worker():
        assert await (await engine.client.start(parent)).result(60) == sum(range(60))


@pytest.mark.requirement("S-59")
async def test_a_run_past_its_deadline_ends_failed_whatever_it_waits_for(engine: Engine) -> None:
    @engine.app.step
    async def slow() -> None:
        await asyncio.get_running_loop().create_future()

    @engine.app.workflow(timeout=timedelta(milliseconds=300))
    async def in_a_step() -> None:
        await slow()

    @engine.app.workflow(timeout=timedelta(milliseconds=300))
    async def in_a_sleep() -> None:
        await hf.sleep(60)

    async with engine.worker():
        for workflow in (in_a_step, in_a_sleep):
            run = await engine.client.start(workflow)
            with pytest.raises(hf.errors.RunFailed, match="deadline_exceeded"):
                await run.result(60)
            assert (await run.get()).terminal_reason == "deadline_exceeded"


@pytest.mark.requirement("S-59")
async def test_a_cancelled_run_stops_in_its_step_and_in_its_wait(engine: Engine) -> None:
    reached = asyncio.Event()

    @engine.app.step
    async def slow() -> None:
        reached.set()
        await asyncio.get_running_loop().create_future()

    @engine.app.workflow
    async def in_a_step() -> None:
        await slow()

    @engine.app.workflow
    async def in_a_wait() -> None:
        await hf.wait_for_signal("never")

    async with engine.worker():
        run = await engine.client.start(in_a_step)
        await reached.wait()
        await run.cancel("enough")
        with pytest.raises(hf.errors.RunCancelled):
            await run.result(60)
        run = await engine.client.start(in_a_wait)
        while (await run.get()).status is not RunStatus.WAITING:
            await asyncio.sleep(0.01)
        assert (await run.cancel()).status is RunStatus.CANCELLED


async def test_except_exception_in_a_workflow_does_not_swallow_suspension(engine: Engine) -> None:
    calls: list[str] = []

    @engine.app.step
    async def note(what: str) -> None:
        calls.append(what)

    @engine.app.workflow
    async def careless() -> str:
        try:
            await hf.sleep(LONG_S)
        except Exception:
            await note("swallowed")
            raise
        await note("after")
        return "ok"

    async with engine.worker():
        assert await (await engine.client.start(careless)).result(60) == "ok"

    assert calls == ["after"]


async def test_a_plain_workflow_does_all_of_this_from_a_thread(engine: Engine) -> None:
    @engine.app.step
    def double(number: int) -> int:
        return number * 2

    @engine.app.step(retry=QUICK)
    async def call(number: int) -> int:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        if info.attempt == 1:
            raise Broken
        return number + 1

    @engine.app.workflow
    def child(number: int) -> int:
        return double(number)

    @engine.app.workflow
    def plain(number: int) -> list[object]:
        first = double(number)
        key = str(hf.uuid4())
        hf.blocking.sleep(LONG_S)
        second = call.sync(first)
        signal = hf.blocking.wait_for_signal("go", str)
        kin = hf.blocking.run_child(child, 21)
        later = hf.blocking.start_child(child, 1)
        mapped = hf.blocking.map(double, [1, 2, 3])
        return [first, second, signal, kin, hf.blocking.child_result(later), mapped, key == str(key)]

    async with engine.worker():
        run = await engine.client.start(plain, 2)
        await run.signal("go", "gone")
        assert await run.result(60) == [4, 5, "gone", 42, 2, [2, 4, 6], True]


async def test_current_tells_the_run_in_a_workflow(engine: Engine) -> None:
    @engine.app.workflow
    async def asking() -> list[object]:
        info = hf.current()
        assert isinstance(info, hf.RunInfo)
        return [info.run_id, info.key, info.workflow, info.attempt, info.tenant]

    async with engine.worker():
        run = await engine.client.start(asking, key="k-1")
        assert await run.result(60) == [run.id, "k-1", "asking", 1, "default"]

    with pytest.raises(hf.errors.NotInWorkflow):
        hf.current()
