"""Expressions that mean the same although nodes they read were given other keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from holdfast.core.expressions import parse
from holdfast.core.expressions.nodes import Field, Name

_BY_KEY: Final = frozenset({"results", "errors"})
"""The variables that hold something of nodes, by their keys."""


def rename_nodes(source: str, renamed: Mapping[str, str]) -> str:
    """The canonical text of an expression that reads nodes by their new keys. Raises ExpressionSyntaxError."""
    expression = parse(source)
    return str(replace(expression, root=_rename(expression.root, renamed)) if renamed else expression)


def _rename(part: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(part, tuple):
        parts: tuple[Any, ...] = part
        return tuple(_rename(one, renamed) for one in parts)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    changed = {each.name: _rename(getattr(part, each.name), renamed) for each in fields(part)}
    if isinstance(part, Field) and isinstance(part.target, Name) and part.target.name in _BY_KEY:
        changed["name"] = renamed.get(part.name, part.name)
    return replace(part, **changed)
