"""The payment service's own books: one line of JSON per request, written and flushed to disk before the answer.

It knows nothing of holdfast: what it says about charges and refunds is independent of any journal.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

Action = Literal["charge", "refund", "reserve", "release", "pack", "unpack", "ship"]

Outcome = Literal["made", "repeated", "refused", "failed"]
"""It took effect; it had taken effect before, under the same key; the answer is no; it did not get that far."""

Fault = Literal["unavailable", "reset_before", "reset_after", "late"]
"""What went wrong on purpose: an answer 503; the connection cut before, or after, the effect; an answer too late."""


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request."""

    number: int
    at_ms: int
    action: Action
    key: str
    """The idempotency key that the caller sent."""
    order: str
    outcome: Outcome
    fault: Fault | None = None
    subject: str = ""
    """The charge, reservation, parcel or shipment that it made or undid; for a refusal, why."""
    amount: int = 0
    currency: str = ""
    pieces: dict[str, int] = {}
    """How many of which article were reserved or released."""


class Ledger:
    """Appends lines to a file. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def append(self, line: Line) -> None:
        """Write a line; it is on the disk when this returns."""
        with self._lock:
            self._file.write(msgspec.json.encode(line) + b"\n")
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_ledger(path: Path) -> list[Line]:
    """All lines of a ledger, in order. Raises OSError, msgspec.DecodeError."""
    return [msgspec.json.decode(text, type=Line) for text in path.read_bytes().splitlines()]
