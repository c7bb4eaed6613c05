"""Branches that are started one by one, and the one that waits for them: what walks a graph."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from holdfast.runtime.execution import BranchStopped
from holdfast.runtime.unread import without_prefix

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch


class Crew:
    """As ``Join``, but what is started next depends on what ended."""

    def __init__(self, parent: RunBranch, scope: str) -> None:
        self.parent = parent
        self.execution = parent.execution
        self.scope = scope
        self.running: dict[str, RunBranch] = {}
        self._ended: deque[tuple[str, Any]] = deque()
        self._news: asyncio.Future[None] | None = None

    def start(self, name: str, call: Callable[[], Awaitable[Any]]) -> None:
        """Run ``call`` in a branch of its own."""
        branch = self.parent.spawn(self.scope, name, call)
        self.running[name] = branch
        assert branch.task is not None
        branch.task.add_done_callback(lambda task: self._note(name, task))

    async def ended(self) -> list[tuple[str, Any]]:
        """What ended since the last call, at least one: its name, and its result or exception.

        Raises:
            Suspend, asyncio.CancelledError: the run is being stopped; nothing runs any more then.
        """
        try:
            while not self._ended:
                await self._wait()
        except asyncio.CancelledError:
            for branch in self.running.values():
                branch.cancel()
            while self.running:
                await self._wait()
            raise
        ended = list(self._ended)
        self._ended.clear()
        return ended

    async def stop(self) -> None:
        """Let the others go no further than their next operation, and wait until all have ended.

        What they had recorded is read no more.
        """
        execution, scope = self.execution, self.scope
        execution.unread = without_prefix(execution.unread, scope)
        for branch in list(execution.branches.values()):
            if branch is not self.parent and branch.scope.startswith(scope):
                branch.stop()
        while self.running:
            await self.ended()

    async def _wait(self) -> None:
        execution = self.execution
        self._news = news = execution.loop.create_future()
        execution.joins[news] = None
        execution.block()
        try:
            await news
        except asyncio.CancelledError:
            if not news.done() or news.cancelled():
                execution.active += 1
            raise
        finally:
            self._news = None
            del execution.joins[news]

    def _note(self, name: str, task: asyncio.Task[Any]) -> None:
        execution = self.execution
        del self.running[name]
        failure: BaseException | None
        try:
            failure = task.exception()
        except asyncio.CancelledError as stopped:
            failure = stopped if isinstance(stopped, BranchStopped) else BranchStopped()
        self._ended.append((name, task.result() if failure is None else failure))
        if execution.ending is not None:
            return
        # The parent counts as active before the branch stops counting, so that the run never looks quiet between.
        if self._news is not None and not self._news.done():
            execution.active += 1
            self._news.set_result(None)
        execution.block()
