"""Everything that is wrong with a definition, at once.

``validate`` looks at the whole document and answers a list; it never raises and is about linear in the document's size.
It knows nothing of registries: whether handlers and workflows exist is for those who hold them (``names_needed``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from holdfast.core.definitions.canonical import flaw_of
from holdfast.core.definitions.reading import (
    A_BOOL,
    A_LIST,
    A_NUMBER,
    A_STRING,
    ANYTHING,
    EVERYWHERE,
    IN_EDGE,
    IN_LOOP,
    IN_MAP,
    Reading,
    Variables,
    read_expression,
)
from holdfast.core.definitions.structure import Shape, cycles, not_before, path_text, shape_of, unreachable
from holdfast.core.expressions import Kind
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.definition import (
    EDGE_WORDS,
    ON_TIMEOUT,
    ApproveNode,
    Branch,
    CallNode,
    ChildNode,
    Computed,
    Definition,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)

PATH_CHARACTERS_MAX: Final = 150
"""Of a node's key with the keys it is nested in: journal keys add numbers and suffixes to it and stay below 200."""

KEY_RESERVED: Final = "/#~[]"
"""Journal keys are built with these."""

SUBGRAPHS_MAX: Final = 8
"""Levels of subgraphs in each other."""

LABEL_CHARACTERS_MAX: Final = 500

MS_MAX: Final = 366 * 100 * 24 * 3600 * 1000
"""A century, the longest duration anywhere."""

PRIORITY_MAX: Final = 1000

EdgePair = tuple[str, str]


class Problem(Struct, frozen=True, order=True):
    """One thing that is wrong."""

    node: str
    """The node's key, below the keys of the subgraphs it is in (``outer/inner``); the source's for an edge; empty for
    the graph itself."""
    code: str
    """A stable word."""
    reason: str
    """For people, with what to change."""

    def __str__(self) -> str:
        return f"{self.node or 'the graph'}: {self.reason} ({self.code})"


class GraphError(UsageError):
    """A graph cannot be run. ``problems`` lists everything that is wrong with it: node, code and reason."""

    code = "graph_invalid"
    template = "graph {graph!r} cannot be run:\n{listing}"

    @classmethod
    def of(cls, graph: str, problems: Iterable[Problem]) -> GraphError:
        """The error that lists these problems, each once."""
        found = sorted(set(problems))
        return cls(graph=graph, problems=found, listing="\n".join(f"  {problem}" for problem in found))


class Needs(Struct, frozen=True):
    """The names that a program must know to run a definition."""

    handlers: frozenset[str]
    """Steps: handlers, selectors, compensations."""
    workflows: frozenset[str]
    """Children."""
    breakers: frozenset[str] = frozenset()
    """Circuit breakers."""


def validate(definition: Definition) -> list[Problem]:
    """All problems of a definition, in the order of their nodes; an empty list if it can be run."""
    check = _Check()
    check.name("", "workflow", definition.workflow)
    options = definition.options
    if options.queue is not None:
        check.name("", "queue", options.queue)
    check.duration("", "the timeout", options.timeout_ms)
    _Level(check, (), definition.nodes, definition.edges).look()
    return sorted(check.problems)


def check_definition(definition: Definition) -> None:
    """Raises: GraphError, with everything that is wrong, if the definition cannot be run."""
    problems = validate(definition)
    if problems:
        raise GraphError.of(definition.workflow, problems)


def validate_part(path: tuple[str, ...], nodes: Sequence[Node], edges: Sequence[Edge]) -> list[Problem]:
    """All problems of what a graft was filled in with; ``path`` is the graft's key below those it is nested in."""
    check = _Check()
    if len(path) > SUBGRAPHS_MAX:
        check.add("/".join(path), "too_deep", f"more than {SUBGRAPHS_MAX} graphs are nested in each other")
    else:
        _Level(check, path, nodes, edges).look()
    return sorted(check.problems)


