"""One level of a definition (the graph, or one subgraph), made ready to be interpreted any number of times.

Everything that does not depend on a run is done here, once: who follows whom, which failures are taken care of, and
every expression parsed. A plan is never changed, so all runs of a definition share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from holdfast.core.definitions.reading import ERRORS, RESULTS
from holdfast.core.expressions import Expression, parse
from holdfast.model.definition import (
    ALWAYS,
    EDGE_WORDS,
    ON_FAILURE,
    ON_SUCCESS,
    ON_TIMEOUT,
    Branch,
    CallNode,
    ChildNode,
    Computed,
    Edge,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    SubgraphNode,
)

_NO_OPTIONS: Final = Options()


class Formula:
    """An expression, and which nodes' results it reads."""

    __slots__ = ("all_nodes", "below", "expression", "fields", "nodes", "result_of", "variables")

    def __init__(self, source: str) -> None:
        self.expression: Expression = parse(source)
        self.fields = fields = self.expression.fields
        """What it reads, if it does nothing else."""
        self.result_of = fields[1] if fields is not None and fields[0] == RESULTS and len(fields) > 1 else None
        """The node whose result, or a field of it, it reads, if it does nothing else."""
        self.below = () if fields is None else fields[1 if self.result_of is None else 2 :]
        self.variables = self.expression.variables
        below = [path for path in self.expression.paths if path[0] in (RESULTS, ERRORS)]
        self.nodes = tuple(sorted({str(path[1]) for path in below if len(path) > 1}))
        self.all_nodes = any(len(path) == 1 for path in below)
        """It looks nodes up by names that it computes."""


class EdgePlan:
    """An edge; nodes are positions in the plan."""

    __slots__ = ("after_success", "condition", "formula", "source", "target")

    def __init__(self, source: int, target: int, condition: str, formula: Formula | None) -> None:
        self.after_success = formula is None and condition in (ON_SUCCESS, ALWAYS)
        """Taken whenever its source has completed."""
        self.source = source
        self.target = target
        self.condition = condition
        self.formula = formula


class NodePlan:
    """A node with what surrounds it."""

    __slots__ = (
        "formulas",
        "ignores_cancelled",
        "ignores_failed",
        "incoming",
        "index",
        "key",
        "mappings",
        "next",
        "node",
        "outgoing",
        "settles_cancelled",
        "settles_failed",
        "settles_timeout",
        "sources",
    )

    def __init__(self, index: int, node: Node, options: Options) -> None:
        self.index = index
        self.node = node
        self.key = node.key
        self.incoming: list[EdgePlan] = []
        self.outgoing: list[EdgePlan] = []
        self.sources: set[int] = set()
        self.next: NodePlan | None = None
        """The one that begins, and is all that begins, whenever this one has completed."""
        self.formulas: dict[str, Formula] = {}
        """Single expressions by what they are for: ``when``, ``over``, ``until`` ..."""
        self.mappings: dict[str, dict[str, Formula]] = {}
        """Input mappings: of the node under ``""``, of its branches under their names."""
        self.ignores_failed = options.ignore_failed if node.ignore_failed is None else node.ignore_failed
        self.ignores_cancelled = options.ignore_cancelled if node.ignore_cancelled is None else node.ignore_cancelled
        self.settles_failed = self.settles_cancelled = self.settles_timeout = False
        """Whether the run goes on if the node ends so."""


class Plan:
    """See the module's docstring."""

    def __init__(self, nodes: Sequence[Node], edges: Sequence[Edge], options: Options = _NO_OPTIONS) -> None:
        self._formulas: dict[str, Formula] = {}
        self.nodes = [NodePlan(index, node, options) for index, node in enumerate(nodes)]
        self.number = {plan.key: plan.index for plan in self.nodes}
        for edge in edges:
            self._connect(edge)
        for plan in self.nodes:
            self._prepare(plan)
        self.roots = [plan for plan in self.nodes if not plan.incoming]
        self.last = [plan.key for plan in self.nodes if not plan.outgoing]
        """The keys of the nodes that nothing follows."""
        self.subplans = {
            plan.key: Plan(plan.node.nodes, plan.node.edges)
            for plan in self.nodes
            if isinstance(plan.node, SubgraphNode)
        }

    def __getitem__(self, key: str) -> NodePlan:
        return self.nodes[self.number[key]]

    def ancestors(self, node: NodePlan) -> set[int]:
        """All that a node follows, directly or not."""
        found: set[int] = set()
        stack = list(node.sources)
        while stack:
            index = stack.pop()
            if index not in found:
                found.add(index)
                stack += self.nodes[index].sources
        return found

    def comes_after(self, node: NodePlan, key: str) -> bool:
        """Whether a node follows the one of that key, directly or not."""
        other = self.number.get(key)
        if other is None:
            return False
        return other in node.sources or other in self.ancestors(node)

    def _connect(self, edge: Edge) -> None:
        formula = None if edge.condition in EDGE_WORDS else self._formula(edge.condition)
        made = EdgePlan(self.number[edge.source], self.number[edge.target], edge.condition, formula)
        self.nodes[made.source].outgoing.append(made)
        self.nodes[made.target].incoming.append(made)
        self.nodes[made.target].sources.add(made.source)

    def _prepare(self, plan: NodePlan) -> None:
        node = plan.node
        plan.formulas = {what: self._formula(source) for what, source in _expressions_of(node)}
        plan.mappings = {
            branch: {name: self._formula(source) for name, source in mapping.items()}
            for branch, mapping in _mappings_of(node)
            if mapping
        }
        words = {edge.condition for edge in plan.outgoing}
        followers = [self.nodes[edge.target] for edge in plan.outgoing]
        taken_care_of = bool(words & {ALWAYS, ON_FAILURE})
        ignored = bool(followers) and all(one.ignores_failed for one in followers)
        if len(followers) == 1 and plan.outgoing[0].after_success and len(followers[0].incoming) == 1:
            plan.next = followers[0] if followers[0].node.when is None else None
        plan.settles_failed = taken_care_of or ignored
        plan.settles_timeout = plan.settles_failed or ON_TIMEOUT in words
        plan.settles_cancelled = taken_care_of or (bool(followers) and all(one.ignores_cancelled for one in followers))

    def _formula(self, source: str) -> Formula:
        known = self._formulas.get(source)
        if known is None:
            known = self._formulas[source] = Formula(source)
        return known


def _expressions_of(node: Node) -> Iterator[tuple[str, str]]:
    if node.when is not None:
        yield "when", node.when
    computed: dict[str, object] = {}
    match node:
        case LoopNode(until=until, condition=condition):
            computed = {"until": until, "condition": condition}
        case MapNode(over=over):
            yield "over", over
        case RouteNode(selector=selector):
            computed = {"selector": selector}
        case SleepNode(duration_ms=duration):
            computed = {"duration": duration}
        case SignalNode(signal=signal):
            computed = {"signal": signal}
        case _:
            pass
    for what, value in computed.items():
        if isinstance(value, Computed) and value.expression is not None:
            yield what, value.expression


def _mappings_of(node: Node) -> Iterator[tuple[str, Mapping[str, str]]]:
    if isinstance(node, CallNode | ChildNode | SubgraphNode | RouteNode):
        yield "", node.input
    if isinstance(node, ParallelNode | RouteNode):
        branches: dict[str, Branch] = node.branches
        yield from ((name, branch.input) for name, branch in branches.items())
