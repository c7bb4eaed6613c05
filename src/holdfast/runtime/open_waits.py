"""The open waits that a run's branches wait for in memory, and what is to be known of all of them.

A fan-out has thousands, and each one's end is news: so what is asked at every news (is there a child among them, which
is due next) is kept, instead of being looked for among all.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from typing import Final

from holdfast.model.ids import UnixMs
from holdfast.model.run import Wait
from holdfast.model.status import WaitKind

_CLOSED_BY_OTHERS: Final = frozenset({WaitKind.SIGNAL, WaitKind.CHILD, WaitKind.APPROVAL, WaitKind.BREAKER})


class OpenWaits:
    """By key, in the order in which branches came to them."""

    __slots__ = ("_asked", "_dues", "_futures", "_heap", "_kinds", "children", "of_others")

    def __init__(self) -> None:
        self._futures: dict[str, asyncio.Future[Wait]] = {}
        self._kinds: dict[str, WaitKind] = {}
        self._dues: dict[str, UnixMs] = {}
        self._asked: set[str] = set()
        self._heap: list[tuple[UnixMs, str]] = []
        """Soonest first; an entry whose wait has been taken, or has another due time, is passed over."""
        self.children = 0
        """How many wait for a child."""
        self.of_others = 0
        """How many somebody else may close: a signal's sender, a child, a person, a breaker."""

    def __bool__(self) -> bool:
        return bool(self._futures)

    def __len__(self) -> int:
        return len(self._futures)

    def __contains__(self, key: str) -> bool:
        return key in self._futures

    def __iter__(self) -> Iterator[str]:
        return iter(self._futures)

    def add(self, wait: Wait, future: asyncio.Future[Wait]) -> None:
        """A branch waits for this one."""
        self._futures[wait.key] = future
        self._kinds[wait.key] = wait.kind
        self.children += wait.kind is WaitKind.CHILD
        self.of_others += wait.kind in _CLOSED_BY_OTHERS
        self.learn(wait)

    def learn(self, wait: Wait) -> None:
        """The database's word on when one is due."""
        due_ms = wait.due_ms
        self._asked.discard(wait.key)
        if due_ms is not None and wait.key in self._futures and self._dues.get(wait.key) != due_ms:
            self._dues[wait.key] = due_ms
            heapq.heappush(self._heap, (due_ms, wait.key))

    def get(self, key: str) -> asyncio.Future[Wait] | None:
        """Who waits for it."""
        return self._futures.get(key)

    def take(self, key: str) -> asyncio.Future[Wait] | None:
        """The branch waits for it no longer."""
        future = self._futures.pop(key, None)
        if future is not None:
            kind = self._kinds.pop(key)
            self.children -= kind is WaitKind.CHILD
            self.of_others -= kind in _CLOSED_BY_OTHERS
            self._dues.pop(key, None)
            self._asked.discard(key)
        return future

    def take_all(self) -> list[asyncio.Future[Wait]]:
        """Nobody waits for any of them any longer."""
        futures = list(self._futures.values())
        self._futures.clear()
        self._kinds.clear()
        self._dues.clear()
        self._asked.clear()
        self._heap.clear()
        self.children = self.of_others = 0
        return futures

    @property
    def next_due_ms(self) -> UnixMs | None:
        """When the next one is due; None if none has a time."""
        while self._heap:
            due_ms, key = self._heap[0]
            if self._dues.get(key) == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def take_due(self, now_ms: UnixMs) -> list[str]:
        """Those that are due, to be asked for once: they are due again only when the database says when."""
        found: list[str] = []
        while (due_ms := self.next_due_ms) is not None and due_ms <= now_ms:
            _, key = heapq.heappop(self._heap)
            del self._dues[key]
            found.append(key)
        self._asked.update(found)
        return found

    def is_due_by(self, moment_ms: float) -> bool:
        """Whether one is due by then, or was, and the database has not said yet that it has ended."""
        due_ms = self.next_due_ms
        return bool(self._asked) or (due_ms is not None and due_ms <= moment_ms)
