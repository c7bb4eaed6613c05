"""What the expressions of a definition may name, and what they read."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from holdfast.core.expressions.errors import ExpressionError
from holdfast.core.expressions.nodes import read_paths
from holdfast.core.expressions.parser import parse_tree

RESULTS: Final = "results"
"""The variable that holds the results of nodes by key."""

EVERYWHERE: Final = frozenset({"input", "run", RESULTS})
IN_EDGE: Final = EVERYWHERE | {"result"}
IN_LOOP: Final = EVERYWHERE | {"result", "iteration"}
IN_MAP: Final = EVERYWHERE | {"item", "index"}
"""The variables of expressions: in most places, and where a definition says that they see more."""


class Reading(Struct, frozen=True):
    """What an expression needs."""

    flaw: str | None = None
    """Why the text is no expression; nothing else is known then."""
    variables: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    """The keys whose results it reads, as far as the text tells: ``results[input.step]`` names none."""


def read_expression(source: str) -> Reading:
    """Parse an expression and look at what it reads."""
    try:
        paths = list(read_paths(parse_tree(source)))
    except ExpressionError as error:
        return Reading(flaw=str(error))
    variables = frozenset(str(path[0]) for path in paths)
    nodes = frozenset(str(path[1]) for path in paths if path[0] == RESULTS and len(path) > 1)
    return Reading(variables=variables, nodes=nodes)
