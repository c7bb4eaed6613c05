"""Closing events under faults: every end is told, each starts its handler once, and planted bugs are noticed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.errors import CommitUnknown, RunFinished, StoreUnavailable
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import RunDetail
from holdfast.model.status import TERMINAL_STATUSES, RunStatus
from holdfast.runtime.closings import ClosingDelivery
from holdfast.runtime.execution import RunExecution
from holdfast.runtime.worker import Worker
from holdfast.store.memory import telling
from holdfast.store.memory.tables import Record
from holdfast.store.outbox import Outbox
from holdfast.store.port import Statements
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.sim.campaign import SETTINGS, draw_storm
from tests.sim.nemesis import Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

SEEDS = {"memory": 8, "sqlite": 4}
RUNS = 12
FAULTS_S = 25.0
READER = "audit"

app = hf.App("told")


class Refused(Exception):
    """The world says no."""


@app.step(retry=hf.Retry.never())
async def charge(n: int) -> int:
    await act()
    if n % 4 == 3:
        raise Refused(f"no money: {n}")
    return n


@app.workflow
async def order(n: int) -> int:
    paid = await charge(n)
    await hf.sleep(0.5 * (n % 3))
    return paid


@app.step
async def note(text: str) -> str:
    await act()
    return text


@app.on_end(order)
async def tell(closing: hf.Closing) -> str:
    failed = "+".join(closing.failed_steps)
    return await note(f"{closing.key} {closing.status} {failed}".strip())


class Play:
    """Clients that start and cancel runs, a reader that dies now and then, and a nemesis."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=2, period_s=2.0)
        self.heard: Counter[str] = Counter()
        self.details: dict[RunId, RunDetail] = {}

    async def run(self) -> None:
        system = self.cluster.loop.system
        outbox = Outbox(self.cluster.store)
        outbox.subscribe(DEFAULT_TENANT, READER, ["order"])
        outbox.subscribe(None, "@tell", ["order"])
        for _ in range(2):
            self.nemesis.start_worker()
        process, client = self.cluster.make_client("client")
        for n in range(RUNS):
            process.spawn(self.play(client, n))
        reader, readers_client = self.cluster.make_client("reader")
        reader.spawn(self.read(readers_client))
        keeper = system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        await self.settle(outbox)
        keeper.cancel()
        self.details = self.cluster.read_all()

    async def settle(self, outbox: Outbox) -> None:
        """Wait until nothing is under way and nothing is undelivered."""
        until_s = self.cluster.loop.now_s + 120
        left: list[hf.Subscription] = []
        while self.cluster.loop.now_s < until_s:
            await asyncio.sleep(0.5)
            left = [*outbox.subscriptions(None), *outbox.subscriptions(DEFAULT_TENANT)]
            if not self.cluster.unended() and not any(one.undelivered for one in left):
                return
        self.cluster.history.violation(f"two minutes after all faults: {self.cluster.unended()}, {left}")

    async def play(self, client: Client, n: int) -> None:
        """Start a run under its key; cancel some."""
        await asyncio.sleep(1.5 * n * self.random.random())
        while True:
            try:
                handle = await client.start("order", n, key=f"order-{n}")
                if n % 5 == 4:
                    await asyncio.sleep(0.3 * self.random.random())
                    await handle.cancel()
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)
            except RunFinished:
                return
            else:
                return

    async def read(self, client: Client) -> None:
        """Read ends; now and then forget what was claimed, as a reader does that dies."""
        while True:
            await asyncio.sleep(0.5)
            try:
                found = await client.closings.claim(READER, limit=3, lease=2)
                if self.random.random() < 0.7:
                    self.heard.update(one.id for one in found)
                    await client.closings.acknowledge(found)
            except (StoreUnavailable, CommitUnknown):
                continue

    def judge(self) -> Iterator[str]:
        """Every end is heard at least once, by the reader and by one run of the handler; and nothing else is."""
        ends = {end: word for detail in self.details.values() for end, word in _ends(detail)}
        told = [detail.run for detail in self.details.values() if detail.run.workflow == "tell"]
        if len({detail.run.key for detail in self.details.values() if detail.run.workflow == "order"}) < RUNS:
            yield "a run was lost"
        for end, word in ends.items():
            runs = [run for run in told if run.key == end]
            if len(runs) != 1:
                yield f"the end {end} ({word}) started its handler {len(runs)} times"
            elif runs[0].status is not RunStatus.COMPLETED or word.encode() not in bytes(runs[0].result or b""):
                yield f"the handler of {end} ({word}) ended {runs[0].status} with {runs[0].result!r}"
            if not self.heard[end]:
                yield f"the end {end} ({word}) was never read"
        for stranger in {*self.heard, *(run.key for run in told)} - ends.keys():
            yield f"{stranger} was told, and is no end"


