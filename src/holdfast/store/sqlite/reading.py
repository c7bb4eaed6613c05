"""Listings and whole-run reads on one connection. Imports SQLAlchemy: see ``store.listings``."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.core.control import Situation
from holdfast.errors import RunNotFound
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import ApprovalPage, Outputs, Run, RunDetail, RunFilter, RunPage, WorkerRow
from holdfast.model.search import GroupBy, RunGroup
from holdfast.model.status import EntryKind
from holdfast.store import listings, records, search
from holdfast.store.paging import approval_page, decode_cursor, decode_place
from holdfast.store.rendering import render, text_of
from holdfast.store.sqlite.statements import read_row
from holdfast.store.standing import read_standing

_SHARD = 0
_AHEAD_MAX = 1_000
"""How far those are counted that come before a run."""


class Listings:
    """What clients read, by statements that both databases share."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get_run(self, tenant: Tenant, run_id: RunId, *, newest: bool = False) -> Run:
        """The run, or the last link of its chain. Raises RunNotFound."""
        make = listings.newest_by_id if newest else listings.run_by_id
        rows = self._read(make, id=run_id, tenant=tenant)
        if not rows:
            raise RunNotFound(run_id=run_id)
        return records.run_from(rows[0])

    def get_runs(self, tenant: Tenant, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of these runs that are the tenant's and can be read."""
        rows = self._rows(listings.runs_by_id(tenant, run_ids, shards=[_SHARD])) if run_ids else []
        return search.rows_to_page(rows).runs

    def list_runs(self, tenant: Tenant, where: RunFilter, *, limit: int, after: str | None) -> RunPage:
        """A page of runs. Raises UsageError for a bad ``after``."""
        cursor = None if after is None else decode_cursor(after)
        return search.read_page(self._read_shape, tenant, where, limit=limit, after=cursor)

    def group_runs(
        self, tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool, most: int | None
    ) -> list[RunGroup]:
        """The largest groups of these runs."""
        return search.group(self._read_shape, tenant, where, by, limit=limit, bare=bare, most=most)

    def list_approvals(
        self, tenant: Tenant, names: Sequence[str], now_ms: UnixMs, *, limit: int, after: str | None
    ) -> ApprovalPage:
        """A page of open approvals, oldest first. Raises UsageError for a bad ``after``."""
        place = None if after is None else decode_place(after)
        values = listings.approval_values(tenant, limit=limit, after=place)
        values |= {"now_ms": now_ms, "names": msgspec.json.encode(list(names)).decode()}
        may = listings.may_answer_sqlite if names else None
        rows = self._read_shape(listings.page_of_approvals, (may, place is not None), values)
        return approval_page([records.approval_from(row, now_ms) for row in rows], limit=limit)

    def read_outputs(
        self, tenant: Tenant, run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int
    ) -> Outputs:
        """What the run recorded for others. Raises RunNotFound."""
        status = self.get_run(tenant, run_id).status
        values = listings.output_values(run_id, name, after=after, limit=limit)
        rows = self._read_shape(listings.outputs_of, (kind, after is None), values)
        return Outputs(status, [records.entry_from(row) for row in rows])

    def list_workers(self, now_ms: UnixMs) -> list[WorkerRow]:
        """The workers whose lease has not run out, by id."""
        return [records.worker_from(row) for row in self._read(listings.live_workers, now_ms=now_ms, also=None)]

    def read_detail(self, tenant: Tenant, run_id: RunId, now_ms: UnixMs) -> RunDetail:
        """The run with everything that explains it, all from one state of the database. Raises RunNotFound."""
        self._connection.execute("begin")
        run = self.get_run(tenant, run_id)
        waits = [records.wait_from(row) for row in self._read(listings.waits_of, run_id=run_id)]
        attempts = [records.attempt_from(row) for row in self._read(listings.attempts_of, run_id=run_id)]
        workers = [
            records.worker_from(row) for row in self._read(listings.live_workers, now_ms=now_ms, also=run.worker)
        ]
        ahead = 0 if run.ready_ms is None else self._ahead(run)
        workers = [
            row
            for row in workers
            if row.id == run.worker or (run.queue in row.queues and (run.code in row.codes or run.code in row.lacks))
        ]
        detail = RunDetail(
            now_ms=now_ms,
            run=run,
            journal=[records.entry_from(row) for row in self._read(listings.journal_of, run_id=run_id)],
            waits=sorted(waits, key=lambda wait: (wait.seq, wait.key)),
            attempts=sorted(attempts, key=lambda attempt: (attempt.key, attempt.attempt)),
            transitions=[records.transition_from(row) for row in self._read(listings.transitions_of, run_id=run_id)],
            workers=workers,
            ahead=ahead,
            standing=read_standing(self._read_shape, run, workers, waits),
        )
        self._connection.execute("commit")
        return detail

    def situation(self, run: Run, now_ms: UnixMs) -> Situation:
        """The run with all that a command may depend on."""
        read = self._read
        return Situation(
            now_ms=now_ms,
            run=run,
            journal=[records.entry_from(row) for row in read(listings.journal_of, run_id=run.id)],
            waits=[records.wait_from(row) for row in read(listings.waits_of, run_id=run.id)],
            attempts=[records.attempt_from(row) for row in read(listings.attempts_of, run_id=run.id)],
            transitions=[records.transition_from(row) for row in read(listings.transitions_of, run_id=run.id)],
        )

    def _ahead(self, run: Run) -> int:
        place: dict[str, Any] = {name: getattr(run, name) for name in ("queue", "priority", "ready_ms", "id")}
        row = read_row(self._connection, "read_ahead", limit=_AHEAD_MAX, **place)
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def _read(self, make: search.Make, **values: Any) -> list[Any]:
        return self._read_shape(make, (), values)

    def _read_shape(self, make: search.Make, shape: tuple[Any, ...], values: dict[str, Any]) -> list[Any]:
        text, constants = text_of(make, "sqlite", *shape)
        return self._connection.execute(text, constants | values).fetchall()

    def _rows(self, query: listings.Query) -> list[Any]:
        text, parameters = render(query, "sqlite")
        return self._connection.execute(text, parameters).fetchall()
