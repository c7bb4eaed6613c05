"""A definition as plain values, its canonical bytes, and the hash that says whether two are the same.

Canonical bytes are UTF-8 JSON without blanks: keys sorted, fields that hold their default left out, nodes sorted by key
and edges by source and target. What they say and what they are depend on each other alone, so the hash is the same in
every process and on every machine, and stays the same when a later release adds a field with a default.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import NODEFAULT, Struct

from holdfast.errors import UsageError
from holdfast.model.definition import Definition, Part

DEPTH_MAX: Final = 64
"""Levels of nesting in a document, as in any payload."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INTEGERS: Final = range(-(2**63), 2**64)


class DefinitionError(UsageError):
    """A text is no definition, or a definition holds what a document cannot; ``why`` says where and what."""

    code = "definition_error"
    template = "this is no definition: {why}"


class _Field(Struct, frozen=True):
    name: str
    default: Any
    is_float: bool


def to_plain(part: Part) -> dict[str, Any]:
    """A definition, or a part of one, as JSON values: dicts, lists, text, numbers; defaults left out.

    The order of nodes, edges and dicts is kept. Raises: DefinitionError if it holds what JSON cannot.
    """
    return _plain_part(part, _sorted=False, depth=0)


def canonical_bytes(definition: Definition) -> bytes:
    """Equal for definitions of equal content, and only for those. Raises: DefinitionError as ``to_plain``."""
    return _encode(_plain_part(definition, _sorted=True, depth=0))


def content_hash(definition: Definition) -> str:
    """SHA-256 over the canonical bytes, as 64 hex digits. Raises: DefinitionError as ``to_plain``."""
    return hashlib.sha256(canonical_bytes(definition)).hexdigest()


_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def _plain_part(part: Part, *, _sorted: bool, depth: int) -> dict[str, Any]:
    tag, fields = _layout(type(part))
    plain: dict[str, Any] = {} if tag is None else {"kind": tag}
    for field in fields:
        value = getattr(part, field.name)
        if field.is_float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is type(field.default) and value == field.default:
            continue
        plain[field.name] = _plain(value, _sorted=_sorted, depth=depth + 1)
        if _sorted and field.name in _UNORDERED:
            plain[field.name].sort(key=_place)
    return plain


_UNORDERED: Final = {"nodes", "edges"}


def _place(plain: dict[str, Any]) -> tuple[Any, ...]:
    """Where a node or an edge stands; by all it says if two have the same key, which is a problem but not ours."""
    return plain.get("key"), plain.get("source"), plain.get("target"), _encode(plain)


def _plain(value: Any, *, _sorted: bool, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise DefinitionError(why=f"it is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, Part):
        return _plain_part(value, _sorted=_sorted, depth=depth)
    if isinstance(value, dict):
        items = cast("Mapping[Any, Any]", value)
        return {_text(key): _plain(item, _sorted=_sorted, depth=depth + 1) for key, item in items.items()}
    if isinstance(value, list | tuple):
        sequence = cast("Sequence[Any]", value)
        return [_plain(item, _sorted=_sorted, depth=depth + 1) for item in sequence]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and value in _INTEGERS:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise DefinitionError(why=f"{value!r:.80} has no JSON form")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DefinitionError(why=f"the key {value!r:.80} is no text")
    if "\0" in value or _SURROGATE.search(value):
        raise DefinitionError(why=f"the text {value!a:.80} contains a character that cannot be stored")
    return str(value)


@cache
def _layout(kind: type[Part]) -> tuple[str | None, tuple[_Field, ...]]:
    tag = kind.__struct_config__.tag
    fields: list[_Field] = []
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        types = get_args(field.type) or (field.type,)
        fields.append(_Field(field.name, default, float in types))
    return (tag if isinstance(tag, str) else None), tuple(fields)


def flaw_of(value: object) -> str | None:
    """Why a value cannot stand in a document; None if it can."""
    try:
        _plain(value, _sorted=False, depth=0)
    except DefinitionError as error:
        return str(error.why)
    return None
