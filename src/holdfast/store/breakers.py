"""Circuit breakers in the database, written once for both over ``Store.transact``.

``core.breakers`` decides; what it decides is written only if the row is still the one that was read (``revision``), and
read and decided again if it is not. So of any number of calls that ask to try, one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import ColumnElement, Select, literal_column, select, tuple_, update

from holdfast.core.breakers import (
    Breaker,
    Ticket,
    after_failure,
    after_look,
    after_nothing,
    after_success,
    ask,
    close_by_hand,
    open_by_hand,
    waits_to_end,
)
from holdfast.model.breaker import BreakerRow, BreakerState
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.status import WaitKind
from holdfast.store.port import Statements
from holdfast.store.rendering import SHARD, insert_new, value
from holdfast.store.tables import BREAKERS, WAITS

DUE_MAX: Final = 50
"""Breakers that are looked at together."""

_B: Final = BREAKERS.c
_COLUMNS: Final = [_B[name] for name in BreakerRow.__struct_fields__]
_KIND: Final[ColumnElement[str]] = literal_column(f"'{WaitKind.BREAKER.value}'")
_moments: Final = msgspec.json.Decoder(list[UnixMs])


class Asked(NamedTuple):
    """A call asks whether it may be made."""

    tenant: Tenant
    breaker: Breaker
    prober: str
    waits: bool = False
    """It has an open wait for the breaker."""


class Told(NamedTuple):
    """What came of a call that was made."""

    tenant: Tenant
    breaker: Breaker
    ticket: Ticket
    failed: bool | None
    """None: it was stopped before it had an outcome."""


Said = Asked | Told


class Heard(NamedTuple):
    """What a call is answered."""

    ticket: Ticket | None
    """Leave to call; None: it has to wait, or it did not ask."""
    before: BreakerRow
    after: BreakerRow


# --- Calls -------------------------------------------------------------------------------------------------------


def look_up(statements: Statements, said: Sequence[Said]) -> list[Heard] | None:
    """Answer calls without writing anything; None if something is to be written."""
    rows = _read(statements, {(one.tenant, one.breaker.name) for one in said})
    heard: list[Heard] = []
    for one in said:
        row = rows.get((one.tenant, one.breaker.name)) or BreakerRow(tenant=one.tenant, name=one.breaker.name)
        after, ticket = _apply(row, one, statements.now_ms)
        if after != row:
            return None
        heard.append(Heard(ticket, row, row))
    return heard


def settle(statements: Statements, said: Sequence[Said]) -> list[Heard]:
    """Answer calls in their order, and record what they ask and tell."""
    heard: dict[int, Heard] = {}
    # In one order, so that two workers do not lock each other out.
    for tenant, name in sorted({(one.tenant, one.breaker.name) for one in said}):
        mine = [(number, one) for number, one in enumerate(said) if (one.tenant, one.breaker.name) == (tenant, name)]

        def decide(row: BreakerRow, mine: list[tuple[int, Said]] = mine) -> BreakerRow:
            for number, one in mine:
                after, ticket = _apply(row, one, statements.now_ms)
                heard[number] = Heard(ticket, row, after)
                row = after
            return row

        _change(statements, tenant, name, decide)
    return [heard[number] for number in range(len(said))]


def _apply(row: BreakerRow, one: Said, now_ms: UnixMs) -> tuple[BreakerRow, Ticket | None]:
    match one:
        case Asked(breaker=breaker, prober=prober, waits=waits):
            return ask(row, breaker, prober, now_ms, waits=waits)
        case Told(breaker=breaker, ticket=ticket, failed=True):
            return after_failure(row, breaker, ticket, now_ms), None
        case Told(ticket=ticket, failed=False):
            return after_success(row, ticket, now_ms), None
        case Told(ticket=ticket):
            return after_nothing(row, ticket, now_ms), None


# --- Time --------------------------------------------------------------------------------------------------------


def list_due(statements: Statements) -> list[BreakerRow]:
    """Breakers of any tenant whose ``next_ms`` has come, first due first."""
    query = select(*_COLUMNS).where(_B.next_ms <= statements.now_ms).order_by(_B.next_ms, _B.tenant, _B.name)
    return [_row(row) for row in statements.rows(query.limit(DUE_MAX))]


def next_due(statements: Statements) -> UnixMs | None:
    """When to look next."""
    query = select(_B.next_ms).where(_B.next_ms.is_not(None)).order_by(_B.next_ms).limit(1)
    return next((UnixMs(row[0]) for row in statements.rows(query)), None)


def let_through(statements: Statements, row: BreakerRow) -> list[RunId]:
    """End as many waits for a breaker as are due; whose. Nothing, if another worker was faster."""
    count = waits_to_end(row, statements.now_ms)
    held = structs.replace(row, revision=row.revision + 1)
    if not count or not _write(statements, row, held):
        return []
    ended = statements.end_waits(row.tenant, row.name, after=row.passed, limit=count)
    if not ended and row.passed is not None:
        ended = statements.end_waits(row.tenant, row.name, after=None, limit=count)
    looked = after_look(held, statements.now_ms, ended[-1] if ended else None)
    # Nobody else has written it since: this transaction has locked the row.
    _write(statements, held, structs.replace(looked, revision=held.revision + 1))
    return ended


# --- People ------------------------------------------------------------------------------------------------------


def find_breaker(statements: Statements, tenant: Tenant, name: str) -> BreakerRow:
    """The breaker; a closed one if there is no row."""
    rows = statements.rows(breakers_of(tenant, [name]))
    return breaker_from(rows[0]) if rows else BreakerRow(tenant=tenant, name=name)


def list_breakers(statements: Statements, tenant: Tenant) -> list[BreakerRow]:
    """The tenant's breakers that have a row, by name."""
    return [_row(row) for row in statements.rows(select(*_COLUMNS).where(_B.tenant == tenant).order_by(_B.name))]


