"""What a run with a long record costs: in proportion to its records, however often it is woken."""

# Lambdas stand for the handlers of nodes here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.model.commit import LiveUpdate
from holdfast.model.ids import RunId, WorkerId
from holdfast.model.run import Claim
from holdfast.runtime.linger import LOOK_PER_WAIT_MS
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.memory import MemoryStore
from holdfast.testing.sim.cluster import simulation
from holdfast.testing.sim.network import Calm

SIDE = "side"


class CountingStore(MemoryStore):
    """Counts what workers make it read of the runs that they hold."""

    read = 0
    looked_at = 0

    def claim_runs(self, worker: WorkerId, **what: Any) -> Claim:
        claim = super().claim_runs(worker, **what)
        self.read += sum(len(run.journal) + len(run.waits) for run in claim.runs)
        return claim

    def read_live(self, worker: WorkerId, waiting: Mapping[RunId, Sequence[str] | None]) -> list[LiveUpdate]:
        self.looked_at += sum(len(keys or ()) for keys in waiting.values())
        return super().read_live(worker, waiting)


@dataclass(frozen=True)
class Cost:
    """What a run of so many items made workers read."""

    read: int
    """Rows of its record, in claims."""
    looked_at: int
    """Waits, for news of them."""
    took_s: float


def cost_of(make: Callable[[hf.App], Any], size: int) -> Cost:
    """Of a run whose items are executed by another worker than itself."""
    app = hf.App("long")
    workflow = make(app)
    with simulation(app, CountingStore, seed=1, weather=Calm(), settings=WorkerSettings()) as cluster:
        process, client = cluster.make_client("client")

        async def ask() -> Any:
            run = await client.start(workflow, list(range(size)))
            return await run.result(timedelta(days=30))

        async def main() -> Any:
            cluster.start_worker()
            cluster.start_worker(settings=WorkerSettings(queues=(SIDE,), concurrency=2 * size))
            return await process.spawn(ask(), name="ask")

        assert cluster.run(main()) == {"each": list(range(size))}
        assert isinstance(cluster.store, CountingStore)
        return Cost(cluster.store.read, cluster.store.looked_at, cluster.loop.now_s)


WIDTH = 50


def queued_items(gap_s: float) -> Callable[[hf.App], hf.Graph]:
    """A map whose items are runs of their own, that end one after the other."""

    def make(app: hf.App) -> hf.Graph:
        async def work(item: int) -> int:
            # As many at once as one after the other takes gaps.
            await asyncio.sleep(min(item + 1, WIDTH) * gap_s)
            return item

        return app.graph("items").map("each", work, over="input", queue=SIDE, concurrency=WIDTH)

    return make


def children_side_by_side(gap_s: float) -> Callable[[hf.App], Any]:
    def make(app: hf.App) -> Any:
        @app.workflow
        async def child(item: int) -> int:
            await hf.sleep(timedelta(seconds=item * gap_s))
            return item

        @app.workflow
        async def parent(items: list[int]) -> dict[str, list[int]]:
            results = await hf.gather(*(hf.run_child(child, item) for item in items))
            return {"each": list(results)}

        return parent

    return make


def sleeps_in_turn(gap_s: float) -> Callable[[hf.App], Any]:
    def make(app: hf.App) -> Any:
        @app.workflow
        async def sleeper(items: list[int]) -> dict[str, list[int]]:
            for _ in items:
                await hf.sleep(timedelta(seconds=gap_s))
            return {"each": items}

        return sleeper

    return make


@pytest.mark.requirement("B-22")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(queued_items(0.01), id="items that end all the time"),
        pytest.param(queued_items(0.7), id="items that end now and then"),
        pytest.param(children_side_by_side(0.7), id="children that end now and then"),
        pytest.param(sleeps_in_turn(0.3), id="many short sleeps"),
    ],
)
def test_what_is_read_for_each_item_does_not_grow_with_their_number(make: Callable[[hf.App], Any]) -> None:
    few, many = 100, 400

    assert cost_of(make, many).read / many <= 2 * cost_of(make, few).read / few


@pytest.mark.requirement("B-22")
def test_news_of_a_wide_fan_out_are_looked_for_at_a_rate_that_does_not_grow_with_it() -> None:
    for size in (300, 900):
        cost = cost_of(children_side_by_side(0.002), size)

        assert cost.looked_at <= cost.took_s * 1_000 / LOOK_PER_WAIT_MS + 2 * size, size


def test_a_timer_of_a_run_that_was_taken_over_fires_while_another_branch_is_at_work() -> None:
    app = hf.App("taken")
    fired: list[float] = []

    @app.step
    async def work() -> None:
        await asyncio.sleep(60)

    async def nap() -> None:
        await hf.sleep(timedelta(seconds=30))
        fired.append(cluster.loop.now_s)

    @app.workflow
    async def both() -> None:
        await hf.gather(work(), nap())

    with simulation(app, MemoryStore, seed=1, weather=Calm(), settings=WorkerSettings()) as cluster:
        process, client = cluster.make_client("client")

        async def ask() -> None:
            run = await client.start(both)
            await asyncio.sleep(1)
            killed.process.kill()
            cluster.start_worker()
            await run.result(timedelta(hours=1))

        async def main() -> None:
            await process.spawn(ask(), name="ask")

        killed = cluster.start_worker()
        cluster.run(main())

    assert 30 <= fired[0] < 32
