"""The database's clock, which is never a worker's."""

from __future__ import annotations

from holdfast.model.ids import UnixMs
from holdfast.testing.sim.loop import EPOCH_S, SimLoop


class StoreClock:
    """Runs with the simulation's time; ``jump`` sets it forward or back, as a fail-over to another machine would."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.offset_s = 0.0

    def __call__(self) -> UnixMs:
        """The time, in milliseconds since 1970."""
        return UnixMs(int((EPOCH_S + self._loop.now_s + self.offset_s) * 1000))

    def jump(self, seconds: float) -> None:
        """Set it forward, or back if negative."""
        self.offset_s += seconds
