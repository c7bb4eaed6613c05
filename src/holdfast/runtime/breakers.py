"""A worker's part in circuit breakers: its calls ask and tell, and waits for breakers are ended when their time comes.

All that a worker's runs ask and tell of breakers while one transaction is under way shares the next one, so that a
thousand calls at once cost about as much as one, and each is answered by what the database said after it asked. Every
worker ends waits for all; ``store.breakers`` lets one of those that look at the same breaker do it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from holdfast.core.breakers import Breaker, Ticket
from holdfast.errors import PASSING
from holdfast.model.breaker import BreakerRow, BreakerState
from holdfast.model.ids import Tenant
from holdfast.store.port import Statements, Store

if TYPE_CHECKING:
    from holdfast.runtime.services import Services
    from holdfast.runtime.settings import WorkerSettings
    from holdfast.store.breakers import Heard, Said

logger = logging.getLogger("holdfast.breakers")

LANE: Final = "breakers"


def answer(store: Store, said: list[Said]) -> list[Heard]:
    """One transaction for all of these; one that only reads, if that is enough. It blocks."""
    # Most workers have no breaker, and this brings SQLAlchemy along.
    from holdfast.store.breakers import Asked, look_up, settle

    if all(isinstance(one, Asked) for one in said):
        heard = store.transact(None, lambda statements: look_up(statements, said), read_only=True)
        if heard is not None:
            return heard
    return store.transact(None, lambda statements: settle(statements, said))


def let_through(store: Store) -> int | None:
    """End the waits that are due. In how many milliseconds to look again; None if not until something happens."""
    from holdfast.store import breakers

    due = store.transact(None, breakers.list_due, read_only=True)
    for row in due:
        store.transact(row.tenant, lambda statements, row=row: breakers.let_through(statements, row))  # type: ignore[misc]

    def look(statements: Statements) -> int | None:
        next_ms = breakers.next_due(statements)
        return None if next_ms is None else max(next_ms - statements.now_ms, 1)

    return store.transact(None, look, read_only=True)


class Breakers:
    """See the module's docstring."""

    def __init__(self, services: Services, settings: WorkerSettings) -> None:
        self._services = services
        self._settings = settings
        self._said: list[tuple[Said, asyncio.Future[Ticket | None]]] = []
        self._talk: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    # Calls

    async def ask(self, tenant: Tenant, breaker: Breaker, prober: str, *, waits: bool) -> Ticket | None:
        """Leave to call, given after this was asked; None: wait."""
        from holdfast.store.breakers import Asked

        return await self._say(Asked(tenant, breaker, prober, waits))

    def tell(
        self, tenant: Tenant, breaker: Breaker, ticket: Ticket, *, failed: bool | None
    ) -> asyncio.Future[Ticket | None]:
        """Say what came of a call; done when it is recorded. Nobody has to wait for that."""
        from holdfast.store.breakers import Told

        return self._say(Told(tenant, breaker, ticket, failed))

    async def close(self, *, within_s: float) -> None:
        """Ask and tell no more. What was told already is recorded if the database takes it in time."""
        if self._talk is not None:
            await asyncio.wait([self._talk], timeout=within_s)
        if self._talk is not None:
            self._talk.cancel()

    def _say(self, one: Said) -> asyncio.Future[Ticket | None]:
        answered: asyncio.Future[Ticket | None] = self._services.loop.create_future()
        self._said.append((one, answered))
        if self._talk is None:
            self._talk = self._services.loop.create_task(self._talk_on(), name="holdfast-breakers")
        return answered

    async def _talk_on(self) -> None:
        try:
            while self._said:
                batch, self._said = self._said, []
                await self._settle(batch)
        finally:
            self._talk = None

    async def _settle(self, batch: list[tuple[Said, asyncio.Future[Ticket | None]]]) -> None:
        services, said = self._services, [one for one, _ in batch]
        try:
            # Done twice it is at worst a failure that counts twice.
            heard: list[Heard] = await services.until_repeated(
                lambda: services.host.call(LANE, answer, services.store, said)
            )
        except Exception as error:  # noqa: BLE001 - those who wait for an answer are told, whatever it is
            for answered in (answered for _, answered in batch if not answered.done()):
                answered.set_exception(error)
                # Who told and did not wait has nobody to hear of it.
                answered.exception()
            return
        for (_, answered), one in zip(batch, heard, strict=True):
            self._hear(one)
            if not answered.done():
                answered.set_result(one.ticket)

    def _hear(self, heard: Heard) -> None:
        before, after = heard.before, heard.after
        if after.state is before.state:
            return
        is_due = after.next_ms is not None and after.next_ms <= after.changed_ms
        if after.state is BreakerState.CLOSED:
            logger.warning("%s is closed again: the runs that wait for it go on", _name(after))
        elif after.state is BreakerState.OPEN and not is_due:
            logger.warning("%s is open: %s", _name(after), _retry(after))
        if is_due:
            self.look()

    # Waits

    def look(self) -> None:
        """A breaker is due."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._let_through()
            except PASSING as error:
                # The agenda names it again.
                logger.warning("breakers could not be looked at: %s; trying again", error)

    async def _let_through(self) -> None:
        host, store = self._services.host, self._services.store
        while True:
            pause_ms: int | None = await host.call(LANE, let_through, store)
            if pause_ms is None or pause_ms > self._settings.poll_ms:
                return
            await asyncio.sleep(pause_ms / 1000)


def _name(row: BreakerRow) -> str:
    return f"breaker {row.name} of tenant {row.tenant}"


def _retry(row: BreakerRow) -> str:
    if row.retry_ms is None:
        return "until somebody closes it"
    return f"no step that names it is called for {(row.retry_ms - row.changed_ms) / 1000:g} s"
