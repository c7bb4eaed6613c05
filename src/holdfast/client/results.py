"""Waiting for runs to end: one reader for all that this client waits for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from holdfast.errors import RunNotFound, StoreError
from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Run
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.runtime.host import Host
from holdfast.store.port import Hint, Store

POLL_S = 1.0
"""How often to look when no hint came."""

BATCH = 500


class Results:
    """Hints wake it, a slow poll covers lost hints, and each look reads all awaited runs at once."""

    def __init__(self, store: Store, host: Host, tenant: Tenant) -> None:
        self._store = store
        self._host = host
        self._tenant = tenant
        self._awaited: dict[RunId, list[asyncio.Future[Run]]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    async def wait(self, run_id: RunId, *, look_after_s: float = 0.0) -> Run:
        """The run, when it has ended. ``look_after_s``: when to look for the first time if no hint comes."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Run] = loop.create_future()
        self._awaited.setdefault(run_id, []).append(future)
        if self._unsubscribe is None:
            self._unsubscribe = self._store.hints.subscribe(lambda hint: self._from_any_thread(loop, hint))
        if self._task is None:
            self._task = loop.create_task(self._watch(), name="holdfast-results")
        first_look = loop.call_later(look_after_s, self._wake.set)
        try:
            return await future
        finally:
            first_look.cancel()
            waiting = self._awaited.get(run_id, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._awaited.pop(run_id, None)

    async def close(self) -> None:
        """Stop looking."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _from_any_thread(self, loop: asyncio.AbstractEventLoop, hint: Hint) -> None:
        if hint.ended is None or hint.ended:
            # A closed loop has no use for hints.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._hint, hint)

    def _hint(self, hint: Hint) -> None:
        if self._awaited and (hint.ended is None or any(run_id in self._awaited for run_id in hint.ended)):
            self._wake.set()

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            self._wake.clear()
            # The database does not answer, or the run was purged: those who wait have their own timeouts, and the next
            # look may succeed.
            with contextlib.suppress(StoreError, RunNotFound):
                await self._look()

    async def _look(self) -> None:
        wanted = list(self._awaited)
        if len(wanted) == 1:
            # The common case, and a statement of its own: a listing costs more than the database takes to answer it.
            run: Run = await self._host.call("client", self._store.get_run, self._tenant, wanted[0])
            if run.status in TERMINAL_STATUSES:
                self._settle(run)
            return
        for first in range(0, len(wanted), BATCH):
            runs: list[Run] = await self._host.call(
                "client", self._store.get_runs, self._tenant, wanted[first : first + BATCH]
            )
            for run in runs:
                if run.status in TERMINAL_STATUSES:
                    self._settle(run)

    def _settle(self, run: Run) -> None:
        futures: list[asyncio.Future[Any]] = self._awaited.pop(run.id, [])
        for future in futures:
            if not future.done():
                future.set_result(run)
