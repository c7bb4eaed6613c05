"""What the expressions of a definition may name, and what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from holdfast.core.expressions import ExpressionError, Kind, parse

RESULTS: Final = "results"
"""The variable that holds the results of nodes by key."""

ERRORS: Final = "errors"
"""The variable that holds the type and message of the failures of nodes by key."""

Variables = Mapping[str, Kind]

EVERYWHERE: Final[Variables] = {"input": Kind.DYN, "run": Kind.MAP, RESULTS: Kind.MAP, ERRORS: Kind.MAP}
IN_EDGE: Final[Variables] = {**EVERYWHERE, "result": Kind.DYN}
IN_LOOP: Final[Variables] = {**EVERYWHERE, "result": Kind.DYN, "iteration": Kind.INT}
IN_MAP: Final[Variables] = {**EVERYWHERE, "item": Kind.DYN, "index": Kind.INT}
"""The variables of expressions: in most places, and where a definition says that they see more."""

ANYTHING: Final = frozenset(Kind)
A_BOOL: Final = frozenset({Kind.BOOL})
A_LIST: Final = frozenset({Kind.LIST})
A_NUMBER: Final = frozenset({Kind.INT, Kind.FLOAT})
A_STRING: Final = frozenset({Kind.STRING})
"""What an expression may answer, as far as its text tells."""


class Reading(Struct, frozen=True):
    """What an expression needs."""

    flaw: tuple[str, str] | None = None
    """A problem's code and reason."""
    nodes: frozenset[str] = frozenset()
    """The keys whose results it reads, as far as the text tells: ``results[input.step]`` names none."""


def read_expression(source: str, variables: Variables, wanted: frozenset[Kind]) -> Reading:
    """Parse an expression, check it, and look at what it reads."""
    try:
        expression = parse(source)
    except ExpressionError as error:
        return Reading(("bad_expression", f"is no expression: {error}"))
    paths = expression.paths
    below = [path for path in paths if path[0] in (RESULTS, ERRORS)]
    nodes = frozenset(path[1] for path in below if len(path) > 1 and isinstance(path[1], str))
    unknown = sorted(expression.variables - variables.keys())
    if unknown:
        names, known = ", ".join(map(repr, unknown)), ", ".join(sorted(variables))
        return Reading(("unknown_variable", f"names {names}; known here are {known}"), nodes)
    try:
        kind = expression.check(variables)
    except ExpressionError as error:
        return Reading(("bad_expression", f"cannot work: {error}"), nodes)
    if kind is not Kind.DYN and kind not in wanted:
        expected = " or ".join(sorted(wanted))
        return Reading(("bad_expression", f"answers {kind}, where {expected} is needed"), nodes)
    return Reading(None, nodes)
