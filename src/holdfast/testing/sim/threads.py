"""Plain functions in a simulation: a real thread that runs only while the loop stands still.

The loop hands the baton to the thread and waits until it comes back: the function has returned, or it is a plain
workflow that has asked the loop for something and now waits for the answer. So there is never more than one of them
running, and the schedule stays the seed's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NoReturn

_PATIENCE_S = 5.0
"""How long disposing waits for a thread whose code swallows what unwinds it."""


class Disposed(BaseException):
    """Unwinds a thread that was left behind by a killed process."""


class Baton:
    """One function in one thread."""

    _local = threading.local()

    def __init__(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self._function = function
        self._done = done
        self._back = threading.Semaphore(0)
        self._freeze = threading.Event()
        self._replies: list[Future[Any]] = []
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="simulated", daemon=True)

    def start(self) -> None:
        """Run the function until it ends, asks or freezes."""
        self._thread.start()
        self._take()

    @classmethod
    def current(cls) -> Baton | None:
        """The Baton whose thread this is; None in any other thread."""
        return getattr(cls._local, "baton", None)

    def give_back(self, args: tuple[object, ...]) -> None:
        """In its thread: let the loop go on, and have it wait again as soon as it answers one of ``args``."""
        if self._freeze.is_set():
            raise Disposed
        for reply in args:
            if isinstance(reply, Future):
                self._await(reply)  # pyright: ignore[reportUnknownArgumentType] - of whatever
        self._back.release()

    def _await(self, reply: Future[Any]) -> None:
        self._replies.append(reply)
        reply.add_done_callback(lambda _reply: self._take())

    def _take(self) -> None:
        """In the loop's thread: wait until the baton is back."""
        self._back.acquire()

    def freeze(self) -> NoReturn:
        """In its thread: never go on, for the process was killed at this point."""
        self._back.release()
        self._freeze.wait()
        raise Disposed

    def dispose(self) -> None:
        """Unwind the thread, and wait until it has ended."""
        if self._ended or not self._thread.is_alive():
            return
        self._done = _ignore
        self._freeze.set()
        for reply in self._replies:
            if not reply.done():
                # It gives the baton back once more when it ends, which is what the reply's callback waits for.
                reply.set_exception(Disposed())
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        Baton._local.baton = self
        answer: Any = None
        error: BaseException | None = None
        try:
            answer = self._function()
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
            error = raised
        self._ended = True
        self._done(answer, error)
        self._back.release()


def _ignore(_answer: Any, _error: BaseException | None) -> None:
    """Nobody waits any more."""
