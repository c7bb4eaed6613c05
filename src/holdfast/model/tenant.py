"""What an operator decides about a tenant: how much it may start, and how long its ended runs are kept."""

from __future__ import annotations

from msgspec import Struct

from holdfast.model.ids import RunId, Tenant, UnixMs


class TenantPolicy(Struct, frozen=True, kw_only=True):
    """The limits of a tenant; None is no limit."""

    tenant: Tenant
    queued_max: int | None = None
    """Starts are refused that would leave more runs than this queued: in the line, or delayed."""
    running_max: int | None = None
    """No more runs than this are held by workers at a time, which those that wait are not; further ones stay in the
    line."""
    payload_bytes_max: int | None = None
    """Starts are refused whose input is larger than this."""
    stored_bytes_max: int | None = None
    """Starts and signals are refused while more than this is stored: inputs, results, errors, recorded outcomes,
    signals, published values and items of streams, as they were counted last. Runs that have begun go on and record."""
    retention_ms: int | None = None
    """Ended runs are deleted this long after their end, with all that belongs to them; never if None."""


class TenantRow(Struct, frozen=True, kw_only=True):
    """A tenant as it is listed: its policy, and its runs by status."""

    policy: TenantPolicy
    runs: dict[str, int]
    stored_bytes: int | None = None
    """Bytes of payloads, as they were counted last; None if they are not: nothing limits them."""


class Expired(Struct, frozen=True, tag="expired"):
    """Ended runs that their tenants no longer keep, of every tenant.

    When none are left, what tenants with ``stored_bytes_max`` store is counted anew, if that was done long enough ago.
    """


class Ended(Struct, frozen=True, tag="ended"):
    """A tenant's runs that ended before a moment."""

    tenant: Tenant
    before_ms: UnixMs


class Chosen(Struct, frozen=True, tag="chosen"):
    """These runs of a tenant, as far as they have ended."""

    tenant: Tenant
    run_ids: list[RunId]


class Everything(Struct, frozen=True, tag="everything"):
    """All that a tenant has, its live runs, definitions and policy too."""

    tenant: Tenant


Pruning = Expired | Ended | Chosen | Everything
"""What is to be deleted. A run is kept, but for ``Everything``, while its parent, a child, or a run of its lineage has
not ended."""
