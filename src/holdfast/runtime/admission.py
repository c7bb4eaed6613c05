"""Leave to call a step that names a circuit breaker, and the wait for it.

Who has to wait records that first, and asks again when the wait is durable: so either the answer is the one that the
breaker has closed, or whoever closes it finds the wait. The wait is the engine's own: no part of the journal, and no
attempt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.core.breakers import Breaker, Ticket
from holdfast.core.retry import Retry
from holdfast.model.commit import NewWait
from holdfast.model.status import WaitKind

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Call
    from holdfast.runtime.execution import RunExecution


class Admission:
    """Leave to make one attempt, and whom to tell what came of it."""

    __slots__ = ("_breaker", "_execution", "_retry", "_ticket")

    def __init__(self, execution: RunExecution, breaker: Breaker, retry: Retry, ticket: Ticket) -> None:
        self._execution = execution
        self._breaker = breaker
        self._retry = retry
        self._ticket = ticket

    @property
    def probes(self) -> bool:
        """Whether this attempt is made to see whether the service is back."""
        return self._ticket.probes

    async def succeeded(self) -> None:
        """The attempt has a result, which is staged."""
        if self._ticket.probes:
            # First what it did, then what follows from it for others.
            await self._execution.saved()
            await self._tell(failed=False)

    async def failed(self, error: BaseException) -> bool:
        """The attempt has failed. Whether it was a probe, and the service did; else that has at least answered."""
        failed = self._breaker.counts(error, self._retry)
        if failed or self._ticket.probes:
            await self._tell(failed=failed)
        return failed and self._ticket.probes

    def give_back(self) -> None:
        """The attempt was stopped, or not begun: nothing came of it."""
        if self._ticket.probes:
            self._tell(failed=None)

    def _tell(self, *, failed: bool | None) -> asyncio.Future[Ticket | None]:
        execution = self._execution
        return execution.services.breakers.tell(execution.run.tenant, self._breaker, self._ticket, failed=failed)


async def admit(call: Call, breaker: Breaker, retry: Retry) -> Admission:
    """Wait until the breaker lets this call through."""
    execution, branch = call.execution, call.branch
    breakers, run = execution.services.breakers, execution.run
    prober = f"{run.id} {call.key}"
    number = 1
    while True:
        key = breaker_key(call.key, number)
        wait = execution.waits.get(key)
        if wait is not None and wait.outcome is not None:
            number += 1
            continue
        ticket = await breakers.ask(run.tenant, breaker, prober, waits=wait is not None)
        if ticket is not None:
            if wait is not None and execution.waits[key].outcome is None:
                execution.drop_waits([key])
            return Admission(execution, breaker, retry, ticket)
        branch.enter()
        if wait is None:
            seq = execution.next_seq()
            execution.stage_wait(NewWait(key=key, seq=seq, kind=WaitKind.BREAKER, signal=breaker.name))
            await execution.saved()
        else:
            await branch.wait(key)


def breaker_key(key: str, number: int) -> str:
    """The key of a step's wait for its breaker."""
    return f"{key}~breaker{number}"
