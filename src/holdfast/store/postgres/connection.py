"""Connections: how they are opened, what they load and dump, and the pool that lends them out.

Nothing here outlives a transaction on the server (no ``SET``, no session lock), so the store works through a pooler in
transaction mode; ``prepare=False`` if that pooler does not know prepared statements.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, Format, TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.store.postgres.sqlstate import Meaning, meaning_of
from holdfast.store.urls import UNREADABLE, one_line, read_scheme, shown

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]
Cursor = psycopg.Cursor[Row]

PREPARE_THRESHOLD: Final = 3
"""A statement is prepared when it is executed for the fourth time on a connection."""

_JSON_OID: Final = 114
_TEXT_OID: Final = 25
_UUID_OID: Final = 2950

_DEFAULTS: Final = {
    "application_name": "holdfast",
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # Milliseconds that sent data may stay unacknowledged: a peer that vanished is noticed within half a minute.
    "tcp_user_timeout": 30_000,
}


class Document(bytes):
    """A JSON document as a parameter: sent as it is."""

    __slots__ = ()


class _DocumentDumper(Dumper):
    # Binary, so that a NUL byte reaches the server, which refuses it, instead of cutting the text short.
    format = Format.BINARY
    oid = _JSON_OID

    def dump(self, obj: Document) -> Buffer | None:
        return obj


class _RawJsonLoader(Loader):
    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def adapt(context: AdaptContext) -> None:
    """Let a connection or cursor send Documents, and return ids as text and payloads as the bytes they are."""
    adapters: AdaptersMap = context.adapters
    adapters.register_dumper(Document, _DocumentDumper)
    adapters.register_loader(_JSON_OID, _RawJsonLoader)
    as_text = psycopg.adapters.get_loader(_TEXT_OID, Format.TEXT)
    if as_text is not None:
        adapters.register_loader(_UUID_OID, as_text)


_SETTINGS: Final = (
    # A prepared statement keeps its plan, and one made while a table is small reads all of it, long after it grew.
    "enable_seqscan=off",
    # Its parameters are lists of unknown length, so that PostgreSQL takes planning anew each time for the better deal:
    # a third of what a small claim or commit takes.
    "plan_cache_mode=force_generic_plan",
    "jit=off",
    # What the statements of a pipeline share is a transaction without BEGIN.
    "default_transaction_isolation=read\\ committed",
)
"""How the server is to treat our own statements."""


class Address:
    """Where the database is: the URL, and how to connect to it."""

    def __init__(self, url: str, *, prepare: bool) -> None:
        self.shown, self._conninfo = _read_url(url)
        self._prepare = prepare

    @property
    def plain(self) -> dict[str, Any]:
        """The keyword arguments of ``connect`` for user code."""
        return {**self._conninfo, "prepare_threshold": PREPARE_THRESHOLD if self._prepare else None}

    @property
    def ours(self) -> dict[str, Any]:
        """The keyword arguments of ``connect`` for our own statements."""
        if not self._prepare:
            return self.plain
        options = " ".join([self._conninfo.get("options") or "", *(f"-c {one}" for one in _SETTINGS)])
        return {**self.plain, "options": options.strip()}

    def connect(self) -> Connection:
        """Open a connection for our own statements.

        Raises: StoreUnavailable if nobody answers; StoreMisconfigured if the server refuses us or cannot be written to.
        """
        connection = self._connect(self.ours)
        adapt(connection)
        return connection

    def connect_plain(self) -> Connection:
        """Open a connection for user code: the driver's usual types and plans. Raises as ``connect``."""
        return self._connect(self.plain)

    def _connect(self, options: dict[str, Any]) -> Connection:
        try:
            connection: Connection = psycopg.connect(**options, autocommit=True, row_factory=tuple_row)
        except psycopg.Error as error:
            raise self.refusal(error) from error
        try:
            self.check_writable(connection.info)
        except StoreMisconfigured:
            connection.close()
            raise
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        return connection

    def check_writable(self, info: psycopg.ConnectionInfo) -> None:
        """Refuse a standby, and a server where transactions are read-only. Raises StoreMisconfigured."""
        for parameter in ("in_hot_standby", "default_transaction_read_only"):
            if info.parameter_status(parameter) == "on":
                raise StoreMisconfigured(url=self.shown, why=f"it is read-only ({parameter} is on); name the primary")

    def refusal(self, error: psycopg.Error) -> StoreMisconfigured | StoreUnavailable:
        """What a failed attempt to connect means."""
        # libpq reports the server's answer to a login only as text. A wrong password or database will stay wrong.
        text = one_line(error)
        if "unsupported startup parameter" in text:
            return StoreMisconfigured(url=self.shown, why=f"a pooler needs prepare=False, listen=False: {text}")
        if meaning_of(error) is Meaning.MISCONFIGURED or any(one in text for one in _LOGIN_REFUSALS):
            return StoreMisconfigured(url=self.shown, why=text)
        return StoreUnavailable(url=self.shown, why=text)


