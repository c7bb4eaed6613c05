"""Whether a run that is under way can go on with another version of its graph: a plan, made before anything is changed.

What is recorded stays recorded. So each recorded key must have its place in the new version: a node of the same kind
under the same key, or under the one that it is mapped to, that calls the same step. Anything else is a problem, and a
run with problems is not moved. What may surprise, but does not contradict the record, is a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from holdfast.core.definitions.nodes import find_node
from holdfast.model.definition import (
    CallNode,
    Definition,
    GraftNode,
    ParallelNode,
    RouteNode,
    SubgraphNode,
)
from holdfast.model.run import RunDetail
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, RunStatus


class MovePlan(Struct, frozen=True, kw_only=True):
    """What moving a run would do."""

    kept: list[str] = []
    """Recorded nodes that keep their keys, by path."""
    renamed: dict[str, str] = {}
    """Recorded keys with the new ones that they get."""
    problems: list[str] = []
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
            *(f"renames {old} to {new}" for old, new in self.renamed.items()),
            *(f"note: {note}" for note in self.notes),
            *(f"refused: {problem}" for problem in self.problems),
        ]


_PART: Final = re.compile(r"(?=[~#\[])")


def plan_move(old: Definition, new: Definition, detail: RunDetail, mapping: Mapping[str, str]) -> MovePlan:
    """Look for the place of each recorded key in the new version.

    ``mapping`` gives old paths (``outer/inner``) new ones.
    """
    run = detail.run
    problems: list[str] = []
    if run.status in TERMINAL_STATUSES or run.status is RunStatus.COMPENSATING:
        problems.append(f"the run is {run.status.value}")
    if run.worker is not None:
        problems.append(f"worker {run.worker} holds it; pause it first")
    problems += [f"version {run.version} has no node {path!r}" for path in mapping if find_node(old, path) is None]
    names = {entry.key: entry.name for entry in detail.journal if entry.kind is EntryKind.STEP}
    kept: set[str] = set()
    renamed: dict[str, str] = {}
    notes: set[str] = set()
    for key in _recorded(detail):
        try:
            path, placed = _place(old, new, key, mapping, names.get(key))
        except _Misplaced as error:
            problems.append(str(error))
            continue
        if placed == key:
            kept.add(path)
        else:
            renamed[key] = placed
        notes.update(_surprises(old, new, path, mapping))
    taken = set(renamed.values()) & set(_recorded(detail))
    problems += [f"{key!r} is recorded already, so nothing can be renamed to it" for key in sorted(taken)]
    return MovePlan(kept=sorted(kept), renamed=renamed, problems=list(dict.fromkeys(problems)), notes=sorted(notes))


class _Misplaced(Exception):
    """A recorded key has no place in the new version."""


def _recorded(detail: RunDetail) -> list[str]:
    keys = [entry.key for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION]
    keys += [wait.key for wait in detail.waits] + [attempt.key for attempt in detail.attempts]
    return list(dict.fromkeys(keys))


def _place(old: Definition, new: Definition, key: str, mapping: Mapping[str, str], name: str | None) -> tuple[str, str]:
    """The recorded node's path, and the key that its record gets. Raises _Misplaced."""
    path, rest = _split(old, key)
    target = _mapped(path, mapping)
    before, after = find_node(old, path), find_node(new, target)
    if before is None or after is None:
        raise _Misplaced(f"{key!r} is recorded, and the new version has no node {target!r}: map it to another one")
    kinds = [str(type(node).__struct_config__.tag) for node in (before, after)]
    if kinds[0] != kinds[1]:
        raise _Misplaced(f"{key!r} is recorded of a {kinds[0]}, and {target!r} is a {kinds[1]}")
    branch = re.split(r"[~#\[/]", rest[1:])[0] if rest.startswith("/") else None
    if isinstance(after, ParallelNode | RouteNode) and branch is not None and branch not in after.branches:
        raise _Misplaced(f"{key!r} is recorded, and {target!r} has no branch {branch!r}")
    calls = after.branches[branch].handler if isinstance(after, ParallelNode | RouteNode) and branch else None
    calls = after.handler if isinstance(after, CallNode) and "~" not in rest else calls
    if name is not None and calls is not None and name != calls and "~" not in rest:
        raise _Misplaced(f"{key!r} is recorded of step {name!r}, and {target!r} calls {calls!r}")
    return path, target + rest


def _split(old: Definition, key: str) -> tuple[str, str]:
    """A recorded key as the path of its node and what follows: a branch, an iteration, an item, a part."""
    path, nodes = "", old.nodes
    position = 0
    for segment in key.split("/"):
        head = _PART.split(segment, maxsplit=1)[0]
        node = next((node for node in nodes if node.key == head), None)
        if node is None:
            break
        path = f"{path}/{head}" if path else head
        position = len(path)
        if head != segment or not isinstance(node, SubgraphNode):
            break
        nodes = node.nodes
    if not path:
        raise _Misplaced(f"{key!r} is recorded, and belongs to no node of the run's own version")
    return path, key[position:]


def _mapped(path: str, mapping: Mapping[str, str]) -> str:
    """The new path: its own mapping, or that of a node it is in."""
    parts = path.split("/")
    for count in range(len(parts), 0, -1):
        found = mapping.get("/".join(parts[:count]))
        if found is not None:
            return "/".join([found, *parts[count:]])
    return path


def _surprises(old: Definition, new: Definition, path: str, mapping: Mapping[str, str]) -> Iterator[str]:
    target = _mapped(path, mapping)
    before, after = find_node(old, path), find_node(new, target)
    if isinstance(before, CallNode) and isinstance(after, CallNode) and before.input != after.input:
        yield f"{target!r} computes its input differently: if that gives another value, the run stops as diverged"
    if isinstance(after, GraftNode):
        yield f"{target!r} keeps what it was filled in with"
