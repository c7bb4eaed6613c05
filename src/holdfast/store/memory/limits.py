"""What a tenant may have, and what it has, as the private database of the reference store says."""

from __future__ import annotations

import sqlite3

from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.tenant import TenantPolicy


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
