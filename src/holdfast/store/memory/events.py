"""Reading events from the rows in memory."""

from __future__ import annotations

from msgspec import structs

from holdfast.core.events import (
    FIRST,
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
from holdfast.errors import UsageError
from holdfast.model.event import Event, EventFilter, EventKind, EventPage
from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.memory.tables import Record, Tables


def read_events(
    tables: Tables, tenant: Tenant, where: EventFilter, *, after: str | None, limit: int, now_ms: UnixMs
) -> EventPage:
    """See the port."""
    if where.run_id is not None:
        return _read_run(tables.find(tenant, where.run_id), where, after, limit)
    if EventKind.RECORD in where.kinds:
        raise UsageError("records are told of one run: name it")
    return _read_tenant(tables, tenant, where, after, limit, now_ms)


def _read_run(record: Record, where: EventFilter, after: str | None, limit: int) -> EventPage:
    run = record.run
    place = RunPlace(run.id) if after is None else decode_place(after, run.id)
    assert isinstance(place, RunPlace)
    entries = [entry for entry in record.all_entries() if entry.seq > place.record]
    events = merge_run(
        run,
        record.transitions[place.seq :][: limit + 1],
        entries[: limit + 1] if EventKind.RECORD in where.kinds else [],
        place,
    )
    more = len(events) > limit
    events = events[:limit]
    return EventPage(
        events=[event for event in events if passes(where, event)],
        next=events[-1].cursor if events else encode_place(place),
        more=more,
        ended=not more and run.status in TERMINAL_STATUSES,
    )


def _read_tenant(
    tables: Tables, tenant: Tenant, where: EventFilter, after: str | None, limit: int, now_ms: UnixMs
) -> EventPage:
    events: list[Event] = []
    pruned = tables.pruned.get(tenant, 0)
    if after is None:
        place = TenantPlace(pruned=pruned)
    else:
        given = decode_place(after, None)
        assert isinstance(given, TenantPlace)
        place = structs.replace(given, pruned=max(given.pruned, pruned))
        if pruned > max(given.pruned, given.position):
            events.append(gap_event(now_ms, place))
    ahead = sorted(position for position in tables.feed if position > place.position)
    told, place = order_feed(place, [_row(tables, tenant, position) for position in ahead[:limit]], ())
    for row, at in told:
        assert row.transition is not None
        event = transition_event(row.run_id, row.workflow, row.transition, at)
        if passes(where, event):
            events.append(event)
    more = len(ahead) >= limit
    if not more:
        place = behind(place, tables.positions + 1)
    return EventPage(events=events, next=encode_place(place), more=more)


def _row(tables: Tables, tenant: Tenant, position: int) -> FeedRow:
    run_id, seq = tables.feed[position]
    record = tables.records[run_id]
    moved = record.transitions[seq - 1] if record.run.tenant == tenant else None
    return FeedRow(position, run_id if moved is not None else FIRST, moved, record.run.workflow, seq, 0)
