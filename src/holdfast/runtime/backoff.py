"""How long to wait before asking a database again that did not answer."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.05
LONGEST_S = 2.0
"""The database is back for at most this long before the first progress (RELIABILITY target: 2 s)."""


class Backoff:
    """Doubling delays with full jitter, so that a fleet does not come back as a herd."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._delay_s = FIRST_S

    def next_s(self) -> float:
        """The next delay, in seconds."""
        delay_s = self._delay_s
        self._delay_s = min(LONGEST_S, delay_s * 2)
        return delay_s * (0.5 + 0.5 * self._random())
