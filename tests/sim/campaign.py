"""A campaign: seeds, each a cluster under faults, each checked. ``python -m tests.sim.campaign --seeds 500``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import holdfast as hf
from holdfast.client.client import Client, RunHandle
from holdfast.core.ids import derive_id
from holdfast.errors import (
    ApprovalClosed,
    ApprovalNotFound,
    CommitUnknown,
    Conflict,
    RunError,
    RunFinished,
    StoreUnavailable,
)
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import Run, RunDetail
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from holdfast.testing.sim.check import describe_run
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.loop import EPOCH_S, SimulationError
from holdfast.testing.sim.network import Storm
from tests.sim.nemesis import Nemesis
from tests.sim.orders import Operator
from tests.sim.requests import Request, draw_requests, judge
from tests.sim.stores import KINDS, bookings, store_maker
from tests.sim.workloads import app
from tests.sim.world import WORLD, World

WORKERS = (1, 2, 3, 3, 4)
"""How many workers a seed may have."""
FAULTS_S = 45.0
"""How long things break, in simulated seconds."""
PERIOD_S = 3.0
"""How long it takes on average until the next thing breaks."""
REQUESTS = 18
TWICE = 0.2
"""How often a client sends a signal again that was accepted."""
SLOW_SEEDS = 0.25
"""In how many seeds the world is so slow that many a worker is taken for dead in the middle of a step."""
SLACK_S = 8.0
"""Beside lease, polls and its own work, what a run may need after everything works again."""
POISON_S = 80.0
"""What a run that takes workers down may cost the others."""
SETTINGS = hf.WorkerSettings(
    lease=timedelta(seconds=5), poll=timedelta(seconds=1), grace=timedelta(seconds=3), crashes_max=6
)

RACES = {
    "cancel against completion": (
        "a cancel that came before the completion",
        "a completion that came before a cancel",
    ),
    "timeout against signal": ("a wait with a timeout that was elapsed", "a wait with a timeout that was signalled"),
    "pause against wake": ("a pause that came before a wake", "a wake that came before a pause"),
}
"""Who may win where two come at the same moment."""

SOMETIMES = (
    *(winner for winners in RACES.values() for winner in winners),
    *(f"{word} was {answer}" for word in ("pause", "resume", "settle", "retry") for answer in ("obeyed", "refused")),
    *("terminate was obeyed", "undo was obeyed", "priority was obeyed", "wake was obeyed"),
    *("fork was obeyed", "update was obeyed", "pause came too late"),
    "a claim handed back whose answer was lost",
    "a claim whose answer was lost",
    "a commit whose answer was lost",
    "a replay",
    "a retry by another worker",
    "a run parked",
    "a run taken over",
    "a signal sent twice",
    "a signal kept before its wait",
    "a stale write refused",
    "a start repeated",
    "an approval answered twice",
    "a signal to all kept",
    "an effect repeated after a crash",
    "compensating goes on elsewhere",
    "parked while a wait was closed",
    "poison set aside",
    "woken by a child",
    "woken by a signal",
    "woken by a timer",
    "ended by its deadline",
    "handed back by a draining worker",
)
"""What must have happened in a campaign, or it has proved little."""


@dataclass
class Seed:
    """What came of one seed."""

    seed: int
    kind: str
    violations: list[str] = field(default_factory=list[str])
    digest: int = 0
    simulated_s: float = 0.0
    worker_s: float = 0.0
    events: int = 0
    calls: int = 0
    commits: int = 0
    runs: int = 0
    kills: int = 0
    pauses: int = 0
    outages: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    notes: Counter[str] = field(default_factory=Counter[str])

    def __str__(self) -> str:
        replay = f"python -m tests.sim.campaign --store {self.kind} --first {self.seed} --seeds 1"
        head = f"seed {self.seed} on {self.kind}: {len(self.violations)} violation(s); replay it with {replay}"
        return "\n  ".join([head, *self.violations])

    def add(self, other: Seed) -> None:
        """Add another seed's numbers to these."""
        for name in ("simulated_s", "worker_s", "events", "calls", "commits", "runs", "kills", "pauses", "outages"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults += other.faults
        self.notes += other.notes


def run_seed(seed: int, kind: str, make_store: MakeStore) -> Seed:
    """Simulate one seed and check it."""
    outcome = Seed(seed, kind)
    random = Random(f"{seed}/plan")
    WORLD.set(World(Random(f"{seed}/world"), slow=0.4 if random.random() < SLOW_SEEDS else 0.03))
    weather = draw_storm(Random(f"{seed}/weather"))
    with simulation(app, make_store, seed=seed, weather=weather, settings=SETTINGS) as cluster:
        play = Play(cluster, weather, random, kind)
        try:
            cluster.run(play.run())
        except SimulationError as error:
            outcome.violations.append(str(error))
        outcome.violations += cluster.check()
        outcome.violations += play.judge()
        for detail in play.details.values():
            _note_moves(detail, outcome.notes)
        outcome.digest = cluster.loop.digest
        outcome.simulated_s = cluster.loop.now_s
        outcome.worker_s = cluster.loop.now_s * play.workers
        outcome.events = cluster.loop.events
        outcome.calls = cluster.network.calls
        outcome.commits = cluster.history.commits
        outcome.runs = len(play.details)
        outcome.kills, outcome.pauses, outcome.outages = play.nemesis.kills, play.nemesis.pauses, play.nemesis.outages
        outcome.faults = cluster.history.faults
        outcome.notes += cluster.history.notes
    return outcome


def draw_storm(random: Random) -> Storm:
    """A storm of a seed's own: some faults often, others hardly ever."""

    def share(usual: float) -> float:
        return 3 * usual * random.random() ** 2

    return Storm(random, lost=share(0.02), answer_lost=share(0.02), unknown=share(0.02), late=share(0.015))


class Play:
    """The clients of one seed, the nemesis, and what is said of them afterwards."""

    def __init__(self, cluster: Cluster, weather: Storm, random: Random, kind: str) -> None:
        self.cluster = cluster
        self.random = random
        self.kind = kind
        self.poison = random.random() < 0.1
        self.requests = draw_requests(random, count=REQUESTS, kind=kind, poison=self.poison)
        self.workers = random.choice(WORKERS)
        period_s = PERIOD_S * (0.5 + 1.5 * random.random())
        self.nemesis = Nemesis(
            cluster, weather, Random(f"{cluster.seed}/nemesis"), workers=self.workers, period_s=period_s
        )
        self.acked: dict[int, RunId] = {}
        self.refused: set[int] = set()
        self.cancelled: set[int] = set()
        self.answers: dict[int, Any] = {}
        self.healed_s = 0.0
        self.details: dict[RunId, RunDetail] = {}

    async def run(self) -> None:
        """Everything, from the first start to the last end."""
        system = self.cluster.loop.system
        for _ in range(self.workers):
            self.nemesis.start_worker()
        clients = [self.cluster.make_client(f"client-{number}") for number in range(2)]
        plays = [
            clients[request.number % 2][0].spawn(self.play(clients[request.number % 2][1], request))
            for request in self.requests
        ]
        keeper = system.spawn(self.nemesis.keep_workers())
        await self.nemesis.run(FAULTS_S)
        WORLD.get().calm = True
        self.nemesis.heal()
        self.healed_s = self.cluster.loop.now_s
        if await self.all_end():
            await asyncio.wait([system.spawn(_gather(plays))], timeout=30)
        for play, request in zip(plays, self.requests, strict=True):
            if not play.done():
                self.cluster.history.violation(f"{request.name}: its client waits for ever")
        keeper.cancel()
        self.details = self.cluster.read_all()

    async def all_end(self) -> bool:
        """Whether every run has ended within its time."""
        limit_s = self.healed_s + max(self._allowed_s(request) for request in self.requests) + SLACK_S
        while self.cluster.loop.now_s < limit_s:
            await asyncio.sleep(0.5)
            if len(self.acked) + len(self.refused) == len(self.requests) and not self._unended():
                return True
        for run in self._unended():
            waited_s = self.cluster.loop.now_s - self.healed_s
            self.cluster.history.violation(f"{waited_s:.0f} s after all faults it has not ended: {describe_run(run)}")
        return False

    def _allowed_s(self, request: Request) -> float:
        """How long a run may take after the last fault: a take-over, two looks, what it does, and a little more."""
        once_more_s = SETTINGS.lease.total_seconds() + 2 * SETTINGS.poll.total_seconds()
        return once_more_s + request.takes_s + request.delay_s + SLACK_S + POISON_S * self.poison

    def _unended(self) -> list[Run]:
        """The runs that have not ended, without those that wait for a client that never heard of their start."""
        given_up = {self.requests[number].name for number in self.refused if self.requests[number].needs_its_client}
        runs = [self.cluster.store.get_run(DEFAULT_TENANT, run_id) for run_id in self.cluster.unended()]
        return [run for run in runs if run.attributes.get("request") not in given_up]

    # A client

    async def play(self, client: Client, request: Request) -> None:
        """Start a run, do what belongs to it, and wait for its end."""
        await asyncio.sleep(request.at_s)
        handle = await self.start(client, request)
        if handle is None:
            self.refused.add(request.number)
            return
        self.acked[request.number] = handle.id
        operator = Operator(client, handle.id, self.cluster.history)
        ordered = asyncio.create_task(operator.give(request.orders))
        for number, payload in enumerate(request.signals):
            await asyncio.sleep(request.signal_gap_s)
            for _ in range(1 + (self.random.random() < TWICE)):
                await self.signal(client, handle, payload, number)
        if request.approves:
            await self.approve(client, handle)
        if request.cancel_after_s is not None:
            if request.cancel_after_kill:
                await self.some_kill()
            await asyncio.sleep(request.cancel_after_s)
            await self.cancel(handle, request)
        self.answers[request.number] = await self.result(handle)
        await ordered
        for run_id in operator.copies:
            await self.result(client.handle(run_id))

    async def some_kill(self) -> None:
        """Wait until a worker has been killed, for a few seconds."""
        kills, until_s = self.nemesis.kills, self.cluster.loop.now_s + 6
        while self.nemesis.kills == kills and self.cluster.loop.now_s < until_s:
            await asyncio.sleep(0.1)

    async def start(self, client: Client, request: Request) -> RunHandle[Any] | None:
        """Start it, as a careful program does: an unknown answer is asked for again only with a key."""
        while True:
            try:
                return await client.start(
                    request.workflow.name,
                    *request.args,
                    key=request.name if request.keyed else None,
                    delay=request.delay_s,
                    timeout=request.timeout_s,
                    attributes={"request": request.name},
                )
            except StoreUnavailable:
                await asyncio.sleep(1)
            except CommitUnknown:
                if not request.keyed:
                    return None
                await asyncio.sleep(1)

    async def signal(self, client: Client, handle: RunHandle[Any], payload: str, number: int) -> None:
        """Send a signal until it is known to have been accepted."""
        name = derive_id("signal", handle.id, str(number))
        while True:
            try:
                await client.signal("mail", payload, run_id=handle.id, signal_id=name)
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)
            except RunFinished:
                return
            else:
                return

    async def approve(self, client: Client, handle: RunHandle[Any]) -> None:
        """Approve until it is known to be done; a second answer must be refused."""
        while True:
            try:
                await client.approve(handle.id, by="ann")
            except (StoreUnavailable, CommitUnknown, ApprovalNotFound):
                await asyncio.sleep(0.5)
            except (ApprovalClosed, RunFinished):
                break
        self.cluster.history.note("an approval answered twice")

    async def cancel(self, handle: RunHandle[Any], request: Request) -> None:
        """Ask for the run's end until the answer is known."""
        while True:
            try:
                run = await handle.cancel("no longer wanted")
            except (StoreUnavailable, CommitUnknown):
                await asyncio.sleep(0.5)
            except Conflict:
                self.cluster.history.note("a completion that came before a cancel")
                return
            else:
                self.cluster.history.note("a cancel that came before the completion")
                if run.status is RunStatus.CANCELLED:
                    self.cancelled.add(request.number)
                return

    async def result(self, handle: RunHandle[Any]) -> Any:
        """What the client is told at the end."""
        while True:
            try:
                return await handle.result()
            except StoreUnavailable:
                await asyncio.sleep(0.5)
            except RunError as error:
                return type(error).__name__

    # Judgement

    def judge(self) -> list[str]:
        """Compare how everything ended with the reference."""
        return [*self._judge_runs(), *self._judge_bookings()]

    def _judge_runs(self) -> Iterator[str]:
        by_request: dict[str, list[RunDetail]] = {}
        for detail in self.details.values():
            name = detail.run.attributes.get("request")
            if name is not None and detail.run.retry_of_id is None and detail.run.forked_from_id is None:
                by_request.setdefault(str(name), []).append(detail)
        for request in self.requests:
            runs = by_request.get(request.name, [])
            if len(runs) > 1:
                yield f"{request.name} was started {len(runs)} times"
            acked = self.acked.get(request.number)
            if acked is not None and acked not in self.details:
                yield f"{request.name} was acknowledged as run {acked}, which does not exist"
            for detail in runs:
                yield from self._judge_run(request, detail)
        for detail in self.details.values():
            yield from self._judge_copy(detail)

    def _judge_copy(self, detail: RunDetail) -> Iterator[str]:
        """A retry ends as its request may, a fork as the request says of forks."""
        run = detail.run
        if run.retry_of_id is None and run.forked_from_id is None:
            return
        request = next(one for one in self.requests if one.name == run.attributes["request"])
        wrong = judge(request, detail)
        if wrong is not None and not self._is_out_of_luck(run):
            yield f"as a copy of {run.retry_of_id or run.forked_from_id}, {wrong}"

    def _judge_run(self, request: Request, detail: RunDetail) -> Iterator[str]:
        run = detail.run
        if run.finalized_ms is None:
            return
        ended_s = run.finalized_ms / 1000 - EPOCH_S - self.cluster.clock.offset_s
        late_s = ended_s - max(self.healed_s, request.at_s) - self._allowed_s(request)
        if late_s > 0:
            yield f"{request.name} ended {late_s:.1f} s later than it should have: {describe_run(run)}"
        wrong = judge(request, detail)
        if wrong is not None and not self._is_out_of_luck(run):
            yield wrong
        if request.number in self.cancelled and run.status is not RunStatus.CANCELLED:
            yield f"{request.name} was answered to be cancelled, and ended {run.status}"
        answer = self.answers.get(request.number)
        told = {
            RunStatus.FAILED: "RunFailed",
            RunStatus.CANCELLED: "RunCancelled",
            RunStatus.STUCK: "RunStuck",
        }.get(run.status)
        expected: list[Any] = [told]
        if told is None:
            expected = [ending.result for ending in request.endings if ending.status is run.status]
        if request.number in self.answers and answer not in expected and not self._is_out_of_luck(run):
            yield f"{request.name}: its client was told {answer!r}; it ended {run.status}"

    def _is_out_of_luck(self, run: Run) -> bool:
        """Whether it was set aside for losing one worker after the other, each of which had a lease when it began."""
        claims = self.cluster.history.claimed.get(run.id, [])[-SETTINGS.crashes_max :]
        return run.terminal_reason == "worker_crashes" and all(claim.leased for claim in claims)

    def _judge_bookings(self) -> Iterator[str]:
        booked = bookings(self.kind, self.cluster.store)
        for run_id, count in booked.items():
            if count != 1:
                yield f"run {run_id}: its transactional step was done {count} times"
        for detail in self.details.values():
            run = detail.run
            if run.workflow not in ("booking", "bookings") or run.status is not RunStatus.COMPLETED:
                continue
            follow_up = RunId(derive_id("booking", run.id))
            if self.kind == "sqlite" and run.id not in booked:
                yield f"run {run.id}: its transactional step was journaled, and not done"
            if self.kind == "memory" and follow_up not in self.details:
                yield f"run {run.id}: its transactional step was journaled, and what it started does not exist"


