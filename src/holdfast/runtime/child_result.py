"""What the end of a child is to the run that waited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.errors import RunCancelled, RunFailed, RunStuck
from holdfast.model.ids import RunId
from holdfast.model.run import Wait
from holdfast.model.status import RunStatus

if TYPE_CHECKING:
    from holdfast.runtime.services import Services
    from holdfast.workflow.workflow import Workflow


def child_result(services: Services, workflow: Workflow[Any, Any], child: RunId, wait: Wait) -> Any:
    """What a child's end means to its parent. Raises: RunFailed, RunCancelled, RunStuck."""
    match wait.child_status:
        case RunStatus.COMPLETED if wait.result is not None:
            return services.result_of(workflow)(wait.result, f"the result of child {child}")
        case RunStatus.CANCELLED:
            raise RunCancelled(run_id=child)
        case RunStatus.STUCK:
            raise RunStuck(run_id=child, reason="worker_crashes")
        case _:
            failure = services.read_failure(wait.error)
            raise RunFailed(run_id=child, reason="failed", error=failure.summary, failure=failure) from (
                services.rebuild(failure)
            )
