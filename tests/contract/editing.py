"""A project with people of every role, on a store: where the tests of the editor's side begin."""

from __future__ import annotations

from typing import Any

from holdfast.model.definition import Definition, Edge, Node, StepNode
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.studio import Actor, Existing, Projects, Resolver, Role, Saved, Saver, SaveRefused, Scope
from tests.contract.scene import run_id
from tests.contract.stores import OpenStore

OTHER_TENANT = Tenant("other")
PROJECT, OTHER_PROJECT = run_id(1), run_id(2)
SIGNUP = run_id(11)
PEOPLE = {Role.OWNER: "olga", Role.ADMIN: "adam", Role.EDITOR: "eve", Role.VIEWER: "vic"}


def step(key: str, handler: str = "h", **given: Any) -> StepNode:
    """A node that calls a handler."""
    return StepNode(key=key, handler=handler, **given)


def graph(*nodes: Node, edges: tuple[Edge, ...] = (), name: str = "signup") -> Definition:
    """A graph of these nodes."""
    return Definition(workflow=name, nodes=nodes, edges=edges)


ONE, TWO, THREE = graph(step("a")), graph(step("a"), step("b")), graph(step("a"), step("c"))


class Desk:
    """A store with two projects, the first of which has a member of every role."""

    def __init__(self, opened: OpenStore) -> None:
        self.opened = opened
        self.projects = Projects(opened.store)
        self.resolver = Resolver(opened.store)
        self.saver = Saver(opened.store)
        owner = Actor(tenant=DEFAULT_TENANT, subject=PEOPLE[Role.OWNER])
        self.projects.create(owner, PROJECT, "first")
        self.projects.create(owner, OTHER_PROJECT, "second")
        for role, subject in PEOPLE.items():
            if role is not Role.OWNER:
                self.projects.set_member(self.of(Role.OWNER), subject, role)

    def of(self, role: Role) -> Scope:
        """The scope of the member of that role."""
        return self.scope(PEOPLE[role])

    def scope(self, subject: str = "eve", project_id: str = PROJECT, tenant: Tenant = DEFAULT_TENANT) -> Scope:
        """A scope; an editor's in the first project unless told otherwise."""
        return Scope(tenant=tenant, subject=subject, project_id=project_id)

    @property
    def elsewhere(self) -> Scope:
        """The scope of the owner of the other project."""
        return self.scope("olga", OTHER_PROJECT)

    @property
    def base(self) -> int:
        """What a session that opens the workflow now has to name when it saves."""
        resolved = self.resolver.resolve(self.scope(), SIGNUP, "edit")
        assert isinstance(resolved, Existing)
        return resolved.base_version

    def try_save(self, definition: Definition, base: int, *, by: Role = Role.EDITOR, **given: Any) -> Any:
        """What a save answers."""
        return self.saver.save(self.of(by), given.pop("id", SIGNUP), definition, base_version=base, **given)

    def save(self, definition: Definition, base: int, *, by: Role = Role.EDITOR, **given: Any) -> Saved:
        """Save, and see it done."""
        answer: Saved | SaveRefused = self.try_save(definition, base, by=by, **given)
        assert isinstance(answer, Saved), answer
        return answer