def queued_handlers(nodes: Sequence[Node]) -> set[str]:
    """The steps that nodes put into lines of their own."""
    queued: set[str] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        match node:
            case CallNode(handler=handler, queue=queue) if queue is not None:
                queued.add(handler)
            case ParallelNode(branches=branches) | RouteNode(branches=branches):
                queued |= {branch.handler for branch in branches.values() if branch.queue is not None}
            case SubgraphNode(nodes=inner):
                stack += inner
            case _:
                pass
    return queued


def names_needed(definition: Definition) -> Needs:
    """The steps and workflows that a definition names."""
    handlers: set[str | None] = set()
    workflows: set[str] = set()
    breakers: set[str | None] = set()
    stack: list[Node] = list(definition.nodes)
    while stack:
        node = stack.pop()
        handlers.add(node.compensate)
        if isinstance(node, CallNode):
            handlers.add(node.handler)
            breakers.add(node.breaker)
        if isinstance(node, ParallelNode | RouteNode):
            breakers |= {branch.breaker for branch in node.branches.values()}
        match node:
            case LoopNode():
                handlers |= {check.handler for check in (node.until, node.condition) if check is not None}
            case ParallelNode(branches=branches):
                handlers |= _handlers_of(branches)
            case RouteNode(branches=branches):
                handlers |= {node.selector.handler, *_handlers_of(branches)}
            case SleepNode(duration_ms=Computed(handler=handler)) | SignalNode(signal=Computed(handler=handler)):
                handlers.add(handler)
            case ChildNode(workflow=workflow):
                workflows.add(workflow)
            case SubgraphNode(nodes=nodes):
                stack += nodes
            case _:
                pass
    return Needs(_named(handlers), frozenset(workflows), _named(breakers))


def _named(names: Iterable[str | None]) -> frozenset[str]:
    return frozenset(name for name in names if name is not None)


def _handlers_of(branches: Mapping[str, Branch]) -> set[str | None]:
    return {name for branch in branches.values() for name in (branch.handler, branch.compensate)}


