"""Whether a run that is under way can go on with another version of its graph: a plan, made before anything is changed.

What is recorded stays recorded. So each recorded key must have its place in the new version: a node of the same kind
under the same key, or under the one that it is mapped to, that calls the same step; and the new version must have
decided the same on the way there (``decisions``). Anything else is a problem, and a run with problems is not moved.

A renamed node gives its key up for good. Ids of children and idempotency keys are made from journal keys: a node that
took over an old key would be answered by somebody else's child, or its effect be taken for one that was had before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from holdfast.core.definitions.decisions import Record, find_differences, kind_of
from holdfast.model.definition import (
    Branch,
    CallNode,
    ChildNode,
    Computed,
    Definition,
    GraftNode,
    Node,
    ParallelNode,
    RouteNode,
    SubgraphNode,
)
from holdfast.model.run import Attempt, Entry, Run, Transition, Wait
from holdfast.model.status import (
    TERMINAL_STATUSES,
    EntryKind,
    EntryStatus,
    RunStatus,
    WaitKind,
    WaitOutcome,
)


class MoveProblem(Struct, frozen=True, order=True):
    """Why a run cannot be moved."""

    node: str
    """The node's path in the run's own version (``outer/inner``); empty for the run itself."""
    why: str

    def __str__(self) -> str:
        return f"{self.node}: {self.why}" if self.node else self.why


class MovePlan(Struct, frozen=True, kw_only=True):
    """What moving a run would do."""

    kept: list[str] = []
    """Recorded nodes that keep their keys, by path."""
    renamed: dict[str, str] = {}
    """Recorded keys with the new ones that they get."""
    nodes: dict[str, str] = {}
    """The nodes that these belong to, old path to new."""
    problems: list[MoveProblem] = []
    """Why the run cannot be moved."""
    notes: list[str] = []
    """What to know."""

    @property
    def allowed(self) -> bool:
        """Whether the run can be moved."""
        return not self.problems

    def lines(self) -> list[str]:
        """For people."""
        return [
            *(f"keeps {path}" for path in self.kept),
            *(f"renames {old} to {new}" for old, new in self.nodes.items()),
            *(f"note: {note}" for note in self.notes),
            *(f"refused: {problem}" for problem in self.problems),
        ]


class Recorded(Protocol):
    """A run with its record: ``RunDetail``, or what a store reads under the run's lock."""

    @property
    def run(self) -> Run: ...  # noqa: D102 - as RunDetail
    @property
    def journal(self) -> list[Entry]: ...  # noqa: D102
    @property
    def waits(self) -> list[Wait]: ...  # noqa: D102
    @property
    def attempts(self) -> list[Attempt]: ...  # noqa: D102
    @property
    def transitions(self) -> list[Transition]: ...  # noqa: D102


def plan_move(old: Definition, new: Definition, recorded: Recorded, mapping: Mapping[str, str]) -> MovePlan:
    """Look for the place of each recorded key in the new version.

    ``mapping`` gives old paths (``outer/inner``) new ones.
    """
    return _Planner(old, new, recorded, mapping).plan()


class _Trace(Struct, kw_only=True):
    """All that is recorded under one key."""

    key: str
    path: str = ""
    rest: str = ""
    """What follows the node's path: a branch, an iteration, an item, a part."""
    entry: Entry | None = None
    wait: Wait | None = None
    tried: bool = False


class _Call(Struct, frozen=True, kw_only=True):
    """What is called under a key."""

    handler: str
    in_line: bool = False
    """It is a run of its own."""
    undone: bool = False
    """The definition says what undoes it."""


_PART: Final = re.compile(r"(?=[~#\[])")
_TAIL: Final = re.compile(r"~(?:retry\d+|done)\Z")
_PARTS: Final = {
    "selector": "selector",
    "until": "until",
    "condition": "condition",
    "duration": "duration_ms",
    "signal": "signal",
}
"""The field of a node that a part of it answers."""


