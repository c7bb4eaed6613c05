"""Transactions that user code takes part in: its connections for our statements, and ours for its statements.

Ours come from a pool of their own, because user code expects the driver's usual types from them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection as AlchemyConnection
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session as AlchemySession
from sqlalchemy.pool import QueuePool

from holdfast.errors import CommitUnknown, StoreUnavailable, UsageError
from holdfast.model.commit import RunCommit
from holdfast.model.ids import Tenant
from holdfast.store.port import Hint
from holdfast.store.postgres.async_guests import (
    AsyncCursor,
    AsyncGuests,
    CommitGuard,
    async_cursor_on,
    async_driver_of,
    async_rows_of,
)
from holdfast.store.postgres.commit import CommitPlan, Outcome, plan_commit
from holdfast.store.postgres.connection import Address, Cursor, Pool, Row, adapt, returns_rows
from holdfast.store.postgres.messages import check_accepted, check_receiver, is_receiver
from holdfast.store.postgres.notify import encode_notice
from holdfast.store.postgres.scope import EVERYONE, Scope, Sight, scope_of
from holdfast.store.postgres.session import DataRefused, Session
from holdfast.store.postgres.sqlstate import FAILURES, Meaning, meaning_of
from holdfast.store.postgres.statements import Params, Step, statement
from holdfast.store.postgres.verdict import judge

_WORK: Final = encode_notice("", Hint(work=True))
_SIGNALS: Final = encode_notice("", Hint(signals=True))


Guest = tuple[Any, psycopg.Connection[Any], Callable[[], None]]
"""What a handler gets, the driver's connection behind it, and how to send what the handler has left unsent.

