"""A step in a line of its own: a run whose whole work is that step.

Its workflow is called ``step:`` and the step's name; every program that registers the step can execute it.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast.model.definition import CallPolicy, RetryPolicy
from holdfast.workflow.context import require_branch
from holdfast.workflow.step import Step
from holdfast.workflow.workflow import AsyncWorkflow, WorkflowOptions

QUEUED_STEP: Final = "step:"


def queued_step(step: Step[Any, Any]) -> AsyncWorkflow[..., Any]:
    """The workflow of runs that execute one step."""

    async def run_step(
        arguments: dict[str, Any],
        retry: RetryPolicy | None = None,
        timeout_ms: int | None = None,
        breaker: str | None = None,
    ) -> Any:
        branch = require_branch("a step in a line of its own")
        if branch is None:
            return await step.function(**arguments) if step.is_async else step.function(**arguments)
        policy = CallPolicy(retry=retry, timeout_ms=timeout_ms, breaker=breaker)
        return await branch.run_step(step.name, arguments, policy)

    return AsyncWorkflow(run_step, name=QUEUED_STEP + step.name, options=WorkflowOptions())
