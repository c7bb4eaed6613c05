"""Three definitions into one: what two people made of the same version, part by part.

Nodes are matched by their keys, edges by their ends, everything else by its field's name. What only one side changed
is taken from that side, what both changed alike is taken once. What both changed differently is a conflict: the merged
definition then holds what ``mine`` says there, and the conflict tells all three values, so that a person can choose.

A part that one side removed and the other changed is a conflict too, and so is an edge of one side to a node that the
other side removed. Two changes that fit each other field by field may still make no sense together, such as two edges
that close a circle: ``Merge.problems`` lists what is wrong with the merged definition and with neither side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Struct

from holdfast.core.definitions.canonical import DefinitionError, to_plain
from holdfast.core.definitions.difference import Difference, diff
from holdfast.core.definitions.validation import Problem, validate
from holdfast.model.definition import Definition

Plain = dict[str, Any]
Inside = Mapping[str, "Inside"]
Ends = tuple[str, str]

_ABSENT: Final[Any] = object()
_DISPUTED: Final[Any] = object()

_CALL: Final[Inside] = {"retry": {}, "input": {}}
_NODE: Final[Inside] = {**_CALL, "branches": {"*": _CALL}}
"""The fields that are merged piece by piece; ``*`` is every name. All others are one value: half of a computed value
and half of another are no value."""


class MergeConflict(Struct, frozen=True, order=True):
    """A place that both sides changed, each in its own way. The values are JSON; None where there is none."""

    what: str
    """A node as ``outer/inner``, an edge as ``source -> target``, or empty for the graph itself."""
    field: str
    """With the fields it is in: ``retry.max_attempts``; empty for the whole node or edge."""
    base: Any
    theirs: Any
    mine: Any


class Merge(Struct, frozen=True, kw_only=True):
    """What came of a merge."""

    definition: Definition
    """Both sides' changes; at conflicts it is ``mine``."""
    incoming: Difference
    """What it has from ``theirs``: what leads from ``mine`` to it."""
    conflicts: list[MergeConflict] = []
    problems: list[Problem] = []
    """What is wrong with it, and with neither of the two sides."""

    @property
    def is_clean(self) -> bool:
        """Whether it can be used without a person's choice."""
        return not self.conflicts and not self.problems


def merge(base: Definition, theirs: Definition, mine: Definition) -> Merge:
    """Bring together what ``theirs`` and ``mine`` made of ``base``.

    Raises: DefinitionError if one of them holds what JSON cannot, or the same key or edge twice.
    """
    merger = _Merger()
    merged = merger.graph(to_plain(base), to_plain(theirs), to_plain(mine), "")
    definition = msgspec.convert(merged, Definition)
    known = {*validate(theirs), *validate(mine)}
    return Merge(
        definition=definition,
        incoming=diff(mine, definition),
        conflicts=sorted(merger.conflicts, key=lambda conflict: (conflict.what, conflict.field)),
        problems=[problem for problem in validate(definition) if problem not in known],
    )


class Graph(NamedTuple):
    """A side's nodes by their keys, and its edges by their ends."""

    nodes: dict[str, Plain]
    edges: dict[Ends, Plain]


