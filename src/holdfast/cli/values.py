"""What people type, as values: durations, JSON, attributes. What cannot be read is a usage error that shows how to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import typer

from holdfast.core.filters import parse_value
from holdfast.errors import UsageError
from holdfast.model.search import AttributeValue

FOREVER: Final = "forever"

_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|)", re.ASCII)
_UNIT_S: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def is_duration(text: str) -> bool:
    """Whether this reads as a duration."""
    return _DURATION.fullmatch(text) is not None


def parse_duration(text: str) -> timedelta:
    """``90``, ``90s``, ``500ms``, ``15m``, ``2h`` or ``1d``. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 90, 90s, 500ms, 15m, 2h or 1d")
    try:
        return timedelta(seconds=float(match[1]) * _UNIT_S[match[2]])
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is longer than any duration") from None


def parse_patience(text: str) -> timedelta:
    """A duration, or ``forever``: the longest there is. Raises typer.BadParameter."""
    return timedelta.max if text == FOREVER else parse_duration(text)


def parse_json(text: str, where: str) -> Any:
    """A JSON value; ``where`` names it in the error. Raises UsageError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UsageError(f"{where} is nested too deep") from None
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        way_out = ""
        if re.fullmatch(r"[^\"'{}\[\]]*", text):
            way_out = f"; for a text, write quotes inside quotes: '{json.dumps(text)}'"
        raise UsageError(f"{where} is not JSON: {text[:80]!r} ({why}){way_out}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def parse_attributes(pairs: Iterable[str]) -> dict[str, AttributeValue]:
    """``name=value`` pairs, values as in the filter language. Raises UsageError."""
    attributes: dict[str, AttributeValue] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{pair[:80]!r} is no attribute; write --attribute name=value")
        attributes[name] = parse_value(value)
    return attributes
