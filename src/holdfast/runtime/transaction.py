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


async def run_transaction(call: Call, *, attempt: int, started_ms: UnixMs, decode: Callable[[Json, str], Any]) -> Any:
    """Run the handler on a connection of the store and commit its SQL together with the step's journal row.

    Whatever the handler raises rolls both back. If the lease is lost, both are refused.
    """
    execution, services = call.execution, call.execution.services
    run = execution.run
    wants = call.step.wants
    assert wants is not None
    made: list[tuple[RunCommit, Entry, Any]] = []
    info = StepInfo(
        run_id=run.id, tenant=run.tenant, workflow=run.workflow, step=call.step.name, key=call.key, attempt=attempt
    )
    context = contextvars.copy_context()
    context.run(CURRENT.set, info)

    def record(value: Any) -> RunCommit:
        where = f"the result of step {call.key!r}"
        result = services.codec.encode(value, where)
        entry = call.entry(EntryStatus.COMPLETED, attempts=attempt, started_ms=started_ms, result=result)
        commit = RunCommit(run_id=run.id, epoch=execution.epoch, entries=[entry])
        made.append((commit, entry, decode(result, where)))
        return commit

    def handle(connection: Any) -> RunCommit:
        with ending_forked_children(services.host, call.step.name):
            value = context.run(call.step.function, connection, *call.args, **call.kwargs)
            value = context.run(asyncio.run, value) if asyncio.iscoroutine(value) else value
        return record(value)

    async def handle_async(connection: Any) -> RunCommit:
        with ending_forked_children(services.host, call.step.name):
            value = await call.step.function(connection, *call.args, **call.kwargs)
        return record(value)

    async def commit() -> CommitAnswer:
        if not wants.__name__.startswith("Async"):
            return await services.host.run_thread(lambda: services.store.commit_with(handle, wants=wants))
        commit_async = getattr(services.store, "commit_with_async", None)
        if commit_async is None:
            raise UsageError(f"step {call.step.name!r} wants a {wants.__name__}, which this database does not have")
        answer: CommitAnswer = await execution.loop.create_task(
            commit_async(handle_async, wants=wants), context=context
        )
        return answer

    call.branch.in_handler = True
    backoff = Backoff(services.host.random)
    answer: CommitAnswer | None = None
    try:
        while answer is None:
            try:
                answer = await services.until_available(commit)
            except CommitUnknown:
                if made and await services.has_rows(execution, made[-1][0]):
                    break
                # It was not done, which is no failure of the handler: again.
                await asyncio.sleep(backoff.next_s())
    finally:
        call.branch.in_handler = False
    if answer is not None and run.id in answer.refused:
        execution.lost()
        raise Suspend
    if answer is not None and run.id in answer.broken and not await services.has_rows(execution, made[-1][0]):
        raise UsageError(f"the database refused the result of step {call.key!r}: {answer.broken[run.id]}")
    _, entry, decoded = made[-1]
    execution.remember(entry)
    return decoded
