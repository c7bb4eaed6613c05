"""Statements of ``Store.transact`` on the reference store: starts are held back until the documents are committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from holdfast.model.ids import UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.store.sqlite.core_statements import SqliteStatements

Stage = Callable[[Sequence[NewRun], Sequence[NewRun]], list[Started]]


class MemoryStatements(SqliteStatements):
    """``Statements`` under the store's lock; ``stage`` answers for starts behind those that are held back."""

    def __init__(self, documents: sqlite3.Connection, now_ms: UnixMs, stage: Stage) -> None:
        super().__init__(documents, now_ms)
        self._stage = stage
        self.starts: list[NewRun] = []

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Hold runs back. Raises QuotaExceeded, and UsageError if one cannot be stored."""
        started = self._stage(self.starts, runs)
        self.starts += runs
        return started
