"""The kernel: an asyncio event loop with a virtual clock, a seed, and processes that can be killed.

Every callback belongs to a ``Process``, which its context names. Within a process callbacks run in the order in which
they were scheduled, as asyncio promises; which process runs next is drawn from the seed. Time stands still while code
runs and jumps to the next timer when nothing can run. Nothing else decides anything, so that the same seed gives the
same schedule, in any process and with any hash seed; ``digest`` tells two schedules apart.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple, cast

from holdfast.testing.sim.threads import Baton

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH_S = 1_700_000_000.0
"""The wall clock's time when a simulation begins, in seconds since 1970."""


EVENTS_MAX = 2_000_000
"""More callbacks than that at one moment are a loop without end."""


class SimulationError(Exception):
    """The simulated program cannot go on, or does what a simulation cannot have."""


class Deadlock(SimulationError):
    """Nothing can run, and no timer is set: whoever waits, waits for ever."""


class Process:
    """One simulated process: its queue of callbacks, its tasks and its clocks.

    Args:
        rate: how fast its clocks run, compared with the simulation's.
        offset_s: how far its wall clock is off.
    """

    def __init__(self, loop: SimLoop, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self.loop = loop
        self.name = name
        self.number = next(loop.numbers)
        self.rate = rate
        self.offset_s = offset_s
        self.alive = True
        self.paused = False
        self.queue: deque[asyncio.Handle] = deque()
        self.listed = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.batons: list[Baton] = []
        self._sweep_at = 64
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine in this process."""
        return self.loop.create_task(coroutine, name=name, context=self.context.copy())

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have a callback run in this process, if it lives."""
        self.loop.push(self, asyncio.Handle(callback, args, self.loop, self.context))

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """The same after some time of the simulation's clock."""
        self.loop.push_later(self, delay_s, asyncio.Handle(callback, args, self.loop, self.context))

    def kill(self) -> None:
        """SIGKILL: no ``except`` and no ``finally`` runs. Its unfinished tasks are kept, so that no garbage collection
        runs them either; ``SimLoop.close`` disposes of them.
        """
        self.alive = False
        self.queue.clear()

    def pause(self) -> None:
        """SIGSTOP: what is due to it piles up."""
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.paused = False
        if self.alive and self.queue:
            self.loop.list_runnable(self)

    def step_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back. The monotonic clock does not notice."""
        self.offset_s += seconds

    def monotonic_s(self) -> float:
        """Its monotonic clock."""
        return self.loop.now_s * self.rate

    def wall_s(self) -> float:
        """Its wall clock, in seconds since 1970."""
        return EPOCH_S + self.loop.now_s * self.rate + self.offset_s

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task until it is done."""
        if len(self.tasks) >= self._sweep_at:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._sweep_at = 64 + 2 * len(self.tasks)
        self.tasks.append(task)

    def __repr__(self) -> str:
        return self.name


PROCESS: ContextVar[Process] = ContextVar("holdfast_simulated_process")
"""The process that the code running now belongs to."""


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number: asyncio and programs keep tasks in sets, and iterate over them."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], *, loop: SimLoop, name: str | None, context: Context | None
    ) -> None:
        self.number = next(loop.numbers)
        super().__init__(coroutine, loop=loop, name=name or f"task-{self.number}", context=context)

    def __hash__(self) -> int:
        return self.number


