"""What each kind of node does, in durable operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from holdfast.core.definitions import GraphError, validate_part
from holdfast.core.expressions import ExpressionTypeError
from holdfast.core.expressions.errors import Site
from holdfast.core.graphs import Interpreter, NodePlan
from holdfast.core.graphs.journal_keys import branch_key, item_key, iteration_key, part_key
from holdfast.core.names import check_name
from holdfast.core.tolerance import failures_allowed
from holdfast.errors import LoopNotDone, NonDeterminismError, UnknownBranch, UsageError, WorkflowNotRegistered
from holdfast.model.definition import (
    ApproveNode,
    Branch,
    ChildNode,
    Computed,
    GraftNode,
    LoopNode,
    MapNode,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from holdfast.model.run import Question
from holdfast.model.status import EntryKind
from holdfast.runtime.branch import RunBranch, raise_first
from holdfast.runtime.execution import BranchStopped
from holdfast.runtime.graph_calls import GraphCall
from holdfast.runtime.graph_program import GraphProgram, program_of_graft, read_graft
from holdfast.runtime.join import Join
from holdfast.workflow.context import CURRENT, ChildOptions
from holdfast.workflow.duration import seconds
from holdfast.workflow.graph_calls import check_calls
from holdfast.workflow.workflow import AsyncWorkflow, WorkflowOptions

Walk = Callable[..., Awaitable[None]]

_NOTHING: Final[dict[str, Any]] = {}


class Nodes:
    """The nodes of one level of one run."""

    def __init__(self, program: GraphProgram, interpreter: Interpreter, scope: str, walk: Walk) -> None:
        self.program = program
        self.interpreter = interpreter
        self.scope = scope
        self._walk = walk

    @staticmethod
    def current_branch() -> RunBranch:
        """The branch whose task this is."""
        return cast("RunBranch", CURRENT.get())

    async def run(self, plan: NodePlan, branch: RunBranch) -> Any:
        """Do what the node says; its result."""
        key = self.scope + plan.key
        match plan.node:
            case StepNode():
                return await self.step(plan).run(branch)
            case ParallelNode(branches=branches):
                return await self._parallel(branch, plan, key, branches)
            case RouteNode() as node:
                return await self._route(branch, plan, key, node)
            case LoopNode() as node:
                return await self._loop(branch, plan, key, node)
            case MapNode() as node:
                return await self._map(branch, plan, key, node)
            case SleepNode(duration_ms=duration):
                return await self._sleep(branch, plan, key, duration)
            case SignalNode() as node:
                return await self._signal(branch, plan, key, node)
            case ChildNode() as node:
                return await self._child(branch, plan, key, node)
            case SubgraphNode():
                return await self._subgraph(branch, plan, key)
            case GraftNode():
                return await self._graft(branch, plan, key)
            case ApproveNode() as node:
                return await self._approve(branch, key, node)

    # Calling handlers

    def step(self, plan: NodePlan) -> GraphCall:
        """The call that a step's node is."""
        return GraphCall(self, plan, self.program.call(plan.key), self.scope + plan.key)

    async def _call(
        self,
        branch: RunBranch,
        plan: NodePlan,
        key: str,
        *,
        place: str = "",
        mapping: str | None = "",
        extra: Mapping[str, Any] = _NOTHING,
    ) -> Any:
        """Call what stands at a place of the node; ``mapping`` names the input mapping that it has."""
        call = GraphCall(self, plan, self.program.call(plan.key, place), key, mapping=mapping, extra=extra)
        return await call.run(branch)

    async def _computed(
        self,
        branch: RunBranch,
        plan: NodePlan,
        key: str,
        what: str,
        value: Computed,
        extra: Mapping[str, Any] = _NOTHING,
    ) -> Any:
        """The value that an expression or a handler answers."""
        if value.expression is not None:
            return self.interpreter.value(plan, what, extra)
        mapping = "" if what == "selector" else None
        return await self._call(branch, plan, part_key(key, what), place=f"~{what}", mapping=mapping, extra=extra)

    # Kinds

    async def _parallel(
        self, branch: RunBranch, plan: NodePlan, key: str, branches: Mapping[str, Branch]
    ) -> dict[str, Any]:
        join = Join(branch, key, stop_at_failure=True, between="/")
        calls = [(f"/{name}", partial(self._branch, plan, key, name)) for name in branches]
        results = await join.run(calls, width=len(calls))
        raise_first(results)
        return dict(zip(branches, results, strict=True))

    async def _branch(self, plan: NodePlan, key: str, name: str) -> Any:
        return await self._call(self.current_branch(), plan, branch_key(key, name), place=name, mapping=name)

    async def _route(self, branch: RunBranch, plan: NodePlan, key: str, node: RouteNode) -> dict[str, Any]:
        choice = self._recorded_choice(branch, key)
        if choice is None:
            answer = await self._computed(branch, plan, key, "selector", node.selector)
            choice = answer if isinstance(answer, str) and answer in node.branches else node.default
            if choice is None:
                shown = repr(answer)[:80] if isinstance(answer, str) else f"a {type(answer).__name__}"
                raise UnknownBranch(node=key, answer=shown, known=", ".join(node.branches))
            self._record_choice(branch, key, choice)
        elif node.selector.handler is not None:
            branch.execution.unread.discard(part_key(key, "selector"))
        return {"branch": choice, "result": await self._branch_of(branch, plan, key, choice)}

    async def _branch_of(self, branch: RunBranch, plan: NodePlan, key: str, name: str) -> Any:
        return await self._call(branch, plan, branch_key(key, name), place=name, mapping=name)

    def _recorded_choice(self, branch: RunBranch, key: str) -> str | None:
        branch.enter()
        branch.next_key("route", key)
        entry = branch.recorded(key, EntryKind.VALUE, "route")
        if entry is None or entry.result is None:
            return None
        return cast("str", branch.execution.services.plain(entry.result, f"the choice of {key!r}"))

    def _record_choice(self, branch: RunBranch, key: str, choice: str) -> None:
        result = branch.execution.services.codec.encode(choice, f"the choice of {key!r}")
        branch.execution.stage_entry(branch.note(key, EntryKind.VALUE, "route", result))

    async def _loop(self, branch: RunBranch, plan: NodePlan, key: str, node: LoopNode) -> list[Any]:
        results: list[Any] = []
        seen: dict[str, Any] = {"iteration": 1, "result": None}
        for number in range(1, node.max_iterations + 1):
            seen["iteration"] = number
            if node.condition is not None and not await self._check(branch, plan, key, "condition", seen):
                return results
            result = await self._call(branch, plan, iteration_key(key, number), extra=seen)
            results.append(result)
            seen = {"iteration": number, "result": result}
            if node.until is not None and await self._check(branch, plan, key, "until", seen):
                return results
        seen["iteration"] = node.max_iterations + 1
        if node.condition is not None and not await self._check(branch, plan, key, "condition", seen):
            return results
        raise LoopNotDone(node=key, iterations=node.max_iterations)

    async def _check(self, branch: RunBranch, plan: NodePlan, key: str, what: str, seen: Mapping[str, Any]) -> bool:
        if what in plan.formulas:
            return self.interpreter.truth(plan, what, seen)
        numbered = iteration_key(part_key(key, what), seen["iteration"])
        answer = await self._call(branch, plan, numbered, place=f"~{what}", mapping=None, extra=seen)
        if not isinstance(answer, bool):
            raise UsageError(f"the {what} of loop {key!r} must answer true or false, not a {type(answer).__name__}")
        return answer

    async def _map(self, branch: RunBranch, plan: NodePlan, key: str, node: MapNode) -> list[Any]:
        items: list[Any] = self.interpreter.value(plan, "over")
        if type(items) is not list:
            site = Site(plan.formulas["over"].expression.source, 0)
            raise site.error(ExpressionTypeError, "what a map goes over must be a list")
        call = self.program.call(plan.key)
        calls = [
            GraphCall(self, plan, call, item_key(key, index), extra={"item": item, "index": index})
            for index, item in enumerate(items)
        ]
        # What is recorded needs no branch of its own.
        results: list[Any] = [one.recorded_outcome(branch) for one in calls]
        rest = [index for index, outcome in enumerate(results) if outcome is None]
        join = Join(branch, key, stop_at_failure=node.tolerate is None)
        if node.tolerate is not None or not any(_failed(outcome) for outcome in results):
            work = [(f"[{index}]", partial(self._item, calls[index])) for index in rest]
            for index, result in zip(rest, await join.run(work, width=node.concurrency), strict=True):
                results[index] = result if isinstance(result, BaseException) else (result,)
        failures = [outcome for outcome in results if _failed(outcome)]
        if branch.stopped:
            raise BranchStopped
        if len(failures) > failures_allowed(node.tolerate, items=len(results)):
            raise_first(failures)
        raise_first(failure for failure in failures if isinstance(failure, NonDeterminismError))
        return [None if _failed(outcome) else outcome[0] for outcome in results]

    async def _item(self, call: GraphCall) -> Any:
        return await call.run(self.current_branch())

    async def _sleep(self, branch: RunBranch, plan: NodePlan, key: str, duration: int | Computed) -> None:
        if isinstance(duration, Computed):
            answer = await self._computed(branch, plan, key, "duration", duration)
            if isinstance(answer, bool) or not isinstance(answer, int | float):
                raise UsageError(f"the duration of {key!r} must be a number of seconds, not a {type(answer).__name__}")
            delay = seconds(answer, f"the duration of {key!r}")
        else:
            delay = timedelta(milliseconds=duration)
        await branch.sleep(delay=delay, until=None, key=key)

    async def _signal(self, branch: RunBranch, plan: NodePlan, key: str, node: SignalNode) -> Any:
        name = node.signal
        if isinstance(name, Computed):
            answer = await self._computed(branch, plan, key, "signal", name)
            if not isinstance(answer, str):
                raise UsageError(f"the signal of {key!r} must be a name, not a {type(answer).__name__}")
            name = check_name("signal", answer)
        timeout = None if node.timeout_ms is None else timedelta(milliseconds=node.timeout_ms)
        return await branch.wait_for_signal(name, timeout=timeout, type_=Any, key=key)

    async def _approve(self, branch: RunBranch, key: str, node: ApproveNode) -> dict[str, Any]:
        question = Question(
            title=key,
            by=list(node.by),
            form=node.form,
            escalate_after_ms=node.escalate_after_ms,
            escalate_to=list(node.escalate_to),
        )
        decision = await branch.wait_for_approval(question, timeout=None, type_=Any, key=key)
        return {
            "approved": decision.approved,
            "by": decision.by,
            "data": decision.data,
            "comment": decision.comment,
        }

    async def _child(self, branch: RunBranch, plan: NodePlan, key: str, node: ChildNode) -> Any:
        services = branch.execution.services
        try:
            registered = services.registry.find_workflow(node.workflow)
        except WorkflowNotRegistered:
            # Another program's: it is started by its name, as a client without an App does.
            child = AsyncWorkflow[..., Any](_any_result, name=node.workflow, options=WorkflowOptions())
        else:
            child = AsyncWorkflow[..., Any](_any_result, name=node.workflow, options=registered.options)
        arguments: dict[str, Any] = {}
        if key not in branch.execution.waits:
            arguments = self._arguments_of_child(plan)
        options = ChildOptions(
            key=key,
            queue=node.queue,
            priority=node.priority,
            timeout=None if node.timeout_ms is None else timedelta(milliseconds=node.timeout_ms),
        )
        return await branch.run_child(child, (), arguments, options=options)

    def _arguments_of_child(self, plan: NodePlan) -> dict[str, Any]:
        mapped = self.interpreter.mapping(plan)
        if mapped is not None:
            return mapped
        given = self.program.given(plan.key)
        return {} if given is None else self.values_of(plan, given, _NOTHING)

    def values_of(self, plan: NodePlan, given: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
        """What parameters get by default, by their names."""
        values: dict[str, Any] = {}
        for one in given:
            if one.variable is not None:
                values[one.parameter.name] = self.interpreter.input if one.variable == "input" else extra[one.variable]
                continue
            result = self.interpreter.result_seen_by(plan, one.node, _MISSING)
            if result is not _MISSING:
                values[one.parameter.name] = result
            elif one.parameter.required:
                values[one.parameter.name] = None
        return values

    # Graphs in graphs

    async def _subgraph(self, branch: RunBranch, plan: NodePlan, key: str) -> dict[str, Any]:
        program = self.program.below(plan.key)
        given = self.interpreter.mapping(plan)
        return await self._walk_below(branch, key, program, self.interpreter.input if given is None else given)

    async def _graft(self, branch: RunBranch, plan: NodePlan, key: str) -> dict[str, Any]:
        answer = await self._call(branch, plan, key)
        program = self._read_graft(branch, key, answer)
        return await self._walk_below(branch, key, program, self.interpreter.input)

    def _read_graft(self, branch: RunBranch, key: str, answer: Any) -> GraphProgram:
        registry = branch.execution.services.registry
        graft = read_graft(key, answer)
        path = tuple(key.split("/"))
        problems = validate_part(path, graft.nodes, graft.edges)
        if problems:
            raise GraphError.of(key, problems)
        program = program_of_graft(graft.nodes, graft.edges, registry)
        problems = list(check_calls(program.plan, registry, path))
        if problems:
            raise GraphError.of(key, problems)
        return program

    async def _walk_below(self, branch: RunBranch, key: str, program: GraphProgram, given: Any) -> dict[str, Any]:
        interpreter = Interpreter(program.plan, input=given, run=self.interpreter.run)
        await self._walk(branch, program, interpreter, scope=f"{key}/")
        return interpreter.all_results()


def _failed(outcome: Any) -> bool:
    return isinstance(outcome, BaseException)


async def _any_result(**arguments: Any) -> Any:
    """Stands for a workflow whose result is read as plain JSON."""


_MISSING: Final = object()
