"""How many bytes of payloads tenants store: counted now and then for those that have a quota of them.

Nobody else pays for it: no statement of the hot path keeps an account. What is counted is what was there when the count
began, so a tenant may pass its quota by what it stores until the next one: a minute or two later, or twenty times as
long as a count takes, so that counting takes at most a twentieth of one connection's time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Table, and_, func, or_, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.tenant import Expired, Pruning
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import ACCOUNTS, ATTEMPTS, JOURNAL, RUNS, SIGNALS, TENANTS, WAITS
from holdfast.store.tenancy import prune_in

EVERY_MS: Final = 60_000
"""The least time between two counts of one tenant."""

SHARE: Final = 20
"""A count that took long is not repeated before this many times as long have passed."""

PAYLOADS: Final[dict[Table, tuple[str, ...]]] = {
    RUNS: ("input", "result", "error"),
    JOURNAL: ("input", "result", "error"),
    WAITS: ("request", "result", "error"),
    ATTEMPTS: ("error",),
    SIGNALS: ("payload",),
}
"""The columns that are counted."""

_A: Final = ACCOUNTS.c


class _Octets(GenericFunction[int]):
    """How many bytes a payload has."""

    type = BigInteger()
    inherit_cache = True
    name = "octets"


@compiles(_Octets, "postgresql")
def _postgresql_octets(element: Any, compiler: Any, **given: Any) -> str:
    return f"octet_length(({compiler.process(element.clauses, **given)})::text)"


@compiles(_Octets, "sqlite")
def _sqlite_octets(element: Any, compiler: Any, **given: Any) -> str:
    return f"length(cast({compiler.process(element.clauses, **given)} as blob))"


def count_bytes(statements: Statements, tenant: Tenant) -> int:
    """How many bytes of payloads the tenant has. Reads all its rows."""
    return sum(int(statements.rows(_bytes_in(table, names, tenant))[0][0]) for table, names in PAYLOADS.items())


def _bytes_in(table: Table, names: tuple[str, ...], tenant: Tenant) -> Any:
    parts: list[ColumnElement[int]] = [func.coalesce(_Octets(table.c[name]), 0) for name in names]
    total: Any = parts[0]
    for part in parts[1:]:
        total = total + part
    query = select(func.coalesce(func.sum(total), 0))
    if "tenant" in table.c:
        return query.where(table.c.tenant == tenant)
    belongs = and_(RUNS.c.shard == table.c.shard, RUNS.c.id == table.c.run_id)
    return query.select_from(table.join(RUNS, belongs)).where(RUNS.c.tenant == tenant)


def count_due(store: Store, count: Callable[[Tenant], int]) -> None:
    """Count anew what tenants with a quota store, as far as it is time to; of many workers one does it."""
    for name, seen_ms in store.transact(None, _due, read_only=True):
        tenant = Tenant(name)
        begun_ms = store.transact(None, lambda s, tenant=tenant, seen_ms=seen_ms: _begin(s, tenant, seen_ms))  # type: ignore[misc]
        if begun_ms is not None:
            stored = count(tenant)
            store.transact(None, lambda s, one=(tenant, stored, begun_ms): _write(s, *one))  # type: ignore[misc]


def count_now(store: Store, tenant: Tenant) -> None:
    """Count what one tenant stores, whenever that was done last."""
    store.transact(None, lambda statements: _hurry(statements, tenant))
    count_due(store, lambda one: store.transact(None, lambda s: count_bytes(s, one), read_only=True))


def prune_and_count(store: Store, what: Pruning, *, limit: int) -> int:
    """``Store.prune`` where both are statements."""
    deleted = store.transact(None, lambda statements: prune_in(statements, what, limit=limit))
    if isinstance(what, Expired) and deleted < limit:
        count_due(store, lambda tenant: store.transact(None, lambda s: count_bytes(s, tenant), read_only=True))
    return deleted


def read_account(statements: Statements, tenant: Tenant) -> int:
    """How many bytes the tenant had when they were counted last."""
    rows = statements.rows(select(_A.stored_bytes).where(_A.tenant == tenant))
    return int(rows[0][0]) if rows else 0


def _due(statements: Statements) -> list[tuple[str, UnixMs | None]]:
    t = TENANTS.c
    joined = TENANTS.outerjoin(ACCOUNTS, _A.tenant == t.tenant)
    is_due = or_(_A.next_ms.is_(None), _A.next_ms <= statements.now_ms)
    query = select(t.tenant, _A.next_ms).select_from(joined).where(t.stored_bytes_max.is_not(None), is_due)
    return [(row[0], row[1]) for row in statements.rows(query.order_by(t.tenant))]


def _begin(statements: Statements, tenant: Tenant, seen_ms: UnixMs | None) -> UnixMs | None:
    """Move the next count on; the time, or None if somebody else has begun meanwhile."""
    now_ms = statements.now_ms
    if seen_ms is None:
        new = insert_new(ACCOUNTS).values(tenant=tenant, stored_bytes=0, counted_ms=None, next_ms=now_ms + EVERY_MS)
        return now_ms if statements.changed(new) else None
    ours = update(ACCOUNTS).where(_A.tenant == tenant, _A.next_ms == seen_ms).values(next_ms=now_ms + EVERY_MS)
    return now_ms if statements.changed(ours) else None


def _write(statements: Statements, tenant: Tenant, stored: int, begun_ms: UnixMs) -> None:
    now_ms = statements.now_ms
    pause_ms = max(EVERY_MS, SHARE * (now_ms - begun_ms))
    values = {"stored_bytes": stored, "counted_ms": begun_ms, "next_ms": now_ms + pause_ms}
    # A count that began later may have ended before: it knows better.
    newest = or_(_A.counted_ms.is_(None), _A.counted_ms <= begun_ms)
    statements.changed(update(ACCOUNTS).where(_A.tenant == tenant, newest).values(values))


def _hurry(statements: Statements, tenant: Tenant) -> None:
    statements.changed(update(ACCOUNTS).where(_A.tenant == tenant).values(next_ms=0))
