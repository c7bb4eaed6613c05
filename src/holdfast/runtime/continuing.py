"""Whether a run may continue as a new one where it is asked to, and with what input."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from holdfast.core.ids import successor_id
from holdfast.errors import CannotContinue, UsageError
from holdfast.model.commit import Continue
from holdfast.model.ids import Json

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.execution import RunExecution


async def continue_run(execution: RunExecution, given: Json) -> None:
    """End the run, together with all that is staged, and start its successor with that input."""
    execution.leaving = True
    execution.staged.add_move(Continue(successor_id(execution.run.id), given))
    await execution.saved()


def encode_successor(branch: RunBranch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Json:
    """The input of the successor.

    Raises:
        CannotContinue: beside other branches, or in a graph.
        UsageError: the workflow does not take these arguments.
        EncodeError, PayloadTooLarge: they cannot be stored.
    """
    execution = branch.execution
    run, workflow = execution.run, execution.workflow
    if branch.parent is not None:
        why = (
            "it is in a branch of hf.gather() or hf.map(), beside others; let the branch return, and continue after it"
        )
        raise CannotContinue(run_id=run.id, why=why)
    if workflow.is_graph:
        why = "it follows a graph, whose end is that of its nodes; use a loop node, or a child that is a function"
        raise CannotContinue(run_id=run.id, why=why)
    try:
        inspect.signature(workflow.function).bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(f"run {run.id} cannot continue: {workflow.name!r} {error}") from error
    return execution.services.codec.encode_arguments(args, kwargs, f"the input of the successor of run {run.id}")
