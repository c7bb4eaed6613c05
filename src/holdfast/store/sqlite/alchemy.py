"""SQLAlchemy's connections over SQLite's: imported only by programs that use them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from holdfast.errors import UsageError
from holdfast.model.commit import RunCommit
from holdfast.store.sqlite.lending import LentConnection

Handler = Callable[[Any], RunCommit]


def form_for(wants: type) -> Callable[[LentConnection, Handler], RunCommit] | None:
    """How to call a handler that wants this class, or None."""
    if issubclass(wants, Session):
        return lambda lent, handler: _call_with_session(lent, handler, wants)
    return _call_with_connection if issubclass(Connection, wants) else None


def driver_connection(connection: Any) -> object:
    """The driver's connection under SQLAlchemy's Connection or Session. Raises UsageError for anything else."""
    if isinstance(connection, Session):
        connection = connection.connection()
    if not isinstance(connection, Connection):
        raise UsageError(f"a run cannot be started in a {type(connection).__name__}: pass a Connection or a Session")
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.driver_connection


def _call_with_connection(lent: LentConnection, handler: Handler) -> RunCommit:
    with _connection(lent) as connection:
        return handler(connection)


def _call_with_session(lent: LentConnection, handler: Handler, wants: type[Session]) -> RunCommit:
    """The session works in savepoints: its commit and rollback reach no further."""
    with _connection(lent) as connection:
        session = wants(bind=connection, join_transaction_mode="create_savepoint")
        try:
            commit = handler(session)
            session.commit()
            return commit
        finally:
            session.close()


@contextmanager
def _connection(lent: LentConnection) -> Generator[Connection, None, None]:
    def create() -> sqlite3.Connection:
        return lent

    engine = create_engine("sqlite://", creator=create, poolclass=StaticPool, pool_reset_on_return=None)
    # SQLAlchemy ends transactions of its own accord when it first connects and when it closes: not this one.
    lent.is_returned = True
    connection = engine.connect()
    try:
        connection.begin()
        lent.is_returned = False
        yield connection
    finally:
        lent.is_returned = True
        connection.close()
