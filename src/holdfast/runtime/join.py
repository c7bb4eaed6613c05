"""Branches side by side, and the one that waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.runtime.execution import BranchStopped
from holdfast.runtime.unread import without_prefix

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch

Call = tuple[str, Callable[[], Awaitable[Any]]]
"""A branch to start: the end of its scope, and what it runs."""


class Join:
    """Runs calls in branches of their own, at most so many at once, and waits until all have ended.

    With ``stop_at_failure`` the first failure stops the others at their next durable operation. A handler that runs is
    let finish, so that its outcome is recorded and can be compensated.
    """

    def __init__(self, parent: RunBranch, scope: str, *, stop_at_failure: bool, between: str = "[") -> None:
        self.parent = parent
        self.execution = parent.execution
        self.scope = scope
        self.prefix = scope + between
        """How the scopes and keys of all its branches begin."""
        self.stop_at_failure = stop_at_failure
        self.results: list[Any] = []
        self.running: dict[int, RunBranch] = {}
        self.ready: deque[tuple[int, Call]] = deque()
        self.stopping = False
        self.done: asyncio.Future[None] | None = None

    async def run(self, calls: Sequence[Call], *, width: int) -> list[Any]:
        """The results in order; a branch that failed has its exception there."""
        self.results = [None] * len(calls)
        self.ready.extend(enumerate(calls))
        for _ in range(min(width, len(calls))):
            self._start_next()
        try:
            while self.running:
                await self._wait()
        except asyncio.CancelledError:
            self._stop_all()
            while self.running:
                await self._wait()
            raise
        return self.results

    async def _wait(self) -> None:
        execution = self.execution
        self.done = done = execution.loop.create_future()
        execution.joins[done] = None
        execution.block()
        try:
            await done
        except asyncio.CancelledError:
            execution.active += 1
            raise
        finally:
            self.done = None
            del execution.joins[done]

    def _start_next(self) -> None:
        index, (name, call) = self.ready.popleft()
        branch = self.parent.spawn(self.scope, name, call)
        self.running[index] = branch
        assert branch.task is not None
        branch.task.add_done_callback(lambda task: self._ended(index, task))

    def _ended(self, index: int, task: asyncio.Task[Any]) -> None:
        execution = self.execution
        del self.running[index]
        failure: BaseException | None
        try:
            failure = task.exception()
        except asyncio.CancelledError as stopped:
            failure = stopped
        self.results[index] = task.result() if failure is None else failure
        if execution.ending is not None:
            return
        if failure is not None and self.stop_at_failure and not isinstance(failure, BranchStopped):
            self._stop_others()
        if self.ready and not self.stopping:
            self._start_next()
        # The parent counts as active before the branch stops counting, so that the run never looks quiet between.
        if not self.running and self.done is not None and not self.done.done():
            execution.active += 1
            self.done.set_result(None)
        execution.block()

    def _stop_others(self) -> None:
        """The first failure: the others go no further, and what they had recorded is read no more."""
        if self.stopping:
            return
        self.stopping = True
        execution = self.execution
        execution.unread = without_prefix(execution.unread, self.prefix)
        for branch in list(execution.branches.values()):
            if branch.scope.startswith(self.prefix):
                branch.stop()
        self._fill_unstarted()

    def _fill_unstarted(self) -> None:
        for index, _ in self.ready:
            self.results[index] = BranchStopped()

    def _stop_all(self) -> None:
        self.stopping = True
        self._fill_unstarted()
        for branch in self.running.values():
            branch.cancel()
