"""One evaluation's state: its variables, its fuel, and the caps on what it may make.

Fuel is the measure of work. One unit is at most about a third of a microsecond on a slow core: a node of the
expression, an element of a list or map that is looked at, or so many characters that are scanned, compared or made
(``*_PER_UNIT`` below, each from measuring the slowest text that Python's own string methods meet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from holdfast.core.expressions.errors import (
    ExpressionBudgetExceeded,
    ExpressionTypeError,
    ExpressionValueError,
    Site,
)
from holdfast.core.expressions.kinds import KIND_OF_TYPE, NUMBER_TYPES, Value, describe_kind

FUEL_DEFAULT: Final = 100_000
"""Enough for a simple condition over each of 10,000 items; spent in well under 50 ms."""

STRING_CHARS_MAX: Final = 64 * 1024
"""The longest text that an expression may make. Longer ones may be read from its variables."""

LIST_ITEMS_MAX: Final = 10_000
"""The longest list that an expression may make."""

RESULT_BYTES_MAX: Final = 4 * 1024 * 1024
"""The largest result, measured as JSON with each shared part counted as often as it stands there. A result that is
itself a part of the variables is not measured: it was paid for by whoever stored it.
"""

COPIED_PER_UNIT: Final = 64
"""Characters copied or compared: 0.1 to 1 ns each."""

SCANNED_PER_UNIT: Final = 32
"""Characters searched for another text: 3 to 5 ns each."""

RECASED_PER_UNIT: Final = 16
"""Characters made lower or upper case: up to 16 ns each."""

ENCODED_PER_UNIT: Final = 128
"""Bytes of a variable's part that is measured because the result contains it: 2 ns each."""

SHORT_HAYSTACK: Final = 30_000
"""Below this many characters, Python searches for a short text the simple way."""

_SHORT_NEEDLE: Final = 100
_PRODUCT_PER_UNIT: Final = 1024
_TINY_HAYSTACK: Final = 2_500


