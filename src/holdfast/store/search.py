"""Searching runs: pages, counts and groups, written once for both databases.

A page is found in two steps. First the keys of its runs, in order, by an index: one look per status, merged, because
the indexes begin with tenant and status; or by what is more telling (a key, a parent, an attribute, a wait, an error).
Then the rows of these keys. What no index serves (a queue, a text, a time of change) is looked for among the next
``paging.WINDOW`` runs alone: a page then may hold fewer runs than it could, or none, and still name a next one. So no
filter makes a page read all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from holdfast.core.attributes import index_row
from holdfast.errors import StoreCorrupt
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import BrokenRun, Run, RunFilter, RunPage
from holdfast.model.search import AttributeValue, GroupBy, RunGroup, RunOrder
from holdfast.model.status import ACTIVE_STATUSES, RunStatus
from holdfast.store import paging
from holdfast.store.paging import PageCursor, encode_cursor
from holdfast.store.records import run_from
from holdfast.store.tables import ATTRIBUTES, RUNS, WAITS

GROUPS_MAX: Final = 1_000

_SHARD: Final = 0
"""There is one shard until the tables are distributed."""

RUN_COLUMNS: Final = [RUNS.c[name] for name in Run.__struct_fields__]
_ID: Final = Run.__struct_fields__.index("id")

Query = Select[*tuple[Any, ...]]
Read = Callable[[Query], Sequence[Any]]


def read_page(read: Read, tenant: Tenant, where: RunFilter, *, limit: int, after: PageCursor | None) -> RunPage:
    """A page of runs; ``read`` executes a statement."""
    shown = max(limit, 0)
    rest = _unindexed(tenant, where)
    keys = _keys(tenant, where, count=paging.WINDOW if rest else shown + 1, after=after)
    rows = read(_rows_of(keys, where, rest, limit=shown + 1))
    if len(rows) > shown:
        return _page(rows[:shown], _cursor(rows[shown - 1], where) if shown else None)
    if not rest:
        return _page(rows, None)
    # The window may have ended before the page was full.
    ends = read(_last_of(keys, where))
    if not ends:
        return _page(rows, None)
    found = [PageCursor(UnixMs(ends[0][0]), RunId(str(ends[0][1]))), *(_cursor(row, where) for row in rows[-1:])]
    # Of the two the later one: rows may have come into the window meanwhile.
    last = max(found, key=_place) if where.order is RunOrder.OLDEST else min(found, key=_place)
    return _page(rows, last)


def groups_of(tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool = False) -> Query:
    """The rows of ``group_from``: the largest groups first. ``bare``: nothing but value and number."""
    c = RUNS.c
    column = {
        GroupBy.STATUS: c.status,
        GroupBy.WORKFLOW: c.workflow,
        GroupBy.QUEUE: c.queue,
        GroupBy.ERROR: c.error_fingerprint,
    }[by]
    count = func.count()
    label = func.max(c.error_type + ": " + c.error_message) if by is GroupBy.ERROR else literal(None, Text)
    facts = [] if bare else [label, func.max(c.updated_ms), func.max(cast(c.id, Text))]
    query = select(column, count, *facts).where(*_indexed(tenant, where), *_unindexed(tenant, where))
    if by is GroupBy.ERROR:
        query = query.where(column.is_not(None))
    return query.group_by(column).order_by(count.desc(), column).limit(max(min(limit, GROUPS_MAX), 0))


def group_from(row: Any) -> RunGroup:
    """A row of ``groups_of``."""
    if len(row) == 2:  # noqa: PLR2004 - a bare one
        return RunGroup(row[0], row[1])
    return RunGroup(row[0], row[1], row[2], UnixMs(row[3]), RunId(str(row[4])))


def rows_to_page(rows: Sequence[Any]) -> RunPage:
    """Rows of ``RUN_COLUMNS`` as a page without a next one: one that cannot be read is named, and hides no other."""
    return _page(rows, None)


# --- Pages -------------------------------------------------------------------------------------------------------


def _keys(tenant: Tenant, where: RunFilter, *, count: int, after: PageCursor | None) -> Subquery:
    """The keys of the next ``count`` runs, in order. Access: runs_status, runs_workflow, runs_ended, or another."""
    c = RUNS.c
    leading = next(iter(where.attributes), None) if where.order is not RunOrder.ENDED else None
    conditions = _indexed(tenant, where, without=leading)
    moment = _moment_of(where)
    if where.order is RunOrder.ENDED:
        conditions.append(c.finalized_ms.is_not(None))
    if leading is not None:
        conditions += _valued(tenant, leading, "=", where.attributes[leading])
        return _keys_by_attribute(where, conditions, count=count, after=after)
    if after is not None:
        conditions.append(_is_after(moment, c.id, where, after))
    columns = (c.shard, c.id, moment.label("moment_ms"))
    if _is_telling(where) or where.order is RunOrder.ENDED:
        return _ordered(select(*columns).where(*conditions), moment, c.id, where).limit(count).subquery("keys")
    # A list of statuses in one condition would be read and sorted as a whole.
    heads = [
        _ordered(select(*columns).where(c.status == status.value, *conditions), moment, c.id, where)
        .limit(count)
        .subquery(f"of_{status.value}")
        for status in RunStatus
        if status in (_statuses_of(where) or RunStatus)
    ]
    merged = union_all(*(select(head) for head in heads)).subquery("heads") if len(heads) > 1 else heads[0]
    return _ordered(select(merged), merged.c.moment_ms, merged.c.id, where).limit(count).subquery("keys")


def _keys_by_attribute(
    where: RunFilter, conditions: list[ColumnElement[bool]], *, count: int, after: PageCursor | None
) -> Subquery:
    """As ``_keys``, in the order of the index of an attribute's value. Access: attributes_value."""
    a = ATTRIBUTES.c
    if after is not None:
        conditions.append(_is_after(a.created_ms, a.run_id, where, after))
    joined = ATTRIBUTES.join(RUNS, and_(RUNS.c.shard == a.shard, RUNS.c.id == a.run_id))
    query: Query = select(a.shard, a.run_id.label("id"), a.created_ms.label("moment_ms"))
    query = query.select_from(joined).where(*conditions)
    return _ordered(query, a.created_ms, a.run_id, where).limit(count).subquery("keys")


