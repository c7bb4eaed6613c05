"""Searching runs: pages, counts and groups, written once for both databases.

A page is found in two steps of one statement. First the keys of its runs, in order, by the index that tells most: a
parent, an attribute, an error; or one look per status, merged, because the other indexes begin with tenant and status.
What that index does not serve (a queue, a text, a second attribute) is looked for among the next ``paging.WINDOW``
keys alone: a page then may hold fewer runs than it could, or none, and still name a next one. So no filter makes a
page read all runs. What few runs have (a key, a root, a wait for some signal) is gathered, looked at and sorted.

A statement is built once for each ``shapes.Shape``; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from holdfast.errors import StoreCorrupt
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import BrokenRun, Run, RunFilter, RunPage
from holdfast.model.search import IN_LINE, GroupBy, RunGroup, RunOrder
from holdfast.model.status import RunStatus
from holdfast.store import paging
from holdfast.store.paging import PageCursor, encode_cursor
from holdfast.store.records import run_from
from holdfast.store.rendering import SHARD, value
from holdfast.store.shapes import LIKE_ESCAPE, SERVED, Lead, Shape, shape_of, values_of
from holdfast.store.tables import ATTRIBUTES, PAUSES, RUNS, WAITS

GROUPS_MAX: Final = 1_000

RUN_COLUMNS: Final = [RUNS.c[name] for name in Run.__struct_fields__]
_ID: Final = Run.__struct_fields__.index("id")

Query = Select[*tuple[Any, ...]]
Make = Callable[..., Query]
"""Makes a statement of its shape: what else it is called with can be hashed, and decides all of the text."""
Read = Callable[[Make, tuple[Any, ...], dict[str, Any]], Sequence[Any]]
"""Executes the statement that is made of a shape, with values."""


def read_page(read: Read, tenant: Tenant, where: RunFilter, *, limit: int, after: PageCursor | None) -> RunPage:
    """A page of runs."""
    shape = shape_of(where)
    if not shape.statuses:
        return RunPage([], None)
    values = values_of(tenant, where, after=after)
    lead = shape.lead(few_wait=_has_few_waiters(read, shape, values))
    windowed = bool(_rest(shape, lead))
    shown = max(limit, 0)
    values |= {"shown": shown + 1, "window": paging.WINDOW, "keys": paging.WINDOW if windowed else shown + 1}
    rows = read(page_of, (shape, lead, after is not None), values)
    found = [row for row in rows if row[-2]]
    if len(found) > shown:
        return _page(found[:shown], _cursor(found[shown - 1], where) if shown else None)
    # The window may have ended before the page was full.
    ended = windowed and bool(rows) and rows[-1][-1] == paging.WINDOW
    return _page(found, _cursor(rows[-1], where) if ended else None)


def _has_few_waiters(read: Read, shape: Shape, values: dict[str, Any]) -> bool:
    """Whether a wait is asked for by its name, and so few have it that they can be gathered."""
    if shape.waiting not in {"signal", "child"}:
        return False
    count: int = read(waiters_counted, (shape.waiting,), {**values, "most": paging.GATHERED + 1})[0][0]
    return count <= paging.GATHERED


def group(
    read: Read,
    tenant: Tenant,
    where: RunFilter,
    by: GroupBy,
    *,
    limit: int,
    bare: bool = False,
    most: int | None = None,
) -> list[RunGroup]:
    """The largest groups first. ``bare``: nothing but value and number. ``most``: see ``count_runs``."""
    values = values_of(tenant, where) | {"shown": max(min(limit, GROUPS_MAX), 0)}
    if most is not None:
        shape = shape_of(where)
        counts: Sequence[Any] = read(counts_of, (shape,), {**values, "most": most}) if shape.statuses else []
        return [RunGroup(name, count) for name, count in counts]
    rows = read(groups_of, (shape_of(where), by, bare), values)
    if bare:
        return [RunGroup(name, count) for name, count in rows]
    return [RunGroup(row[0], row[1], row[2], UnixMs(row[3]), RunId(str(row[4]))) for row in rows]


def rows_to_page(rows: Sequence[Any]) -> RunPage:
    """Rows of ``RUN_COLUMNS`` as a page without a next one: one that cannot be read is named, and hides no other."""
    return _page(rows, None)


def _page(rows: Sequence[Any], last: PageCursor | None) -> RunPage:
    runs: list[Run] = []
    broken: list[BrokenRun] = []
    for row in rows:
        try:
            runs.append(run_from(row[: len(RUN_COLUMNS)]))
        except StoreCorrupt as error:
            broken.append(BrokenRun(RunId(str(row[_ID])), str(error)))
    return RunPage(runs, None if last is None else encode_cursor(last), broken)


def _cursor(row: Any, where: RunFilter) -> PageCursor:
    moment = Run.__struct_fields__.index("finalized_ms" if where.order is RunOrder.ENDED else "created_ms")
    return PageCursor(UnixMs(row[moment]), RunId(str(row[_ID])))


# --- Statements --------------------------------------------------------------------------------------------------


def page_of(shape: Shape, lead: Lead, after: bool) -> Query:  # noqa: FBT001 - a part of the statement's shape
    """``RUN_COLUMNS``, whether the run is one of the page, and of a window the key's number in it.

    The last key of a window is among the rows even if its run is none of the page: there the next page begins.
    """
    rest = _rest(shape, lead)
    keys = _keys(shape, lead, after=after)
    number: ColumnElement[Any] = null()
    if rest:
        moment, id_ = _directed(keys.c.moment_ms, keys.c.id, shape)
        keys = select(keys, func.row_number().over(order_by=(moment, id_)).label("number")).subquery("window")
        number = keys.c.number
    fits = and_(*rest) if rest else true()
    joined = RUNS.join(keys, and_(RUNS.c.shard == SHARD, RUNS.c.id == keys.c.id))
    query: Query = select(
        *RUN_COLUMNS, case((fits, literal_column("1", Integer)), else_=literal_column("0", Integer)), number
    )
    query = query.select_from(joined)
    if rest:
        query = query.where(or_(fits, number == value("window", Integer)))
    return query.order_by(*_directed(keys.c.moment_ms, keys.c.id, shape)).limit(value("shown", Integer))


def waiters_counted(waiting: str) -> Query:
    """How many open waits there are of a kind and name, counted up to ``most``. Access: as ``_waits_named``."""
    w = WAITS.c
    some = _hinted(select(w.run_id), waiting).where(*_waits_named(waiting)).limit(value("most", Integer))
    return select(func.count()).select_from(some.subquery())


def groups_of(shape: Shape, by: GroupBy, bare: bool) -> Query:  # noqa: FBT001 - a part of the shape
    """The rows of ``group``."""
    c = RUNS.c
    column = {
        GroupBy.STATUS: c.status,
        GroupBy.WORKFLOW: c.workflow,
        GroupBy.QUEUE: c.queue,
        GroupBy.ERROR: c.error_fingerprint,
    }[by]
    count = func.count()
    label = func.max(c.error_type + ": " + c.error_message) if by is GroupBy.ERROR else cast(null(), Text)
    facts = [] if bare else [label, func.max(c.updated_ms), func.max(cast(c.id, Text))]
    query = select(column, count, *facts).where(*_all_conditions(shape))
    if by is GroupBy.ERROR:
        query = query.where(column.is_not(None))
    return query.group_by(column).order_by(count.desc(), column).limit(value("shown", Integer))


def counts_of(shape: Shape) -> Query:
    """How many runs of each status there are, each counted up to ``most``. Access: runs_status or runs_workflow."""
    c = RUNS.c
    counts: list[Query] = []
    for status in (status for status in RunStatus if status in shape.statuses):
        # In the order of the index, or PostgreSQL would look for the first ones anywhere in the table.
        some = select(c.id).where(*_of_status(shape, status)).order_by(c.created_ms.desc(), c.id.desc())
        some = some.limit(value("most", Integer))
        name = literal_column(f"'{status.value}'", Text).label("status")
        counts.append(select(name, func.count().label("runs")).select_from(some.subquery()))
    found = union_all(*counts).subquery("counts")
    query: Query = select(found.c.status, found.c.runs).where(found.c.runs > literal_column("0"))
    return query.order_by(found.c.runs.desc(), found.c.status).limit(value("shown", Integer))


# --- The keys of a page ------------------------------------------------------------------------------------------


def _keys(shape: Shape, lead: Lead, *, after: bool) -> Subquery:
    """Id and moment of the next ``keys`` runs, in order. Access: the index of the lead."""
    c = RUNS.c
    match lead:
        case Lead.GATHERED:
            return _gathered(shape, after=after)
        case Lead.ATTRIBUTE:
            a = ATTRIBUTES.c
            conditions = [*_equals(0), *_times("created", a.created_ms, shape)]
            query: Query = select(a.run_id.label("id"), a.created_ms.label("moment_ms")).where(*conditions)
            return _cut(query, a.created_ms, a.run_id, shape, after=after)
        case Lead.ENDED:
            moment = c.finalized_ms
            conditions = [c.tenant == value("tenant"), moment.is_not(None), *_times("finalized", moment, shape)]
        case Lead.PARENT | Lead.FORKED | Lead.FINGERPRINT | Lead.ERROR_TYPE:
            moment = c.created_ms
            conditions = [c.tenant == value("tenant"), *_named(shape)[lead.value], *_times("created", moment, shape)]
        case Lead.STATUS:
            return _merged(shape, after=after)
    query = select(c.id, moment.label("moment_ms")).where(*conditions)
    return _cut(query, moment, c.id, shape, after=after)


def _merged(shape: Shape, *, after: bool) -> Subquery:
    """One look per status: a list of them in one condition would be read and sorted as a whole."""
    c = RUNS.c
    heads: list[Subquery] = []
    for status in (status for status in RunStatus if status in shape.statuses):
        query: Query = select(c.id, c.created_ms.label("moment_ms"))
        query = query.where(*_of_status(shape, status))
        heads.append(_cut(query, c.created_ms, c.id, shape, after=after, name=f"of_{status.value}"))
    if len(heads) == 1:
        return heads[0]
    merged = union_all(*(select(head) for head in heads)).subquery("heads")
    return _cut(select(merged), merged.c.moment_ms, merged.c.id, shape, after=False)


def _of_status(shape: Shape, status: RunStatus) -> list[ColumnElement[bool]]:
    """The runs of one status, as far as the index of statuses, or that of workflows, tells them."""
    c = RUNS.c
    mine = [c.tenant == value("tenant"), c.status == literal_column(f"'{status.value}'")]
    return [*mine, *_named(shape).get("workflow", []), *_times("created", c.created_ms, shape)]


def _gathered(shape: Shape, *, after: bool) -> Subquery:
    """All runs that few can be, looked at and sorted. Access: runs_key, runs_root, or as ``_waits_named``."""
    c = RUNS.c
    moment = c.finalized_ms if shape.order is RunOrder.ENDED else c.created_ms
    query: Query = select(c.id, moment.label("moment_ms"))
    conditions = _named(shape)
    if shape.waiting in {"signal", "child"} and shape.given.isdisjoint({"key", "root_id"}):
        w = WAITS.c
        waiters: Query = _hinted(select(w.run_id).distinct(), shape.waiting).where(*_waits_named(shape.waiting))
        found = waiters.subquery("waiters")
        query = query.select_from(found.join(RUNS, and_(c.shard == SHARD, c.id == found.c.run_id)))
        del conditions["waiting"]
    query = query.where(c.tenant == value("tenant"), *_flat(conditions.values()))
    if shape.order is RunOrder.ENDED:
        query = query.where(moment.is_not(None))
    return _cut(query, moment, c.id, shape, after=after)


def _cut(
    query: Query,
    moment: ColumnElement[Any],
    id_: ColumnElement[Any],
    shape: Shape,
    *,
    after: bool,
    name: str = "keys",
) -> Subquery:
    """The next ``keys`` rows behind the cursor, in order."""
    if after:
        mine = tuple_(moment, id_)
        theirs = tuple_(value("after_ms", BigInteger), value("after_id", Uuid(as_uuid=False)))
        query = query.where(mine > theirs if shape.order is RunOrder.OLDEST else mine < theirs)
    return query.order_by(*_directed(moment, id_, shape)).limit(value("keys", Integer)).subquery(name)


def _directed(
    moment: ColumnElement[Any], id_: ColumnElement[Any], shape: Shape
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return (moment, id_) if shape.order is RunOrder.OLDEST else (moment.desc(), id_.desc())


# --- Conditions --------------------------------------------------------------------------------------------------


def _rest(shape: Shape, lead: Lead) -> list[ColumnElement[bool]]:
    """What is looked for in a window."""
    if lead is Lead.GATHERED:
        return []
    return _flat(conditions for name, conditions in _named(shape).items() if name not in SERVED[lead])


def _all_conditions(shape: Shape) -> list[ColumnElement[bool]]:
    """All of the filter, for statements that look at every run that it lets through."""
    c = RUNS.c
    named = _named(shape)
    # Here the database chooses whether it gathers the rows of these first.
    if shape.waiting in {"signal", "child"}:
        waiters: Query = _hinted(select(WAITS.c.run_id), shape.waiting).where(*_waits_named(shape.waiting))
        named["waiting"] = [c.id.in_(waiters)]
    for number in range(shape.attributes):
        named[f"attribute_{number}"] = [c.id.in_(select(ATTRIBUTES.c.run_id).where(*_equals(number)))]
    return [c.tenant == value("tenant"), *_flat(named.values())]


def _named(shape: Shape) -> dict[str, list[ColumnElement[bool]]]:
    """Every condition of the filter on a run, under the name of what is asked for."""
    c = RUNS.c
    columns = {"fingerprint": c.error_fingerprint} | {
        name: c[name] for name in ("workflow", "version", "queue", "key", "parent_id", "forked_from_id", "error_type")
    }
    named = {name: [column == value(name, column.type)] for name, column in columns.items() if name in shape.given}
    if "root_id" in shape.given:
        root = value("root_id", c.root_id.type)
        # A root's own row is not in the index: for most runs it would say nothing.
        named["root_id"] = [c.shard == SHARD, or_(c.id == root, and_(c.root_id == root, c.root_id != c.id))]
    if shape.statuses != frozenset(RunStatus):
        wanted = sorted(status.value for status in shape.statuses)
        named["statuses"] = [c.status.in_([literal_column(f"'{status}'") for status in wanted])]
    for stem in ("created", "updated", "finalized"):
        named[stem] = _times(stem, c[f"{stem}_ms"], shape)
    if shape.waiting is not None:
        named["waiting"] = [_has_wait(shape.waiting)]
    for number in range(shape.attributes):
        named[f"attribute_{number}"] = [_has_attribute(_equals(number))]
    for number, (operator, is_text) in enumerate(shape.ranges):
        named[f"range_{number}"] = [_has_attribute(_compares(number, operator, is_text=is_text))]
    if "text" in shape.given:
        named["text"] = [or_(*(_contains(column) for column in (c.key, c.workflow, c.error_message)))]
    return {name: conditions for name, conditions in named.items() if conditions}


def _flat(conditions: Iterable[list[ColumnElement[bool]]]) -> list[ColumnElement[bool]]:
    return [condition for those in conditions for condition in those]


def _times(stem: str, column: ColumnElement[int], shape: Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if f"{stem}_from_ms" in shape.given:
        conditions.append(column >= value(f"{stem}_from_ms", BigInteger))
    if f"{stem}_before_ms" in shape.given:
        conditions.append(column < value(f"{stem}_before_ms", BigInteger))
    return conditions


def _contains(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.lower(func.coalesce(column, literal_column("''"))).contains(value("text"), escape=LIKE_ESCAPE)


def _waits_named(waiting: str) -> list[ColumnElement[bool]]:
    """The open waits for such a signal or child. Access: waits_open_signal, waits_open_child (with ``_hinted``)."""
    w = WAITS.c
    column = w.child_id if waiting == "child" else w.signal
    # The index holds no rows without a name; SQLite does not take that from the comparison alone.
    named = (column == value("wait_name", column.type), column.is_not(None))
    return [w.shard == SHARD, w.tenant == value("tenant"), w.outcome.is_(None), w.kind == value("wait_kind"), *named]


def _hinted(query: Query, waiting: str) -> Query:
    return query.with_hint(WAITS, f"INDEXED BY holdfast_waits_{waiting}", "sqlite")


def _has_wait(waiting: str) -> ColumnElement[bool]:
    """Whether the run has such an open wait. Access: the primary key (waits_open)."""
    if waiting.rstrip("=") in IN_LINE:
        return _is_barred(waiting.rstrip("="), named=waiting.endswith("="))
    w = WAITS.c
    query: Query = select(w.run_id).where(
        w.shard == RUNS.c.shard, w.run_id == RUNS.c.id, w.outcome.is_(None), w.kind == value("wait_kind")
    )
    if waiting != "kind":
        column = w.child_id if waiting == "child" else w.signal
        query = query.where(column == value("wait_name", column.type))
    return _probed(query)


def _is_barred(kind: str, *, named: bool) -> ColumnElement[bool]:
    """Whether the run stands in the line and a pause holds it, or the last claim found it beyond a quota or limit."""
    c, p = RUNS.c, PAUSES.c
    name = value("wait_name")
    if kind in {"quota", "limit"}:
        prefix = f"{kind}:"
        wanted: ColumnElement[bool] = c.barred_by.like(f"{prefix}%")
        if named:
            wanted = and_(wanted, func.substr(c.barred_by, len(prefix) + 1) == name)
        return and_(c.ready_ms.is_not(None), wanted)
    of = {"queue": c.queue, "workflow": c.workflow, "tenant": c.tenant}[kind]
    pause = _probed(select(p.tenant).where(p.tenant == c.tenant, p.kind == value("wait_kind"), p.name == of))
    return and_(c.ready_ms.is_not(None), pause, *([of == name] if named else []))


def _has_attribute(valued: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Whether the run has such an attribute. Access: the primary key."""
    a = ATTRIBUTES.c
    return _probed(select(a.run_id).where(a.shard == RUNS.c.shard, a.run_id == RUNS.c.id, *valued))


