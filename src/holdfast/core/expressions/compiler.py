"""A tree becomes closures: one call per node instead of a walk that asks each node what it is.

Each node has a price. An evaluation pays for the whole expression once, and for a macro's body once for each item,
before it runs: also for a branch that is then not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from holdfast.core.expressions.errors import (
    ExpressionNameError,
    ExpressionTypeError,
    ExpressionValueError,
    Site,
)
from holdfast.core.expressions.functions import find_function
from holdfast.core.expressions.kinds import KIND_OF_TYPE, Value, describe_kind
from holdfast.core.expressions.machine import COPIED_PER_UNIT, LIST_ITEMS_MAX, Machine, Step
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
    children,
)
from holdfast.core.expressions.operations import ARITHMETIC, COMPARISONS, negate


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression."""

    step: Step
    cost: int
    slots: int
    site: Site

    def run(self, variables: Mapping[str, Value], *, fuel: int) -> tuple[Value, int]:
        """The value over these variables, and the fuel that it took.

        Raises:
            ExpressionError: there is no value.
        """
        machine = Machine(dict(variables), fuel=fuel, slots=self.slots)
        machine.spend(self.cost, self.site)
        value = self.step(machine)
        machine.weigh(value, self.site)
        return value, fuel - machine.fuel


def compile_tree(root: Node, source: str) -> Program:
    """The program of a tree that was parsed from ``source``.

    Raises:
        ExpressionNameError: there is no such function.
        ExpressionTypeError: a function does not take so many arguments.
    """
    compiler = _Compiler(source)
    step = compiler.compile(root, {})
    return Program(step, price(root), compiler.slots, Site(source, 0))


def price(node: Node) -> int:
    """The units of fuel that a node and its parts cost, without macros' bodies, which are paid for item by item."""
    parts = (node.items,) if isinstance(node, Macro) else children(node)
    own = 1 + 2 * len(node.rest) if isinstance(node, Arithmetic) else _PRICES.get(type(node), 1)
    return own + sum(price(part) for part in parts)


_PRICES: Final[dict[type, int]] = {Call: 4, Compare: 2, Unary: 2}
"""Units for the nodes that do more than hand on a value."""


Scope: TypeAlias = Mapping[str, int]
"""The slots of the macro variables that can be seen."""


