"""``client.breakers``: circuit breakers, and what people decide about them."""

from __future__ import annotations

import builtins
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.client.pauses import NOTE_MAX
from holdfast.client.requests import Requests
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.breaker import BreakerRow, BreakerStanding
from holdfast.model.run import RunFilter
from holdfast.model.search import WaitingOn
from holdfast.store.port import Hint, count_runs
from holdfast.workflow.duration import milliseconds, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.store.port import Statements


class Breakers(Requests):
    """The circuit breakers of this client's tenant.

    A breaker is known from its first failure, or from when it is opened by hand; before that it is closed. Opened by
    hand it stops the steps that name it just as if their service had failed: runs that come to one wait, parked.
    """

    async def open(
        self, name: str, *, until_after: timedelta | float | None = None, actor: str = "", reason: str = ""
    ) -> BreakerStanding:
        """Call no step that names this breaker any more; calls under way end.

        Args:
            name: the breaker's name. Nobody needs to have named it before.
            until_after: after how long a call is let through, to see whether it succeeds: a timedelta, or seconds. By
                default none is until the breaker is closed by hand.
            actor: who asks.
            reason: why.

        Raises:
            UsageError: a bad name or time.
        """
        from holdfast.store.breakers import write_open

        _check(name, actor, reason)
        for_ms = None if until_after is None else milliseconds(seconds(until_after, "until_after"))
        return await self._decide(
            lambda statements: write_open(statements, self.tenant, name, for_ms=for_ms, actor=actor, note=reason)
        )

    async def close(self, name: str, *, actor: str = "", reason: str = "") -> BreakerStanding:
        """Call steps that name this breaker again. Runs that wait for it go on, few at first. Repeatable.

        Raises:
            UsageError: a bad name.
        """
        from holdfast.store.breakers import write_closed

        _check(name, actor, reason)
        return await self._decide(
            lambda statements: write_closed(statements, self.tenant, name, actor=actor, note=reason)
        )

    async def get(self, name: str) -> BreakerStanding:
        """One breaker; a closed one without failures if nobody has ever heard of it."""
        from holdfast.store.breakers import find_breaker

        _check(name)

        def read() -> BreakerStanding:
            row = self.store.transact(self.tenant, lambda s: find_breaker(s, self.tenant, name), read_only=True)
            return self._standing(row)

        return await self._send(read)

    async def list(self) -> builtins.list[BreakerStanding]:
        """Every breaker that has ever had a failure, or was opened by hand; by name."""
        from holdfast.store.breakers import list_breakers

        def read() -> builtins.list[BreakerStanding]:
            rows = self.store.transact(self.tenant, lambda s: list_breakers(s, self.tenant), read_only=True)
            return [self._standing(row) for row in rows]

        return await self._send(read)

    async def _decide(self, decide: Callable[[Statements], BreakerRow]) -> BreakerStanding:
        found = await self._send(lambda: self._standing(self.store.transact(self.tenant, decide)))
        # Workers look at what is due, which is whom to let through.
        self.store.hints.publish(Hint(signals=True))
        return found

    def _standing(self, row: BreakerRow) -> BreakerStanding:
        waiting = count_runs(self.store, self.tenant, RunFilter(waiting_on=WaitingOn("breaker", row.name)))
        return BreakerStanding(
            name=row.name,
            state=row.state,
            failures=len(row.failures),
            since_ms=row.opened_ms,
            retry_ms=row.retry_ms,
            waiting=sum(waiting.values()),
            changed_ms=row.changed_ms,
            actor=row.actor,
            note=row.note,
        )


def _check(name: str, *notes: str) -> None:
    check_name("breaker", name)
    if any(len(note) > NOTE_MAX for note in notes):
        raise UsageError(f"actor and reason may have at most {NOTE_MAX} characters each")
