"""A transactional step: the handler's own SQL and its journal row, in one transaction."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.errors import CommitUnknown, UsageError
from holdfast.model.commit import CommitAnswer, RunCommit
from holdfast.model.ids import Json, UnixMs
from holdfast.model.run import Entry
from holdfast.model.status import EntryStatus
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.execution import Suspend
from holdfast.runtime.host import ending_forked_children
from holdfast.workflow.context import CURRENT, StepInfo

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Call

Decode = Callable[[Json, str], Any]


async def run_transaction(call: Call, *, attempt: int, started_ms: UnixMs, decode: Decode) -> Any:
    """Run the handler on a connection of the store and commit its SQL together with the step's journal row.

    Whatever the handler raises rolls both back. If the lease is lost, both are refused.
    """
    execution = call.execution
    transaction = _Transaction(call, attempt=attempt, started_ms=started_ms, decode=decode)
    call.branch.in_handler = True
    try:
        await transaction.commit()
    finally:
        call.branch.in_handler = False
    execution.remember(transaction.entry)
    return transaction.result


class _Transaction:
    """One attempt; ``entry`` and ``result`` are those of the transaction that was committed."""

    entry: Entry
    result: Any

    def __init__(self, call: Call, *, attempt: int, started_ms: UnixMs, decode: Decode) -> None:
        run, step = call.execution.run, call.step
        assert step.wants is not None
        self._call = call
        self._services = call.execution.services
        self._wants = step.wants
        self._attempt = attempt
        self._started_ms = started_ms
        self._decode = decode
        self._sent: RunCommit | None = None
        self._context = contextvars.copy_context()
        info = StepInfo(
            run_id=run.id, tenant=run.tenant, workflow=run.workflow, step=step.name, key=call.key, attempt=attempt
        )
        self._context.run(CURRENT.set, info)

    async def commit(self) -> None:
        """Return when handler and journal row are committed, once; an unknown commit is looked at before repeating."""
        execution = self._call.execution
        run_id = execution.run.id
        backoff = Backoff(self._services.host.random)
        while True:
            try:
                answer = await self._services.until_available(self._send)
            except CommitUnknown:
                if await self._was_done():
                    return
                # It was not done, which is no failure of the handler: again.
                await asyncio.sleep(backoff.next_s())
                continue
            if run_id in answer.refused:
                execution.lost()
                raise Suspend
            if run_id in answer.broken and not await self._was_done():
                why = answer.broken[run_id]
                raise UsageError(f"the database refused the result of step {self._call.key!r}: {why}")
            return

    async def _was_done(self) -> bool:
        return self._sent is not None and await self._services.has_rows(self._call.execution, self._sent)

    async def _send(self) -> CommitAnswer:
        services = self._services
        if not self._wants.__name__.startswith("Async"):
            return await services.host.run_thread(lambda: services.store.commit_with(self._handle, wants=self._wants))
        commit_async = getattr(services.store, "commit_with_async", None)
        if commit_async is None:
            step = self._call.step.name
            raise UsageError(f"step {step!r} wants a {self._wants.__name__}, which this database does not have")
        committing = commit_async(self._handle_async, wants=self._wants)
        answer: CommitAnswer = await self._call.execution.loop.create_task(committing, context=self._context)
        return answer

    def _handle(self, connection: Any) -> RunCommit:
        call, run = self._call, self._context.run
        with ending_forked_children(self._services.host, call.step.name):
            value = run(call.step.function, connection, *call.args, **call.kwargs)
            # An async handler on a blocking connection has a loop of its own, in the thread that owns the connection.
            value = run(asyncio.run, value) if asyncio.iscoroutine(value) else value
        return self._record(value)

    async def _handle_async(self, connection: Any) -> RunCommit:
        call = self._call
        with ending_forked_children(self._services.host, call.step.name):
            value = await call.step.function(connection, *call.args, **call.kwargs)
        return self._record(value)

    def _record(self, value: Any) -> RunCommit:
        call, where = self._call, f"the result of step {self._call.key!r}"
        stored = self._services.codec.encode(value, where)
        self.entry = call.entry(
            EntryStatus.COMPLETED, attempts=self._attempt, started_ms=self._started_ms, result=stored
        )
        self.result = self._decode(stored, where)
        self._sent = RunCommit(run_id=call.execution.run.id, epoch=call.execution.epoch, entries=[self.entry])
        return self._sent
