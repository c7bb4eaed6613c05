"""Projects and their members. Every call but ``create`` and ``list`` is made in a scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import delete, select, update

from holdfast.core.ids import check_id
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import Tenant, UnixMs
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import AUDIT, MEMBERS, PROJECTS, WORKFLOWS
from holdfast.studio.access import WORKFLOW_COLUMNS, authorise, drawn, record
from holdfast.studio.errors import MemberNotFound, NameTaken, OwnerMoved, OwnerStays
from holdfast.studio.records import Actor, AuditRow, DrawnWorkflow, Member, Project, Scope
from holdfast.studio.roles import Action, Role

_P: Final = PROJECTS.c
_M: Final = MEMBERS.c
_W: Final = WORKFLOWS.c
_A: Final = AUDIT.c


class Projects:
    """Over a store; each method is one transaction, blocking."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, actor: Actor, project_id: str, name: str) -> Project:
        """Make a project and its maker the owner. Repeatable: the same id, name and maker find it.

        Raises: NameTaken; UsageError for a bad id or name.
        """
        check_name("project", name)
        check_name("subject", actor.subject)
        scope = Scope.of(actor, check_id("project", project_id))

        def write(s: Statements) -> Project:
            row = {
                "tenant": actor.tenant,
                "id": scope.project_id,
                "name": name,
                "created_by": actor.subject,
                "created_ms": s.now_ms,
            }
            if s.changed(insert_new(PROJECTS).values(row)) == 1:
                _add(s, scope, actor.subject, Role.OWNER)
                record(s, scope, "project.created", name=name)
            found = _projects(s, actor, _P.id == scope.project_id)
            if not found or found[0].name != name:
                raise NameTaken(what="project", name=name)
            return found[0]

        return self._store.transact(actor.tenant, write)

    def list(self, actor: Actor) -> list[Project]:
        """The projects that the actor is a member of, by name."""
        return self._store.transact(actor.tenant, lambda s: _projects(s, actor), read_only=True)

    def get(self, scope: Scope) -> Project:
        """The project. Raises ProjectNotFound."""

        def read(s: Statements) -> Project:
            authorise(s, scope, Action.VIEW, writes=False)
            [found] = _projects(s, scope, _P.id == check_id("project", scope.project_id))
            return found

        return self._store.transact(scope.tenant, read, read_only=True)

    def workflows(self, scope: Scope) -> Sequence[DrawnWorkflow]:
        """The project's workflows that were not deleted, by name. Raises ProjectNotFound, Forbidden."""

        def read(s: Statements) -> list[DrawnWorkflow]:
            authorise(s, scope, Action.VIEW, writes=False)
            mine = (_W.tenant == scope.tenant, _W.project_id == check_id("project", scope.project_id))
            query = select(*WORKFLOW_COLUMNS).where(*mine, _W.deleted_ms.is_(None)).order_by(_W.name)
            return [drawn(row) for row in s.rows(query)]

        return self._store.transact(scope.tenant, read, read_only=True)

    def members(self, scope: Scope) -> Sequence[Member]:
        """The members, by name. Raises ProjectNotFound, Forbidden."""

        def read(s: Statements) -> Sequence[Member]:
            authorise(s, scope, Action.VIEW, writes=False)
            query = select(_M.subject, _M.role, _M.added_by, _M.added_ms).where(*_here(scope)).order_by(_M.subject)
            return [
                Member(subject=row[0], role=Role(row[1]), added_by=row[2], added_ms=UnixMs(row[3]))
                for row in s.rows(query)
            ]

        return self._store.transact(scope.tenant, read, read_only=True)

    def set_member(self, scope: Scope, subject: str, role: Role) -> None:
        """Add a member, or change their role. Repeatable.

        Raises: UsageError for the role of owner, which ``transfer`` gives; OwnerStays; ProjectNotFound, Forbidden.
        """
        check_name("subject", subject)
        if role is Role.OWNER:
            raise UsageError("a project has one owner: transfer() makes another member the owner")

        def write(s: Statements) -> None:
            authorise(s, scope, Action.MANAGE_MEMBERS)
            if not _add(s, scope, subject, role):
                one = (*_here(scope), _M.subject == subject, _M.role != Role.OWNER.value)
                if s.changed(update(MEMBERS).where(*one).values(role=role.value)) == 0:
                    raise OwnerStays(subject=subject, project_id=scope.project_id)
            record(s, scope, "member.set", member=subject, role=role.value)

        self._store.transact(scope.tenant, write)

    def remove_member(self, scope: Scope, subject: str) -> None:
        """Remove a member. Raises MemberNotFound; OwnerStays; ProjectNotFound, Forbidden."""

        def write(s: Statements) -> None:
            authorise(s, scope, Action.MANAGE_MEMBERS)
            one = (*_here(scope), _M.subject == subject)
            if s.changed(delete(MEMBERS).where(*one, _M.role != Role.OWNER.value)) == 0:
                if s.rows(select(_M.role).where(*one)):
                    raise OwnerStays(subject=subject, project_id=scope.project_id)
                raise MemberNotFound(subject=subject, project_id=scope.project_id)
            record(s, scope, "member.removed", member=subject)

        self._store.transact(scope.tenant, write)

    def transfer(self, scope: Scope, subject: str) -> None:
        """Make another member the owner; the one before becomes an admin.

        Raises: MemberNotFound; OwnerMoved if the asker lost the project meanwhile; ProjectNotFound, Forbidden.
        """

        def write(s: Statements) -> None:
            # Not locked as one that is only read: it is what changes, and two such calls would wait for each other.
            authorise(s, scope, Action.TRANSFER, writes=False)
            mine = (*_here(scope), _M.subject == scope.subject, _M.role == Role.OWNER.value)
            if s.changed(update(MEMBERS).where(*mine).values(role=Role.ADMIN.value)) == 0:
                raise OwnerMoved(subject=scope.subject, project_id=scope.project_id)
            theirs = (*_here(scope), _M.subject == subject)
            if s.changed(update(MEMBERS).where(*theirs).values(role=Role.OWNER.value)) == 0:
                raise MemberNotFound(subject=subject, project_id=scope.project_id)
            record(s, scope, "project.transferred", owner=subject)

        self._store.transact(scope.tenant, write)

    def audit(self, scope: Scope, *, limit: int = 100, before: int | None = None) -> Sequence[AuditRow]:
        """Who did what, newest first; rows below number ``before``, if given. Raises ProjectNotFound, Forbidden."""

        def read(s: Statements) -> Sequence[AuditRow]:
            authorise(s, scope, Action.READ_AUDIT, writes=False)
            columns = (_A.number, _A.workflow_id, _A.subject, _A.action, _A.facts, _A.at_ms)
            mine = (_A.tenant == scope.tenant, _A.project_id == check_id("project", scope.project_id))
            query = select(*columns).where(*mine).order_by(_A.number.desc()).limit(limit)
            return [_audit_row(row) for row in s.rows(query if before is None else query.where(_A.number < before))]

        return self._store.transact(scope.tenant, read, read_only=True)


