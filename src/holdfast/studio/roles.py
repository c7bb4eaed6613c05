"""Who may do what in a project: one table, for every call there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a member is. A project has one owner."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"


class Action(StrEnum):
    """What a member asks for."""

    VIEW = "view"
    """See the project, its workflows, versions and drafts."""
    EDIT = "edit"
    """Change drafts."""
    SAVE = "save"
    """Store a version."""
    RUN = "run"
    """Start and retry runs."""
    MANAGE_TRIGGERS = "manage_triggers"
    """Add, change and remove what starts runs by itself, and see which secrets it names."""
    PUBLISH = "publish"
    """Move a release."""
    DELETE_WORKFLOW = "delete_workflow"
    MANAGE_MEMBERS = "manage_members"
    """Add and remove members, and change their roles: not the owner's."""
    READ_AUDIT = "read_audit"
    TRANSFER = "transfer"
    """Make another member the owner."""


_VIEWER: Final = frozenset({Action.VIEW})
_EDITOR: Final = _VIEWER | {Action.EDIT, Action.SAVE, Action.RUN}
_ADMIN: Final = _EDITOR | {
    Action.MANAGE_TRIGGERS,
    Action.PUBLISH,
    Action.DELETE_WORKFLOW,
    Action.MANAGE_MEMBERS,
    Action.READ_AUDIT,
}

ALLOWED: Final[dict[Role, frozenset[Action]]] = {
    Role.VIEWER: _VIEWER,
    Role.EDITOR: _EDITOR,
    Role.ADMIN: _ADMIN,
    Role.OWNER: _ADMIN | {Action.TRANSFER},
}


def may(role: Role, action: Action) -> bool:
    """Whether a member of this role may do that."""
    return action in ALLOWED[role]
