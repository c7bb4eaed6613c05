"""Endless loops under faults: no signal is lost or taken twice, no link begins twice, and planted bugs are noticed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager
from random import Random

import msgspec
import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.core.ids import run_id_for_key
from holdfast.errors import CommitUnknown, RunFinished, RunNotFound, StoreUnavailable
from holdfast.model.commit import CommitAnswer, Continue, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import Run, RunDetail
from holdfast.model.status import RunStatus
from holdfast.runtime.execution import RunExecution
from holdfast.store.memory import commit as memory_commit
from holdfast.store.memory import continuing
from holdfast.store.memory.tables import Record, Tables
from holdfast.store.memory.unit import Unit
from holdfast.store.port import Statements
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.sim.campaign import SETTINGS, draw_storm
from tests.sim.mutants import sql
from tests.sim.nemesis import Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

SEEDS = {"memory": 8, "sqlite": 4}
SENDERS = 3
SENT = 6
"""How many signals each sender sends."""
FAULTS_S = 25.0

app = hf.App("chains")

Heard = list[tuple[int, int]]


@app.step
async def weigh(sender: int, number: int) -> tuple[int, int]:
    await act()
    return sender, number


@app.workflow
async def listen(heard: Heard) -> Heard:
    """Takes one or two signals, and begins anew."""
    for _ in range(1 + len(heard) % 2):
        sender, number = await hf.wait_for_signal("mail", tuple[int, int])
        heard = [*heard, await weigh(sender, number)]
        if len(heard) == SENDERS * SENT:
            break
    if len(heard) < SENDERS * SENT:
        hf.continue_as_new(heard)
    return heard


@app.workflow
async def parent(n: int) -> Heard:
    """Waits for the end of a chain, by either way."""
    nothing: Heard = []
    if n % 2:
        return await hf.run_child(listen, nothing)
    child = await hf.start_child(listen, nothing)
    await hf.sleep(4)
    return await child.result()


class Play:
    """Senders that address the first link alone, a client that waits, and a nemesis."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=2, period_s=2.0)
        self.details: dict[RunId, RunDetail] = {}
        self.results: list[Heard] = []

    async def run(self) -> None:
        system = self.cluster.loop.system
        for _ in range(2):
            self.nemesis.start_worker()
        process, client = self.cluster.make_client("client")
        process.spawn(self.wait(client))
        for sender in range(SENDERS):
            process.spawn(self.send(client, sender))
        keeper = system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        until_s = self.cluster.loop.now_s + 120
        while self.cluster.loop.now_s < until_s and (self.cluster.unended() or not self.results):
            await asyncio.sleep(0.5)
        if self.cluster.unended() or not self.results:
            self.cluster.history.violation(f"two minutes after all faults: {self.cluster.unended()}")
        keeper.cancel()
        self.details = self.cluster.read_all()

    @property
    def way(self) -> int:
        """How the chain is begun: by a client, or as a child of a run."""
        return int(self.cluster.seed) % 3

    @property
    def first(self) -> RunId:
        """The first link, by which everybody calls the chain."""
        if not self.way:
            return run_id_for_key(DEFAULT_TENANT, "listen", "loop")
        found = [new for new in self.cluster.history.started.values() if new.workflow == "listen"]
        return found[0].id if found else RunId("00000000-0000-7000-8000-000000000000")

    async def wait(self, client: Client) -> None:
        """Start the chain under its key, again and again, and wait for its last result."""
        while not self.results:
            try:
                nothing: Heard = []
                start = hf.Start(workflow="listen", args=(nothing,), key="loop")
                if self.way:
                    start = hf.Start(workflow="parent", args=(self.way,), key="loop")
                [handle] = await client.start_many([start])
                self.results.append([(one, two) for one, two in await handle.result(5)])
            except (StoreUnavailable, CommitUnknown, hf.errors.ResultTimeout):
                await asyncio.sleep(0.5)

    async def send(self, client: Client, sender: int) -> None:
        """Send numbers to the first link, each until it is known to have arrived."""
        number = 0
        while number < SENT:
            await asyncio.sleep(1.5 * self.random.random())
            try:
                await client.signal("mail", (sender, number), run_id=self.first, key=f"{sender}/{number}")
            except (StoreUnavailable, CommitUnknown, RunNotFound):
                continue
            except RunFinished:
                # All of it was heard before this answer came.
                return
            number += 1

    def judge(self) -> Iterator[str]:
        """Everything was heard once, each sender's in order, by one chain of links."""
        links = sorted(
            (one.run for one in self.details.values() if one.run.workflow == "listen"), key=lambda run: run.link or 0
        )
        if [run.link for run in links] != list(range(1, len(links) + 1)) or len(links) < SENT:
            yield f"the chain has the links {[run.link for run in links]}"
        if not links or (links[-1].status, links[-1].terminal_reason) != (RunStatus.COMPLETED, "completed"):
            yield f"the chain ends with {links[-1:]}"
            return
        yield from self.judge_heard(links[-1])

    def judge_heard(self, last: Run) -> Iterator[str]:
        """What the last link answered, and everybody who waited for it."""
        heard = msgspec.json.decode(last.result or b"{}", type=dict[str, Heard])["value"]
        for sender in range(SENDERS):
            mine = [number for one, number in heard if one == sender]
            if mine != list(range(SENT)):
                yield f"of sender {sender} the chain heard {mine}"
        for result in self.results:
            if result != heard:
                yield f"who waited for the chain was told {result}, and it heard {heard}"


