"""Circuit breakers as programs meet them: calls that are not made, runs that wait, and what they use up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.errors import RunFailed, UsageError
from holdfast.model.breaker import BreakerState
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from tests.engine.conftest import QUICK, Engine
from tests.engine.test_pauses import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("S-37")]


class Service:
    """An outside service that is up or down, and remembers its calls."""

    def __init__(self, *, up: bool = True) -> None:
        self.up = up
        self.calls: list[int] = []

    def call(self, number: int) -> int:
        """Raises ConnectionError while it is down."""
        self.calls.append(number)
        if not self.up:
            raise ConnectionError(f"nobody answers call {number}")
        return number


async def state(engine: Engine, name: str = "stripe") -> BreakerState:
    """The breaker's."""
    return (await engine.client.breakers.get(name)).state


async def waits(engine: Engine, run_id: str) -> bool:
    """Whether the run is parked, and for the breaker."""
    run = await engine.client.get(run_id)
    return run.status is RunStatus.WAITING and bool(
        [one for one in (await engine.client.explain(run_id)).reasons if one.kind == "breaker"]
    )


async def test_runs_wait_parked_while_the_service_is_down_and_all_complete_when_it_is_back(engine: Engine) -> None:
    service = Service(up=False)
    stripe = hf.Breaker("stripe", failures=3, open_for=0.5, factor=1, rate=1000)

    @engine.app.step(retry=hf.Retry.never(), breaker=stripe)
    async def charge(number: int) -> int:
        return service.call(number)

    @engine.app.workflow
    async def pay(number: int) -> int:
        try:
            return await charge(number)
        except ConnectionError:
            return -1

    client = engine.client
    await client.breakers.open("stripe", actor="ann")
    async with engine.worker(concurrency=4):
        runs = [await client.start(pay, number) for number in range(12)]
        for run in runs:
            await eventually(lambda run=run: waits(engine, run.id))  # type: ignore[misc]
        assert service.calls == []
        assert (await client.breakers.get("stripe")).waiting == 12
        assert {one.id for one in (await client.list(waiting_on="breaker:stripe")).runs} == {run.id for run in runs}

        # Three of them find it down; the others, and those who try, use up nothing.
        await client.breakers.close("stripe", actor="ann")
        await eventually(lambda: _is(engine, BreakerState.OPEN))
        calls, began_s = len(service.calls), asyncio.get_running_loop().time()
        await asyncio.sleep(1.2)
        tried = len(service.calls) - calls
        assert tried <= (asyncio.get_running_loop().time() - began_s) / 0.5 + 2

        service.up = True
        results = [await run.result(timeout=60) for run in runs]

    assert results.count(-1) <= 3 + 4
    assert results.count(-1) >= 3
    assert [one for one in results if one != -1] == [n for n, one in enumerate(results) if one != -1]
    assert await state(engine) is BreakerState.CLOSED


async def _is(engine: Engine, wanted: BreakerState) -> bool:
    return await state(engine) is wanted


async def test_a_run_that_waits_uses_up_no_attempt_nor_does_one_that_tries_in_vain(engine: Engine) -> None:
    service = Service(up=False)
    stripe = hf.Breaker("stripe", failures=1, open_for=0.05, factor=1)

    @engine.app.step(retry=QUICK, breaker=stripe)
    async def charge(number: int) -> int:
        return service.call(number)

    @engine.app.workflow
    async def pay(number: int) -> int:
        return await charge(number)

    async with engine.worker(), engine.worker():
        run = await engine.client.start(pay, 7)

        async def was_tried() -> bool:
            return len(service.calls) >= 6

        await eventually(was_tried)
        service.up = True
        assert await run.result(timeout=60) == 7

    detail = engine.detail(run.id)
    [entry] = detail.journal
    # One that counted, and behind it the wait for a retry; those that tried have none.
    assert entry.attempts == len(service.calls) == len(detail.attempts) + 1
    assert [wait.key for wait in detail.waits if wait.kind is WaitKind.RETRY] == ["charge~retry1"]
    assert len([wait for wait in detail.waits if wait.kind is WaitKind.BREAKER]) <= len(service.calls) + 1


