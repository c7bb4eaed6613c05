"""Finding a definition's nodes: by key, and in the order in which a run comes to them."""

from __future__ import annotations

from holdfast.core.definitions.structure import in_order, shape_of
from holdfast.model.definition import Definition, Node, SubgraphNode


def find_node(definition: Definition, key: str) -> Node | None:
    """The node with that key, below the keys of the subgraphs it is in (``outer/inner``); None if there is none."""
    nodes = definition.nodes
    *outer, last = key.split("/")
    for part in outer:
        within = next((node for node in nodes if node.key == part), None)
        if not isinstance(within, SubgraphNode):
            return None
        nodes = within.nodes
    return next((node for node in nodes if node.key == last), None)


def nodes_in_order(definition: Definition) -> list[Node]:
    """The outermost nodes, each after all that it follows, and by key where the edges say nothing."""
    by_key = {node.key: node for node in definition.nodes}
    shape = shape_of(by_key, ((edge.source, edge.target) for edge in definition.edges))
    return [by_key[shape.keys[number]] for number in in_order(shape)]
