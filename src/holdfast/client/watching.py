"""Waiting for a run, or any run, to do something: hints wake it, and a slow poll covers lost hints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from holdfast.model.ids import RunId
from holdfast.store.port import Hint, Hints

POLL_FIRST_S: Final = 0.05
"""When to look again for the first time: other processes may not know yet that somebody watches."""

POLL_MAX_S: Final = 2.0
"""How often to look if no hint comes."""

_SLOWER: Final = 4
_RENEW_S: Final = 5.0


class Watch:
    """``async with Watch(...) as watch``: read what there is, then ``wait``, and read again."""

    def __init__(self, hints: Hints, run_id: RunId | None) -> None:
        self._hints = hints
        self._run_id = run_id
        self._loop = asyncio.get_running_loop()
        self._happened = asyncio.Event()
        self._pause_s = POLL_FIRST_S
        self._renewed_s = self._loop.time()
        self._unsubscribe: Callable[[], None] | None = None
        self._unwatch: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        self._unsubscribe = self._hints.subscribe(self._from_any_thread)
        self._unwatch = self._hints.watch(self._run_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._unsubscribe, self._unwatch):
            if end is not None:
                end()

    def look(self) -> None:
        """To be called before each read: what happens from now on ends the next ``wait`` at once."""
        self._happened.clear()

    def found(self) -> None:
        """The read found something: more may follow soon."""
        self._pause_s = POLL_FIRST_S

    async def wait(self, limit_s: float = POLL_MAX_S) -> None:
        """Until a hint comes, or it is time to look all the same."""
        if self._loop.time() - self._renewed_s > _RENEW_S:
            self._renew()
        try:
            async with asyncio.timeout(min(self._pause_s, limit_s)):
                await self._happened.wait()
        except TimeoutError:
            self._pause_s = min(self._pause_s * _SLOWER, POLL_MAX_S)

    def _renew(self) -> None:
        self._renewed_s = self._loop.time()
        before, self._unwatch = self._unwatch, self._hints.watch(self._run_id)
        if before is not None:
            before()

    def _from_any_thread(self, hint: Hint) -> None:
        if self._is_for_us(hint):
            # A closed loop has no use for hints.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._happened.set)

    def _is_for_us(self, hint: Hint) -> bool:
        if self._run_id is None:
            return hint.work or hint.ended != () or hint.moved != ()
        return any(ids is None or self._run_id in ids for ids in (hint.moved, hint.ended))