async def _gather(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks)


def _note_moves(detail: RunDetail, notes: Counter[str]) -> None:
    moves = [(one.from_status, one.to_status, one.reason) for one in detail.transitions]
    held = (RunStatus.RUNNING, RunStatus.COMPENSATING)
    for before, after, reason in moves:
        if before in held and after is RunStatus.QUEUED and reason == "waiting":
            notes["parked while a wait was closed"] += 1
        if before is RunStatus.WAITING and after is RunStatus.QUEUED:
            word = {"signalled": "signal", "timer_elapsed": "timer", "child_ended": "child"}.get(reason, reason)
            notes[f"woken by a {word}"] += 1
        if reason == "drained":
            notes["handed back by a draining worker"] += 1
    if detail.run.terminal_reason == "deadline_exceeded":
        notes["ended by its deadline"] += 1
    _note_races(detail, notes)
    for wait in detail.waits:
        if wait.outcome is not None and wait.outcome.value == "signalled" and wait.closed_ms == wait.opened_ms:
            notes["a signal kept before its wait"] += 1
        if wait.outcome is not None and (wait.signal or "").startswith("news-"):
            notes["a signal to all kept"] += 1


_WOKEN = (RunStatus.WAITING, RunStatus.QUEUED)
_WAKES = (WaitOutcome.SIGNALLED, WaitOutcome.ELAPSED, WaitOutcome.CHILD_ENDED, WaitOutcome.ANSWERED)


