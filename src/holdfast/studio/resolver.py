"""The resolver: the one authority on which workflow a session edits, and whether it is new, existing or a version.

Everything that opens or saves a workflow asks here, with a scope, so that no two callers can disagree: whether a
workflow is new is read from the answer's ``kind``, never from how it looks or from what the client said.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from holdfast.core.definitions import find_node
from holdfast.core.ids import check_id, check_run_id
from holdfast.errors import NotFound
from holdfast.model.catalog import StoredDefinition
from holdfast.model.definition import Definition
from holdfast.model.run import RunDetail
from holdfast.model.status import EntryKind
from holdfast.store.catalog import VERSION_MAX, find_in, versions_in
from holdfast.store.port import Statements, Store
from holdfast.store.tables import TRIGGERS
from holdfast.studio.access import authorise, find_workflow, get_workflow, get_workflow_named
from holdfast.studio.errors import InvalidAction, RetryRefused, SnapshotNotFound, WorkflowNotFound
from holdfast.studio.records import (
    DrawnWorkflow,
    Existing,
    Fresh,
    Pinned,
    Resolved,
    Scope,
    SessionAction,
    Standing,
    TriggerView,
)
from holdfast.studio.roles import Action
from holdfast.studio.trigger_rows import TRIGGER_COLUMNS, stored_trigger

_T: Final = TRIGGERS.c

_NODE_ENDS: Final = "#~["
"""What a journal key may have behind its node's key: iterations, branches and items."""


class Resolver:
    """Over a store; each method is one transaction that reads, blocking, and checks membership and ownership."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def resolve(
        self, scope: Scope, workflow_id: str, action: SessionAction | str, *, version: int | None = None
    ) -> Resolved:
        """Which workflow a session edits.

        ``new`` answers Fresh if nobody has saved the workflow yet, else Existing: a client that says "new" again after
        a reconnect is told what is. ``edit`` answers Existing, or with a ``version`` Pinned.

        Raises:
            WorkflowNotFound: ``edit``, and there is none, or it was deleted.
            WrongProject: it is not the scope's project's.
            SnapshotNotFound: it has no such version.
            InvalidAction: the action is unknown, or a version of a new workflow is asked for.
            ProjectNotFound, Forbidden: the asker is no member, or may not look.
        """
        asked = _action(action, version)
        if version is not None:
            return self.resolve_version(scope, workflow_id, version)
        return self._store.transact(scope.tenant, lambda s: resolve_in(s, scope, workflow_id, asked), read_only=True)

    def resolve_version(self, scope: Scope, workflow_id: str, version: int) -> Pinned:
        """A version of the workflow, as it was: to look at, not to save.

        Raises: SnapshotNotFound, also if there is no such workflow; WrongProject, ProjectNotFound, Forbidden.
        """

        def read(s: Statements) -> Pinned:
            authorise(s, scope, Action.VIEW, writes=False)
            workflow = find_workflow(s, scope, workflow_id)
            found = None if workflow is None else _numbered(s, workflow, version)
            if workflow is None or found is None:
                raise SnapshotNotFound(workflow_id=workflow_id, version=version)
            return _pinned(workflow, found)

        return self._store.transact(scope.tenant, read, read_only=True)

    def versions(self, scope: Scope, workflow_id: str, *, limit: int = 100, before: int | None = None) -> list[Any]:
        """The workflow's versions, newest first; those below ``before``, if given. Raises as ``resolve``."""

        def read(s: Statements) -> list[Any]:
            authorise(s, scope, Action.VIEW, writes=False)
            workflow = get_workflow(s, scope, workflow_id)
            return list(versions_in(s, workflow.tenant, workflow.name, limit=limit, before=before))

        return self._store.transact(scope.tenant, read, read_only=True)

    def compare(self, scope: Scope, workflow_id: str, *, content_hash: str, base_version: int) -> Standing:
        """How a copy of the workflow, made from ``base_version``, stands to the stored one. Raises as ``resolve``."""

        def read(s: Statements) -> Standing:
            authorise(s, scope, Action.VIEW, writes=False)
            workflow = get_workflow(s, scope, workflow_id)
            current = current_in(s, workflow)
            if current.version.hash == content_hash:
                return Standing.SAME
            if find_in(s, workflow.tenant, workflow.name, digest=content_hash) is not None:
                return Standing.BEHIND
            return Standing.AHEAD if base_version == current.version.number else Standing.DIVERGED

        return self._store.transact(scope.tenant, read, read_only=True)

    def resolve_run(self, scope: Scope, run_id: str) -> Pinned:
        """The version that a run executes, also when there are newer ones.

        Raises:
            RunNotFound: there is no such run in the tenant.
            WorkflowNotFound: its workflow is drawn in no project. WrongProject: in another one.
            SnapshotNotFound: the run has no version, or it is gone.
        """
        run = self._store.get_run(scope.tenant, check_run_id(run_id))

        def read(s: Statements) -> Pinned:
            authorise(s, scope, Action.VIEW, writes=False)
            workflow = get_workflow_named(s, scope, run.workflow)
            found = None
            if run.definition_hash is not None:
                found = find_in(s, scope.tenant, run.workflow, digest=run.definition_hash)
            if found is None:
                raise SnapshotNotFound(workflow_id=workflow.id, version=run.version)
            return _pinned(workflow, found)

        return self._store.transact(scope.tenant, read, read_only=True)

    def resolve_retry(self, scope: Scope, run_id: str, *, on_latest: bool = False) -> Pinned:
        """The version that a retry of a run executes: the run's own, unless ``on_latest`` asks for the current one.

        Raises:
            RetryRefused: the current version lacks steps that the run recorded, or has another kind of node there.
            And as ``resolve_run``; Forbidden if the asker may not run.
        """
        pinned = self.resolve_run(scope, run_id)

        def read(s: Statements) -> Pinned:
            authorise(s, scope, Action.RUN, writes=False)
            workflow = get_workflow(s, scope, pinned.workflow_id)
            return pinned if not on_latest else _pinned(workflow, current_in(s, workflow))

        answer = self._store.transact(scope.tenant, read, read_only=True)
        if on_latest:
            detail = self._store.read_detail(scope.tenant, check_run_id(run_id))
            missing = _unknown_steps(detail, pinned.definition, answer.definition)
            if missing:
                raise RetryRefused(run_id=run_id, version=answer.version.number, missing=", ".join(missing))
        return answer