class SimFuture(asyncio.Future[Any]):
    """A future whose hash is its number."""

    def __init__(self, *, loop: SimLoop) -> None:
        self.number = next(loop.numbers)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.BaseEventLoop):
    """See the module's docstring.

    Sockets, subprocesses and executors raise; plain functions of a simulated program run through ``Baton``.
    """

    def __init__(self, seed: int | str) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.random = random.Random(f"{seed}/schedule")
        self.now_s = 0.0
        self.events = 0
        self.digest = 0
        self._events_before = 0
        self._timers: list[tuple[float, int, asyncio.Handle, Process]] = []
        self._order = itertools.count()
        self._runnable: list[Process] = []
        self._disposing = False
        self.processes: list[Process] = []
        self.system = self.add_process("system")
        self._current = self.system
        self.failures: list[str] = []
        """What callbacks and tasks raised that nobody took."""
        self.set_exception_handler(lambda _loop, context: self.failures.append(_describe(context)))

    def add_process(self, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> Process:
        """A new process, with nothing to do yet."""
        process = Process(self, name, rate=rate, offset_s=offset_s)
        self.processes.append(process)
        return process

    # What asyncio asks of a loop

    def time(self) -> float:
        """The monotonic clock of the process that runs."""
        return self.now_s * self._current.rate

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        handle = asyncio.Handle(callback, args, self, context)
        self.push(self._owner(handle), handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio. From a Baton's thread it hands the baton back to the loop."""
        handle = self.call_soon(callback, *args, context=context)
        baton = Baton.current()
        if baton is not None:
            baton.give_back(args)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio; ``when`` is by the clock of the process that runs."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        owner = self._owner(handle)
        self._push_at(owner, max(self.now_s, when / owner.rate), handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        """See asyncio."""
        if self._disposing:
            coro.close()
            raise SimulationError("the simulation is over")
        task = SimTask(coro, loop=self, name=None if name is None else str(name), context=context)
        process: Process = (context or copy_context()).get(PROCESS) or self.system
        process.add_task(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return SimFuture(loop=self)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:  # noqa: ARG002
        """Raises SimulationError: there are no threads."""
        raise SimulationError(
            f"{func!r} asks for a thread, which the simulator does not have: make it a plain step, called with .aio()"
        )

    # The schedule

    def push(self, process: Process, handle: asyncio.Handle) -> None:
        """Put a callback at the end of a process's queue."""
        if not process.alive or self._disposing:
            return
        process.queue.append(handle)
        if not process.paused:
            self.list_runnable(process)

    def push_later(self, process: Process, delay_s: float, handle: asyncio.Handle) -> None:
        """The same after some time of the simulation's clock."""
        self._push_at(process, self.now_s + delay_s, handle)

    def list_runnable(self, process: Process) -> None:
        """The process has something to do."""
        if not process.listed:
            process.listed = True
            self._runnable.append(process)

    def _push_at(self, process: Process, when_s: float, handle: asyncio.Handle) -> None:
        if not self._disposing:
            heapq.heappush(self._timers, (when_s, next(self._order), handle, process))

    def _owner(self, handle: asyncio.Handle) -> Process:
        context = cast("Context", handle._context)  # type: ignore[attr-defined]  # noqa: SLF001 - where it is from
        return context.get(PROCESS) or self.system

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: a cancelled timer is dropped when its time comes."""

    def _run_once(self) -> None:
        timers = self._timers
        if not self._runnable:
            while timers and (timers[0][2].cancelled() or not timers[0][3].alive):
                heapq.heappop(timers)
            if not timers:
                raise Deadlock(f"after {self.now_s:.3f} simulated seconds nothing can run and no timer is set")
            if timers[0][0] > self.now_s:
                self.now_s = timers[0][0]
                self._events_before = self.events
        while timers and timers[0][0] <= self.now_s:
            _, _, handle, process = heapq.heappop(timers)
            if not handle.cancelled():
                self.push(process, handle)
        if self._runnable:
            self._run_one()

    def _run_one(self) -> None:
        runnable = self._runnable
        place = int(self.random.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[place]
        queue = process.queue
        if process.paused or not queue:
            runnable[place] = runnable[-1]
            runnable.pop()
            process.listed = False
            return
        handle = queue.popleft()
        if handle.cancelled():
            return
        self.events += 1
        if self.events - self._events_before > EVENTS_MAX:
            raise SimulationError(f"{EVENTS_MAX} callbacks ran at {self.now_s:.3f} s: somebody waits without sleeping")
        self.digest = hash((self.digest, int(self.now_s * 1e6), process.number, len(queue)))
        self._current = process
        handle._run()  # noqa: SLF001 - as BaseEventLoop does
        self._current = self.system

    # The end

    def close(self) -> None:
        """Dispose of what was left behind: whatever it still does has no effect any more."""
        if self.is_closed():
            return
        self._disposing = True
        self._timers.clear()
        for process in self.processes:
            process.queue.clear()
            for baton in process.batons:
                baton.dispose()
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it was killed
                    _close(task)
            process.tasks.clear()
            process.batons.clear()
        super().close()


def _close(task: asyncio.Task[Any]) -> None:
    """Unwind a killed task's coroutine, whose ``finally`` blocks find that nothing works any more."""
    coroutine: Any = task.get_coro()
    # The code of a dead process may raise whatever it likes: nobody is left to hear of it.
    with suppress(BaseException):
        coroutine.close()


def _describe(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return str(context.get("message")) + ("" if error is None else f": {type(error).__name__}: {error}")
