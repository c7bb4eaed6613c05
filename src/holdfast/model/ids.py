"""The kinds of id and time that travel through the engine."""

from __future__ import annotations

from typing import Final, NewType

RunId = NewType("RunId", str)
"""A run: a UUID in its canonical text form (version 7, or derived from tenant, workflow and key)."""

WorkerId = NewType("WorkerId", str)
"""One worker process, for as long as it lives."""

Tenant = NewType("Tenant", str)
"""The isolation boundary."""

UnixMs = NewType("UnixMs", int)
"""A moment: milliseconds since 1970-01-01T00:00:00Z, by the database's clock unless said otherwise."""

Json = NewType("Json", bytes)
"""One encoded payload: a strict JSON document in UTF-8, ``{"value": ...}``, made and read by ``core.codec``."""

DEFAULT_TENANT: Final = Tenant("default")
DEFAULT_QUEUE: Final = "default"
