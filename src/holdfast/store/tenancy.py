"""Tenants as operators see them: policies, retention, export and erasure, written once for both databases.

What belongs to a tenant is found in the tables themselves: a table with a column ``tenant`` or ``run_id`` holds rows
of tenants, and a test compares ``store.tables`` with what a database really has, so that no table can be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw
from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.pause import Pause, PauseKind, bar_of
from holdfast.model.tenant import Chosen, Ended, Everything, Expired, Pruning, TenantPolicy, TenantRow
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new, insert_or_change, value
from holdfast.store.tables import ACCOUNTS, METADATA, PAUSES, PRUNINGS, RUNS, SIGNALS, TENANTS, TRANSITIONS

PAGE: Final = 500

OF_RUNS: Final[tuple[Table, ...]] = tuple(
    table for table in METADATA.sorted_tables if "run_id" in table.c and table.name not in ("runs", "outbox")
)
"""Tables whose rows belong to a run, or may, and go with it. Of an end that nobody has heard of the row stays."""

OF_TENANTS: Final[tuple[Table, ...]] = tuple(table for table in METADATA.sorted_tables if "tenant" in table.c)
"""Tables whose rows say whose they are."""

_POLICY: Final = [TENANTS.c[name] for name in TenantPolicy.__struct_fields__]
_PAUSE: Final = [PAUSES.c[name] for name in Pause.__struct_fields__]
_R: Final = RUNS.c
_P: Final = PAUSES.c
_POLICIES: Final = select(*_POLICY).order_by(TENANTS.c.tenant)
_PAUSES: Final = select(*_PAUSE).order_by(_P.tenant, _P.kind, _P.name)
_JSON_COLUMNS: Final = frozenset(
    {"input", "result", "error", "attributes", "payload", "request", "document", "queues", "workflows", "failed"}
)


# --- Policies ----------------------------------------------------------------------------------------------------


def read_policy(statements: Statements, tenant: Tenant) -> TenantPolicy:
    """The tenant's policy; one without limits if none was set."""
    rows = statements.rows(select(*_POLICY).where(TENANTS.c.tenant == tenant))
    return _policy(rows[0]) if rows else TenantPolicy(tenant=tenant)


def write_policy(statements: Statements, policy: TenantPolicy) -> None:
    """Set the tenant's policy."""
    values = {name: getattr(policy, name) for name in policy.__struct_fields__}
    values["changed_ms"] = statements.now_ms
    statements.changed(insert_or_change(TENANTS, values, lambda new: {name: new[name] for name in values}))


def list_policies(statements: Statements) -> list[TenantPolicy]:
    """Every policy that was set, by tenant."""
    return [_policy(row) for row in statements.rows(_POLICIES)]


def list_tenants(statements: Statements) -> list[TenantRow]:
    """Every tenant that has a run or a policy, by name."""
    policies = {str(policy.tenant): policy for policy in list_policies(statements)}
    counts: dict[str, dict[str, int]] = {}
    for tenant, status, count in statements.rows(
        select(_R.tenant, _R.status, func.count()).group_by(_R.tenant, _R.status)
    ):
        counts.setdefault(tenant, {})[status] = count
    stored = dict[str, int](statements.rows(select(ACCOUNTS.c.tenant, ACCOUNTS.c.stored_bytes)))
    return [
        TenantRow(
            policy=policies.get(name, TenantPolicy(tenant=Tenant(name))),
            runs=counts.get(name, {}),
            stored_bytes=stored.get(name),
        )
        for name in sorted({*policies, *counts})
    ]


def _policy(row: Sequence[Any]) -> TenantPolicy:
    return TenantPolicy(**dict(zip(TenantPolicy.__struct_fields__, row, strict=True)))


# --- Pauses ------------------------------------------------------------------------------------------------------


def write_pause(statements: Statements, pause: Pause) -> Pause:
    """Pause a queue, a workflow or a tenant; one that is paused already stays as it was, but may recall runs now."""
    bar = bar_of(pause.kind, pause.name)
    values = {name: getattr(pause, name) for name in Pause.__struct_fields__}
    values |= {"bar": bar, "since_ms": statements.now_ms}
    put = insert_or_change(PAUSES, values, lambda new: {"recalls": or_(_P.recalls, new.recalls)})
    [row] = statements.rows(put.returning(*_PAUSE))
    return pause_from(row)


def delete_pause(statements: Statements, tenant: Tenant, kind: PauseKind, name: str) -> bool:
    """Resume it; whether it was paused."""
    return statements.changed(delete(PAUSES).where(_P.tenant == tenant, _P.bar == bar_of(kind, name))) > 0


