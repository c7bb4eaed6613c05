"""The progress line: live on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

STATUSES: Final = ("queued", "running", "waiting", "compensating", "completed", "failed")
EVERY_S: Final = 5.0
"""How often a line is written where there is no terminal."""


class Display:
    """Shows how many orders are where."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._total = total
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None
        self._began = time.monotonic()
        self._next = self._began

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._console.print(
            f"{time.monotonic() - self._began:5.1f} s  {text}", highlight=False, markup=False, soft_wrap=True
        )

    def show(self, counts: dict[str, int], *, kills: int, takeovers: int) -> None:
        """Show how far it is."""
        others = {status: count for status, count in counts.items() if status not in STATUSES}
        parts = [f"{counts.get(status, 0)} {status}" for status in STATUSES]
        parts += [f"{count} {status}" for status, count in others.items()]
        line = f"{sum(counts.values())}/{self._total} orders: {', '.join(parts)}; {kills} kills, {takeovers} takeovers"
        now = time.monotonic()
        if self._live is not None:
            self._live.update(Text(f"{now - self._began:5.1f} s  {line}"))
        elif now >= self._next:
            self._next = now + EVERY_S
            self.say(line)
