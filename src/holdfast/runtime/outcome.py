"""How a run ends whose body did not simply return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import DeadlineExceeded, DecodeError, NonDeterminismError, RunCancelled
from holdfast.model.status import RunStatus
from holdfast.runtime.compensation import compensate
from holdfast.runtime.execution import Stop
from holdfast.runtime.source import source_of
from holdfast.runtime.unread import describe, first_unread

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.execution import RunExecution


async def end_otherwise(execution: RunExecution, branch: RunBranch, error: BaseException) -> None:
    """The body raised: cancel the run, set it aside, compensate it, or fail it."""
    failure = _failure(execution, error)
    execution.calm(keep_waits=isinstance(failure, NonDeterminismError))
    if failure is None:
        if await execution.wants_compensation():
            await execution.begin_compensation(execution.record_error(_cancelled(execution)), "cancelled")
            await compensate(execution, branch)
        else:
            await execution.finish(RunStatus.CANCELLED, "cancelled")
    elif isinstance(failure, NonDeterminismError):
        await execution.finish(RunStatus.STUCK, "non_determinism", error=execution.record_error(failure))
    else:
        reason = _terminal_reason(execution, failure)
        stored = execution.record_error(failure)
        if execution.compensable:
            await execution.begin_compensation(stored, reason)
            await compensate(execution, branch)
        else:
            await execution.finish(RunStatus.FAILED, reason, error=stored)


def _cancelled(execution: RunExecution) -> RunCancelled:
    return RunCancelled(run_id=execution.run.id)


def _failure(execution: RunExecution, error: BaseException) -> BaseException | None:
    """The failure that ends the run; None if it ends as cancelled."""
    if execution.refused is not None:
        return execution.refused
    match execution.stop:
        case Stop.DEADLINE:
            return DeadlineExceeded(run_id=execution.run.id)
        case Stop.CANCEL:
            return None
        case None:
            return execution.parted or error


def _terminal_reason(execution: RunExecution, failure: BaseException) -> str:
    if isinstance(failure, DeadlineExceeded):
        return "deadline_exceeded"
    if isinstance(failure, DecodeError) and not execution.seq:
        return "undecodable"
    return "retries_exhausted" if getattr(failure, "__holdfast_step__", None) else "error"


def check_all_read(execution: RunExecution) -> None:
    """The body returned: it must have asked for everything that is recorded. Raises NonDeterminismError."""
    if execution.parted is not None:
        raise execution.parted
    if not execution.unread:
        return
    first = first_unread(execution)
    execution.parted = NonDeterminismError(
        run_id=execution.run.id,
        key=first,
        recorded=describe(execution, first),
        asked="the end of the workflow without it",
        source=source_of(execution.workflow.function),
    )
    raise execution.parted
