"""Triggers of drawn workflows: added, changed, switched, removed. What is stored names secrets, and never holds one."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete, select, update

from holdfast.core.expressions import ExpressionError, Kind, parse
from holdfast.core.ids import check_id
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import TRIGGERS
from holdfast.studio.access import authorise, get_workflow, record
from holdfast.studio.errors import NameTaken, TriggerMoved, TriggerNotFound
from holdfast.studio.records import Scope, TriggerView
from holdfast.studio.roles import Action
from holdfast.studio.trigger_rows import (
    SECRET_NAME,
    TRIGGER_COLUMNS,
    AuthMethod,
    EventTrigger,
    ManualTrigger,
    ScheduleTrigger,
    StoredTrigger,
    Trigger,
    WebhookTrigger,
    decode_trigger,
    encode_trigger,
    kind_of,
    stored_trigger,
)

__all__ = [
    "AuthMethod",
    "EventTrigger",
    "ManualTrigger",
    "ScheduleTrigger",
    "StoredTrigger",
    "Trigger",
    "Triggers",
    "WebhookTrigger",
    "decode_trigger",
]

CRON_FIELDS: Final = 5

_T: Final = TRIGGERS.c


class Triggers:
    """Over a store; each method is one transaction, blocking, and checks membership and ownership."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, scope: Scope, workflow_id: str) -> list[TriggerView]:
        """The workflow's triggers by name, as every member may see them. Raises as ``Resolver.resolve``."""

        def read(s: Statements) -> list[TriggerView]:
            authorise(s, scope, Action.VIEW, writes=False)
            workflow = get_workflow(s, scope, workflow_id)
            where = (_T.tenant == scope.tenant, _T.workflow_id == workflow.id)
            rows = s.rows(select(*TRIGGER_COLUMNS).where(*where).order_by(_T.name))
            return [stored_trigger(row).view() for row in rows]

        return self._store.transact(scope.tenant, read, read_only=True)

    def get(self, scope: Scope, trigger_id: str) -> StoredTrigger:
        """A trigger whole, for who may manage it. Raises TriggerNotFound, ProjectNotFound, Forbidden."""

        def read(s: Statements) -> StoredTrigger:
            authorise(s, scope, Action.MANAGE_TRIGGERS, writes=False)
            return _get(s, scope, trigger_id)

        return self._store.transact(scope.tenant, read, read_only=True)

    def put(
        self,
        scope: Scope,
        workflow_id: str,
        trigger_id: str,
        trigger: Trigger,
        *,
        enabled: bool = False,
        revision: int = 0,
    ) -> StoredTrigger:
        """Add a trigger (``revision`` 0), or change the one of that revision. Its workflow must have been saved.

        Raises:
            UsageError: a name, path, expression or secret reference is wrong; a secret's value is no reference.
            NameTaken: another trigger has its name or path.
            TriggerMoved: it is at another revision. TriggerNotFound: there is none to change.
            WorkflowNotFound, WrongProject, ProjectNotFound, Forbidden.
        """
        check_trigger(trigger)

        def write(s: Statements) -> StoredTrigger:
            authorise(s, scope, Action.MANAGE_TRIGGERS)
            workflow = get_workflow(s, scope, workflow_id)
            values = {
                "name": trigger.name,
                "kind": kind_of(trigger),
                "enabled": enabled,
                "path": trigger.path if isinstance(trigger, WebhookTrigger) else None,
                "document": encode_trigger(trigger),
                "revision": revision + 1,
                "updated_by": scope.subject,
                "updated_ms": s.now_ms,
            }
            if revision == 0:
                stored = _insert(s, scope, workflow.id, trigger_id, values)
            else:
                stored = _update(s, scope, workflow.id, trigger_id, values)
            facts = {"trigger": stored.id, "name": trigger.name, "kind": kind_of(trigger), "enabled": enabled}
            record(s, scope, "trigger.put", workflow_id=workflow.id, **facts)
            return stored

        return self._store.transact(scope.tenant, write)

    def remove(self, scope: Scope, trigger_id: str, *, revision: int) -> None:
        """Delete the trigger of that revision. Raises TriggerMoved, TriggerNotFound, ProjectNotFound, Forbidden."""

        def write(s: Statements) -> None:
            authorise(s, scope, Action.MANAGE_TRIGGERS)
            found = _get(s, scope, trigger_id)
            where = (_T.tenant == scope.tenant, _T.id == found.id, _T.revision == revision)
            if s.changed(delete(TRIGGERS).where(*where)) == 0:
                raise TriggerMoved(trigger_id=trigger_id, found=found.revision, expected=revision)
            facts = {"trigger": found.id, "name": found.trigger.name}
            record(s, scope, "trigger.removed", workflow_id=found.workflow_id, **facts)

        self._store.transact(scope.tenant, write)


