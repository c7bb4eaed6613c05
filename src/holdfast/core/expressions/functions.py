"""The functions of the language. None sees more than its arguments; each pays for the characters and items it touches.

``glob`` is the only pattern: ``*`` stands for any characters, nothing else is special, so that it is matched by a few
searches from left to right and never backtracks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from holdfast.core.expressions.errors import (
    ExpressionBudgetExceeded,
    ExpressionNameError,
    ExpressionTypeError,
    ExpressionValueError,
    Site,
)
from holdfast.core.expressions.kinds import NUMBERS, Kind, Value, describe_kind, join_kinds
from holdfast.core.expressions.lexer import write_literal
from holdfast.core.expressions.machine import (
    COPIED_PER_UNIT,
    LIST_ITEMS_MAX,
    RECASED_PER_UNIT,
    SHORT_HAYSTACK,
    STRING_CHARS_MAX,
    Machine,
)
from holdfast.core.expressions.operations import add_numbers, finite, number, precedes, whole

Apply = Callable[[Machine, Site, list[Value]], Value]
Kinds = frozenset[Kind]

_TEXT: Final = frozenset({Kind.STRING})
_LIST: Final = frozenset({Kind.LIST})
_MAP: Final = frozenset({Kind.MAP})
_INT: Final = frozenset({Kind.INT})
_SIZED: Final = frozenset({Kind.STRING, Kind.LIST, Kind.MAP})
_ORDERED: Final = NUMBERS | {Kind.STRING}
_SCALARS: Final = _ORDERED | {Kind.BOOL, Kind.NULL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function: the kinds that each parameter takes, the kind it makes, and how.

    The last ``optional`` parameters may be left out; ``more`` says what follows them, if anything may.
    """

    takes: tuple[Kinds, ...]
    makes: Callable[[Sequence[Kind]], Kind]
    apply: Apply
    optional: int = 0
    more: Kinds | None = None

    def parameters(self, count: int) -> tuple[Kinds, ...] | None:
        """What each of ``count`` arguments may be, or None if there may not be so many."""
        if count < len(self.takes) - self.optional:
            return None
        if count <= len(self.takes):
            return self.takes[:count]
        return None if self.more is None else self.takes + (self.more,) * (count - len(self.takes))

    def describe_arity(self) -> str:
        """How many arguments it takes, for messages."""
        most = len(self.takes)
        least = most - self.optional
        if self.more is not None:
            return f"{least} or more arguments"
        count = f"{least} or {most}" if self.optional else f"{most}"
        return f"{count} argument{'' if count == '1' else 's'}"


def find_function(name: str, arguments: int, site: Site) -> tuple[Function, tuple[Kinds, ...]]:
    """The function of that name, and what each of its arguments may be.

    Raises:
        ExpressionNameError: there is no such function.
        ExpressionTypeError: it does not take so many arguments.
    """
    function = FUNCTIONS.get(name)
    if function is None:
        raise site.error(ExpressionNameError, f"there is no function {name[:60]!r}; known: {', '.join(FUNCTIONS)}")
    parameters = function.parameters(arguments)
    if parameters is None:
        raise site.error(ExpressionTypeError, f"{name} takes {function.describe_arity()}, not {arguments}")
    return function, parameters


# Conversions


_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,30}\Z")
_REAL: Final = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?\Z")


