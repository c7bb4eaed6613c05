"""What a graph's contract says, in the plainest code that says it: the other opinion in tests of the interpreter.

It is written from the docstring of ``holdfast.model.definition``, knows nothing of the interpreter, and is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["done", "failed", "cancelled", "timed_out"]


@dataclass(frozen=True)
class RefNode:
    """A node: how it ends if it runs, and what it says of itself. ``when`` None is for no condition."""

    key: str
    ends: Kind = "done"
    when: bool | None = None
    ignore_failed: bool = False
    ignore_cancelled: bool = False


@dataclass(frozen=True)
class RefEdge:
    """``condition`` is a word, or "true" or "false" for an expression with that value."""

    source: str
    target: str
    condition: str = "on_success"


@dataclass
class RefOutcome:
    """What must become of a run."""

    states: dict[str, str] = field(default_factory=dict[str, str])
    """Of each decided node: done, passed, failed, cancelled, timed_out, skipped."""
    failing: set[str] = field(default_factory=set[str])
    """The nodes whose failure ends the run; any of them may come first."""

    @property
    def completed(self) -> bool:
        return not self.failing


def counts_as(state: str, follower: RefNode) -> str:
    """A source's state as the node that follows it sees it."""
    ignored = follower.ignore_cancelled if state == "cancelled" else follower.ignore_failed
    if state == "passed" or (state in ("failed", "timed_out", "cancelled") and ignored):
        return "done"
    return state


def is_taken(edge: RefEdge, state: str, follower: RefNode) -> bool:
    """Whether an edge is taken when its source has ended so."""
    seen = counts_as(state, follower)
    if seen == "skipped":
        return False
    if edge.condition == "always":
        return True
    if seen == "done":
        return edge.condition in ("on_success", "true")
    return edge.condition == "on_failure" or (edge.condition == "on_timeout" and seen == "timed_out")


def run_goes_on(state: str, node: RefNode, edges: list[RefEdge], nodes: Mapping[str, RefNode]) -> bool:
    """Whether a failure is taken care of."""
    leaving = [edge for edge in edges if edge.source == node.key]
    cases = {"always", "on_failure", "on_timeout"} if state == "timed_out" else {"always", "on_failure"}
    if any(edge.condition in cases for edge in leaving):
        return True
    return bool(leaving) and all(counts_as(state, nodes[edge.target]) == "done" for edge in leaving)


def what_must_happen(nodes: list[RefNode], edges: list[RefEdge]) -> RefOutcome:
    """The states of all nodes if no failure stopped the others, and which failures end the run."""
    by_key = {node.key: node for node in nodes}
    outcome = RefOutcome()
    states = outcome.states
    while len(states) < len(nodes):
        for node in nodes:
            incoming = [edge for edge in edges if edge.target == node.key]
            if node.key in states or any(edge.source not in states for edge in incoming):
                continue
            if incoming and not any(is_taken(edge, states[edge.source], node) for edge in incoming):
                states[node.key] = "skipped"
            elif node.when is False:
                states[node.key] = "passed"
            else:
                states[node.key] = node.ends
                if node.ends != "done" and not run_goes_on(node.ends, node, edges, by_key):
                    outcome.failing.add(node.key)
    return outcome


def comes_before(key: str, edges: list[RefEdge]) -> set[str]:
    """All that a node follows, directly or not."""
    sources = {edge.source for edge in edges if edge.target == key}
    return sources.union(*(comes_before(source, edges) for source in sources))