def resolve_in(statements: Statements, scope: Scope, workflow_id: str, action: SessionAction) -> Fresh | Existing:
    """``Resolver.resolve`` without a version, in a transaction of the caller's."""
    authorise(statements, scope, Action.VIEW, writes=False)
    workflow = find_workflow(statements, scope, workflow_id)
    if workflow is not None:
        current = current_in(statements, workflow)
        return Existing(
            workflow=workflow,
            version=current.version,
            definition=current.definition,
            triggers=tuple(_triggers_of(statements, workflow)),
        )
    if action is SessionAction.EDIT:
        raise WorkflowNotFound(workflow_id=workflow_id)
    return Fresh(
        workflow_id=check_id("workflow", workflow_id),
        project_id=check_id("project", scope.project_id),
        definition=Definition(workflow=""),
    )


def current_in(statements: Statements, workflow: DrawnWorkflow) -> StoredDefinition:
    """What the workflow is now: the last save's version, or one that a program stored since."""
    newest = find_in(statements, workflow.tenant, workflow.name)
    if newest is not None and newest.version.number > workflow.newest:
        return newest
    head = find_in(statements, workflow.tenant, workflow.name, version=workflow.head)
    if head is None:
        raise NotFound(f"version {workflow.head} of workflow {workflow.name!r}, which was saved, is gone")
    return head


def _action(action: SessionAction | str, version: int | None) -> SessionAction:
    try:
        asked = SessionAction(action)
    except ValueError as error:
        raise InvalidAction(action=action, why="") from error
    if asked is SessionAction.NEW and version is not None:
        raise InvalidAction(action=action, why=" at a version")
    return asked


def _numbered(statements: Statements, workflow: DrawnWorkflow, version: int) -> StoredDefinition | None:
    if isinstance(version, bool) or not 1 <= version <= VERSION_MAX:
        return None
    return find_in(statements, workflow.tenant, workflow.name, version=version)


def _pinned(workflow: DrawnWorkflow, found: StoredDefinition) -> Pinned:
    return Pinned(
        workflow_id=workflow.id,
        project_id=workflow.project_id,
        version=found.version,
        definition=found.definition,
    )


def _triggers_of(statements: Statements, workflow: DrawnWorkflow) -> list[TriggerView]:
    where = (_T.tenant == workflow.tenant, _T.workflow_id == workflow.id)
    rows = statements.rows(select(*TRIGGER_COLUMNS).where(*where).order_by(_T.name))
    return [stored_trigger(row).view() for row in rows]


def _unknown_steps(detail: RunDetail, own: Definition, latest: Definition) -> list[str]:
    """The nodes that a run recorded and the latest version does not have, or has as another kind."""
    recorded = {_node_key(entry.key) for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION}
    missing: list[str] = []
    for key in sorted(recorded):
        before, after = find_node(own, key), find_node(latest, key)
        if before is not None and type(before) is not type(after):
            missing.append(key)
    return missing


def _node_key(journal_key: str) -> str:
    """The key of the node that a journal row belongs to."""
    ends = [place for place in (journal_key.find(mark) for mark in _NODE_ENDS) if place > 0]
    return journal_key[: min(ends)] if ends else journal_key