def check_trigger(trigger: Trigger) -> None:
    """Raise UsageError, naming what to change, unless the trigger can be stored."""
    check_name("trigger", trigger.name)
    match trigger:
        case WebhookTrigger():
            check_name("webhook path", trigger.path)
            for method in trigger.auth:
                check_secret(method.secret)
        case ScheduleTrigger():
            if len(trigger.cron.split()) != CRON_FIELDS:
                raise UsageError(
                    f"a schedule has {CRON_FIELDS} fields, such as '0 9 * * 1-5'; not {trigger.cron!r:.80}"
                )
            check_name("time zone", trigger.timezone)
        case EventTrigger():
            check_name("signal", trigger.signal)
            _check_filter(trigger.filter)
        case ManualTrigger():
            pass
    # What is written must be read again: the types of a Struct are not checked when it is made.
    decode_trigger(encode_trigger(trigger))


def check_secret(reference: str) -> str:
    """The reference itself, if it is one. Raises UsageError, which does not repeat it: it might be the secret."""
    if not SECRET_NAME.fullmatch(reference):
        raise UsageError(
            "a secret is given by reference, such as 'secret:orders/webhook' (small letters, digits, '-' and '_' in up "
            "to four parts); the value belongs into the secret store alone"
        )
    return reference


def _check_filter(source: str | None) -> None:
    if source is None:
        return
    try:
        kind = parse(source).check({"payload": Kind.DYN})
    except ExpressionError as error:
        raise UsageError(f"the filter {source!r:.80} is no expression over payload: {error}") from error
    if kind not in {Kind.BOOL, Kind.DYN}:
        raise UsageError(f"the filter {source!r:.80} answers {kind}, where a bool is needed")


def _get(statements: Statements, scope: Scope, trigger_id: str) -> StoredTrigger:
    where = (_T.tenant == scope.tenant, _T.id == check_id("trigger", trigger_id))
    mine = _T.project_id == check_id("project", scope.project_id)
    rows = statements.rows(select(*TRIGGER_COLUMNS).where(*where, mine))
    if not rows:
        raise TriggerNotFound(project_id=scope.project_id, trigger_id=trigger_id)
    return stored_trigger(rows[0])


def _insert(
    statements: Statements, scope: Scope, workflow_id: str, trigger_id: str, values: dict[str, Any]
) -> StoredTrigger:
    names = {
        "tenant": scope.tenant,
        "id": check_id("trigger", trigger_id),
        "project_id": check_id("project", scope.project_id),
        "workflow_id": workflow_id,
    }
    rows = statements.rows(insert_new(TRIGGERS).values({**names, **values}).returning(*TRIGGER_COLUMNS))
    if rows:
        return stored_trigger(rows[0])
    if statements.rows(select(_T.id).where(_T.tenant == scope.tenant, _T.id == names["id"])):
        found = _get(statements, scope, trigger_id)
        raise TriggerMoved(trigger_id=trigger_id, found=found.revision, expected=0)
    raise NameTaken(what="trigger name or webhook path", name=values["path"] or values["name"])


def _update(
    statements: Statements, scope: Scope, workflow_id: str, trigger_id: str, values: dict[str, Any]
) -> StoredTrigger:
    found = _get(statements, scope, trigger_id)
    taken = select(_T.id).where(_T.tenant == scope.tenant, _T.id != found.id, _clash(workflow_id, values))
    if statements.rows(taken):
        raise NameTaken(what="trigger name or webhook path", name=values["path"] or values["name"])
    where = (_T.tenant == scope.tenant, _T.id == found.id, _T.workflow_id == workflow_id)
    guarded = update(TRIGGERS).where(*where, _T.revision == values["revision"] - 1)
    rows = statements.rows(guarded.values(values).returning(*TRIGGER_COLUMNS))
    if not rows:
        raise TriggerMoved(trigger_id=trigger_id, found=found.revision, expected=values["revision"] - 1)
    return stored_trigger(rows[0])


def _clash(workflow_id: str, values: dict[str, Any]) -> Any:
    same_name = (_T.workflow_id == workflow_id) & (_T.name == values["name"])
    return same_name if values["path"] is None else same_name | (_T.path == values["path"])
