"""Expressions that mean the same although nodes they read were given other keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    if not is_dataclass(part):
        return _rename_all(part, renamed) if part.__class__ is tuple else part
    assert not isinstance(part, type)
    changed = {each.name: _rename(getattr(part, each.name), renamed) for each in fields(part)}
    if isinstance(part, Field) and isinstance(part.target, Name) and part.target.name in _BY_KEY:
        changed["name"] = renamed.get(part.name, part.name)
    return replace(part, **changed)


def _rename_all(parts: Iterable[Any], renamed: Mapping[str, str]) -> tuple[Any, ...]:
    return tuple(_rename(one, renamed) for one in parts)