def _ends(detail: RunDetail) -> Iterator[tuple[str, str]]:
    """The ends of a run of ``order``, with what its handler is to say of it."""
    run = detail.run
    for one in detail.transitions if run.workflow == "order" else ():
        if one.to_status in TERMINAL_STATUSES:
            failed = " charge" if one.to_status is RunStatus.FAILED and run.terminal_reason != "closed" else ""
            yield f"{run.id}:{one.seq}", f"{run.key} {one.to_status}{failed}"


def run_seed(seed: int, make_store: MakeStore) -> list[str]:
    """What is wrong with one seed."""
    random = Random(f"{seed}/closings")
    WORLD.set(World(Random(f"{seed}/world"), slow=0.05))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, random)
        cluster.run(play.run())
        return [*cluster.check(), *play.judge()]


@pytest.mark.requirement("B-54", "fault-1", "fault-18", "fault-19")
@pytest.mark.parametrize("kind", KINDS)
def test_every_end_is_heard_of_at_least_once_and_starts_its_handler_once(kind: str) -> None:
    with store_maker(kind) as make_store:
        broken = {seed: wrong for seed in range(SEEDS[kind]) if (wrong := run_seed(seed, make_store))}

    assert not broken


def found(make_store: MakeStore) -> bool:
    """Whether a planted bug is noticed within the seeds that the engine passes."""
    return any(run_seed(seed, make_store) for seed in range(SEEDS["memory"]))


def test_an_event_that_is_written_in_a_second_transaction_is_noticed() -> None:
    tell_of_ends, ended = telling.tell_of_ends, Worker._ended
    kept: dict[RunId, Record] = {}

    def not_those_of_workers(statements: Statements, records: Sequence[Record]) -> None:
        by_workers = [record for record in records if record.transitions[-1].worker is not None]
        kept.update((record.run.id, record) for record in by_workers if record.run.status is not RunStatus.STUCK)
        tell_of_ends(statements, [record for record in records if record.run.id not in kept])

    def then_those(self: Worker, execution: RunExecution) -> None:
        ended(self, execution)
        record = kept.get(execution.run.id)
        if record is not None:

            def write(statements: Statements) -> None:
                tell_of_ends(statements, [record])

            # What becomes of it is not asked: this is the mistake.
            self.host.call("keep", self.store.transact, write).add_done_callback(lambda done: done.exception())

    planted = replaced(telling, "tell_of_ends", not_those_of_workers)
    with store_maker("memory") as make_store, planted, replaced(Worker, "_ended", then_those):
        assert found(make_store)


def test_an_acknowledgement_before_the_handler_is_started_is_noticed() -> None:
    start = ClosingDelivery.start

    async def acknowledge_first(self: ClosingDelivery, tenant: str, closings: Sequence[hf.Closing]) -> None:
        await self._services.host.call("closings", self._outbox.acknowledge, closings)
        await start(self, DEFAULT_TENANT, closings)

    with store_maker("memory") as make_store, replaced(ClosingDelivery, "start", acknowledge_first):
        assert found(make_store)


def test_a_handler_that_is_started_without_a_name_of_its_own_is_noticed() -> None:
    new_run = ClosingDelivery._new_run

    def nameless(self: ClosingDelivery, closing: hf.Closing) -> object:
        from msgspec import structs

        return structs.replace(new_run(self, closing), id=RunId(self._services.host.new_id()))

    with store_maker("memory") as make_store, replaced(ClosingDelivery, "_new_run", nameless):
        assert found(make_store)
