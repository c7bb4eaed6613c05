"""Whether a tenant may start runs."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import QuotaExceeded
from holdfast.model.tenant import TenantPolicy


def check_quotas(policy: TenantPolicy, inputs: Sequence[int], *, queued: int, running: int) -> None:
    """Raise QuotaExceeded if new runs with inputs of these sizes, in bytes, would exceed a quota of the tenant.

    ``queued`` runs have not begun yet, ``running`` ones have begun and have not ended. Nothing new is always allowed.
    """
    if not inputs:
        return
    _check(policy, "payload_bytes", policy.payload_bytes_max, max(inputs))
    _check(policy, "queued", policy.queued_max, queued + len(inputs))
    _check(policy, "running", policy.running_max, running + 1)


def _check(policy: TenantPolicy, quota: str, limit: int | None, found: int) -> None:
    if limit is not None and found > limit:
        raise QuotaExceeded(tenant=policy.tenant, quota=quota, limit=limit, found=found)
