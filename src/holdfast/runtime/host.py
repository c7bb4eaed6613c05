"""What the runtime needs from the process it lives in: clock, chance, threads.

Everything else in the runtime takes these as arguments, so that the simulator can run it on a virtual clock and
without threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, Protocol, TypeVar

from holdfast.core.ids import uuid7
from holdfast.errors import StepError

T = TypeVar("T")

GARBAGE_THRESHOLDS: Final = (50_000, 20, 20)
"""A worker holds thousands of live tasks, which every young collection would walk again: with these it drains a sixth
more three-step runs per second (PostgreSQL 18, 2 cores: 6,822 against 5,972)."""


def calm_garbage_collector() -> None:
    """Collect less often, and leave alone what is loaded by now. For a process that is a worker and nothing else."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def run_on_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a program to its end on the quicker event loop, uvloop, where it is installed; else on asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


LANES: Final = ("commit-1", "commit-2", "claim", "keep", "client")
"""The threads that call the store: a slow call in one holds up nothing in the others."""


class Host(Protocol):
    """The process, as the runtime sees it."""

    @property
    def name(self) -> str:
        """The machine's name."""
        ...

    @property
    def pid(self) -> int:
        """The process's id."""
        ...

    def monotonic_ms(self) -> float:
        """A clock that only goes forward, in milliseconds."""
        ...

    def random(self) -> float:
        """A random number, at least 0 and below 1."""
        ...

    def new_id(self) -> str:
        """A new UUID, version 7."""
        ...

    def call(self, lane: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        """Call a blocking store method on a lane; one call at a time and in order per lane."""
        ...

    def run_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run user code in a thread of its own or of a pool. Cancelling the future abandons the thread's result."""
        ...

    def beat(self, interval_ms: float, heartbeat: Callable[[], object]) -> Callable[[], None]:
        """Call ``heartbeat`` again and again, from outside the event loop, until the returned function is called."""
        ...

    def was_forked(self) -> bool:
        """Whether this is a forked child of the process that made the host."""
        ...


class ProcessHost:
    """A real process: real clocks, real threads."""

    def __init__(self, *, threads: int = 64) -> None:
        self.name = platform.node()
        self.pid = os.getpid()
        self._random = random.Random()
        self._lanes: dict[str, Lane] = {}
        self._pool = ThreadPool(threads)

    def monotonic_ms(self) -> float:
        """Milliseconds on the monotonic clock."""
        return time.monotonic() * 1000

    def random(self) -> float:
        """From the operating system's seed."""
        return self._random.random()

    def new_id(self) -> str:
        """By the wall clock and 74 random bits."""
        return uuid7(time.time_ns() // 1_000_000, self._random.getrandbits(74))

    def call(self, lane: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        """See Host."""
        thread = self._lanes.get(lane)
        if thread is None:
            thread = self._lanes[lane] = Lane(f"holdfast-{lane}")
        return thread.call(function, args, kwargs)

    def run_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """See Host."""
        return self._pool.run(function)

    def beat(self, interval_ms: float, heartbeat: Callable[[], object]) -> Callable[[], None]:
        """See Host: a daemon thread."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(interval_ms / 1000):
                heartbeat()

        thread = threading.Thread(target=run, name="holdfast-heartbeat", daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()

        return end

    def was_forked(self) -> bool:
        """Compare the process id."""
        return os.getpid() != self.pid

    def close(self) -> None:
        """End the lanes and the idle threads."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._pool.close()


class Lane:
    """One thread that makes blocking calls in order and answers on the caller's event loop."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[T]:
        """The future of ``function(*args, **kwargs)``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, function, args, kwargs))
        return future

    def close(self) -> None:
        """End the thread after the calls that are under way."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, function, args, kwargs = call
            try:
                answer, error = function(*args, **kwargs), None
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                answer, error = None, raised
            # A closed loop has nobody left who waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, answer, error)
            del call, loop, future, function, args, kwargs, answer, error


class ThreadPool:
    """Threads for user code. An abandoned thread (one that never returns) does not use up the pool's room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._work: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0
        self._closed = False

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """The future of ``function()``; it waits in line if all threads are busy."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        abandoned = threading.Event()
        future.add_done_callback(lambda done: abandoned.set() if done.cancelled() else None)
        future.add_done_callback(lambda done: self._replace() if done.cancelled() else None)
        self._work.put((loop, future, function, abandoned))
        with self._lock:
            if self._free <= 0 and self._threads < self._size:
                self._add()
            else:
                self._free -= 1
        return future

    def close(self) -> None:
        """End the threads that are idle; busy ones are daemons and end with the process."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._work.put(None)

    def _add(self) -> None:
        self._threads += 1
        threading.Thread(target=self._run, name="holdfast-step", daemon=True).start()

    def _replace(self) -> None:
        with self._lock:
            if not self._closed:
                self._add()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            loop, future, function, abandoned = work
            if not abandoned.is_set():
                try:
                    answer, error = function(), None
                except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                    answer, error = None, raised
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_settle, future, answer, error)
                del answer, error
            with self._lock:
                self._free += 1
                if abandoned.is_set():
                    # A replacement was started when this thread was given up for lost.
                    self._threads -= 1
                    self._free -= 1
                    return
            del work, loop, future, function, abandoned


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    elif isinstance(error, (StopIteration, GeneratorExit)):
        # Thrown into a coroutine, these would close it instead of telling it.
        future.set_exception(StepError(type=type(error).__name__, message=str(error)))
    else:
        future.set_exception(error)


@contextmanager
def ending_forked_children(host: Host, step: str) -> Generator[None, None, None]:
    """A handler that forks may come back twice: the child must not go on with its parent's connections and leases."""
    try:
        yield
    finally:
        if host.was_forked():
            end_forked_child(step)


def end_forked_child(step: str) -> NoReturn:
    """Say why, and end this process at once."""
    message = (
        f"holdfast: step {step!r} forked and returned in the child process, which ends here; "
        "use subprocess, or end the child with os._exit()\n"
    )
    # Not through sys.stderr: another thread of the parent may have held its lock at that moment.
    os.write(2, message.encode())
    os._exit(70)
