"""Drafts: the edited graph, kept until it is saved. A draft is never thrown away and never overwrites silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import delete, select, update

from holdfast.core.definitions import DefinitionError, Merge, from_json, merge, to_json
from holdfast.core.ids import check_id
from holdfast.errors import StoreCorrupt
from holdfast.model.definition import Definition
from holdfast.model.ids import UnixMs
from holdfast.store.catalog import find_in
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import DRAFTS
from holdfast.studio.access import authorise, find_workflow, record
from holdfast.studio.errors import DraftMoved, DraftNotFound, SnapshotNotFound, WorkflowNotFound, WrongProject
from holdfast.studio.records import Draft, DrawnWorkflow, Scope
from holdfast.studio.resolver import current_in
from holdfast.studio.roles import Action

_F: Final = DRAFTS.c
_COLUMNS: Final = [
    _F[name]
    for name in ("workflow_id", "project_id", "document", "base_version", "revision", "updated_by", "updated_ms")
]


class Rebase(Struct, frozen=True, kw_only=True):
    """What came of bringing a draft to the current version."""

    draft: Draft
    """As it is now: rebased if the merge was clean, else as it was."""
    version: int
    """The current version."""
    merge: Merge | None = None
    """None if the draft was on the current version already."""


class Drafts:
    """Over a store; each method is one transaction, blocking, and checks membership and ownership."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, scope: Scope, workflow_id: str) -> Draft:
        """The workflow's draft. Raises: DraftNotFound; WrongProject, WorkflowNotFound, ProjectNotFound, Forbidden."""

        def read(s: Statements) -> Draft:
            authorise(s, scope, Action.VIEW, writes=False)
            find_workflow(s, scope, workflow_id)
            return _get(s, scope, workflow_id)

        return self._store.transact(scope.tenant, read, read_only=True)

    def put(
        self, scope: Scope, workflow_id: str, definition: Definition, *, base_version: int, revision: int = 0
    ) -> Draft:
        """Keep the edited graph, however wrong it still is, over the draft of that revision; 0 for a first one.

        Raises:
            DraftMoved: the draft is at another revision.
            SnapshotNotFound: ``base_version`` is no version of the workflow; a workflow never saved has only 0.
            DefinitionError: it holds what a document cannot.
            WrongProject, WorkflowNotFound, ProjectNotFound, Forbidden.
        """
        document = to_json(definition)

        def write(s: Statements) -> Draft:
            authorise(s, scope, Action.EDIT)
            workflow = find_workflow(s, scope, workflow_id)
            _check_base(s, workflow, workflow_id, base_version)
            return _put(s, scope, workflow_id, document, base_version=base_version, revision=revision)

        return self._store.transact(scope.tenant, write)

    def discard(self, scope: Scope, workflow_id: str, *, revision: int) -> None:
        """Delete the draft of that revision. Raises DraftMoved if it is at another, DraftNotFound if there is none."""

        def write(s: Statements) -> None:
            authorise(s, scope, Action.EDIT)
            find_workflow(s, scope, workflow_id)
            draft = _get(s, scope, workflow_id)
            gone = delete(DRAFTS).where(*_here(scope, workflow_id), _F.revision == revision)
            if s.changed(gone) == 0:
                raise DraftMoved(found=draft.revision, expected=revision)
            facts = {"base_version": draft.base_version, "revision": revision}
            record(s, scope, "draft.discarded", workflow_id=draft.workflow_id, **facts)

        self._store.transact(scope.tenant, write)

    def rebase(self, scope: Scope, workflow_id: str, *, revision: int) -> Rebase:
        """Bring the draft to the current version, if what was saved since and what was edited fit together.

        If they do not, nothing is changed: the merge tells the conflicts, and what a person makes of them is for
        ``put`` with the current version as the base.

        Raises: DraftMoved, DraftNotFound, WorkflowNotFound for one that was never saved; and as ``put``.
        """

        def write(s: Statements) -> Rebase:
            authorise(s, scope, Action.EDIT)
            workflow = find_workflow(s, scope, workflow_id)
            if workflow is None:
                raise WorkflowNotFound(workflow_id=workflow_id)
            draft = _get(s, scope, workflow_id)
            if draft.revision != revision:
                raise DraftMoved(found=draft.revision, expected=revision)
            current = current_in(s, workflow)
            number = current.version.number
            if draft.base_version == number:
                return Rebase(draft=draft, version=number)
            merged = merge(_base_of(s, workflow, draft), current.definition, draft.definition)
            if not merged.is_clean:
                return Rebase(draft=draft, version=number, merge=merged)
            document = to_json(merged.definition)
            draft = _put(s, scope, workflow_id, document, base_version=number, revision=revision)
            return Rebase(draft=draft, version=number, merge=merged)

        return self._store.transact(scope.tenant, write)


def _here(scope: Scope, workflow_id: str) -> tuple[Any, Any]:
    return _F.tenant == scope.tenant, _F.workflow_id == check_id("workflow", workflow_id)


def _get(statements: Statements, scope: Scope, workflow_id: str) -> Draft:
    rows = statements.rows(select(*_COLUMNS).where(*_here(scope, workflow_id)))
    if not rows:
        raise DraftNotFound(workflow_id=workflow_id)
    if rows[0][1] != check_id("project", scope.project_id):
        raise WrongProject(workflow_id=workflow_id, project_id=scope.project_id)
    return _draft(rows[0])


def _put(
    statements: Statements, scope: Scope, workflow_id: str, document: str, *, base_version: int, revision: int
) -> Draft:
    project_id = check_id("project", scope.project_id)
    values = {
        "document": document,
        "base_version": base_version,
        "revision": revision + 1,
        "updated_by": scope.subject,
        "updated_ms": statements.now_ms,
    }
    if revision == 0:
        names = {"tenant": scope.tenant, "workflow_id": check_id("workflow", workflow_id), "project_id": project_id}
        rows = statements.rows(insert_new(DRAFTS).values({**names, **values}).returning(*_COLUMNS))
    else:
        where = (*_here(scope, workflow_id), _F.project_id == project_id, _F.revision == revision)
        rows = statements.rows(update(DRAFTS).where(*where).values(values).returning(*_COLUMNS))
    if not rows:
        raise DraftMoved(found=_get(statements, scope, workflow_id).revision, expected=revision)
    return _draft(rows[0])


def _check_base(statements: Statements, workflow: DrawnWorkflow | None, workflow_id: str, base_version: int) -> None:
    if workflow is None and base_version == 0:
        return
    if workflow is None or find_in(statements, workflow.tenant, workflow.name, version=base_version) is None:
        raise SnapshotNotFound(workflow_id=workflow_id, version=base_version)


def _base_of(statements: Statements, workflow: DrawnWorkflow, draft: Draft) -> Definition:
    """What the draft was made from; a workflow that was never saved was empty."""
    found = None
    if draft.base_version:
        found = find_in(statements, workflow.tenant, workflow.name, version=draft.base_version)
    return Definition(workflow=workflow.name) if found is None else found.definition


def _draft(row: Sequence[Any]) -> Draft:
    workflow_id, _, document, base_version, revision, updated_by, updated_ms = row
    try:
        definition = from_json(document)
    except DefinitionError as error:
        raise StoreCorrupt(what=f"the draft of workflow {workflow_id}", why=str(error.why)) from error
    return Draft(
        workflow_id=workflow_id,
        definition=definition,
        base_version=base_version,
        revision=revision,
        updated_by=updated_by,
        updated_ms=UnixMs(updated_ms),
    )
