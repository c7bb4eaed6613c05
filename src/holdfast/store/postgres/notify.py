"""Wake-ups between processes by NOTIFY and LISTEN. Only ever hints: everything here may fail and nothing is lost.

What is published when little happens is sent at once, on a connection of the pool that was just used: another thread
and another connection would take a while to wake. Otherwise one thread sends it, coalesced. Notifications are
transactions of their own that wait for no disk. Another thread listens. Each of the two has a connection of its own and
opens it anew, with growing, jittered pauses, when it was lost.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import psycopg
from msgspec import Struct, structs

from holdfast.errors import StoreError
from holdfast.model.ids import RunId
from holdfast.store.hints import LocalHints, says_nothing
from holdfast.store.port import Hint
from holdfast.store.postgres.connection import Connection, Pool
from holdfast.store.postgres.statements import statement

PAYLOAD_BYTES_MAX: Final = 7_900
"""NOTIFY takes less than 8,000 bytes."""

INTERVAL_S: Final = 0.002
"""The least time between two notifications."""

BUSY_INTERVAL_S: Final = 0.02
"""The same while many runs end: nobody waits for a single one then, and each notification costs a transaction."""

_BUSY_IDS: Final = 32
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_JOIN_S: Final = 5.0
WATCHED_S: Final = 15.0
"""How long a process goes on to tell others of runs that they have asked for once."""

_EVERYTHING: Final = Hint(work=True, ended=None, live=None, moved=None)
logger = logging.getLogger("holdfast.store")


class Notice(Struct, omit_defaults=True):
    """What goes over the channel. None: some, but it is not known which."""

    sender: str = ""
    """Which store sent it; empty for what the sender's own listeners are to hear by the channel, too."""
    work: bool = False
    ended: list[RunId] | None = []
    live: list[RunId] | None = []
    signals: bool = False
    moved: list[RunId] | None = []
    watch: list[RunId] | None = []


def encode_notice(sender: str, hint: Hint) -> str:
    """The payload for a hint, shortened to "it is not known which" if it would be too long."""
    ended = None if hint.ended is None else list(dict.fromkeys(hint.ended))
    live = None if hint.live is None else list(dict.fromkeys(hint.live))
    moved = None if hint.moved is None else list(hint.moved)
    watch = None if hint.watch is None else list(dict.fromkeys(hint.watch))
    some: list[list[RunId] | None] = [[] if ids == [] else None for ids in (ended, moved, watch)]
    some_ended, some_moved, some_watched = some
    for notice in (
        Notice(sender, hint.work, ended, live, hint.signals, moved, watch),
        Notice(sender, hint.work, some_ended, live, hint.signals, some_moved, some_watched),
    ):
        text = msgspec.json.encode(notice)
        if len(text) <= PAYLOAD_BYTES_MAX:
            return text.decode()
    return msgspec.json.encode(
        Notice(sender, hint.work, some_ended, None, hint.signals, some_moved, some_watched)
    ).decode()


def decode_notice(payload: str) -> tuple[str, Hint]:
    """Who sent a payload, and the hint in it; one that cannot be read means that anything may have happened."""
    try:
        notice = msgspec.json.decode(payload, type=Notice)
    except (msgspec.DecodeError, UnicodeError):
        return "", _EVERYTHING
    ended, live, moved, watch = (
        None if ids is None else tuple(ids) for ids in (notice.ended, notice.live, notice.moved, notice.watch)
    )
    hint = Hint(work=notice.work, signals=notice.signals, ended=ended, live=live, moved=moved, watch=watch)
    return notice.sender, hint


class PostgresHints:
    """``Hints`` of a PostgreSQL database: listeners here are told at once, other processes a moment later."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        sender: str,
        listen: bool,
        jitter: Callable[[], float],
        pool: Pool | None = None,
    ) -> None:
        self._local = LocalHints()
        self._elsewhere = _WatchedElsewhere()
        self._sender = _Sender(connect, sender=sender, jitter=jitter, pool=pool)
        self._listener = _Listener(connect, self._hear, sender=sender, jitter=jitter) if listen else None

    def publish(self, hint: Hint) -> None:
        """Tell everyone who listens. Never blocks, never raises."""
        if says_nothing(hint):
            return
        self._local.publish(hint)
        self._sender.add(hint)

    def tell(self, hint: Hint, moved: Sequence[RunId] | None) -> None:
        """Publish a hint, and besides which of the runs that moved are watched; None if it is not known which moved."""
        self._local.tell(hint, moved)
        watched = self._elsewhere.of(moved)
        told = hint if watched == () else structs.replace(hint, moved=watched)
        if not says_nothing(told):
            self._sender.add(told)

    def watch(self, run_id: RunId | None) -> Callable[[], None]:
        """Want hints when this run moves or records something, or any run if None, until the function is called."""
        self._sender.add(Hint(watch=None if run_id is None else (run_id,)))
        return self._local.watch(run_id)

    def _hear(self, hint: Hint) -> None:
        self._elsewhere.note(hint.watch)
        self._local.publish(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call ``listener`` at each hint. The first one starts the thread that listens to other processes."""
        unsubscribe = self._local.subscribe(listener)
        if self._listener is not None:
            self._listener.start()
        return unsubscribe

    def close(self) -> None:
        """End both threads. What was published and not yet sent is lost. Idempotent."""
        self._sender.close()
        if self._listener is not None:
            self._listener.close()


