"""How a node's handler is called if its node does not say so with ``input``.

By the names of its parameters, each of which is one of:

- ``input``: what the run was started with (in a subgraph: what the subgraph was given);
- the key of a node that this one follows, directly or not: that node's result, null if it has none;
- in a loop ``result`` and ``iteration``, in a map ``item`` and ``index``.

One parameter may have any other name: it gets what the node is about, if that is beyond doubt: the item of a map, the
result of a loop, and the run's input for a node that follows nothing. A parameter with a default may have any name too,
and keeps its default. Anything else is refused, before a run begins where the function is known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from holdfast.errors import UsageError

INPUT: Final = "input"


class Parameter(Struct, frozen=True):
    """A parameter of a handler."""

    name: str
    required: bool = True
    positional: bool = False
    """It cannot be passed by name."""


class Given(Struct, frozen=True):
    """What a parameter gets: a variable (``input``, ``item`` ...), or the result of a node."""

    parameter: Parameter
    variable: str | None = None
    node: str | None = None


def resolve_parameters(
    parameters: Sequence[Parameter],
    *,
    variables: Iterable[str],
    subject: str | None,
    follows: Callable[[str], bool],
) -> list[Given]:
    """What each parameter gets; those that keep their default are left out.

    Args:
        parameters: the handler's.
        variables: what can be had by name here, besides results.
        subject: the variable that the node is about, if that is beyond doubt.
        follows: whether a name is the key of a node that this one comes after.

    Raises:
        UsageError: a parameter gets nothing.
    """
    known = set(variables)
    given: list[Given] = []
    unknown: list[Parameter] = []
    for parameter in parameters:
        if parameter.name in known:
            given.append(Given(parameter, variable=parameter.name))
        elif follows(parameter.name):
            given.append(Given(parameter, node=parameter.name))
        elif parameter.required:
            unknown.append(parameter)
    if len(unknown) == 1 and subject is not None and all(one.variable != subject for one in given):
        first = Given(unknown.pop(), variable=subject)
        given = sorted([first, *given], key=lambda one: parameters.index(one.parameter))
    if unknown:
        names = ", ".join(repr(one.name) for one in unknown)
        raise UsageError(
            f"its handler's parameter {names} gets no value: call it input or like a node that this one comes after, "
            f"give it a default, or say what it gets: input={{{unknown[0].name!r}: ...}}"
        )
    return given