def write_open(
    statements: Statements, tenant: Tenant, name: str, *, for_ms: int | None, actor: str, note: str
) -> BreakerRow:
    """Open it by hand, for so long or until it is closed by hand."""
    now_ms = statements.now_ms
    return _change(
        statements, tenant, name, lambda row: open_by_hand(row, now_ms, for_ms=for_ms, actor=actor, note=note)
    )


def write_closed(statements: Statements, tenant: Tenant, name: str, *, actor: str, note: str) -> BreakerRow:
    """Close it by hand. Repeatable."""
    now_ms = statements.now_ms
    return _change(statements, tenant, name, lambda row: close_by_hand(row, now_ms, actor=actor, note=note))


def breakers_of(tenant: Tenant, names: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """The rows of these breakers."""
    return select(*_COLUMNS).where(_B.tenant == tenant, _B.name.in_(sorted(names))).order_by(_B.name)


def breakers_awaited() -> Select[*tuple[Any, ...]]:
    """The rows of the breakers that the run ``id`` of ``tenant`` waits for. Access: waits_open, the primary key."""
    w = WAITS.c
    mine = (w.shard == SHARD, w.run_id == value("id", w.run_id.type), w.outcome.is_(None), w.kind == _KIND)
    return select(*_COLUMNS).where(_B.tenant == value("tenant"), _B.name.in_(select(w.signal).where(*mine)))


def breaker_from(row: Sequence[Any]) -> BreakerRow:
    """A row of ``breakers_of``, or of ``breakers_awaited``."""
    return _row(row)


# --- Rows --------------------------------------------------------------------------------------------------------


def _change(
    statements: Statements, tenant: Tenant, name: str, decide: Callable[[BreakerRow], BreakerRow]
) -> BreakerRow:
    """Read, decide and write, until nobody else has written in between."""
    while True:
        row = _read(statements, {(tenant, name)}).get((tenant, name))
        before = row or BreakerRow(tenant=tenant, name=name)
        after = decide(before)
        if after == before:
            return before
        after = structs.replace(after, revision=before.revision + 1)
        if row is not None and _write(statements, row, after):
            return after
        if row is None and statements.changed(insert_new(BREAKERS).values(_values(after))):
            return after


def _write(statements: Statements, seen: BreakerRow, after: BreakerRow) -> bool:
    mine = (_B.tenant == seen.tenant, _B.name == seen.name, _B.revision == seen.revision)
    return statements.changed(update(BREAKERS).where(*mine).values(_values(after))) > 0


def _read(statements: Statements, wanted: set[tuple[Tenant, str]]) -> dict[tuple[Tenant, str], BreakerRow]:
    query = select(*_COLUMNS).where(tuple_(_B.tenant, _B.name).in_(sorted(wanted)))
    rows = [_row(row) for row in statements.rows(query)]
    return {(row.tenant, row.name): row for row in rows}


def _values(row: BreakerRow) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(row, name) for name in BreakerRow.__struct_fields__}
    return {**values, "state": row.state.value, "failures": msgspec.json.encode(row.failures).decode()}


def _row(row: Sequence[Any]) -> BreakerRow:
    values: dict[str, Any] = dict(zip(BreakerRow.__struct_fields__, row, strict=True))
    passed = values["passed"]
    values |= {
        "state": BreakerState(values["state"]),
        "failures": _moments.decode(values["failures"]),
        "passed": None if passed is None else RunId(str(passed)),
    }
    return BreakerRow(**values)
