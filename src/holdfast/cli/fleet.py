"""``holdfast worker --processes N``: a parent that keeps N worker processes alive."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Final

import structlog

from holdfast.cli.exits import Exit
from holdfast.cli.stopping import Stop

PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 30.0
"""A process that dies is replaced after a pause, which doubles with each death in a row."""

HEALTHY_S: Final = 60.0
"""One that lived this long starts the pauses anew."""

HOPELESS: Final = {Exit.USAGE, Exit.DATABASE}
"""A process that ends so would end so again: the fleet gives up."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger("holdfast.fleet")


class Fleet:
    """Worker processes that share nothing but their database, and the parent that watches them."""

    def __init__(self, arguments: Sequence[str], *, size: int, stop: Stop) -> None:
        self._command = [sys.executable, "-m", "holdfast.cli.main", "worker", *arguments]
        self._size = size
        self._stop = stop
        self._living: dict[int, Process] = {}
        self._hopeless: int | None = None

    async def run(self) -> int:
        """Keep the processes alive until the stop; return the exit code."""
        keepers = [asyncio.create_task(self._keep(number)) for number in range(1, self._size + 1)]
        await self._stop.wait()
        logger.info("the fleet drains", processes=len(self._living))
        self.send(signal.SIGTERM)
        codes = await asyncio.gather(*keepers)
        if self._hopeless is not None:
            return self._hopeless
        return Exit.OK if all(code == Exit.OK for code in codes) else Exit.FAILED

    def send(self, number: signal.Signals) -> None:
        """Send every process a signal."""
        for process in list(self._living.values()):
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, number: int) -> int:
        """One place in the fleet: a process, and its successors. Returns how the last one ended."""
        pause_s = PAUSE_FIRST_S
        while True:
            began = time.monotonic()
            code = await self._live(number)
            if self._stop.was_asked():
                return Exit.OK if code == -signal.SIGTERM else code
            if code in HOPELESS:
                logger.error("worker process cannot work: the fleet ends", number=number, exit_code=code)
                self._hopeless = code
                self._stop.ask()
                return code
            if time.monotonic() - began > HEALTHY_S:
                pause_s = PAUSE_FIRST_S
            logger.warning("worker process ended: another takes its place", number=number, how=_how(code), in_s=pause_s)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
            if self._stop.was_asked():
                return Exit.OK

    async def _live(self, number: int) -> int:
        """One process, from start to end. Its standard input is a pipe that ends when this parent does."""
        process = await asyncio.create_subprocess_exec(
            *self._command, "--fleet-member", str(number), stdin=PIPE, stdout=DEVNULL, process_group=0
        )
        self._living[number] = process
        logger.info("worker process started", number=number, pid=process.pid)
        if self._stop.was_asked():
            process.send_signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            del self._living[number]

    async def _pause(self, seconds: float) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopped}, timeout=seconds)
        stopped.cancel()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
