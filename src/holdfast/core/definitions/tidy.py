"""Edges that lead nowhere are dropped: when several people edit one graph, a node may go while an edge to it comes."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from holdfast.model.definition import Definition, Edge, Node, SubgraphNode


class Tidied(Struct, frozen=True):
    """A definition whose edges all lead from a node to a node, and what was dropped for that."""

    definition: Definition
    dropped: list[str]
    """Edges as ``source -> target``, below the keys of the subgraphs they are in."""


def tidy(definition: Definition) -> Tidied:
    """Drop every edge, also in subgraphs, whose source or target is no node beside it."""
    dropped: list[str] = []
    nodes, edges = _tidy(definition.nodes, definition.edges, "", dropped)
    if not dropped:
        return Tidied(definition, dropped)
    return Tidied(msgspec.structs.replace(definition, nodes=nodes, edges=edges), dropped)


def _tidy(
    nodes: tuple[Node, ...], edges: tuple[Edge, ...], path: str, dropped: list[str]
) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    keys = {node.key for node in nodes}
    kept = tuple(edge for edge in edges if edge.source in keys and edge.target in keys)
    if len(kept) < len(edges):
        lost = [edge for edge in edges if edge.source not in keys or edge.target not in keys]
        dropped += [f"{path}{edge.source} -> {path}{edge.target}" for edge in lost]
    return tuple(_tidy_node(node, path, dropped) for node in nodes), kept


def _tidy_node(node: Node, path: str, dropped: list[str]) -> Node:
    if not isinstance(node, SubgraphNode):
        return node
    nodes, edges = _tidy(node.nodes, node.edges, f"{path}{node.key}/", dropped)
    return msgspec.structs.replace(node, nodes=nodes, edges=edges)
