"""What a tenant may have, and what it has, as the private database of the reference store says."""

from __future__ import annotations

from holdfast.model.ids import Tenant
from holdfast.model.tenant import TenantPolicy
from holdfast.store.port import Statements, Store


def read_limits(store: Store, tenant: Tenant) -> tuple[TenantPolicy, int]:
    """The tenant's policy, and the bytes that it had when they were counted last."""
    from holdfast.store.accounts import read_account
    from holdfast.store.tenancy import read_policy

    def read(statements: Statements) -> tuple[TenantPolicy, int]:
        return read_policy(statements, tenant), read_account(statements, tenant)

    return store.transact(tenant, read, read_only=True)