class _Check:
    """Collects problems; the checks that need no more than a value."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, node: str, code: str, reason: str) -> None:
        self.problems.append(Problem(node, code, reason))

    def name(self, node: str, kind: str, name: str) -> None:
        try:
            check_name(kind, name)
        except UsageError as error:
            self.add(node, "bad_name", str(error))

    def duration(self, node: str, what: str, ms: int | None) -> None:
        if ms is not None and not 0 <= ms <= MS_MAX:
            self.add(node, "out_of_range", f"{what} must be 0 to {MS_MAX} ms, not {ms}")

    def limit(self, node: str, what: str, ms: int | None) -> None:
        if ms is not None and not 1 <= ms <= MS_MAX:
            self.add(node, "out_of_range", f"{what} must be 1 to {MS_MAX} ms, not {ms}")

    def retry(self, node: str, retry: RetryPolicy | None) -> None:
        if retry is None:
            return
        flaws = {
            f"max_attempts must be at least 1, not {retry.max_attempts}": retry.max_attempts < 1,
            f"initial_ms must be 0 to {MS_MAX}, not {retry.initial_ms}": not 0 <= retry.initial_ms <= MS_MAX,
            "max_delay_ms must not be less than initial_ms": retry.max_delay_ms < retry.initial_ms,
            f"max_delay_ms must be at most {MS_MAX}": retry.max_delay_ms > MS_MAX,
            f"factor must be a finite number of at least 1, not {retry.factor}": not 1 <= retry.factor < float("inf"),
            f"jitter must be a fraction from 0 to 1, not {retry.jitter}": not 0 <= retry.jitter <= 1,
        }
        for flaw, found in flaws.items():
            if found:
                self.add(node, "out_of_range", f"retry: {flaw}")
        for name in retry.non_retryable:
            self.name(node, "exception type's", name)


class _Level:
    """The nodes and edges of the graph, or of one subgraph."""

    def __init__(self, check: _Check, path: tuple[str, ...], nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
        self.check = check
        self.path = path
        self.nodes = nodes
        self.edges = edges
        self.shape: Shape = shape_of((node.key for node in nodes), ((edge.source, edge.target) for edge in edges))
        self.number = self.shape.number()
        self.by_key = {node.key: node for node in nodes}
        self.questions: list[tuple[int, int, str, str]] = []
        """(node, node whose result it reads, key to report, what of it)."""

    def look(self) -> None:
        if not self.nodes:
            self.add("", "empty_graph", "it has no nodes")
            return
        for key, count in Counter(node.key for node in self.nodes).items():
            if count > 1:
                self.add(key, "duplicate_key", f"{count} nodes have this key")
        for node in self.nodes:
            self.look_at_key(node.key, "key")
            self.look_at_node(node)
        self.look_at_edges()
        self.look_at_structure()

    def add(self, key: str, code: str, reason: str) -> None:
        self.check.add("/".join((*self.path, key) if key else self.path), code, reason)

    def at(self, key: str) -> str:
        return "/".join((*self.path, key))

    # Keys, names and numbers

    def look_at_key(self, key: str, kind: str, *, below: str | None = None) -> None:
        owner = key if below is None else below
        try:
            check_name(kind, key)
        except UsageError as error:
            self.add(owner, "bad_key", str(error).replace(f"{kind} name", kind))
            return
        reserved = sorted(set(key) & set(KEY_RESERVED))
        if reserved:
            self.add(owner, "bad_key", f"the {kind} {key!r} contains {' '.join(reserved)}, which the journal needs")
        whole = [*self.path, key] if below is None else [*self.path, below, key]
        if len("/".join(whole)) > PATH_CHARACTERS_MAX:
            self.add(
                owner, "bad_key", f"the {kind} and what it is nested in have more than {PATH_CHARACTERS_MAX} characters"
            )

    def look_at_node(self, node: Node) -> None:
        key = node.key
        if node.when is not None:
            self.expression(key, "when", node.when, wanted=A_BOOL)
        if node.compensate is not None:
            if isinstance(node, StepNode | LoopNode | MapNode):
                self.check.name(self.at(key), "compensation", node.compensate)
            else:
                self.add(key, "no_compensation", _NO_COMPENSATION.get(type(node), _NOTHING_TO_UNDO))
        if isinstance(node, CallNode):
            variables = IN_LOOP if isinstance(node, LoopNode) else IN_MAP if isinstance(node, MapNode) else EVERYWHERE
            self.call(key, node, variables)
        self.look_at_kind(node)

    def look_at_kind(self, node: Node) -> None:
        match node:
            case ParallelNode():
                self.branches(node.key, node.branches)
            case RouteNode():
                self.route(node)
            case LoopNode():
                self.loop(node)
            case MapNode():
                self.map(node)
            case SleepNode():
                self.sleep(node)
            case SignalNode():
                self.signal(node)
            case ChildNode():
                self.child(node)
            case ApproveNode():
                self.approve(node)
            case SubgraphNode():
                self.subgraph(node)
            case StepNode() | GraftNode():
                pass

    def call(self, key: str, call: CallNode | Branch, variables: Variables, what: str = "") -> None:
        """A handler and how it is called; ``what`` says which, if the node has several."""
        at = self.at(key)
        self.check.name(at, f"{what}handler", call.handler)
        self.mapping(key, f"{what}input", call.input, variables)
        self.check.retry(at, call.retry)
        self.check.limit(at, f"{what or 'the '}timeout", call.timeout_ms)
        if call.queue is not None:
            self.check.name(at, "queue", call.queue)
        if call.breaker is not None:
            self.check.name(at, "breaker", call.breaker)

    def branches(self, key: str, branches: Mapping[str, Branch]) -> None:
        if not branches:
            self.add(key, "no_branches", "it has no branches")
        for name, branch in branches.items():
            self.look_at_key(name, "branch", below=key)
            self.call(key, branch, EVERYWHERE, what=f"branch {name!r}: ")
            if branch.compensate is not None:
                self.check.name(self.at(key), "compensation", branch.compensate)

    def route(self, node: RouteNode) -> None:
        self.branches(node.key, node.branches)
        self.computed(node.key, "the selector", node.selector, wanted=A_STRING)
        self.mapping(node.key, "input", node.input)
        if node.default is not None and node.default not in node.branches:
            self.add(node.key, "unknown_branch", f"its default {node.default!r:.80} is none of its branches")

    def loop(self, node: LoopNode) -> None:
        if (node.until is None) == (node.condition is None):
            self.add(node.key, "not_one_of", "a loop has either until or condition")
        for what, computed in (("until", node.until), ("condition", node.condition)):
            if computed is not None:
                self.computed(node.key, what, computed, wanted=A_BOOL, variables=IN_LOOP)
        if node.max_iterations < 1:
            self.add(node.key, "out_of_range", f"max_iterations must be at least 1, not {node.max_iterations}")

    def map(self, node: MapNode) -> None:
        self.expression(node.key, "over", node.over, wanted=A_LIST)
        if node.concurrency < 1:
            self.add(node.key, "out_of_range", f"concurrency must be at least 1, not {node.concurrency}")
        if node.tolerate is not None and not 0 <= node.tolerate < float("inf"):
            self.add(node.key, "out_of_range", f"tolerate must be a number of 0 or more, not {node.tolerate}")

    def sleep(self, node: SleepNode) -> None:
        if isinstance(node.duration_ms, Computed):
            self.computed(node.key, "the duration", node.duration_ms, wanted=A_NUMBER)
        else:
            self.check.duration(self.at(node.key), "the duration", node.duration_ms)

    def signal(self, node: SignalNode) -> None:
        if isinstance(node.signal, Computed):
            self.computed(node.key, "the signal", node.signal, wanted=A_STRING)
        else:
            self.check.name(self.at(node.key), "signal", node.signal)
        self.check.duration(self.at(node.key), "the timeout", node.timeout_ms)

    def child(self, node: ChildNode) -> None:
        at = self.at(node.key)
        self.check.name(at, "workflow", node.workflow)
        self.mapping(node.key, "input", node.input)
        if node.queue is not None:
            self.check.name(at, "queue", node.queue)
        self.check.limit(at, "the timeout", node.timeout_ms)
        if node.priority is not None and not -PRIORITY_MAX <= node.priority <= PRIORITY_MAX:
            self.add(node.key, "out_of_range", f"priority must be -1000 to 1000, not {node.priority}")

    def approve(self, node: ApproveNode) -> None:
        key, at = node.key, self.at(node.key)
        if node.form is not None and (flaw := flaw_of(node.form)) is not None:
            self.add(key, "bad_form", f"the form is no JSON: {flaw}")
        for person in (*node.by, *node.escalate_to):
            self.check.name(at, "person's or group's", person)
        self.check.limit(at, "escalate_after", node.escalate_after_ms)
        if (node.escalate_after_ms is None) != (not node.escalate_to):
            self.add(
                key, "half_escalation", "an escalation needs both a time (escalate_after) and people (escalate_to)"
            )

    def subgraph(self, node: SubgraphNode) -> None:
        self.mapping(node.key, "input", node.input)
        path = (*self.path, node.key)
        if len(path) > SUBGRAPHS_MAX:
            self.add(node.key, "too_deep", f"more than {SUBGRAPHS_MAX} subgraphs are nested in each other")
        else:
            _Level(self.check, path, node.nodes, node.edges).look()

    # Expressions

    def computed(
        self, key: str, what: str, computed: Computed, *, wanted: frozenset[Kind], variables: Variables = EVERYWHERE
    ) -> None:
        if (computed.expression is None) == (computed.handler is None):
            self.add(key, "not_one_of", f"{what} is either an expression or a handler")
        if computed.expression is not None:
            self.expression(key, what, computed.expression, wanted=wanted, variables=variables)
        if computed.handler is not None:
            self.check.name(self.at(key), "handler", computed.handler)

    def mapping(self, key: str, what: str, mapping: Mapping[str, str], variables: Variables = EVERYWHERE) -> None:
        for parameter, source in mapping.items():
            if not parameter.isidentifier():
                self.add(key, "bad_parameter", f"{what}: {parameter!r:.80} cannot be a parameter's name")
            self.expression(key, f"{what} {parameter!r:.80}", source, wanted=ANYTHING, variables=variables)

    def expression(
        self, key: str, what: str, source: str, *, wanted: frozenset[Kind], variables: Variables = EVERYWHERE
    ) -> None:
        """An expression that is evaluated when everything before the node ``key`` has been decided."""
        reading = self.read(key, what, source, wanted=wanted, variables=variables)
        for read in sorted(name for name in reading.nodes if name in self.number):
            self.questions.append((self.number[key], self.number[read], key, what))

    def read(self, key: str, what: str, source: str, *, wanted: frozenset[Kind], variables: Variables) -> Reading:
        reading = read_expression(source, variables, wanted)
        if reading.flaw is not None:
            code, reason = reading.flaw
            self.add(key, code, f"{what} {reason}")
        for read in sorted(name for name in reading.nodes if name not in self.number):
            self.add(key, "unknown_node", f"{what} reads the result of {read!r:.80}, which is no node here")
        return reading

    # Edges and structure

    def look_at_edges(self) -> None:
        for (source, target), count in Counter((edge.source, edge.target) for edge in self.edges).items():
            if count > 1:
                self.add(source, "duplicate_edge", f"{count} edges lead to {target!r}")
        for edge in self.edges:
            for end, name in (("source", edge.source), ("target", edge.target)):
                if name not in self.number:
                    other = edge.target if end == "source" else edge.source
                    self.add(other, "unknown_node", f"{_relation(end)} {name!r:.80}, which is no node here")
            if len(edge.label) > LABEL_CHARACTERS_MAX or not edge.label.isprintable():
                self.add(
                    edge.source, "bad_label", f"the label of its edge to {edge.target!r} is too long or not printable"
                )
            if edge.condition not in EDGE_WORDS:
                self.look_at_condition(edge)

    def look_at_condition(self, edge: Edge) -> None:
        what = f"the condition of its edge to {edge.target!r}"
        reading = self.read(edge.source, what, edge.condition, wanted=A_BOOL, variables=IN_EDGE)
        # The source has ended by then, so its own result may be read as well.
        for read in sorted(name for name in reading.nodes if name in self.number and name != edge.source):
            if edge.source in self.number:
                self.questions.append((self.number[edge.source], self.number[read], edge.source, what))

    def closed_edges(self) -> list[EdgePair]:
        """Edges that cannot be taken."""
        closed: list[EdgePair] = []
        for edge in self.edges:
            source = self.by_key.get(edge.source)
            if source is None or edge.condition != ON_TIMEOUT:
                continue
            if not isinstance(source, SignalNode) or source.timeout_ms is None:
                closed.append((edge.source, edge.target))
                why = "it waits for no signal with a timeout"
                self.add(edge.source, "never_taken", f"its edge to {edge.target!r} is never taken: {why}")
        return closed

    def look_at_structure(self) -> None:
        for cycle in cycles(self.shape):
            first = self.shape.keys[cycle[0]]
            self.add(first, "cycle", f"it follows itself: {path_text(self.shape, cycle)}")
        for node in unreachable(self.shape, closed=self.closed_edges()):
            self.add(self.shape.keys[node], "unreachable", "no way leads to it from a node that can begin")
        refused = set(not_before(self.shape, [(node, other) for node, other, _, _ in self.questions]))
        for node, other, key, what in self.questions:
            if (node, other) in refused:
                read = self.shape.keys[other]
                self.add(key, "not_a_dependency", f"{what} reads the result of {read!r}, which it does not come after")


_NOTHING_TO_UNDO: Final = "a node of this kind has no compensation: it calls no handler whose effect could be undone"
_NO_COMPENSATION: Final[dict[type, str]] = {
    ParallelNode: "a parallel node has no compensation of its own: give each branch one",
    RouteNode: "a route has no compensation of its own: give each branch one",
    SubgraphNode: "a subgraph has no compensation of its own: give its nodes theirs",
    ChildNode: "a child has no compensation here: its own workflow compensates itself",
    GraftNode: "a graft has no compensation of its own: the nodes that it answers have theirs",
}


def _relation(end: str) -> str:
    return "it comes after" if end == "source" else "its edge leads to"
