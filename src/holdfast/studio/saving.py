"""Saving: a checked graph becomes the workflow's next version, or nothing is changed.

New or existing is decided by the database, in the inserting statement; a stale base by the guard of the update. So two
sessions that save at once, from any process, are served one after the other, and the second is told what to merge.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import and_, case, func, select, update

from holdfast.core.definitions import content_hash, merge, tidy, validate
from holdfast.core.definitions.validation import Problem
from holdfast.core.ids import check_id
from holdfast.model.catalog import LIVE, ReleaseMove, StoredDefinition, Version
from holdfast.model.definition import Definition
from holdfast.store.catalog import find_in, promote_in, put_in, restore_in
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import DEFINITIONS, TRIGGERS, WORKFLOWS
from holdfast.studio.access import authorise, find_workflow, get_workflow, record
from holdfast.studio.errors import NameTaken, SnapshotNotFound, StaleBase, WorkflowNotFound
from holdfast.studio.records import DrawnWorkflow, Existing, Fresh, Saved, SaveRefused, Scope, SessionAction
from holdfast.studio.resolver import current_in, resolve_in
from holdfast.studio.roles import Action

MESSAGE_CHARACTERS_MAX: Final = 500
SOURCE: Final = "editor"

_W: Final = WORKFLOWS.c
_D: Final = DEFINITIONS.c


class Saver:
    """Over a store; each method is one transaction, blocking, and checks membership and ownership."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(
        self, scope: Scope, workflow_id: str, definition: Definition, *, base_version: int, message: str = ""
    ) -> Saved | SaveRefused:
        """Store the graph as the workflow's next version. May be repeated: the second time finds the first's version.

        Edges that lead nowhere are dropped. Content that is the current version's makes no new one, whatever the base.

        Args:
            base_version: the version that the graph was made from; 0 for a workflow that was never saved.
            message: what the saver says about it, for the audit log.

        Raises:
            StaleBase: somebody saved meanwhile; it carries what is needed to merge.
            SnapshotNotFound: ``base_version`` is no version of the workflow.
            NameTaken: the graph's name belongs to another workflow, or to one that programs store.
            WrongProject, WorkflowNotFound: it is another project's, or was deleted.
            ProjectNotFound, Forbidden: the asker is no member, or may not save.
        """
        tidied = tidy(definition)
        mine = tidied.definition
        problems = validate(mine)

        def write(s: Statements) -> Saved | SaveRefused:
            authorise(s, scope, Action.SAVE)
            refused = problems or _renamed(resolve_in(s, scope, workflow_id, SessionAction.NEW), mine)
            if refused:
                return SaveRefused(problems=refused)
            workflow, is_first = _insert_or_find(s, scope, workflow_id, mine)
            put = _store_version(s, scope, workflow, mine, base_version)
            if put.moved:
                facts: dict[str, Any] = {"version": put.version.number, "base_version": base_version}
                facts |= {"message": message[:MESSAGE_CHARACTERS_MAX], "is_first": is_first}
                record(s, scope, "workflow.saved", workflow_id=workflow.id, **facts)
            return Saved(version=put.version, created=put.created, is_first=is_first, dropped=tidied.dropped)

        return self._store.transact(scope.tenant, write)

    def publish(
        self, scope: Scope, workflow_id: str, version: int, *, release: str = LIVE, expected: int | None = None
    ) -> ReleaseMove:
        """Make a release stand for a version of the workflow.

        ``expected`` is the number of the release's entry that the asker saw last, 0 for none; None for any.
        Raises: DefinitionNotFound; ReleaseMoved; and as ``save``.
        """

        def write(s: Statements) -> ReleaseMove:
            authorise(s, scope, Action.PUBLISH)
            workflow = get_workflow(s, scope, workflow_id)
            move = promote_in(
                s, scope.tenant, workflow.name, version, name=release, moved_by=scope.subject, expected=expected
            )
            record(s, scope, "release.moved", workflow_id=workflow.id, release=release, version=version, kind=move.kind)
            return move

        return self._store.transact(scope.tenant, write)

    def restore_release(
        self, scope: Scope, workflow_id: str, *, number: int, release: str = LIVE, expected: int | None = None
    ) -> ReleaseMove:
        """Make a release stand for the version of an earlier entry. Raises ReleaseNotFound; and as ``publish``."""

        def write(s: Statements) -> ReleaseMove:
            authorise(s, scope, Action.PUBLISH)
            workflow = get_workflow(s, scope, workflow_id)
            move = restore_in(
                s, scope.tenant, workflow.name, number=number, name=release, moved_by=scope.subject, expected=expected
            )
            facts = {"release": release, "version": move.version, "kind": move.kind}
            record(s, scope, "release.moved", workflow_id=workflow.id, **facts)
            return move

        return self._store.transact(scope.tenant, write)

    def delete(self, scope: Scope, workflow_id: str) -> None:
        """Close the workflow to sessions and switch its triggers off; its versions and runs stay. Repeatable.

        Raises: WorkflowNotFound if it was never saved; and as ``save``.
        """

        def write(s: Statements) -> None:
            authorise(s, scope, Action.DELETE_WORKFLOW)
            here = (_W.tenant == scope.tenant, _W.id == check_id("workflow", workflow_id))
            project_id = check_id("project", scope.project_id)
            rows = s.rows(select(_W.deleted_ms).where(*here, _W.project_id == project_id))
            if rows and rows[0][0] is not None:
                return
            workflow = get_workflow(s, scope, workflow_id)
            s.changed(update(WORKFLOWS).where(*here, _W.deleted_ms.is_(None)).values(deleted_ms=s.now_ms))
            off = update(TRIGGERS).where(TRIGGERS.c.tenant == scope.tenant, TRIGGERS.c.workflow_id == workflow.id)
            s.changed(off.values(enabled=False, revision=TRIGGERS.c.revision + 1))
            record(s, scope, "workflow.deleted", workflow_id=workflow.id, name=workflow.name)

        self._store.transact(scope.tenant, write)


