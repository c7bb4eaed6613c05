"""``runtime.host.Host`` for a simulated process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from holdfast.core.ids import RANDOM_BITS, uuid7
from holdfast.testing.sim.loop import Process
from holdfast.testing.sim.network import Request
from holdfast.testing.sim.threads import Baton

T = TypeVar("T")


class SimHost:
    """Its clocks are the process's, its chance and ids come from the seed, and its threads are lines of calls."""

    def __init__(self, process: Process, *, seed: int | str) -> None:
        self.process = process
        self.name = process.name
        self.pid = process.number
        self._random = Random(f"{seed}/{process.name}")
        self._lanes: dict[str, _Lane] = {}

    def monotonic_ms(self) -> float:
        """The process's monotonic clock."""
        return self.process.monotonic_s() * 1000

    def random(self) -> float:
        """From the seed."""
        return self._random.random()

    def new_id(self) -> str:
        """By the process's wall clock, which may be wrong."""
        return uuid7(int(self.process.wall_s() * 1000), self._random.getrandbits(RANDOM_BITS))

    def call(self, lane: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        """See Host: a store's method travels to the database, anything else is called after a moment."""
        line = self._lanes.get(lane)
        if line is None:
            line = self._lanes[lane] = _Lane(self.process)
        return line.call(function, args, kwargs)

    def run_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """See Host: the function runs while the simulation stands still."""
        process, future = self.process, self.process.loop.create_future()

        def done(answer: Any, error: BaseException | None) -> None:
            process.call_later(0.0001 + 0.002 * self._random.random(), _settle, future, answer, error)

        baton = Baton(function, done)

        def start() -> None:
            if not future.cancelled():
                process.batons.append(baton)
                baton.start()

        process.call_later(0.0001 + 0.001 * self._random.random(), start)
        return future

    def beat(self, interval_ms: float, heartbeat: Callable[[], object]) -> Callable[[], None]:
        """See Host: a task of the process."""

        async def run() -> None:
            while True:
                await asyncio.sleep(interval_ms / 1000)
                heartbeat()

        task = self.process.spawn(run(), name="heartbeat")

        def end() -> None:
            task.cancel()

        return end

    def was_forked(self) -> bool:
        """Never."""
        return False


class _Lane:
    """One call at a time, in order."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._line: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = deque()
        self._busy = False

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        future = self._process.loop.create_future()
        self._line.append((future, function, args, kwargs))
        if not self._busy:
            self._next()
        return future

    def _next(self) -> None:
        self._busy = True
        future, function, args, kwargs = self._line.popleft()

        def answer(value: Any, error: BaseException | None) -> None:
            self._busy = False
            _settle(future, value, error)
            if self._line:
                self._next()

        if isinstance(function, Request):
            function.network.send(function, args, kwargs, answer)
        else:
            self._process.call_later(0.0001, _call, function, args, kwargs, answer)


def _call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    answer: Callable[[Any, BaseException | None], None],
) -> None:
    try:
        value = function(*args, **kwargs)
    except Exception as raised:  # noqa: BLE001 - handed to the caller, whatever it is
        answer(None, raised)
    else:
        answer(value, None)


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
