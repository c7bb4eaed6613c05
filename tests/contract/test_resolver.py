"""Which workflow a session edits, and whether it is new, existing or a version: one authority."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.store.catalog import Catalog
from holdfast.studio import (
    Drafts,
    Existing,
    Fresh,
    Kind,
    Pinned,
    Projects,
    Resolver,
    Role,
    Saver,
    Scope,
    SessionAction,
    Standing,
    Triggers,
    WebhookTrigger,
)
from holdfast.studio.errors import (
    InvalidAction,
    ProjectNotFound,
    SnapshotNotFound,
    StaleBase,
    WorkflowNotFound,
    WrongProject,
)
from holdfast.studio.triggers import AuthMethod
from tests.contract.editing import ONE, OTHER_TENANT, PEOPLE, PROJECT, SIGNUP, THREE, TWO, Desk, graph, step
from tests.contract.scene import run_id
from tests.contract.stores import OpenStore

NEW, EDIT = SessionAction.NEW, SessionAction.EDIT


@pytest.fixture
def desk(opened: OpenStore) -> Desk:
    """A project with people on each store in turn."""
    return Desk(opened)


@pytest.mark.requirement("L-04", "L-03")
def test_a_new_workflow_without_a_row_is_fresh_and_empty(desk: Desk) -> None:
    resolved = desk.resolver.resolve(desk.scope(), SIGNUP, NEW)

    assert isinstance(resolved, Fresh)
    assert resolved.kind is Kind.NEW
    assert (resolved.workflow_id, resolved.project_id, resolved.base_version) == (SIGNUP, PROJECT, 0)
    assert (resolved.definition.nodes, resolved.definition.edges, resolved.triggers) == ((), (), ())


@pytest.mark.requirement("L-01", "L-05")
def test_a_new_workflow_that_was_saved_meanwhile_is_existing(desk: Desk) -> None:
    desk.save(ONE, 0)

    resolved = desk.resolver.resolve(desk.scope(), SIGNUP, NEW)

    assert isinstance(resolved, Existing)
    assert resolved.kind is Kind.EXISTING
    assert (resolved.base_version, resolved.definition) == (1, ONE)


@pytest.mark.requirement("L-03")
def test_newness_is_a_tag_and_not_a_shape(desk: Desk) -> None:
    desk.save(graph(step("a")), 0)
    existing = desk.resolver.resolve(desk.scope(), SIGNUP, NEW)
    fresh = desk.resolver.resolve(desk.scope(), run_id(12), NEW)

    assert {existing.kind, fresh.kind} == {Kind.EXISTING, Kind.NEW}
    assert {kind.value for kind in Kind} == {"new", "existing", "version"}


@pytest.mark.requirement("L-06")
def test_editing_answers_the_current_version_with_its_triggers(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)
    triggers = Triggers(desk.opened.store)
    method = AuthMethod(kind="api_key", secret="secret:signup/key")  # noqa: S106 - a reference
    triggers.put(desk.of(Role.ADMIN), SIGNUP, run_id(21), WebhookTrigger(name="open", path="open"))
    triggers.put(desk.of(Role.ADMIN), SIGNUP, run_id(22), WebhookTrigger(name="safe", path="safe", auth=(method,)))

    resolved = desk.resolver.resolve(desk.of(Role.VIEWER), SIGNUP, EDIT)

    assert isinstance(resolved, Existing)
    assert (resolved.base_version, resolved.definition, resolved.version.created_by) == (2, TWO, "eve")
    assert [(one.name, one.has_auth_method) for one in resolved.triggers] == [("open", False), ("safe", True)]
    assert "secret" not in repr(resolved.triggers)


@pytest.mark.requirement("L-06", "L-09")
def test_editing_what_is_not_there_is_workflow_not_found(desk: Desk) -> None:
    with pytest.raises(WorkflowNotFound) as caught:
        desk.resolver.resolve(desk.scope(), SIGNUP, EDIT)

    assert caught.value.code == "workflow_not_found"


@pytest.mark.requirement("L-07", "L-08")
def test_a_version_is_answered_as_it_was_and_says_that_it_is_one(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1)

    resolved = desk.resolver.resolve(desk.scope(), SIGNUP, EDIT, version=1)

    assert isinstance(resolved, Pinned)
    assert resolved.kind is Kind.VERSION
    assert (resolved.version.number, resolved.definition, resolved.project_id) == (1, ONE, PROJECT)
    assert resolved == desk.resolver.resolve_version(desk.scope(), SIGNUP, 1)


@pytest.mark.requirement("L-08", "L-09")
@pytest.mark.parametrize("version", [0, 2, -1, 2**40])
def test_a_version_that_is_not_there_is_snapshot_not_found(desk: Desk, version: int) -> None:
    desk.save(ONE, 0)

    with pytest.raises(SnapshotNotFound) as caught:
        desk.resolver.resolve(desk.scope(), SIGNUP, EDIT, version=version)

    assert caught.value.code == "snapshot_not_found"


@pytest.mark.requirement("L-08", "L-09")
def test_a_version_of_no_workflow_is_snapshot_not_found(desk: Desk) -> None:
    with pytest.raises(SnapshotNotFound):
        desk.resolver.resolve_version(desk.scope(), SIGNUP, 1)


@pytest.mark.requirement("L-09")
@pytest.mark.parametrize(("action", "version"), [("open", None), ("", None), ("NEW", None), ("new", 1)])
def test_an_unknown_way_to_open_is_invalid_action(desk: Desk, action: str, version: int | None) -> None:
    with pytest.raises(InvalidAction) as caught:
        desk.resolver.resolve(desk.scope(), SIGNUP, action, version=version)

    assert caught.value.code == "invalid_action"


@pytest.mark.requirement("L-02", "L-09", "L-53")
def test_another_projects_workflow_is_wrong_project_on_every_way_in(desk: Desk) -> None:
    desk.save(ONE, 0)
    elsewhere, drafts, triggers = desk.elsewhere, Drafts(desk.opened.store), Triggers(desk.opened.store)
    hook = WebhookTrigger(name="x", path="x")
    ways: list[Any] = [
        lambda: desk.resolver.resolve(elsewhere, SIGNUP, NEW),
        lambda: desk.resolver.resolve(elsewhere, SIGNUP, EDIT),
        lambda: desk.resolver.resolve(elsewhere, SIGNUP, EDIT, version=1),
        lambda: desk.resolver.resolve_version(elsewhere, SIGNUP, 1),
        lambda: desk.resolver.versions(elsewhere, SIGNUP),
        lambda: desk.resolver.compare(elsewhere, SIGNUP, content_hash="0" * 64, base_version=1),
        lambda: desk.saver.save(elsewhere, SIGNUP, TWO, base_version=1),
        lambda: desk.saver.publish(elsewhere, SIGNUP, 1),
        lambda: desk.saver.restore_release(elsewhere, SIGNUP, number=1),
        lambda: desk.saver.delete(elsewhere, SIGNUP),
        lambda: drafts.get(elsewhere, SIGNUP),
        lambda: drafts.put(elsewhere, SIGNUP, TWO, base_version=1),
        lambda: drafts.discard(elsewhere, SIGNUP, revision=1),
        lambda: drafts.rebase(elsewhere, SIGNUP, revision=1),
        lambda: triggers.list(elsewhere, SIGNUP),
        lambda: triggers.put(elsewhere, SIGNUP, run_id(21), hook),
    ]

    for way in ways:
        with pytest.raises(WrongProject) as caught:
            way()
        assert caught.value.code == "wrong_project"


@pytest.mark.requirement("L-53", "promise-10")
def test_another_tenant_finds_nothing_and_may_use_the_same_ids(desk: Desk) -> None:
    desk.save(ONE, 0)
    stranger = desk.scope("olga", PROJECT, OTHER_TENANT)

    with pytest.raises(ProjectNotFound):
        desk.resolver.resolve(stranger, SIGNUP, EDIT)

    with pytest.raises(ProjectNotFound):
        desk.resolver.resolve_version(stranger, SIGNUP, 1)


@pytest.mark.requirement("L-53")
def test_who_is_no_member_does_not_learn_that_there_is_a_project(desk: Desk) -> None:
    desk.save(ONE, 0)

    with pytest.raises(ProjectNotFound) as stranger:
        desk.resolver.resolve(desk.scope("mallory"), SIGNUP, EDIT)
    with pytest.raises(ProjectNotFound) as nowhere:
        desk.resolver.resolve(desk.scope("mallory", run_id(99)), SIGNUP, EDIT)

    assert str(stranger.value).replace(PROJECT, run_id(99)) == str(nowhere.value)


@pytest.mark.requirement("L-53")
def test_every_call_takes_a_scope() -> None:
    """But for the two that are about no project yet: making one, and listing one's own."""
    without = {
        f"{owner.__name__}.{name}"
        for owner in (Drafts, Projects, Resolver, Saver, Triggers)
        for name, function in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_") and next(iter(list(inspect.signature(function).parameters)[1:]), "") != "scope"
    }

    assert without == {"Projects.create", "Projects.list"}
    assert Scope.__struct_fields__ == ("tenant", "subject", "project_id")


