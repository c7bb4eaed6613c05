"""``crash_everywhere``: one run of a workflow, again and again, with a fault at every place where one can be."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from holdfast.client.client import Client
from holdfast.core.codec import Codec
from holdfast.core.failure import read_failure
from holdfast.model.ids import RunId
from holdfast.model.run import RunDetail
from holdfast.model.status import TERMINAL_STATUSES, RunStatus
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.memory import MemoryStore
from holdfast.testing.sim.cluster import Cluster, MakeStore, simulation
from holdfast.testing.sim.loop import Deadlock, SimulationError
from holdfast.testing.sim.network import Fate, Fault, StoreCall
from holdfast.workflow.registry import Registry
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")

WORKER = "worker-1"
"""The process that the faults befall."""

CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """A fault at one of the calls that change the database, counted from 1."""

    call: int
    fault: Fault

    def __str__(self) -> str:
        return f"{self.fault.value} at call {self.call}"


@dataclass(frozen=True)
class RunOutcome:
    """How the run ended.

    ``result`` is the decoded result of a completed run, ``error`` the text of a failed one's error, and ``journal`` the
    outcome of each recorded operation by its key.
    """

    status: RunStatus
    reason: str | None
    result: Any
    error: str | None
    journal: dict[str, str]


@dataclass(frozen=True)
class CrashReport:
    """What ``crash_everywhere`` did: the undisturbed outcome, and every point that was tried."""

    outcome: RunOutcome
    calls: int
    """How many calls that change the database the undisturbed run made."""
    points: list[CrashPoint] = field(default_factory=list[CrashPoint])


class CrashFound(AssertionError):
    """A fault changed what became of the run; the message names the fault, the difference, and how to repeat it."""


def crash_everywhere(
    workflow: Workflow[P, R],
    *args: Any,
    app: Registry,
    signals: Sequence[tuple[str, Any]] = (),
    reset: Callable[[], object] | None = None,
    check: Callable[[RunOutcome], object] | None = None,
    same: Callable[[Any, Any], bool] = operator.eq,
    faults: Iterable[Fault] = CRASHES,
    only: CrashPoint | None = None,
    within: timedelta = timedelta(hours=1),
    settings: WorkerSettings | None = None,
    make_store: MakeStore = MemoryStore,
    seed: int = 0,
) -> CrashReport:
    """Prove that a workflow survives the death of its worker at any moment.

    The workflow is run once, on a virtual clock, to count the calls by which its worker changes the database; then once
    for each of them and each fault: by default the worker is killed right before and right after the call, and another
    one takes over when its lease has run out. Each time the run must end as it did undisturbed, with the same result
    and the same journal, and the engine must have kept its promises: no journaled step runs again, compensations run
    in reverse order, and so on. It takes milliseconds per point, whatever the workflow sleeps.

    Args:
        workflow: what to run, with its positional arguments behind it. Its steps and children must be ``app``'s.
        app: where they are registered. Its database is not touched: runs live in memory.
        signals: names and payloads to send to the run right after its start, in order.
        reset: called before each run: put your fakes of the outside world back to where they were.
        check: called with each outcome after its run: look at your fakes, and raise if something is wrong.
        same: how to compare results; for results that hold times or random values.
        faults: which faults to try at each call.
        only: one point, to repeat a failure.
        within: simulated time in which the run must end.
        settings: of the workers.
        make_store: opens an empty store; the reference store by default.
        seed: another one gives another order of what happens at the same time.

    Returns:
        what was done.

    Raises:
        CrashFound: a fault made a difference.
        SimulationError: the workflow does not end, or asks for what a simulation has not: sockets, threads of its own.
    """
    sweep = Sweep(workflow, args, app, signals, within=within, settings=settings, make_store=make_store, seed=seed)
    outcome, calls = sweep.run(None, reset, check)
    report = CrashReport(outcome, calls)
    points = [CrashPoint(call, fault) for call in range(1, calls + 1) for fault in faults]
    for point in points if only is None else [only]:
        repeat = f"repeat it with only=CrashPoint({point.call}, Fault.{point.fault.name})"
        try:
            after, _ = sweep.run(point, reset, check)
        except (AssertionError, SimulationError) as error:
            raise CrashFound(f"{point}: {error}; {repeat}") from error
        difference = _difference(outcome, after, same)
        if difference is not None:
            raise CrashFound(f"{point}: {difference}; {repeat}")
        report.points.append(point)
    return report


def _difference(before: RunOutcome, after: RunOutcome, same: Callable[[Any, Any], bool]) -> str | None:
    for name in ("status", "reason", "error", "journal"):
        if getattr(before, name) != getattr(after, name):
            return f"the run's {name} was {getattr(before, name)!r}, and now is {getattr(after, name)!r}"
    if not same(before.result, after.result):
        return f"the run's result was {before.result!r}, and now is {after.result!r}"
    return None


class _OneFault:
    """``Weather`` with one fault, at one call of one worker."""

    def __init__(self, point: CrashPoint | None) -> None:
        self.point = point
        self.calls = 0

    def fate_of(self, call: StoreCall) -> Fate:
        if call.process.name != WORKER or not call.writes or call.method == "heartbeat":
            return Fate()
        self.calls += 1
        point = self.point
        return Fate(point.fault) if point is not None and point.call == self.calls else Fate()

    def hint_delay_s(self) -> float | None:
        return 0.0005


class Sweep:
    """Runs one workflow again and again, each time with at most one fault."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        app: Registry,
        signals: Sequence[tuple[str, Any]],
        *,
        within: timedelta,
        settings: WorkerSettings | None,
        make_store: MakeStore,
        seed: int,
    ) -> None:
        self.workflow = workflow
        self.args = args
        self.app = app
        self.signals = signals
        self.within_s = within.total_seconds()
        self.settings = settings or WorkerSettings()
        self.make_store = make_store
        self.seed = seed

    def run(
        self, point: CrashPoint | None, reset: Callable[[], object] | None, check: Callable[[RunOutcome], object] | None
    ) -> tuple[RunOutcome, int]:
        """One run with at most one fault: its outcome, and how many calls could have had one."""
        if reset is not None:
            reset()
        weather = _OneFault(point)
        with simulation(self.app, self.make_store, seed=self.seed, weather=weather, settings=self.settings) as cluster:
            try:
                run_id, calls = cluster.run(self._play(cluster, weather))
            except Deadlock as error:
                raise SimulationError(f"the run waits for something that never comes: {error}") from error
            problems = cluster.check()
            assert not problems, "; ".join(problems)
            detail = cluster.read_all()[run_id]
            if detail.run.status not in TERMINAL_STATUSES:
                after = "" if point is None else f" with a {point}"
                limit = timedelta(seconds=self.within_s)
                raise SimulationError(f"the run{after} has not ended after {limit}: it is {detail.run.status}")
            outcome = _outcome_of(detail, self.workflow)
        if check is not None:
            check(outcome)
        return outcome, calls

    async def _play(self, cluster: Cluster, weather: _OneFault) -> tuple[RunId, int]:
        cluster.start_worker()
        process, client = cluster.make_client("client")
        run_id = await process.spawn(self._start(client))
        while cluster.unended() and cluster.loop.now_s < self.within_s:
            await asyncio.sleep(0.5)
            if not cluster.living_workers():
                cluster.start_worker()
        return run_id, weather.calls

    async def _start(self, client: Client) -> RunId:
        handle = await client.start(self.workflow.name, *self.args)
        for name, payload in self.signals:
            await handle.signal(name, payload)
        return handle.id


def _outcome_of(detail: RunDetail, workflow: Workflow[Any, Any]) -> RunOutcome:
    run = detail.run
    result = None
    if run.result is not None:
        result = Codec().decoder(workflow.result_type)(run.result, "the result of the simulated run")
    error = None if run.error is None else read_failure(run.error).summary.replace(run.id, "<run>")
    journal = {entry.key: entry.status.value for entry in detail.journal}
    return RunOutcome(run.status, run.terminal_reason, result, error, dict(sorted(journal.items())))
