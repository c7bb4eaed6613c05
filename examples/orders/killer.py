"""Kills the worker again and again, and watches who goes on with what it held."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

import holdfast as hf
from examples.orders.processes import ProcessFailed, Workers
from holdfast.model.ids import RunId
from holdfast.model.run import RunDetail
from holdfast.model.status import HELD_STATUSES, TERMINAL_STATUSES

LOOK_S: Final = 0.1
HELD_MIN: Final = 3
"""A worker that holds fewer runs is not worth killing."""
PATIENCE_S: Final = 60.0
"""How long anything of this may take before the demonstration gives up."""


class Kill(Struct, frozen=True):
    """One worker's end. Times are milliseconds of the database's clock."""

    pid: int
    at_ms: int
    """Read just before the signal was sent, so a takeover seems longer rather than shorter than it was."""
    held: dict[RunId, int]
    """The runs that it held as it died, and their epochs."""


class Takeover(Struct, frozen=True):
    """What became of the runs of one killed worker: seconds after the kill."""

    claimed_s: float
    """Another worker held the first of them."""
    progress_s: float
    """The first record of it was written by another worker."""
    last_s: float
    """The last of them was claimed."""


class Killer:
    """Kills ``kills`` workers, each at a random moment after the previous one's runs went on."""

    def __init__(self, client: hf.Client, workers: Workers, *, dice: random.Random, say: Callable[[str], None]) -> None:
        self._client = client
        self._workers = workers
        self._dice = dice
        self._say = say
        self.kills: list[Kill] = []
        self.takeovers = 0
        self.done = asyncio.Event()

    async def run(self, kills: int) -> None:
        """Until all are killed. Raises ProcessFailed if a worker ended by itself, or nobody took over."""
        for _ in range(kills):
            await asyncio.sleep(self._dice.uniform(1.0, 4.0))
            kill = await self._kill_one()
            self.kills.append(kill)
            self._workers.start()
            self._say(f"killed worker {kill.pid}: it held {len(kill.held)} orders; started worker {self._workers.pid}")
            await self._until_taken_over(kill)
            self.takeovers += 1
        self.done.set()

    async def _kill_one(self) -> Kill:
        pid = self._workers.pid
        async with asyncio.timeout(PATIENCE_S):
            while True:
                held = await self._held_by(pid)
                if len(held) >= HELD_MIN:
                    break
                await asyncio.sleep(LOOK_S)
        now_ms = (await self._client.detail(next(iter(held)))).now_ms
        self._workers.kill()
        # Nobody else takes them before its lease has run out, so this is what it held as it died.
        return Kill(pid, now_ms, await self._held_by(pid))

    async def _held_by(self, pid: int) -> dict[RunId, int]:
        names = {row.id for row in await self._client.workers() if row.pid == pid}
        page = await self._client.list(status=HELD_STATUSES, limit=1000)
        return {run.id: run.epoch for run in page.runs if run.worker in names}

    async def _until_taken_over(self, kill: Kill) -> None:
        if not kill.held:
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    if await self._moved(kill):
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise ProcessFailed(f"nobody took over from worker {kill.pid} within {PATIENCE_S:g} s") from None

    async def _moved(self, kill: Kill) -> bool:
        for run_id, epoch in kill.held.items():
            run = await self._client.get(run_id)
            # The take-over raises the epoch once, the claim behind it once more.
            if run.epoch > epoch + 1 or run.status in TERMINAL_STATUSES:
                return True
        return False


def takeover_of(kill: Kill, details: Mapping[RunId, RunDetail]) -> Takeover | None:
    """How long a takeover took, by the journal; None if the worker held nothing."""
    claims: list[int] = []
    records: list[int] = []
    for run_id, epoch in kill.held.items():
        detail = details[run_id]
        moves = [move for move in detail.transitions if move.epoch > epoch and move.at_ms >= kill.at_ms]
        claims += [move.at_ms for move in moves if move.reason == "claimed"][:1]
        records += [move.at_ms for move in moves if move.reason not in ("claimed", "worker_lost")][:1]
        records += [entry.completed_ms for entry in detail.journal if entry.epoch > epoch]
    if not claims or not records:
        return None
    first, progress, last = ((moment - kill.at_ms) / 1000 for moment in (min(claims), min(records), max(claims)))
    return Takeover(first, progress, last)