def list_pauses(statements: Statements, tenant: Tenant | None) -> list[Pause]:
    """What a tenant, or every one, has paused, in the order of tenant, kind and name."""
    query = _PAUSES if tenant is None else _PAUSES.where(_P.tenant == tenant)
    return [pause_from(row) for row in statements.rows(query)]


def pauses_of() -> Select[*tuple[Any, ...]]:
    """What is paused of all that a run belongs to; its ``tenant``, ``queue_bar`` and ``workflow_bar`` are values."""
    bars: list[ColumnElement[str]] = [
        literal_column(f"'{bar_of('tenant', '')}'"),
        value("queue_bar"),
        value("workflow_bar"),
    ]
    return select(*_PAUSE).where(_P.tenant == value("tenant"), _P.bar.in_(bars)).order_by(_P.kind)


def pause_from(row: Sequence[Any]) -> Pause:
    """The pause of a row of ``pauses_of``."""
    values: dict[str, Any] = dict(zip(Pause.__struct_fields__, row, strict=True))
    values["recalls"] = bool(values["recalls"])
    return Pause(**values)


# --- Deleting ----------------------------------------------------------------------------------------------------


def prune_in(statements: Statements, what: Pruning, *, limit: int) -> int:
    """Delete up to ``limit`` runs with all that belongs to them; how many. Fewer than the limit: nothing is left."""
    match what:
        case Expired():
            return _prune_expired(statements, limit)
        case Ended(tenant=tenant, before_ms=before_ms):
            return _prune_ended(statements, tenant, before_ms, limit)
        case Chosen(tenant=tenant, run_ids=run_ids):
            guard = (_R.tenant == tenant, _R.finalized_ms.is_not(None), *_unreferenced())
            return _delete_runs(statements, run_ids[:limit], guard)
        case Everything(tenant=tenant):
            return _erase(statements, tenant, limit)


def _prune_expired(statements: Statements, limit: int) -> int:
    kept = select(TENANTS.c.tenant, TENANTS.c.retention_ms).where(TENANTS.c.retention_ms.is_not(None))
    done = 0
    for tenant, retention_ms in statements.rows(kept.order_by(TENANTS.c.tenant)):
        if done < limit:
            before_ms = UnixMs(statements.now_ms - retention_ms)
            done += _prune_ended(statements, Tenant(tenant), before_ms, limit - done)
    return done


def _prune_ended(statements: Statements, tenant: Tenant, before_ms: UnixMs, limit: int) -> int:
    ended = (_R.tenant == tenant, _R.finalized_ms < before_ms, *_unreferenced())
    found = statements.rows(select(_R.id).where(*ended).order_by(_R.finalized_ms).limit(limit))
    deleted = _delete_runs(statements, [row[0] for row in found], ended)
    # A message to all that waited is kept for its sender's sake alone: so that it is not delivered twice.
    s = SIGNALS.c
    old = select(s.id).where(s.tenant == tenant, s.run_id.is_(None), s.sent_ms < before_ms).limit(limit)
    signals = [row[0] for row in statements.rows(old)]
    if signals:
        statements.changed(delete(SIGNALS).where(s.tenant == tenant, s.id.in_(signals)))
    return deleted


def _unreferenced() -> list[ColumnElement[bool]]:
    """No live run is its parent, its child, or of its lineage, and it is not the first link of a chain that is there.

    What is between the first and the last link of a living chain may go: nothing leads there any more.
    """
    other = RUNS.alias("other")
    o = other.c
    live = o.finalized_ms.is_(None)
    inner = and_(_R.continued_from_id.is_not(None), _R.continued_as_id.is_not(None))
    lineage = or_(o.id == _R.root_id, and_(o.root_id == _R.root_id, o.root_id != o.id))
    return [
        ~exists(select(o.id).where(o.shard == _R.shard, o.id == _R.parent_id, live)),
        ~exists(select(o.id).where(o.parent_id == _R.id, live)),
        or_(inner, ~exists(select(o.id).where(o.shard == _R.shard, lineage, live))),
        ~exists(select(o.id).where(o.shard == _R.shard, o.chain_id == _R.id, o.id != _R.id)),
    ]


def _erase(statements: Statements, tenant: Tenant, limit: int) -> int:
    found = statements.rows(select(_R.id).where(_R.tenant == tenant).limit(limit))
    deleted = _delete_runs(statements, [row[0] for row in found], (_R.tenant == tenant,))
    if len(found) < limit:
        for table in OF_TENANTS:
            if table is not RUNS:
                statements.changed(delete(table).where(table.c.tenant == tenant, *_of_no_run(table)))
    return deleted