def _rows_of(keys: Subquery, where: RunFilter, rest: Sequence[ColumnElement[bool]], *, limit: int) -> Query:
    """The runs of these keys that meet the other conditions too. Access: the primary key."""
    joined = RUNS.join(keys, and_(RUNS.c.shard == keys.c.shard, RUNS.c.id == keys.c.id))
    query: Query = select(*RUN_COLUMNS).select_from(joined).where(*rest)
    return _ordered(query, keys.c.moment_ms, keys.c.id, where).limit(limit)


def _last_of(keys: Subquery, where: RunFilter) -> Query:
    """The last key of a full window, or nothing."""
    query: Query = select(keys.c.moment_ms, keys.c.id)
    return _ordered(query, keys.c.moment_ms, keys.c.id, where).offset(paging.WINDOW - 1).limit(1)


def _page(rows: Sequence[Any], last: PageCursor | None) -> RunPage:
    runs: list[Run] = []
    broken: list[BrokenRun] = []
    for row in rows:
        try:
            runs.append(run_from(row))
        except StoreCorrupt as error:
            broken.append(BrokenRun(RunId(str(row[_ID])), str(error)))
    return RunPage(runs, None if last is None else encode_cursor(last), broken)


def _cursor(row: Any, where: RunFilter) -> PageCursor:
    moment = Run.__struct_fields__.index(_moment_of(where).name)
    return PageCursor(UnixMs(row[moment]), RunId(str(row[_ID])))


def _place(cursor: PageCursor) -> tuple[int, str]:
    return cursor.created_ms, cursor.id


def _moment_of(where: RunFilter) -> ColumnElement[int]:
    return RUNS.c.finalized_ms if where.order is RunOrder.ENDED else RUNS.c.created_ms


def _ordered(query: Query, moment: ColumnElement[Any], id_: ColumnElement[Any], where: RunFilter) -> Query:
    if where.order is RunOrder.OLDEST:
        return query.order_by(moment, id_)
    return query.order_by(moment.desc(), id_.desc())


def _is_after(
    moment: ColumnElement[int], id_: ColumnElement[str], where: RunFilter, after: PageCursor
) -> ColumnElement[bool]:
    mine = tuple_(moment, id_)
    theirs = tuple_(literal(after.created_ms, BigInteger), literal(after.id, Uuid(as_uuid=False)))
    return mine > theirs if where.order is RunOrder.OLDEST else mine < theirs


# --- Conditions --------------------------------------------------------------------------------------------------


def _is_telling(where: RunFilter) -> bool:
    """Whether few runs are left by a filter that has an index of its own."""
    one = (where.key, where.parent_id, where.root_id, where.error_type, where.fingerprint)
    return any(value is not None for value in one) or bool(where.attributes)


def _statuses_of(where: RunFilter) -> frozenset[RunStatus]:
    """The statuses that a run may have; any if empty. Only an active run waits."""
    if where.waiting_on is None:
        return where.statuses
    return where.statuses & ACTIVE_STATUSES if where.statuses else ACTIVE_STATUSES