_LOGIN_REFUSALS: Final = (
    "password authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
)


def _read_url(text: str) -> tuple[str, dict[str, Any]]:
    """The URL for messages, without its password, and libpq's parameters."""
    if read_scheme(text) not in {"postgresql", "postgres"}:
        raise StoreMisconfigured(url=f"{read_scheme(text)}://...", why="it must begin with postgresql://")
    bare = f"postgresql://{text.partition('://')[2]}"
    try:
        url = make_url(bare)
        given = conninfo_to_dict(bare)
    except (ArgumentError, psycopg.ProgrammingError, ValueError):
        # The cause quotes what it could not read, and that may be a piece of the password.
        raise StoreMisconfigured(url=UNREADABLE, why="it cannot be read") from None
    defaults: dict[str, Any] = dict(_DEFAULTS)
    if "," in str(given.get("host") or ""):
        # Of several hosts the one that can be written to; a single one is asked after it was connected to.
        defaults["target_session_attrs"] = "read-write"
    return shown(url), {**defaults, **given}


class Pool:
    """Lends out connections, last returned first, so that few are used when few suffice."""

    def __init__(self, connect: Callable[[], Connection], *, size_max: int, wait_s: float, shown: str) -> None:
        self._connect = connect
        self._size_max = size_max
        self._wait_s = wait_s
        self._shown = shown
        self._condition = threading.Condition()
        self._idle: list[Connection] = []
        self._size = 0
        self._closed = False
        self._pid = os.getpid()

    @contextmanager
    def connection(self) -> Generator[Connection, None, None]:
        """A connection that is outside any transaction, until the block ends.

        Raises: StoreUnavailable if none can be opened, or none became free in time; StoreMisconfigured.
        """
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    @contextmanager
    def idle_connection(self) -> Generator[Connection | None, None, None]:
        """The connection that was used last, until the block ends; None if all are lent out. Waits for nothing."""
        connection = None
        with self._condition:
            if self._idle and not self._closed and self._pid == os.getpid():
                connection = self._idle.pop()
        if connection is not None and not is_quiet(connection):
            self._drop(connection)
            connection = None
        try:
            yield connection
        finally:
            if connection is not None:
                self._give_back(connection)

    def close(self) -> None:
        """Close the idle connections now, and the others as they come back."""
        with self._condition:
            self._closed = True
            idle, self._idle = self._idle, []
            self._size -= len(idle)
            self._condition.notify_all()
        for connection in idle:
            connection.close()

    def _take(self) -> Connection:
        if self._pid != os.getpid():
            self._start_again_after_fork()
        while (connection := self._take_idle()) is not None:
            if is_quiet(connection):
                return connection
            self._drop(connection)
        try:
            return self._connect()
        except BaseException:
            self._shrink()
            raise

    def _take_idle(self) -> Connection | None:
        """An idle connection, or None with the right to open one."""
        with self._condition:
            free = self._condition.wait_for(
                lambda: self._closed or self._idle or self._size < self._size_max, timeout=self._wait_s
            )
            if self._closed:
                raise StoreUnavailable(url=self._shown, why="this store was closed")
            if not free:
                raise StoreUnavailable(
                    url=self._shown, why=f"all {self._size_max} connections were busy for {self._wait_s:g} s"
                )
            if self._idle:
                return self._idle.pop()
            self._size += 1
            return None

    def _give_back(self, connection: Connection) -> None:
        if not _settle(connection):
            self._drop(connection)
            return
        with self._condition:
            if not self._closed:
                self._idle.append(connection)
                self._condition.notify()
                return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.close()
        self._shrink()

    def _shrink(self) -> None:
        with self._condition:
            self._size -= 1
            self._condition.notify()

    def _start_again_after_fork(self) -> None:
        # The parent goes on using its connections. psycopg does not close what another process opened.
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._idle = []
        self._size = 0


def returns_rows(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> bool:
    """Whether the statement that was executed returns rows, be it none.

    ``description`` tells it too, but describes every column first, which takes as long as reading a row of forty.
    """
    return cursor.rownumber is not None


def _settle(connection: Connection) -> bool:
    """Leave whatever transaction is open; whether the connection can be used again."""
    if connection.closed or connection.pgconn.status != ConnStatus.OK:
        return False
    if not _is_idle(connection):
        try:
            connection.rollback()
        except psycopg.Error:
            return False  # it is closed instead, which rolls back as well
    return _is_idle(connection)


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == TransactionStatus.IDLE


def is_quiet(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether nothing came while it was idle: what comes then is the server's farewell or the end of the stream."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