class _Stored(NamedTuple):
    version: Version
    created: bool
    moved: bool


def _renamed(resolved: Fresh | Existing, mine: Definition) -> list[Problem]:
    if isinstance(resolved, Fresh) or resolved.workflow.name == mine.workflow:
        return []
    reason = f"is called {resolved.workflow.name!r}, and runs find it by that name: a workflow cannot be renamed"
    return [Problem("", "renamed", reason)]


def _insert_or_find(
    statements: Statements, scope: Scope, workflow_id: str, mine: Definition
) -> tuple[DrawnWorkflow, bool]:
    """The workflow's row, and whether it was made here: the insert decides, not what anybody said or saw before."""
    row = {
        "tenant": scope.tenant,
        "id": check_id("workflow", workflow_id),
        "project_id": check_id("project", scope.project_id),
        "name": mine.workflow,
        "head": 0,
        "newest": 0,
        "saved_by": scope.subject,
        "saved_ms": statements.now_ms,
        "created_by": scope.subject,
        "created_ms": statements.now_ms,
    }
    is_first = statements.changed(insert_new(WORKFLOWS).values(row)) == 1
    workflow = find_workflow(statements, scope, workflow_id)
    if workflow is None or workflow.name != mine.workflow:
        raise NameTaken(what="workflow", name=mine.workflow)
    if is_first and find_in(statements, scope.tenant, mine.workflow) is not None:
        # Programs store versions of that name: a project that took it over would change what they run.
        raise NameTaken(what="workflow", name=mine.workflow)
    return workflow, is_first


def _store_version(
    statements: Statements, scope: Scope, workflow: DrawnWorkflow, mine: Definition, base_version: int
) -> _Stored:
    before = None if workflow.head == 0 else current_in(statements, workflow)
    if before is not None and before.version.hash == content_hash(mine):
        return _Stored(before.version, created=False, moved=False)
    put = put_in(statements, scope.tenant, mine, source=SOURCE, created_by=scope.subject)
    if not _advance(statements, scope, workflow, put.version, base_version=base_version, created=put.created):
        raise _stale(statements, scope, workflow, mine, base_version, put.version if put.created else None)
    return _Stored(put.version, put.created, moved=True)


def _advance(
    statements: Statements,
    scope: Scope,
    workflow: DrawnWorkflow,
    to: Version,
    *,
    base_version: int,
    created: bool,
) -> bool:
    """Make the version the current one, if ``base_version`` still is. The guard is the whole decision.

    What programs stored since the last save has a higher number than that save knew of, and is the current version
    then. Our own new version does not count; as it took its number first, what they store later has a higher one.
    """
    where = and_(_D.tenant == scope.tenant, _D.workflow == workflow.name)
    where = and_(where, _D.version != to.number) if created else where
    others = select(func.coalesce(func.max(_D.version), 0)).where(where).scalar_subquery()
    current = case((others > _W.newest, others), else_=_W.head)
    statement = (
        update(WORKFLOWS)
        .where(_W.tenant == scope.tenant, _W.id == workflow.id, _W.deleted_ms.is_(None), current == base_version)
        .values(
            head=to.number,
            newest=case((others > to.number, others), else_=to.number),
            saved_by=scope.subject,
            saved_ms=statements.now_ms,
        )
    )
    return statements.changed(statement) == 1


def _stale(
    statements: Statements,
    scope: Scope,
    workflow: DrawnWorkflow,
    mine: Definition,
    base_version: int,
    own: Version | None,
) -> Exception:
    """Why the base did not hold: with the three definitions, if there are three."""
    now = find_workflow(statements, scope, workflow.id)
    if now is None:
        return WorkflowNotFound(workflow_id=workflow.id)
    theirs = _current_but(statements, now, own)
    empty = Definition(workflow=workflow.name)
    base = empty
    if base_version != 0:
        found = find_in(statements, scope.tenant, workflow.name, version=base_version)
        if found is None or (own is not None and found.version.number == own.number):
            return SnapshotNotFound(workflow_id=workflow.id, version=base_version)
        base = found.definition
    if theirs is None:
        return SnapshotNotFound(workflow_id=workflow.id, version=base_version)
    is_head = theirs.version.number == now.head
    return StaleBase(
        base_version=base_version,
        version=theirs.version.number,
        author=now.saved_by if is_head else theirs.version.created_by or theirs.version.source,
        base=base,
        theirs=theirs.definition,
        mine=mine,
        merge=merge(base, theirs.definition, mine),
    )


def _current_but(statements: Statements, workflow: DrawnWorkflow, own: Version | None) -> StoredDefinition | None:
    """The current version without regard to the one that this save has just put."""
    if own is None:
        return current_in(statements, workflow)
    others: Any = select(func.max(_D.version)).where(
        _D.tenant == workflow.tenant, _D.workflow == workflow.name, _D.version != own.number
    )
    newest = statements.rows(others)[0][0] or 0
    number = newest if newest > workflow.newest else workflow.head
    return find_in(statements, workflow.tenant, workflow.name, version=number) if number else None