async def test_errors_that_are_no_failures_of_the_service_open_nothing_and_close_it(engine: Engine) -> None:
    stripe = hf.Breaker("stripe", failures=1, open_for=0.05, on=(ConnectionError,))
    raised: list[BaseException] = [hf.NonRetryable("no"), ValueError("bad"), ConnectionError("down"), ValueError("bad")]

    @engine.app.step(retry=hf.Retry.never(), breaker=stripe)
    async def charge() -> None:
        if raised:
            raise raised.pop(0)

    @engine.app.workflow
    async def pay() -> None:
        await charge()

    async with engine.worker():
        states: list[BreakerState] = []
        for _ in range(4):
            run = await engine.client.start(pay)
            with contextlib.suppress(hf.HoldfastError):
                await run.result(timeout=60)
            states.append(await state(engine))

    assert states == [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.OPEN, BreakerState.CLOSED]


async def test_a_probe_that_is_cancelled_gives_way_to_the_next(engine: Engine) -> None:
    begun, stripe = asyncio.Event(), hf.Breaker("stripe", failures=1, open_for=0.05)
    hang = True

    @engine.app.step(retry=hf.Retry.never(), breaker=stripe)
    async def charge(number: int) -> int:
        if number == 0:
            raise ConnectionError("down")
        if hang:
            begun.set()
            await asyncio.Event().wait()
        return number

    @engine.app.workflow
    async def pay(number: int) -> int:
        return await charge(number)

    client = engine.client
    async with engine.worker():
        first = await client.start(pay, 0)
        with contextlib.suppress(hf.HoldfastError):
            await first.result(timeout=60)
        probe = await client.start(pay, 1)
        await asyncio.wait_for(begun.wait(), 20)
        other = await client.start(pay, 2)
        await eventually(lambda: waits(engine, other.id))
        hang = False
        await client.cancel(probe.id)

        assert await other.result(timeout=60) == 2
    assert await state(engine) is BreakerState.CLOSED


async def test_a_map_a_plain_step_a_compensation_and_a_graph_wait_for_the_breaker_too(engine: Engine) -> None:
    service, app = Service(), engine.app
    stripe = hf.Breaker("stripe", rate=1000)

    @app.step(breaker=stripe)
    def look(number: int) -> int:
        return service.call(number)

    @app.step
    async def reserve(number: int) -> int:
        return number

    @reserve.compensate_with(breaker=stripe)
    async def release(number: int, result: int) -> None:
        service.call(-result)

    @app.workflow
    async def many() -> list[int]:
        return await hf.map(look.aio, range(1, 5), concurrency=3)

    @app.workflow
    async def undone() -> None:
        await reserve(9)
        raise ValueError("no")

    graph = app.graph("drawn").step("look", look, input={"number": "input.number"})
    client = engine.client
    await client.breakers.open("stripe")
    async with engine.worker():
        runs: list[Any] = [await client.start(many), await client.start(undone)]
        runs.append(await client.start(graph, {"number": 5}))
        for run in (runs[0], runs[2]):
            await eventually(lambda run=run: waits(engine, run.id))  # type: ignore[misc]

        async def undoes() -> bool:
            reasons = (await client.explain(runs[1].id)).reasons
            return "breaker" in {one.kind for one in reasons} and (await client.get(runs[1].id)).worker is None

        await eventually(undoes)
        assert (await client.get(runs[1].id)).status is RunStatus.COMPENSATING
        assert service.calls == []
        await client.breakers.close("stripe")
        assert await runs[0].result(timeout=60) == [1, 2, 3, 4]
        with pytest.raises(RunFailed, match="compensated"):
            await runs[1].result(timeout=60)
        await runs[2].result(timeout=60)

    assert sorted(service.calls) == [-9, 1, 2, 3, 4, 5]


async def test_a_run_that_waits_is_replayed_cancelled_and_settled_as_any_other(engine: Engine) -> None:
    service = Service()

    @engine.app.step(breaker=hf.Breaker("stripe"))
    async def charge(number: int) -> int:
        return service.call(number)

    @engine.app.workflow
    async def pay(number: int) -> int:
        before = hf.now()
        result = await charge(number)
        assert hf.now() >= before
        return result

    client = engine.client
    await client.breakers.open("stripe")
    async with engine.worker():
        cancelled, settled = await client.start(pay, 1), await client.start(pay, 2)
        for run in (cancelled, settled):
            await eventually(lambda run=run: waits(engine, run.id))  # type: ignore[misc]
        await client.cancel(cancelled.id)
        await client.settle(settled.id, "charge", result=20, unseen=True)
        assert await settled.result(timeout=60) == 20
        assert (await client.get(cancelled.id)).status is RunStatus.CANCELLED
    assert service.calls == []