class Machine:
    """The state. Slots hold what the macros' variables stand for, by how deep the macro is nested."""

    __slots__ = ("fuel", "granted", "made", "slots", "variables")

    def __init__(self, variables: dict[str, Value], *, fuel: int, slots: int) -> None:
        self.variables = variables
        self.fuel = fuel
        self.granted = fuel
        self.slots: list[Value] = [None] * slots
        self.made: set[int] = set()

    def spend(self, units: int, site: Site) -> None:
        """Pay for work that is about to be done.

        Raises:
            ExpressionBudgetExceeded: there is not that much fuel left.
        """
        self.fuel -= units
        if self.fuel < 0:
            raise site.error(ExpressionBudgetExceeded, f"this takes more than {self.granted} units of fuel")

    def new_text(self, parts: Iterable[str], site: Site) -> str:
        """The parts as one text.

        Raises:
            ExpressionBudgetExceeded: it would be too long.
        """
        pieces = list(parts)
        size = sum(map(len, pieces))
        if size > STRING_CHARS_MAX:
            raise site.error(ExpressionBudgetExceeded, f"this text has more than {STRING_CHARS_MAX} characters")
        self.spend(len(pieces) + size // COPIED_PER_UNIT, site)
        return "".join(pieces)

    def check_length(self, items: int, site: Site) -> None:
        """Pay for a new list of so many items.

        Raises:
            ExpressionBudgetExceeded: it would be too long.
        """
        if items > LIST_ITEMS_MAX:
            raise site.error(ExpressionBudgetExceeded, f"this list has more than {LIST_ITEMS_MAX} items")
        self.spend(items, site)

    def keep_list(self, items: list[Value]) -> list[Value]:
        """Remember that the expression made this list."""
        self.made.add(id(items))
        return items

    def keep_map(self, entries: dict[str, Value]) -> dict[str, Value]:
        """Remember that the expression made this map."""
        self.made.add(id(entries))
        return entries

    def spend_search(self, size: int, sought: int, site: Site) -> None:
        """Pay for finding a text of ``sought`` characters in one of ``size``: in proportion to both together, and where
        Python's search is the simple one, to their product.
        """
        units = 1 + (size + sought) // SCANNED_PER_UNIT
        if size < _TINY_HAYSTACK or (size < SHORT_HAYSTACK and sought < _SHORT_NEEDLE):
            units += size * min(size, sought) // _PRODUCT_PER_UNIT
        self.spend(units, site)

    def equals(self, left: Value, right: Value, site: Site) -> bool:
        """Whether two values are the same JSON: 1 is 1.0, but not true. Needs no recursion, however deep they are."""
        kind = type(left)
        if kind is not type(right) or (kind is not list and kind is not dict):
            return self._equals_scalar(left, right, site)
        pairs = [(left, right)]
        while pairs:
            one, other = pairs.pop()
            if type(one) is list and type(other) is list:
                self.spend(1 + 2 * len(one), site)
                if len(one) != len(other):
                    return False
                pairs.extend(zip(one, other, strict=True))
            elif type(one) is dict and type(other) is dict:
                self.spend(1 + 3 * len(one), site)
                if one.keys() != other.keys():
                    return False
                pairs.extend((one[key], other[key]) for key in one)
            elif not self._equals_scalar(one, other, site):
                return False
        return True

    def _equals_scalar(self, one: Value, other: Value, site: Site) -> bool:
        kind, other_kind = type(one), type(other)
        if kind is str and other_kind is str:
            assert isinstance(one, str)
            self.spend(1 + len(one) // COPIED_PER_UNIT, site)
            return one == other
        self.spend(1, site)
        if kind in NUMBER_TYPES and other_kind in NUMBER_TYPES:
            return one == other
        return kind is other_kind and kind in _SINGLES and one is other

    def weigh(self, value: Value, site: Site) -> None:
        """Refuse a result that is no JSON, or that would be too large when written.

        Raises:
            ExpressionBudgetExceeded: it is too large.
            ExpressionTypeError: it is no JSON value.
            ExpressionValueError: a part of the variables, contained in it, cannot be written as JSON.
        """
        _check_json(value, site)
        if id(value) not in self.made:
            return
        size = 0
        measured: dict[int, int] = {}
        parts: list[Value] = [value]
        while parts:
            part = parts.pop()
            size += _CELL_BYTES
            if isinstance(part, str):
                size += len(part)
            elif isinstance(part, list | dict) and id(part) in self.made:
                self.spend(1 + len(part), site)
                parts.extend(part if isinstance(part, list) else part.values())
                size += 0 if isinstance(part, list) else sum(map(len, part))
            elif isinstance(part, list | dict):
                if id(part) not in measured:
                    measured[id(part)] = self._measure(part, site)
                size += measured[id(part)]
            else:
                _check_json(part, site)
            if size > RESULT_BYTES_MAX:
                raise site.error(ExpressionBudgetExceeded, f"the result is larger than {RESULT_BYTES_MAX} bytes")

    def _measure(self, part: Value, site: Site) -> int:
        """Bytes of a part of the variables as JSON; paid for after the fact, for only writing it tells."""
        try:
            size = len(msgspec.json.encode(part))
        except (RecursionError, TypeError, ValueError, OverflowError):  # UnicodeEncodeError is a ValueError
            raise site.error(ExpressionValueError, "a part of the result cannot be written as JSON") from None
        self.spend(1 + size // ENCODED_PER_UNIT, site)
        return size


_CELL_BYTES: Final = 4
_SINGLES: Final = (bool, type(None))

Step: TypeAlias = Callable[[Machine], Value]
"""A compiled node: evaluates it."""


def _check_json(value: Value, site: Site) -> None:
    if type(value) not in KIND_OF_TYPE:
        raise site.error(ExpressionTypeError, f"the result is {describe_kind(value)}")
