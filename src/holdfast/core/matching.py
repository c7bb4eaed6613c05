"""Which signal closes which wait: the oldest signal goes to the oldest wait of its name whose filter it passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.core.expressions import Expression, ExpressionError, parse
from holdfast.model.ids import Json, RunId

NOTE_CHARACTERS_MAX: Final = 500


class SignalFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the payload of a signal must be like, stored with the wait."""

    where: str
    """An expression over ``payload`` and the names of ``values``."""
    values: dict[str, Any] = {}


class Listening(NamedTuple):
    """An open wait for a signal."""

    key: str
    name: str
    request: Json | None


class Heard(NamedTuple):
    """A signal that a run may consume."""

    id: RunId
    name: str
    payload: Json


class Matches(NamedTuple):
    """What ``match`` found."""

    pairs: list[tuple[str, RunId]]
    """Keys of waits, each with the signal that closes it."""
    notes: dict[str, str]
    """Keys of waits whose filter failed, with its last error."""


def read_filter(request: Json) -> SignalFilter:
    """The filter that a wait stores. Raises ValueError if it is none."""
    return msgspec.json.decode(request, type=SignalFilter)


def match(waits: Sequence[Listening], signals: Sequence[Heard]) -> Matches:
    """Pair one run's open waits, oldest first, with signals in the order of their arrival.

    Each wait and each signal is used once. A filter that fails is no match.
    """
    pairs: list[tuple[str, RunId]] = []
    notes: dict[str, str] = {}
    left = list(waits)
    for signal in signals:
        for wait in left:
            if wait.name == signal.name and _passes(wait, signal, notes):
                pairs.append((wait.key, signal.id))
                left.remove(wait)
                break
    return Matches(pairs, notes)


def _passes(wait: Listening, signal: Heard, notes: dict[str, str]) -> bool:
    if wait.request is None:
        return True
    try:
        wanted = read_filter(wait.request)
        payload = msgspec.json.decode(signal.payload, type=dict[str, Any]).get("value")
        found = _parsed(wanted.where).evaluate({**wanted.values, "payload": payload})
    except (ExpressionError, ValueError) as error:
        notes[wait.key] = str(error)[:NOTE_CHARACTERS_MAX]
        return False
    if not isinstance(found, bool):
        notes[wait.key] = f"the filter's value is no boolean but {found!r}"[:NOTE_CHARACTERS_MAX]
        return False
    return found


@lru_cache(maxsize=1000)
def _parsed(where: str) -> Expression:
    return parse(where)
