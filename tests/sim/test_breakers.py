"""A service that is down while workers and the database are: everybody comes through, and a planted bug is noticed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.core.breakers import Ticket
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.breaker import BreakerState
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.status import RunStatus
from holdfast.runtime import breakers
from holdfast.store.breakers import find_breaker
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.sim.campaign import draw_storm
from tests.sim.nemesis import Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

SEEDS = {"memory": 4, "sqlite": 2}
SETTINGS = hf.WorkerSettings(
    lease=timedelta(seconds=5),
    poll=timedelta(seconds=1),
    grace=timedelta(seconds=3),
    crashes_max=50,
    concurrency=4,
)
RUNS, WORKERS = 24, 3
DOWN_S, UP_S, CALM_S = 3.0, 18.0, 22.0
BANK = hf.Breaker("bank", failures=3, open_for=1.5, factor=1, probe_limit=6, rate=40)

app = hf.App("breakers")


@dataclass
class Bank:
    """It is down from time to time, and remembers who called it then."""

    now_s: Callable[[], float] = field(default=lambda: 0.0)
    calls: list[float] = field(default_factory=list[float])

    @property
    def is_down(self) -> bool:
        """Whether it is now."""
        return DOWN_S <= self.now_s() < UP_S


BANK_AT_HAND: ContextVar[Bank] = ContextVar("bank")


@app.step(breaker=BANK, retry=hf.Retry(max_attempts=30, initial=timedelta(milliseconds=50), factor=1))
async def transfer(n: int) -> int:
    bank = BANK_AT_HAND.get()
    down = bank.is_down
    if down:
        bank.calls.append(bank.now_s())
    await act()
    if down:
        raise ConnectionError("nobody answers")
    return n


@app.workflow
async def pay(n: int) -> list[int]:
    return list(await hf.gather(transfer(n), transfer(n + 1))) if n % 3 == 0 else [await transfer(n)]


class Play:
    """Clients that start runs before and while the bank is down, and a nemesis."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=WORKERS, period_s=2.5)

    async def run(self) -> None:
        for _ in range(WORKERS):
            self.nemesis.start_worker()
        process, client = self.cluster.make_client("client")
        for n in range(RUNS):
            process.spawn(self.play(client, n))
        keeper = self.cluster.loop.system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(CALM_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        until_s = self.cluster.loop.now_s + 120
        while self.cluster.unended() and self.cluster.loop.now_s < until_s:
            await asyncio.sleep(0.5)
        keeper.cancel()

    async def play(self, client: Client, n: int) -> None:
        """Start a run under its key."""
        await asyncio.sleep(0.5 * n * self.random.random())
        while True:
            try:
                await client.start("pay", n, key=f"pay-{n}")
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)
            else:
                return

    def judge(self) -> Iterator[str]:
        """At the end."""
        for run_id, detail in self.cluster.read_all().items():
            if detail.run.status is not RunStatus.COMPLETED:
                yield f"run {run_id} is {detail.run.status}: {detail.run.status_reason}"
        row = self.cluster.store.transact(None, lambda s: find_breaker(s, DEFAULT_TENANT, "bank"), read_only=True)
        if row.state is not BreakerState.CLOSED:
            yield f"the breaker is {row.state}"


def run_seed(seed: int, make_store: MakeStore) -> tuple[list[str], int]:
    """What is wrong with one seed, and how often the bank was called while it was down."""
    WORLD.set(World(Random(f"{seed}/world"), slow=0.1))
    weather = draw_storm(Random(f"{seed}/weather"))
    bank = Bank()
    BANK_AT_HAND.set(bank)
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        bank.now_s = lambda: cluster.loop.now_s
        play = Play(cluster, weather, Random(f"{seed}/breakers"))
        cluster.run(play.run())
        return [*cluster.check(), *play.judge()], len(bank.calls)


@pytest.mark.requirement("S-37", "fault-1", "fault-18", "fault-19")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_dies_while_a_service_is_down_all_runs_complete_when_it_is_back(kind: str) -> None:
    with store_maker(kind) as make_store:
        found = {seed: run_seed(seed, make_store) for seed in range(SEEDS[kind])}

    assert not {seed: wrong for seed, (wrong, _) in found.items() if wrong}
    # Without a breaker each of the runs calls some hundred times.
    assert 0 < max(calls for _, calls in found.values()) < 80


@pytest.mark.parametrize("asks_again", [True, False])
def test_a_call_that_waits_without_asking_again_is_noticed(*, asks_again: bool) -> None:
    ask, waiting = breakers.Breakers.ask, set[str]()

    async def slowly(
        self: breakers.Breakers, tenant: Any, breaker: hf.Breaker, prober: str, *, waits: bool
    ) -> Ticket | None:
        if prober in waiting and not asks_again:
            # Its wait is durable now, and what it would be told it does not want to know.
            waiting.remove(prober)
            return None
        ticket = await ask(self, tenant, breaker, prober, waits=waits)
        if ticket is None:
            waiting.add(prober)
            # Meanwhile the breaker closes, and those who wait for it go on.
            await asyncio.sleep(12)
        return ticket

    with store_maker("memory") as make_store, replaced(breakers.Breakers, "ask", slowly):
        wrong = run_seed(1, make_store)[0]

    assert any("waiting" in one for one in wrong) is not asks_again
