"""Graphs: workflows written as data, node by node.

    onboarding = (
        app.graph("onboarding")
        .step("account", create_account, compensate=delete_account)
        .route("plan", choose_plan, {"free": set_up_free, "pro": set_up_pro})
        .sleep("settle", timedelta(hours=1))
    )

A node follows the one that was added before it, unless ``after`` says otherwise. Mistakes are collected while the graph
is written, and ``build`` reports all of them at once.

The definition holds names only; functions are registered as steps. A function that is no registered step becomes one,
named after its place: ``onboarding.account``, a branch ``onboarding.plan/free``, what belongs to a node
``onboarding.account~compensate`` (or ``~until``, ``~condition``, ``~selector``, ``~duration``, ``~signal``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, Unpack

import msgspec

from holdfast.core.breakers import Breaker
from holdfast.core.definitions import DefinitionError, GraphError, Problem, queued_handlers, to_plain, validate
from holdfast.core.failure import type_name
from holdfast.core.graphs import Plan
from holdfast.core.retry import Retry
from holdfast.errors import NotInWorkflow, UsageError
from holdfast.model.definition import (
    ALWAYS,
    CONCURRENCY_DEFAULT,
    ITERATIONS_MAX_DEFAULT,
    ON_SUCCESS,
    ON_TIMEOUT,
    ApproveNode,
    Branch,
    ChildNode,
    Computed,
    Definition,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from holdfast.model.ids import DEFAULT_QUEUE
from holdfast.workflow.context import ChildOptions, require_branch
from holdfast.workflow.duration import milliseconds, seconds
from holdfast.workflow.graph_calls import check_calls
from holdfast.workflow.graph_handlers import GraphHandlers
from holdfast.workflow.graph_options import CallOptions, Duration, Handler, NodeOptions, With
from holdfast.workflow.queued_step import QUEUED_STEP
from holdfast.workflow.step import Step
from holdfast.workflow.workflow import AsyncWorkflow, Workflow, WorkflowOptions

if TYPE_CHECKING:
    from holdfast.workflow.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """The options of a node as its record wants them."""

    after: tuple[str, ...] | None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


class Graph(AsyncWorkflow[..., dict[str, Any]]):
    """A workflow written as data; made by ``app.graph(name)``. Methods that add something answer the graph itself.

    It is started, and run as a child, like any other workflow, with one argument: what expressions call ``input``. The
    result is ``{key: result}`` of the nodes that nothing follows.
    """

    is_graph = True

    def __init__(self, name: str, registry: Registry, *, options: Options) -> None:
        super().__init__(_walk, name=name, options=run_options(options))
        self._registry = registry
        self._options = options
        self._built: Definition | None = None
        self._nodes: list[Node] = []
        self._edges: dict[tuple[str, str], Edge] = {}
        self._written: set[tuple[str, str]] = set()
        """The edges that ``edge`` made."""
        self._problems: list[Problem] = []
        self._handlers = GraphHandlers(name, registry, self._problems)

    # Nodes

    def step(
        self, key: str, handler: Handler, *, compensate: Handler | None = None, **options: Unpack[CallOptions]
    ) -> Self:
        """Call a handler. The node's result is the handler's.

        Args:
            key: what edges, expressions and the journal call the node; it must not change while runs are live.
            handler: a function or a registered step.
            compensate: what undoes it if the run fails later: called with its arguments, then its result.
            options: see CallOptions.
        """
        common = self._call(key, handler, options)
        names = self._handlers.of_node(key, handler, compensate=compensate)
        return self._add(StepNode(key=key, handler=names.handler, compensate=names.compensate, **common.fields), common)

    def parallel(self, key: str, branches: Mapping[str, Handler | With], **options: Unpack[NodeOptions]) -> Self:
        """Call all branches side by side, each a step of its own. The result is ``{branch: result}``."""
        common = self._common(options)
        return self._add(ParallelNode(key=key, branches=self._branches(key, branches), **common.fields), common)

    def route(
        self,
        key: str,
        selector: Handler | str,
        branches: Mapping[str, Handler | With],
        *,
        default: str | Handler | With | None = None,
        input: Mapping[str, str] | None = None,  # noqa: A002 - the document's word
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Call the branch that the selector names. The result is ``{"branch": name, "result": result}``.

        Args:
            key: the node's key.
            selector: a handler, or an expression, that answers a branch's name.
            branches: handlers by name.
            default: for any other answer, which is a typed error without it: the name of a branch, or a handler,
                which then becomes the branch ``default``.
            input: the selector's parameters by name, each an expression.
            options: see NodeOptions.
        """
        common = self._common(options)
        ways = dict(branches)
        if default is not None and not isinstance(default, str):
            if "default" in ways:
                self._handlers.note(
                    key, "duplicate_key", "it has a branch 'default', and a default that is another handler"
                )
            ways["default"] = default
        node = RouteNode(
            key=key,
            selector=self._computed(key, "selector", selector),
            branches=self._branches(key, ways),
            input=dict(input or {}),
            default=default if default is None or isinstance(default, str) else "default",
            **common.fields,
        )
        return self._add(node, common)

    def loop(
        self,
        key: str,
        handler: Handler,
        *,
        until: Handler | str | None = None,
        condition: Handler | str | None = None,
        max_iterations: int = ITERATIONS_MAX_DEFAULT,
        feedback: bool = True,
        compensate: Handler | None = None,
        **options: Unpack[CallOptions],
    ) -> Self:
        """Call a handler again and again, each time as a step of its own. The result is the list of results.

        Args:
            key: the node's key.
            handler: a function or a registered step.
            until: a handler or an expression, asked after each iteration; the loop ends when it is true.
            condition: instead of ``until``: asked before each iteration; the loop ends when it is false.
            max_iterations: a loop that is not done after so many fails.
            feedback: hand the previous iteration's result to the next, unless ``input`` says what it gets.
            compensate: undoes one iteration.
            options: see CallOptions. ``input`` also sees ``iteration`` and ``result``, the previous one.
        """
        common = self._call(key, handler, options)
        names = self._handlers.of_node(key, handler, compensate=compensate)
        node = LoopNode(
            key=key,
            handler=names.handler,
            compensate=names.compensate,
            **common.fields,
            until=None if until is None else self._computed(key, "until", until),
            condition=None if condition is None else self._computed(key, "condition", condition),
            max_iterations=max_iterations,
            feedback=feedback,
        )
        return self._add(node, common)

    def map(
        self,
        key: str,
        handler: Handler,
        *,
        over: str,
        concurrency: int = CONCURRENCY_DEFAULT,
        tolerate: float | None = None,
        compensate: Handler | None = None,
        **options: Unpack[CallOptions],
    ) -> Self:
        """Call a handler for each item of a list that is known when the run gets there. Results are in its order.

        Args:
            key: the node's key.
            handler: a function or a registered step.
            over: an expression that answers the list.
            concurrency: how many items are under way at once.
            tolerate: how many items may fail: a share if below 1, else a number.
            compensate: undoes one item.
            options: see CallOptions. ``input`` also sees ``item`` and ``index``.
        """
        common = self._call(key, handler, options)
        names = self._handlers.of_node(key, handler, compensate=compensate)
        node = MapNode(
            key=key,
            handler=names.handler,
            compensate=names.compensate,
            **common.fields,
            over=over,
            concurrency=concurrency,
            tolerate=tolerate,
        )
        return self._add(node, common)

    def sleep(self, key: str, duration: Duration | Handler | str, **options: Unpack[NodeOptions]) -> Self:
        """Wait, durably: a timedelta, seconds, or a handler or expression that answers seconds."""
        common = self._common(options)
        if isinstance(duration, timedelta | float | int):
            node = SleepNode(key=key, duration_ms=self._ms(key, "the duration", duration), **common.fields)
        else:
            node = SleepNode(key=key, duration_ms=self._computed(key, "duration", duration), **common.fields)
        return self._add(node, common)

    def wait_for_signal(
        self,
        key: str,
        signal: str | Handler | Computed,
        *,
        timeout: Duration | None = None,
        on_timeout: str | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Wait for a signal. The result is its payload.

        Args:
            key: the node's key.
            signal: the signal's name; or a handler, or ``Computed(expression=...)``, that answers it.
            timeout: how long; no limit by default.
            on_timeout: the key of the node to go on with if none came in time; without it, that is a failure. If it is
                the next node, the run goes on there either way.
            options: see NodeOptions.
        """
        common = self._common(options)
        name = signal if isinstance(signal, str | Computed) else self._computed(key, "signal", signal)
        limit = None if timeout is None else self._ms(key, "the timeout", timeout)
        self._add(SignalNode(key=key, signal=name, timeout_ms=limit, **common.fields), common)
        return self if on_timeout is None else self.edge(key, on_timeout, ON_TIMEOUT)

    def child(
        self,
        key: str,
        workflow: Workflow[Any, Any] | Graph | str | Callable[..., Any],
        *,
        input: Mapping[str, str] | None = None,  # noqa: A002 - the document's word
        queue: str | None = None,
        priority: int | None = None,
        timeout: Duration | None = None,
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Run another workflow and wait for its result.

        Args:
            key: the node's key.
            workflow: a registered workflow, a graph, or the name of one. A function that is neither is registered as
                the workflow ``graph.key``.
            input: the workflow's parameters by name, each an expression.
            queue: the line the child stands in.
            priority: higher is claimed first; the parent's by default.
            timeout: the child's deadline, counted from its start.
            options: see NodeOptions.
        """
        common = self._common(options)
        preset = _preset(workflow)
        limit = preset.timeout if timeout is None else timeout
        node = ChildNode(
            key=key,
            workflow=self._handlers.workflow(key, workflow),
            input=dict(input or {}),
            queue=preset.queue if queue is None else queue,
            priority=preset.priority if priority is None else priority,
            timeout_ms=None if limit is None else self._ms(key, "the timeout", limit),
            **common.fields,
        )
        return self._add(node, common)

    def approve(
        self,
        key: str,
        *,
        form: Mapping[str, Any] | type[Any] | None = None,
        by: str | Iterable[str] = (),
        escalate_after: Duration | None = None,
        escalate_to: str | Iterable[str] = (),
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Wait for a person. The result is ``{"approved", "by", "data", "comment"}``; ``data`` is what was filled in.

        A rejection is an answer, no failure: let edges look at ``result.approved``.

        Args:
            key: the node's key.
            form: a JSON Schema, or a type that has one; a plain yes or no by default.
            by: who may answer; anybody who may see the run by default.
            escalate_after: when those in ``escalate_to`` may answer as well.
            escalate_to: who is asked then.
            options: see NodeOptions.
        """
        common = self._common(options)
        node = ApproveNode(
            key=key,
            form=self._form(key, form),
            by=_names(by),
            escalate_after_ms=None if escalate_after is None else self._ms(key, "escalate_after", escalate_after),
            escalate_to=_names(escalate_to),
            **common.fields,
        )
        return self._add(node, common)

    def graft(self, key: str, function: Handler, **options: Unpack[CallOptions]) -> Self:
        """A place that is filled in when the run gets there: the function answers the nodes and edges to run."""
        common = self._call(key, function, options)
        names = self._handlers.of_node(key, function)
        return self._add(GraftNode(key=key, handler=names.handler, **common.fields), common)

    def subgraph(
        self,
        key: str,
        graph: Graph,
        *,
        input: Mapping[str, str] | None = None,  # noqa: A002 - the document's word
        **options: Unpack[NodeOptions],
    ) -> Self:
        """Run a graph, as it is now, inside this run. The result is ``{key: result}`` of its nodes."""
        common = self._common(options)
        self._problems += [
            Problem(f"{key}/{problem.node}" if problem.node else key, problem.code, problem.reason)
            for problem in graph._problems
        ]
        node = SubgraphNode(
            key=key,
            nodes=tuple(graph._with_defaults()),
            edges=tuple(graph._edges.values()),
            input=dict(input or {}),
            **common.fields,
        )
        return self._add(node, common)

    def edge(self, source: str, target: str, condition: str = ON_SUCCESS, *, label: str = "") -> Self:
        """Let the target follow the source, or say under which condition it does if it follows it already.

        Args:
            source: a node's key.
            target: a node's key; it may be added later.
            condition: ``always``, ``on_success``, ``on_failure``, ``on_timeout``, or an expression.
            label: shown in drawings.
        """
        pair = source, target
        if pair in self._written:
            self._handlers.note(source, "duplicate_edge", f"2 edges lead to {target!r}")
        self._written.add(pair)
        self._edges[pair] = Edge(source=source, target=target, condition=condition, label=label)
        self._built = None
        return self

    def build(self) -> Definition:
        """The definition.

        Raises:
            GraphError: the graph cannot be run; it lists every problem.
        """
        if self._built is None:
            self._built = self._build()
        return self._built

    def _build(self) -> Definition:
        problems = list(self._problems)
        definition = Definition(
            workflow=self.name, nodes=tuple(self._nodes), edges=tuple(self._edges.values()), options=self._options
        )
        try:
            # Arguments are what callers made of the annotations: look before anything relies on them.
            definition = msgspec.convert(to_plain(definition), Definition)
        except (DefinitionError, msgspec.ValidationError) as error:
            problems.append(Problem("", "bad_value", str(error)))
        else:
            problems += validate(definition)
        if not problems:
            plan = Plan(definition.nodes, definition.edges, definition.options)
            problems += check_calls(plan, self._registry)
        if problems:
            raise GraphError.of(self.name, problems)
        return definition

    @property
    def result_type(self) -> Any:
        """Results by key, as plain JSON."""
        return dict[str, Any]

    @property
    def queued_steps(self) -> set[str]:
        """The workflows of the steps that it puts into lines of their own."""
        return {QUEUED_STEP + name for name in queued_handlers(self._nodes)}

    # Parts of nodes

    def _add(self, node: Node, common: _Common) -> Self:
        sources = common.after
        if sources is None:
            previous = self._nodes[-1].key if self._nodes else node.key
            sources = () if previous == node.key else (previous,)
        self._built = None
        self._nodes.append(node)
        for source in sources:
            pair = source, node.key
            written = self._edges.get(pair)
            if written is None:
                self._edges[pair] = Edge(source=source, target=node.key)
            elif written.condition == ON_TIMEOUT:
                self._edges[pair] = msgspec.structs.replace(written, condition=ALWAYS)
        return self

    def _common(self, options: Mapping[str, Any]) -> _Common:
        after = options.get("after")
        fields = {name: options[name] for name in ("when", "ignore_failed", "ignore_cancelled") if name in options}
        return _Common(after=None if after is None else _names(after), fields=fields)

    def _call(self, key: str, handler: Handler, options: CallOptions) -> _Common:
        common = self._common(options)
        fields = self._call_fields(
            key,
            handler,
            input=options.get("input"),
            retry=options.get("retry"),
            timeout=options.get("timeout"),
            breaker=options.get("breaker"),
            queue=options.get("queue"),
        )
        return _Common(after=common.after, fields={**common.fields, **fields})

    def _call_fields(
        self,
        key: str,
        handler: Handler,
        *,
        input: Mapping[str, str] | None,  # noqa: A002 - the document's word
        retry: Retry | None,
        timeout: Duration | None,
        breaker: Breaker | None,
        queue: str | None,
    ) -> dict[str, Any]:
        if isinstance(handler, Step):
            registered = self._registry.find_step(handler.name)
            # with_options() gave this one options of its own; the registry knows the step without them.
            if registered is not None and registered is not handler:
                own, options = registered.options, handler.options
                retry = retry or (options.retry if options.retry != own.retry else None)
                timeout = timeout if timeout is not None or options.timeout == own.timeout else options.timeout
                breaker = breaker or (options.breaker if options.breaker != own.breaker else None)
        return {
            "input": dict(input or {}),
            "retry": None if retry is None else self._policy(retry),
            "timeout_ms": None if timeout is None else self._ms(key, "the timeout", timeout),
            "breaker": None if breaker is None else self._registry.declare_breaker(breaker).name,
            "queue": queue,
        }

    def _branches(self, key: str, branches: Mapping[str, Handler | With]) -> dict[str, Branch]:
        made: dict[str, Branch] = {}
        for name, given in branches.items():
            way = given if isinstance(given, With) else With(given)
            fields = self._call_fields(
                key,
                way.handler,
                input=way.input,
                retry=way.retry,
                timeout=way.timeout,
                breaker=way.breaker,
                queue=way.queue,
            )
            names = self._handlers.of_branch(key, name, way.handler, compensate=way.compensate)
            made[name] = Branch(handler=names.handler, compensate=names.compensate, **fields)
        return made

    def _computed(self, key: str, what: str, given: Handler | str) -> Computed:
        if isinstance(given, str):
            return Computed(expression=given)
        return Computed(handler=self._handlers.of_part(key, what, given).handler)

    def _ms(self, key: str, what: str, duration: Any) -> int:
        try:
            return milliseconds(seconds(duration, what))
        except (UsageError, TypeError) as error:
            self._handlers.note(key, "out_of_range", str(error))
            return 1

    def _policy(self, retry: Retry) -> RetryPolicy:
        for kind in retry.non_retryable:
            self._registry.errors.register(kind)
        return RetryPolicy(
            max_attempts=retry.max_attempts,
            initial_ms=math.ceil(retry.initial_ms),
            factor=float(retry.factor),
            max_delay_ms=math.ceil(retry.max_delay_ms),
            jitter=float(retry.jitter),
            non_retryable=tuple(type_name(kind) for kind in retry.non_retryable),
        )

    def _form(self, key: str, form: Mapping[str, Any] | type[Any] | None) -> dict[str, Any] | None:
        if form is None or isinstance(form, Mapping):
            return None if form is None else dict(form)
        try:
            described = getattr(form, "model_json_schema", None)
            schema: dict[str, Any] = msgspec.json.schema(form) if described is None else described()
        except Exception as error:  # noqa: BLE001 - a type's own description may fail in any way
            self._handlers.note(key, "bad_form", f"{form!r} has no JSON Schema: {error}")
            return None
        return schema

    def _with_defaults(self) -> Iterable[Node]:
        """The nodes, with what this graph says of all of them written down in each."""
        for node in self._nodes:
            changes = {
                name: True
                for name in ("ignore_failed", "ignore_cancelled")
                if getattr(self._options, name) and getattr(node, name) is None
            }
            yield msgspec.structs.replace(node, **changes) if changes else node


def _preset(workflow: object) -> ChildOptions:
    """What ``with_options`` said of a child."""
    return workflow.child_options if isinstance(workflow, Workflow) else ChildOptions()


async def _walk(input: Any = None) -> dict[str, Any]:  # noqa: A002 - the document's word
    branch = require_branch("a graph")
    if branch is None:
        raise NotInWorkflow(operation="a graph", where="in a run: start it with a client")
    return await branch.walk(input)


@lru_cache(maxsize=256)
def stored_graph(name: str, options: Options) -> AsyncWorkflow[..., dict[str, Any]]:
    """The workflow of runs that follow a stored definition, for a program that registers no graph of that name."""
    made: AsyncWorkflow[..., dict[str, Any]] = AsyncWorkflow(_walk, name=name, options=run_options(options))
    made.is_graph = True
    return made


def run_options(options: Options) -> WorkflowOptions:
    """How runs of a definition are started, unless their starter says otherwise."""
    timeout_ms = options.timeout_ms
    return WorkflowOptions(
        queue=options.queue or DEFAULT_QUEUE,
        timeout=None if timeout_ms is None else timedelta(milliseconds=timeout_ms),
    )


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
