"""Membership and ownership: looked at by every call, in its own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select

from holdfast.core.ids import check_id
from holdfast.model.ids import Tenant, UnixMs
from holdfast.store.port import Statements
from holdfast.store.tables import AUDIT, MEMBERS, WORKFLOWS
from holdfast.studio.errors import Forbidden, ProjectNotFound, WorkflowNotFound, WrongProject
from holdfast.studio.records import DrawnWorkflow, Scope
from holdfast.studio.roles import Action, Role, may

_M: Final = MEMBERS.c
_W: Final = WORKFLOWS.c
WORKFLOW_COLUMNS: Final = [_W[name] for name in DrawnWorkflow.__struct_fields__]


def authorise(statements: Statements, scope: Scope, action: Action, *, writes: bool = True) -> Role:
    """The asker's role, if it allows the action.

    In a transaction that writes the membership stays as it is until the end, so that nobody writes with a role that
    they have lost.

    Raises:
        ProjectNotFound: no such project, or the asker is no member: who is none learns nothing of it.
        Forbidden: the role does not allow it.
    """
    project_id = check_id("project", scope.project_id)
    query = select(_M.role).where(_M.tenant == scope.tenant, _M.project_id == project_id, _M.subject == scope.subject)
    rows = statements.rows(query.with_for_update(read=True) if writes else query)
    if not rows:
        raise ProjectNotFound(project_id=scope.project_id, subject=scope.subject)
    role = Role(rows[0][0])
    if not may(role, action):
        raise Forbidden(subject=scope.subject, role=role.value, project_id=scope.project_id, action=action.value)
    return role


def find_workflow(statements: Statements, scope: Scope, workflow_id: str) -> DrawnWorkflow | None:
    """The scope's workflow of that id; None if the tenant has none.

    Raises:
        WrongProject: another project's.
        WorkflowNotFound: it was deleted.
    """
    found = _one(statements, _W.tenant == scope.tenant, _W.id == check_id("workflow", workflow_id))
    if found is not None and found.project_id != check_id("project", scope.project_id):
        raise WrongProject(workflow_id=workflow_id, project_id=scope.project_id)
    if found is not None and found.deleted_ms is not None:
        raise WorkflowNotFound(workflow_id=workflow_id)
    return found


def get_workflow(statements: Statements, scope: Scope, workflow_id: str) -> DrawnWorkflow:
    """As ``find_workflow``. Raises WorkflowNotFound if there is none."""
    found = find_workflow(statements, scope, workflow_id)
    if found is None:
        raise WorkflowNotFound(workflow_id=workflow_id)
    return found


def get_workflow_named(statements: Statements, scope: Scope, name: str) -> DrawnWorkflow:
    """The scope's workflow of that name. Raises WrongProject, WorkflowNotFound."""
    found = _one(statements, _W.tenant == scope.tenant, _W.name == name)
    if found is None:
        raise WorkflowNotFound(workflow_id=name)
    return get_workflow(statements, scope, found.id)


def record(statements: Statements, scope: Scope, action: str, *, workflow_id: str | None = None, **facts: Any) -> None:
    """Append an audit row, in the transaction of what it tells."""
    row = {
        "tenant": scope.tenant,
        "project_id": scope.project_id.lower(),
        "workflow_id": workflow_id,
        "subject": scope.subject,
        "action": action,
        "facts": msgspec.json.encode(facts, order="sorted").decode(),
        "at_ms": statements.now_ms,
    }
    statements.changed(insert(AUDIT).inline().values(row))


def _one(statements: Statements, *where: Any) -> DrawnWorkflow | None:
    rows = statements.rows(select(*WORKFLOW_COLUMNS).where(*where))
    return drawn(rows[0]) if rows else None


def drawn(row: Sequence[Any]) -> DrawnWorkflow:
    """The record of a row of ``WORKFLOW_COLUMNS``."""
    fields: dict[str, Any] = dict(zip(DrawnWorkflow.__struct_fields__, row, strict=True))
    times: dict[str, Any] = {
        name: None if fields[name] is None else UnixMs(fields[name]) for name in fields if name.endswith("_ms")
    }
    fields |= {**times, "tenant": Tenant(fields["tenant"])}
    return DrawnWorkflow(**fields)
