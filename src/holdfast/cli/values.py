"""What people type, as values: JSON, attributes, their name. What cannot be read is an error that shows how to."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Iterable
from typing import Any

from holdfast.core.filters import parse_value
from holdfast.errors import UsageError
from holdfast.model.search import AttributeValue


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


def name_of_user(actor: str | None) -> str:
    """Who asks: the given name, or the user whose process this is."""
    if actor is not None:
        return actor
    try:
        return getpass.getuser()
    except OSError:
        # The process's user has no name on this machine.
        return ""