class _Merger:
    """Walks three documents side by side and notes the conflicts."""

    def __init__(self) -> None:
        self.conflicts: list[MergeConflict] = []

    def graph(self, base: Plain, theirs: Plain, mine: Plain, path: str) -> Plain:
        """A graph: the whole one, or a subgraph without its node's other fields."""
        sides = [Graph(_nodes_of(one, path), _edges_of(one, path)) for one in (base, theirs, mine)]
        nodes = self._parts([side.nodes for side in sides], path, is_node=True)
        edges = self._parts([side.edges for side in sides], path, is_node=False)
        self._mend(nodes, edges, sides, path)
        rest = [_without(one, "nodes", "edges") for one in (base, theirs, mine)]
        merged = {} if path else self._fields(rest, {"options": {}}, "", "")
        return {**merged, "nodes": list(nodes.values()), "edges": list(edges.values())}

    def _parts(self, sides: list[dict[Any, Plain]], path: str, *, is_node: bool) -> dict[Any, Plain]:
        _, theirs, mine = sides
        merged: dict[Any, Plain] = {}
        for key in {**mine, **theirs}:
            was, their, my = (side.get(key, _ABSENT) for side in sides)
            what = path + key if is_node else _edge_name(key, path)
            chosen = self._part(was, their, my, what, is_node=is_node)
            if chosen is not _ABSENT:
                merged[key] = chosen
        return merged

    def _part(self, base: Any, theirs: Any, mine: Any, what: str, *, is_node: bool) -> Any:
        chosen = _undisputed(base, theirs, mine)
        if chosen is not _DISPUTED:
            return chosen
        if theirs is _ABSENT or mine is _ABSENT or theirs.get("kind") != mine.get("kind"):
            return self._conflict(what, "", base, theirs, mine)
        was: Plain = {} if base is _ABSENT else base
        if not is_node or mine["kind"] != "subgraph":
            return self._fields([was, theirs, mine], _NODE, what, "")
        inner = self.graph(was, theirs, mine, f"{what}/")
        outer = [_without(one, "nodes", "edges") for one in (was, theirs, mine)]
        return {**self._fields(outer, _NODE, what, ""), **inner}

    def _fields(self, sides: list[Plain], inside: Inside, what: str, path: str) -> Plain:
        _, theirs, mine = sides
        merged: Plain = {}
        for name in {**mine, **theirs}:
            was, their, my = (side.get(name, _ABSENT) for side in sides)
            below = inside.get(name, inside.get("*"))
            chosen = self._field(was, their, my, below, what, path + name)
            if chosen is not _ABSENT:
                merged[name] = chosen
        return merged

    def _field(self, base: Any, theirs: Any, mine: Any, inside: Inside | None, what: str, field: str) -> Any:
        if field.rpartition(".")[2] == "input" and inside is not None:
            # A mapping that holds nothing is left out of documents.
            nothing: Plain = {}
            base, theirs, mine = (nothing if one is _ABSENT else one for one in (base, theirs, mine))
        chosen = _undisputed(base, theirs, mine)
        if chosen is not _DISPUTED:
            return chosen
        if inside is None or not isinstance(theirs, dict) or not isinstance(mine, dict):
            return self._conflict(what, field, base, theirs, mine)
        was = cast("Plain", base) if isinstance(base, dict) else {}
        return self._fields([was, cast("Plain", theirs), cast("Plain", mine)], inside, what, f"{field}.")

    def _conflict(self, what: str, field: str, base: Any, theirs: Any, mine: Any) -> Any:
        values = [None if one is _ABSENT else one for one in (base, theirs, mine)]
        self.conflicts.append(MergeConflict(what, field, *values))
        return mine

    def _mend(self, nodes: dict[str, Plain], edges: dict[Ends, Plain], sides: list[Graph], path: str) -> None:
        """Where one side removed a node that the other changed or leads an edge to, the edges are those of ``mine``."""
        base, theirs, mine = sides
        removed = [key for key in base.nodes if (key in theirs.nodes) != (key in mine.nodes)]
        torn = {key for key in removed if not _same(base.nodes[key], theirs.nodes.get(key, mine.nodes.get(key)))}
        for ends in {**mine.edges, **theirs.edges}:
            is_new = ends not in base.edges and not (ends in theirs.edges and ends in mine.edges)
            if is_new and not set(removed).isdisjoint(ends):
                values = (side.edges.get(ends, _ABSENT) for side in sides)
                self._conflict(_edge_name(ends, path), "", *values)
            elif torn.isdisjoint(ends):
                continue
            if ends in mine.edges:
                edges[ends] = mine.edges[ends]
            else:
                edges.pop(ends, None)
        for ends in [one for one in edges if one not in theirs.edges]:
            nodes.update((key, mine.nodes[key]) for key in ends if key not in nodes and key in mine.nodes)


def _undisputed(base: Any, theirs: Any, mine: Any) -> Any:
    """What stands where at most one side changed something, or both alike; _DISPUTED otherwise."""
    if _same(theirs, mine) or _same(base, theirs):
        return mine
    return theirs if _same(base, mine) else _DISPUTED


def _same(one: Any, other: Any) -> bool:
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return one is other or _encode(one) == _encode(other)


_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def _without(plain: Plain, *names: str) -> Plain:
    return {name: value for name, value in plain.items() if name not in names}


def _edge_name(ends: Ends, path: str) -> str:
    return f"{path}{ends[0]} -> {path}{ends[1]}"


def _nodes_of(graph: Plain, path: str) -> dict[str, Plain]:
    nodes: list[Plain] = graph.get("nodes", [])
    found = {str(node["key"]): node for node in nodes}
    if len(found) != len(nodes):
        raise DefinitionError(why=f"two nodes{_in(path)} have the same key, so it cannot be merged")
    return found


def _edges_of(graph: Plain, path: str) -> dict[Ends, Plain]:
    edges: list[Plain] = graph.get("edges", [])
    found = {(str(edge["source"]), str(edge["target"])): edge for edge in edges}
    if len(found) != len(edges):
        raise DefinitionError(why=f"two edges{_in(path)} have the same ends, so it cannot be merged")
    return found


def _in(path: str) -> str:
    return f" in {path[:-1]!r}" if path else ""
