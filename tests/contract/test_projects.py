"""Projects, members and roles; and what starts runs, with its secrets elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.store.port import Statements
from holdfast.store.tables import AUDIT, DRAFTS, MEMBERS, TRIGGERS
from holdfast.studio import (
    Action,
    Actor,
    AuthMethod,
    Drafts,
    EventTrigger,
    ManualTrigger,
    Role,
    ScheduleTrigger,
    Scope,
    Triggers,
    WebhookTrigger,
    may,
)
from holdfast.studio.errors import (
    Forbidden,
    MemberNotFound,
    NameTaken,
    OwnerMoved,
    OwnerStays,
    ProjectNotFound,
    TriggerMoved,
    TriggerNotFound,
)
from holdfast.studio.triggers import Trigger, decode_trigger
from tests.contract.editing import ONE, OTHER_TENANT, PEOPLE, PROJECT, SIGNUP, TWO, Desk
from tests.contract.scene import run_id
from tests.contract.stores import OpenStore
from tests.contract.test_saving import together

HOOK, TIMER = run_id(21), run_id(22)


@pytest.fixture
def desk(opened: OpenStore) -> Desk:
    """A project with people on each store in turn."""
    return Desk(opened)


def roles(desk: Desk) -> dict[str, Role]:
    return {member.subject: member.role for member in desk.projects.members(desk.of(Role.VIEWER))}


@pytest.mark.requirement("L-34")
def test_who_makes_a_project_owns_it_and_sees_it_listed(desk: Desk) -> None:
    actor = Actor(tenant=DEFAULT_TENANT, subject="vic")

    made = desk.projects.create(actor, run_id(3), "third")
    again = desk.projects.create(actor, run_id(3), "third")

    assert made == again
    assert made.role is Role.OWNER
    assert [(one.name, one.role) for one in desk.projects.list(actor)] == [
        ("first", Role.VIEWER),
        ("third", Role.OWNER),
    ]
    with pytest.raises(NameTaken):
        desk.projects.create(actor, run_id(4), "first")


@pytest.mark.requirement("promise-10")
def test_tenants_have_projects_of_the_same_id_and_name_and_see_their_own(desk: Desk) -> None:
    stranger = Actor(tenant=OTHER_TENANT, subject="olga")

    desk.projects.create(stranger, PROJECT, "first")

    assert len(desk.projects.list(stranger)) == 1
    assert len(desk.projects.members(desk.scope("olga", PROJECT, OTHER_TENANT))) == 1
    assert len(roles(desk)) == 4


@pytest.mark.requirement("L-53")
def test_each_role_may_do_what_its_row_of_the_table_says(desk: Desk) -> None:
    """One call of each action, by each role: the table and the calls agree."""
    desk.save(ONE, 0)
    drafts, triggers = Drafts(desk.opened.store), Triggers(desk.opened.store)
    number = iter(range(100, 200))
    calls: dict[Action, Callable[[Scope], object]] = {
        Action.VIEW: lambda scope: desk.resolver.resolve(scope, SIGNUP, "edit"),
        Action.EDIT: lambda scope: drafts.put(scope, run_id(next(number)), TWO, base_version=0),
        Action.SAVE: lambda scope: desk.saver.save(scope, SIGNUP, ONE, base_version=1),
        Action.MANAGE_TRIGGERS: lambda scope: triggers.put(
            scope, SIGNUP, run_id(next(number)), ManualTrigger(name=f"m{next(number)}")
        ),
        Action.PUBLISH: lambda scope: desk.saver.publish(scope, SIGNUP, 1),
        Action.MANAGE_MEMBERS: lambda scope: desk.projects.set_member(scope, "new", Role.VIEWER),
        Action.READ_AUDIT: desk.projects.audit,
        Action.DELETE_WORKFLOW: lambda scope: desk.saver.delete(scope, SIGNUP),
        Action.TRANSFER: lambda scope: desk.projects.transfer(scope, "adam"),
    }
    assert set(Action) - set(calls) == {Action.RUN}

    for action, call in calls.items():
        for role in sorted(Role, key=lambda one: may(one, action)):
            if may(role, action):
                call(desk.of(role))
            else:
                with pytest.raises(Forbidden) as caught:
                    call(desk.of(role))
                assert (caught.value.role, caught.value.action) == (role.value, action.value)


@pytest.mark.requirement("L-34")
def test_the_owner_is_neither_removed_nor_demoted(desk: Desk) -> None:
    admin = desk.of(Role.ADMIN)

    with pytest.raises(OwnerStays):
        desk.projects.remove_member(admin, "olga")
    with pytest.raises(OwnerStays):
        desk.projects.set_member(admin, "olga", Role.VIEWER)
    with pytest.raises(UsageError, match="one owner"):
        desk.projects.set_member(admin, "adam", Role.OWNER)

    assert roles(desk)["olga"] is Role.OWNER


@pytest.mark.requirement("L-34")
def test_ownership_is_handed_over_whole(desk: Desk) -> None:
    with pytest.raises(MemberNotFound):
        desk.projects.transfer(desk.of(Role.OWNER), "nobody")
    desk.projects.transfer(desk.of(Role.OWNER), "eve")

    assert (roles(desk)["eve"], roles(desk)["olga"]) == (Role.OWNER, Role.ADMIN)
    with pytest.raises(Forbidden):
        desk.projects.transfer(desk.of(Role.OWNER), "vic")


@pytest.mark.requirement("L-34")
def test_transfers_that_race_leave_one_owner(desk: Desk) -> None:
    owner = desk.of(Role.OWNER)

    answers = together(*(partial(desk.projects.transfer, owner, subject) for subject in ("adam", "eve", "vic")))

    assert [type(one) for one in answers if one is not None] in (
        [OwnerMoved] * 2,
        [OwnerMoved, Forbidden],
        [Forbidden] * 2,
        [Forbidden, OwnerMoved],
    )
    assert list(roles(desk).values()).count(Role.OWNER) == 1


def test_the_database_refuses_a_second_owner(desk: Desk) -> None:
    row = {
        "tenant": DEFAULT_TENANT,
        "project_id": PROJECT,
        "subject": "x",
        "role": "owner",
        "added_by": "x",
        "added_ms": 1,
    }

    with pytest.raises(UsageError):
        desk.opened.store.transact(None, lambda s: s.changed(MEMBERS.insert().values(row)))


@pytest.mark.requirement("L-53")
def test_who_was_removed_finds_no_project(desk: Desk) -> None:
    desk.projects.remove_member(desk.of(Role.ADMIN), "eve")

    with pytest.raises(ProjectNotFound):
        desk.try_save(ONE, 0)
    with pytest.raises(MemberNotFound):
        desk.projects.remove_member(desk.of(Role.ADMIN), "eve")


def test_every_change_is_in_the_audit_log_of_its_project(desk: Desk) -> None:
    desk.save(ONE, 0, message="first")
    desk.saver.publish(desk.of(Role.ADMIN), SIGNUP, 1)
    desk.projects.remove_member(desk.of(Role.ADMIN), "vic")

    rows = desk.projects.audit(desk.of(Role.OWNER))

    assert [(row.action, row.subject) for row in rows] == [
        ("member.removed", "adam"),
        ("release.moved", "adam"),
        ("workflow.saved", "eve"),
        ("member.set", "olga"),
        ("member.set", "olga"),
        ("member.set", "olga"),
        ("project.created", "olga"),
    ]
    assert rows[2].facts == {"version": 1, "base_version": 0, "message": "first", "is_first": True}
    assert desk.projects.audit(desk.of(Role.OWNER), before=rows[2].number, limit=1) == [rows[3]]
    assert len(desk.projects.audit(desk.elsewhere)) == 1


def test_the_audit_log_is_append_only(desk: Desk) -> None:
    with pytest.raises(UsageError):
        desk.opened.store.transact(None, lambda s: s.changed(AUDIT.update().values(subject="nobody")))


# Triggers


def test_triggers_of_every_kind_come_back_as_they_were_stored(desk: Desk) -> None:
    desk.save(ONE, 0)
    triggers, admin = Triggers(desk.opened.store), desk.of(Role.ADMIN)
    given: list[Trigger] = [
        WebhookTrigger(
            name="hook",
            path="orders/new",
            auth=(AuthMethod(kind="hmac_sha256", secret="secret:orders/hook"),),  # noqa: S106 - a reference
        ),
        ScheduleTrigger(name="daily", cron="0 9 * * 1-5", timezone="Europe/Oslo"),
        EventTrigger(name="paid", signal="order.paid", filter="payload.total > 10"),
        ManualTrigger(name="by hand", form={"type": "object"}),
    ]

    for number, trigger in enumerate(given):
        triggers.put(admin, SIGNUP, run_id(30 + number), trigger, enabled=True)

    assert [triggers.get(admin, run_id(30 + number)).trigger for number in range(4)] == given
    views = triggers.list(desk.of(Role.VIEWER), SIGNUP)
    assert [(one.kind, one.has_auth_method) for one in views] == [
        ("manual", False),
        ("schedule", False),
        ("webhook", True),
        ("event", False),
    ]


@pytest.mark.requirement("L-50")
def test_a_trigger_is_changed_at_the_revision_that_was_seen(desk: Desk) -> None:
    desk.save(ONE, 0)
    triggers, admin = Triggers(desk.opened.store), desk.of(Role.ADMIN)
    triggers.put(admin, SIGNUP, HOOK, WebhookTrigger(name="hook", path="a"))
    rivals = [
        partial(triggers.put, admin, SIGNUP, HOOK, WebhookTrigger(name="hook", path=path), revision=1) for path in "bcd"
    ]

    answers = together(*rivals)

    assert len([one for one in answers if isinstance(one, TriggerMoved)]) == 2
    with pytest.raises(TriggerMoved):
        triggers.remove(admin, HOOK, revision=1)
    triggers.remove(admin, HOOK, revision=2)
    with pytest.raises(TriggerNotFound):
        triggers.get(admin, HOOK)


def test_a_webhooks_path_is_its_own_in_the_whole_tenant(desk: Desk) -> None:
    desk.save(ONE, 0)
    triggers, admin = Triggers(desk.opened.store), desk.of(Role.ADMIN)
    triggers.put(admin, SIGNUP, HOOK, WebhookTrigger(name="hook", path="a"))
    triggers.put(admin, SIGNUP, TIMER, ScheduleTrigger(name="timer", cron="* * * * *"))

    with pytest.raises(NameTaken):
        triggers.put(admin, SIGNUP, run_id(23), WebhookTrigger(name="other", path="a"))
    with pytest.raises(NameTaken):
        triggers.put(admin, SIGNUP, TIMER, ScheduleTrigger(name="hook", cron="* * * * *"), revision=1)


SECRETS = ["hunter2", "sk_live_51H8x", "Bearer abc", "secret:", "secret:A/b", "secret:a/b/c/d/e", "secret:x y", ""]


@pytest.mark.parametrize("value", SECRETS)
def test_a_secrets_value_is_refused_and_repeated_nowhere(desk: Desk, value: str) -> None:
    desk.save(ONE, 0)
    triggers = Triggers(desk.opened.store)
    trigger = WebhookTrigger(name="hook", path="a", auth=(AuthMethod(kind="bearer", secret=value),))

    with pytest.raises(UsageError, match="by reference") as caught:
        triggers.put(desk.of(Role.ADMIN), SIGNUP, HOOK, trigger)

    assert value in {"", "secret:"} or value not in str(caught.value)
    assert desk.opened.store.transact(None, lambda s: s.rows(select(TRIGGERS.c.id))) == []


@pytest.mark.requirement("R-26")
def test_what_is_stored_names_secrets_and_tells_them_to_those_who_manage_them(desk: Desk) -> None:
    desk.save(ONE, 0)
    triggers = Triggers(desk.opened.store)
    method = AuthMethod(kind="bearer", secret="secret:signup/token")  # noqa: S106 - a reference
    triggers.put(desk.of(Role.ADMIN), SIGNUP, HOOK, WebhookTrigger(name="hook", path="a", auth=(method,)))

    with pytest.raises(Forbidden):
        triggers.get(desk.of(Role.EDITOR), HOOK)

    def all_texts(s: Statements) -> str:
        return repr([s.rows(select(table)) for table in (AUDIT, DRAFTS)])

    assert "secret:" not in desk.opened.store.transact(None, all_texts)


@pytest.mark.parametrize(
    "document",
    [
        '{"kind":"webhook","name":"h","path":"p","password":"hunter2"}',
        '{"kind":"webhook","name":"h","path":"p","auth":[{"kind":"basic","secret":"secret:a","value":"hunter2"}]}',
        '{"kind":"kafka","name":"h"}',
        '{"kind":"schedule","name":"h"}',
    ],
)
def test_a_trigger_has_no_place_for_a_secrets_value(document: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode_trigger(document)

    assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    "trigger",
    [
        EventTrigger(name="e", signal="s", filter="payload."),
        EventTrigger(name="e", signal="s", filter="'text'"),
        EventTrigger(name="e", signal="s", filter="input.x"),
        EventTrigger(name="e", signal=""),
        ScheduleTrigger(name="s", cron="daily"),
        WebhookTrigger(name="w", path=""),
        WebhookTrigger(name="", path="p"),
    ],
)
def test_a_trigger_that_cannot_work_is_refused(desk: Desk, trigger: Any) -> None:
    desk.save(ONE, 0)

    with pytest.raises(UsageError):
        Triggers(desk.opened.store).put(desk.of(Role.ADMIN), SIGNUP, HOOK, trigger)


def test_deleting_a_workflow_switches_its_triggers_off(desk: Desk) -> None:
    desk.save(ONE, 0)
    triggers, admin = Triggers(desk.opened.store), desk.of(Role.ADMIN)
    triggers.put(admin, SIGNUP, HOOK, WebhookTrigger(name="hook", path="a"), enabled=True)

    desk.saver.delete(admin, SIGNUP)

    assert not triggers.get(admin, HOOK).enabled


def test_people_are_known_by_names(desk: Desk) -> None:
    with pytest.raises(UsageError):
        desk.projects.set_member(desk.of(Role.ADMIN), "", Role.VIEWER)
    assert PEOPLE[Role.ADMIN] in roles(desk)
