"""``client.closings``: hearing of the ends of runs, each at least once."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.client.requests import Requests
from holdfast.core.closings import check_subscription
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.closing import EVERY, Closing, Subscription
from holdfast.store.port import Hint, Store
from holdfast.workflow.duration import milliseconds, seconds
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from typing import Any

    from holdfast.store.outbox import Outbox

LEASE: Final = timedelta(seconds=60)

POLL_S: Final = 1.0
"""How often a reader that follows looks when no hint came."""

CLAIM_MAX: Final = 1000
FOLLOW_BATCH: Final = 20


class Closings(Requests):
    """The tenant's readers of ends. A reader is a name; whoever reads under it shares its work.

    The ends are written together with the ends of the runs, so none is lost, and each comes until it is acknowledged:
    at least once. ``Closing.id`` tells a repeated one.
    """

    @property
    def _outbox(self) -> Outbox:
        # Most programs need nothing of it, and it brings SQLAlchemy along.
        from holdfast.store.outbox import Outbox

        return Outbox(self.store)

    async def subscribe(self, name: str, *workflows: Workflow[..., Any] | str) -> None:
        """Tell a reader of every end from now on: of runs of these workflows, or of all if none is named. Repeatable.

        A run that ends while this is under way may or may not be told. Raises UsageError for a bad name.
        """
        names = [one.name if isinstance(one, Workflow) else check_name("workflow", one) for one in workflows]
        await self._send(self._outbox.subscribe, self.tenant, check_subscription(name), names or [EVERY])

    async def unsubscribe(self, name: str, workflow: Workflow[..., Any] | str | None = None) -> bool:
        """Tell a reader no more of one workflow, or of any; whether it was told before.

        With its last subscription goes what it has not acknowledged.
        """
        of = workflow.name if isinstance(workflow, Workflow) else workflow
        return await self._send(self._outbox.unsubscribe, self.tenant, check_subscription(name), of)

    async def list(self) -> builtins.list[Subscription]:
        """The tenant's subscriptions, by reader and workflow."""
        return await self._send(self._outbox.subscriptions, self.tenant)

    async def claim(self, name: str, *, limit: int = 100, lease: timedelta | float = LEASE) -> builtins.list[Closing]:
        """Up to ``limit`` ends, first ended first, that nobody else reads now; empty if there are none.

        Args:
            name: the reader.
            limit: 1 to 1000.
            lease: how long they come to nobody else; a timedelta, or seconds. What is not acknowledged by then comes
                again.

        Raises:
            UsageError: a bad name, limit or lease.
        """
        if not 1 <= limit <= CLAIM_MAX:
            raise UsageError(f"limit must be between 1 and {CLAIM_MAX}, not {limit}")
        lease_ms = milliseconds(seconds(lease, "lease"))
        names = [check_subscription(name)]
        return await self._send(self._outbox.claim, self.tenant, names, limit=limit, lease_ms=lease_ms)

    async def acknowledge(self, closings: Iterable[Closing]) -> None:
        """Have these never delivered again. Repeatable; also after the lease, if they have not come again yet."""
        mine = [one for one in closings if one.tenant == self.tenant]
        await self._send(self._outbox.acknowledge, mine)

    async def follow(self, name: str, *, lease: timedelta | float = LEASE) -> AsyncGenerator[Closing, None]:
        """Every end, one after the other, for ever: each is acknowledged when the loop asks for the next one.

        If the loop is left in the middle, by an exception say, what it was at comes again after the lease. So do the
        up to 20 that were claimed together with it: let the lease be long enough for as many.
        """
        with _hints_of(self.store) as wake:
            while True:
                wake.clear()
                found = await self.claim(name, limit=FOLLOW_BATCH, lease=lease)
                for closing in found:
                    yield closing
                    await self.acknowledge([closing])
                if not found:
                    await _wait(wake)


@contextlib.contextmanager
def _hints_of(store: Store) -> Generator[asyncio.Event, None, None]:
    """An event that is set when runs may have ended."""
    wake = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hear(hint: Hint) -> None:
        if hint.ended is None or hint.ended:
            # A closed loop has no use for hints.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

    unsubscribe = store.hints.subscribe(hear)
    try:
        yield wake
    finally:
        unsubscribe()


async def _wait(wake: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await wake.wait()