def run_seed(seed: int, make_store: MakeStore) -> list[str]:
    """What is wrong with one seed."""
    random = Random(f"{seed}/chains")
    WORLD.set(World(Random(f"{seed}/world"), slow=0.05))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, random)
        cluster.run(play.run())
        return [*cluster.check(), *play.judge()]


@pytest.mark.requirement("promise-1", "promise-5", "promise-7", "fault-1", "fault-18", "fault-19")
@pytest.mark.parametrize("kind", KINDS)
def test_an_endless_loop_hears_each_signal_once_and_in_order_whatever_crashes(kind: str) -> None:
    with store_maker(kind) as make_store:
        broken = {seed: wrong for seed in range(SEEDS[kind]) if (wrong := run_seed(seed, make_store))}

    assert not broken


def found(kind: str, planted: AbstractContextManager[None]) -> bool:
    """Whether a planted bug is noticed within the seeds that the engine passes."""
    with store_maker(kind) as make_store, planted:
        return any(run_seed(seed, make_store) for seed in range(SEEDS[kind]))


def test_a_successor_that_is_started_in_a_second_transaction_is_noticed() -> None:
    committed = RunExecution.committed
    kept: dict[RunId, tuple[Tables, Run]] = {}

    def not_yet(self: Unit, run: Run) -> Record:
        kept[run.id] = (self.tables, run)
        return Record(run)

    def continue_without(unit: Unit, record: Record, move: Continue) -> None:
        with replaced(Unit, "begin", not_yet):
            continuing.continue_run(unit, record, move)

    def then_start(self: RunExecution, commit: RunCommit, answer: CommitAnswer) -> None:
        committed(self, commit, answer)
        if isinstance(commit.move, Continue):
            tables, run = kept[commit.move.successor_id]

            def begin(_statements: Statements) -> None:
                Unit(tables, run.created_ms).begin(run)

            # What becomes of it is not asked: this is the mistake.
            services = self.services
            call = services.host.call("keep", services.store.transact, None, begin)
            call.add_done_callback(lambda done: done.exception())

    with replaced(memory_commit, "continue_run", continue_without):
        assert found("memory", replaced(RunExecution, "committed", then_start))


def test_signals_that_stay_with_a_run_that_continued_are_noticed() -> None:
    hand_over = continuing._hand_over

    def without_signals(unit: Unit, run: Run, successor_id: RunId) -> None:
        before = dict(unit.tables.signals)
        hand_over(unit, run, successor_id)
        unit.tables.signals.update(before)

    assert found("memory", replaced(continuing, "_hand_over", without_signals))


def test_signals_that_stay_with_a_run_that_continued_are_noticed_on_sqlite() -> None:
    assert found("sqlite", sql("commit_continue_signals", "o.continued_as_id", "o.id"))


def test_a_signal_to_a_link_that_stays_with_it_is_noticed() -> None:
    def stay(_self: Tables, record: Record) -> Record:
        return record

    assert found("memory", replaced(Tables, "newest", stay))


def test_a_parent_that_waits_for_the_first_link_alone_is_noticed_on_sqlite() -> None:
    assert found("sqlite", sql("commit_continue_waits", "set child_id = b.successor_id", "set child_id = child_id"))


def test_a_wait_for_a_link_that_has_continued_already_is_followed_or_noticed() -> None:
    assert found("sqlite", sql("commit_waits_followed", "set child_id = b.newest_id", "set child_id = child_id"))
