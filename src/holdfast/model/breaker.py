"""Circuit breakers: whether the calls that name one are made, for all workers of the fleet, tenant by tenant."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from holdfast.model.ids import RunId, Tenant, UnixMs


class BreakerState(StrEnum):
    """Whether calls are made."""

    CLOSED = "closed"
    """They are."""
    OPEN = "open"
    """They are not, until ``retry_ms`` or a person says otherwise."""
    HALF_OPEN = "half_open"
    """One is made, to see whether it succeeds."""


class BreakerRow(Struct, frozen=True, kw_only=True):
    """A tenant's breaker. One that never had a failure, and was never opened by hand, has no row and is closed."""

    tenant: Tenant
    name: str
    state: BreakerState = BreakerState.CLOSED
    term: int = 0
    """Raised whenever the state changes, and whenever a probe begins. An attempt remembers under which term it began;
    what comes of it counts in that term alone."""
    failures: list[UnixMs] = []
    """Of a closed one: when the last failures were, oldest first."""
    trips: int = 0
    """How often it has opened since it was closed last."""
    opened_ms: UnixMs | None = None
    """Since when no calls are made; None if they are."""
    retry_ms: UnixMs | None = None
    """Of an open one: from when a call is let through; None: when a person closes it."""
    prober: str | None = None
    """Of a half-open one: the run and the key of the step that tries."""
    probe_until_ms: UnixMs | None = None
    """Of a half-open one: from when somebody else may try, because nothing was heard of the one that does."""
    flow: int = 0
    """Of one that has closed: how many of the waits for it end per second now; 0: nobody waits."""
    flow_ms: UnixMs | None = None
    """Since when it is so many."""
    rate: int = 100
    """The most that ``flow`` grows to."""
    passed: RunId | None = None
    """The last run whose wait was ended: whose turn is next stands behind it, in the order of ids."""
    next_ms: UnixMs | None = None
    """When workers look at it next; None: it waits for a call, or for a person."""
    revision: int = 0
    """Raised by every change of the row: who writes names the one that it read."""
    changed_ms: UnixMs = UnixMs(0)
    """When the state changed last."""
    actor: str = ""
    """Who changed it; empty if it was the calls themselves."""
    note: str = ""
    """Why, in the actor's words."""


class BreakerStanding(Struct, frozen=True, kw_only=True):
    """A breaker as operators see it."""

    name: str
    state: BreakerState
    failures: int
    """Of a closed one: how many of the last failures are remembered."""
    since_ms: UnixMs | None
    """Since when no calls are made; None if they are."""
    retry_ms: UnixMs | None
    """From when a call is let through; None if calls are made, or when a person closes it."""
    waiting: int
    """How many runs wait for it."""
    changed_ms: UnixMs
    actor: str
    note: str
