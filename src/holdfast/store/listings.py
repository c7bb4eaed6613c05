"""Listings and whole-run reads, written once for both databases.

A statement is built here and made text by ``rendering``, once for each shape; it is executed on the adapter's own
driver connection, with its values as parameters, and ``records`` makes records of the rows. Hot paths do not come here,
and an adapter imports this module when it first lists something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    func,
    literal_column,
    or_,
    select,
    text,
)

from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Wait
from holdfast.model.status import EntryKind
from holdfast.store.paging import Place
from holdfast.store.rendering import SHARD, value
from holdfast.store.search import RUN_COLUMNS
from holdfast.store.tables import ATTEMPTS, JOURNAL, RUNS, TRANSITIONS, WAITS, WORKERS

ENTRY_COLUMNS: Final = [column for column in JOURNAL.c if column.name not in ("shard", "run_id")]
WAIT_COLUMNS: Final = [WAITS.c[name] for name in Wait.__struct_fields__]
ATTEMPT_COLUMNS: Final = [column for column in ATTEMPTS.c if column.name not in ("shard", "run_id", "epoch")]
TRANSITION_COLUMNS: Final = [column for column in TRANSITIONS.c if column.name not in ("shard", "run_id", "position")]
WORKER_COLUMNS: Final = list(WORKERS.c)

Query = Select[*tuple[Any, ...]]
MayAnswer = Callable[[], ColumnElement[bool]]
"""A condition of ``page_of_approvals``, which differs between the databases."""


def runs_by_id(tenant: Tenant, run_ids: Sequence[RunId], *, shards: Sequence[int]) -> Query:
    """Those of these runs that the tenant has. Access: the primary key."""
    mine = RUNS.c.tenant == tenant
    return select(*RUN_COLUMNS).where(RUNS.c.shard.in_(shards), RUNS.c.id.in_(run_ids), mine)


def run_by_id() -> Query:
    """The run, if the tenant has it. Access: the primary key."""
    c = RUNS.c
    return select(*RUN_COLUMNS).where(c.shard == SHARD, c.id == value("id", c.id.type), c.tenant == value("tenant"))


def newest_by_id() -> Query:
    """The last link of the run's chain; the run itself if it is in none. Access: the primary key, runs_chain."""
    asked, link = RUNS.alias("asked"), RUNS.alias("link")
    a, n, c = asked.c, link.c, RUNS.c
    last = select(n.id).where(n.shard == SHARD, n.chain_id == a.chain_id, n.chain_id.is_not(None))
    newest = last.order_by(n.link.desc()).limit(literal_column("1")).scalar_subquery()
    mine = select(func.coalesce(newest, a.id)).where(a.shard == SHARD, a.id == value("id", c.id.type))
    mine = mine.where(a.tenant == value("tenant"))
    return select(*RUN_COLUMNS).where(c.shard == SHARD, c.id == mine.scalar_subquery())


def page_of_approvals(may_answer: MayAnswer | None, after: bool) -> Query:  # noqa: FBT001 - a part of the shape
    """One open approval more than a page holds, oldest first. Access: waits_open_approval (waits_approval)."""
    w = WAITS.c
    query = select(w.run_id, w.key, RUNS.c.workflow, w.opened_ms, w.due_ms, w.request).join_from(
        WAITS, RUNS, and_(RUNS.c.shard == w.shard, RUNS.c.id == w.run_id)
    )
    query = query.where(w.tenant == value("tenant"), w.outcome.is_(None), w.kind == literal_column("'approval'"))
    if may_answer is not None:
        query = query.where(may_answer())
    if after:
        opened_ms, run_id, key = value("after_ms", BigInteger), value("after_id", w.run_id.type), value("after_key")
        behind = or_(w.run_id > run_id, and_(w.run_id == run_id, w.key > key))
        query = query.where(w.opened_ms >= opened_ms, or_(w.opened_ms > opened_ms, behind))
    return query.order_by(w.opened_ms, w.run_id, w.key).limit(value("limit", Integer))


def approval_values(tenant: Tenant, *, limit: int, after: Place | None) -> dict[str, Any]:
    """The values of ``page_of_approvals``, but those of ``may_answer``: ``now_ms`` and ``names``."""
    opened_ms, run_id, key = after or (None, None, None)
    return {"tenant": tenant, "limit": max(limit, 0) + 1, "after_ms": opened_ms, "after_id": run_id, "after_key": key}


def may_answer_sqlite() -> ColumnElement[bool]:
    """Whether somebody with one of these ``names``, as JSON, may answer the approval at ``now_ms``."""
    return cast("ColumnElement[bool]", text(_MAY_ANSWER_SQLITE))


def may_answer_postgres() -> ColumnElement[bool]:
    """The same; ``names`` is a list."""
    wanted, now_ms = value("names", ARRAY(Text)), value("now_ms", BigInteger)
    return cast("ColumnElement[bool]", func.holdfast.may_answer(WAITS.c.request, WAITS.c.opened_ms, now_ms, wanted))


_MAY_ANSWER_SQLITE: Final = """(
        coalesce(json_array_length(holdfast_waits.request, '$.by'), 0) = 0
        or exists (
            select 1 from json_each(holdfast_waits.request, '$.by') as a cross join json_each(:names) as n
            where a.value = n.value)
        or (
            holdfast_waits.opened_ms + (holdfast_waits.request ->> '$.escalate_after_ms') <= :now_ms
            and exists (
                select 1 from json_each(holdfast_waits.request, '$.escalate_to') as a cross join json_each(:names) as n
                where a.value = n.value)))"""


def journal_of() -> Query:
    """The run's journal, in order of completion."""
    return _of_run(JOURNAL.c, ENTRY_COLUMNS).order_by(JOURNAL.c.seq)


def outputs_of(kind: EntryKind, last: bool) -> Query:  # noqa: FBT001 - a part of the shape
    """Up to ``limit`` entries of a ``name`` that a run recorded for others behind ``after``, or the last.

    Access: journal_outputs.
    """
    j = JOURNAL.c
    query = _of_run(j, ENTRY_COLUMNS).where(j.kind == literal_column(f"'{kind.value}'"), j.name == value("name"))
    if last:
        return query.order_by(j.seq.desc()).limit(literal_column("1"))
    return query.where(j.seq > value("after", Integer)).order_by(j.seq).limit(value("limit", Integer))


def output_values(run_id: RunId, name: str, *, after: int | None, limit: int) -> dict[str, Any]:
    """The values of ``outputs_of``."""
    return {"run_id": run_id, "name": name, "after": after, "limit": max(limit, 0)}


def waits_of() -> Query:
    """The run's waits; sort them by seq and key."""
    return _of_run(WAITS.c, WAIT_COLUMNS)


def attempts_of() -> Query:
    """The run's failed attempts; sort them by key and number."""
    return _of_run(ATTEMPTS.c, ATTEMPT_COLUMNS)


def transitions_of() -> Query:
    """The run's moves, first to last."""
    return _of_run(TRANSITIONS.c, TRANSITION_COLUMNS).order_by(TRANSITIONS.c.seq)


def live_workers() -> Query:
    """The workers whose lease has not run out at ``now_ms``, and the one called ``also``."""
    w = WORKERS.c
    live = or_(w.lease_until_ms > value("now_ms", BigInteger), w.id == value("also"))
    return select(*WORKER_COLUMNS).where(live).order_by(w.id)


def _of_run(table: Any, columns: Sequence[ColumnElement[Any]]) -> Query:
    return select(*columns).where(table.shard == SHARD, table.run_id == value("run_id", table.run_id.type))
