"""What a tenant has paused: a queue, a workflow, or all that it has."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from holdfast.model.ids import Tenant, UnixMs

PauseKind = Literal["queue", "workflow", "tenant"]


class Pause(Struct, frozen=True, kw_only=True):
    """Runs of a tenant that are not claimed until this is taken back."""

    tenant: Tenant
    kind: PauseKind
    name: str
    """The queue's, the workflow's, or the tenant's own."""
    recalls: bool = False
    """Workers give back the runs of it that they hold, as soon as the handlers under way have ended."""
    since_ms: UnixMs
    actor: str = ""
    """Who paused it."""
    note: str = ""
    """Why, in the actor's words."""


def bar_of(kind: PauseKind, name: str) -> str:
    """What runs are barred by, as their rows tell it."""
    return kind if kind == "tenant" else f"{kind}:{name}"
