"""A worker: claims runs, executes them, and hands them back when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from holdfast.core.codec import Codec
from holdfast.errors import StoreError, UsageError
from holdfast.model.ids import RunId, UnixMs, WorkerId
from holdfast.model.run import ClaimedRun, WorkerInfo
from holdfast.runtime.body import begin
from holdfast.runtime.breakers import Breakers
from holdfast.runtime.bulk import BulkWork
from holdfast.runtime.claimer import SUSPECT_CRASHES, Claimer
from holdfast.runtime.closings import ClosingDelivery
from holdfast.runtime.committer import Committer
from holdfast.runtime.execution import RunExecution
from holdfast.runtime.heartbeat import Heartbeat
from holdfast.runtime.host import Host
from holdfast.runtime.housekeeper import Housekeeper
from holdfast.runtime.live import Live
from holdfast.runtime.scheduler import Scheduler
from holdfast.runtime.services import Services
from holdfast.runtime.settings import WorkerSettings
from holdfast.runtime.walk import walk_run
from holdfast.store.port import Hint, Store
from holdfast.workflow.registry import Registry

logger = logging.getLogger("holdfast.worker")

LOOP_TICK_S = 1.0
"""How often the event loop shows that it is alive."""

RETIRE_BATCH = 1000


class Worker:
    """``async with worker:`` runs it inside any asyncio program; ``run()`` until ``stop()``.

    Leaving the block drains: nothing more is claimed, running steps get ``settings.grace`` to finish, and every run is
    handed back at once, so that no other worker has to wait for a lease to end.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        host: Host,
        *,
        settings: WorkerSettings | None = None,
        version: str = "",
        commit_lanes: tuple[str, ...] = ("commit-1", "commit-2"),
    ) -> None:
        self.registry = registry
        self.store = store
        self.host = host
        self.settings = settings or WorkerSettings()
        self.id = WorkerId(host.new_id())
        self._version = version
        self._lanes = commit_lanes
        self._executions: dict[RunId, RunExecution] = {}
        self._suspects: set[RunId] = set()
        self._tasks: list[asyncio.Task[Any]] = []
        self._empty = asyncio.Event()
        self._stopping = asyncio.Event()
        self._started = False
        self._draining: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        """The defect that made the worker stop by itself, if one did; it has drained then, and claims no more."""

    @property
    def held_runs(self) -> int:
        """How many runs it holds now."""
        return len(self._executions)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain()

    async def run(self) -> None:
        """Work until ``stop()`` is called, then drain."""
        async with self:
            await self._stopping.wait()

    def stop(self) -> None:
        """Make ``run`` drain and return. From a signal handler, say."""
        self._stopping.set()

    async def start(self) -> None:
        """Register, and start the loops.

        Raises:
            SchemaTooOld, SchemaTooNew, StoreMisconfigured: the database cannot be used as it is.
            UsageError: it was started before, its App has no workflow, or a registered function has an annotation that
                cannot be resolved or stored.
            GraphError: graphs of its App cannot be run; it lists every problem.
        """
        if self._started:
            raise UsageError("a worker can be started once; make another")
        if not self.registry.workflow_names:
            raise UsageError(f"app {self.registry.name!r} has no workflow: a worker would have nothing to do")
        self.registry.check_graphs()
        self._started = True
        self.registry.learn_errors()
        self._loop = asyncio.get_running_loop()
        services = self.services = Services(self.registry, self.store, self.host, Codec())
        services.check_types()
        await services.until_available(lambda: self.host.call("keep", self.store.check_schema))
        info = self._info()
        registered_ms = 0.0

        def register() -> asyncio.Future[UnixMs]:
            nonlocal registered_ms
            registered_ms = self.host.monotonic_ms()
            return self.host.call("keep", self.store.register_worker, info, lease_ms=self.settings.lease_ms)

        services.learn_time(await services.until_repeated(register))
        self._assemble(services, info)
        if self.closings is not None:
            await self.closings.subscribe()
        if self.registry.schedules:
            await self.scheduler.declare()
        # The answer may have been long on its way: the lease began before it.
        self.heartbeat.extended(registered_ms)
        self.heartbeat.start()
        self._unsubscribe = self.store.hints.subscribe(self._hint_from_any_thread)
        loops = {
            "claimer": self.claimer.run,
            "housekeeper": self.housekeeper.run,
            "live": self.live.run,
            "bulk": self.bulk.run,
            "scheduler": self.scheduler.run,
            "breakers": self.services.breakers.run,
            "tick": self._tick,
        }
        if self.closings is not None:
            loops["closings"] = self.closings.run
        for name, loop in loops.items():
            self._tasks.append(self._loop.create_task(self._guard(name, loop), name=f"holdfast-{name}"))
        logger.info("worker %s started: %d workflow(s)", self.id, len(self.registry.workflow_names))

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            id=self.id,
            queues=list(self.settings.queues),
            codes=list(self.services.codes.names),
            lacks=self.services.codes.lacks,
            host=self.host.name,
            pid=self.host.pid,
            version=self._version,
        )

    async def _announce(self) -> None:
        """Tell anew what this worker can execute."""
        info = self._info()
        self.heartbeat.introduce(info)
        await self.host.call("keep", self.store.register_worker, info, lease_ms=self.settings.lease_ms)

    def _assemble(self, services: Services, info: WorkerInfo) -> None:
        settings = self.settings
        services.committer = Committer(services, lanes=self._lanes)
        self.heartbeat = Heartbeat(self.store, self.host, settings, worker=info)
        self.claimer = Claimer(
            services,
            settings,
            worker=self.id,
            begin=self._begin,
            held=lambda: list(self._executions),
            suspects=lambda: len(self._suspects),
            heartbeat=self.heartbeat,
        )
        self.bulk = BulkWork(services, settings, worker=self.id)
        self.scheduler = Scheduler(services)
        services.breakers = Breakers(services, settings)
        self.housekeeper = Housekeeper(
            services,
            settings,
            wake_claimer=self.claimer.wake,
            announce=self._announce,
            wake_bulk=self.bulk.look,
            wake_scheduler=self.scheduler.look,
            wake_breakers=services.breakers.look,
        )
        self.live = Live(services, settings, worker=self.id, executions=self._executions)
        self.closings = ClosingDelivery(services, settings) if self.registry.end_handlers else None
        services.listen = self.live.listen
        services.ended = self._ended
        services.has_room = self._has_room
        services.expect = self.housekeeper.expect
        services.walk = walk_run

    async def _guard(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A loop that dies of a defect takes the whole worker down, loudly, instead of leaving it half alive."""
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            logger.critical("the worker's %s died; the worker stops", name, exc_info=True)
            self.failure = error
            self.stop()
            self._draining = self._draining or self._loop.create_task(self._drain(), name="holdfast-drain")

    async def _tick(self) -> None:
        while True:
            self.heartbeat.loop_is_alive()
            # Well within a short lease too: a beat that finds no tick since the last lease takes the loop for blocked.
            await asyncio.sleep(min(LOOP_TICK_S, self.heartbeat.interval_ms / 1000))

    def _hint_from_any_thread(self, hint: Hint) -> None:
        # A closed loop has no use for hints.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._hint, hint)

    def _hint(self, hint: Hint) -> None:
        if hint.work:
            self.claimer.wake()
        if hint.signals:
            self.housekeeper.look()
        if self.closings is not None and (hint.ended is None or hint.ended):
            self.closings.look()
        if hint.live is None or hint.live:
            self.live.hint(hint.live)

    def _begin(self, run: ClaimedRun) -> None:
        workflow = self.services.workflow_of(run)
        execution = RunExecution(run, workflow, self.services)
        stale = self._executions.get(run.id)
        if stale is not None:
            # This worker had lost the run without noticing, and has claimed it again.
            stale.lost()
        self._executions[run.id] = execution
        if run.crashes >= SUSPECT_CRASHES:
            self._suspects.add(run.id)
        self.begin_execution(execution)

    @staticmethod
    def begin_execution(execution: RunExecution) -> None:
        """Start the task that executes a claimed run; the simulator looks on here."""
        begin(execution)

    def _ended(self, execution: RunExecution) -> None:
        run_id = execution.run.id
        if self._executions.get(run_id) is execution:
            del self._executions[run_id]
        self._suspects.discard(run_id)
        if not self._executions:
            self._empty.set()
        self.claimer.room_freed()

    def _has_room(self) -> bool:
        """Whether runs may stay in memory though they only wait."""
        return len(self._executions) <= self.settings.concurrency // 2

    # Ending

    async def drain(self) -> None:
        """Claim no more, let running steps finish within the grace, hand everything back, and go. Repeatable."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(), name="holdfast-drain")
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        logger.info("worker %s drains: %d run(s) in its hands", self.id, len(self._executions))
        for task in self._tasks:
            if task.get_name() in (
                "holdfast-claimer",
                "holdfast-housekeeper",
                "holdfast-closings",
                "holdfast-scheduler",
            ):
                task.cancel()
        for execution in list(self._executions.values()):
            execution.drain()
        if not await self._all_ended(self.settings.grace.total_seconds()):
            logger.warning("%d run(s) did not finish their steps in time and are handed back", len(self._executions))
            for execution in list(self._executions.values()):
                execution.abandon()
            if not await self._all_ended(self.settings.lease.total_seconds()):
                # The database does not answer, and the lease has ended by itself: there is nothing to hand back.
                for execution in list(self._executions.values()):
                    execution.lost()
                await self._all_ended(LOOP_TICK_S)
        self.services.committer.close()
        await self.services.breakers.close(within_s=LOOP_TICK_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._unsubscribe()
        await self.host.call("keep", self.heartbeat.stop)
        await self._retire()
        logger.info("worker %s has stopped", self.id)

    async def _all_ended(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while self._executions:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _retire(self) -> None:
        try:
            while await self.host.call("keep", self.store.retire_worker, self.id, limit=RETIRE_BATCH):
                pass
        except StoreError as error:
            logger.warning("the worker could not sign off: %s; its lease ends by itself", error)