def _here(scope: Scope) -> tuple[Any, Any]:
    return _M.tenant == scope.tenant, _M.project_id == check_id("project", scope.project_id)


def _add(statements: Statements, scope: Scope, subject: str, role: Role) -> bool:
    row = {
        "tenant": scope.tenant,
        "project_id": check_id("project", scope.project_id),
        "subject": subject,
        "role": role.value,
        "added_by": scope.subject,
        "added_ms": statements.now_ms,
    }
    return statements.changed(insert_new(MEMBERS).values(row)) == 1


def _projects(statements: Statements, asker: Actor | Scope, *where: Any) -> list[Project]:
    joined = PROJECTS.join(MEMBERS, (_P.tenant == _M.tenant) & (_P.id == _M.project_id))
    columns = (_P.tenant, _P.id, _P.name, _M.role, _P.created_by, _P.created_ms)
    mine = (_M.tenant == asker.tenant, _M.subject == asker.subject, *where)
    rows = statements.rows(select(*columns).select_from(joined).where(*mine).order_by(_P.name))
    return [
        Project(
            tenant=Tenant(row[0]),
            id=row[1],
            name=row[2],
            role=Role(row[3]),
            created_by=row[4],
            created_ms=UnixMs(row[5]),
        )
        for row in rows
    ]


def _audit_row(row: Sequence[Any]) -> AuditRow:
    number, workflow_id, subject, action, facts, at_ms = row
    return AuditRow(
        number=number,
        workflow_id=workflow_id,
        subject=subject,
        action=action,
        facts=msgspec.json.decode(facts, type=dict[str, Any]),
        at_ms=UnixMs(at_ms),
    )
