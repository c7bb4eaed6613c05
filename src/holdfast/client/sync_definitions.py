"""``client.definitions`` of the blocking client."""

from __future__ import annotations

import builtins

from holdfast.client.definitions import Definitions, Format
from holdfast.client.portal import Portal
from holdfast.core.definitions import Difference
from holdfast.model.catalog import LIVE, CatalogEntry, Put, ReleaseMove, StoredDefinition, Version
from holdfast.model.definition import Definition
from holdfast.workflow.graph import Graph


class SyncDefinitions:
    """See ``Definitions``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, definitions: Definitions) -> None:
        self._portal = portal
        self._definitions = definitions

    def put(
        self, graph: Graph | Definition, *, version: int | None = None, source: str = "client", created_by: str = ""
    ) -> Put:
        """As ``Definitions.put``."""
        return self._portal.call(self._definitions.put(graph, version=version, source=source, created_by=created_by))

    def get(self, workflow: str, reference: str | int) -> StoredDefinition:
        """As ``Definitions.get``."""
        return self._portal.call(self._definitions.get(workflow, reference))

    def newest(self, workflow: str) -> StoredDefinition:
        """As ``Definitions.newest``."""
        return self._portal.call(self._definitions.newest(workflow))

    def workflows(self, *, limit: int = 100, after: str | None = None) -> builtins.list[CatalogEntry]:
        """As ``Definitions.workflows``."""
        return self._portal.call(self._definitions.workflows(limit=limit, after=after))

    def list(self, workflow: str, *, limit: int = 100, before: int | None = None) -> builtins.list[Version]:
        """As ``Definitions.list``."""
        return self._portal.call(self._definitions.list(workflow, limit=limit, before=before))

    def diff(self, workflow: str, before: str | int, after: str | int) -> Difference:
        """As ``Definitions.diff``."""
        return self._portal.call(self._definitions.diff(workflow, before, after))

    def export(self, workflow: str, reference: str | int, *, form: Format = "yaml") -> str:
        """As ``Definitions.export``."""
        return self._portal.call(self._definitions.export(workflow, reference, form=form))

    def import_text(
        self, text: str | bytes, *, form: Format = "yaml", version: int | None = None, created_by: str = ""
    ) -> Put:
        """As ``Definitions.import_text``."""
        return self._portal.call(self._definitions.import_text(text, form=form, version=version, created_by=created_by))

    def release(self, workflow: str, name: str = LIVE) -> ReleaseMove | None:
        """As ``Definitions.release``."""
        return self._portal.call(self._definitions.release(workflow, name))

    def history(
        self, workflow: str, name: str = LIVE, *, limit: int = 100, before: int | None = None
    ) -> builtins.list[ReleaseMove]:
        """As ``Definitions.history``."""
        return self._portal.call(self._definitions.history(workflow, name, limit=limit, before=before))

    def promote(
        self, workflow: str, version: int, *, name: str = LIVE, moved_by: str = "", expected: int | None = None
    ) -> ReleaseMove:
        """As ``Definitions.promote``."""
        return self._portal.call(
            self._definitions.promote(workflow, version, name=name, moved_by=moved_by, expected=expected)
        )

    def restore(
        self,
        workflow: str,
        *,
        number: int | None = None,
        name: str = LIVE,
        moved_by: str = "",
        expected: int | None = None,
    ) -> ReleaseMove:
        """As ``Definitions.restore``."""
        return self._portal.call(
            self._definitions.restore(workflow, number=number, name=name, moved_by=moved_by, expected=expected)
        )
