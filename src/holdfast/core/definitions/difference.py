"""What two definitions do not have in common: nodes by their keys, edges by their ends, and fields by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from holdfast.core.definitions.canonical import to_plain
from holdfast.model.definition import Definition, Edge, Node, SubgraphNode


class FieldChange(Struct, frozen=True):
    """A field that differs. A field that holds its default counts as absent."""

    field: str
    """With the fields it is in: ``retry.max_attempts``."""
    before: Any
    """A JSON value; None if absent."""
    after: Any


class Change(Struct, frozen=True):
    """A node or an edge that both definitions have, with what differs."""

    what: str
    fields: list[FieldChange]


class Difference(Struct, frozen=True, kw_only=True):
    """What leads from one definition to another. Nodes in subgraphs are named ``outer/inner``."""

    nodes_added: list[str] = []
    nodes_removed: list[str] = []
    nodes_changed: list[Change] = []
    edges_added: list[str] = []
    """As ``source -> target``."""
    edges_removed: list[str] = []
    edges_changed: list[Change] = []
    options_changed: list[FieldChange] = []
    """Of the graph itself: its workflow's name and its options."""

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)

    def lines(self) -> list[str]:
        """For people: ``+`` what is new, ``-`` what is gone, ``~`` what is changed, with its fields below."""
        shown = [f"~ {line}" for line in _field_lines(self.options_changed)]
        for word, added, removed, changed in (
            ("node", self.nodes_added, self.nodes_removed, self.nodes_changed),
            ("edge", self.edges_added, self.edges_removed, self.edges_changed),
        ):
            shown += [f"+ {word} {name}" for name in added]
            shown += [f"- {word} {name}" for name in removed]
            for change in changed:
                shown += [f"~ {word} {change.what}", *(f"    {line}" for line in _field_lines(change.fields))]
        return shown


def diff(before: Definition, after: Definition) -> Difference:
    """What has to change for ``before`` to become ``after``; false if they have the same content.

    Raises: DefinitionError if one of them holds what JSON cannot.
    """
    old_nodes, new_nodes = dict(_nodes(before.nodes)), dict(_nodes(after.nodes))
    old_edges = dict(_edges(before.nodes, before.edges))
    new_edges = dict(_edges(after.nodes, after.edges))
    return Difference(
        nodes_added=sorted(new_nodes.keys() - old_nodes.keys()),
        nodes_removed=sorted(old_nodes.keys() - new_nodes.keys()),
        nodes_changed=_changes(old_nodes, new_nodes),
        edges_added=sorted(new_edges.keys() - old_edges.keys()),
        edges_removed=sorted(old_edges.keys() - new_edges.keys()),
        edges_changed=_changes(old_edges, new_edges),
        options_changed=_field_changes(_head(before), _head(after)),
    )


def _head(definition: Definition) -> dict[str, Any]:
    return {"workflow": definition.workflow, "options": to_plain(definition.options)}


def _nodes(nodes: tuple[Node, ...], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for node in nodes:
        plain = to_plain(node)
        if isinstance(node, SubgraphNode):
            plain = {name: value for name, value in plain.items() if name not in {"nodes", "edges"}}
            yield from _nodes(node.nodes, f"{path}{node.key}/")
        yield path + node.key, plain


def _edges(nodes: tuple[Node, ...], edges: tuple[Edge, ...], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for edge in edges:
        yield f"{path}{edge.source} -> {path}{edge.target}", to_plain(edge)
    for node in nodes:
        if isinstance(node, SubgraphNode):
            yield from _edges(node.nodes, node.edges, f"{path}{node.key}/")


def _changes(old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> list[Change]:
    found = ((name, _field_changes(old[name], new[name])) for name in sorted(old.keys() & new.keys()))
    return [Change(name, fields) for name, fields in found if fields]


_ABSENT: Final = object()


def _field_changes(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[FieldChange]:
    changes: list[FieldChange] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
            changes += _field_changes(*inner, f"{path}{name}.")
        elif before is _ABSENT or after is _ABSENT or _text(before) != _text(after):
            changes.append(
                FieldChange(path + name, None if before is _ABSENT else before, None if after is _ABSENT else after)
            )
    return changes


def _text(value: Any) -> str:
    """Tells 1, 1.0 and true apart, as the hash does."""
    return msgspec.json.encode(value, order="deterministic").decode()


def _field_lines(changes: list[FieldChange]) -> list[str]:
    return [f"{change.field}: {_text(change.before)} -> {_text(change.after)}" for change in changes]
