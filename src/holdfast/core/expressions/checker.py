"""Finds, before any value is there, what cannot work: as far as kinds are known, and no further.

A check that passes promises nothing about ``dyn`` parts; one that fails is about an expression that could never work
where it was found.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.core.expressions.errors import ExpressionNameError, ExpressionTypeError, Site
from holdfast.core.expressions.functions import find_function
from holdfast.core.expressions.kinds import CONTAINERS, NUMBERS, Kind, fits, join_kinds
from holdfast.core.expressions.nodes import (
    Arithmetic,
    Call,
    Compare,
    Conditional,
    Default,
    Field,
    Has,
    Index,
    ListOf,
    Literal,
    Logic,
    Macro,
    MapOf,
    Name,
    Node,
    Unary,
)

Kinds = Mapping[str, Kind]

_BOOLS = frozenset({Kind.BOOL})
_LISTS = frozenset({Kind.LIST})
_MAPS = frozenset({Kind.MAP})
_STRINGS = frozenset({Kind.STRING})
_INTS = frozenset({Kind.INT})
_KEYS = _INTS | _STRINGS
_MACRO_KINDS = {"all": Kind.BOOL, "any": Kind.BOOL, "count": Kind.INT, "map": Kind.LIST, "filter": Kind.LIST}


def check_tree(root: Node, types: Kinds, source: str) -> Kind:
    """The kind of the expression's value.

    Raises:
        ExpressionNameError: an unknown variable or function.
        ExpressionTypeError: operands or arguments that never fit, or too many or too few of them.
    """
    return _Checker(source).kind_of(root, types)


class _Checker:
    """Checks the nodes of one source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def kind_of(self, node: Node, types: Kinds) -> Kind:  # noqa: C901, PLR0912 - one case for each class of node
        match node:
            case Literal(value=value):
                return _kind_of_literal(value)
            case Name():
                return self._name(node, types)
            case Field(target=target):
                self._take(target, types, _MAPS, what="only a map has fields")
                return Kind.DYN
            case Index():
                return self._index(node, types)
            case ListOf(items=items):
                for item in items:
                    self.kind_of(item, types)
                return Kind.LIST
            case MapOf(entries=entries):
                for _, entry in entries:
                    self.kind_of(entry, types)
                return Kind.MAP
            case Unary(operator="!", operand=operand):
                self._take(operand, types, _BOOLS, what="! takes a bool")
                return Kind.BOOL
            case Unary(operand=operand):
                return self._take(operand, types, NUMBERS, what="- takes a number")
            case Logic(operator=operator, operands=operands):
                for operand in operands:
                    self._take(operand, types, _BOOLS, what=f"{operator} takes bools")
                return Kind.BOOL
            case Compare():
                self._compare(node, types)
                return Kind.BOOL
            case Arithmetic(first=first, rest=rest):
                kind = self.kind_of(first, types)
                for term in rest:
                    kind = self._operate(term.operator, (kind, self.kind_of(term.operand, types)), at=term.at)
                return kind
            case Conditional(test=test, then=then, otherwise=otherwise):
                self._take(test, types, _BOOLS, what="? takes a bool")
                return join_kinds(self.kind_of(then, types), self.kind_of(otherwise, types))
            case Call():
                return self._call(node, types)
            case Macro(name=name, items=items_, variable=variable, body=body):
                self._take(items_, types, _LISTS, what=f"{name} goes over a list")
                inner = {**types, variable: Kind.DYN}
                self._take(body, inner, frozenset(Kind) if name == "map" else _BOOLS, what=f"{name} asks for a bool")
                return _MACRO_KINDS[name]
            case Has(path=path):
                self.kind_of(path, types)
                return Kind.BOOL
            case Default(path=path, fallback=fallback):
                return join_kinds(self.kind_of(path, types), self.kind_of(fallback, types))

    def _take(self, node: Node, types: Kinds, accepted: frozenset[Kind], *, what: str) -> Kind:
        kind = self.kind_of(node, types)
        if not fits(kind, accepted):
            raise self._mistake(node.at, f"{what}, not {kind}")
        return kind

    def _name(self, node: Name, types: Kinds) -> Kind:
        kind = types.get(node.name)
        if kind is None:
            known = ", ".join(sorted(types)) or "none"
            why = f"there is no variable {node.name[:60]!r} here; known: {known}"
            raise Site(self._source, node.at).error(ExpressionNameError, why)
        return kind

    def _index(self, node: Index, types: Kinds) -> Kind:
        owner = self._take(node.target, types, CONTAINERS, what="only a list or a map has elements")
        match owner:
            case Kind.LIST:
                self._take(node.key, types, _INTS, what="a list takes an int as its index")
            case Kind.MAP:
                self._take(node.key, types, _STRINGS, what="a map takes a string as its index")
            case _:
                self._take(node.key, types, _KEYS, what="an index is an int or a string")
        return Kind.DYN

    def _compare(self, node: Compare, types: Kinds) -> None:
        left, right = self.kind_of(node.left, types), self.kind_of(node.right, types)
        known = left is not Kind.DYN and right is not Kind.DYN
        both_numbers = left in NUMBERS and right in NUMBERS
        match node.operator:
            case "in":
                if not fits(right, CONTAINERS):
                    raise self._mistake(node.at, f"in takes a list or a map on its right, not {right}")
                if right is Kind.MAP and not fits(left, _STRINGS):
                    raise self._mistake(node.at, f"a key of a map is a string, not {left}")
            case "==" | "!=":
                if known and left is not right and not both_numbers and Kind.NULL not in {left, right}:
                    raise self._mistake(node.at, f"a value of kind {left} is never equal to one of kind {right}")
            case _:
                ordered = NUMBERS | _STRINGS
                if not (fits(left, ordered) and fits(right, ordered)) or (
                    known and left is not right and not both_numbers
                ):
                    raise self._mistake(
                        node.at, f"only two numbers or two strings have an order, not {left} and {right}"
                    )

    def _operate(self, operator: str, kinds: tuple[Kind, Kind], *, at: int) -> Kind:
        left, right = kinds
        accepted = NUMBERS | _STRINGS | _LISTS if operator == "+" else NUMBERS
        known = set(kinds) - {Kind.DYN}
        if not known <= accepted or (len(known) > 1 and not known <= NUMBERS):
            takes = "two numbers, two strings or two lists" if operator == "+" else "two numbers"
            raise self._mistake(at, f"{operator} takes {takes}, not {left} and {right}")
        if operator == "/" or Kind.FLOAT in known:
            return Kind.FLOAT
        if known == {Kind.INT}:
            return Kind.INT if Kind.DYN not in kinds else Kind.DYN
        return known.pop() if known else Kind.DYN

    def _call(self, node: Call, types: Kinds) -> Kind:
        function, parameters = find_function(node.name, len(node.arguments), Site(self._source, node.at))
        kinds = [
            self._take(argument, types, accepted, what=f"{node.name} takes {' or '.join(sorted(accepted))} here")
            for argument, accepted in zip(node.arguments, parameters, strict=True)
        ]
        return function.makes(kinds)

    def _mistake(self, at: int, why: str) -> ExpressionTypeError:
        return Site(self._source, at).error(ExpressionTypeError, why)


def _kind_of_literal(value: object) -> Kind:
    match value:
        case None:
            return Kind.NULL
        case bool():
            return Kind.BOOL
        case int():
            return Kind.INT
        case float():
            return Kind.FLOAT
        case _:
            return Kind.STRING
