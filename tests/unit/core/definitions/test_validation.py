"""Everything that is wrong with a definition is reported, at once, with node and reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from holdfast.core.definitions import DefinitionError, Problem, content_hash, names_needed, validate
from holdfast.model.definition import (
    ApproveNode,
    Branch,
    ChildNode,
    Computed,
    Definition,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from tests.unit.core.definitions.documents import SEEDS, definition_of, nasty_definition_of

WAYS = {"x": Branch(handler="h")}
TRUE = Computed(expression="true")


def step(key: str, **fields: Any) -> StepNode:
    return StepNode(key=key, handler="h", **fields)


def edges(*pairs: str) -> tuple[Edge, ...]:
    """``edges("ab", "bc")``"""
    return tuple(Edge(source=pair[0], target=pair[1]) for pair in pairs)


def problems(nodes: Sequence[Node], links: Sequence[Edge] = (), **fields: Any) -> list[tuple[str, str]]:
    found = validate(Definition(workflow="w", nodes=tuple(nodes), edges=tuple(links), **fields))
    return [(problem.node, problem.code) for problem in found]


def only_problem(node: Node) -> Problem:
    [problem] = validate(Definition(workflow="w", nodes=(node,)))
    return problem


@given(SEEDS)
def test_a_definition_that_is_right_has_no_problems(seed: int) -> None:
    assert validate(definition_of(seed)) == []


@pytest.mark.requirement("C-21")
@given(SEEDS)
def test_validation_never_raises_whatever_a_definition_holds(seed: int) -> None:
    found = validate(nasty_definition_of(seed))

    assert found == sorted(found)
    assert all(problem.code and problem.reason and str(problem) for problem in found)


@given(SEEDS)
def test_a_definition_without_problems_can_be_stored(seed: int) -> None:
    definition = nasty_definition_of(seed)
    try:
        content_hash(definition)
    except DefinitionError:
        assert validate(definition)


@pytest.mark.requirement("S-14", "C-21", "R-25")
def test_all_problems_are_reported_at_once() -> None:
    nodes = (
        step("a", when="1 +"),
        step("a"),
        LoopNode(key="l", handler="h", max_iterations=0),
        RouteNode(key="r", selector=TRUE, branches={}),
        step("b"),
        step("c"),
    )
    links = (
        *edges("bc", "cb"),
        Edge(source="gone", target="l"),
        Edge(source="r", target="gone", condition="result.x +"),
    )

    assert problems(nodes, links) == [
        ("a", "bad_expression"),
        ("a", "duplicate_key"),
        ("b", "cycle"),
        ("l", "not_one_of"),
        ("l", "out_of_range"),
        ("l", "unknown_node"),
        ("r", "bad_expression"),
        ("r", "bad_expression"),
        ("r", "no_branches"),
        ("r", "unknown_node"),
    ]


@pytest.mark.requirement("S-14", "C-06")
def test_an_empty_graph_is_refused_and_so_is_an_empty_subgraph() -> None:
    assert problems(()) == [("", "empty_graph")]
    assert problems([SubgraphNode(key="s")]) == [("s", "empty_graph")]


# Structure


@pytest.mark.requirement("B-20")
def test_a_cycle_is_reported_once_with_its_path() -> None:
    nodes = [step(key) for key in "abcde"]

    found = validate(Definition(workflow="w", nodes=tuple(nodes), edges=edges("ab", "bc", "cd", "db", "de", "ce")))

    assert found == [
        Problem("b", "cycle", "it follows itself: 'b' -> 'c' -> 'd' -> 'b'"),
    ]


@pytest.mark.requirement("B-20", "L-28")
def test_a_node_that_follows_itself_is_a_cycle() -> None:
    assert only_reason(problems_of([step("a")], edges("aa"))) == "it follows itself: 'a' -> 'a'"


def problems_of(nodes: Sequence[Node], links: Sequence[Edge] = ()) -> list[Problem]:
    return validate(Definition(workflow="w", nodes=tuple(nodes), edges=tuple(links)))


def only_reason(found: list[Problem]) -> str:
    [problem] = found
    return problem.reason


def test_what_comes_only_after_a_cycle_without_beginning_is_unreachable() -> None:
    nodes = [step(key) for key in "abcd"]

    assert problems(nodes, edges("ab", "ba", "bc")) == [("a", "cycle"), ("c", "unreachable")]


@pytest.mark.requirement("S-31", "C-22")
def test_a_timeout_edge_of_a_node_that_has_no_timeout_is_never_taken_and_leads_nowhere() -> None:
    links = (Edge(source="s", target="late", condition="on_timeout"), Edge(source="late", target="end"))

    for waits in (SignalNode(key="s", signal="x"), step("s", timeout_ms=5)):
        assert problems([waits, step("late"), step("end")], links) == [
            ("end", "unreachable"),
            ("late", "unreachable"),
            ("s", "never_taken"),
        ]
    assert problems([SignalNode(key="s", signal="x", timeout_ms=5), step("late"), step("end")], links) == []


@pytest.mark.requirement("L-28")
def test_there_is_one_edge_from_a_node_to_another_and_both_exist() -> None:
    twice = (Edge(source="a", target="b"), Edge(source="a", target="b", condition="always"))
    lost = (Edge(source="x", target="b"), Edge(source="b", target="y"))

    assert problems([step("a"), step("b")], twice) == [("a", "duplicate_edge")]
    assert [problem.reason for problem in problems_of([step("a"), step("b")], (*edges("ab"), *lost))] == [
        "it comes after 'x', which is no node here",
        "its edge leads to 'y', which is no node here",
    ]


def test_a_label_is_short_and_printable() -> None:
    nodes = [step("a"), step("b")]

    assert problems(nodes, [Edge(source="a", target="b", label="x" * 501)]) == [("a", "bad_label")]
    assert problems(nodes, [Edge(source="a", target="b", label="\0")]) == [("a", "bad_label")]


# Expressions


@pytest.mark.requirement("B-23")
@pytest.mark.parametrize(
    ("reader", "reads"),
    [
        (step("c", input={"x": "results.b.rows"}), "input 'x'"),
        (step("c", when="results.b.ok"), "when"),
        (MapNode(key="c", handler="h", over="results['b']"), "over"),
        (SleepNode(key="c", duration_ms=Computed(expression="results.b + 1")), "the duration"),
        (RouteNode(key="c", selector=Computed(expression="results.b"), branches=WAYS), "the selector"),
        (LoopNode(key="c", handler="h", until=Computed(expression="results.b && iteration > 3")), "until"),
        (ParallelNode(key="c", branches={"x": Branch(handler="h", input={"y": "results.b"})}), "branch 'x': input 'y'"),
        (ChildNode(key="c", workflow="v", input={"x": "[results.b]"}), "input 'x'"),
        (SubgraphNode(key="c", nodes=(step("i"),), input={"x": "size(results.b)"}), "input 'x'"),
    ],
)
def test_an_expression_reads_only_results_of_nodes_that_come_before(reader: Node, reads: str) -> None:
    nodes = [step("a"), step("b"), reader, step("d")]

    assert problems_of(nodes, edges("ac", "cd")) == [
        Problem("c", "not_a_dependency", f"{reads} reads the result of 'b', which it does not come after")
    ]
    assert problems_of(nodes, edges("bc", "cd")) == []
    assert problems_of(nodes, edges("ba", "ac")) == []
    assert [problem.code for problem in problems_of(nodes, edges("cd", "cb"))] == ["not_a_dependency"]


@pytest.mark.requirement("B-23")
def test_an_edge_may_read_its_source_and_what_comes_before_it() -> None:
    nodes = [step(key) for key in "abcd"]

    def found(condition: str) -> list[tuple[str, str]]:
        return problems(nodes, [*edges("ab", "cd"), Edge(source="b", target="c", condition=condition)])

    assert found("result.x && results.b.x == results.a.x") == []
    assert found("results.d.x") == [("b", "not_a_dependency")]
    assert found("results.c.x") == [("b", "not_a_dependency")]
    assert found("results.gone.x") == [("b", "unknown_node")]


def test_a_result_that_only_the_run_can_name_is_left_to_the_run() -> None:
    assert problems([step("a"), step("b", input={"x": "results[input.key]"})]) == []


@pytest.mark.requirement("B-23", "O-03")
def test_a_subgraph_sees_its_own_nodes_only() -> None:
    inner = SubgraphNode(key="s", nodes=(step("i", input={"x": "results.a"}),))

    assert problems([step("a"), inner], edges("as")) == [("s/i", "unknown_node")]


@pytest.mark.parametrize(
    "node",
    [
        step("a", when="result"),
        step("a", when="item"),
        step("a", input={"x": "iteration"}),
        MapNode(key="a", handler="h", over="item"),
        MapNode(key="a", handler="h", over="input", input={"x": "result"}),
        LoopNode(key="a", handler="h", until=TRUE, input={"x": "item"}),
    ],
)
def test_a_variable_is_known_only_where_it_has_a_value(node: Node) -> None:
    assert only_problem(node).code == "unknown_variable"


@pytest.mark.parametrize(
    "node",
    [
        MapNode(key="a", handler="h", over="input", input={"x": "item", "y": "index"}),
        LoopNode(key="a", handler="h", condition=Computed(expression="iteration < 3"), input={"x": "result"}),
    ],
)
def test_loops_and_maps_see_what_they_are_at(node: Node) -> None:
    assert problems([node]) == []


@pytest.mark.requirement("C-21")
@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (step("a", when="1"), "when answers int, where bool is needed"),
        (step("a", when="input.x ="), "when is no expression"),
        (step("a", when="size(1)"), "when cannot work"),
        (step("a", when="upper_case(input)"), "when cannot work"),
        (MapNode(key="a", handler="h", over="{}"), "over answers map, where list is needed"),
        (SleepNode(key="a", duration_ms=Computed(expression="'1'")), "the duration answers string"),
        (RouteNode(key="a", selector=Computed(expression="true"), branches=WAYS), "the selector answers bool"),
        (SignalNode(key="a", signal=Computed(expression="[]")), "the signal answers list, where string"),
        (LoopNode(key="a", handler="h", until=Computed(expression="null")), "until answers null"),
        (step("a", input={"x": "results" * 1000}), "input 'x' is no expression"),
    ],
)
def test_an_expression_that_could_never_work_is_refused(node: Node, reason: str) -> None:
    problem = only_problem(node)

    assert problem.code == "bad_expression"
    assert problem.reason.startswith(reason)


# Nodes


@pytest.mark.requirement("S-14", "C-21")
@pytest.mark.parametrize("key", ["", "\0", "a\n", "\ud800", "a/b", "a#2", "a~b", "a[0]", "x" * 151, "x" * 201])
def test_a_key_is_printable_short_and_free_of_what_journal_keys_are_built_with(key: str) -> None:
    assert only_problem(step(key)).code == "bad_key"
    assert only_problem(ParallelNode(key="a", branches={key: Branch(handler="h")})).code == "bad_key"


def test_keys_that_are_nested_are_short_together() -> None:
    node: Node = step("x" * 50)
    for _ in range(3):
        node = SubgraphNode(key="y" * 40, nodes=(node,))

    assert problems([node]) == [("/".join(["y" * 40] * 3 + ["x" * 50]), "bad_key")]


def test_subgraphs_are_nested_eight_deep_at_most() -> None:
    node: Node = step("x")
    for _ in range(1000):
        node = SubgraphNode(key="s", nodes=(node,))

    assert problems([node]) == [("s/" * 8 + "s", "too_deep")]


@pytest.mark.requirement("S-14", "C-21")
@pytest.mark.parametrize(
    "node",
    [
        StepNode(key="a", handler=""),
        step("a", queue=""),
        step("a", compensate="\n"),
        step("a", retry=RetryPolicy(non_retryable=("",))),
        SignalNode(key="a", signal=""),
        SignalNode(key="a", signal=Computed(handler="")),
        ChildNode(key="a", workflow=""),
        ChildNode(key="a", workflow="w", queue="\t"),
        ApproveNode(key="a", by=("",)),
        ParallelNode(key="a", branches={"x": Branch(handler="", queue="q")}),
        ParallelNode(key="a", branches={"x": Branch(handler="h", compensate="")}),
    ],
)
def test_every_name_is_checked(node: Node) -> None:
    assert only_problem(node).code == "bad_name"


def test_the_names_of_the_graph_itself_are_checked() -> None:
    definition = Definition(workflow="", nodes=(step("a"),), options=Options(queue="\0", timeout_ms=-1))

    assert [(problem.node, problem.code) for problem in validate(definition)] == [
        ("", "bad_name"),
        ("", "bad_name"),
        ("", "out_of_range"),
    ]


@pytest.mark.requirement("C-21", "fault-65", "C-22")
@pytest.mark.parametrize(
    "node",
    [
        LoopNode(key="a", handler="h", until=TRUE, max_iterations=0),
        MapNode(key="a", handler="h", over="input", concurrency=0),
        MapNode(key="a", handler="h", over="input", tolerate=-0.1),
        MapNode(key="a", handler="h", over="input", tolerate=float("nan")),
        MapNode(key="a", handler="h", over="input", tolerate=float("inf")),
        SleepNode(key="a", duration_ms=-1),
        SleepNode(key="a", duration_ms=10**18),
        SignalNode(key="a", signal="s", timeout_ms=-1),
        ChildNode(key="a", workflow="w", timeout_ms=0),
        ChildNode(key="a", workflow="w", priority=1001),
        step("a", timeout_ms=0),
        step("a", retry=RetryPolicy(max_attempts=0)),
        step("a", retry=RetryPolicy(initial_ms=-1)),
        step("a", retry=RetryPolicy(initial_ms=2, max_delay_ms=1)),
        step("a", retry=RetryPolicy(max_delay_ms=10**18)),
        step("a", retry=RetryPolicy(factor=0.5)),
        step("a", retry=RetryPolicy(factor=float("nan"))),
        step("a", retry=RetryPolicy(jitter=1.1)),
        ParallelNode(key="a", branches={"x": Branch(handler="h", timeout_ms=-5)}),
    ],
)
def test_numbers_out_of_range_are_refused(node: Node) -> None:
    assert only_problem(node).code == "out_of_range"


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (ParallelNode(key="a", branches={}), "no_branches"),
        (RouteNode(key="a", selector=Computed(handler="h"), branches=WAYS, default="y"), "unknown_branch"),
        (RouteNode(key="a", selector=Computed(), branches=WAYS), "not_one_of"),
        (SleepNode(key="a", duration_ms=Computed(handler="h", expression="1")), "not_one_of"),
        (LoopNode(key="a", handler="h"), "not_one_of"),
        (LoopNode(key="a", handler="h", until=TRUE, condition=TRUE), "not_one_of"),
        (step("a", input={"no name": "input"}), "bad_parameter"),
        (ApproveNode(key="a", form={"x": float("nan")}), "bad_form"),
        (ApproveNode(key="a", escalate_after_ms=5), "half_escalation"),
        (ApproveNode(key="a", escalate_to=("ann",)), "half_escalation"),
    ],
)
def test_a_node_must_say_what_it_needs(node: Node, code: str) -> None:
    assert only_problem(node).code == code


@pytest.mark.requirement("S-36")
@pytest.mark.parametrize(
    "node",
    [
        ParallelNode(key="a", compensate="u", branches=WAYS),
        RouteNode(key="a", compensate="u", branches=WAYS, selector=Computed(handler="h")),
        SleepNode(key="a", compensate="u", duration_ms=1),
        SignalNode(key="a", compensate="u", signal="s"),
        ChildNode(key="a", compensate="u", workflow="w"),
        ApproveNode(key="a", compensate="u"),
        SubgraphNode(key="a", compensate="u", nodes=(step("i"),)),
        GraftNode(key="a", compensate="u", handler="h"),
    ],
)
def test_only_what_calls_one_handler_can_be_undone(node: Node) -> None:
    assert only_problem(node).code == "no_compensation"


@pytest.mark.requirement("S-36")
def test_steps_iterations_items_and_branches_can_be_undone() -> None:
    undone: dict[str, Any] = {"handler": "h", "compensate": "u"}
    nodes: list[Node] = [
        StepNode(key="a", **undone),
        LoopNode(key="b", **undone, until=TRUE),
        MapNode(key="c", **undone, over="input"),
        ParallelNode(key="d", branches={"x": Branch(**undone)}),
    ]

    assert problems(nodes) == []


# Names and size


@pytest.mark.requirement("C-04")
def test_the_names_that_a_program_must_know_are_listed() -> None:
    nodes: tuple[Node, ...] = (
        StepNode(key="a", handler="a", compensate="undo a"),
        ParallelNode(key="b", branches={"x": Branch(handler="b", compensate="undo b")}),
        RouteNode(key="c", selector=Computed(handler="select"), branches={"x": Branch(handler="c")}),
        LoopNode(key="d", handler="d", until=Computed(handler="until")),
        LoopNode(key="e", handler="e", condition=Computed(expression="true")),
        SleepNode(key="f", duration_ms=Computed(handler="f")),
        SignalNode(key="g", signal=Computed(handler="g")),
        SubgraphNode(key="h", nodes=(ChildNode(key="i", workflow="child"), GraftNode(key="j", handler="j"))),
        ApproveNode(key="k"),
    )

    needs = names_needed(Definition(workflow="w", nodes=nodes))

    assert needs.handlers == {"a", "undo a", "b", "undo b", "select", "c", "d", "until", "e", "f", "g", "j"}
    assert needs.workflows == {"child"}


def test_thousands_of_nodes_that_read_the_first_and_the_previous_one_are_looked_at() -> None:
    keys = [f"k{number}" for number in range(3000)]
    nodes = [step(keys[0]), *(step(two, when=f"results.k0.x && results.{one}.y") for one, two in pairwise(keys))]
    links = [Edge(source=one, target=two) for one, two in pairwise(keys)]

    assert problems(nodes, links) == []
    assert problems(nodes, links[:-1]) == [(keys[-1], "not_a_dependency")] * 2
