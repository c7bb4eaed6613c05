"""Schedules under faults: each slot starts one run, none early, whatever dies; and ten years of them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import TypeVar

import pytest
from msgspec import structs

import holdfast as hf
from holdfast.client.client import Client
from holdfast.core.codec import Codec
from holdfast.core.schedules import Plan, moment_of
from holdfast.core.slots import next_slot, slots_from
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.ids import DEFAULT_TENANT, Tenant, UnixMs
from holdfast.model.run import NewRun, Run, RunFilter, Started
from holdfast.model.schedule import CatchUp, Overlap, ScheduleRow, TickOutcome, TickRow
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.runtime import scheduler
from holdfast.runtime.pins import Pins
from holdfast.store import schedules as stored
from holdfast.store.memory import MemoryStore
from holdfast.store.memory.due import next_tick
from holdfast.store.port import Statements, Store
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.network import Storm
from holdfast.testing.sim.observe import replaced
from tests.contract.stores import ManualClock
from tests.sim.campaign import SETTINGS, draw_storm
from tests.sim.nemesis import JUMP_S, Nemesis
from tests.sim.stores import KINDS, store_maker
from tests.sim.world import WORLD, World, act

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")

SEEDS = {"memory": 6, "sqlite": 2}
FAULTS_S = 30.0

app = hf.App("clockwork")


@app.step
async def work(name: str) -> str:
    await act(1.5 if name == "slow" else 0)
    return name


@app.workflow
async def job(name: str) -> str:
    return await work(name)


app.schedule("each", hf.Schedule(every=2, overlap=Overlap.ALLOW, catch_up=CatchUp.ALL), job, "quick")
app.schedule("skips", hf.Schedule(every=1, overlap=Overlap.SKIP, catch_up=CatchUp.ONE), job, "slow")
app.schedule("queues", hf.Schedule(every=3, overlap=Overlap.QUEUE, catch_up=CatchUp.ALL, jitter=1), job, "slow")


class Play:
    """Workers that die, a database that goes away and whose clock is set, and an operator who meddles."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random) -> None:
        self.cluster = cluster
        self.random = random
        self.nemesis = Nemesis(cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=3, period_s=2.0)
        self.rows: dict[str, ScheduleRow] = {}
        self.ticks: dict[str, list[TickRow]] = {}
        self.runs: list[Run] = []

    async def run(self) -> None:
        for _ in range(3):
            self.nemesis.start_worker()
        process, client = self.cluster.make_client("operator")
        process.spawn(self.meddle(client))
        keeper = self.cluster.loop.system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        await asyncio.sleep(40)
        self.look()
        keeper.cancel()

    async def meddle(self, client: Client) -> None:
        """Pull triggers, twice each."""
        for number in range(4):
            await asyncio.sleep(6 * self.random.random())
            for _ in range(2):
                try:
                    await client.schedules.trigger("each", request_id=f"by hand {number}")
                except (StoreUnavailable, CommitUnknown, hf.errors.ScheduleNotFound):
                    await asyncio.sleep(0.5)

    def look(self) -> None:
        """Read everything, straight from the store."""
        store = self.cluster.store

        def read(statements: Statements) -> None:
            for row in stored.list_schedules(statements, DEFAULT_TENANT, limit=10, after=""):
                self.rows[row.name] = row
                self.ticks[row.name] = stored.list_ticks(statements, DEFAULT_TENANT, row.name, limit=1_000)[::-1]

        store.transact(DEFAULT_TENANT, read, read_only=True)
        self.runs = store.list_runs(DEFAULT_TENANT, RunFilter(), limit=1_000, after=None).runs

    def judge(self) -> Iterator[str]:
        """Each slot is decided once, and has a run if it is said to; none came early, none overlaps that must not."""
        yield from self.cluster.history.violations
        yield from self.cluster.loop.failures
        if set(self.rows) != {"each", "skips", "queues"}:
            yield f"the schedules are {sorted(self.rows)}"
        for name, row in self.rows.items():
            yield from self.judge_slots(row, self.ticks[name])
        yield from self.judge_overlaps()

    def judge_slots(self, row: ScheduleRow, ticks: list[TickRow]) -> Iterator[str]:
        timing, runs = row.spec.timing, {run.id: run for run in self.runs}
        slots = [tick for tick in ticks if tick.cause.value == "slot" and tick.outcome is not TickOutcome.QUEUED]
        decided: Counter[UnixMs] = Counter()
        for tick in slots:
            decided.update(slots_from(timing, tick.slot_ms, tick.until_ms))
        if row.last_ms is None:
            yield f"{row.name}: no slot came"
            return
        first_ms = next_slot(timing, row.created_ms)
        expected = set(slots_from(timing, first_ms, row.last_ms)) - {row.queued_ms}
        if set(decided) != expected:
            yield f"{row.name}: decided {sorted(set(decided) ^ expected)} too much or not at all"
        yield from (f"{row.name}: slot {slot} was decided {n} times" for slot, n in decided.items() if n > 1)
        for tick in ticks:
            if tick.outcome is TickOutcome.STARTED:
                run = None if tick.run_id is None else runs.get(tick.run_id)
                if run is None:
                    yield f"{row.name}: the run of slot {tick.slot_ms} was lost"
                elif run.created_ms < tick.slot_ms:
                    yield f"{row.name}: slot {tick.slot_ms} came early, at {run.created_ms}"
        if row.spec.catch_up is CatchUp.ALL and any(tick.outcome is TickOutcome.MISSED for tick in ticks):
            yield f"{row.name}: slots were missed"
        started = sum(tick.outcome is TickOutcome.STARTED for tick in ticks)
        if started != sum(run.attributes.get("schedule") == row.name for run in self.runs):
            yield f"{row.name}: {started} runs in the history, and others in the database"
        if len(self.runs) < 20 or started < 5:
            yield f"{row.name}: started {started} runs only"

    def judge_overlaps(self) -> Iterator[str]:
        slack_ms = int(abs(JUMP_S) * 1_000)
        for name in ("skips", "queues"):
            mine = sorted((run for run in self.runs if run.attributes["schedule"] == name), key=lambda r: r.created_ms)
            for before, after in pairwise(mine):
                ended_ms = before.finalized_ms
                if ended_ms is None or after.created_ms < ended_ms - slack_ms:
                    yield f"{name}: {after.id} was started at {after.created_ms} while {before.id} was under way"
        if left := [run.id for run in self.runs if run.status not in TERMINAL_STATUSES and not _is_fresh(run, self)]:
            yield f"not ended: {left}"


