"""Importing over what is there: nodes are matched by their keys."""

from __future__ import annotations

from itertools import pairwise

import pytest

from holdfast.model.definition import Definition, Edge, Node, StepNode
from holdfast.studio import ALLOWED, Action, Role, may, plan_import


def step(key: str, handler: str = "h") -> StepNode:
    return StepNode(key=key, handler=handler)


def graph(*nodes: Node, edges: tuple[Edge, ...] = (), name: str = "w") -> Definition:
    return Definition(workflow=name, nodes=nodes, edges=edges)


CURRENT = graph(step("load", "fetch"), step("send", "mail"), edges=(Edge(source="load", target="send"),))


@pytest.mark.requirement("L-56")
def test_an_import_is_matched_by_key_whatever_its_order_and_name() -> None:
    imported = graph(step("send", "mail_v2"), step("load", "fetch"), edges=CURRENT.edges, name="generated")

    plan = plan_import(CURRENT, imported)

    assert plan.definition.workflow == "w"
    assert plan.kept == ["load", "send"]
    assert [change.what for change in plan.difference.nodes_changed] == ["send"]
    assert (plan.difference.nodes_added, plan.difference.nodes_removed, plan.renamed) == ([], [], {})
    assert plan.problems == []


@pytest.mark.requirement("L-56")
def test_the_same_text_imported_again_changes_nothing() -> None:
    assert not plan_import(CURRENT, CURRENT).difference


@pytest.mark.requirement("L-56")
def test_a_node_under_a_new_key_is_named_as_a_rename_and_keeps_its_key_if_asked() -> None:
    imported = graph(step("step_1", "fetch"), step("step_2", "mail"), edges=(Edge(source="step_1", target="step_2"),))

    plan = plan_import(CURRENT, imported)
    kept = plan_import(CURRENT, imported, keep_keys=plan.renamed)

    assert plan.renamed == {"load": "step_1", "send": "step_2"}
    assert kept.definition == CURRENT
    assert not kept.difference


def test_nodes_that_could_be_either_are_no_renames() -> None:
    current, imported = graph(step("a"), step("b")), graph(step("x"), step("y"))

    assert plan_import(current, imported).renamed == {}
    assert plan_import(graph(step("a")), imported).renamed == {}
    assert plan_import(current, graph(step("x"))).renamed == {}


def test_an_import_that_cannot_be_saved_tells_why() -> None:
    plan = plan_import(CURRENT, graph(step("load"), edges=(Edge(source="load", target="gone"),)))

    assert [problem.code for problem in plan.problems] == ["unknown_node"]


@pytest.mark.requirement("L-53")
def test_each_role_may_all_that_the_one_below_it_may() -> None:
    ladder = [Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER]

    assert list(ALLOWED) == ladder == list(Role)
    for lower, higher in pairwise(ladder):
        assert ALLOWED[lower] < ALLOWED[higher]
    assert {action for action in Action if may(Role.OWNER, action)} == set(Action)
