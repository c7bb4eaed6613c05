"""In-process wake-ups: who listens, and telling them all.

Every adapter's ``hints`` tells the listeners of its own process through this class; PostgreSQL's adds the
other processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from holdfast.store.port import Hint

_log = structlog.get_logger(__name__)


class LocalHints:
    """Fans each hint out to the listeners of this process, in the publisher's thread.

    Safe to call from any thread. A listener is called in the order of subscription, should return at once, and may
    subscribe, unsubscribe or publish itself. What a listener raises is logged and keeps nobody else from hearing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Callable[[Hint], None]] = {}
        self._number = 0

    def publish(self, hint: Hint) -> None:
        """Tell every listener; one that says nothing is not sent. Never raises."""
        if not (hint.work or hint.signals or hint.ended != () or hint.live != ()):
            return
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(hint)
            except Exception:  # noqa: BLE001 - the publisher's work is done already, and a hint may be lost
                _log.exception("hint_listener_failed", listener=repr(listener))

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
