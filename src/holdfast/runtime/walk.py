"""Walking a graph: the interpreter says what begins, and the durable operations of a branch do it.

Every record is journaled under a key that is made from the nodes' own (``core/graphs/journal_keys.py``), so nothing
depends on the order in which nodes happen to run. A node that is alone runs in the branch of the walk itself; nodes
side by side have branches of their own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core.graphs import Cancelled, Completed, Failed, Interpreter, NodePlan, Outcome, TimedOut
from holdfast.errors import NonDeterminismError, RunCancelled, SignalTimeout
from holdfast.model.definition import SignalNode, StepNode
from holdfast.runtime.crew import Crew
from holdfast.runtime.graph_nodes import Nodes

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.graph_program import GraphProgram


async def walk_run(branch: RunBranch, given: Any) -> dict[str, Any]:
    """Walk the graph that the run follows; the results of the nodes that nothing follows."""
    execution = branch.execution
    run = execution.run
    branch.absolute_keys = True
    facts = {"id": run.id, "workflow": run.workflow, "tenant": run.tenant, "key": run.key, "attempt": run.attempt}
    program = execution.services.program_of(run)
    interpreter = Interpreter(program.plan, input=given, run=facts)
    await walk(branch, program, interpreter, scope="")
    return interpreter.final_results()


async def walk(branch: RunBranch, program: GraphProgram, interpreter: Interpreter, *, scope: str) -> None:
    """Walk one level to its end.

    Raises:
        the failure of the node that ends it, once the others have come to a stop.
    """
    nodes = Nodes(program, interpreter, scope, walk)
    crew: Crew | None = None
    beginning = interpreter.begin()
    while beginning or (crew is not None and crew.running):
        if len(beginning) == 1 and (crew is None or not crew.running):
            [node] = beginning
            beginning = interpreter.ended(node.key, await _run(nodes, node, branch))
        else:
            crew = crew or Crew(branch, scope)
            for node in beginning:
                crew.start(node.key, partial(_run, nodes, node))
            beginning = list[NodePlan]()
            for key, outcome in await crew.ended():
                beginning += _note(interpreter, key, outcome)
        if interpreter.failed is not None:
            await (crew or Crew(branch, scope)).stop()
            raise interpreter.failures[interpreter.failed].error
    if branch.execution.refused is not None:
        raise branch.execution.refused


def _note(interpreter: Interpreter, key: str, outcome: Any) -> list[NodePlan]:
    if isinstance(outcome, BaseException):
        # A branch ends by an exception only if the run diverged from its journal, or is being stopped.
        raise outcome
    return interpreter.ended(key, outcome)


async def _run(nodes: Nodes, node: NodePlan, branch: RunBranch | None = None) -> Outcome:
    """Do what a node says; how it ended."""
    try:
        place = branch or nodes.current_branch()
        # A step is called without the coroutine of nodes.run: most nodes are steps.
        call = nodes.step(node).run(place) if type(node.node) is StepNode else nodes.run(node, place)
        return Completed(await call)
    except (asyncio.CancelledError, NonDeterminismError):
        raise
    except SignalTimeout as error:
        return TimedOut(error) if isinstance(node.node, SignalNode) else Failed(error)
    except RunCancelled as error:
        return Cancelled(error)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is how its node ends
        return Failed(error)