Our statements go to the driver's connection: a Session would wrap them in a savepoint and, when closed, undo that.
"""


class _NotAccepted(Exception):
    """The run was refused: rolls the handler's transaction back, and goes no further."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Guests:
    """What ``start_runs_in`` and ``commit_with`` need of foreign connections, blocking and not."""

    def __init__(self, address: Address, session: Session, *, connections_max: int, wait_s: float) -> None:
        self._address = address
        self._session = session
        self._connections_max = connections_max
        self._pool = Pool(address.connect_plain, size_max=connections_max, wait_s=wait_s, shown=address.shown)
        self._asynchronous = AsyncGuests(address)
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def close(self) -> None:
        """Close the idle connections. Idempotent."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()
        self._pool.close()
        self._asynchronous.close()

    # Starting in the caller's transaction

    def start(self, connection: Any, tenant: Tenant | None, params: Params) -> list[Row]:
        """Execute ``start_runs`` in the caller's transaction; all listeners hear of it when that commits."""
        with _cursor_on(_driver_of(connection)) as cursor:
            try:
                before = self._enter(cursor, scope_of(tenant))
                rows = _rows_of(cursor, "start_runs", params)
                if any(row[1] for row in rows):
                    _rows_of(cursor, "notify_start", {"payload": _WORK})
                _leave(cursor, before)
            except FAILURES as error:
                self._fail(error)
            return rows

    async def start_async(self, connection: Any, tenant: Tenant | None, params: Params) -> list[Row]:
        """As ``start``, on a connection that is awaited."""
        async with async_cursor_on(await async_driver_of(connection)) as cursor:
            try:
                before = await self._enter_async(cursor, scope_of(tenant))
                rows = await async_rows_of(cursor, "start_runs", params)
                if any(row[1] for row in rows):
                    await async_rows_of(cursor, "notify_start", {"payload": _WORK})
                await _leave_async(cursor, before)
            except FAILURES as error:
                self._fail(error)
            return rows

    def send(self, connection: Any, tenant: Tenant, params: Params) -> None:
        """Accept a signal in the caller's transaction. Raises RunNotFound, RunFinished, QuotaExceeded."""
        with _cursor_on(_driver_of(connection)) as cursor:
            try:
                before = self._enter(cursor, scope_of(tenant))
                seen = [] if params["id"] is None else _rows_of(cursor, "signal_receiver", params)
                accepted: list[Row] = []
                if params["id"] is None or is_receiver(seen):
                    accepted = _rows_of(cursor, "signal_accept", params)
                    _rows_of(cursor, "notify_start", {"payload": _SIGNALS})
                _leave(cursor, before)
            except FAILURES as error:
                self._fail(error)
        if params["id"] is not None:
            check_receiver(params["id"], seen)
        check_accepted(tenant, accepted)

    async def send_async(self, connection: Any, tenant: Tenant, params: Params) -> None:
        """As ``send``, on a connection that is awaited."""
        async with async_cursor_on(await async_driver_of(connection)) as cursor:
            try:
                before = await self._enter_async(cursor, scope_of(tenant))
                seen = [] if params["id"] is None else await async_rows_of(cursor, "signal_receiver", params)
                accepted: list[Row] = []
                if params["id"] is None or is_receiver(seen):
                    accepted = await async_rows_of(cursor, "signal_accept", params)
                    await async_rows_of(cursor, "notify_start", {"payload": _SIGNALS})
                await _leave_async(cursor, before)
            except FAILURES as error:
                self._fail(error)
        if params["id"] is not None:
            check_receiver(params["id"], seen)
        check_accepted(tenant, accepted)

    def _enter(self, cursor: Cursor, scope: Scope) -> Step | None:
        """Act in a name within a transaction that is not ours; how to go back to what it was, None if nothing changed.

        What is seen of the wall here is not remembered: the caller's snapshot may be old.
        """
        sight = self._session.watch.known() or Sight.of(_rows_of(cursor, "read_wall", {}))
        for name, params in self._session.opening(scope, sight):
            return _way_back(_rows_of(cursor, name, params))
        return None

    async def _enter_async(self, cursor: AsyncCursor, scope: Scope) -> Step | None:
        sight = self._session.watch.known() or Sight.of(await async_rows_of(cursor, "read_wall", {}))
        for name, params in self._session.opening(scope, sight):
            return _way_back(await async_rows_of(cursor, name, params))
        return None

    # Committing with the handler's SQL

    def commit_with(self, handler: Callable[[Any], RunCommit], *, wants: type, params: Params) -> Outcome:
        """Call the handler and record its commit, in one transaction."""
        outcome: Outcome | None = None
        commit: RunCommit | None = None
        try:
            with self._open(wants) as (guest, driver, flush):
                commit = handler(guest)
                flush()
                plan, steps = _plan(commit, params)
                with _cursor_on(driver) as cursor:
                    self._enter(cursor, EVERYONE)
                    outcome = self._accept(plan, *self._execute(cursor, plan, steps))
        except (psycopg.Error, DBAPIError, DataRefused, _NotAccepted) as error:
            return self._settle(error, commit, outcome, params)
        return outcome

    def _execute(self, cursor: Cursor, plan: CommitPlan, steps: list[Step]) -> tuple[list[Step], list[list[Row]]]:
        done: list[Step] = []
        found: list[list[Row]] = []
        left = list(steps)
        try:
            while left:
                done.append(left.pop(0))
                found.append(_rows_of(cursor, *done[-1]))
                left[:0] = plan.after(done[-1][0], found[-1])
        except FAILURES as error:
            self._fail(error)
        return done, found

    async def commit_with_async(
        self, handler: Callable[[Any], Awaitable[RunCommit]], *, wants: type, params: Params
    ) -> Outcome:
        """As ``commit_with``, with a handler that is awaited."""
        outcome: Outcome | None = None
        commit: RunCommit | None = None
        try:
            async with self._asynchronous.open(wants) as (guest, driver, flush):
                commit = await handler(guest)
                await flush()
                plan, steps = _plan(commit, params)
                async with async_cursor_on(driver) as cursor:
                    await self._enter_async(cursor, EVERYONE)
                    outcome = self._accept(plan, *await self._execute_async(cursor, plan, steps))
        except (psycopg.Error, DBAPIError, DataRefused, _NotAccepted) as error:
            return self._settle(error, commit, outcome, params)
        return outcome

    async def _execute_async(
        self, cursor: AsyncCursor, plan: CommitPlan, steps: list[Step]
    ) -> tuple[list[Step], list[list[Row]]]:
        done: list[Step] = []
        found: list[list[Row]] = []
        left = list(steps)
        try:
            while left:
                done.append(left.pop(0))
                found.append(await async_rows_of(cursor, *done[-1]))
                left[:0] = plan.after(done[-1][0], found[-1])
        except FAILURES as error:
            self._fail(error)
        return done, found

    def _accept(self, plan: CommitPlan, steps: list[Step], results: list[list[Row]]) -> Outcome:
        """The outcome, if it may be committed."""
        outcome = plan.outcome(steps, results)
        if outcome.answer.refused:
            raise _NotAccepted(outcome)
        return outcome

    def _fail(self, error: Exception) -> NoReturn:
        """Raise what an error of our own statements means in a transaction that cannot be repeated from here."""
        if meaning_of(error) is Meaning.CONFLICT:
            raise StoreUnavailable(url=self._address.shown, why=str(error)) from error
        self._session.translate(error, commit_sent=False)

    def _settle(self, error: Exception, commit: RunCommit | None, outcome: Outcome | None, params: Params) -> Outcome:
        """What an error means that left the transaction: before ``outcome`` it was rolled back, else it is COMMIT's."""
        if commit is not None and isinstance(error, DataRefused):
            return judge(self._session.within(None), commit, str(error), params)
        if isinstance(error, _NotAccepted):
            return error.outcome
        cause = error.orig if isinstance(error, DBAPIError) else error
        if outcome is not None and cause is not None:
            match meaning_of(cause):
                case Meaning.LOST:
                    raise CommitUnknown(why=str(cause)) from error
                case Meaning.CONFLICT:
                    raise StoreUnavailable(url=self._address.shown, why=str(cause)) from error
                case _:
                    pass
        raise error

    @contextmanager
    def _open(self, wants: type) -> Generator[Guest, None, None]:
        """A guest of class ``wants`` in a transaction that the block's end commits."""
        if wants is psycopg.Connection:
            with self._pool.connection() as connection, connection.transaction():
                yield connection, connection, _nothing
        elif issubclass(wants, AlchemyConnection | AlchemySession):
            with self._open_alchemy(wants) as guest:
                yield guest
        else:
            raise UsageError(
                f"a transactional step cannot have a {wants.__module__}.{wants.__name__}: "
                "psycopg.Connection, sqlalchemy.Connection and sqlalchemy.orm.Session can be had"
            )

    @contextmanager
    def _open_alchemy(self, wants: type) -> Generator[Guest, None, None]:
        with self._get_engine().connect() as connection:
            guard = CommitGuard()
            event.listen(connection, "commit", guard)
            with connection.begin():
                driver = _driver_of(connection)
                if issubclass(wants, AlchemySession):
                    # What the handler commits is a savepoint; the transaction is ours.
                    with wants(bind=connection, join_transaction_mode="create_savepoint") as session:
                        yield session, driver, session.commit
                else:
                    yield connection, driver, _nothing
                guard.lift()

    def _get_engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=self._address.connect_plain,
                    poolclass=QueuePool,
                    pool_size=self._connections_max,
                    max_overflow=0,
                    pool_pre_ping=True,
                    isolation_level="READ COMMITTED",
                )
            return self._engine


