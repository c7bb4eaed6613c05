"""Takes runs from the line, as many as the worker has room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from holdfast.errors import PASSING, CommitUnknown, StoreUnavailable
from holdfast.model.ids import RunId, WorkerId
from holdfast.model.run import Claim, ClaimedRun
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.heartbeat import Heartbeat
from holdfast.runtime.settings import WorkerSettings

if TYPE_CHECKING:
    from holdfast.runtime.services import Services

logger = logging.getLogger("holdfast.claim")

CLAIM_MAX = 250
"""The most runs taken by one claim: large enough to amortise it, small enough to leave some to the other workers."""

SUSPECT_CRASHES = 2
"""A run that lost this many workers in a row is executed only one at a time per worker."""


class Claimer:
    """One loop: wait for a reason to look, claim while there is room and work."""

    def __init__(
        self,
        services: Services,
        settings: WorkerSettings,
        *,
        worker: WorkerId,
        begin: Callable[[ClaimedRun], None],
        held: Callable[[], Sequence[RunId]],
        suspects: Callable[[], int],
        heartbeat: Heartbeat,
    ) -> None:
        self._services = services
        self._settings = settings
        self._worker = worker
        self._begin = begin
        self._held = held
        self._suspects = suspects
        self._heartbeat = heartbeat
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._more = self._barred = False
        self._in_doubt = False

    def wake(self) -> None:
        """There may be work."""
        self._wanted.set()

    def room_freed(self) -> None:
        """A run has left: look for another if the last look left some behind, or its tenant may run more now."""
        if self._more or self._barred:
            self._wanted.set()

    def _doubt(self) -> None:
        self._in_doubt = True
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(self._services.host.random)
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if self._in_doubt:
                    self._in_doubt = False
                    await self._release_unknown()
                while await self.run_once():
                    pass
                backoff = Backoff(self._services.host.random)
            except PASSING as error:
                logger.warning("claiming failed: %s; trying again", error)
                await asyncio.sleep(backoff.next_s())
                if isinstance(error, CommitUnknown):
                    await self._release_unknown()
                    # The database may still be committing it, so that there was nothing to see yet: look again later.
                    self._services.loop.call_later(self._settings.lease.total_seconds(), self._doubt)
                self._wanted.set()

    async def _release_unknown(self) -> None:
        """A claim's answer was lost: hand back the runs that are ours by the record and unknown to us."""
        services = self._services
        released = await services.until_repeated(
            lambda: services.host.call("claim", services.store.release_unknown, self._worker, known=self._held())
        )
        if released:
            logger.warning("handed back %d run(s) of a claim whose answer was lost", released)

    async def run_once(self) -> bool:
        """Claim once. Returns whether there may be more to claim at once."""
        held = len(self._held())
        room = min(self._settings.concurrency - held, CLAIM_MAX)
        if room <= 0 or (room < CLAIM_MAX // 2 and held > self._settings.concurrency // 2):
            # Wait for a fair number of free places: many small claims cost more than they bring.
            self._more = True
            return False
        services = self._services
        if not self._heartbeat.holds_lease:
            await services.host.call("claim", self._heartbeat.beat_once)
            if not self._heartbeat.holds_lease:
                raise StoreUnavailable(url=services.store.url, why="the worker's lease cannot be renewed")
        claim: Claim = await services.host.call(
            "claim",
            services.store.claim_runs,
            self._worker,
            queues=self._settings.queues,
            codes=services.codes.names,
            limit=room,
            suspects=0 if self._suspects() else 1,
        )
        services.learn_time(claim.now_ms)
        services.codes.note_claimed(claim.runs)
        for run in claim.runs:
            self._begin(run)
        self._barred = claim.barred
        self._more = claim.more or len(claim.runs) == room
        return self._more
