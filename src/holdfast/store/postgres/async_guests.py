"""The same for user code that awaits: connections by event loop, because each belongs to the loop that opened it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet, finalize

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import tuple_row
from sqlalchemy import Connection, event

from holdfast.errors import UsageError
from holdfast.store.postgres.connection import Address, Row, adapt, is_quiet, returns_rows
from holdfast.store.postgres.statements import Params, statement

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

AsyncConnection = psycopg.AsyncConnection[Row]
AsyncCursor = psycopg.AsyncCursor[Row]
AsyncGuest = tuple[Any, psycopg.AsyncConnection[Any], Callable[[], Awaitable[None]]]
"""What a handler gets, the driver's connection behind it, and how to send what the handler has left unsent."""

_IDLE_MAX: Final = 8


class CommitGuard:
    """Keeps an SQLAlchemy connection from committing before the engine's own statements were executed."""

    def __init__(self) -> None:
        self._is_lifted = False

    def lift(self) -> None:
        """Let the commit come."""
        self._is_lifted = True

    def __call__(self, connection: Connection) -> None:
        """Called by SQLAlchemy before each commit. Raises UsageError while it stands."""
        if not self._is_lifted:
            # SQLAlchemy takes the transaction for ended now and would not roll it back: the connection must go.
            connection.invalidate()
            raise UsageError("a transactional step must not commit its connection: holdfast does, with the journal")


class AsyncGuests:
    """Connections that are awaited, of the kinds that ``commit_with_async`` hands out."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncConnection]] = WeakKeyDictionary()
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()
        self._of_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[AsyncConnection]] = WeakKeyDictionary()
        self._closed = False

    def close(self) -> None:
        """Close the idle connections, from any thread. Idempotent."""
        with self._lock:
            self._closed = True
            for idle in self._idle.values():
                _finish_all(idle)
            # An engine can be disposed of only by its own loop; its connections can be closed from here.
            for connections in self._of_engines.values():
                _finish_all(list(connections))
            self._idle.clear()
            self._engines.clear()

    @asynccontextmanager
    async def open(self, wants: type) -> AsyncGenerator[AsyncGuest, None]:
        """A guest of class ``wants`` in a transaction that the block's end commits."""
        if wants is psycopg.AsyncConnection:
            async with self._connection() as connection, connection.transaction():
                yield connection, connection, _nothing
        elif _is_alchemy(wants):
            async with self._open_alchemy(wants) as guest:
                yield guest
        else:
            raise UsageError(
                f"a transactional step that is awaited cannot have a {wants.__module__}.{wants.__name__}: "
                "psycopg.AsyncConnection and SQLAlchemy's AsyncConnection and AsyncSession can be had"
            )

    @asynccontextmanager
    async def _open_alchemy(self, wants: type) -> AsyncGenerator[AsyncGuest, None]:
        from sqlalchemy.ext.asyncio import AsyncSession

        async with self._get_engine().connect() as connection:
            guard = CommitGuard()
            event.listen(connection.sync_connection, "commit", guard)
            async with connection.begin():
                driver = await async_driver_of(connection)
                if issubclass(wants, AsyncSession):
                    async with wants(bind=connection, join_transaction_mode="create_savepoint") as session:
                        yield session, driver, session.commit
                else:
                    yield connection, driver, _nothing
                guard.lift()

    def _get_engine(self) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import create_async_engine

        loop = asyncio.get_running_loop()
        with self._lock:
            engine = self._engines.get(loop)
            if engine is None:
                engine = create_async_engine(
                    "postgresql+psycopg_async://",
                    async_creator=self._connect_for_engine,
                    pool_size=_IDLE_MAX,
                    max_overflow=0,
                    pool_pre_ping=True,
                    isolation_level="READ COMMITTED",
                )
                self._engines[loop] = engine
                finalize(loop, _finish_engine, engine, self._of_engines.setdefault(loop, WeakSet()))
            return engine

    async def _connect_for_engine(self) -> AsyncConnection:
        connection = await self._connect()
        self._of_engines[asyncio.get_running_loop()].add(connection)
        return connection

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[AsyncConnection, None]:
        loop = asyncio.get_running_loop()
        connection = self._take(loop) or await self._connect()
        try:
            yield connection
        finally:
            if not self._give_back(loop, connection):
                await connection.close()

    def _take(self, loop: asyncio.AbstractEventLoop) -> AsyncConnection | None:
        with self._lock:
            idle = self._idle.get(loop, [])
            while idle:
                connection = idle.pop()
                if is_quiet(connection):
                    return connection
                connection.pgconn.finish()
            return None

    def _give_back(self, loop: asyncio.AbstractEventLoop, connection: AsyncConnection) -> bool:
        usable = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            idle = self._idle.get(loop)
            if idle is None:
                idle = self._idle[loop] = []
                # A loop that is gone cannot close what it has opened.
                finalize(loop, _finish_all, idle)
            if self._closed or not usable or len(idle) >= _IDLE_MAX:
                return False
            idle.append(connection)
            return True

    async def _connect(self) -> AsyncConnection:
        try:
            connection = await psycopg.AsyncConnection.connect(**self._address.plain, autocommit=True)
        except psycopg.Error as error:
            raise self._address.refusal(error) from error
        try:
            self._address.check_writable(connection.info)
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        except BaseException:
            await connection.close()
            raise
        return connection


def _is_alchemy(kind: type) -> bool:
    """Whether this is a class of SQLAlchemy's asyncio extension, which needs a library that may not be there."""
    return any(base.__module__.startswith("sqlalchemy.ext.asyncio") for base in kind.__mro__)


async def async_driver_of(connection: Any) -> psycopg.AsyncConnection[Any]:
    """The driver's connection behind a psycopg or SQLAlchemy one. Raises UsageError for anything else."""
    found: Any = connection
    if _is_alchemy(connection.__class__):
        from sqlalchemy.ext.asyncio import AsyncConnection as AlchemyConnection
        from sqlalchemy.ext.asyncio import AsyncSession

        if isinstance(found, AsyncSession):
            found = await found.connection()
        if isinstance(found, AlchemyConnection):
            if not found.in_transaction():
                # What the driver begins by itself, SQLAlchemy's commit would not know of.
                await found.begin()
            found = (await found.get_raw_connection()).driver_connection
    if not isinstance(found, psycopg.AsyncConnection):
        raise UsageError(
            f"runs cannot be started in a {type(connection).__name__}: it must be a psycopg.AsyncConnection, "
            "or SQLAlchemy's AsyncConnection or AsyncSession on psycopg"
        )
    return found  # pyright: ignore[reportUnknownVariableType] - isinstance does not tell the row's type


def async_cursor_on(driver: psycopg.AsyncConnection[Any]) -> AsyncCursor:
    """A cursor that loads and dumps as the store does."""
    cursor = psycopg.AsyncCursor(driver, row_factory=tuple_row)
    adapt(cursor)
    return cursor


async def async_rows_of(cursor: AsyncCursor, name: str, params: Params) -> list[Row]:
    """Execute a statement of an open transaction, leaving nothing behind in the session."""
    await cursor.execute(statement(name), params, prepare=False)
    return await cursor.fetchall() if returns_rows(cursor) else []


def _finish_all(connections: list[AsyncConnection]) -> None:
    while connections:
        connection = connections.pop()
        connection.pgconn.finish()


def _finish_engine(_engine: AsyncEngine, connections: WeakSet[AsyncConnection]) -> None:
    # The engine is an argument so that it lives as long as its loop, and its idle connections with it.
    _finish_all(list(connections))


async def _nothing() -> None:
    return None
