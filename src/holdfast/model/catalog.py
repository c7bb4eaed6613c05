"""Stored definitions and releases, as the catalog returns them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from holdfast.model.definition import Definition
from holdfast.model.ids import Tenant, UnixMs

LIVE: Final = "live"
"""The release that a start by name follows."""

SHORT_HASH_CHARACTERS: Final = 12
"""Of a content hash, where it is shown and where it names the code that a run needs."""


class Version(Struct, frozen=True, kw_only=True):
    """One version of a workflow's definition: written once, never changed."""

    tenant: Tenant
    workflow: str
    number: int
    """1 for the first of the workflow; unique per tenant and workflow."""
    hash: str
    """SHA-256 over the canonical document: equal content is one version."""
    source: str
    """Where it came from: a stable word such as ``app``, ``cli``, ``client`` or ``editor``."""
    created_by: str
    """Who stored it; empty if nobody said so."""
    created_ms: UnixMs

    @property
    def short_hash(self) -> str:
        """The first twelve digits, for people."""
        return self.hash[:SHORT_HASH_CHARACTERS]


class StoredDefinition(Struct, frozen=True):
    """A version with its document."""

    version: Version
    definition: Definition


class Put(Struct, frozen=True):
    """The answer to a put: the version that holds the content, and whether this call made it."""

    version: Version
    created: bool


class ReleaseMove(Struct, frozen=True, kw_only=True):
    """One entry of a release's history: since then the name stands for that version. The last one holds."""

    tenant: Tenant
    workflow: str
    name: str
    number: int
    """1 for the first; counts up by one."""
    version: int
    kind: str
    """``go_live`` for the first, ``promote``, or ``restore`` for one that went back to an earlier entry's version."""
    moved_by: str
    """Who moved it; empty if nobody said so."""
    moved_ms: UnixMs


class CatalogEntry(Struct, frozen=True, kw_only=True):
    """One workflow with stored definitions."""

    workflow: str
    versions: int
    """How many."""
    newest: int
    """The highest version number."""
    releases: dict[str, int] = {}
    """Releases by name: the version each stands for."""


def code_name(workflow: str, definition_hash: str | None) -> str:
    """What a worker must know to execute a run: the function workflow's name, or the graph's with its short hash.

    The unit of a line besides the queue; the database makes the same name of the run's columns.
    """
    return workflow if definition_hash is None else f"{workflow}@{definition_hash[:SHORT_HASH_CHARACTERS]}"
