"""The worker's sign of life, sent from outside the event loop.

A blocked loop does not lose the worker's leases: a thread keeps them, and says loudly which blockage it sees. Only
after ``stall`` does it stop, so that others take over. A long hold of the GIL stops this thread too; if it outlasts the
lease, the database fences the runs that were taken over, and the worker reports each as lost.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable

from holdfast.errors import StoreError
from holdfast.model.ids import UnixMs
from holdfast.model.run import WorkerInfo
from holdfast.runtime.host import Host
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.port import Store

logger = logging.getLogger("holdfast.heartbeat")

BEATS_PER_LEASE = 3
"""Two may be lost before the lease is."""

LEASE_SHARE = 0.9
"""Of the lease, how much is counted on: clocks drift."""


class Heartbeat:
    """Extends the worker's lease while its event loop lives."""

    def __init__(self, store: Store, host: Host, settings: WorkerSettings, *, worker: WorkerInfo) -> None:
        self._store = store
        self._host = host
        self._settings = settings
        self._worker = worker
        self._answered_ms: UnixMs | None = None
        self._loop_seen_ms = host.monotonic_ms()
        self._extended_ms = host.monotonic_ms()
        self._beaten_ms = host.monotonic_ms()
        self._loop_thread = threading.get_ident()
        self._warned = False
        self._stop: Callable[[], None] | None = None

    @property
    def interval_ms(self) -> float:
        """Milliseconds between two beats."""
        return self._settings.lease_ms / BEATS_PER_LEASE

    @property
    def holds_lease(self) -> bool:
        """Whether the lease cannot have run out by now. Runs claimed without one are taken over at once."""
        return self._host.monotonic_ms() - self._extended_ms < self._settings.lease_ms * LEASE_SHARE

    def extended(self, asked_ms: float) -> None:
        """The lease was extended by a call that was sent then, by the host's monotonic clock."""
        self._extended_ms = asked_ms

    def start(self) -> None:
        """Begin to beat."""
        self._stop = self._host.beat(self.interval_ms, self.beat_once)

    def stop(self) -> None:
        """Beat no more."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def introduce(self, worker: WorkerInfo) -> None:
        """What is announced if the worker has to register again."""
        self._worker = worker

    def loop_is_alive(self) -> None:
        """Called by the event loop, often."""
        self._loop_seen_ms = self._host.monotonic_ms()
        self._warned = False

    def beat_once(self) -> UnixMs | None:
        """Extend the lease once, unless the loop has been blocked for longer than ``stall``. Never raises."""
        now_ms = self._host.monotonic_ms()
        late_ms = now_ms - self._beaten_ms
        self._beaten_ms = now_ms
        if late_ms > self._settings.lease_ms:
            logger.error(
                "no sign of life for %.1f s (the process was paused, or something held the GIL): "
                "runs of this worker may have been taken over",
                late_ms / 1000,
            )
        blocked_ms = now_ms - self._loop_seen_ms
        if blocked_ms > self._settings.lease_ms and not self._warned:
            self._warned = True
            logger.error("the event loop has been blocked for %.1f s by:\n%s", blocked_ms / 1000, self._loop_stack())
        if blocked_ms > self._settings.stall.total_seconds() * 1000:
            return None
        try:
            answer = self._store.heartbeat(self._worker.id, lease_ms=self._settings.lease_ms)
            if self._answered_ms is not None and answer - self._answered_ms > self._settings.lease_ms:
                # The lease had run out, maybe so long ago that the worker was forgotten. Only the database's clock can
                # tell: this process's own stands still while the machine sleeps.
                answer = self._store.register_worker(self._worker, lease_ms=self._settings.lease_ms)
        except StoreError as error:
            logger.warning("no heartbeat: %s", error)
            return None
        self._extended_ms = now_ms
        self._answered_ms = answer
        return answer

    def _loop_stack(self) -> str:
        # The documented way to see another thread's stack, in spite of its name.
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "(unknown)"
