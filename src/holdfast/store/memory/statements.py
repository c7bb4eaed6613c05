"""Statements of ``Store.transact`` on the reference store: what is done to runs waits for the documents' commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.model.status import WaitKind, WaitOutcome
from holdfast.store.memory.tables import Tables
from holdfast.store.memory.unit import Unit
from holdfast.store.sqlite.core_statements import SqliteStatements

Stage = Callable[[Sequence[NewRun], Sequence[NewRun]], list[Started]]


class MemoryStatements(SqliteStatements):
    """``Statements`` under the store's lock; ``stage`` answers for starts behind those that are held back."""

    def __init__(self, documents: sqlite3.Connection, now_ms: UnixMs, stage: Stage, tables: Tables) -> None:
        super().__init__(documents, now_ms)
        self._stage = stage
        self._tables = tables
        self._starts: list[NewRun] = []
        self._passed: list[tuple[RunId, str]] = []

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Hold runs back. Raises QuotaExceeded, and UsageError if one cannot be stored."""
        started = self._stage(self._starts, runs)
        self._starts += runs
        return started

    def end_waits(self, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
        """Note which waits are to be closed."""
        found = [
            (run_id, wait.key)
            for run_id, record in sorted(self._tables.records.items())
            if record.run.tenant == tenant and (after is None or run_id > after)
            for wait in sorted(record.open_waits(), key=lambda one: one.seq)
            if wait.kind is WaitKind.BREAKER and wait.signal == breaker and (run_id, wait.key) not in self._passed
        ][: max(limit, 0)]
        self._passed += found
        return [run_id for run_id, _ in found]

    def follow_up(self) -> Unit | None:
        """Do what was held back; None if nothing was."""
        if not self._starts and not self._passed:
            return None
        unit = Unit(self._tables, self.now_ms)
        for new in self._starts:
            unit.start(new)
        for run_id, key in self._passed:
            unit.close_wait(self._tables.records[run_id], key, WaitOutcome.ELAPSED)
        for run_id, key in self._passed:
            unit.tell(self._tables.records[run_id], reason="breaker_passed", key=key)
        return unit
