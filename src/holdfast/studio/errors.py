"""What may go wrong on the editor's side; part of the tree in ``holdfast.errors``."""

from __future__ import annotations

from holdfast.errors import Conflict, HoldfastError, NotFound, UsageError


class ProjectNotFound(NotFound):
    """There is no such project in this tenant, or the asker is no member of it."""

    code = "project_not_found"
    template = "no project {project_id} for {subject!r}; its owner or an admin can add members"


class WorkflowNotFound(NotFound):
    """There is no drawn workflow of that id in this tenant, or it was deleted."""

    code = "workflow_not_found"
    template = "no workflow {workflow_id}; a new one is opened with the action 'new'"


class WrongProject(NotFound):
    """The workflow is another project's."""

    code = "wrong_project"
    template = "workflow {workflow_id} does not belong to project {project_id}; open it in its own project"


class SnapshotNotFound(NotFound):
    """The workflow has no such version."""

    code = "snapshot_not_found"
    template = "workflow {workflow_id} has no version {version}"


class MemberNotFound(NotFound):
    """The person is no member of the project."""

    code = "member_not_found"
    template = "{subject!r} is no member of project {project_id}; add them first"


class TriggerNotFound(NotFound):
    """The project has no such trigger."""

    code = "trigger_not_found"
    template = "project {project_id} has no trigger {trigger_id}"


class DraftNotFound(NotFound):
    """The workflow has no draft."""

    code = "draft_not_found"
    template = "workflow {workflow_id} has no draft"


class InvalidAction(UsageError):
    """A session is opened in a way that there is not."""

    code = "invalid_action"
    template = "{action!r} is no way to open a workflow{why}; there are 'new' and 'edit', and versions with 'edit'"


class Forbidden(HoldfastError):
    """The member's role does not allow it."""

    code = "forbidden"
    template = "{subject!r} is {role} of project {project_id} and may not {action}; an admin can change the role"


class NameTaken(Conflict):
    """Another project, workflow, trigger or program has the name already."""

    code = "name_taken"
    template = "the {what} {name!r} is taken; choose another one"


class OwnerStays(Conflict):
    """A project has one owner, who cannot be removed or demoted, only replaced."""

    code = "owner_stays"
    template = "{subject!r} owns project {project_id}; make another member its owner first"


class OwnerMoved(Conflict):
    """The project's owner changed while it was being changed."""

    code = "owner_moved"
    template = "{subject!r} does not own project {project_id} any more"


class StaleBase(Conflict):
    """The workflow was saved by somebody else since the version that the saver began with.

    ``base``, ``theirs`` and ``mine`` are the three definitions, ``merge`` what comes of them (``Merge``), ``version``
    and ``author`` those of ``theirs``. Save again with ``base_version=version`` what you make of them.
    """

    code = "stale_base"
    template = (
        "the base is version {base_version}, but {author!r} saved version {version} meanwhile; merge and save again"
    )


class DraftMoved(Conflict):
    """The draft was changed by somebody else since the revision that the writer saw."""

    code = "draft_moved"
    template = "the draft is at revision {found}, not {expected}: read it again"


class TriggerMoved(Conflict):
    """The trigger was changed by somebody else since the revision that the writer saw."""

    code = "trigger_moved"
    template = "trigger {trigger_id} is at revision {found}, not {expected}: read it again"


class RetryRefused(Conflict):
    """A run cannot go on with the newest version: steps that it recorded are gone or something else there."""

    code = "retry_refused"
    template = (
        "run {run_id} recorded steps that version {version} does not have: {missing}; retry its own version instead"
    )