def _note_races(detail: RunDetail, notes: Counter[str]) -> None:
    """Who won where a signal meets its timeout, and a pause what wakes the run."""
    for wait in detail.waits:
        if wait.kind is WaitKind.SIGNAL and wait.due_ms is not None and wait.outcome is not None:
            notes[f"a wait with a timeout that was {wait.outcome}"] += 1
    moves = detail.transitions
    for at, move in enumerate(moves):
        woken = any((one.from_status, one.to_status) == _WOKEN for one in moves[max(0, at - 2) : at])
        if woken and move.reason in ("paused", "pause_requested"):
            notes["a wake that came before a pause"] += 1
        if move.to_status is RunStatus.PAUSED and at + 1 < len(moves):
            until_ms = moves[at + 1].at_ms
            closed = [wait for wait in detail.waits if wait.outcome in _WAKES]
            if any(move.at_ms <= (wait.closed_ms or 0) <= until_ms for wait in closed):
                notes["a pause that came before a wake"] += 1


def run_campaign(seeds: Iterable[int], kind: str) -> Iterator[Seed]:
    """Run seeds one after the other."""
    with store_maker(kind) as make_store:
        for seed in seeds:
            yield run_seed(seed, kind, make_store)


def describe(totals: Seed, seeds: int, took_s: float) -> str:
    """A campaign in numbers."""
    return "\n".join(
        [
            f"{seeds} seeds on {totals.kind} from {totals.seed} in {took_s:.1f} s:",
            f"  {totals.simulated_s / 3600:.2f} simulated hours, {totals.worker_s / 3600:.2f} of workers",
            f"  {totals.simulated_s / took_s:.0f} times real time, {totals.events} events",
            f"  {totals.runs} runs, {totals.calls} store calls, {totals.commits} commits",
            f"  {totals.kills} kills, {totals.pauses} pauses, {totals.outages} outages",
            *(f"  {count:8d}  fault: {fault}" for fault, count in sorted(totals.faults.items())),
            *(f"  {totals.notes[what]:8d}  {what}" for what in sorted({*SOMETIMES, *totals.notes})),
        ]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Simulate seeds and check every promise.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=None, help="the first seed; by the clock if left out")
    parser.add_argument("--store", choices=KINDS, default="memory")
    options = parser.parse_args()
    first = int(time.time()) * 1000 if options.first is None else options.first
    began = time.monotonic()
    totals, bad = Seed(first, options.store), 0
    for one in run_campaign(range(first, first + options.seeds), options.store):
        if one.violations:
            bad += 1
            print(one, flush=True)  # noqa: T201 - a program's output
        totals.add(one)
    took_s = time.monotonic() - began
    print(describe(totals, options.seeds, took_s))  # noqa: T201
    print(f"{bad} seed(s) with violations")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
