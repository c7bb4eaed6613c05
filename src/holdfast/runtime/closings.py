"""Starts the runs of the program's ``on_end`` handlers: one for each end of a run that they are told of.

Every worker of the program does this; a lease keeps two of them from the same ends. The handler's run is named after
the end, so that an end that is delivered twice starts one run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.core.closings import handler_subscription
from holdfast.core.ids import run_id_for_key
from holdfast.errors import PASSING, QuotaExceeded
from holdfast.model.run import NewRun
from holdfast.workflow.duration import milliseconds

if TYPE_CHECKING:
    from holdfast.model.closing import Closing
    from holdfast.model.ids import Tenant
    from holdfast.runtime.services import Services
    from holdfast.runtime.settings import WorkerSettings
    from holdfast.store.outbox import Outbox

logger = logging.getLogger("holdfast.closings")

LANE: Final = "closings"

BATCH: Final = 100
"""Ends that are taken together."""

LEASE_MS: Final = 30_000
"""How long the ends that a worker took are its own: a start of a hundred runs takes a small part of it."""

REST_S: Final = 0.02
"""The least time between two looks: a busy worker ends many runs in it, which are then taken together."""


class ClosingDelivery:
    """See the module's docstring. It tells the claimer of what it started, through the store's hints."""

    def __init__(self, services: Services, settings: WorkerSettings) -> None:
        # Programs without handlers need nothing of it, and it brings SQLAlchemy along.
        from holdfast.store.outbox import Outbox

        self._services = services
        self._settings = settings
        self._outbox: Outbox = Outbox(services.store)
        self._handlers = {handler_subscription(name): name for name in services.registry.end_handlers}
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Runs have ended."""
        self._wake.set()

    async def subscribe(self) -> None:
        """Have the handlers told of the ends from now on."""
        for subscription, name in self._handlers.items():
            await self._services.until_repeated(partial(self._subscribe, subscription, name))

    def _subscribe(self, subscription: str, handler: str) -> asyncio.Future[None]:
        services = self._services
        told_of = services.registry.end_handlers[handler]
        return services.host.call(LANE, self._outbox.subscribe, None, subscription, told_of)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            more = False
            try:
                more = await self.run_once() == BATCH
            except PASSING as error:
                logger.warning("ends of runs could not be handed to their handlers: %s; trying again", error)
            await asyncio.sleep(REST_S)
            if not more:
                await self._pause()

    async def run_once(self) -> int:
        """Take what there is, start its runs, and acknowledge it; how many were taken."""
        services = self._services
        found: list[Closing] = await services.host.call(
            LANE, self._outbox.claim, None, list(self._handlers), limit=BATCH, lease_ms=LEASE_MS
        )
        by_tenant: dict[Tenant, list[Closing]] = {}
        for closing in found:
            by_tenant.setdefault(closing.tenant, []).append(closing)
        for tenant, closings in by_tenant.items():
            await self.start(tenant, closings)
        return len(found)

    async def start(self, tenant: Tenant, closings: Sequence[Closing]) -> None:
        """Start the handlers' runs for ends of one tenant, and acknowledge these."""
        services = self._services
        try:
            await services.host.call(LANE, services.store.start_runs, [self._new_run(one) for one in closings])
        except QuotaExceeded as error:
            logger.warning("ends of runs of tenant %s wait for their handlers: %s", tenant, error)
            return
        await services.host.call(LANE, self._outbox.acknowledge, closings)

    def _new_run(self, closing: Closing) -> NewRun:
        name = self._handlers[closing.subscription]
        options = self._services.registry.find_workflow(name).options
        where = f"the input of workflow {name!r}"
        return NewRun(
            id=run_id_for_key(closing.tenant, name, closing.id),
            tenant=closing.tenant,
            workflow=name,
            input=self._services.codec.encode_arguments((closing,), {}, where),
            queue=options.queue,
            key=closing.id,
            timeout_ms=None if options.timeout is None else milliseconds(options.timeout),
            attributes=dict(options.attributes),
        )

    async def _pause(self) -> None:
        pause_ms = float(self._settings.poll_ms) * (0.9 + 0.2 * self._services.host.random())
        try:
            async with asyncio.timeout(pause_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            return