def _indexed(tenant: Tenant, where: RunFilter, *, without: str | None = None) -> list[ColumnElement[bool]]:
    c = RUNS.c
    conditions: list[ColumnElement[bool]] = [c.tenant == tenant]
    exact = {
        "workflow": where.workflow,
        "key": where.key,
        "parent_id": where.parent_id,
        "error_type": where.error_type,
        "error_fingerprint": where.fingerprint,
    }
    conditions += [c[name] == value for name, value in exact.items() if value is not None]
    if where.root_id is not None:
        mine = and_(c.root_id == where.root_id, c.root_id != c.id)
        conditions += [c.shard == _SHARD, or_(c.id == where.root_id, mine)]
    if where.statuses:
        conditions.append(c.status.in_(sorted(status.value for status in where.statuses)))
    if where.waiting_on is not None and where.waiting_on.name is not None:
        conditions.append(c.id.in_(_waiters(tenant, where.waiting_on.kind, where.waiting_on.name)))
    moment = _moment_of(where)
    conditions += _between(moment, *_range_of(where, moment.name))
    a = ATTRIBUTES.c
    for name, value in where.attributes.items():
        if name != without:
            conditions.append(c.id.in_(select(a.run_id).where(*_valued(tenant, name, "=", value))))
    return conditions


def _unindexed(tenant: Tenant, where: RunFilter) -> list[ColumnElement[bool]]:
    """What is looked for in a window."""
    c = RUNS.c
    conditions = [
        c[name] == value for name, value in (("queue", where.queue), ("version", where.version)) if value is not None
    ]
    for name in ("created_ms", "updated_ms", "finalized_ms"):
        if name != _moment_of(where).name:
            conditions += _between(c[name], *_range_of(where, name))
    if where.waiting_on is not None and where.waiting_on.name is None:
        w = WAITS.c
        open_ = (w.shard == c.shard, w.run_id == c.id, w.outcome.is_(None), w.kind == where.waiting_on.kind)
        conditions.append(_probed(select(w.run_id).where(*open_)))
    a = ATTRIBUTES.c
    for one in where.ranges:
        valued = _valued(tenant, one.name, one.operator, one.value)
        conditions.append(_probed(select(a.run_id).where(a.shard == c.shard, a.run_id == c.id, *valued)))
    if where.text is not None:
        needle = where.text.lower()
        conditions.append(
            or_(
                *(
                    func.lower(func.coalesce(column, "")).contains(needle, autoescape=True)
                    for column in (c.key, c.workflow, c.error_message)
                )
            )
        )
    return conditions


def _probed(query: Query) -> ColumnElement[bool]:
    """Whether there is such a row; asked run by run, where PostgreSQL would rather gather all such rows first."""
    return query.correlate(RUNS).offset(0).exists()


def _range_of(where: RunFilter, column: str) -> tuple[UnixMs | None, UnixMs | None]:
    stem = column.removesuffix("_ms")
    return getattr(where, f"{stem}_from_ms"), getattr(where, f"{stem}_before_ms")


def _between(column: ColumnElement[int], from_ms: UnixMs | None, before_ms: UnixMs | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if from_ms is not None:
        conditions.append(column >= from_ms)
    if before_ms is not None:
        conditions.append(column < before_ms)
    return conditions


def _waiters(tenant: Tenant, kind: str, name: str) -> Query:
    """The ids of runs with such an open wait. Access: waits_open_signal, waits_open_child."""
    w = WAITS.c
    column, index = (w.child_id, "waits_child") if kind == "child" else (w.signal, "waits_signal")
    # The index holds no rows without a name; SQLite does not take that from the comparison alone.
    named = (column == name, column.is_not(None))
    query: Query = select(w.run_id).where(
        w.shard == _SHARD, w.tenant == tenant, w.outcome.is_(None), w.kind == kind, *named
    )
    return query.with_hint(WAITS, f"INDEXED BY {index}", "sqlite")


def _valued(tenant: Tenant, name: str, operator: str, value: AttributeValue) -> list[ColumnElement[bool]]:
    """The rows of such an attribute. Access: attributes_value."""
    a = ATTRIBUTES.c
    kind, text, number = index_row(value)
    conditions: list[ColumnElement[bool]] = [a.tenant == tenant, a.name == name, a.kind == kind]
    if operator == "=":
        return [*conditions, a.text == text, a.number == number]
    column: ColumnElement[Any] = a.text if kind == "text" else a.number
    wanted = text if kind == "text" else number
    match operator:
        case "<":
            conditions.append(column < wanted)
        case "<=":
            conditions.append(column <= wanted)
        case ">":
            conditions.append(column > wanted)
        case _:
            conditions.append(column >= wanted)
    # The kind says which of the two columns is the value; the other one is the same in all rows of that kind.
    return [*conditions, a.text == ""] if kind != "text" else conditions
