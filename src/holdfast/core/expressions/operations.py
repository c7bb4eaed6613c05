"""What the operators do. Integers have 64 bits, other numbers are finite, and nothing wraps around in silence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from holdfast.core.expressions.errors import ExpressionTypeError, ExpressionValueError, Site
from holdfast.core.expressions.kinds import NUMBER_TYPES, Value, describe_kind
from holdfast.core.expressions.lexer import INT_MAX, INT_MIN
from holdfast.core.expressions.machine import COPIED_PER_UNIT, Machine

Operation = Callable[[Machine, Site, Value, Value], Value]


def whole(value: int, site: Site) -> int:
    """The integer itself.

    Raises:
        ExpressionValueError: it does not fit 64 bits.
    """
    if INT_MIN <= value <= INT_MAX:
        return value
    raise site.error(ExpressionValueError, "an integer must fit 64 bits")


def finite(value: float, site: Site) -> float:
    """The number itself.

    Raises:
        ExpressionValueError: it is infinite or not a number.
    """
    if math.isfinite(value):
        return value
    raise site.error(ExpressionValueError, "the result is no finite number")


def number(value: Value, site: Site) -> int | float:
    """The operand as a number.

    Raises:
        ExpressionTypeError: it is none.
        ExpressionValueError: it is an integer beyond 64 bits.
    """
    if type(value) is int:
        return whole(value, site)
    if type(value) is float:
        return value
    raise site.error(ExpressionTypeError, f"this takes a number, not {describe_kind(value)}")


def add(machine: Machine, site: Site, left: Value, right: Value) -> Value:
    """The sum of two numbers, two texts or two lists."""
    if type(left) in NUMBER_TYPES and type(right) in NUMBER_TYPES:
        return add_numbers(number(left, site), number(right, site), site)
    if type(left) is str and type(right) is str:
        return machine.new_text((left, right), site)
    if type(left) is list and type(right) is list:
        machine.check_length(len(left) + len(right), site)
        return machine.keep_list(left + right)
    why = f"+ takes two numbers, two strings or two lists, not {describe_kind(left)} and {describe_kind(right)}"
    raise site.error(ExpressionTypeError, why)


def add_numbers(left: float, right: float, site: Site) -> int | float:
    """The sum of two numbers that ``number`` has let pass."""
    total = left + right
    return whole(total, site) if isinstance(total, int) else finite(total, site)


def subtract(_machine: Machine, site: Site, left: Value, right: Value) -> Value:
    """The difference of two numbers."""
    rest = number(left, site) - number(right, site)
    return whole(rest, site) if isinstance(rest, int) else finite(rest, site)


def multiply(_machine: Machine, site: Site, left: Value, right: Value) -> Value:
    """The product of two numbers."""
    product = number(left, site) * number(right, site)
    return whole(product, site) if isinstance(product, int) else finite(product, site)


def divide(_machine: Machine, site: Site, left: Value, right: Value) -> Value:
    """The quotient, always a float: whether a JSON number came as 4 or 4.0 must not decide."""
    dividend, divisor = number(left, site), number(right, site)
    if divisor == 0:
        raise site.error(ExpressionValueError, "division by zero")
    return finite(_quotient(dividend, divisor), site)


def _quotient(dividend: float, divisor: float) -> float:
    try:
        return dividend / divisor
    except OverflowError:
        return math.inf


def remainder(_machine: Machine, site: Site, left: Value, right: Value) -> Value:
    """What division leaves; it has the sign of the dividend."""
    dividend, divisor = number(left, site), number(right, site)
    if divisor == 0:
        raise site.error(ExpressionValueError, "division by zero")
    if isinstance(dividend, int) and isinstance(divisor, int):
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest
    if not math.isfinite(dividend):
        raise site.error(ExpressionValueError, "the result is no finite number")
    return finite(math.fmod(dividend, divisor), site)


def negate(machine: Machine, site: Site, operand: Value) -> Value:
    """The number with the other sign."""
    value = number(operand, site)
    return -value if isinstance(value, float) else subtract(machine, site, 0, value)


def precedes(machine: Machine, site: Site, left: Value, right: Value) -> bool:
    """Whether left < right: two numbers, or two texts by their characters' code points."""
    if type(left) is str and type(right) is str:
        machine.spend(min(len(left), len(right)) // COPIED_PER_UNIT, site)
        return left < right
    if type(left) in NUMBER_TYPES and type(right) in NUMBER_TYPES:
        return number(left, site) < number(right, site)
    why = f"only two numbers or two strings have an order, not {describe_kind(left)} and {describe_kind(right)}"
    raise site.error(ExpressionTypeError, why)


def _at_most(machine: Machine, site: Site, left: Value, right: Value) -> bool:
    # not "not right < left": that holds for what is not a number
    return precedes(machine, site, left, right) or left == right


def contains(machine: Machine, site: Site, left: Value, right: Value) -> bool:
    """Whether left is an item of a list or a key of a map."""
    if type(right) is dict:
        if type(left) is str:
            machine.spend(len(left) // COPIED_PER_UNIT, site)
            return left in right
        raise site.error(ExpressionTypeError, f"a key of a map is a string, not {describe_kind(left)}")
    if type(right) is list:
        return any(machine.equals(left, item, site) for item in right)
    raise site.error(ExpressionTypeError, f"in takes a list or a map on its right, not {describe_kind(right)}")


ARITHMETIC: Final[dict[str, Operation]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}

COMPARISONS: Final[dict[str, Operation]] = {
    "==": lambda machine, site, left, right: machine.equals(left, right, site),
    "!=": lambda machine, site, left, right: not machine.equals(left, right, site),
    "<": precedes,
    "<=": _at_most,
    ">": lambda machine, site, left, right: precedes(machine, site, right, left),
    ">=": lambda machine, site, left, right: _at_most(machine, site, right, left),
    "in": contains,
}
