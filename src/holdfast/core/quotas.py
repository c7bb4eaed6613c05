"""Whether a tenant may start runs."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import QuotaExceeded
from holdfast.model.ids import Tenant
from holdfast.model.tenant import TenantPolicy


def check_quotas(policy: TenantPolicy, inputs: Sequence[int], *, queued: int, stored: int) -> None:
    """Raise QuotaExceeded if new runs with inputs of these sizes, in bytes, would exceed a quota of the tenant.

    ``queued`` is how many have not begun yet, ``stored`` how many bytes the tenant had when they were counted last.
    Nothing new is always allowed. ``running_max`` is no matter of starts: it
    limits what is claimed.
    """
    if not inputs:
        return
    _check(policy, "payload_bytes", policy.payload_bytes_max, max(inputs))
    _check(policy, "stored_bytes", policy.stored_bytes_max, stored)
    _check(policy, "queued", policy.queued_max, queued + len(inputs))


def _check(policy: TenantPolicy, quota: str, limit: int | None, found: int) -> None:
    if limit is not None and found > limit:
        raise QuotaExceeded(tenant=policy.tenant, quota=quota, limit=limit, found=found)


def check_stored(tenant: Tenant, *, limit: int | None, stored: int) -> None:
    """Raise QuotaExceeded if a tenant that has so many bytes may send no signals."""
    _check(TenantPolicy(tenant=tenant), "stored_bytes", limit, stored)
