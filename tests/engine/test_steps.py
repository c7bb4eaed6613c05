"""Steps: journaled once, retried as told, bounded in time, whatever the handler does."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.model.status import EntryStatus
from tests.engine.conftest import LONG_S, QUICK, Engine

pytestmark = pytest.mark.anyio


class Declined(Exception):
    """The card was declined."""


class Unavailable(Exception):
    """The service is down."""


@pytest.mark.requirement("S-05", "S-15", "promise-2", "B-07")
async def test_a_recorded_step_does_not_run_again_when_the_run_is_replayed(engine: Engine) -> None:
    calls: list[str] = []

    @engine.app.step
    async def charge(order: str) -> None:
        calls.append(order)

    @engine.app.workflow
    async def buy(order: str) -> str:
        await charge(order)
        await hf.sleep(LONG_S)
        await charge(order + "-again")
        return "done"

    async with engine.worker():
        run = await engine.client.start(buy, "order-1")
        assert await run.result(60) == "done"

    assert calls == ["order-1", "order-1-again"]
    assert engine.detail(run.id).run.epoch > 1


@pytest.mark.requirement("S-04", "S-06", "S-11", "S-12", "S-58", "R-09")
async def test_the_record_holds_input_results_attempts_and_times(engine: Engine) -> None:
    @engine.app.step
    async def double(number: int) -> int:
        return number * 2

    @engine.app.workflow
    async def twice(number: int) -> int:
        return await double(await double(number))

    async with engine.worker():
        run = await engine.client.start(twice, 3)
        assert await run.result(60) == 12

    detail = engine.detail(run.id)
    assert detail.run.input == b'{"value":{"args":[3]}}'
    assert detail.run.result == b'{"value":12}'
    assert [(entry.key, entry.seq, entry.result, entry.attempts) for entry in detail.journal] == [
        ("double", 1, b'{"value":6}', 1),
        ("double#2", 2, b'{"value":12}', 1),
    ]
    assert all(entry.started_ms <= entry.completed_ms for entry in detail.journal)
    assert detail.run.created_ms <= (detail.run.started_ms or 0) <= (detail.run.finalized_ms or 0)


@pytest.mark.requirement("S-07", "R-09")
async def test_a_failing_step_is_tried_again_and_every_failed_attempt_is_recorded(engine: Engine) -> None:
    attempts: list[tuple[int, str]] = []

    @engine.app.step(retry=QUICK)
    async def call() -> str:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        attempts.append((info.attempt, info.idempotency_key))
        if info.attempt < 3:
            raise Unavailable("not yet")
        return "ok"

    @engine.app.workflow
    async def calling() -> str:
        return await call()

    async with engine.worker():
        run = await engine.client.start(calling)
        assert await run.result(60) == "ok"

    assert attempts == [(number, f"{run.id}/call") for number in (1, 2, 3)]
    detail = engine.detail(run.id)
    assert [(one.key, one.attempt) for one in detail.attempts] == [("call", 1), ("call", 2)]
    assert detail.journal[0].attempts == 3


@pytest.mark.requirement("S-07", "S-08")
async def test_the_attempts_before_a_park_count_after_it(engine: Engine) -> None:
    tried: list[int] = []

    @engine.app.step(retry=hf.Retry(max_attempts=3, initial=timedelta(seconds=LONG_S), factor=1, jitter=0))
    async def call() -> None:
        tried.append(len(tried) + 1)
        raise Unavailable(f"try {len(tried)}")

    @engine.app.workflow
    async def calling() -> None:
        await call()

    async with engine.worker():
        run = await engine.client.start(calling)
        with pytest.raises(hf.errors.RunFailed, match="try 3"):
            await run.result(60)

    assert tried == [1, 2, 3]
    detail = engine.detail(run.id)
    assert detail.run.terminal_reason == "retries_exhausted"
    assert detail.journal[0].status is EntryStatus.FAILED
    assert detail.journal[0].attempts == 3


async def test_a_failure_that_is_not_retryable_ends_the_step_at_once(engine: Engine) -> None:
    tried: list[str] = []

    @engine.app.step(retry=hf.Retry(max_attempts=5, non_retryable=(Declined,)))
    async def charge() -> None:
        tried.append("charge")
        raise Declined("no money")

    @engine.app.step
    async def give_up() -> None:
        tried.append("give_up")
        raise hf.NonRetryable("pointless")

    @engine.app.workflow
    async def buy() -> list[str]:
        caught: list[str] = []
        for step in (charge, give_up):
            try:
                await step()
            except (Declined, hf.NonRetryable) as error:
                caught.append(f"{type(error).__name__}: {error}")
        return caught

    async with engine.worker():
        run = await engine.client.start(buy)
        assert await run.result(60) == ["Declined: no money", "NonRetryable: pointless"]

    assert tried == ["charge", "give_up"]


async def test_an_error_may_say_when_to_try_again(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry(max_attempts=2, initial=timedelta(hours=1), max_delay=timedelta(hours=1)))
    async def call() -> str:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        if info.attempt == 1:
            raise hf.RetryAfter(timedelta(milliseconds=5))
        return "in time"

    @engine.app.workflow
    async def calling() -> str:
        return await call()

    async with engine.worker():
        assert await (await engine.client.start(calling)).result(60) == "in time"


@pytest.mark.requirement("S-58")
async def test_a_failure_is_raised_as_the_same_type_on_replay(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def charge() -> None:
        raise Declined("no money")

    @engine.app.workflow
    async def buy() -> str:
        kept = ""
        try:
            await charge()
        except Declined as error:
            kept = str(error)
        await hf.sleep(LONG_S)
        return kept

    async with engine.worker():
        assert await (await engine.client.start(buy)).result(60) == "no money"


@pytest.mark.requirement("S-59")
async def test_a_step_that_takes_too_long_fails_with_step_timeout(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never(), timeout=timedelta(milliseconds=30))
    async def never_returns() -> None:
        await asyncio.get_running_loop().create_future()

    released = threading.Event()

    @engine.app.step(retry=hf.Retry.never(), timeout=timedelta(milliseconds=30))
    def never_returns_in_a_thread() -> None:
        released.wait(30)

    @engine.app.workflow
    async def waiting() -> list[str]:
        codes: list[str] = []
        for call in (never_returns, never_returns_in_a_thread.aio):
            try:
                await call()
            except hf.errors.StepTimeout as error:
                codes.append(error.code)
        return codes

    async with engine.worker():
        assert await (await engine.client.start(waiting)).result(60) == ["step_timeout", "step_timeout"]
        released.set()


async def test_a_step_takes_options_at_the_call(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def call(number: int) -> int:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        if info.attempt == 1 and number == 2:
            raise Unavailable
        return number

    @engine.app.workflow
    async def calling() -> list[int]:
        return [
            await call.with_options(key="one")(1),
            await call.with_options(retry=QUICK)(2),
            await call.with_options(timeout=timedelta(seconds=5))(3),
        ]

    async with engine.worker():
        run = await engine.client.start(calling)
        assert await run.result(60) == [1, 2, 3]

    assert [entry.key for entry in engine.detail(run.id).journal] == ["one", "call", "call#2"]


async def test_a_key_used_twice_is_refused_by_name(engine: Engine) -> None:
    @engine.app.step
    async def call() -> None:
        return None

    @engine.app.workflow
    async def calling() -> None:
        await call.with_options(key="same")()
        await call.with_options(key="same")()

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed) as failed:
            await (await engine.client.start(calling)).result(60)

    assert isinstance(failed.value.__cause__, hf.errors.DuplicateStepKey)
    assert failed.value.__cause__.key == "same"


@pytest.mark.requirement("fault-80", "promise-12")
@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
async def test_a_handler_that_raises_a_base_exception_fails_its_step_and_nothing_else(
    engine: Engine, raised: BaseException
) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def bad() -> None:
        raise raised

    @engine.app.step(retry=hf.Retry.never())
    def bad_in_a_thread() -> None:
        raise raised

    @engine.app.step
    async def good() -> str:
        return "good"

    @engine.app.workflow
    async def calling() -> list[str]:
        seen: list[str] = []
        for call in (bad, bad_in_a_thread.aio):
            try:
                await call()
            except hf.errors.StepError as error:
                seen.append(error.type)
        return [*seen, await good()]

    async with engine.worker() as worker:
        run = await engine.client.start(calling)
        result = await run.result(60)
        assert worker.held_runs == 0 or await engine.client.start(calling)

    assert len(result) == 3
    assert all(type(raised).__name__ in name for name in result[:2])


async def test_a_handler_that_exits_the_interpreter_leaves_the_worker_alive(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def leave() -> None:
        sys.exit(1)

    @engine.app.workflow
    async def leaving() -> None:
        await leave()

    @engine.app.workflow
    async def other() -> str:
        return "fine"

    async with engine.worker():
        run = await engine.client.start(leaving)
        with pytest.raises(hf.errors.RunFailed, match="SystemExit"):
            await run.result(60)
        assert await (await engine.client.start(other)).result(60) == "fine"


async def test_a_plain_step_runs_in_a_thread_and_keeps_the_loop_free(engine: Engine) -> None:
    loop_thread = threading.get_ident()

    @engine.app.step
    def where() -> bool:
        return threading.get_ident() != loop_thread

    @engine.app.workflow
    async def asking() -> bool:
        return await where.aio()

    async with engine.worker():
        assert await (await engine.client.start(asking)).result(60) is True


async def test_a_plain_step_called_directly_in_an_async_workflow_says_what_to_do(engine: Engine) -> None:
    @engine.app.step
    def blocking() -> None:
        return None

    @engine.app.workflow
    async def calling() -> None:
        blocking()

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match=r"step\.aio"):
            await (await engine.client.start(calling)).result(60)


async def test_a_step_called_by_a_step_just_runs(engine: Engine) -> None:
    @engine.app.step
    async def inner() -> int:
        return 1

    @engine.app.step
    async def outer() -> int:
        return await inner() + 1

    @engine.app.workflow
    async def nesting() -> int:
        return await outer()

    async with engine.worker():
        run = await engine.client.start(nesting)
        assert await run.result(60) == 2

    assert [entry.key for entry in engine.detail(run.id).journal] == ["outer"]


async def test_a_durable_operation_in_a_handler_is_refused(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry.never())
    async def sleepy() -> None:
        await hf.sleep(1)

    @engine.app.workflow
    async def calling() -> None:
        await sleepy()

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match="only inside a workflow"):
            await (await engine.client.start(calling)).result(60)


async def test_a_step_in_a_task_of_its_own_is_refused_with_the_way_out(engine: Engine) -> None:
    @engine.app.step
    async def call() -> None:
        return None

    @engine.app.workflow
    async def calling() -> None:
        await asyncio.gather(call(), call())

    async with engine.worker():
        with pytest.raises(hf.errors.RunFailed, match=r"hf\.gather"):
            await (await engine.client.start(calling)).result(60)


async def test_steps_and_workflows_just_run_without_an_engine() -> None:
    app = hf.App("alone")

    @app.step
    async def double(number: int) -> int:
        return number * 2

    @app.step
    def triple(number: int) -> int:
        return number * 3

    @app.workflow
    async def both(number: int) -> list[int]:
        await hf.sleep(0)
        return [*await hf.gather(double(number), triple.aio(number)), *await hf.map(double, [1, 2])]

    assert await both(2) == [4, 6, 2, 4]
    assert triple(2) == 6
