"""A queue with a limit under faults: it holds at every commit, all runs end, and planted bugs are noticed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from random import Random
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.event import EventFilter
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs
from holdfast.model.limit import QueueLimit
from holdfast.model.status import RunStatus
from holdfast.store.memory.claiming import Claiming
from holdfast.store.queues import write_limit
from holdfast.store.sqlite import work as sqlite_work
from holdfast.store.sqlite.statements import read_json
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.sim.campaign import draw_storm
from tests.sim.nemesis import Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

SEEDS = {"memory": 8, "sqlite": 4}
SETTINGS = hf.WorkerSettings(
    queues=("default", "quick"),
    lease=timedelta(seconds=5),
    poll=timedelta(seconds=1),
    grace=timedelta(seconds=3),
    crashes_max=50,
    concurrency=4,
)
RUNS, MOST, WORKERS = 24, 2, 3
FAULTS_S = 20.0

app = hf.App("limited")


@app.step
async def deliver(n: int) -> int:
    await act()
    return n


@app.workflow
async def send(n: int) -> int:
    first = await deliver(n)
    if n % 3 == 0:
        await hf.sleep(0.4)
    return await deliver(first)


class Play:
    """Clients that start runs of a queue with a limit and of one without, and a nemesis."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=WORKERS, period_s=2.0)

    async def run(self) -> None:
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=MOST, set_ms=UnixMs(0))
        self.cluster.store.transact(None, lambda statements: write_limit(statements, limit))
        for _ in range(WORKERS):
            self.nemesis.start_worker()
        process, client = self.cluster.make_client("client")
        for n in range(RUNS):
            process.spawn(self.play(client, n))
        keeper = self.cluster.loop.system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        await self.settle()
        keeper.cancel()

    async def settle(self) -> None:
        """Wait until all runs have ended."""
        until_s = self.cluster.loop.now_s + 120
        while self.cluster.loop.now_s < until_s:
            await asyncio.sleep(0.5)
            if not self.cluster.unended():
                return
        self.cluster.history.violation(f"two minutes after all faults: {self.cluster.unended()}")

    async def play(self, client: Client, n: int) -> None:
        """Start a run under its key."""
        await asyncio.sleep(0.5 * n * self.random.random())
        while True:
            try:
                await client.start("send", n, key=f"send-{n}", queue="quick" if n % 4 == 3 else "default")
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)
            else:
                return

    def judge(self) -> Iterator[str]:
        """At each commit: how many runs of the queue are held. A running run is one that a worker holds."""
        limited = {run_id for run_id, detail in self.cluster.read_all().items() if detail.run.queue == "default"}
        held: set[RunId | None] = set()
        after: str | None = None
        while True:
            page = self.cluster.store.read_events(DEFAULT_TENANT, EventFilter(), after=after, limit=500)
            for event in page.events:
                if event.run_id in limited and event.status is RunStatus.RUNNING:
                    held.add(event.run_id)
                else:
                    held.discard(event.run_id)
                if len(held) > MOST:
                    yield f"{len(held)} runs were held after {event}"
            if not page.events:
                return
            after = page.next


def run_seed(seed: int, make_store: MakeStore) -> list[str]:
    """What is wrong with one seed."""
    WORLD.set(World(Random(f"{seed}/world"), slow=0.3))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, Random(f"{seed}/limits"))
        cluster.run(play.run())
        return [*cluster.check(), *play.judge()]


@pytest.mark.requirement("fault-62", "fault-1", "fault-18", "fault-19")
@pytest.mark.parametrize("kind", KINDS)
def test_never_are_more_runs_of_a_queue_held_than_its_limit_and_all_of_them_end(kind: str) -> None:
    with store_maker(kind) as make_store:
        broken = {seed: wrong for seed in range(SEEDS[kind]) if (wrong := run_seed(seed, make_store))}

    assert not broken


def counted_before_the_claim_in_memory() -> AbstractContextManager[None]:
    """What a claim goes by was counted in a transaction before it."""
    room, known = Claiming._room, dict[Any, int | None]()

    def counted_before(self: Claiming, tenant: Tenant, queue: str | None) -> int | None:
        now = room(self, tenant, queue)
        before = known.get((tenant, queue), now)
        known[tenant, queue] = now
        return before

    return replaced(Claiming, "_room", counted_before)


def counted_before_the_claim_on_sqlite() -> AbstractContextManager[None]:
    """The same, where the count is a statement."""
    known: dict[str, Any] = {}

    def counted_before(connection: Any, name: str, decoder: Any, **given: Any) -> Any:
        found = read_json(connection, name, decoder, **given)
        if name != "claim_runs_rooms":
            return found
        before = known.get(given["lines"], found)
        known[given["lines"]] = found
        return before

    return replaced(sqlite_work, "read_json", counted_before)


@pytest.mark.parametrize(
    ("kind", "plant"),
    [("memory", counted_before_the_claim_in_memory), ("sqlite", counted_before_the_claim_on_sqlite)],
)
def test_a_limit_that_is_checked_by_a_count_before_the_claim_is_noticed(
    kind: str, plant: Callable[[], AbstractContextManager[None]]
) -> None:
    with store_maker(kind) as make_store, plant():
        assert any("were held after" in wrong for seed in range(SEEDS[kind]) for wrong in run_seed(seed, make_store))
