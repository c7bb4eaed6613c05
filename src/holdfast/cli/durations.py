"""How long: what people type, as durations."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import typer

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
