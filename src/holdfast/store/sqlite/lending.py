"""Connections that cross the border: ours, lent to a handler, and a caller's, borrowed to start runs.

A handler gets a connection of its own, on which SQLite's authorizer forbids to begin, commit or roll back while it is
lent, whoever asks and however: the transaction is the engine's. Savepoints are allowed, which is what a session needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from holdfast.errors import UsageError
from holdfast.model.commit import RunCommit

_TRANSACTION: Final = 22
"""SQLITE_TRANSACTION: the authorizer's code for BEGIN, COMMIT and ROLLBACK."""


class LentConnection(sqlite3.Connection):
    """A connection whose transaction its borrower cannot end."""

    is_lent: bool = False
    is_returned: bool = False
    """Not the borrower is at work, but what is built on the connection is being set up or taken down."""

    def guard(self) -> None:
        """Install the authorizer."""
        self.set_authorizer(self._authorize)

    def commit(self) -> None:
        """Raises UsageError while lent."""
        self._refuse("commit")
        super().commit()

    def rollback(self) -> None:
        """Raises UsageError while lent; does nothing during set-up and taking down."""
        if self.is_lent and self.is_returned:
            return
        self._refuse("roll back")
        super().rollback()

    def close(self) -> None:
        """Raises UsageError while lent."""
        self._refuse("close")
        super().close()

    def _refuse(self, what: str) -> None:
        if self.is_lent:
            raise UsageError(
                f"a transactional step must not {what}: its SQL is committed together with its journal row"
            )

    def _authorize(self, action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if self.is_lent and action == _TRANSACTION else sqlite3.SQLITE_OK


def call_with(connection: LentConnection, handler: Callable[[Any], RunCommit], wants: type) -> RunCommit:
    """Let the handler work on the connection in the form that it wants, and take it back.

    Raises UsageError for a form that there is none of, HandlerRaised with whatever the handler raised.
    """
    call = _form(wants)
    connection.is_lent = True
    try:
        return call(connection, handler)
    except BaseException as error:
        raise HandlerRaised(error) from error
    finally:
        connection.is_lent = connection.is_returned = False
        connection.row_factory = None
        connection.text_factory = str


class HandlerRaised(Exception):
    """Carries what a handler raised past the translation of the store's own errors."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(repr(error))


def _form(wants: type) -> Callable[[LentConnection, Callable[[Any], RunCommit]], RunCommit]:
    if issubclass(LentConnection, wants) and wants is not object:
        return _call_plainly
    if wants.__module__.partition(".")[0] == "sqlalchemy":
        from holdfast.store.sqlite.alchemy import form_for

        form = form_for(wants)
        if form is not None:
            return form
    raise UsageError(
        f"an SQLite store has no connection of type {wants.__module__}.{wants.__qualname__}: "
        "ask for sqlite3.Connection, or SQLAlchemy's Connection or Session"
    )


def _call_plainly(connection: LentConnection, handler: Callable[[Any], RunCommit]) -> RunCommit:
    return handler(connection)


def borrow(connection: Any, path: str) -> sqlite3.Connection:
    """The driver's connection under a caller's, with a transaction open on the file ``path``.

    Raises UsageError if it is something else, or there is no transaction.
    """
    driver = connection
    if type(connection).__module__.partition(".")[0] == "sqlalchemy":
        from holdfast.store.sqlite.alchemy import driver_connection

        driver = driver_connection(connection)
    if not isinstance(driver, sqlite3.Connection):
        raise UsageError(
            f"runs on SQLite are started in a sqlite3.Connection, or SQLAlchemy's Connection or Session, "
            f"not in a {type(connection).__name__}"
        )
    if not _is_same_file(driver, path):
        raise UsageError(
            f"the connection is to another database than {path}: a run cannot be started in its transaction"
        )
    if not driver.in_transaction:
        if driver.isolation_level is None:
            raise UsageError("the connection has no transaction open: execute BEGIN IMMEDIATE first")
        driver.execute("begin immediate")
    return driver


def _is_same_file(connection: sqlite3.Connection, path: str) -> bool:
    cursor = connection.cursor()
    cursor.row_factory = None
    files = [row[2] for row in cursor.execute("pragma database_list").fetchall() if row[1] == "main"]
    try:
        return bool(files) and bool(files[0]) and Path(files[0]).samefile(path)
    except FileNotFoundError:
        return False