def _int(_machine: Machine, site: Site, arguments: list[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, str):
        if not _WHOLE.match(value):
            raise site.error(ExpressionValueError, "this string is no whole number")
        return whole(int(value), site)
    return whole(int(finite(number(value, site), site)), site)


def _float(_machine: Machine, site: Site, arguments: list[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, str):
        if not _REAL.match(value):
            raise site.error(ExpressionValueError, "this string is no number")
        return finite(float(value), site)
    return finite(float(number(value, site)), site)


def _string(_machine: Machine, site: Site, arguments: list[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, int) and not isinstance(value, bool):
        whole(value, site)
    return value if isinstance(value, str) else write_literal(value)


def _bool(_machine: Machine, site: Site, arguments: list[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, str):
        if value not in {"true", "false"}:
            raise site.error(ExpressionValueError, 'only "true" and "false" become a bool')
        return value == "true"
    return value


# Numbers


_DIGITS_MAX: Final = 15
_EXACT: Final = Context(prec=700, rounding=ROUND_HALF_UP)


def _abs(_machine: Machine, site: Site, arguments: list[Value]) -> Value:
    value = number(arguments[0], site)
    return whole(abs(value), site) if isinstance(value, int) else abs(value)


def _round(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    """Halves go away from zero, as people round the decimal digits that they see: round(2.675, 2) is 2.68."""
    value = number(arguments[0], site)
    digits = arguments[1] if len(arguments) > 1 else 0
    assert isinstance(digits, int)
    if not 0 <= digits <= _DIGITS_MAX:
        raise site.error(ExpressionValueError, f"round keeps 0 to {_DIGITS_MAX} digits")
    if isinstance(value, int):
        return value
    machine.spend(20, site)
    shown = Decimal(repr(finite(value, site)))
    rounded = shown.quantize(Decimal(1).scaleb(-digits), context=_EXACT)
    return finite(float(rounded) + 0.0, site) if len(arguments) > 1 else whole(int(rounded), site)


def _sum(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    total: int | float = 0
    for item in _items(arguments[0], machine, site):
        total = add_numbers(total, number(item, site), site)
    return total


def _pick(*, largest: bool) -> Apply:
    def pick(machine: Machine, site: Site, arguments: list[Value]) -> Value:
        alone = arguments[0] if len(arguments) == 1 else arguments
        items = _items(alone, machine, site) if isinstance(alone, list) else arguments
        if not items:
            raise site.error(ExpressionValueError, "an empty list has no least or largest item")
        found = items[0]
        precedes(machine, site, found, found)  # a single item must be of an ordered kind too
        for item in items[1:]:
            better = precedes(machine, site, found, item) if largest else precedes(machine, site, item, found)
            found = item if better else found
        return found

    return pick


def _items(value: Value, machine: Machine, site: Site) -> list[Value]:
    assert isinstance(value, list)
    machine.spend(2 * len(value), site)
    return value


# Texts


def _texts(arguments: list[Value]) -> list[str]:
    return [argument for argument in arguments if isinstance(argument, str)]


def _recase(change: Callable[[str], str]) -> Apply:
    def recase(machine: Machine, site: Site, arguments: list[Value]) -> Value:
        (text,) = _texts(arguments)
        _check_text(text, site)
        machine.spend(len(text) // RECASED_PER_UNIT, site)
        changed = change(text)
        _check_text(changed, site)
        return changed

    return recase


def _check_text(text: str, site: Site) -> None:
    if len(text) > STRING_CHARS_MAX:
        raise site.error(ExpressionBudgetExceeded, f"this text has more than {STRING_CHARS_MAX} characters")


_BLANKS: Final = " \t\r\n"


def _trim(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    (text,) = _texts(arguments)
    _check_text(text, site)
    machine.spend(len(text) // COPIED_PER_UNIT, site)
    return text.strip(_BLANKS)


def _split(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    text, separator = _texts(arguments)
    if not separator:
        raise site.error(ExpressionValueError, "split needs a separator")
    _check_text(text, site)
    machine.spend_search(len(text), len(separator), site)
    parts: list[Value] = []
    parts += text.split(separator, LIST_ITEMS_MAX)
    machine.check_length(len(parts), site)
    return machine.keep_list(parts)


def _join(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    items, separator = _items(arguments[0], machine, site), arguments[1] if len(arguments) > 1 else ""
    assert isinstance(separator, str)
    pieces: list[str] = []
    for position, item in enumerate(items):
        if type(item) is not str:
            why = f"join takes a list of strings, but item {position} is {describe_kind(item)}"
            raise site.error(ExpressionTypeError, why)
        pieces += (separator, item) if position else (item,)
    return machine.new_text(pieces, site)


def _starts_with(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    text, part = _texts(arguments)
    machine.spend(len(part) // COPIED_PER_UNIT, site)
    return text.startswith(part)


def _ends_with(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    text, part = _texts(arguments)
    machine.spend(len(part) // COPIED_PER_UNIT, site)
    return text.endswith(part)


def _contains(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    text, part = _texts(arguments)
    machine.spend_search(len(text), len(part), site)
    return part in text


def _glob(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    text, pattern = _texts(arguments)
    machine.spend(len(pattern), site)
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    last = others.pop()
    if len(first) + len(last) > len(text) or not (text.startswith(first) and text.endswith(last)):
        return False
    longest = max(map(len, others), default=0)
    for size in {len(text), min(len(text), SHORT_HAYSTACK - 1)}:  # all searches together cross the text once
        machine.spend_search(size, longest, site)
    at, end = len(first), len(text) - len(last)
    for part in others:  # the leftmost place for each part leaves the most room for the rest
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


# Containers


def _size(_machine: Machine, _site: Site, arguments: list[Value]) -> Value:
    sized = arguments[0]
    assert isinstance(sized, str | list | dict)
    return len(sized)


def _sorted_keys(machine: Machine, site: Site, value: Value) -> list[str]:
    """In an order of our own: a database may keep a map's keys in another one than they came in."""
    assert isinstance(value, dict)
    machine.check_length(len(value), site)
    if not all(type(key) is str for key in value):
        raise site.error(ExpressionTypeError, "a key of this map is no string")
    rounds = max(1, len(value).bit_length())
    machine.spend(rounds * (len(value) + sum(map(len, value)) // COPIED_PER_UNIT), site)
    return sorted(value)


def _keys(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    keys: list[Value] = []
    keys += _sorted_keys(machine, site, arguments[0])
    return machine.keep_list(keys)


def _values(machine: Machine, site: Site, arguments: list[Value]) -> Value:
    entries = arguments[0]
    assert isinstance(entries, dict)
    return machine.keep_list([entries[key] for key in _sorted_keys(machine, site, entries)])


# The table


def _always(kind: Kind) -> Callable[[Sequence[Kind]], Kind]:
    return lambda _kinds: kind


def _same(kinds: Sequence[Kind]) -> Kind:
    return kinds[0]


def _picked(kinds: Sequence[Kind]) -> Kind:
    if len(kinds) == 1:
        return Kind.DYN if kinds[0] is Kind.LIST else kinds[0]
    found = kinds[0]
    for kind in kinds:
        found = join_kinds(found, kind)
    return found


def _rounded(kinds: Sequence[Kind]) -> Kind:
    return Kind.INT if len(kinds) == 1 else kinds[0]


FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(takes=(_SIZED,), makes=_always(Kind.INT), apply=_size),
    "int": Function(takes=(_ORDERED,), makes=_always(Kind.INT), apply=_int),
    "float": Function(takes=(_ORDERED,), makes=_always(Kind.FLOAT), apply=_float),
    "string": Function(takes=(_SCALARS,), makes=_always(Kind.STRING), apply=_string),
    "bool": Function(takes=(frozenset({Kind.BOOL, Kind.STRING}),), makes=_always(Kind.BOOL), apply=_bool),
    "min": Function(takes=(_ORDERED | _LIST,), makes=_picked, apply=_pick(largest=False), more=_ORDERED),
    "max": Function(takes=(_ORDERED | _LIST,), makes=_picked, apply=_pick(largest=True), more=_ORDERED),
    "abs": Function(takes=(NUMBERS,), makes=_same, apply=_abs),
    "round": Function(takes=(NUMBERS, _INT), makes=_rounded, apply=_round, optional=1),
    "sum": Function(takes=(_LIST,), makes=_always(Kind.DYN), apply=_sum),
    "lower": Function(takes=(_TEXT,), makes=_always(Kind.STRING), apply=_recase(str.lower)),
    "upper": Function(takes=(_TEXT,), makes=_always(Kind.STRING), apply=_recase(str.upper)),
    "trim": Function(takes=(_TEXT,), makes=_always(Kind.STRING), apply=_trim),
    "split": Function(takes=(_TEXT, _TEXT), makes=_always(Kind.LIST), apply=_split),
    "join": Function(takes=(_LIST, _TEXT), makes=_always(Kind.STRING), apply=_join, optional=1),
    "startsWith": Function(takes=(_TEXT, _TEXT), makes=_always(Kind.BOOL), apply=_starts_with),
    "endsWith": Function(takes=(_TEXT, _TEXT), makes=_always(Kind.BOOL), apply=_ends_with),
    "contains": Function(takes=(_TEXT, _TEXT), makes=_always(Kind.BOOL), apply=_contains),
    "glob": Function(takes=(_TEXT, _TEXT), makes=_always(Kind.BOOL), apply=_glob),
    "keys": Function(takes=(_MAP,), makes=_always(Kind.LIST), apply=_keys),
    "values": Function(takes=(_MAP,), makes=_always(Kind.LIST), apply=_values),
}
