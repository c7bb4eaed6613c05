"""What a drawing says of a node and an edge."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from holdfast.model.definition import (
    ALWAYS,
    ON_FAILURE,
    ON_SUCCESS,
    ON_TIMEOUT,
    ApproveNode,
    ChildNode,
    Computed,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)


class Caption(Struct, frozen=True):
    """The text in a node's box."""

    kind: str
    """The kind's word, as in the document."""
    title: str
    """The key."""
    lines: tuple[str, ...] = ()
    """What it does, line by line."""


def caption_of(node: Node) -> Caption:
    """The text for a node."""
    lines = list(_lines(node))
    if node.compensate is not None:
        lines.append(f"undone by {node.compensate}")
    if node.when is not None:
        lines.append(f"when {node.when}")
    return Caption(str(type(node).__struct_config__.tag), node.key, tuple(lines))


def caption_of_edge(edge: Edge) -> str:
    """The text beside an edge: its label, or its condition where that is not the usual one."""
    return edge.label or _EDGE_WORDS.get(edge.condition, edge.condition)


_EDGE_WORDS: Final = {ON_SUCCESS: "", ALWAYS: "always", ON_FAILURE: "on failure", ON_TIMEOUT: "on timeout"}


def _lines(node: Node) -> list[str]:
    match node:
        case StepNode() | GraftNode():
            return [node.handler]
        case ParallelNode():
            return [f"{name}: {branch.handler}" for name, branch in sorted(node.branches.items())]
        case RouteNode():
            other = [f"otherwise {node.default}"] if node.default is not None else []
            branches = [f"{name}: {branch.handler}" for name, branch in sorted(node.branches.items())]
            return [f"by {_computed(node.selector)}", *branches, *other]
        case LoopNode():
            ends = [("until", node.until), ("while", node.condition)]
            words = [f"{word} {_computed(computed)}" for word, computed in ends if computed is not None]
            return [node.handler, *words, f"at most {node.max_iterations} times"]
        case MapNode():
            return [node.handler, f"for each of {node.over}"]
        case SleepNode():
            return [_computed(node.duration_ms) if isinstance(node.duration_ms, Computed) else span(node.duration_ms)]
        case SignalNode():
            name = _computed(node.signal) if isinstance(node.signal, Computed) else node.signal
            return [name, *([] if node.timeout_ms is None else [f"within {span(node.timeout_ms)}"])]
        case ChildNode():
            return [node.workflow]
        case ApproveNode():
            return _approve_lines(node)
        case SubgraphNode():
            return []


def _approve_lines(node: ApproveNode) -> list[str]:
    lines = [f"by {', '.join(node.by)}"] if node.by else []
    if node.escalate_after_ms is not None:
        lines.append(f"after {span(node.escalate_after_ms)} also {', '.join(node.escalate_to)}")
    return lines


def _computed(computed: Computed) -> str:
    return computed.handler or computed.expression or ""


_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))


def span(ms: int) -> str:
    """A duration for people: ``1 d 12 h``."""
    parts: list[str] = []
    rest = ms
    for unit, size in _UNITS:
        count, rest = divmod(rest, size) if rest > 0 else (0, rest)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or f"{ms} ms"
