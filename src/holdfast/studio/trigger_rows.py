"""Triggers as data: what starts runs of a drawn workflow, and how it is stored. Secrets are named, never held."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from holdfast.errors import StoreCorrupt, UsageError
from holdfast.model.ids import UnixMs
from holdfast.store.tables import TRIGGERS
from holdfast.studio.records import TriggerView

_T: Final = TRIGGERS.c

TRIGGER_COLUMNS: Final = [
    _T[name]
    for name in ("id", "project_id", "workflow_id", "enabled", "document", "revision", "updated_by", "updated_ms")
]

SECRET_NAME: Final = re.compile(r"secret:[a-z][a-z0-9_-]{0,39}(/[a-z][a-z0-9_-]{0,39}){0,3}")
"""``secret:orders/webhook``: a secret store's path, in letters that no generated key keeps to."""


class AuthMethod(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a caller proves who it is. ``secret`` is a reference: the value is with the secret store, never here."""

    kind: Literal["api_key", "basic", "bearer", "hmac_sha256"]
    secret: str
    """``secret:`` and a path of small letters, digits, ``-`` and ``_``."""
    header: str | None = None
    """Where the proof stands, if not where the kind usually has it."""


class _Trigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", omit_defaults=True):
    name: str
    """Unique in its workflow; what runs say they were started by."""


class WebhookTrigger(_Trigger, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """Starts a run for each request to a path."""

    path: str
    """Below the server's address for webhooks; unique per tenant."""
    auth: tuple[AuthMethod, ...] = ()
    """One of them must be met; nobody has to prove anything if there is none."""
    reply: Literal["accepted", "result"] = "accepted"
    """Whether the caller hears that the run is recorded, or waits for its result."""


class ScheduleTrigger(_Trigger, frozen=True, kw_only=True, tag_field="kind", tag="schedule"):
    """Starts runs by time."""

    cron: str
    """Minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"


class EventTrigger(_Trigger, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """Starts a run for each signal of a name that is sent to all."""

    signal: str
    filter: str | None = None
    """An expression over ``payload``; the run starts if it is true."""


class ManualTrigger(_Trigger, frozen=True, kw_only=True, tag_field="kind", tag="manual"):
    """A person starts the run."""

    form: dict[str, Any] | None = None
    """A JSON Schema of the input."""


Trigger = WebhookTrigger | ScheduleTrigger | EventTrigger | ManualTrigger


class StoredTrigger(Struct, frozen=True, kw_only=True):
    """A trigger as recorded."""

    id: str
    project_id: str
    workflow_id: str
    enabled: bool
    trigger: Trigger
    revision: int
    """1 for the first; counts the writes."""
    updated_by: str
    updated_ms: UnixMs

    def view(self) -> TriggerView:
        """What everybody may see of it."""
        return TriggerView(
            id=self.id,
            name=self.trigger.name,
            kind=kind_of(self.trigger),
            enabled=self.enabled,
            has_auth_method=isinstance(self.trigger, WebhookTrigger) and bool(self.trigger.auth),
        )


def kind_of(trigger: Trigger) -> str:
    """``webhook``, ``schedule``, ``event`` or ``manual``."""
    return str(type(trigger).__struct_config__.tag)


def encode_trigger(trigger: Trigger) -> str:
    """The document that is stored."""
    return msgspec.json.encode(trigger, order="deterministic").decode()


def decode_trigger(text: str | bytes) -> Trigger:
    """Read a trigger. Raises UsageError for an unknown field, such as a secret's value, or one of another type."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"this is no trigger: {error}") from error


_decode: Final[Callable[[str | bytes], Trigger]] = msgspec.json.Decoder(Trigger).decode


def stored_trigger(row: Sequence[Any]) -> StoredTrigger:
    """The record of a row of ``TRIGGER_COLUMNS``. Raises StoreCorrupt if the document cannot be read."""
    trigger_id, project_id, workflow_id, enabled, document, revision, updated_by, updated_ms = row
    try:
        trigger = decode_trigger(document)
    except UsageError as error:
        raise StoreCorrupt(what=f"trigger {trigger_id}", why=str(error)) from error
    return StoredTrigger(
        id=trigger_id,
        project_id=project_id,
        workflow_id=workflow_id,
        enabled=bool(enabled),
        trigger=trigger,
        revision=revision,
        updated_by=updated_by,
        updated_ms=UnixMs(updated_ms),
    )
