"""The body of a plain workflow: a thread that asks, and the loop that answers.

The body runs in a thread of its own. Each durable operation it calls is sent to the task of its branch, which executes
it on the loop like any other while the thread waits. When the run is unwound, so is the thread: its next operation
raises.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import FrameType
from typing import TYPE_CHECKING, Any

from holdfast.runtime.execution import Suspend
from holdfast.runtime.host import Host
from holdfast.workflow.context import Branch

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch

Operation = Callable[[Branch], Coroutine[Any, Any, Any]]


class PlainBody:
    """See the module's docstring."""

    def __init__(self, host: Host, branch: RunBranch) -> None:
        self._host = host
        self._branch = branch
        self._loop = branch.execution.loop
        self._requests: asyncio.Queue[tuple[Operation, Future[Any]] | None] = asyncio.Queue()
        self._closed = False
        self.caller: FrameType | None = None
        """Where the body's thread is, while it waits for an operation."""

    async def run(self, function: Callable[[], Any]) -> Any:
        """Execute the body and its operations; its result or exception."""
        context = contextvars.copy_context()
        thread = self._host.run_thread(lambda: context.run(function))
        thread.add_done_callback(lambda _done: self._requests.put_nowait(None))
        try:
            while (request := await self._requests.get()) is not None:
                operation, reply = request
                try:
                    answer = await operation(self._branch)
                except BaseException as error:  # noqa: BLE001 - raised again where the body waits
                    reply.set_exception(error)
                else:
                    reply.set_result(answer)
            return thread.result()
        finally:
            self._close()

    def in_body_thread(self) -> bool:
        """Whether the caller is the body's own thread, rather than an operation that runs on the loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
        return False

    def call(self, operation: Operation) -> Any:
        """From the body's thread: have an operation executed and wait for it."""
        reply: Future[Any] = Future()
        self.caller = inspect.currentframe()
        try:
            self._loop.call_soon_threadsafe(self._submit, operation, reply)
        except RuntimeError:  # the loop is closed: the worker is gone
            raise Suspend from None
        try:
            return reply.result()
        finally:
            self.caller = None

    def _submit(self, operation: Operation, reply: Future[Any]) -> None:
        if self._closed:
            reply.set_exception(Suspend())
        else:
            self._requests.put_nowait((operation, reply))

    def _close(self) -> None:
        self._closed = True
        while not self._requests.empty():
            request = self._requests.get_nowait()
            if request is not None:
                request[1].set_exception(Suspend())
