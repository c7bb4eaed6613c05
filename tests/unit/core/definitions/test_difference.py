"""What two definitions do not have in common."""

from __future__ import annotations

import pytest
from hypothesis import given

from holdfast.core.definitions import Change, FieldChange, diff
from holdfast.model.definition import Definition, Edge, Options, RetryPolicy, SleepNode, StepNode, SubgraphNode
from tests.unit.core.definitions.documents import SEEDS, changed, definition_of

BEFORE = Definition(
    workflow="w",
    nodes=(
        StepNode(key="a", handler="h", retry=RetryPolicy(max_attempts=5)),
        StepNode(key="b", handler="h"),
        SubgraphNode(key="s", nodes=(SleepNode(key="x", duration_ms=1),)),
    ),
    edges=(Edge(source="a", target="b"), Edge(source="b", target="s")),
)
AFTER = Definition(
    workflow="w",
    nodes=(
        StepNode(key="a", handler="h", retry=RetryPolicy(max_attempts=2)),
        StepNode(key="c", handler="h"),
        SubgraphNode(key="s", nodes=(SleepNode(key="x", duration_ms=2),)),
    ),
    edges=(Edge(source="a", target="c"), Edge(source="c", target="s", condition="always")),
    options=Options(queue="slow"),
)


@pytest.mark.requirement("C-57", "L-26")
def test_nodes_and_edges_are_matched_by_their_keys() -> None:
    difference = diff(BEFORE, AFTER)

    assert difference.nodes_added == ["c"]
    assert difference.nodes_removed == ["b"]
    assert difference.nodes_changed == [
        Change("a", [FieldChange("retry.max_attempts", 5, 2)]),
        Change("s/x", [FieldChange("duration_ms", 1, 2)]),
    ]
    assert difference.edges_added == ["a -> c", "c -> s"]
    assert difference.edges_removed == ["a -> b", "b -> s"]
    assert difference.options_changed == [FieldChange("options.queue", None, "slow")]


def test_an_edge_whose_condition_changed_is_one_change() -> None:
    on_failure = Definition(
        workflow="w", nodes=BEFORE.nodes, edges=(Edge(source="a", target="b", condition="on_failure"),)
    )
    plain = Definition(workflow="w", nodes=BEFORE.nodes, edges=(Edge(source="a", target="b"),))

    assert diff(plain, on_failure).edges_changed == [Change("a -> b", [FieldChange("condition", None, "on_failure")])]


def test_lines_tell_people_what_is_new_gone_and_changed() -> None:
    assert diff(BEFORE, AFTER).lines() == [
        '~ options.queue: null -> "slow"',
        "+ node c",
        "- node b",
        "~ node a",
        "    retry.max_attempts: 5 -> 2",
        "~ node s/x",
        "    duration_ms: 1 -> 2",
        "+ edge a -> c",
        "+ edge c -> s",
        "- edge a -> b",
        "- edge b -> s",
    ]


@given(SEEDS)
def test_a_definition_does_not_differ_from_itself(seed: int) -> None:
    definition = definition_of(seed)

    assert not diff(definition, definition)
    assert diff(definition, definition).lines() == []


@given(SEEDS)
def test_the_difference_backwards_swaps_what_is_new_and_gone(seed: int) -> None:
    one = definition_of(seed)
    two = changed(one, seed)

    there, back = diff(one, two), diff(two, one)

    assert there.nodes_added == back.nodes_removed
    assert there.edges_added == back.edges_removed
    assert [change.what for change in there.nodes_changed] == [change.what for change in back.nodes_changed]
