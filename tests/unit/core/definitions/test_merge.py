"""Three definitions into one, by stable keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from holdfast.core.definitions import DefinitionError, MergeConflict, Tidied, content_hash, merge, tidy, to_plain
from holdfast.model.definition import (
    Branch,
    Computed,
    Definition,
    Edge,
    Node,
    Options,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from tests.unit.core.definitions.documents import SEEDS, changed, definition_of


def graph(*nodes: Node, edges: tuple[Edge, ...] = (), **options: Any) -> Definition:
    return Definition(workflow="w", nodes=nodes, edges=edges, options=Options(**options))


def step(key: str, handler: str = "h", **given_: Any) -> StepNode:
    return StepNode(key=key, handler=handler, **given_)


A, B, C = step("a"), step("b"), step("c")
AB, BC = Edge(source="a", target="b"), Edge(source="b", target="c")
BASE = graph(A, B, edges=(AB,))


def same(one: Definition, other: Definition) -> bool:
    return content_hash(one) == content_hash(other)


# Properties


def sides_of(seed: int) -> tuple[Definition, Definition, Definition]:
    """A definition and what two people made of it, in one to three changes each."""
    base = definition_of(seed)
    theirs, mine = changed(base, seed + 1), changed(base, seed + 2)
    for number in range(seed % 3):
        if theirs.nodes:
            theirs = changed(theirs, seed + 10 + number)
        if mine.nodes:
            mine = changed(mine, seed + 20 + number)
    if seed % 2:
        theirs, mine = tidy(theirs).definition, tidy(mine).definition
    return base, theirs, mine


@pytest.mark.requirement("L-50")
@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_what_only_one_side_changed_is_taken_from_it(seed: int) -> None:
    base, other, _ = sides_of(seed)

    theirs, mine = merge(base, other, base), merge(base, base, other)

    assert same(theirs.definition, other)
    assert same(mine.definition, other)
    assert theirs.is_clean
    assert mine.is_clean
    assert not mine.incoming


@pytest.mark.requirement("L-50")
@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_what_both_sides_changed_alike_is_taken_once(seed: int) -> None:
    base, other, _ = sides_of(seed)

    merged = merge(base, other, other)

    assert same(merged.definition, other)
    assert merged.is_clean


@pytest.mark.requirement("L-50")
@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_both_sides_see_the_same_conflicts_from_their_side(seed: int) -> None:
    base, theirs, mine = sides_of(seed)

    ours, other = merge(base, theirs, mine), merge(base, mine, theirs)

    turned = [MergeConflict(one.what, one.field, one.base, one.mine, one.theirs) for one in other.conflicts]
    assert ours.conflicts == turned
    if not ours.conflicts:
        assert same(ours.definition, other.definition)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_merging_again_brings_nothing_new(seed: int) -> None:
    base, theirs, mine = sides_of(seed)
    merged = merge(base, theirs, mine)
    if merged.conflicts:
        return

    again = merge(theirs, theirs, merged.definition)

    assert same(again.definition, merged.definition)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_no_edge_of_a_merged_graph_leads_nowhere(seed: int) -> None:
    base, theirs, mine = sides_of(seed)
    theirs, mine = tidy(theirs).definition, tidy(mine).definition

    merged = merge(base, theirs, mine).definition

    assert tidy(merged).dropped == []


def test_tidying_drops_edges_that_lead_nowhere_and_nothing_else() -> None:
    inner = SubgraphNode(key="s", nodes=(A,), edges=(AB,))

    tidied = tidy(graph(A, B, inner, edges=(AB, BC)))

    assert tidied.dropped == ["b -> c", "s/a -> s/b"]
    assert tidied.definition == graph(A, B, SubgraphNode(key="s", nodes=(A,)), edges=(AB,))
    assert tidy(BASE) == Tidied(BASE, [])


# Cases


@pytest.mark.requirement("L-50")
def test_changes_in_different_nodes_and_fields_come_together() -> None:
    theirs = graph(step("a", timeout_ms=5), B, C, edges=(AB, BC))
    mine = graph(step("a", retry=RetryPolicy(max_attempts=7)), edges=(), queue="slow")

    merged = merge(BASE, theirs, mine)

    # Mine removed b, to which theirs leads an edge: only that is for a person to say.
    assert [conflict.what for conflict in merged.conflicts] == ["b -> c"]
    assert merged.definition.nodes == (step("a", timeout_ms=5, retry=RetryPolicy(max_attempts=7)), C)
    assert merged.definition.options == Options(queue="slow")
    assert merged.incoming.nodes_added == ["c"]


@pytest.mark.requirement("L-50")
def test_a_field_that_both_changed_is_a_conflict_and_stays_mine() -> None:
    theirs, mine = graph(step("a", handler="x"), B, edges=(AB,)), graph(step("a", handler="y"), B, edges=(AB,))

    merged = merge(BASE, theirs, mine)

    assert merged.conflicts == [MergeConflict("a", "handler", "h", "x", "y")]
    assert merged.definition == mine
    assert not merged.is_clean


def test_a_node_that_one_side_removed_and_the_other_changed_is_a_conflict() -> None:
    theirs, mine = graph(A), graph(A, step("b", handler="y"), edges=(AB,))

    merged = merge(BASE, theirs, mine)

    assert merged.conflicts == [MergeConflict("b", "", to_plain(B), None, to_plain(step("b", handler="y")))]
    assert same(merged.definition, mine)


def test_a_node_that_both_added_differently_conflicts_by_its_fields() -> None:
    theirs, mine = graph(A, B, step("n", timeout_ms=1)), graph(A, B, step("n", timeout_ms=2, queue="q"))

    merged = merge(graph(A, B), theirs, mine)

    assert merged.conflicts == [MergeConflict("n", "timeout_ms", None, 1, 2)]


def test_a_node_that_became_two_different_kinds_is_one_conflict() -> None:
    theirs = graph(SleepNode(key="a", duration_ms=1), B, edges=(AB,))
    mine = graph(step("a", handler="y"), B, edges=(AB,))

    [conflict] = merge(BASE, theirs, mine).conflicts

    assert (conflict.what, conflict.field) == ("a", "")


def test_branches_and_parameters_are_merged_by_their_names() -> None:
    one, two = Branch(handler="one"), Branch(handler="two")
    base = graph(ParallelNode(key="p", branches={"x": one, "y": two}))
    theirs = graph(ParallelNode(key="p", branches={"x": Branch(handler="one", input={"n": "1"}), "y": two, "z": one}))
    mine = graph(ParallelNode(key="p", branches={"x": Branch(handler="one", input={"m": "2"})}))

    merged = merge(base, theirs, mine)

    assert merged.is_clean
    expected = {"x": Branch(handler="one", input={"n": "1", "m": "2"}), "z": one}
    assert same(merged.definition, graph(ParallelNode(key="p", branches=expected)))


def test_a_computed_value_is_never_put_together_from_two_halves() -> None:
    branches = {"x": Branch(handler="h")}

    def route(selector: Computed) -> Definition:
        return graph(RouteNode(key="r", branches=branches, selector=selector))

    merged = merge(
        route(Computed(expression="input.a")), route(Computed(handler="choose")), route(Computed(expression="input.b"))
    )

    assert [conflict.field for conflict in merged.conflicts] == ["selector"]
    assert same(merged.definition, route(Computed(expression="input.b")))


def test_subgraphs_are_merged_inside() -> None:
    def outer(*nodes: Node, edges: tuple[Edge, ...] = ()) -> Definition:
        return graph(SubgraphNode(key="s", nodes=nodes, edges=edges))

    merged = merge(outer(A, B), outer(step("a", handler="x"), B, C), outer(step("a", handler="y"), B, edges=(AB,)))

    assert [(one.what, one.field) for one in merged.conflicts] == [("s/a", "handler")]
    assert same(merged.definition, outer(step("a", handler="y"), B, C, edges=(AB,)))


def test_changes_that_fit_field_by_field_but_make_no_sense_are_problems() -> None:
    base = graph(A, B, C)

    merged = merge(base, graph(A, B, C, edges=(AB,)), graph(A, B, C, edges=(Edge(source="b", target="a"),)))

    assert not merged.conflicts
    assert "cycle" in {problem.code for problem in merged.problems}
    assert not merged.is_clean


def test_two_nodes_of_one_key_cannot_be_merged() -> None:
    with pytest.raises(DefinitionError, match="same key"):
        merge(BASE, graph(A, A), BASE)
