"""In-process wake-ups: who listens, and telling them all.

Every adapter's ``hints`` tells the listeners of its own process through this class; PostgreSQL's adds the
other processes.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import structs

from holdfast.model.ids import RunId
from holdfast.store.port import Hint

logger = logging.getLogger("holdfast.store")


def says_nothing(hint: Hint) -> bool:
    """Whether nobody needs to hear of it."""
    return not (
        hint.work or hint.signals or hint.ended != () or hint.live != () or hint.moved != () or hint.watch != ()
    )


class Watched:
    """The runs whose moves somebody wants to hear of. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[RunId | None] = Counter()

    def add(self, run_id: RunId | None) -> Callable[[], None]:
        """Watch a run, or all if None, until the returned function is called, which may be done twice."""
        with self._lock:
            self._counts[run_id] += 1
        left = [run_id]

        def remove() -> None:
            with self._lock:
                if left:
                    left.clear()
                    self._counts[run_id] -= 1
                    if not self._counts[run_id]:
                        del self._counts[run_id]

        return remove

    def of(self, moved: Sequence[RunId] | None) -> tuple[RunId, ...] | None:
        """Of runs that moved (None: some), those that are watched; None if it is not known which."""
        if not self._counts or moved == ():
            return ()
        with self._lock:
            if moved is None or None in self._counts:
                return None
            return tuple(run_id for run_id in dict.fromkeys(moved) if run_id in self._counts)


class LocalHints:
    """Fans each hint out to the listeners of this process, in the publisher's thread.

    Safe to call from any thread. A listener is called in the order of subscription, should return at once, and may
    subscribe, unsubscribe or publish itself. What a listener raises is logged and keeps nobody else from hearing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Callable[[Hint], None]] = {}
        self._number = 0
        self._watched = Watched()

    def publish(self, hint: Hint) -> None:
        """Tell every listener; one that says nothing is not sent. Never raises."""
        if says_nothing(hint):
            return
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(hint)
            except Exception:
                logger.exception("a listener for hints failed: %r", listener)

    def tell(self, hint: Hint, moved: Sequence[RunId] | None) -> None:
        """Publish a hint, and besides which of the runs that moved are watched; None if it is not known which moved."""
        watched = self._watched.of(moved)
        self.publish(hint if watched == () else structs.replace(hint, moved=watched))

    def watch(self, run_id: RunId | None) -> Callable[[], None]:
        """Want hints when this run moves or records something, or any run if None, until the function is called."""
        return self._watched.add(run_id)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call ``listener`` at each hint until the returned function is called, which may be done twice."""
        with self._lock:
            self._number += 1
            number = self._number
            self._listeners[number] = listener

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(number, None)

        return unsubscribe
