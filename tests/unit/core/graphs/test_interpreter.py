"""The interpreter: what begins when. Compared with the reference on random graphs, and its work counted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.expressions import Expression, ExpressionError, parse
from holdfast.core.graphs import Cancelled, Completed, Failed, Interpreter, NodePlan, Outcome, Plan, TimedOut
from holdfast.model.definition import Edge, MapNode, Node, StepNode
from tests.graph_reference import RefEdge, RefNode, comes_before, what_must_happen
from tests.graph_strategies import definition_edges, definition_nodes, graphs

ENDS: dict[str, Callable[[str], Outcome]] = {
    "done": Completed,
    "failed": lambda key: Failed(ValueError(key)),
    "timed_out": lambda key: TimedOut(TimeoutError(key)),
    "cancelled": lambda key: Cancelled(InterruptedError(key)),
}


def step(key: str, **said: Any) -> StepNode:
    return StepNode(key=key, handler="h", **said)


def walk(
    plan: Plan, end: Callable[[NodePlan], Outcome], *, pick: Callable[[int], int] = lambda _count: 0
) -> Interpreter:
    """Let all nodes that begin end, one by one, in the order that ``pick`` says."""
    interpreter = Interpreter(plan, input={})
    under_way = interpreter.begin()
    while under_way and interpreter.failed is None:
        node = under_way.pop(pick(len(under_way)))
        under_way += interpreter.ended(node.key, end(node))
    return interpreter


def state_of(interpreter: Interpreter, node: RefNode) -> str:
    key = node.key
    if key in interpreter.skipped:
        return "skipped"
    failure = interpreter.failures.get(key)
    if failure is not None:
        return {Failed: "failed", TimedOut: "timed_out", Cancelled: "cancelled"}[type(failure)]
    if key in interpreter.results:
        return "passed" if interpreter.results[key] is None else "done"
    return "undecided"


FIELDS = [
    "input",
    "input.order.id",
    "input.order.none.id",
    "input.list.id",
    "input['order']",
    "results.a",
    "results.a.rows",
    "results['a'].rows.count",
    "results.b",
    "results",
    "run.id",
    "item",
    "item.x",
    "nobody.home",
    "input.order.id + 1",
]


@pytest.mark.parametrize("source", FIELDS)
def test_what_is_only_named_is_what_its_evaluation_answers(source: str) -> None:
    values = {"order": {"id": 7}, "list": [1]}
    nodes = [step("a"), step("b", when="false"), step("c", input={"x": source})]
    plan = Plan(nodes, [Edge(source="a", target="c"), Edge(source="b", target="c")])
    interpreter = Interpreter(plan, input=values, run={"id": "r"})
    interpreter.begin()
    interpreter.ended("a", Completed({"rows": {"count": 3}}))
    results = {"a": {"rows": {"count": 3}}, "b": None}
    extra = {"item": {"x": 1}}

    try:
        expected = parse(source).evaluate({"input": values, "results": results, "run": {"id": "r"}, **extra})
    except ExpressionError as error:
        with pytest.raises(type(error)):
            interpreter.mapping(plan["c"], extra=extra)
    else:
        assert interpreter.mapping(plan["c"], extra=extra) == {"x": expected}


@pytest.mark.requirement("B-21", "O-01", "L-28")
@settings(max_examples=150, deadline=None)
@given(graph=graphs(largest=10), data=st.data())
def test_random_graphs_end_as_the_contract_says_in_whatever_order_their_nodes_end(
    graph: tuple[list[RefNode], list[RefEdge]], data: st.DataObject
) -> None:
    nodes, edges = graph
    expected = what_must_happen(nodes, edges)
    ends = {node.key: node.ends for node in nodes}
    plan = Plan(definition_nodes(nodes), definition_edges(edges))

    walked = walk(
        plan, lambda node: ENDS[ends[node.key]](node.key), pick=lambda count: data.draw(st.integers(0, count - 1))
    )

    if expected.completed:
        assert walked.done
        assert {node.key: state_of(walked, node) for node in nodes} == expected.states
        last = {node.key for node in nodes} - {edge.source for edge in edges}
        assert walked.final_results().keys() == {key for key in last if expected.states[key] in ("done", "passed")}
    else:
        assert walked.failed in expected.failing
        for node in nodes:
            assert state_of(walked, node) in ("undecided", expected.states[node.key])


@pytest.mark.requirement("B-23")
@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_computed_names_see_exactly_what_comes_before(graph: tuple[list[RefNode], list[RefEdge]]) -> None:
    nodes, edges = graph
    plan = Plan([step(node.key, input={"seen": "results"}) for node in nodes], definition_edges(edges))
    seen: dict[str, set[str]] = {}
    interpreter = Interpreter(plan, input={})
    under_way = interpreter.begin()
    while under_way:
        node = under_way.pop()
        mapped = interpreter.mapping(node)
        assert mapped is not None
        seen[node.key] = set(mapped["seen"])
        under_way += interpreter.ended(node.key, Completed(1))

    for key, results in seen.items():
        assert results == {one for one in comes_before(key, edges) if one in interpreter.results}


def test_a_condition_that_has_no_value_fails_the_node_it_leads_to() -> None:
    plan = Plan([step("a"), step("b")], [Edge(source="a", target="b", condition="result.missing")])

    walked = walk(plan, lambda _node: Completed({}))

    assert walked.failed == "b"
    assert isinstance(walked.failures["b"].error, ExpressionError)


@pytest.mark.parametrize("condition", ["1", "null", "'true'", "[]"])
def test_a_condition_answers_true_or_false(condition: str) -> None:
    walked = walk(Plan([step("a", when=condition)], []), Completed)

    assert walked.failed == "a"
    assert "must answer true or false" in str(walked.failures["a"].error)


def test_an_expression_is_parsed_once_per_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse_noted(source: str) -> Expression:
        parsed.append(source)
        return parse(source)

    monkeypatch.setattr("holdfast.core.graphs.plan.parse", parse_noted)
    plan = Plan([step(f"n{number}", when="input.x == 1") for number in range(50)], [])
    for _ in range(3):
        assert Interpreter(plan, input={"x": 1}).begin()

    assert parsed == ["input.x == 1"]


# Its work, counted


def chain(size: int) -> tuple[list[Node], list[Edge]]:
    nodes: list[Node] = [step("n0")]
    nodes += [
        step(f"n{number}", when=f"results.n{number - 1} >= 0", input={"x": f"results.n{number - 1}"})
        for number in range(1, size)
    ]
    return nodes, [Edge(source=f"n{number}", target=f"n{number + 1}") for number in range(size - 1)]


def fan(size: int) -> tuple[list[Node], list[Edge]]:
    inner = [f"n{number}" for number in range(size - 2)]
    nodes: list[Node] = [step("first"), *map(step, inner), step("last", ignore_failed=True)]
    edges = [Edge(source="first", target=key, condition="result == 0") for key in inner]
    return nodes, edges + [Edge(source=key, target="last") for key in inner]


def skipped_chain(size: int) -> tuple[list[Node], list[Edge]]:
    nodes, edges = chain(size)
    return nodes, [Edge(source="n0", target="n1", condition="on_failure"), *edges[1:]]


def lines_executed(act: Callable[[], object]) -> int:
    """How many lines of the interpreter run, and calls of all else: the work, whatever the machine does besides."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event in ("line", "call")
        return trace if "core/graphs" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("shape", [chain, fan, skipped_chain])
def test_the_work_per_node_is_the_same_in_a_small_graph_and_in_a_very_large_one(
    shape: Callable[[int], tuple[list[Node], list[Edge]]],
) -> None:
    def per_node(size: int) -> float:
        nodes, edges = shape(size)
        plans: list[Plan] = []
        planned = lines_executed(lambda: plans.append(Plan(nodes, edges)))
        walked = lines_executed(lambda: walk(plans[0], lambda _node: Completed(0), pick=lambda count: count - 1))
        return (planned + walked) / size

    assert per_node(10_000) <= 1.1 * per_node(100)


def test_a_map_goes_over_what_its_expression_answers() -> None:
    plan = Plan([MapNode(key="m", handler="h", over="input.items", input={"x": "item + index"})], [])
    interpreter = Interpreter(plan, input={"items": [5, 7]})
    [node] = interpreter.begin()

    items = interpreter.value(node, "over")

    assert items == [5, 7]
    assert [interpreter.mapping(node, "", {"item": item, "index": at}) for at, item in enumerate(items)] == [
        {"x": 5},
        {"x": 8},
    ]
