"""Graphs that are appended to while workers hold their runs and are killed, and while those who append die."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.errors import CommitUnknown, RunFinished, RunHeld, StoreUnavailable
from holdfast.model.definition import Edge, StepNode
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Run, RunDetail
from holdfast.model.status import EntryStatus, RunStatus
from holdfast.store.memory import commit
from holdfast.store.memory.unit import Unit
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.sim.campaign import SETTINGS, draw_storm
from tests.sim.nemesis import Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

SEEDS = {"memory": 10, "sqlite": 4}
RUNS = 8
FAULTS_S = 25.0

app = hf.App("moved")


@app.step
async def work() -> None:
    await act(0.2)


job = app.graph("job").step("a", work).step("b", work).sleep("nap", 0.5).step("c", work).step("d", work)
KEYS = {"a", "b", "c", "d"}


class Play:
    """Clients that start runs and append to them while they run, some of which die; and a nemesis."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=2, period_s=2.0)
        self.runs: dict[RunId, int] = {}
        self.appended: set[tuple[RunId, str]] = set()
        """What an answer said was done."""
        self.refused: set[tuple[RunId, str]] = set()
        """What an error said was not."""
        self.details: dict[RunId, RunDetail] = {}
        self.let_in = 0
        """How many held runs were moved."""

    async def run(self) -> None:
        for _ in range(2):
            self.nemesis.start_worker()
        for n in range(RUNS):
            process, client = self.cluster.make_client(f"client-{n}")
            process.spawn(self.play(client, n))
            if n % 4 == 3:
                self.cluster.loop.system.call_later(8 * self.random.random(), process.kill)
        keeper = self.cluster.loop.system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        until_s = self.cluster.loop.now_s + 120
        while self.cluster.unended() and self.cluster.loop.now_s < until_s:
            await asyncio.sleep(0.5)
        if unended := self.cluster.unended():
            self.cluster.history.violation(f"two minutes after all faults: {unended}")
        keeper.cancel()
        self.details = self.cluster.read_all()
        self.let_in = sum(
            any(one.reason == "move_requested" for one in detail.transitions) and detail.run.version not in (None, 1)
            for detail in self.details.values()
        )

    async def play(self, client: Client, n: int) -> None:
        """Start a run, and append two nodes to it, one after the other, at some time."""
        await asyncio.sleep(6 * self.random.random())
        run_id = await self.start(client, n)
        self.runs[run_id] = n
        last = "d"
        for key in ("x", "y"):
            await asyncio.sleep(0.6 * self.random.random())
            if not await self.append(client, run_id, key, after=last):
                return
            last = key

    async def start(self, client: Client, n: int) -> RunId:
        while True:
            try:
                return RunId((await client.start(job, key=f"job-{n}")).id)
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)

    async def append(self, client: Client, run_id: RunId, key: str, *, after: str) -> bool:
        """Until it is known whether it was done; whether it was."""
        while True:
            try:
                edge = Edge(source=after, target=key)
                await client.append(run_id, StepNode(key=key, handler="work"), edges=[edge], wait=4, actor="ann")
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.3)
            except (RunFinished, RunHeld):
                # It may have been done by a request whose answer was lost, and have ended since.
                with suppress(StoreUnavailable):
                    detail = await client.detail(run_id)
                    if key not in {entry.key for entry in detail.journal}:
                        self.refused.add((run_id, key))
                return False
            else:
                self.appended.add((run_id, key))
                return True

    def judge(self) -> Iterator[str]:
        """Every run completes; what was appended was done, and what was refused was not; no node has two outcomes."""
        for run_id in self.runs:
            detail = self.details[run_id]
            done = {entry.key for entry in detail.journal if entry.status is EntryStatus.COMPLETED}
            if detail.run.status is not RunStatus.COMPLETED or not done >= KEYS:
                yield f"run {run_id} ended {detail.run.status} having done {sorted(done)}"
            for key in "xy":
                if (run_id, key) in self.appended and key not in done:
                    yield f"run {run_id}: {key!r} was appended, and was not done"
                if (run_id, key) in self.refused and key in done:
                    yield f"run {run_id}: {key!r} was refused, and was done"


def run_seed(seed: int, make_store: MakeStore) -> tuple[list[str], int]:
    """What is wrong with one seed, and how many held runs were moved in it."""
    WORLD.set(World(Random(f"{seed}/world"), slow=0.05))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, Random(f"{seed}/moves"))
        cluster.run(play.run())
        return [*cluster.check(), *play.judge()], play.let_in


@pytest.mark.requirement("O-02", "promise-2", "promise-11", "fault-1")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_appended_to_held_runs_is_done_whoever_dies_meanwhile(kind: str) -> None:
    with store_maker(kind) as make_store:
        seen = {seed: run_seed(seed, make_store) for seed in range(SEEDS[kind])}

    assert {seed: wrong for seed, (wrong, _) in seen.items() if wrong} == {}
    assert sum(let_in for _, let_in in seen.values()) >= 3


def test_a_run_that_stands_aside_for_ever_is_noticed() -> None:
    aside_until_ms = commit._aside_until_ms

    def for_ever(unit: Unit, run: Run) -> UnixMs | None:
        until_ms = aside_until_ms(unit, run)
        return None if until_ms is None else UnixMs(until_ms + 10**9)

    with store_maker("memory") as make_store, replaced(commit, "_aside_until_ms", for_ever):
        assert any(run_seed(seed, make_store)[0] for seed in range(SEEDS["memory"]))
