"""How far a run has come with each node of its definition, read from its record: for drawings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from holdfast.model.definition import ALWAYS, ON_SUCCESS, Definition, Edge, Node, SubgraphNode
from holdfast.model.run import RunDetail, Wait
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome


class NodeState(StrEnum):
    """Where a run is with a node."""

    COMPLETED = "completed"
    FAILED = "failed"
    RUNNING = "running"
    """It is under way: something of it is recorded and more is to come, or a worker is at it now."""
    WAITING = "waiting"
    """It waits for a time, a signal, a child or the next attempt."""
    SKIPPED = "skipped"
    """The run has ended without it, or has gone past it."""


_PART: Final = re.compile(r"[~#\[]")
"""What follows in a journal key is a part of the node: an iteration, an item, a handler that answers a value."""


def node_states(definition: Definition, detail: RunDetail) -> dict[str, NodeState]:
    """The states of the nodes that the run has come to, or will not come to any more; by path (``outer/inner``)."""
    facts = _Facts(definition, detail)
    return dict(_level(facts, definition.nodes, definition.edges, ""))


class _Facts:
    """What is recorded of each node."""

    def __init__(self, definition: Definition, detail: RunDetail) -> None:
        run = detail.run
        self.ended = run.status in TERMINAL_STATUSES
        self.ended_well = run.status is RunStatus.COMPLETED
        self.held = run.worker is not None and not self.ended
        self.recorded: set[str] = set()
        self.whole: set[str] = set()
        """Nodes with a completed record of their very own key, which is written when all of them is done."""
        self.failed: set[str] = set()
        self.waiting: set[str] = set()
        for entry in detail.journal:
            if entry.kind is EntryKind.COMPENSATION:
                continue
            for path in _paths(definition, entry.key):
                self.recorded.add(path)
                if entry.key == path and entry.status is EntryStatus.COMPLETED:
                    self.whole.add(path)
            if entry.status is EntryStatus.FAILED:
                self.failed.update(_paths(definition, entry.key))
        for wait in detail.waits:
            self._note_wait(definition, wait)

    def _note_wait(self, definition: Definition, wait: Wait) -> None:
        paths = list(_paths(definition, wait.key))
        self.recorded.update(paths)
        own = [path for path in paths if path == wait.key]
        if wait.outcome is None:
            self.waiting.update(paths)
        elif wait.kind is WaitKind.CHILD and wait.child_status is not RunStatus.COMPLETED:
            self.failed.update(paths)
        elif wait.kind is WaitKind.SIGNAL and wait.outcome is WaitOutcome.ELAPSED:
            self.failed.update(own)
        elif wait.kind is not WaitKind.RETRY and wait.outcome is not WaitOutcome.CANCELLED:
            self.whole.update(own)


def _paths(definition: Definition, key: str) -> Iterator[str]:
    """The nodes that a journal key is about, outermost first."""
    nodes: Sequence[Node] = definition.nodes
    path = ""
    for part in key.split("/"):
        name = _PART.split(part)[0]
        node = next((node for node in nodes if node.key == name), None)
        if node is None:
            return
        path = f"{path}/{name}" if path else name
        yield path
        if not isinstance(node, SubgraphNode):
            return
        nodes = node.nodes


def _level(facts: _Facts, nodes: Sequence[Node], edges: Sequence[Edge], path: str) -> Iterator[tuple[str, NodeState]]:
    leaving: dict[str, list[Edge]] = {}
    entering: dict[str, list[Edge]] = {}
    for edge in edges:
        leaving.setdefault(edge.source, []).append(edge)
        entering.setdefault(edge.target, []).append(edge)
    for node in nodes:
        own = f"{path}{node.key}"
        gone_past = any(f"{path}{edge.target}" in facts.recorded for edge in leaving.get(node.key, ()))
        leading = entering.get(node.key, ())
        due = all(edge.condition in {ON_SUCCESS, ALWAYS} and f"{path}{edge.source}" in facts.whole for edge in leading)
        begins = due and (not path or path.removesuffix("/") in facts.recorded)
        state = _state(facts, own, gone_past=gone_past, begins=begins)
        if state is not None:
            yield own, state
        if isinstance(node, SubgraphNode):
            yield from _level(facts, node.nodes, node.edges, f"{own}/")


def _state(facts: _Facts, path: str, *, gone_past: bool, begins: bool) -> NodeState | None:
    if path in facts.waiting and not facts.ended:
        return NodeState.WAITING
    if path in facts.whole:
        return NodeState.COMPLETED
    if path in facts.recorded:
        if path in facts.failed and not facts.ended_well:
            return NodeState.FAILED
        if facts.ended or gone_past:
            return NodeState.FAILED if path in facts.failed else NodeState.COMPLETED
        return NodeState.RUNNING
    if facts.ended or gone_past:
        return NodeState.SKIPPED
    return NodeState.RUNNING if facts.held and begins else None
