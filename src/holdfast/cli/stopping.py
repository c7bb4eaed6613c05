"""How people and service managers end a worker: the first signal drains it, the second ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from holdfast.cli.exits import Exit

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Becomes true at the first SIGTERM or SIGINT, from when it is made.

    The handlers run between two instructions of whatever the main thread does, also while user code blocks the loop.
    """

    def __init__(self, *, at_once: Callable[[], None] | None = None) -> None:
        self._at_once = at_once or _end_now
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        for each in SIGNALS:
            signal.signal(each, self._received)

    def was_asked(self) -> bool:
        """Whether somebody has asked for the end."""
        return self._count > 0

    def ask(self) -> None:
        """As if the first signal had come; a second one still ends at once."""
        self._count = max(self._count, 1)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Return when somebody asks for the end."""
        self._loop = asyncio.get_running_loop()
        if not self.was_asked():
            await self._event.wait()

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            self._at_once()
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)


def _end_now() -> None:
    """No clean-up: the leases end by themselves, as after a crash."""
    sys.stderr.flush()
    os._exit(Exit.INTERRUPTED)
