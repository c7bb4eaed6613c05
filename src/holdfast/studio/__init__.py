"""The editor's side: projects, who may do what in them, the workflows drawn there, and which one a session edits."""

from holdfast.core.definitions import from_json, to_json
from holdfast.studio.drafts import Drafts
from holdfast.studio.importing import ImportPlan, plan_import
from holdfast.studio.projects import Projects
from holdfast.studio.records import (
    Actor,
    AuditRow,
    Draft,
    DrawnWorkflow,
    Existing,
    Fresh,
    Kind,
    Member,
    Pinned,
    Project,
    Resolved,
    Saved,
    SaveRefused,
    Scope,
    SessionAction,
    Standing,
    TriggerView,
)
from holdfast.studio.resolver import Resolver
from holdfast.studio.roles import ALLOWED, Action, Role, may
from holdfast.studio.saving import Saver
from holdfast.studio.studio import Studio
from holdfast.studio.triggers import (
    AuthMethod,
    EventTrigger,
    ManualTrigger,
    ScheduleTrigger,
    StoredTrigger,
    Triggers,
    WebhookTrigger,
)

__all__ = [
    "ALLOWED",
    "Action",
    "Actor",
    "AuditRow",
    "AuthMethod",
    "Draft",
    "Drafts",
    "DrawnWorkflow",
    "EventTrigger",
    "Existing",
    "Fresh",
    "ImportPlan",
    "Kind",
    "ManualTrigger",
    "Member",
    "Pinned",
    "Project",
    "Projects",
    "Resolved",
    "Resolver",
    "Role",
    "SaveRefused",
    "Saved",
    "Saver",
    "ScheduleTrigger",
    "Scope",
    "SessionAction",
    "Standing",
    "StoredTrigger",
    "Studio",
    "TriggerView",
    "Triggers",
    "WebhookTrigger",
    "from_json",
    "may",
    "plan_import",
    "to_json",
]
