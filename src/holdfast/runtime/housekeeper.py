"""Once per poll, and whenever a timer is due: look at the database's agenda and do what is on it.

Every worker does this for all; the statements pass over what another is doing. So timers, lost workers and lost hints
need no leader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from holdfast.errors import PASSING, StoreCorrupt, UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.tenant import Expired
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.port import SIGNAL_BATCH, Store

if TYPE_CHECKING:
    from holdfast.model.catalog import StoredDefinition
    from holdfast.model.run import Agenda
    from holdfast.runtime.services import Services

logger = logging.getLogger("holdfast.housekeeper")

BATCH = 500
"""Runs woken or taken over by one statement, so that none holds its locks for long."""

PRUNE_BATCH = 200
"""Ended runs deleted by one transaction."""

PRUNE_EVERY_MS = 60_000
"""About how often to look for ended runs that their tenants no longer keep."""


class Housekeeper:
    """Wakes due runs, delivers signals that are under way, and takes over the runs of lost workers.

    It tells the claimer that there is work.
    """

    def __init__(
        self,
        services: Services,
        settings: WorkerSettings,
        *,
        wake_claimer: Callable[[], None],
        announce: Callable[[], Awaitable[None]],
        wake_bulk: Callable[[], None],
        wake_scheduler: Callable[[], None],
        wake_breakers: Callable[[], None],
    ) -> None:
        self._services = services
        self._settings = settings
        self._wake_claimer = wake_claimer
        self._announce = announce
        self._wake_bulk = wake_bulk
        self._wake_scheduler = wake_scheduler
        self._wake_breakers = wake_breakers
        self._announced = services.codes.version
        self._nudge = asyncio.Event()
        self._next_wake_ms: UnixMs | None = None
        self._next_tick_ms: UnixMs | None = None
        self._next_breaker_ms: UnixMs | None = None
        self._next_prune_ms: UnixMs | None = None

    def expect(self, due_ms: UnixMs) -> None:
        """A run was parked that is due then: look in time."""
        if self._next_wake_ms is None or due_ms < self._next_wake_ms:
            self._next_wake_ms = due_ms
            self._nudge.set()

    def look(self) -> None:
        """Signals are under way: look at the agenda now."""
        self._next_wake_ms = self._services.now_ms()
        self._nudge.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.run_once()
            except PASSING as error:
                logger.warning("the agenda could not be read: %s; trying again", error)
            await self._pause()

    async def run_once(self) -> None:
        """Read the agenda and do what is due."""
        services = self._services
        codes = services.codes
        agenda: Agenda = await services.host.call(
            "keep",
            services.store.read_agenda,
            queues=self._settings.queues,
            codes=codes.names,
            unwanted=codes.unwanted,
        )
        services.learn_time(agenda.now_ms)
        self._next_wake_ms = agenda.next_wake_ms
        work = agenda.claimable
        if agenda.unasked or codes.version != self._announced:
            work = await self._learn(agenda.unasked) or work
        if agenda.next_wake_ms is not None and agenda.next_wake_ms <= agenda.now_ms:
            work = await self._wake_due() > 0 or work
        if agenda.signals_due:
            work = await self._sweep_signals() > 0 or work
        if agenda.bulk_due:
            self._wake_bulk()
        self._next_tick_ms = _due(agenda.next_tick_ms, agenda.now_ms, self._wake_scheduler)
        self._next_breaker_ms = _due(agenda.next_breaker_ms, agenda.now_ms, self._wake_breakers)
        if agenda.workers_lost:
            work = await self._requeue_lost() > 0 or work
        if work:
            self._wake_claimer()
        if self._next_prune_ms is None:
            # Not at once: a worker has better things to do when it starts.
            self._next_prune_ms = UnixMs(agenda.now_ms + int(PRUNE_EVERY_MS * services.host.random()))
        elif agenda.now_ms >= self._next_prune_ms:
            await self._prune(agenda.now_ms)

    async def _prune(self, now_ms: UnixMs) -> None:
        """Delete what tenants no longer keep: a batch at a time, and when all is gone, now and then."""
        services = self._services
        count: int = await services.host.call("keep", services.store.prune, Expired(), limit=PRUNE_BATCH)
        # Workers of one start do not all come back at the same moment.
        pause_ms = PRUNE_EVERY_MS * (0.5 + services.host.random()) if count < PRUNE_BATCH else self._settings.poll_ms
        self._next_prune_ms = UnixMs(now_ms + int(pause_ms))

    async def _learn(self, unasked: Sequence[str]) -> bool:
        """Look at versions that runs wait for and this worker did not know, and announce what came of it."""
        codes = self._services.codes
        names = codes.names
        for code in codes.news(unasked):
            codes.look_at(code, await self._find(code))
        if codes.version != self._announced:
            version = codes.version
            await self._announce()
            self._announced = version
        return codes.names != names

    async def _find(self, code: str) -> StoredDefinition | None:
        services = self._services
        workflow, _, digest = code.rpartition("@")
        try:
            return await services.host.call("keep", _find_code, services.store, workflow, digest)
        except (StoreCorrupt, UsageError) as error:
            logger.error("%s: %s", code, error)  # noqa: TRY400 - the message says it all
            return None

    async def _wake_due(self) -> int:
        services, woken = self._services, 0
        while True:
            count: int = await services.host.call("keep", services.store.wake_due, limit=BATCH)
            woken += count
            self._wake_claimer()
            if count < BATCH:
                # What is still to come is read with the next agenda.
                self._next_wake_ms = None
                return woken

    async def _sweep_signals(self) -> int:
        services, woken = self._services, 0
        while True:
            sweep = await services.host.call("keep", services.store.sweep_signals, limit=SIGNAL_BATCH)
            woken += sweep.woken
            if sweep.woken:
                self._wake_claimer()
            if not sweep.more:
                return woken

    async def _requeue_lost(self) -> int:
        services, taken = self._services, 0
        while True:
            runs = await services.host.call(
                "keep", services.store.requeue_lost, limit=BATCH, crashes_max=self._settings.crashes_max
            )
            taken += len(runs)
            for run_id, set_aside in runs.items():
                if set_aside:
                    logger.error("run %s: set aside as stuck after it took its workers down too often", run_id)
            if runs:
                logger.warning("took over %d run(s) of workers that gave no sign of life", len(runs))
                self._wake_claimer()
            if len(runs) < BATCH:
                return taken

    async def _pause(self) -> None:
        while True:
            pause_ms = float(self._settings.poll_ms) * (0.9 + 0.2 * self._services.host.random())
            for due_ms in (self._next_wake_ms, self._next_tick_ms, self._next_breaker_ms):
                if due_ms is not None:
                    pause_ms = min(pause_ms, max(due_ms - self._services.now_ms() + 1, 1))
            self._nudge.clear()
            try:
                async with asyncio.timeout(pause_ms / 1000):
                    await self._nudge.wait()
            except TimeoutError:
                return


def _find_code(store: Store, workflow: str, digest: str) -> StoredDefinition | None:
    from holdfast.store.catalog import Catalog

    return Catalog(store).find_code(workflow, digest)


def _due(next_ms: UnixMs | None, now_ms: UnixMs, wake: Callable[[], None]) -> UnixMs | None:
    """Wake whose time has come: until it has looked there is no use in reading the agenda again for it."""
    if next_ms is None or next_ms > now_ms:
        return next_ms
    wake()
    return None
