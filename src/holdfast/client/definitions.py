"""``client.definitions``: stored versions of graphs, and the releases that point to them."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Final, Literal

from holdfast.client.requests import Requests
from holdfast.core.definitions import Difference, from_json, from_yaml, to_json, to_yaml
from holdfast.errors import DefinitionNotFound, ReleaseNotFound, UsageError
from holdfast.model.catalog import LIVE, CatalogEntry, Put, ReleaseMove, StoredDefinition, Version
from holdfast.model.definition import Definition
from holdfast.workflow.graph import Graph

if TYPE_CHECKING:
    from holdfast.store.catalog import Catalog

Format = Literal["json", "yaml"]

PAGE_MAX: Final = 1000


class Definitions(Requests):
    """The tenant's catalog. A *reference* is a version's number, a content hash of 12 digits or more, or a release."""

    @property
    def _catalog(self) -> Catalog:
        # Most programs need nothing of it, and it brings SQLAlchemy along.
        from holdfast.store.catalog import Catalog

        return Catalog(self.store)

    async def put(
        self, graph: Graph | Definition, *, version: int | None = None, source: str = "client", created_by: str = ""
    ) -> Put:
        """Store a graph, or find the version that has its content already: equal content is one version.

        Args:
            graph: a graph of an App, or a document.
            version: the number that it must get; the next free one by default.
            source: where it comes from; a word of yours.
            created_by: who stores it.

        Raises:
            GraphError: it cannot be run; lists every problem.
            VersionConflict: ``version`` holds other content, or this content has another number.
        """
        definition = graph.build() if isinstance(graph, Graph) else graph
        return await self._send(
            self._catalog.put, self.tenant, definition, version=version, source=source, created_by=created_by
        )

    async def get(self, workflow: str, reference: str | int) -> StoredDefinition:
        """A version with its document. Raises DefinitionNotFound, ReleaseNotFound."""
        return await self._send(self._catalog.get_named, self.tenant, workflow, str(reference))

    async def newest(self, workflow: str) -> StoredDefinition:
        """The version with the highest number. Raises DefinitionNotFound."""
        found = await self._send(self._catalog.find, self.tenant, workflow)
        if found is None:
            raise DefinitionNotFound(workflow=workflow, version="at all")
        return found

    async def workflows(self, *, limit: int = 100, after: str | None = None) -> builtins.list[CatalogEntry]:
        """Workflows with stored versions, by name; a page begins behind the name ``after``."""
        return await self._send(self._catalog.workflows, self.tenant, limit=_page(limit), after=after)

    async def list(self, workflow: str, *, limit: int = 100, before: int | None = None) -> builtins.list[Version]:
        """A workflow's versions, newest first; a page begins below the number ``before``."""
        return await self._send(self._catalog.versions, self.tenant, workflow, limit=_page(limit), before=before)

    async def diff(self, workflow: str, before: str | int, after: str | int) -> Difference:
        """What leads from one version to another. Raises DefinitionNotFound, ReleaseNotFound."""
        return await self._send(self._catalog.diff, self.tenant, workflow, str(before), str(after))

    async def export(self, workflow: str, reference: str | int, *, form: Format = "yaml") -> str:
        """A version's document as text, for ``import_text`` here or elsewhere. Raises as ``get``."""
        stored = await self.get(workflow, reference)
        return to_json(stored.definition) if form == "json" else to_yaml(stored.definition)

    async def import_text(
        self, text: str | bytes, *, form: Format = "yaml", version: int | None = None, created_by: str = ""
    ) -> Put:
        """Store a document that was exported or written by hand; what is stored already is found by its content.

        Raises: DefinitionError if it is no document; as ``put`` otherwise.
        """
        definition = from_json(text) if form == "json" else from_yaml(text)
        return await self.put(definition, version=version, source="import", created_by=created_by)

    # Releases

    async def release(self, workflow: str, name: str = LIVE) -> ReleaseMove | None:
        """Where a release stands; None if there is none of that name."""
        return await self._send(self._catalog.release, self.tenant, workflow, name)

    async def history(
        self, workflow: str, name: str = LIVE, *, limit: int = 100, before: int | None = None
    ) -> builtins.list[ReleaseMove]:
        """A release's moves, newest first; a page begins below the number ``before``."""
        return await self._send(self._catalog.history, self.tenant, workflow, name, limit=_page(limit), before=before)

    async def promote(
        self, workflow: str, version: int, *, name: str = LIVE, moved_by: str = "", expected: int | None = None
    ) -> ReleaseMove:
        """Make a release stand for that version: what is started by name from now on follows it. Repeatable.

        Args:
            workflow: the workflow.
            version: the version's number.
            name: the release.
            moved_by: who moves it.
            expected: the number of the entry that the caller saw last, 0 for none; None for any.

        Raises:
            DefinitionNotFound: there is no such version.
            ReleaseMoved: ``expected`` is not the last entry any more.
        """
        return await self._send(
            self._catalog.promote,
            self.tenant,
            workflow,
            version,
            name=name,
            moved_by=moved_by,
            expected=expected,
        )

    async def restore(
        self,
        workflow: str,
        *,
        number: int | None = None,
        name: str = LIVE,
        moved_by: str = "",
        expected: int | None = None,
    ) -> ReleaseMove:
        """Make a release stand again for the version of an earlier entry, by default the one before its last.

        Raises:
            ReleaseNotFound: there is no such release, or no such entry.
            ReleaseMoved: somebody else moved it meanwhile.
        """
        if number is None:
            moves = await self.history(workflow, name, limit=2)
            if not moves[1:]:
                raise ReleaseNotFound(workflow=workflow, name=name, entry=" that was moved before")
            number = moves[1].number
            expected = moves[0].number if expected is None else expected
        return await self._send(
            self._catalog.restore,
            self.tenant,
            workflow,
            number=number,
            name=name,
            moved_by=moved_by,
            expected=expected,
        )


def _page(limit: int) -> int:
    if not 1 <= limit <= PAGE_MAX:
        raise UsageError(f"limit must be between 1 and {PAGE_MAX}, not {limit}")
    return limit
