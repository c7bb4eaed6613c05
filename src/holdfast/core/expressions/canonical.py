"""The one way to write a tree: single spaces, double quotes, no parentheses that change nothing."""

from __future__ import annotations

import re
from typing import Final

from holdfast.core.expressions.lexer import write_literal
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

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CONDITIONAL, _OR, _AND, _COMPARE, _SUM, _PRODUCT, _UNARY, _TIGHT = range(8)
"""How tightly a form holds together."""


def write(node: Node) -> str:  # noqa: C901, PLR0912 - one case for each class of node
    """The canonical text of a tree."""
    match node:
        case Literal(text=text):
            return text
        case Name(name=name):
            return name
        case Field(target=target, name=name):
            return _hold(target, _TIGHT) + (f".{name}" if _NAME.match(name) else f"[{write_literal(name)}]")
        case Index(target=target, key=key):
            return f"{_hold(target, _TIGHT)}[{write(key)}]"
        case ListOf(items=items):
            return f"[{_list(items)}]"
        case MapOf(entries=entries):
            return "{" + ", ".join(f"{write_literal(key)}: {write(value)}" for key, value in entries) + "}"
        case Unary(operator=operator, operand=operand):
            text = _hold(operand, _UNARY)
            # a minus before digits is the sign of a literal
            return f"-({text})" if operator == "-" and text[0].isdigit() else operator + text
        case Logic(operator=operator, operands=operands):
            return f" {operator} ".join(_hold(operand, _tightness(node) + 1) for operand in operands)
        case Compare(operator=operator, left=left, right=right):
            return f"{_hold(left, _SUM)} {operator} {_hold(right, _SUM)}"
        case Arithmetic(first=first, rest=rest):
            least = _tightness(node) + 1
            return _hold(first, least) + "".join(f" {term.operator} {_hold(term.operand, least)}" for term in rest)
        case Conditional(test=test, then=then, otherwise=otherwise):
            return f"{_hold(test, _OR)} ? {write(then)} : {write(otherwise)}"
        case Call(name=name, arguments=arguments):
            return f"{name}({_list(arguments)})"
        case Macro(name=name, items=items_, variable=variable, body=body):
            return f"{_hold(items_, _TIGHT)}.{name}({variable}, {write(body)})"
        case Has(path=path):
            return f"has({write(path)})"
        case Default(path=path, fallback=fallback):
            return f"default({write(path)}, {write(fallback)})"


def _list(nodes: tuple[Node, ...]) -> str:
    return ", ".join(write(node) for node in nodes)


def _hold(node: Node, least: int) -> str:
    """The node's text, in parentheses if it would fall apart beside what holds it."""
    text = write(node)
    return text if _tightness(node) >= least else f"({text})"


def _tightness(node: Node) -> int:
    match node:
        case Conditional():
            return _CONDITIONAL
        case Logic(operator=operator):
            return _OR if operator == "||" else _AND
        case Compare():
            return _COMPARE
        case Arithmetic(rest=rest):
            return _SUM if rest[0].operator in "+-" else _PRODUCT
        case Unary():
            return _UNARY
        case _:
            return _TIGHT
