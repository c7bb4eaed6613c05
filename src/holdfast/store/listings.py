"""Listings and whole-run reads, written once for both databases.

A statement is built here, made text by ``rendering``, and executed on the adapter's own driver connection; ``records``
makes records of the rows. Hot paths do not come here, and an adapter imports this module when it first lists something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from holdfast.errors import StoreCorrupt
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import BrokenRun, Run, RunFilter, RunPage
from holdfast.store.paging import PageCursor, encode_cursor
from holdfast.store.records import run_from
from holdfast.store.tables import ATTEMPTS, ATTRIBUTES, JOURNAL, RUNS, TRANSITIONS, WAITS, WORKERS

AHEAD_MAX: Final = 1_000
"""How far ``runs_ahead`` counts."""

RUN_COLUMNS: Final = [RUNS.c[name] for name in Run.__struct_fields__]
_ID: Final = Run.__struct_fields__.index("id")
_CREATED: Final = Run.__struct_fields__.index("created_ms")
ENTRY_COLUMNS: Final = [column for column in JOURNAL.c if column.name not in ("shard", "run_id")]
WAIT_COLUMNS: Final = [column for column in WAITS.c if column.name not in ("shard", "run_id", "epoch")]
ATTEMPT_COLUMNS: Final = [column for column in ATTEMPTS.c if column.name not in ("shard", "run_id", "epoch")]
TRANSITION_COLUMNS: Final = [column for column in TRANSITIONS.c if column.name not in ("shard", "run_id")]
WORKER_COLUMNS: Final = list(WORKERS.c)

Query = Select[*tuple[Any, ...]]


def runs_by_id(tenant: Tenant, run_ids: Sequence[RunId], *, shards: Sequence[int]) -> Query:
    """Those of these runs that the tenant has. Access: the primary key."""
    mine = RUNS.c.tenant == tenant
    return select(*RUN_COLUMNS).where(RUNS.c.shard.in_(shards), RUNS.c.id.in_(run_ids), mine)


def page_of_runs(tenant: Tenant, where: RunFilter, *, limit: int, after: PageCursor | None) -> Query:
    """One run more than a page holds, newest first. Access: runs_list, or the index of a more telling filter."""
    query = select(*RUN_COLUMNS).where(*_conditions(tenant, where))
    if after is not None:
        older = or_(RUNS.c.created_ms < after.created_ms, RUNS.c.id < after.id)
        query = query.where(RUNS.c.created_ms <= after.created_ms, older)
    return query.order_by(RUNS.c.created_ms.desc(), RUNS.c.id.desc()).limit(max(limit, 0) + 1)


def page_from(rows: Sequence[Any], *, limit: int) -> RunPage:
    """The page of what ``page_of_runs`` returned. A row that cannot be read is named, and hides no other."""
    shown = rows[: max(limit, 0)]
    runs: list[Run] = []
    broken: list[BrokenRun] = []
    for row in shown:
        try:
            runs.append(run_from(row))
        except StoreCorrupt as error:
            broken.append(BrokenRun(RunId(str(row[_ID])), str(error)))
    last = shown[-1] if len(rows) > len(shown) and shown else None
    cursor = None if last is None else encode_cursor(PageCursor(UnixMs(last[_CREATED]), RunId(str(last[_ID]))))
    return RunPage(runs, cursor, broken)


def count_by_status(tenant: Tenant, where: RunFilter) -> Query:
    """Status and number of the runs that the filter lets through."""
    return select(RUNS.c.status, func.count()).where(*_conditions(tenant, where)).group_by(RUNS.c.status)


def journal_of(run_id: RunId, *, shard: int) -> Query:
    """The run's journal, in order of completion."""
    return _of_run(JOURNAL.c, ENTRY_COLUMNS, run_id, shard).order_by(JOURNAL.c.seq)


def waits_of(run_id: RunId, *, shard: int) -> Query:
    """The run's waits; sort them by seq and key."""
    return _of_run(WAITS.c, WAIT_COLUMNS, run_id, shard)


def attempts_of(run_id: RunId, *, shard: int) -> Query:
    """The run's failed attempts; sort them by key and number."""
    return _of_run(ATTEMPTS.c, ATTEMPT_COLUMNS, run_id, shard)


def transitions_of(run_id: RunId, *, shard: int) -> Query:
    """The run's moves, first to last."""
    return _of_run(TRANSITIONS.c, TRANSITION_COLUMNS, run_id, shard).order_by(TRANSITIONS.c.seq)


def live_workers(now_ms: UnixMs, *, also: str | None = None) -> Query:
    """The workers whose lease has not run out, and the one called ``also``."""
    live = WORKERS.c.lease_until_ms > now_ms
    return (
        select(*WORKER_COLUMNS).where(live if also is None else or_(live, WORKERS.c.id == also)).order_by(WORKERS.c.id)
    )


def runs_ahead(run: Run, *, shard: int) -> Query:
    """How many claimable runs of its queue come before a claimable run, counted up to AHEAD_MAX. Access: runs_line."""
    c = RUNS.c
    same = and_(
        c.priority == run.priority, or_(c.ready_ms < run.ready_ms, and_(c.ready_ms == run.ready_ms, c.id < run.id))
    )
    before = or_(c.priority > run.priority, same)
    line = select(c.id).where(c.shard == shard, c.queue == run.queue, c.ready_ms.is_not(None), before)
    return select(func.count()).select_from(line.limit(AHEAD_MAX).subquery())


def _of_run(table: Any, columns: Sequence[ColumnElement[Any]], run_id: RunId, shard: int) -> Query:
    return select(*columns).where(table.shard == shard, table.run_id == run_id)


def _conditions(tenant: Tenant, where: RunFilter) -> list[ColumnElement[bool]]:
    c = RUNS.c
    conditions: list[ColumnElement[bool]] = [c.tenant == tenant]
    if where.statuses:
        conditions.append(c.status.in_(sorted(status.value for status in where.statuses)))
    exact = {
        "workflow": where.workflow,
        "queue": where.queue,
        "key": where.key,
        "parent_id": where.parent_id,
        "root_id": where.root_id,
    }
    conditions += [c[name] == value for name, value in exact.items() if value is not None]
    if where.created_from_ms is not None:
        conditions.append(c.created_ms >= where.created_from_ms)
    if where.created_before_ms is not None:
        conditions.append(c.created_ms < where.created_before_ms)
    for name, value in where.attributes.items():
        a = ATTRIBUTES.c
        found = select(a.run_id).where(a.tenant == tenant, a.name == name, a.value == value)
        conditions.append(c.id.in_(found))
    return conditions
