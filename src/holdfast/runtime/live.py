"""News for runs in memory: waits that others closed, and requests to cancel.

A parked run needs none of this: it is woken through the line. A run that this worker holds, because another of its
branches is busy or it lingers, hears of a signal or a child's end by a hint, or at the latest at the next poll.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.errors import PASSING
from holdfast.model.ids import RunId, WorkerId
from holdfast.runtime.settings import WorkerSettings

if TYPE_CHECKING:
    from holdfast.runtime.execution import RunExecution
    from holdfast.runtime.services import Services

logger = logging.getLogger("holdfast.live")


class Live:
    """Reads what happened to held runs and passes it on."""

    def __init__(
        self,
        services: Services,
        settings: WorkerSettings,
        *,
        worker: WorkerId,
        executions: dict[RunId, RunExecution],
    ) -> None:
        self._services = services
        self._settings = settings
        self._worker = worker
        self._executions = executions
        self._wanted: set[RunId] = set()
        self._told: set[RunId] = set()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def hint(self, run_ids: tuple[RunId, ...] | None) -> None:
        """Something happened to these runs; None: to some run."""
        held = self._executions
        if run_ids is not None:
            self._told.update(run_ids)
        self._wanted.update(held if run_ids is None else (run_id for run_id in run_ids if run_id in held))
        if self._wanted:
            self._wake.set()

    def listen(self, execution: RunExecution) -> None:
        """The run begins to wait in memory: something may have happened before its wait was recorded."""
        if execution.waits_for_others and execution.staged.count == execution.staged.durable:
            self._wanted.add(execution.run.id)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled: at hints at once, for all held runs at each poll."""
        while True:
            try:
                async with asyncio.timeout(self._settings.poll_ms / 1000):
                    await self._wake.wait()
            except TimeoutError:
                self._wanted.update(self._executions)
            self._wake.clear()
            try:
                await self.run_once()
            except PASSING as error:
                logger.warning("news for held runs could not be read: %s; trying again", error)

    async def run_once(self) -> None:
        """Read the news for the runs that want it."""
        services, held = self._services, self._executions
        now_ms = services.host.monotonic_ms()
        wanted = sorted(run_id for run_id in self._wanted if run_id in held)
        rested = {run_id: held[run_id].linger.next_look_ms(held[run_id].open) for run_id in wanted}
        later = {run_id for run_id in wanted if rested[run_id] > now_ms}
        told = [run_id for run_id in sorted(self._told) if run_id in held and run_id not in later]
        self._wanted = later
        self._told &= later
        if not wanted:
            return
        # What is wanted of the run itself is looked at whenever there are news.
        waiting: dict[RunId, list[str]] = {run_id: [] for run_id in wanted}
        for run_id in wanted:
            if run_id not in later:
                waiting[run_id] = list(held[run_id].open)
                held[run_id].linger.looked(now_ms)
        if later:
            self._look_again(min(rested[run_id] for run_id in later) - now_ms)
        updates = await services.host.call("keep", services.store.read_live, self._worker, waiting)
        for update in updates:
            execution = self._executions.get(update.run_id)
            if execution is not None:
                execution.update(update)
        news = {update.run_id for update in updates}
        await self._drop_lost([run_id for run_id in told if run_id not in news])

    def _look_again(self, after_ms: float) -> None:
        """At the runs that are wanted still."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._services.loop.call_later(after_ms / 1000, self._wake.set)

    async def _drop_lost(self, run_ids: list[RunId]) -> None:
        """Of runs that we were told of and that have no news: stop at once what was taken from us by a command."""
        if not run_ids:
            return
        services = self._services
        executions = {run_id: self._executions[run_id] for run_id in run_ids if run_id in self._executions}
        progress = await services.host.call("keep", services.store.read_progress, list(executions))
        for run_id, execution in executions.items():
            if run_id in progress and progress[run_id].epoch > execution.epoch:
                execution.lost()
