"""From a claimed run to its end: the task that executes the workflow's body."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import Any

from holdfast.errors import CannotContinue, DeadlineExceeded
from holdfast.model.status import RunStatus
from holdfast.runtime.branch import RunBranch
from holdfast.runtime.compensation import compensate
from holdfast.runtime.continuing import continue_run
from holdfast.runtime.execution import RunExecution, Stop, Suspend
from holdfast.runtime.outcome import check_all_read, end_otherwise
from holdfast.workflow.context import CURRENT
from holdfast.workflow.continuing import ContinueAsNew

logger = logging.getLogger("holdfast.run")


def begin(execution: RunExecution) -> None:
    """Start executing: one task for the workflow's body."""
    branch = RunBranch(execution, scope="")
    execution.active = 1
    context = copy_context()
    context.run(CURRENT.set, branch)
    branch.task = execution.loop.create_task(_live(execution, branch), context=context)
    execution.branches[0] = branch
    run = execution.run
    if run.deadline_ms is not None:
        execution.arm()
    if run.pause_requested and not run.cancel_requested:
        # It goes no further than to its first handler, and is paused as it is handed back.
        execution.pause()
    if run.cancel_requested and run.status is not RunStatus.COMPENSATING:
        # The task itself is not cancelled: before its first step that would end it without a word.
        execution.stop = Stop.CANCEL


async def _live(execution: RunExecution, branch: RunBranch) -> None:
    try:
        if execution.run.status is RunStatus.COMPENSATING:
            await compensate(execution, branch)
        else:
            await _execute(execution, branch)
    except (Suspend, asyncio.CancelledError):
        if execution.ending is None:
            raise
    except Exception:
        # The engine's own failure, not the workflow's.
        logger.exception("run %s: the engine failed; the run is handed back", execution.run.id)
        execution.fail_over()
    finally:
        execution.close()


async def _execute(execution: RunExecution, branch: RunBranch) -> None:
    try:
        value = await _call_workflow(execution, branch)
        if execution.ending is not None:
            return
        check_all_read(execution)
        where = f"the result of workflow {execution.run.workflow!r}"
        result = execution.services.codec.encode(value, where)
        await execution.finish(RunStatus.COMPLETED, "completed", result=result)
    except Suspend:
        if execution.ending is None:
            raise
    except ContinueAsNew as next_one:
        if execution.ending is None:
            await _continue(execution, branch, next_one)
    except BaseException as error:  # noqa: BLE001 - a workflow may raise anything; all of it ends the run
        if execution.ending is None:
            await end_otherwise(execution, branch, error)


async def _continue(execution: RunExecution, branch: RunBranch, next_one: ContinueAsNew) -> None:
    """The body wants to go on as a new run: all that is recorded must have been asked for, as at any end."""
    try:
        if next_one.stored is None:
            raise CannotContinue(run_id=execution.run.id, why="hf.ContinueAsNew was raised by hand: call the function")
        # A stop that came since is the stronger one.
        execution.check()
        check_all_read(execution)
        await continue_run(execution, next_one.stored)
    except Suspend:
        if execution.ending is None:
            raise
    except BaseException as error:  # noqa: BLE001 - as in _execute
        if execution.ending is None:
            await end_otherwise(execution, branch, error)


async def _call_workflow(execution: RunExecution, branch: RunBranch) -> Any:
    run, workflow = execution.run, execution.workflow
    if run.deadline_ms is not None and execution.services.now_ms() >= run.deadline_ms:
        raise DeadlineExceeded(run_id=run.id)
    decode = execution.services.arguments_of(workflow)
    args, kwargs = decode(run.input, f"the input of run {run.id}")
    if workflow.is_async:
        return await workflow.function(*args, **kwargs)
    return await branch.run_plain(workflow.function, args, kwargs)
