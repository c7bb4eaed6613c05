"""SQLAlchemy Core statements on one of the driver's connections. Imports SQLAlchemy: late, where it is needed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy.sql.base import Executable

from holdfast.errors import UsageError
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.store.rendering import render
from holdfast.store.sqlite.commit import start_runs
from holdfast.store.sqlite.ending import Change
from holdfast.store.sqlite.failures import DATA_ERRORS
from holdfast.store.sqlite.work import end_breaker_waits


class SqliteStatements:
    """``Statements`` in an open transaction."""

    def __init__(self, connection: sqlite3.Connection, now_ms: UnixMs) -> None:
        self._connection = connection
        self.now_ms = now_ms
        self.change = Change(connection, now_ms)
        """What follows from the starts: the hints to be published once it commits."""

    def rows(self, statement: Executable) -> list[Any]:
        """Execute a statement; the rows that it returns."""
        return self._execute(statement).fetchall()

    def changed(self, statement: Executable) -> int:
        """Execute a statement; how many rows it changed."""
        return self._execute(statement).rowcount

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Record runs in this transaction. Raises QuotaExceeded, and UsageError if one cannot be stored."""
        try:
            return start_runs(self.change, runs) if runs else []
        except DATA_ERRORS as error:
            raise UsageError(f"a run cannot be stored: {error}") from error

    def end_waits(self, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
        """Close open waits for a breaker."""
        return end_breaker_waits(self.change, tenant, breaker, after=after, limit=limit)

    def _execute(self, statement: Executable) -> sqlite3.Cursor:
        try:
            return self._connection.execute(*render(statement, "sqlite"))
        except DATA_ERRORS as error:
            raise UsageError(f"the database cannot store this: {error}") from error
