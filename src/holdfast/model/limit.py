"""How many runs of a queue workers may hold at once."""

from __future__ import annotations

from msgspec import Struct

from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.pause import Pause


class QueueLimit(Struct, frozen=True, kw_only=True):
    """The limit of a tenant's queue."""

    tenant: Tenant
    queue: str
    running_max: int
    """No more runs than this are held by workers at a time, over the whole fleet; further ones stay in the line."""
    set_ms: UnixMs
    actor: str = ""
    """Who set it."""
    note: str = ""
    """Why, in the actor's words."""


class QueueRow(Struct, frozen=True, kw_only=True):
    """A tenant's queue as it is listed."""

    queue: str
    limit: QueueLimit | None
    pause: Pause | None
    queued: int
    """Runs in its line, and delayed ones."""
    running: int
    """Runs of status RUNNING: workers hold them."""
