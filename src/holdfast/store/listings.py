"""Listings and whole-run reads, written once for both databases.

A statement is built here, made text by ``rendering``, and executed on the adapter's own driver connection; ``records``
makes records of the rows. Hot paths do not come here, and an adapter imports this module when it first lists something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Select, Text, and_, func, literal_column, or_, select, text
from sqlalchemy import cast as sql_cast

from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import Run, Wait
from holdfast.model.status import EntryKind
from holdfast.store.paging import Place
from holdfast.store.search import RUN_COLUMNS
from holdfast.store.tables import ATTEMPTS, JOURNAL, RUNS, TRANSITIONS, WAITS, WORKERS

AHEAD_MAX: Final = 1_000
"""How far ``runs_ahead`` counts."""

ENTRY_COLUMNS: Final = [column for column in JOURNAL.c if column.name not in ("shard", "run_id")]
WAIT_COLUMNS: Final = [WAITS.c[name] for name in Wait.__struct_fields__]
ATTEMPT_COLUMNS: Final = [column for column in ATTEMPTS.c if column.name not in ("shard", "run_id", "epoch")]
TRANSITION_COLUMNS: Final = [column for column in TRANSITIONS.c if column.name not in ("shard", "run_id", "position")]
WORKER_COLUMNS: Final = list(WORKERS.c)

Query = Select[*tuple[Any, ...]]


def runs_by_id(tenant: Tenant, run_ids: Sequence[RunId], *, shards: Sequence[int]) -> Query:
    """Those of these runs that the tenant has. Access: the primary key."""
    mine = RUNS.c.tenant == tenant
    return select(*RUN_COLUMNS).where(RUNS.c.shard.in_(shards), RUNS.c.id.in_(run_ids), mine)


def page_of_approvals(
    tenant: Tenant, may_answer: ColumnElement[bool] | None, *, limit: int, after: Place | None
) -> Query:
    """One open approval more than a page holds, oldest first. Access: waits_open_approval (waits_approval)."""
    w = WAITS.c
    query = select(w.run_id, w.key, RUNS.c.workflow, w.opened_ms, w.due_ms, w.request).join_from(
        WAITS, RUNS, and_(RUNS.c.shard == w.shard, RUNS.c.id == w.run_id)
    )
    query = query.where(w.tenant == tenant, w.outcome.is_(None), w.kind == literal_column("'approval'"))
    if may_answer is not None:
        query = query.where(may_answer)
    if after is not None:
        opened_ms, run_id, key = after
        behind = or_(w.run_id > run_id, and_(w.run_id == run_id, w.key > key))
        query = query.where(w.opened_ms >= opened_ms, or_(w.opened_ms > opened_ms, behind))
    return query.order_by(w.opened_ms, w.run_id, w.key).limit(max(limit, 0) + 1)


def may_answer_sqlite(names: Sequence[str], now_ms: UnixMs) -> ColumnElement[bool]:
    """Whether somebody with one of these names may answer the approval by now."""
    bound = text(_MAY_ANSWER_SQLITE).bindparams(names=msgspec.json.encode(list(names)).decode(), now_ms=now_ms)
    return cast("ColumnElement[bool]", bound)


def may_answer_postgres(names: Sequence[str], now_ms: UnixMs) -> ColumnElement[bool]:
    """The same."""
    wanted = sql_cast(list(names), ARRAY(Text))
    asked = WAITS.c.request
    return cast("ColumnElement[bool]", func.holdfast.may_answer(asked, WAITS.c.opened_ms, now_ms, wanted))


_MAY_ANSWER_SQLITE: Final = """(
        coalesce(json_array_length(waits.request, '$.by'), 0) = 0
        or exists (
            select 1 from json_each(waits.request, '$.by') as a cross join json_each(:names) as n
            where a.value = n.value)
        or (
            waits.opened_ms + (waits.request ->> '$.escalate_after_ms') <= :now_ms
            and exists (
                select 1 from json_each(waits.request, '$.escalate_to') as a cross join json_each(:names) as n
                where a.value = n.value)))"""


def journal_of(run_id: RunId, *, shard: int) -> Query:
    """The run's journal, in order of completion."""
    return _of_run(JOURNAL.c, ENTRY_COLUMNS, run_id, shard).order_by(JOURNAL.c.seq)


def outputs_of(run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int, shard: int) -> Query:
    """Up to ``limit`` entries that a run recorded for others behind an offset, or the last. Access: journal_outputs."""
    j = JOURNAL.c
    query = _of_run(j, ENTRY_COLUMNS, run_id, shard).where(j.kind == literal_column(f"'{kind.value}'"), j.name == name)
    if after is None:
        return query.order_by(j.seq.desc()).limit(1)
    return query.where(j.seq > after).order_by(j.seq).limit(max(limit, 0))


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
