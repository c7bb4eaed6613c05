"""What keeps a tenant's runs from starting or going on, as the private database of the reference store says."""

from __future__ import annotations

import sqlite3

from holdfast.model.breaker import BreakerRow
from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.status import WaitKind
from holdfast.model.tenant import TenantPolicy
from holdfast.store.memory.tables import Record


def read_limits(documents: sqlite3.Connection | None, now_ms: UnixMs, tenant: Tenant) -> tuple[TenantPolicy, int]:
    """The tenant's policy, and the bytes that it had when they were counted last; also in the middle of a transaction.

    The caller holds the store's lock.
    """
    if documents is None:
        return TenantPolicy(tenant=tenant), 0
    from holdfast.store.accounts import read_account
    from holdfast.store.sqlite.core_statements import SqliteStatements
    from holdfast.store.tenancy import read_policy

    statements = SqliteStatements(documents, now_ms)
    return read_policy(statements, tenant), read_account(statements, tenant)


def awaited_breakers(documents: sqlite3.Connection | None, now_ms: UnixMs, record: Record) -> list[BreakerRow]:
    """The breakers that a run waits for, by name. The caller holds the store's lock."""
    waits = [wait for wait in record.open_waits() if wait.kind is WaitKind.BREAKER]
    if documents is None or not waits:
        return []
    from holdfast.store.breakers import breaker_from, breakers_of
    from holdfast.store.sqlite.core_statements import SqliteStatements

    names = {wait.signal for wait in waits if wait.signal is not None}
    rows = SqliteStatements(documents, now_ms).rows(breakers_of(record.run.tenant, sorted(names)))
    return [breaker_from(row) for row in rows]