async def test_a_breaker_is_opened_listed_and_closed_by_hand(engine: Engine) -> None:
    client = engine.client
    assert await client.breakers.list() == []
    assert (await client.breakers.get("stripe")).state is BreakerState.CLOSED
    opened = await client.breakers.open("stripe", until_after=timedelta(hours=1), actor="ann", reason="they move house")

    assert await client.breakers.list() == [opened] == [await client.breakers.get("stripe")]
    assert (opened.state, opened.actor, opened.note, opened.waiting) == (BreakerState.OPEN, "ann", "they move house", 0)
    assert opened.retry_ms is not None
    assert opened.since_ms is not None
    assert opened.retry_ms - opened.since_ms == 3_600_000
    closed = await client.breakers.close("stripe", actor="bob")
    assert (closed.state, closed.actor, closed.since_ms) == (BreakerState.CLOSED, "bob", None)
    with pytest.raises(UsageError, match="must not be empty"):
        await client.breakers.open("")


def test_the_blocking_client_opens_and_closes_breakers(engine: Engine) -> None:
    with contextlib.closing(hf.SyncClient(engine.client)) as client:
        opened = client.breakers.open("stripe")

        assert client.breakers.get("stripe") == opened
        assert client.breakers.list() == [opened]
        assert client.breakers.close("stripe").state is BreakerState.CLOSED


async def test_nodes_of_a_graph_name_breakers_also_in_lines_of_their_own_and_branches(engine: Engine) -> None:
    service, app = Service(), engine.app
    stripe, adyen = hf.Breaker("stripe", rate=1000), hf.Breaker("adyen", rate=1000)

    @app.step
    async def charge(number: int) -> int:
        return service.call(number)

    graph = (
        app.graph("pay")
        .step("first", charge, input={"number": "1"}, breaker=stripe)
        .step("second", charge, input={"number": "2"}, breaker=stripe, queue="charges", after=[])
        .parallel("ways", {"third": hf.With(charge, input={"number": "3"}, breaker=adyen)}, after=[])
        .step("fourth", charge.with_options(breaker=adyen), input={"number": "4"}, after=[])
    )
    client = engine.client
    await client.breakers.open("stripe")
    await client.breakers.open("adyen")
    async with engine.worker(queues=["default", "charges"]):
        run = await client.start(graph)

        async def all_wait() -> bool:
            found = await client.breakers.list()
            return [(one.name, one.waiting) for one in found] == [("adyen", 1), ("stripe", 2)]

        await eventually(all_wait)
        assert set((await client.dag(run.id)).node_states().values()) == {hf.StepState.WAITING}
        assert service.calls == []
        await client.breakers.close("stripe")
        await client.breakers.close("adyen")
        await run.result(timeout=20)

    assert sorted(service.calls) == [1, 2, 3, 4]


async def test_the_branches_of_one_run_go_on_in_turn_too(engine: Engine) -> None:
    @engine.app.step(breaker=hf.Breaker("stripe", rate=4))
    async def charge(number: int) -> int:
        return number

    @engine.app.workflow
    async def pay() -> list[int]:
        return await hf.map(charge, range(8))

    client = engine.client
    await client.breakers.open("stripe")
    async with engine.worker():
        run = await client.start(pay)
        await eventually(lambda: waits(engine, run.id))
        await client.breakers.close("stripe")
        assert await run.result(timeout=60) == list(range(8))

    closed = [wait for wait in engine.detail(run.id).waits if wait.kind is WaitKind.BREAKER]
    assert {wait.outcome for wait in closed} == {WaitOutcome.ELAPSED}
    ends = Counter(wait.closed_ms or 0 for wait in closed)
    assert [ends[moment] for moment in sorted(ends)] == [1, 2, 4, 1]


async def test_an_answer_that_cannot_be_had_keeps_no_call_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("holdfast.runtime.breakers.answer", fail)

    @engine.app.step(retry=hf.Retry.never(), breaker=hf.Breaker("stripe"))
    async def charge() -> None:
        return None

    @engine.app.workflow
    async def pay() -> None:
        await charge()

    async with engine.worker():
        run = await engine.client.start(pay)
        with pytest.raises(RunFailed, match="nobody foresaw this"):
            await run.result(timeout=60)
