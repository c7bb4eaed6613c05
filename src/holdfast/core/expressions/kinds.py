"""The kinds of values that expressions know: those of JSON, with integers apart from other numbers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

Value: TypeAlias = bool | int | float | str | list["Value"] | dict[str, "Value"] | None
"""What expressions read and make."""


class Kind(StrEnum):
    """What is known of a value before it is there. ``DYN``: nothing, it is looked at when it comes."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STRING = "string"
    LIST = "list"
    MAP = "map"
    DYN = "dyn"


NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT})
CONTAINERS: Final = frozenset({Kind.LIST, Kind.MAP})

KIND_OF_TYPE: Final[dict[type, Kind]] = {
    type(None): Kind.NULL,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STRING,
    list: Kind.LIST,
    dict: Kind.MAP,
}
"""By exact type: a subclass may answer with code of its own, so it is no value here."""

NUMBER_TYPES: Final = (int, float)
"""Without bool, which is a subclass of int to Python alone."""


def describe_kind(value: object) -> str:
    """The value's kind, for messages."""
    kind = KIND_OF_TYPE.get(type(value))
    return kind.value if kind else f"the Python type {type(value).__name__}, which is no JSON value"


def join_kinds(first: Kind, second: Kind) -> Kind:
    """The kind of a value that is of one or the other."""
    return first if first is second else Kind.DYN


def fits(kind: Kind, accepted: frozenset[Kind]) -> bool:
    """Whether a value of that kind may be accepted."""
    return kind is Kind.DYN or kind in accepted