def _of_no_run(table: Table) -> list[ColumnElement[bool]]:
    """Of a run that was started meanwhile nothing is taken: it is whole, or gone as a whole the next time."""
    if table not in OF_RUNS or "shard" not in table.c:
        return []
    return [~exists(select(_R.id).where(_R.shard == table.c.shard, _R.id == table.c.run_id).correlate(table))]


def _delete_runs(statements: Statements, ids: list[RunId], guard: Sequence[ColumnElement[bool]]) -> int:
    """Runs first: the log of transitions gives up its rows only when their run is gone.

    Before, they and the roots of their lineages are locked, in the order of ids: who retries one of them holds these
    too, and whether its lineage lives is asked behind the lock.
    """
    found = statements.rows(select(_R.id, _R.root_id).where(_R.id.in_(ids), *guard))
    if not found:
        return 0
    families = sorted({str(one) for row in found for one in row})
    statements.rows(select(_R.id).where(_R.id.in_(families)).order_by(_R.id).with_for_update())
    rows = statements.rows(delete(RUNS).where(_R.id.in_(ids), *guard).returning(_R.id, _R.tenant, _R.shard))
    gone = [str(row[0]) for row in rows]
    for tenant, shard in sorted({(row[1], row[2]) for row in rows}):
        _note_pruning(statements, tenant, shard, [str(row[0]) for row in rows if (row[1], row[2]) == (tenant, shard)])
    for table in OF_RUNS if gone else ():
        statements.changed(delete(table).where(table.c.run_id.in_(gone)))
    return len(gone)


def _note_pruning(statements: Statements, tenant: str, shard: int, gone: list[str]) -> None:
    """So that a reader of the tenant's events that has not come so far can be told."""
    t = TRANSITIONS.c
    newest = select(func.max(t.position)).where(t.shard == shard, t.run_id.in_(gone))
    position = statements.rows(newest)[0][0]
    if position is None:
        return
    values = {"tenant": tenant, "position": position, "pruned_ms": statements.now_ms}
    if not statements.changed(insert_new(PRUNINGS).values(values)):
        p = PRUNINGS.c
        statements.changed(update(PRUNINGS).where(p.tenant == tenant, p.position < position).values(values))


# --- Looking -----------------------------------------------------------------------------------------------------


def count_rows(statements: Statements, tenant: Tenant) -> dict[str, int]:
    """How many rows of each table are the tenant's; tables without any are left out."""
    counts: dict[str, int] = {}
    for table in METADATA.sorted_tables:
        mine = _is_mine(table, tenant)
        if mine is not None:
            counts[table.name] = statements.rows(select(func.count()).select_from(table).where(mine))[0][0]
    return {name: count for name, count in counts.items() if count}


def export(store: Store, tenant: Tenant) -> Iterator[bytes]:
    """All that a tenant has: one JSON object ``{"table", "row"}`` per row, table by table, page by page."""
    for table in METADATA.sorted_tables:
        if _is_mine(table, tenant) is None:
            continue
        after: tuple[Any, ...] | None = None
        while True:
            rows = store.transact(tenant, _reading(table, tenant, after), read_only=True)
            for row in rows:
                yield _line(table, row)
            if len(rows) < PAGE:
                break
            names = [column.name for column in table.c]
            after = tuple(rows[-1][names.index(column.name)] for column in table.primary_key)


def _reading(table: Table, tenant: Tenant, after: tuple[Any, ...] | None) -> Callable[[Statements], list[Any]]:
    keys = list(table.primary_key)
    mine = _is_mine(table, tenant)
    assert mine is not None
    query = select(*table.c).where(mine)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*(literal(v, k.type) for v, k in zip(after, keys, strict=True))))

    def read(statements: Statements) -> list[Any]:
        return statements.rows(query.order_by(*keys).limit(PAGE))

    return read


def _is_mine(table: Table, tenant: Tenant) -> ColumnElement[bool] | None:
    if "tenant" in table.c:
        return table.c.tenant == tenant
    if "run_id" not in table.c:
        return None
    return exists(
        select(_R.id).where(_R.shard == table.c.shard, _R.id == table.c.run_id, _R.tenant == tenant).correlate(table)
    )


def _line(table: Table, row: Sequence[Any]) -> bytes:
    shown = {str(column.name): _plain(column.name, value) for column, value in zip(table.c, row, strict=True)}
    return msgspec.json.encode({"table": str(table.name), "row": shown})


def _plain(name: str, value: Any) -> Any:
    """Payloads as the JSON that they are, kept to the letter."""
    if isinstance(value, bytes):
        return Raw(value)
    if isinstance(value, str) and name in _JSON_COLUMNS:
        return Raw(value.encode())
    return value
