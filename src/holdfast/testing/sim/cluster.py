"""A whole installation in one simulation: a database, workers and clients."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from holdfast.client.client import Client
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import RunDetail, RunFilter
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.runtime.settings import WorkerSettings
from holdfast.runtime.worker import Worker
from holdfast.store.port import Store
from holdfast.testing.sim.check import check_runs
from holdfast.testing.sim.clock import StoreClock
from holdfast.testing.sim.history import History
from holdfast.testing.sim.host import SimHost
from holdfast.testing.sim.loop import Process, SimLoop
from holdfast.testing.sim.network import Network, Weather
from holdfast.testing.sim.observe import observed
from holdfast.workflow.registry import Registry

T = TypeVar("T")

MakeStore = Callable[[Callable[[], UnixMs]], Store]
"""Opens an empty store with the given clock."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A worker and the process it lives in."""

    process: Process
    worker: Worker
    task: asyncio.Task[None]


class Cluster:
    """See the module's docstring. Made by ``simulation``."""

    def __init__(
        self,
        registry: Registry,
        make_store: MakeStore,
        *,
        seed: int | str,
        weather: Weather,
        settings: WorkerSettings,
    ) -> None:
        self.registry = registry
        self.seed = seed
        self.settings = settings
        self.loop = SimLoop(seed)
        self.clock = StoreClock(self.loop)
        self.store = make_store(self.clock)
        self.history = History(self.loop, self.clock)
        self.network = Network(self.loop, self.store, self.history, weather, random=Random(f"{seed}/network"))
        self.workers: list[WorkerProcess] = []

    def start_worker(
        self, *, rate: float = 1.0, offset_s: float = 0.0, settings: WorkerSettings | None = None
    ) -> WorkerProcess:
        """Start another worker, in a process of its own."""
        process = self.loop.add_process(f"worker-{len(self.workers) + 1}", rate=rate, offset_s=offset_s)
        host = SimHost(process, seed=self.seed)
        worker = Worker(
            self.registry, self.network.connect(process), host, settings=settings or self.settings, version="simulated"
        )
        task = process.spawn(worker.run(), name=process.name)
        task.add_done_callback(self._ended)
        started = WorkerProcess(process, worker, task)
        self.workers.append(started)
        return started

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.history.violation(f"{task.get_name()} ended by {type(error).__name__}: {error}")

    def living_workers(self) -> list[WorkerProcess]:
        """The workers that have not been killed and have not ended."""
        return [one for one in self.workers if one.process.alive and not one.task.done()]

    def make_client(self, name: str) -> tuple[Process, Client]:
        """A client, in a process of its own; what it does is to be spawned there."""
        process = self.loop.add_process(name)
        client = Client(self.network.connect(process), SimHost(process, seed=self.seed), registry=self.registry)
        return process, client

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run the simulation until this coroutine ends. Raises Deadlock if nothing can happen any more."""
        return self.loop.run_until_complete(self.loop.system.spawn(main, name="main"))

    # Afterwards

    def read_all(self) -> dict[RunId, RunDetail]:
        """Every run of the default tenant with all its rows, straight from the store."""
        tenant = next((new.tenant for new in self.history.started.values()), None)
        details: dict[RunId, RunDetail] = {}
        if tenant is None:
            return details
        after: str | None = None
        while True:
            page = self.store.list_runs(tenant, RunFilter(), limit=_PAGE, after=after)
            details.update((run.id, self.store.read_detail(tenant, run.id)) for run in page.runs)
            after = page.next
            if after is None:
                return dict(sorted(details.items()))

    def unended(self) -> list[RunId]:
        """The started runs that have not ended, straight from the store."""
        tenants = {new.tenant for new in self.history.started.values()}
        return [
            run.id
            for tenant in sorted(tenants)
            for run in self.store.get_runs(tenant, sorted({*self.history.started, *self.history.copied}))
            if run.status not in TERMINAL_STATUSES
        ]

    def check(self) -> list[str]:
        """Every broken promise that can be seen without knowing the workflows."""
        return [*self.history.violations, *self.loop.failures, *check_runs(self.history, self.read_all())]


@contextmanager
def simulation(
    registry: Registry,
    make_store: MakeStore,
    *,
    seed: int | str,
    weather: Weather,
    settings: WorkerSettings,
) -> Generator[Cluster]:
    """A cluster without workers at time 0. The garbage collector rests meanwhile: what it finalises, and when, would be
    chance.
    """
    collecting = gc.isenabled()
    gc.disable()
    # What an earlier simulation left is in cycles. Without this, tasks with the same hashes would pile up in asyncio's
    # set of all tasks. What was there before it is set aside since then and costs nothing.
    gc.collect()
    gc.freeze()
    cluster = Cluster(registry, make_store, seed=seed, weather=weather, settings=settings)
    try:
        with observed(registry, cluster.history, seed=seed):
            try:
                yield cluster
            finally:
                cluster.network.close()
                with warnings.catch_warnings():
                    # What a killed process had not awaited yet is no mistake of its program.
                    warnings.simplefilter("ignore", RuntimeWarning)
                    cluster.loop.close()
                    gc.collect()
    finally:
        cluster.store.close()
        if collecting:
            gc.enable()
