"""What operators do to the runs of a campaign, at any moment: they pause, undo, repair, repeat and ask."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from holdfast.client.client import Client
from holdfast.errors import (
    CommandRefused,
    CommitUnknown,
    Conflict,
    RunFinished,
    StoreUnavailable,
    UpdateTimeout,
    UsageError,
)
from holdfast.model.command import Change
from holdfast.model.command import Order as Command
from holdfast.model.ids import RunId
from holdfast.testing.sim.history import History

PATIENCE: Final = 8
"""How often something is commanded that is refused for now."""


@dataclass(frozen=True)
class Order:
    """One thing to do, so long after the one before."""

    after_s: float
    word: str
    value: Any = None


class Operator:
    """Carries out a request's orders, one after the other, each until its answer is known."""

    def __init__(self, client: Client, run_id: RunId, history: History) -> None:
        self.client = client
        self.run_id = run_id
        self.history = history
        self.copies: list[RunId] = []
        """The runs that were started from what this one had recorded."""

    async def give(self, orders: list[Order]) -> None:
        """All of them."""
        for number, order in enumerate(orders):
            await asyncio.sleep(order.after_s)
            for _ in range(PATIENCE):
                if await self._is_done(order, number):
                    break
                await asyncio.sleep(0.4)

    async def _is_done(self, order: Order, number: int) -> bool:
        """Whether it was obeyed, or never will be."""
        try:
            await self._until_known(self._action(order, number))
        except RunFinished:
            self.history.note(f"{order.word} came too late")
            return True
        except (CommandRefused, UsageError):
            self.history.note(f"{order.word} was refused")
            return order.word not in _WORTH_REPEATING
        self.history.note(f"{order.word} was obeyed")
        return True

    def _action(self, order: Order, number: int) -> Callable[[], Awaitable[Any]]:
        client, run_id = self.client, self.run_id
        actions: dict[str, Callable[[], Awaitable[Any]]] = {
            "pause": lambda: client.pause(run_id, actor="ann"),
            "resume": lambda: client.resume(run_id, actor="ann"),
            "terminate": lambda: client.terminate(run_id, actor="ann"),
            "undo": lambda: client.cancel(run_id, compensate=True, actor="ann"),
            "priority": lambda: self._change_twice(order.value),
            "wake": lambda: client.change(run_id, wake=True, actor="ann"),
            "settle": lambda: client.settle(run_id, *order.value[:1], result=order.value[1], actor="ann"),
            "update": lambda: client.update(run_id, "bid", order.value, key=str(number), timeout=20),
            "retry": self._retry,
            "fork": lambda: self._fork(order.value),
        }
        return actions[order.word]

    async def _until_known(self, action: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await action()
            except (StoreUnavailable, CommitUnknown, UpdateTimeout):
                await asyncio.sleep(0.5)
            else:
                return

    async def _change_twice(self, priority: int) -> None:
        """The same command, sent again under its id."""
        order = Command(id=RunId(self.client._host.new_id()), command=Change(priority=priority), actor="ann")
        for _ in range(2):
            await self.client._send(self.client.store.command, self.client.tenant, self.run_id, order)

    async def _retry(self) -> None:
        """Twice: the second time asks for the same run."""
        first = await self.client.retry(self.run_id, actor="ann")
        try:
            second = await self.client.retry(self.run_id, actor="ann")
        except Conflict as error:
            self.history.violation(f"run {self.run_id}: a retry that was asked for again was refused: {error}")
            return
        if first.id != second.id:
            self.history.violation(f"run {self.run_id} was retried twice, as {first.id} and {second.id}")
        self.copies.append(first.id)

    async def _fork(self, results: dict[str, Any]) -> None:
        fork = await self.client.fork(self.run_id, results=results, request_id="only", actor="ann")
        self.copies.append(fork.id)


_WORTH_REPEATING: Final = {"settle", "fork", "retry"}
"""What waits for the run to get somewhere: to have failed once, to have recorded something, to have ended."""
