"""Random graphs for property tests, as the reference reads them and as a definition."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from holdfast.model.definition import Edge, Node, RetryPolicy, SignalNode, StepNode
from tests.graph_reference import RefEdge, RefNode

CONDITIONS = ("on_success", "on_success", "on_success", "always", "on_failure", "true", "false")
EXPRESSIONS = {"true": "1 < 2", "false": "1 > 2"}
NEVER = RetryPolicy(max_attempts=1)


@st.composite
def graphs(draw: st.DrawFn, *, largest: int = 8, cancelled: bool = True) -> tuple[list[RefNode], list[RefEdge]]:
    """Nodes and edges without cycles, in which every node can be reached."""
    size = draw(st.integers(1, largest))
    ends = st.sampled_from(("done", "done", "done", "failed", "timed_out", *(("cancelled",) if cancelled else ())))
    nodes: list[RefNode] = []
    edges: list[RefEdge] = []
    for number in range(size):
        key = f"n{number}"
        sources = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set[int]()
        for source in sorted(sources):
            timed_out = nodes[source].ends == "timed_out"
            condition = draw(st.sampled_from((*CONDITIONS, *(("on_timeout",) if timed_out else ()))))
            edges.append(RefEdge(f"n{source}", key, condition))
        nodes.append(
            RefNode(
                key,
                ends=draw(ends),
                when=draw(st.sampled_from((None, None, True, False))),
                ignore_failed=draw(st.booleans()),
                ignore_cancelled=draw(st.booleans()),
            )
        )
    return nodes, edges


def definition_nodes(nodes: list[RefNode]) -> tuple[Node, ...]:
    """The nodes as a definition has them: steps ``work`` and ``fail``, and waits for a signal that never comes."""
    made: list[Node] = []
    for node in nodes:
        said: dict[str, Any] = {
            "key": node.key,
            "when": None if node.when is None else EXPRESSIONS[str(node.when).lower()],
            "ignore_failed": node.ignore_failed,
            "ignore_cancelled": node.ignore_cancelled,
        }
        if node.ends == "timed_out":
            made.append(SignalNode(signal="never", timeout_ms=1000, **said))
        elif node.ends == "done":
            made.append(StepNode(handler="work", compensate="undo", input={"key": f"'{node.key}'"}, **said))
        else:
            made.append(StepNode(handler="fail", retry=NEVER, input={"key": f"'{node.key}'"}, **said))
    return tuple(made)


def definition_edges(edges: list[RefEdge]) -> tuple[Edge, ...]:
    """The edges as a definition has them."""
    return tuple(
        Edge(source=edge.source, target=edge.target, condition=EXPRESSIONS.get(edge.condition, edge.condition))
        for edge in edges
    )
