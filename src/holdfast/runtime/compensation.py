"""Undoing what a failed run did: its completed steps' compensations, in reverse order of completion.

Each compensation is journaled and retried like a step. One that fails for good does not stop the others; the outcome
says so.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core.graphs import Plan, find_compensation
from holdfast.errors import CompensationError, StepNotRegistered
from holdfast.model.run import Entry
from holdfast.model.status import EntryKind, EntryStatus, RunStatus
from holdfast.runtime.attempts import Call, attempt_until_settled
from holdfast.runtime.graph_program import read_graft
from holdfast.runtime.unread import COMPENSATED

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.execution import RunExecution
    from holdfast.workflow.step import Step


async def compensate(execution: RunExecution, branch: RunBranch) -> None:
    """Run the compensations that are not recorded yet, then end the run as failed, or as cancelled if asked."""
    services = execution.services
    failures: dict[str, str] = {}
    for entry in to_compensate(execution.journal.values()):
        key = compensation_key(entry.key)
        recorded = execution.journal.get(key)
        if recorded is not None:
            if recorded.status is EntryStatus.FAILED:
                failures[entry.key] = services.read_failure(recorded.error).summary
            continue
        try:
            await _undo(execution, branch, entry, key)
        except StepNotRegistered as missing:
            await execution.finish(RunStatus.STUCK, "compensation_unavailable", error=execution.record_error(missing))
            return
        except Exception as raised:
            # Recorded in the journal; the other compensations still have their turn.
            if execution.ending is not None:
                raise
            failures[entry.key] = f"{type(raised).__name__}: {raised}"
    error = execution.run.error
    if failures:
        failed = CompensationError(count=len(failures), failures=failures)
        failed.__cause__ = services.rebuild(services.read_failure(error))
        await execution.finish(RunStatus.FAILED, "compensation_failed", error=execution.record_error(failed))
    elif execution.run.cancel_compensates:
        await execution.finish(RunStatus.CANCELLED, "compensated")
    else:
        await execution.finish(RunStatus.FAILED, "compensated", error=error)


def to_compensate(journal: Any) -> list[Entry]:
    """The completed steps that have a compensation, last completed first."""
    done = [
        entry
        for entry in journal
        if entry.kind is EntryKind.STEP and entry.status is EntryStatus.COMPLETED and entry.input is not None
    ]
    return sorted(done, key=lambda entry: entry.seq, reverse=True)


def compensation_key(key: str) -> str:
    """The journal key of a step's compensation."""
    return f"{key}{COMPENSATED}"


def _undoable(execution: RunExecution, entry: Entry) -> Step[Any, Any] | None:
    """The step that was done, with what undoes it: its own compensation, or the one that the run's graph names."""
    registry = execution.services.registry
    step = registry.find_step(entry.name)
    if step is None or step.compensation is not None or not execution.workflow.is_graph:
        return step
    program = execution.services.program_of(execution.run)
    name = find_compensation(program.plan, entry.key, partial(_grafted, execution))
    undo = None if name is None else registry.find_step(name)
    if undo is None:
        return step
    twin = step.with_options()
    twin.compensation, twin.compensation_options = undo.function, undo.options
    return twin


def _grafted(execution: RunExecution, key: str) -> Plan | None:
    entry = execution.journal.get(key)
    if entry is None or entry.result is None:
        return None
    graft = read_graft(key, execution.services.plain(entry.result, f"the answer of graft {key!r}"))
    return Plan(graft.nodes, graft.edges)


async def _undo(execution: RunExecution, branch: RunBranch, entry: Entry, key: str) -> None:
    services = execution.services
    step = _undoable(execution, entry)
    if step is None or step.compensation is None:
        known = ", ".join(services.registry.step_names)
        raise StepNotRegistered(run_id=execution.run.id, step=f"{entry.name} with a compensation", known=known)
    assert entry.input is not None
    assert entry.result is not None
    args, kwargs = services.step_arguments_of(step)(entry.input, f"the recorded arguments of step {entry.key!r}")
    result = services.step_result_of(step)(entry.result, f"the recorded result of step {entry.key!r}")
    bound = inspect.signature(services.call_signature_of(step)).bind(*args, **kwargs)
    # A default that the call left out would let the result slip into its place.
    bound.apply_defaults()
    call = Call(branch, step, key, (*bound.args, result), bound.kwargs)
    call.kind = EntryKind.COMPENSATION
    await attempt_until_settled(call, step.compensation, step.compensation_options, services.codec.decoder(Any))
