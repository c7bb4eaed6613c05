"""Which version a new run follows to its end: asked for, the program's own, or what release ``live`` stands for.

A program's own graph is stored when the first run of it is started, and found there ever after. Versions never change,
so they are remembered; where a release stands is asked anew each time. The methods that read the database block.
"""

from __future__ import annotations

from typing import Final, TypeVar

from msgspec import Struct

from holdfast.core.definitions import content_hash
from holdfast.errors import DefinitionNotFound, ReleaseNotFound
from holdfast.model.catalog import LIVE
from holdfast.model.definition import Definition, Options
from holdfast.model.ids import Tenant
from holdfast.store.port import Store

REMEMBERED_MAX: Final = 1_000

K = TypeVar("K")
V = TypeVar("V")


class Pin(Struct, frozen=True):
    """The version that a run is started with."""

    version: int
    definition_hash: str
    options: Options
    """How its runs are started, unless the caller says otherwise."""


class Pins:
    """See the module's docstring. For one store; safe from any thread, since it only adds and forgets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._own: dict[tuple[Tenant, str], tuple[Definition, Pin]] = {}
        self._stored: dict[tuple[Tenant, str, int], Pin] = {}

    def remembered(self, tenant: Tenant, definition: Definition) -> Pin | None:
        """The pin of a program's own graph, if it is known to be stored."""
        known = self._own.get((tenant, definition.workflow))
        return known[1] if known is not None and known[0] is definition else None

    def own(self, tenant: Tenant, definition: Definition, *, write: bool = True) -> Pin:
        """The pin of a program's own graph; stores it first if nobody has.

        Raises: DefinitionNotFound if it is not stored and ``write`` forbids it, as a caller's transaction does.
        """
        from holdfast.store.catalog import Catalog

        catalog = Catalog(self._store)
        found = catalog.find(tenant, definition.workflow, digest=content_hash(definition))
        if found is not None:
            version = found.version
        elif write:
            version = catalog.put(tenant, definition, source="app").version
        else:
            raise DefinitionNotFound(workflow=definition.workflow, version="like the one in this program")
        pin = Pin(version.number, version.hash, definition.options)
        _remember(self._own, (tenant, definition.workflow), (definition, pin))
        return pin

    def named(self, tenant: Tenant, workflow: str, *, version: int | None = None) -> Pin | None:
        """The pin of a stored version: that one, or the one that release ``live`` stands for.

        None if nothing is stored under that name: it is a function workflow's then, or nobody's.
        Raises: DefinitionNotFound for ``version``; ReleaseNotFound if there are versions, but none is live.
        """
        from holdfast.store.catalog import Catalog

        catalog = Catalog(self._store)
        if version is None:
            move = catalog.release(tenant, workflow, LIVE)
            if move is None:
                if catalog.versions(tenant, workflow, limit=1):
                    raise ReleaseNotFound(workflow=workflow, name=LIVE)
                return None
            version = move.version
        pin = self._stored.get((tenant, workflow, version))
        if pin is None:
            stored = catalog.get(tenant, workflow, version=version)
            pin = Pin(stored.version.number, stored.version.hash, stored.definition.options)
            _remember(self._stored, (tenant, workflow, version), pin)
        return pin


def _remember(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= REMEMBERED_MAX:
        known.clear()
    known[key] = value
