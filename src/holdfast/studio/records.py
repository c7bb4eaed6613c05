"""Projects, members, drawn workflows, drafts and the answers about them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Struct

from holdfast.core.definitions import Problem
from holdfast.model.catalog import Version
from holdfast.model.definition import Definition
from holdfast.model.ids import Tenant, UnixMs
from holdfast.studio.roles import Role


class Actor(Struct, frozen=True, kw_only=True):
    """Who asks: whoever authenticates the request makes it."""

    tenant: Tenant
    subject: str
    """The person's or program's stable name."""


class Scope(Struct, frozen=True, kw_only=True):
    """Who asks, and in which project: without one nothing of a project is answered or changed."""

    tenant: Tenant
    subject: str
    project_id: str

    @classmethod
    def of(cls, actor: Actor, project_id: str) -> Scope:
        """The actor's scope in a project."""
        return cls(tenant=actor.tenant, subject=actor.subject, project_id=project_id)


class Project(Struct, frozen=True, kw_only=True):
    """A folder of workflows."""

    tenant: Tenant
    id: str
    name: str
    """Unique per tenant."""
    role: Role
    """The asker's."""
    created_by: str
    created_ms: UnixMs


class Member(Struct, frozen=True, kw_only=True):
    """A person in a project."""

    subject: str
    role: Role
    added_by: str
    added_ms: UnixMs


class DrawnWorkflow(Struct, frozen=True, kw_only=True):
    """A workflow drawn in a project."""

    tenant: Tenant
    id: str
    project_id: str
    name: str
    """What runs and definitions call it: unique per tenant, and never changed."""
    head: int
    """The version that the last save left."""
    newest: int
    """The highest version known to that save; a program may have stored a higher one."""
    saved_by: str
    saved_ms: UnixMs
    created_by: str
    created_ms: UnixMs
    deleted_ms: UnixMs | None = None


class Draft(Struct, frozen=True, kw_only=True):
    """The edited graph of a workflow, before it is saved. It may be wrong in any way that its types allow."""

    workflow_id: str
    definition: Definition
    base_version: int
    """What it was made from; 0 for a workflow that was never saved."""
    revision: int
    """1 for the first; counts the writes."""
    updated_by: str
    updated_ms: UnixMs


class TriggerView(Struct, frozen=True, kw_only=True):
    """A trigger as everybody may see it: without the names of its secrets."""

    id: str
    name: str
    kind: str
    enabled: bool
    has_auth_method: bool
    """Whether who calls must prove who they are."""


class AuditRow(Struct, frozen=True, kw_only=True):
    """Who did what."""

    number: int
    workflow_id: str | None
    subject: str
    action: str
    facts: dict[str, Any]
    """Names, numbers and roles; never documents, payloads or secrets."""
    at_ms: UnixMs


# What a session edits


class SessionAction(StrEnum):
    """How a session opens a workflow. What the workflow then is, the answer says."""

    NEW = "new"
    EDIT = "edit"


class Kind(StrEnum):
    """What a resolved workflow is."""

    NEW = "new"
    """Its first save makes it."""
    EXISTING = "existing"
    """A save stores its next version."""
    VERSION = "version"
    """A view of one version: it is never saved."""


class Fresh(Struct, frozen=True, kw_only=True):
    """A workflow that nobody has saved yet."""

    kind: ClassVar[Kind] = Kind.NEW
    workflow_id: str
    project_id: str
    definition: Definition
    """Empty."""
    base_version: int = 0
    triggers: tuple[TriggerView, ...] = ()


class Existing(Struct, frozen=True, kw_only=True):
    """A workflow as it is now."""

    kind: ClassVar[Kind] = Kind.EXISTING
    workflow: DrawnWorkflow
    version: Version
    """The current one: the last save's, or one that a program stored since."""
    definition: Definition
    triggers: tuple[TriggerView, ...]

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        return self.workflow.id

    @property
    def project_id(self) -> str:
        """Its project's id."""
        return self.workflow.project_id

    @property
    def base_version(self) -> int:
        """What a save of this session has to name."""
        return self.version.number


class Pinned(Struct, frozen=True, kw_only=True):
    """One version of a workflow, to be looked at, compared or run: not to be saved."""

    kind: ClassVar[Kind] = Kind.VERSION
    workflow_id: str
    project_id: str
    version: Version
    definition: Definition


Resolved = Fresh | Existing | Pinned


class Saved(Struct, frozen=True, kw_only=True):
    """A save was done, or had nothing to do."""

    version: Version
    """What the workflow is now; the next save names its number as the base."""
    created: bool
    """Whether the version is new; False if its content was stored before."""
    is_first: bool
    """Whether this save made the workflow."""
    dropped: list[str] = []
    """Edges that led nowhere and were left out."""


class SaveRefused(Struct, frozen=True, kw_only=True):
    """A save was not done because the graph cannot be run. Told to the saver alone, and stored nowhere."""

    problems: list[Problem]


class Standing(StrEnum):
    """How somebody's copy of a workflow stands to the stored one."""

    SAME = "same"
    BEHIND = "behind"
    """It is an earlier version, unchanged."""
    AHEAD = "ahead"
    """It was changed, from the current version."""
    DIVERGED = "diverged"
    """It was changed, from an earlier version."""
