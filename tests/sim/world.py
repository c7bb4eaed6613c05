"""The outside world: what the simulated programs' steps act upon, and what they cannot take back."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

from holdfast.model.ids import RunId
from holdfast.testing.sim.history import HandlerCall
from holdfast.testing.sim.loop import PROCESS
from holdfast.testing.sim.observe import HANDLER


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that was done, for whoever asked."""

    run_id: RunId
    key: str
    attempt: int
    idempotency_key: str


@dataclass
class World:
    """An effect has two halves: the world does it, and the caller hears of it. A crash may come between them."""

    random: Random
    slow: float = 0.03
    """How often it takes its time: about as long as a lease."""
    calm: bool = False
    """Whether it answers at once, always."""
    effects: list[Effect] = field(default_factory=list[Effect])

    async def act(self, seconds: float = 0) -> None:
        """Do what a step is for, which takes at least so long."""
        await asyncio.sleep(seconds + self._latency_s())
        call = self.perform()
        call.effects += 1
        await asyncio.sleep(self._latency_s())

    def perform(self) -> HandlerCall:
        """The first half, at once."""
        call = HANDLER.get()
        assert call is not None
        self.effects.append(Effect(call.run_id, call.key, call.attempt, call.idempotency_key))
        return call

    def _latency_s(self) -> float:
        if not self.calm and self.random.random() < self.slow:
            return 8 * self.random.random()
        return 0.001 + 0.2 * self.random.random() ** 4

    def done_for(self, run_id: RunId) -> list[Effect]:
        """What was done for a run, in order."""
        return [effect for effect in self.effects if effect.run_id == run_id]


WORLD: ContextVar[World] = ContextVar("world")


async def act(seconds: float = 0) -> None:
    """Act upon the world of this simulation."""
    await WORLD.get().act(seconds)


async def kill_own_process() -> None:
    """Take the worker down."""
    PROCESS.get().kill()
    await asyncio.sleep(0)
