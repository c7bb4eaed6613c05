"""How long a run that only waits stays in memory, before it is parked.

To be woken costs a reading of the whole record. So a run stays for a moment after its last news, one whose record is
long stays longer, and it stays for a timer that is near: else a fan-out would read its record again for each child that
ends, and a long chain of short sleeps for each of them.
"""

from __future__ import annotations

from typing import Final

from holdfast.runtime.open_waits import OpenWaits

LINGER_MS: Final = 250
"""A run whose next timer is this near stays in memory instead of being parked and claimed again."""

CHILD_LINGER_MS: Final = 500
"""A run that waits for children stays in memory this long after the last one ended: fan-outs would otherwise be
claimed and replayed for each child."""

LONG_RECORD: Final = 100
"""As many journal entries and waits make a record long, and as many open waits are many to look at."""

LINGER_PER_RECORD_MS: Final = 5
"""A run with a long record stays this long for each entry and wait in it, if its worker has room. Reading one takes
about 15 µs, so at most a part in 300 of the time goes into reading records again and again."""

LONG_LINGER_MS: Final = 30_000
"""But no longer than this after its last news."""

LOOK_PER_WAIT_MS: Final = 0.2
"""News of a run with many open waits are looked for no sooner than this for each of them after the last look: one takes
about 3 µs, and in a fan-out there are news all the time."""


class Linger:
    """One run's."""

    __slots__ = ("_long_until_ms", "_looked_ms", "_until_ms", "listening")

    def __init__(self) -> None:
        self._until_ms = self._long_until_ms = self._looked_ms = 0.0
        self.listening = False
        """News have been looked for since the run began to linger."""

    def restart(self) -> None:
        """There were news."""
        self._until_ms = 0.0
        self.listening = False

    def stay_ms(self, now_ms: float, waits: OpenWaits, *, records: int, has_room: bool) -> float:
        """How long to stay before this is asked again; 0 to park."""
        long_ms = min(records * LINGER_PER_RECORD_MS, LONG_LINGER_MS) if records >= LONG_RECORD else 0
        if self._until_ms == 0.0:
            self._until_ms = now_ms + (CHILD_LINGER_MS if waits.children else 0)
            self._long_until_ms = now_ms + (long_ms if waits.children else 0)
        stay_ms = self._until_ms - now_ms
        if waits.is_due_by(now_ms + LINGER_MS):
            stay_ms = max(stay_ms, LINGER_MS)
        if (
            stay_ms <= 0
            and long_ms
            and has_room
            and (now_ms < self._long_until_ms or waits.is_due_by(now_ms + long_ms))
        ):
            # In short steps, since the room may be needed.
            stay_ms = CHILD_LINGER_MS
        return max(stay_ms, 0)

    def looked(self, now_ms: float) -> None:
        """All its open waits were looked at."""
        self._looked_ms = now_ms

    def next_look_ms(self, waits: OpenWaits) -> float:
        """When they may be looked at again, however many news there are."""
        return self._looked_ms + (len(waits) * LOOK_PER_WAIT_MS if len(waits) >= LONG_RECORD else 0)