class _Planner:
    """See ``plan_move``."""

    def __init__(self, old: Definition, new: Definition, recorded: Recorded, mapping: Mapping[str, str]) -> None:
        self._old, self._new = old, new
        self._before, self._after = dict(_paths(old.nodes)), dict(_paths(new.nodes))
        self._recorded = recorded
        self._mapping = mapping
        self._problems: list[MoveProblem] = []

    def plan(self) -> MovePlan:
        self._problems += _problems_of_run(self._recorded)
        traces = [trace for trace in _traces(self._recorded) if self._find(trace)]
        paths = {trace.path for trace in traces}
        self._check_mapping()
        self._check_given_up(paths)
        for trace in traces:
            why = self._check(trace)
            if why is not None:
                self._add(trace.path, why)
        record = Record(begun=_with_parents(paths), failed=_failed(traces), iterations=_iterations(traces))
        for path, why in find_differences(self._old, self._new, record, self._mapped):
            self._add(path, why)
        moved = {path: self._mapped(path) for path in sorted(paths)}
        return MovePlan(
            kept=[path for path, target in moved.items() if path == target],
            renamed={trace.key: moved[trace.path] + trace.rest for trace in traces if moved[trace.path] != trace.path},
            nodes={path: target for path, target in moved.items() if path != target},
            problems=list(dict.fromkeys(self._problems)),
            notes=sorted(set(self._notes(paths))),
        )

    def _add(self, path: str, why: str) -> None:
        self._problems.append(MoveProblem(path, why))

    def _mapped(self, path: str) -> str:
        return mapped_path(path, self._mapping)

    def _find(self, trace: _Trace) -> bool:
        """Find the node that a key belongs to."""
        path, position = "", 0
        for segment in trace.key.split("/"):
            head = _PART.split(segment, maxsplit=1)[0]
            node = self._before.get(f"{path}/{head}" if path else head)
            if node is None:
                break
            path = f"{path}/{head}" if path else head
            position = len(path)
            if head != segment or not isinstance(node, SubgraphNode):
                break
        if not path:
            self._add(trace.key, "it is recorded, and belongs to no node of the run's own version")
        trace.path, trace.rest = path, trace.key[position:]
        return bool(path)

    def _check_mapping(self) -> None:
        for path, target in self._mapping.items():
            if path not in self._before:
                self._add(path, f"version {self._recorded.run.version} has no such node")
            elif target not in self._after:
                self._add(path, f"the new version has no node {target!r}")
            elif self._mapped(_parent(path)) != _parent(target):
                self._add(path, f"it cannot become {target!r}: a node stays in the graph or subgraph that it is in")

    def _check_given_up(self, paths: set[str]) -> None:
        targets: dict[str, str] = {}
        for path in sorted(paths):
            other = targets.setdefault(self._mapped(path), path)
            if other != path:
                self._add(path, f"it and {other!r} would both become {self._mapped(path)!r}")
        places = given_up(self._recorded.transitions)
        places |= {path: path for path in paths if self._mapped(path) != path}
        for path, place in sorted(places.items()):
            if self._mapped(place) != path and path in self._after:
                self._add(
                    place,
                    f"it was {path!r}, and the new version has another node of that key, which would share the ids and "
                    "idempotency keys that were made of it: give that one another key",
                )

    def _check(self, trace: _Trace) -> str | None:
        target = self._mapped(trace.path)
        before, after = self._before[trace.path], self._after.get(target)
        if after is None:
            return f"it is recorded, and the new version has no node {target!r}: map it to another one"
        if kind_of(before) != kind_of(after):
            return f"it is recorded of a {kind_of(before)}, and {target!r} is a {kind_of(after)}"
        if trace.tried and trace.entry is None and target != trace.path:
            return "it has failed and is to be tried again, with the idempotency key that is made of its key: not now"
        return _check_call(before, after, trace)

    def _notes(self, paths: set[str]) -> Iterator[str]:
        for path in sorted(paths):
            before, after = self._before[path], self._after.get(self._mapped(path))
            if isinstance(before, CallNode) and isinstance(after, CallNode) and before.input != after.input:
                yield f"{path!r} is given another input; what it has recorded stays"
            if isinstance(after, GraftNode):
                yield f"{path!r} keeps what it was filled in with"
            if after is not None and after.compensate is not None and before.compensate is None:
                yield f"{path!r} can be undone in the new version; what it has recorded was kept without its arguments"
        lost = [one for one in self._recorded.transitions if one.reason == "worker_lost"]
        if lost and lost[-1].epoch == self._recorded.run.epoch:
            yield "its last worker was lost: what that had begun is recorded nowhere, and may be done again or never"


def _check_call(before: Node, after: Node, trace: _Trace) -> str | None:
    if isinstance(before, GraftNode) and trace.rest.startswith("/"):
        # It belongs to what the graft was filled in with, which is recorded.
        return None
    was, will = _call_at(before, trace.rest), _call_at(after, trace.rest)
    if was is None:
        return None
    if will is None:
        return f"{trace.key!r} is recorded, and the new version calls nothing there"
    name = was.handler if trace.entry is None or trace.entry.kind is not EntryKind.STEP else trace.entry.name
    if name != will.handler:
        return f"it is recorded of {name!r}, and the new version calls {will.handler!r} there"
    if was.in_line != will.in_line:
        return "it is recorded, and only one of the versions gives it a line of its own"
    if was.in_line and was.undone != will.undone:
        return "it is recorded of a run of its own, and only one of the versions says what undoes it"
    return None