def _is_fresh(run: Run, play: Play) -> bool:
    return run.created_ms > play.cluster.clock() - 20_000


def run_seed(seed: int, make_store: MakeStore) -> list[str]:
    """What is wrong with one seed."""
    WORLD.set(World(Random(f"{seed}/world"), slow=0.05))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, Random(f"{seed}/schedules"))
        cluster.run(play.run())
        return list(play.judge())


@pytest.mark.requirement("S-37", "promise-6", "fault-67", "fault-68")
@pytest.mark.parametrize("kind", KINDS)
def test_each_slot_is_decided_once_and_starts_one_run_whatever_dies(kind: str) -> None:
    with store_maker(kind) as make_store:
        broken = {seed: wrong for seed in range(SEEDS[kind]) if (wrong := run_seed(seed, make_store))}

    assert not broken


# --- Planted bugs ------------------------------------------------------------------------------------------------


def found(make_store: MakeStore) -> bool:
    """Whether a planted bug is noticed within the seeds that the engine passes."""
    return any(run_seed(seed, make_store) for seed in range(SEEDS["memory"]))


def test_a_slot_that_is_moved_in_a_transaction_before_its_start_is_noticed() -> None:
    record_plan, tick = stored.record_plan, scheduler._tick

    def in_two(store: Store, pins: scheduler.Once, row: ScheduleRow, now_ms: UnixMs, *, under_way: bool) -> None:
        held: list[NewRun] = []

        class Holding:
            """Statements that start nothing."""

            def __init__(self, statements: Statements) -> None:
                self.now_ms, self.rows, self.changed = statements.now_ms, statements.rows, statements.changed
                self.end_waits = statements.end_waits

            def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
                held.extend(runs)
                return [Started(run.id, created=True) for run in runs]

        def move(statements: Statements, row: ScheduleRow, plan: Plan, runs: Sequence[NewRun]) -> object:
            held.clear()
            return record_plan(Holding(statements), row, plan, runs)

        with replaced(stored, "record_plan", move):
            tick(store, pins, row, now_ms, under_way=under_way)
        if held:
            store.start_runs(held)

    with store_maker("memory") as make_store, replaced(scheduler, "_tick", in_two):
        assert found(make_store)


