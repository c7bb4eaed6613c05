"""The parts of a parsed expression. Frozen; where a part stands in the text (``at``) is no part of its identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from holdfast.core.expressions.kinds import Value

Path: TypeAlias = tuple[str | int, ...]
"""A variable and the fields below it that an expression reads: ``("results", "clean", "rows", 0)``."""


@dataclass(frozen=True, slots=True)
class Literal:
    """null, a bool, a number or a string. ``text`` is its canonical form, which tells 1, 1.0 and true apart."""

    text: str
    value: Value = field(compare=False)
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """``target.name``, or ``target["name"]``."""

    target: Node
    name: str
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """``target[key]``."""

    target: Node
    key: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b]``."""

    items: tuple[Node, ...]
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class MapOf:
    """``{"a": 1}``."""

    entries: tuple[tuple[str, Node], ...]
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """``!operand`` or ``-operand``."""

    operator: str
    operand: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Logic:
    """``a && b && c`` or ``a || b || c``: flat, so that a long chain is not a deep one."""

    operator: str
    operands: tuple[Node, ...]
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """``== != < <= > >= in``."""

    operator: str
    left: Node
    right: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Term:
    """One more operand of an arithmetic chain."""

    operator: str
    operand: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``a + b - c`` or ``a * b / c``, from the left; flat, as Logic is."""

    first: Node
    rest: tuple[Term, ...]
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    """``test ? then : otherwise``."""

    test: Node
    then: Node
    otherwise: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """``name(a, b)``, also written ``a.name(b)``."""

    name: str
    arguments: tuple[Node, ...]
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Macro:
    """``items.all(x, body)`` and its kin: body is evaluated for each item, which it knows as ``x``."""

    name: str
    items: Node
    variable: str
    body: Node
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Has:
    """``has(a.b)``."""

    path: Field | Index
    at: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Default:
    """``default(a.b, fallback)``."""

    path: Field | Index
    fallback: Node
    at: int = field(compare=False)


Node: TypeAlias = (
    Literal
    | Name
    | Field
    | Index
    | ListOf
    | MapOf
    | Unary
    | Logic
    | Compare
    | Arithmetic
    | Conditional
    | Call
    | Macro
    | Has
    | Default
)

MACROS: Final = frozenset({"all", "any", "map", "filter", "count"})


def children(node: Node) -> tuple[Node, ...]:  # noqa: C901 - one line for each class of node
    """The parts that a node is made of, in the order of the text."""
    match node:
        case Literal() | Name():
            return ()
        case Field(target=target):
            return (target,)
        case Index(target=target, key=key):
            return (target, key)
        case ListOf(items=items):
            return items
        case MapOf(entries=entries):
            return tuple(value for _, value in entries)
        case Unary(operand=operand):
            return (operand,)
        case Logic(operands=operands):
            return operands
        case Compare(left=left, right=right):
            return (left, right)
        case Arithmetic(first=first, rest=rest):
            return (first, *(term.operand for term in rest))
        case Conditional(test=test, then=then, otherwise=otherwise):
            return (test, then, otherwise)
        case Call(arguments=arguments):
            return arguments
        case Macro(items=items_, body=body):
            return (items_, body)
        case Has(path=path):
            return (path,)
        case Default(path=path, fallback=fallback):
            return (path, fallback)


def read_paths(node: Node, bound: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The longest paths that the node reads of each variable that no macro binds.

    A path ends before an index that only the evaluation knows: ``results[input.step]`` reads ``results``.
    """
    steps: list[str | int] = []
    target = node
    while isinstance(target, Field | Index):
        match target:
            case Field(name=name):
                steps.append(name)
            case Index(key=Literal(value=int(position))) if not isinstance(position, bool):
                steps.append(position)
            case Index(key=key):
                steps.clear()
                yield from read_paths(key, bound)
        target = target.target
    match target:
        case Name(name=name):
            if name not in bound:
                yield (name, *reversed(steps))
        case Macro(items=items, variable=variable, body=body):
            yield from read_paths(items, bound)
            yield from read_paths(body, bound | {variable})
        case _:
            for child in children(target):
                yield from read_paths(child, bound)


def read_fields(node: Node) -> tuple[str, ...] | None:
    """A variable and the names of the fields below it that the node stands for; None if it is anything else."""
    names: list[str] = []
    while isinstance(node, Field):
        names.append(node.name)
        node = node.target
    return (node.name, *reversed(names)) if isinstance(node, Name) else None