def _call_at(node: Node, rest: str) -> _Call | None:
    """What a node calls under its key and this rest of a journal key; None if nothing."""
    rest = _TAIL.sub("", rest)
    if rest.startswith("~"):
        field = _PARTS.get(_PART.split(rest[1:], maxsplit=1)[0], "")
        value = getattr(node, field, None)
        return None if not isinstance(value, Computed) or value.handler is None else _Call(handler=value.handler)
    if rest.startswith("/") and isinstance(node, ParallelNode | RouteNode):
        branch = node.branches.get(_PART.split(rest[1:], maxsplit=1)[0])
        return None if branch is None else _call_of(branch)
    if isinstance(node, CallNode):
        return _call_of(node)
    return _Call(handler=node.workflow, in_line=True) if isinstance(node, ChildNode) else None


def _call_of(node: CallNode | Branch) -> _Call:
    return _Call(handler=node.handler, in_line=node.queue is not None, undone=node.compensate is not None)


def _problems_of_run(recorded: Recorded) -> Iterator[MoveProblem]:
    run = recorded.run
    aside = next((one for one in reversed(recorded.transitions) if one.from_status is not RunStatus.STUCK), None)
    if run.status is RunStatus.STUCK and aside is not None and aside.from_status is RunStatus.COMPENSATING:
        yield MoveProblem("", "the run was undoing what it did when it was set aside")
    if run.status is RunStatus.COMPENSATING or (run.status in TERMINAL_STATUSES and run.status is not RunStatus.STUCK):
        yield MoveProblem("", f"the run is {run.status.value}")
    if run.worker is not None:
        yield MoveProblem("", f"worker {run.worker} holds it; pause it first")
    if run.cancel_requested:
        yield MoveProblem("", "it is to be cancelled")


# What is recorded


def _traces(recorded: Recorded) -> list[_Trace]:
    found: dict[str, _Trace] = {}
    for entry in recorded.journal:
        if entry.kind is not EntryKind.COMPENSATION:
            found.setdefault(entry.key, _Trace(key=entry.key)).entry = entry
    for wait in recorded.waits:
        found.setdefault(wait.key, _Trace(key=wait.key)).wait = wait
    for attempt in recorded.attempts:
        found.setdefault(attempt.key, _Trace(key=attempt.key)).tried = True
    return list(found.values())


def _failed(traces: Sequence[_Trace]) -> set[str]:
    return {trace.path for trace in traces if _is_failure(trace)}


def _is_failure(trace: _Trace) -> bool:
    entry, wait = trace.entry, trace.wait
    if entry is not None and entry.status is EntryStatus.FAILED:
        return True
    if wait is None or wait.outcome is None:
        return False
    if wait.kind is WaitKind.CHILD:
        return wait.child_status is not RunStatus.COMPLETED
    return wait.kind is WaitKind.SIGNAL and wait.outcome is WaitOutcome.ELAPSED


def _iterations(traces: Sequence[_Trace]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trace in traces:
        number = re.match(r"(?:~\w+)?#(\d+)", trace.rest)
        if number is not None:
            counts[trace.path] = max(counts.get(trace.path, 0), int(number[1]))
    return counts


# Paths


def given_up(transitions: Sequence[Transition]) -> dict[str, str]:
    """The paths that earlier moves took away from recorded nodes, with where these are by now."""
    places: dict[str, str] = {}
    for one in transitions:
        if one.moved is not None:
            renamed = one.moved.renamed
            places = {path: mapped_path(place, renamed) for path, place in places.items()} | renamed
    return {path: place for path, place in places.items() if path != place}


def mapped_path(path: str, mapping: Mapping[str, str]) -> str:
    """The new path: its own mapping, or that of a node it is in."""
    parts = path.split("/")
    for count in range(len(parts), 0, -1):
        found = mapping.get("/".join(parts[:count]))
        if found is not None:
            return "/".join([found, *parts[count:]])
    return path


def _paths(nodes: Sequence[Node], path: str = "") -> Iterator[tuple[str, Node]]:
    for node in nodes:
        yield path + node.key, node
        if isinstance(node, SubgraphNode):
            yield from _paths(node.nodes, f"{path}{node.key}/")


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _with_parents(paths: set[str]) -> set[str]:
    found = set(paths)
    for path in paths:
        parts = path.split("/")
        found.update("/".join(parts[:count]) for count in range(1, len(parts)))
    return found