def test_a_decision_that_is_recorded_without_its_guard_is_noticed() -> None:
    record_plan = stored.record_plan

    def unguarded(statements: Statements, row: ScheduleRow, plan: Plan, runs: Sequence[NewRun]) -> list[Started] | None:
        now = stored.find_schedule(statements, row.tenant, row.name)
        seen = structs.replace(row, revision=now.revision, next_ms=now.next_ms, ticks=now.ticks)
        return record_plan(statements, seen, plan, runs)

    with store_maker("memory") as make_store, replaced(stored, "record_plan", unguarded):
        assert found(make_store)


# --- Ten years ---------------------------------------------------------------------------------------------------

YEARS = 10
START_MS = UnixMs(1_761_000_000_000)


def runs_of(store: Store, tenant: Tenant = DEFAULT_TENANT) -> dict[str, int]:
    """How many runs each slot of each schedule has."""
    counts: Counter[str] = Counter()
    after = None
    while True:
        page = store.list_runs(tenant, RunFilter(), limit=1_000, after=after)
        counts.update(f"{run.attributes['schedule']} {run.attributes['slot']}" for run in page.runs)
        after = page.next
        if after is None:
            return dict(counts)


@pytest.mark.requirement("S-37", "promise-6", "fault-66")
def test_ten_years_of_slots_come_once_each_through_every_change_of_the_clocks() -> None:
    random, clock = Random("ten years"), ManualClock(START_MS)
    store, expected = MemoryStore(clock), dict[str, int]()
    end_ms = UnixMs(START_MS + YEARS * 365 * 86_400_000)
    schedules = {
        "berlin": hf.Schedule(cron="30 2 * 3,10 SUN", timezone="Europe/Berlin", catch_up="all", overlap="allow"),
        "new york": hf.Schedule(
            cron="15 1,2 1-14 3,11 *", timezone="America/New_York", catch_up="all", overlap="allow"
        ),
        "month's end": hf.Schedule(cron="0 0 L * *", timezone="Pacific/Auckland", catch_up="all", overlap="allow"),
        "leap day": hf.Schedule(cron="0 12 29 2 *", timezone="Asia/Kolkata", catch_up="all", overlap="allow"),
        "new year": hf.Schedule(cron="@yearly", timezone="America/Sao_Paulo", catch_up="all", overlap="allow"),
        "four weeks": hf.Schedule(every=timedelta(days=28), catch_up="all", overlap="allow"),
    }

    def put(statements: Statements) -> None:
        for name, schedule in schedules.items():
            payload = Codec().encode_arguments((), {}, "")
            stored.put_schedule(statements, DEFAULT_TENANT, name, schedule.spec("job"), payload=payload)

    store.transact(DEFAULT_TENANT, put)
    for name, schedule in schedules.items():
        timing = schedule.timing
        for slot_ms in slots_from(timing, next_slot(timing, START_MS), end_ms):
            expected[f"{name} {moment_of(slot_ms)}"] = 1
    failing = Failing(store, random)
    pins = Pins(store)
    while (due_ms := next_tick(store._documents)) is not None and due_ms <= end_ms:
        # Late by up to hours, now and then looked at too early, by two, with answers lost.
        clock.now_ms = max(clock.now_ms, UnixMs(due_ms + random.choice((-1, 0, 0, 700, 3_600_000))))
        for _ in range(random.choice((1, 2))):
            try:
                scheduler.tick_once(failing, pins, random=random.random)
            except (StoreUnavailable, CommitUnknown):
                continue

    assert runs_of(store) == expected
    assert len(expected) > 500
    assert failing.failures > 40


class Failing(MemoryStore):
    """A store whose answers are lost now and then, before or after it has done what it was asked to."""

    def __init__(self, store: MemoryStore, random: Random) -> None:
        self.__dict__ = store.__dict__
        self._chance = random
        self.failures = 0

    def transact(self, tenant: Tenant | None, work: Callable[[Statements], T], *, read_only: bool = False) -> T:
        """Raises StoreUnavailable, CommitUnknown."""
        luck = 1.0 if read_only else self._chance.random()
        if luck < 0.05:
            self.failures += 1
            raise StoreUnavailable(url=self.url, why="lost on its way")
        answer = super().transact(tenant, work, read_only=read_only)
        if luck < 0.1:
            self.failures += 1
            raise CommitUnknown(why="the answer was lost")
        return answer
