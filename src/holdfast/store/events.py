"""Reading events, written once for both databases: every page is read from one state of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, structs
from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_

from holdfast.core.events import (
    FeedRow,
    RunPlace,
    TenantPlace,
    behind,
    decode_place,
    encode_place,
    gap_event,
    merge_run,
    order_feed,
    passes,
    transition_event,
)
from holdfast.errors import RunNotFound, UsageError
from holdfast.model.event import Event, EventFilter, EventKind, EventPage
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.listings import ENTRY_COLUMNS, TRANSITION_COLUMNS, Query, runs_by_id
from holdfast.store.port import Statements
from holdfast.store.records import entry_from, run_from, transition_from
from holdfast.store.tables import JOURNAL, PRUNINGS, RUNS, TRANSITIONS

OPEN_MAX_MS: Final = 600_000
"""How long a transaction may be open, so that what it wrote is found by time: its position is that of its beginning."""

_SHARD: Final = 0
_T = TRANSITIONS.c

_NEWEST: Final = select(func.max(_T.position)).where(_T.shard == _SHARD).scalar_subquery()


class Horizon(Struct, frozen=True):
    """How far events can be read."""

    until: ColumnElement[int]
    """Before this position everything is visible."""
    limit: ColumnElement[int]
    """Nothing can have this position yet."""


HORIZON_POSTGRES: Final = Horizon(func.holdfast.transition_horizon(), func.holdfast.transition_limit())
HORIZON_SQLITE: Final = Horizon(func.coalesce(_NEWEST, 0) + 1, func.coalesce(_NEWEST, 0) + 1)


class PositionsAheadError(Exception):
    """There are positions that no transaction can have had: the tables were restored into another cluster."""


def read_events_in(
    statements: Statements,
    tenant: Tenant,
    where: EventFilter,
    *,
    after: str | None,
    limit: int,
    horizon: Horizon,
) -> EventPage:
    """See ``Store.read_events``. Raises PositionsAheadError besides."""
    if where.run_id is not None:
        return _read_run(statements, tenant, where, where.run_id, after, limit)
    if EventKind.RECORD in where.kinds:
        raise UsageError("records are told of one run: name it")
    return _read_tenant(statements, tenant, where, after, limit, horizon)


# --- One run -----------------------------------------------------------------------------------------------------


def _read_run(
    statements: Statements, tenant: Tenant, where: EventFilter, run_id: RunId, after: str | None, limit: int
) -> EventPage:
    found = statements.rows(runs_by_id(tenant, [run_id], shards=[_SHARD]))
    if not found:
        raise RunNotFound(run_id=run_id)
    run = run_from(found[0])
    place = RunPlace(run_id) if after is None else decode_place(after, run_id)
    assert isinstance(place, RunPlace)
    moves = statements.rows(
        select(*TRANSITION_COLUMNS)
        .where(_T.shard == _SHARD, _T.run_id == run_id, _T.seq > place.seq)
        .order_by(_T.seq)
        .limit(limit + 1)
    )
    entries: Sequence[Any] = ()
    if EventKind.RECORD in where.kinds:
        j = JOURNAL.c
        entries = statements.rows(
            select(*ENTRY_COLUMNS)
            .where(j.shard == _SHARD, j.run_id == run_id, j.seq > place.record)
            .order_by(j.seq)
            .limit(limit + 1)
        )
    events = merge_run(run, [transition_from(row) for row in moves], [entry_from(row) for row in entries], place)
    more = len(events) > limit
    events = events[:limit]
    return EventPage(
        events=[event for event in events if passes(where, event)],
        next=events[-1].cursor if events else encode_place(place),
        more=more,
        ended=not more and run.status in TERMINAL_STATUSES,
    )


# --- A tenant ----------------------------------------------------------------------------------------------------


def _read_tenant(
    statements: Statements,
    tenant: Tenant,
    where: EventFilter,
    after: str | None,
    limit: int,
    horizon: Horizon,
) -> EventPage:
    [(until, beyond, pruned, newest)] = statements.rows(
        select(
            horizon.until,
            horizon.limit,
            func.coalesce(
                select(func.max(PRUNINGS.c.position)).where(PRUNINGS.c.tenant == tenant).scalar_subquery(), 0
            ),
            _NEWEST,
        )
    )
    if newest is not None and newest >= beyond:
        raise PositionsAheadError
    events: list[Event] = []
    if after is None:
        place = TenantPlace(position=_start(statements, where.from_ms), pruned=pruned)
    else:
        given = decode_place(after, None)
        assert isinstance(given, TenantPlace)
        place = structs.replace(given, pruned=max(given.pruned, pruned))
        if pruned > max(given.pruned, given.position):
            events.append(gap_event(statements.now_ms, place))
    rows = [_feed_row(row) for row in statements.rows(window_of(tenant, place, until, limit))]
    held = [_feed_row(row) for row in statements.rows(_named(tenant, place.held))] if place.held else []
    told, place = order_feed(place, rows, held)
    for row, at in told:
        assert row.transition is not None
        event = transition_event(row.run_id, row.workflow, row.transition, at)
        if passes(where, event):
            events.append(event)
    more = bool(rows) and rows[-1].place == limit
    if not more:
        place = behind(place, until)
    return EventPage(
        events=events,
        next=encode_place(place),
        more=more,
        settling=newest is not None and newest >= until,
    )


def window_of(tenant: Tenant, place: TenantPlace, until: int, limit: int) -> Query:
    """Up to ``limit`` transitions of whatever tenant behind a place; the tenant's own, and the last of a full window.

    Access: transitions_position (the rowid on SQLite), then primary keys.
    """
    same = _T.position == place.position
    later = or_(_T.run_id > place.run_id, and_(_T.run_id == place.run_id, _T.seq > place.seq))
    order = (_T.position, _T.run_id, _T.seq)
    picked = (
        select(*TRANSITIONS.c, func.row_number().over(order_by=order).label("place"))
        .where(
            _T.shard == _SHARD,
            _T.position >= place.position,
            _T.position < until,
            or_(_T.position > place.position, and_(same, later)),
        )
        .order_by(*order)
        .limit(limit)
        .cte("picked")
    )
    return _feed(picked.c, picked, tenant, picked.c.place, last=picked.c.place == limit).order_by(picked.c.place)


def _named(tenant: Tenant, held: Sequence[tuple[RunId, int]]) -> Query:
    mine = tuple_(_T.run_id, _T.seq).in_(list(held))
    return _feed(_T, TRANSITIONS, tenant, _T.seq, last=None).where(_T.shard == _SHARD, mine)


def _feed(t: Any, source: Any, tenant: Tenant, place: ColumnElement[int], *, last: ColumnElement[bool] | None) -> Query:
    before = TRANSITIONS.alias("before")
    prior = select(before.c.position).where(
        before.c.shard == _SHARD, before.c.run_id == t.run_id, before.c.seq == t.seq - 1
    )
    mine = and_(RUNS.c.shard == _SHARD, RUNS.c.id == t.run_id, RUNS.c.tenant == tenant)
    columns = [t[column.name] for column in TRANSITION_COLUMNS]
    wanted = RUNS.c.id.is_not(None)
    return (
        select(t.position, t.run_id, RUNS.c.workflow, func.coalesce(prior.scalar_subquery(), 0), place, *columns)
        .select_from(source)
        .outerjoin(RUNS, mine)
        .where(wanted if last is None else or_(wanted, last))
    )


class _Placed(FeedRow, frozen=True):
    place: int = 0


def _feed_row(row: Sequence[Any]) -> _Placed:
    moved = transition_from(row[5:])
    is_mine = row[2] is not None
    return _Placed(row[0], RunId(str(row[1])), moved if is_mine else None, row[2] or "", moved.seq, row[3], row[4])


def _start(statements: Statements, from_ms: UnixMs | None) -> int:
    """A position before which nothing happened at or after a moment. By halves: about thirty looks at an index."""
    if from_ms is None:
        return 0
    [(low, high)] = statements.rows(
        select(
            select(func.min(_T.position)).where(_T.shard == _SHARD).scalar_subquery(),
            _NEWEST,
        )
    )
    if low is None:
        return 0
    high += 1
    while low < high:
        middle = (low + high) // 2
        at = select(_T.position, _T.at_ms).where(_T.shard == _SHARD, _T.position >= middle)
        found = statements.rows(at.order_by(_T.position).limit(1))
        if not found or found[0][1] + OPEN_MAX_MS >= from_ms:
            high = middle
        else:
            low = found[0][0] + 1
    return int(low)
