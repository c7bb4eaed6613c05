"""Steps that are appended to a graph: nothing that a run may have begun is touched."""

from __future__ import annotations

from msgspec import structs

from holdfast.core.definitions.validation import GraphError, Problem
from holdfast.model.definition import Definition, Grafted


def append_nodes(definition: Definition, part: Grafted) -> Definition:
    """The definition with these nodes and edges as well.

    Raises: GraphError if there are none, a key is taken, or an edge leads into a node that was there before.
    """
    known = {node.key for node in definition.nodes}
    problems = [
        Problem(node.key, "duplicate_key", "the graph has a node of that key already: give this one another")
        for node in part.nodes
        if node.key in known
    ]
    problems += [
        Problem(edge.target, "not_appended", f"the edge from {edge.source!r} leads into a node that was there before")
        for edge in part.edges
        if edge.target in known
    ]
    if not part.nodes:
        problems.append(Problem("", "no_nodes", "nothing is to be appended: name a node"))
    if problems:
        raise GraphError.of(definition.workflow, problems)
    return structs.replace(definition, nodes=(*definition.nodes, *part.nodes), edges=(*definition.edges, *part.edges))