def _nothing() -> None:
    return None


def _plan(commit: RunCommit, params: Params) -> tuple[CommitPlan, list[Step]]:
    plan = plan_commit([commit], shard=params["shard"], now_ms=params["now_ms"])
    try:
        return plan, plan.steps(families=True, follows=True)
    except UnicodeEncodeError as error:
        raise DataRefused(why=str(error)) from error


def _rows_of(cursor: Cursor, name: str, params: Params) -> list[Row]:
    """Execute a statement of an open transaction, leaving nothing behind in the session."""
    cursor.execute(statement(name), params, prepare=False)
    return cursor.fetchall() if returns_rows(cursor) else []


def _way_back(rows: list[Row]) -> Step:
    tenant, all_tenants = rows[0][:2]
    return "enter_tenant", {"tenant": tenant or "", "all_tenants": all_tenants or ""}


def _leave(cursor: Cursor, before: Step | None) -> None:
    """Give the caller's transaction back the name that it acted in."""
    if before is not None:
        _rows_of(cursor, *before)


async def _leave_async(cursor: AsyncCursor, before: Step | None) -> None:
    if before is not None:
        await async_rows_of(cursor, *before)


def _cursor_on(driver: psycopg.Connection[Any]) -> Cursor:
    cursor = psycopg.Cursor(driver, row_factory=tuple_row)
    adapt(cursor)
    return cursor


def _driver_of(connection: Any) -> psycopg.Connection[Any]:
    """The driver's connection behind a psycopg or SQLAlchemy one. Raises UsageError for anything else."""
    found: Any = connection
    if isinstance(found, AlchemySession):
        found = found.connection()
    if isinstance(found, AlchemyConnection):
        if not found.in_transaction():
            # What the driver begins by itself, SQLAlchemy's commit would not know of.
            found.begin()
        found = found.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        raise UsageError(
            f"runs cannot be started in a {type(connection).__name__}: it must be a "
            "psycopg.Connection, a sqlalchemy.Connection or a sqlalchemy.orm.Session on psycopg"
        )
    return found  # pyright: ignore[reportUnknownVariableType] - isinstance does not tell the row's type