class _Compiler:
    """Compiles the nodes of one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.slots = 0

    def compile(self, node: Node, scope: Scope) -> Step:  # noqa: C901, PLR0912 - one case for each class of node
        site = Site(self._source, node.at)
        match node:
            case Literal(value=value):
                return lambda _machine: value
            case Name(name=name):
                return _read_slot(scope[name]) if name in scope else _read_variable(name, site)
            case Field(target=target, name=name):
                return _read_field(self.compile(target, scope), name, site)
            case Index(target=target, key=key):
                return _read_index(self.compile(target, scope), self.compile(key, scope), site)
            case ListOf(items=items):
                return _make_list([self.compile(item, scope) for item in items], site)
            case MapOf(entries=entries):
                return _make_map({key: self.compile(value, scope) for key, value in entries}, site)
            case Unary(operator=operator, operand=operand):
                return _apply_unary(operator, self.compile(operand, scope), site)
            case Logic(operator=operator, operands=operands):
                return _decide(
                    [(self.compile(operand, scope), Site(self._source, operand.at)) for operand in operands],
                    operator=operator,
                )
            case Compare(operator=operator, left=left, right=right):
                return _compare(operator, self.compile(left, scope), self.compile(right, scope), site=site)
            case Arithmetic():
                return self._arithmetic(node, scope)
            case Conditional(test=test, then=then, otherwise=otherwise):
                at = Site(self._source, test.at)
                branches = self.compile(then, scope), self.compile(otherwise, scope)
                return _choose(self.compile(test, scope), branches, site=at)
            case Call():
                return self._call(node, scope)
            case Macro():
                return self._macro(node, scope)
            case Has(path=path):
                find = self._path(path, scope)
                return lambda machine: bool(find(machine))
            case Default(path=path, fallback=fallback):
                return _default(self._path(path, scope), self.compile(fallback, scope))

    def _arithmetic(self, node: Arithmetic, scope: Scope) -> Step:
        first = self.compile(node.first, scope)
        rest = [
            (ARITHMETIC[term.operator], self.compile(term.operand, scope), Site(self._source, term.at))
            for term in node.rest
        ]

        def calculate(machine: Machine) -> Value:
            value = first(machine)
            for operation, operand, site in rest:
                value = operation(machine, site, value, operand(machine))
            return value

        return calculate

    def _call(self, node: Call, scope: Scope) -> Step:
        site = Site(self._source, node.at)
        function, parameters = find_function(node.name, len(node.arguments), site)
        arguments = [self.compile(argument, scope) for argument in node.arguments]
        apply = function.apply

        def call(machine: Machine) -> Value:
            values = [argument(machine) for argument in arguments]
            for value, accepted in zip(values, parameters, strict=True):
                if KIND_OF_TYPE.get(type(value)) not in accepted:
                    wanted = " or ".join(sorted(accepted))
                    why = f"{node.name} takes {wanted} here, not {describe_kind(value)}"
                    raise site.error(ExpressionTypeError, why)
            return apply(machine, site, values)

        return call

    def _macro(self, node: Macro, scope: Scope) -> Step:
        items = self.compile(node.items, scope)
        slot = len(scope)
        while slot in scope.values():  # a variable that hides another one leaves a gap
            slot += 1
        self.slots = max(self.slots, slot + 1)
        body = self.compile(node.body, {**scope, node.variable: slot})
        site = Site(self._source, node.at)
        rounds = _Rounds(items=items, body=body, slot=slot, cost=2 + price(node.body), site=site, name=node.name)
        match node.name:
            case "all":
                return rounds.all
            case "any":
                return rounds.any
            case "map":
                return rounds.map
            case "filter":
                return rounds.filter
            case _:
                return rounds.count

    def _path(self, path: Field | Index, scope: Scope) -> Callable[[Machine], list[Value]]:
        """Finds what stands at a path: a list of it alone, or an empty one if any part of the path is missing."""
        keys: list[Step] = []
        sites: list[Site] = []
        target: Node = path
        while isinstance(target, Field | Index):
            sites.append(Site(self._source, target.at))
            keys.append(self.compile(target.key, scope) if isinstance(target, Index) else _constant(target.name))
            target = target.target
        root = self.compile(target, scope)
        steps = list(zip(reversed(keys), reversed(sites), strict=True))

        def find(machine: Machine) -> list[Value]:
            value = root(machine)
            for key, site in steps:
                below = key(machine)
                if type(below) is str:
                    machine.spend(len(below) // COPIED_PER_UNIT, site)
                    if type(value) is not dict or below not in value:
                        return []
                    value = value[below]
                elif type(below) is int:
                    if type(value) is not list or not 0 <= below < len(value):
                        return []
                    value = value[below]
                else:
                    raise _bad_key(below, site)
            return [value]

        return find


# Reading


def _constant(value: Value) -> Step:
    return lambda _machine: value


def _read_slot(slot: int) -> Step:
    return lambda machine: machine.slots[slot]


def _read_variable(name: str, site: Site) -> Step:
    def read(machine: Machine) -> Value:
        if name in machine.variables:
            return machine.variables[name]
        known = ", ".join(sorted(machine.variables)[:_KNOWN_SHOWN]) or "none"
        raise site.error(ExpressionNameError, f"there is no variable {name[:60]!r} here; known: {known}")

    return read


_KNOWN_SHOWN: Final = 20


def _read_field(target: Step, name: str, site: Site) -> Step:
    def read(machine: Machine) -> Value:
        owner = target(machine)
        if type(owner) is not dict:
            why = f"only a map has fields such as {name[:60]!r}, not {describe_kind(owner)}"
            raise site.error(ExpressionTypeError, why)
        if name in owner:
            return owner[name]
        why = f"there is no field {name[:60]!r} here; has(...) asks for it, default(..., x) replaces it"
        raise site.error(ExpressionValueError, why)

    return read


def _read_index(target: Step, key: Step, site: Site) -> Step:
    def read(machine: Machine) -> Value:
        owner, below = target(machine), key(machine)
        if type(owner) is list and type(below) is int:
            if 0 <= below < len(owner):
                return owner[below]
            raise site.error(ExpressionValueError, "the list has no item at this index")
        if type(owner) is dict and type(below) is str:
            machine.spend(len(below) // COPIED_PER_UNIT, site)
            if below in owner:
                return owner[below]
            raise site.error(ExpressionValueError, "the map has no such key")
        if type(owner) not in (list, dict):
            raise site.error(ExpressionTypeError, f"only a list or a map has elements, not {describe_kind(owner)}")
        raise _bad_key(below, site)

    return read


def _bad_key(key: Value, site: Site) -> ExpressionTypeError:
    why = f"a list takes an int and a map a string as its index, not {describe_kind(key)}"
    return site.error(ExpressionTypeError, why)


def _default(find: Callable[[Machine], list[Value]], fallback: Step) -> Step:
    def read(machine: Machine) -> Value:
        found = find(machine)
        return found[0] if found else fallback(machine)

    return read


# Making


def _make_list(items: list[Step], site: Site) -> Step:
    def make(machine: Machine) -> Value:
        machine.spend(1, site)
        return machine.keep_list([item(machine) for item in items])

    return make


def _make_map(entries: dict[str, Step], site: Site) -> Step:
    def make(machine: Machine) -> Value:
        machine.spend(1, site)
        return machine.keep_map({key: value(machine) for key, value in entries.items()})

    return make


# Deciding


def _truth(value: Value, site: Site) -> bool:
    if value is True or value is False:
        return value
    raise site.error(ExpressionTypeError, f"this must be a bool, not {describe_kind(value)}")


def _apply_unary(operator: str, operand: Step, site: Site) -> Step:
    if operator == "!":
        return lambda machine: not _truth(operand(machine), site)
    return lambda machine: negate(machine, site, operand(machine))


def _decide(operands: list[tuple[Step, Site]], *, operator: str) -> Step:
    decisive = operator == "||"

    def decide(machine: Machine) -> Value:
        for operand, site in operands:
            value = operand(machine)
            if value is decisive:
                return decisive
            _truth(value, site)
        return not decisive

    return decide


def _compare(operator: str, left: Step, right: Step, *, site: Site) -> Step:
    compare = COMPARISONS[operator]
    return lambda machine: compare(machine, site, left(machine), right(machine))


def _choose(test: Step, branches: tuple[Step, Step], *, site: Site) -> Step:
    then, otherwise = branches
    return lambda machine: then(machine) if _truth(test(machine), site) else otherwise(machine)


# Macros


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rounds:
    """A macro's rounds over a list."""

    items: Step
    body: Step
    slot: int
    cost: int
    site: Site
    name: str

    def all(self, machine: Machine) -> Value:
        return all(self._holds(machine, item) for item in self._list(machine))

    def any(self, machine: Machine) -> Value:
        return any(self._holds(machine, item) for item in self._list(machine))

    def count(self, machine: Machine) -> Value:
        return sum([self._holds(machine, item) for item in self._list(machine)])

    def filter(self, machine: Machine) -> Value:
        kept = [item for item in self._list(machine) if self._holds(machine, item)]
        machine.check_length(len(kept), self.site)
        return machine.keep_list(kept)

    def map(self, machine: Machine) -> Value:
        items = self._list(machine)
        if len(items) > LIST_ITEMS_MAX:
            machine.check_length(len(items), self.site)
        made: list[Value] = []
        for item in items:
            machine.spend(self.cost, self.site)
            machine.slots[self.slot] = item
            made.append(self.body(machine))
        return machine.keep_list(made)

    def _list(self, machine: Machine) -> list[Value]:
        items = self.items(machine)
        if type(items) is list:
            return items
        raise self.site.error(ExpressionTypeError, f"{self.name} goes over a list, not {describe_kind(items)}")

    def _holds(self, machine: Machine, item: Value) -> bool:
        machine.spend(self.cost, self.site)
        machine.slots[self.slot] = item
        return _truth(self.body(machine), self.site)