class _WatchedElsewhere:
    """The runs that other processes have asked for of late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until_s: dict[RunId | None, float] = {}

    def note(self, watch: tuple[RunId, ...] | None) -> None:
        """Another process watches these runs; None: all."""
        if watch == ():
            return
        now_s = time.monotonic()
        with self._lock:
            for run_id in (None,) if watch is None else watch:
                self._until_s[run_id] = now_s + WATCHED_S
            self._until_s = {run_id: until_s for run_id, until_s in self._until_s.items() if until_s > now_s}

    def of(self, moved: Sequence[RunId] | None) -> tuple[RunId, ...] | None:
        """Of runs that moved (None: some), those that are watched; None if it is not known which."""
        if not self._until_s or moved == ():
            return ()
        now_s = time.monotonic()
        with self._lock:
            if self._until_s.get(None, 0.0) > now_s:
                return None
            if moved is None:
                return None if any(until_s > now_s for until_s in self._until_s.values()) else ()
            return tuple(run_id for run_id in dict.fromkeys(moved) if self._until_s.get(run_id, 0.0) > now_s)


class _Sender:
    def __init__(
        self, connect: Callable[[], Connection], *, sender: str, jitter: Callable[[], float], pool: Pool | None
    ) -> None:
        self._connect = connect
        self._pool = pool
        self._sender = sender
        self._jitter = jitter
        self._free_s = 0.0
        """From when on, by the monotonic clock, a notification may be sent at once."""
        self._condition = threading.Condition()
        self._pending: list[Hint] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()

    def add(self, hint: Hint) -> None:
        if self._may_send(hint) and self._send_at_once(hint):
            return
        with self._condition:
            if self._closed:
                return
            self._pending.append(hint)
            if self._thread is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="holdfast-notify", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _may_send(self, hint: Hint) -> bool:
        """Whether this one can go out at once; the next one then waits for its interval."""
        if len(hint.ended or ()) > _BUSY_IDS or (hint.moved is None and not hint.work):
            return False
        with self._condition:
            now_s = time.monotonic()
            if self._closed or self._pending or now_s < self._free_s:
                return False
            self._free_s = now_s + INTERVAL_S
            return True

    def _send_at_once(self, hint: Hint) -> bool:
        if self._pool is None:
            return False
        try:
            with self._pool.idle_connection() as connection:
                if connection is None:
                    return False
                self._send(connection, hint)
        except psycopg.Error as error:
            logger.warning("hints cannot be sent: %s", error)
            return False
        return True

    def _send(self, connection: Connection, hint: Hint) -> None:
        connection.execute(statement("notify"), {"payload": encode_notice(self._sender, hint)})

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _run(self) -> None:
        connection: Connection | None = None
        pause = _PAUSE_FIRST_S
        while (hint := self._take()) is not None:
            try:
                connection = connection or self._connect()
                self._send(connection, hint)
                is_busy = len(hint.ended or ()) > _BUSY_IDS or hint.moved is None
                interval = BUSY_INTERVAL_S if is_busy else INTERVAL_S
                pause = _PAUSE_FIRST_S
            except (StoreError, psycopg.Error) as error:
                logger.warning("hints cannot be sent: %s", error)
                _close(connection)
                connection = None
                interval, pause = pause * (0.5 + self._jitter()), min(pause * 2, _PAUSE_MAX_S)
            self._wait(interval)
        _close(connection)

    def _take(self) -> Hint | None:
        """All that was published meanwhile as one hint, or None at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._closed)
            if self._closed:
                return None
            pending, self._pending = self._pending, []
            self._free_s = time.monotonic() + INTERVAL_S
        return join_hints(pending)

    def _wait(self, seconds: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._closed, timeout=seconds)


def join_hints(hints: list[Hint]) -> Hint:
    """Several hints as one."""
    return Hint(
        work=any(hint.work for hint in hints),
        signals=any(hint.signals for hint in hints),
        ended=_join(hint.ended for hint in hints),
        live=_join(hint.live for hint in hints),
        moved=_join(hint.moved for hint in hints),
        watch=_join(hint.watch for hint in hints),
    )


def _join(parts: Iterable[tuple[RunId, ...] | None]) -> tuple[RunId, ...] | None:
    joined: dict[RunId, None] = {}
    for ids in parts:
        if ids is None:
            return None
        joined.update(dict.fromkeys(ids))
    return tuple(joined)


class _Listener:
    def __init__(
        self,
        connect: Callable[[], Connection],
        hear: Callable[[Hint], None],
        *,
        sender: str,
        jitter: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._hear_hint = hear
        self._sender = sender
        self._jitter = jitter
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._wake_read, self._wake_write = os.pipe()

    def start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="holdfast-listen", daemon=True)
                self._thread.start()

    def close(self) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
            thread = self._thread
        os.write(self._wake_write, b"x")
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)
        if thread is None or not thread.is_alive():
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        pause = _PAUSE_FIRST_S
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._listen()
            except (StoreError, psycopg.Error, OSError) as error:
                logger.warning("hints cannot be heard: %s", error)
            if time.monotonic() - began > _PAUSE_MAX_S:
                pause = _PAUSE_FIRST_S
            self._closed.wait(pause * (0.5 + self._jitter()))
            pause = min(pause * 2, _PAUSE_MAX_S)

    def _listen(self) -> None:
        """Pass on what comes, until the connection is lost or this is closed."""
        connection = self._connect()
        try:
            connection.execute("listen holdfast")
            # What was sent while nobody listened here is not known.
            self._hear_hint(_EVERYTHING)
            with selectors.DefaultSelector() as selector:
                selector.register(connection.fileno(), selectors.EVENT_READ)
                selector.register(self._wake_read, selectors.EVENT_READ)
                while not self._closed.is_set():
                    selector.select()
                    connection.pgconn.consume_input()
                    while (notification := connection.pgconn.notifies()) is not None:
                        self._hear(notification.extra)
        finally:
            connection.close()

    def _hear(self, payload: bytes) -> None:
        sender, hint = decode_notice(payload.decode("utf-8", "replace"))
        if sender != self._sender:
            self._hear_hint(hint)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