def _probed(query: Query) -> ColumnElement[bool]:
    """Whether there is such a row; asked run by run, where PostgreSQL would rather gather all such rows first."""
    return query.correlate(RUNS).offset(literal_column("0")).exists()


def _attribute(prefix: str) -> list[ColumnElement[bool]]:
    a = ATTRIBUTES.c
    return [a.tenant == value("tenant"), a.name == value(f"{prefix}_name"), a.kind == value(f"{prefix}_kind")]


def _equals(number: int) -> list[ColumnElement[bool]]:
    """The rows of an attribute with a value. Access: attributes_value."""
    a, prefix = ATTRIBUTES.c, f"attribute_{number}"
    return [*_attribute(prefix), a.text == value(f"{prefix}_text"), a.number == value(f"{prefix}_number", Double)]


def _compares(number: int, operator: str, *, is_text: bool) -> list[ColumnElement[bool]]:
    a, prefix = ATTRIBUTES.c, f"range_{number}"
    wanted = value(f"{prefix}_text") if is_text else value(f"{prefix}_number", Double)
    compared = (a.text if is_text else a.number).bool_op(operator)(wanted)
    # The kind says which of the two columns is the value; the other one is the same in all rows of that kind.
    other = [] if is_text else [a.text == literal_column("''")]
    return [*_attribute(prefix), compared, *other]
