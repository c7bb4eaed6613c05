"""What no database takes: the reference refuses it too, so that a test on it proves something about the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec
from msgspec import Struct, structs

_INT_LIMIT = 2**63


def unstorable(value: object) -> str | None:
    """Why some part of a record cannot be stored, or None if all of it can."""
    match value:
        case str():
            return _bad_text(value)
        case bytes():
            return _bad_json(value)
        case int():
            return None if -_INT_LIMIT <= value < _INT_LIMIT else "an integer does not fit 64 bits"
        case Struct():
            return _first(structs.astuple(value))
        case dict():
            table = cast("dict[object, object]", value)
            return _first([*table.keys(), *table.values()])
        case list() | tuple():
            return _first(cast("Iterable[object]", value))
        case _:
            return None


def _first(parts: Iterable[object]) -> str | None:
    return next((why for part in parts if (why := unstorable(part)) is not None), None)


def _bad_text(text: str) -> str | None:
    if "\x00" in text:
        return "a text holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text holds a lone surrogate"
    return None


def _bad_json(payload: bytes) -> str | None:
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "a payload is not a JSON document"
    return None