def test_a_deleted_workflow_is_closed_to_sessions_and_its_versions_stay(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.saver.delete(desk.of(Role.ADMIN), SIGNUP)
    desk.saver.delete(desk.of(Role.ADMIN), SIGNUP)

    for action in (NEW, EDIT):
        with pytest.raises(WorkflowNotFound):
            desk.resolver.resolve(desk.scope(), SIGNUP, action)
    with pytest.raises(WorkflowNotFound):
        desk.try_save(TWO, 1)

    assert Catalog(desk.opened.store).get(DEFAULT_TENANT, "signup", version=1).definition == ONE
    assert list(desk.projects.workflows(desk.scope())) == []


@pytest.mark.requirement("L-25", "L-58")
def test_versions_are_numbered_and_tell_who_saved_them(desk: Desk) -> None:
    desk.save(ONE, 0)
    desk.save(TWO, 1, by=Role.ADMIN)

    versions = desk.resolver.versions(desk.of(Role.VIEWER), SIGNUP)

    assert [(one.number, one.created_by, one.source) for one in versions] == [
        (2, "adam", "editor"),
        (1, "eve", "editor"),
    ]


@pytest.mark.requirement("L-26")
def test_a_copy_is_the_same_behind_ahead_or_diverged(desk: Desk) -> None:
    first = desk.save(ONE, 0).version
    second = desk.save(TWO, 1).version

    def standing(content_hash: str, base: int) -> Standing:
        return desk.resolver.compare(desk.scope(), SIGNUP, content_hash=content_hash, base_version=base)

    assert standing(second.hash, 2) is Standing.SAME
    assert standing(first.hash, 1) is Standing.BEHIND
    assert standing("0" * 64, 2) is Standing.AHEAD
    assert standing("0" * 64, 1) is Standing.DIVERGED


@pytest.mark.requirement("L-50")
def test_a_version_that_a_program_stored_is_what_a_session_edits(desk: Desk) -> None:
    desk.save(ONE, 0)
    Catalog(desk.opened.store).put(DEFAULT_TENANT, THREE, source="cli", created_by="ci")

    resolved = desk.resolver.resolve(desk.scope(), SIGNUP, EDIT)

    assert isinstance(resolved, Existing)
    assert (resolved.base_version, resolved.definition) == (2, THREE)
    with pytest.raises(StaleBase) as caught:
        desk.try_save(TWO, 1)
    assert (caught.value.version, caught.value.author, caught.value.theirs) == (2, "ci", THREE)
    assert desk.save(TWO, 2).version.number == 3


def test_an_id_that_is_none_is_a_usage_error(desk: Desk) -> None:
    with pytest.raises(UsageError, match="workflow id"):
        desk.resolver.resolve(desk.scope(), "signup", NEW)
    with pytest.raises(UsageError, match="project id"):
        desk.resolver.resolve(desk.scope(PEOPLE[Role.EDITOR], "first"), SIGNUP, NEW)


def test_ids_are_the_same_in_any_case(desk: Desk) -> None:
    shouted = run_id(0xABC).upper()
    desk.save(ONE, 0, id=shouted)

    resolved = desk.resolver.resolve(desk.scope("eve", PROJECT.upper()), shouted, EDIT)

    assert resolved.workflow_id == run_id(0xABC)
