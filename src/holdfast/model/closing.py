"""The end of a run as those hear of it who are subscribed to it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.status import RunStatus

EVERY: Final = ""
"""In a subscription's row: every workflow, or every tenant."""


class Closing(Struct, frozen=True, kw_only=True):
    """One end of one run, delivered at least once; ``id`` is the same each time."""

    run_id: RunId
    seq: int
    """Of the transition that ended it: a run that was set aside and released ends once more."""
    subscription: str
    tenant: Tenant
    workflow: str
    key: str | None
    """The idempotency key that it was started with."""
    status: RunStatus
    """How it ended: COMPLETED, FAILED, CANCELLED, or STUCK if it was set aside for a person."""
    reason: str
    """The terminal reason: a stable word."""
    error_type: str | None
    error_message: str | None
    failed_steps: list[str]
    """Names of the steps and children whose recorded outcome is a failure, also of those that the run went on from;
    in a graph, of the outermost nodes that they belong to."""
    ended_ms: UnixMs
    deliveries: int
    """How often it has been delivered, with this time."""

    @property
    def id(self) -> str:
        """What to tell a repeated delivery by."""
        return f"{self.run_id}:{self.seq}"


class Subscription(Struct, frozen=True, kw_only=True):
    """Who is told of the ends of which runs."""

    name: str
    workflow: str | None
    """None for every workflow."""
    created_ms: UnixMs
    undelivered: int
    """How many ends the reader of this name, whichever the workflow, has not acknowledged."""
