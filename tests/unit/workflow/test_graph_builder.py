"""Graphs are written node by node, and are a definition in the end or one error with everything that is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from holdfast.core.definitions import GraphError, content_hash, from_json, names_needed, to_json, validate
from holdfast.core.retry import Retry
from holdfast.errors import DuplicateName, UsageError
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
    Options,
    ParallelNode,
    RetryPolicy,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from holdfast.workflow.graph_options import With
from holdfast.workflow.registry import Registry
from tests.unit.workflow.graphs import (
    choose_plan,
    create_crm_record,
    only,
    problems,
    start_billing,
    undo,
    work,
    write_onboarding,
)


@pytest.fixture
def app() -> Registry:
    return Registry("tests")


# The graphs of the design


@pytest.mark.requirement("S-19", "S-20", "S-30", "S-31", "S-32", "S-33", "S-34", "S-35")
def test_the_onboarding_graph_builds_into_these_nodes_and_edges(app: Registry) -> None:
    definition = write_onboarding(app).build()

    assert definition == Definition(
        workflow="onboarding",
        nodes=(
            StepNode(key="account", handler="onboarding.account", compensate="onboarding.account~compensate"),
            ParallelNode(
                key="provision",
                branches={
                    "mail": Branch(handler="onboarding.provision/mail"),
                    "crm": Branch(handler="onboarding.provision/crm"),
                },
            ),
            RouteNode(
                key="plan",
                selector=Computed(handler="onboarding.plan~selector"),
                branches={
                    "free": Branch(handler="onboarding.plan/free"),
                    "pro": Branch(handler="onboarding.plan/pro"),
                },
            ),
            LoopNode(
                key="warm_up",
                handler="onboarding.warm_up",
                until=Computed(handler="onboarding.warm_up~until"),
                max_iterations=10,
            ),
            SleepNode(key="settle", duration_ms=3_600_000),
            SignalNode(key="consent", signal="user.consented", timeout_ms=604_800_000),
            ChildNode(key="billing", workflow="onboarding.billing"),
        ),
        edges=(
            Edge(source="account", target="provision"),
            Edge(source="provision", target="plan"),
            Edge(source="plan", target="warm_up"),
            Edge(source="warm_up", target="settle"),
            Edge(source="settle", target="consent"),
            Edge(source="consent", target="billing"),
        ),
    )


@pytest.mark.requirement("S-20", "C-04")
def test_the_same_graph_is_the_same_definition_in_every_program(app: Registry) -> None:
    first = write_onboarding(app).build()
    second = write_onboarding(Registry("other")).build()

    assert content_hash(first) == content_hash(second) == content_hash(from_json(to_json(first)))


@pytest.mark.requirement("B-20", "O-02")
def test_the_etl_graph_is_a_dag(app: Registry) -> None:
    extract = clean = index = load = work

    etl = app.graph("etl")
    etl.step("extract", extract); etl.step("clean", clean, after=["extract"]); etl.step("index", index, after=["extract"])  # noqa: E702, E501 # fmt: skip
    etl.step("load", load, after=["clean", "index"])

    definition = etl.build()
    assert [node.key for node in definition.nodes] == ["extract", "clean", "index", "load"]
    assert {(edge.source, edge.target) for edge in definition.edges} == {
        ("extract", "clean"),
        ("extract", "index"),
        ("clean", "load"),
        ("index", "load"),
    }


@pytest.mark.requirement("C-04")
def test_everything_a_definition_names_is_registered(app: Registry) -> None:
    needs = names_needed(write_onboarding(app).build())

    assert needs.handlers == set(app.step_names)
    assert needs.workflows == set(app.workflow_names) - {"onboarding"} == {"onboarding.billing"}


# Nodes


@dataclass
class Answer:
    """What a person fills in."""

    ok: bool
    note: str = ""


@pytest.mark.requirement("S-34")
def test_a_step_takes_every_option(app: Registry) -> None:
    retry = Retry(max_attempts=5, initial=timedelta(milliseconds=10), factor=3, jitter=0, non_retryable=(ValueError,))

    graph = app.graph("g").step(
        "a",
        work,
        when="input.go",
        input={"value": "input.n"},
        retry=retry,
        timeout=1.5,
        queue="slow",
        ignore_failed=True,
        ignore_cancelled=False,
    )

    assert only(graph, StepNode) == StepNode(
        key="a",
        handler="g.a",
        when="input.go",
        input={"value": "input.n"},
        retry=RetryPolicy(max_attempts=5, initial_ms=10, factor=3.0, jitter=0.0, non_retryable=("ValueError",)),
        timeout_ms=1500,
        queue="slow",
        ignore_failed=True,
        ignore_cancelled=False,
    )


def test_errors_that_are_never_retried_can_be_found_by_the_name_in_the_definition(app: Registry) -> None:
    class Refused(Exception):
        """Not at module level."""

    node = only(app.graph("g").step("a", work, retry=Retry(non_retryable=(Refused,))), StepNode)

    assert node.retry is not None
    [name] = node.retry.non_retryable
    assert app.errors.find(name) is Refused


@pytest.mark.requirement("S-32", "S-36")
def test_each_branch_has_options_of_its_own(app: Registry) -> None:
    mail = With(work, retry=Retry.never(), timeout=5, queue="mail", compensate=undo, input={"value": "input.y"})

    node = only(app.graph("g").parallel("p", {"mail": mail, "crm": create_crm_record}), ParallelNode)

    assert node.branches == {
        "mail": Branch(
            handler="g.p/mail",
            compensate="g.p/mail~compensate",
            retry=RetryPolicy(max_attempts=1),
            timeout_ms=5000,
            queue="mail",
            input={"value": "input.y"},
        ),
        "crm": Branch(handler="g.p/crm"),
    }


@pytest.mark.requirement("S-33")
@pytest.mark.parametrize(
    ("default", "name", "branches"), [(None, None, {"x"}), ("x", "x", {"x"}), (work, "default", {"x", "default"})]
)
def test_a_route_has_a_default_branch_if_told(
    app: Registry, default: str | Callable[..., Any] | None, name: str | None, branches: set[str]
) -> None:
    node = only(app.graph("g").route("r", "input.plan", {"x": work}, default=default), RouteNode)

    assert node.selector == Computed(expression="input.plan")
    assert node.default == name
    assert set(node.branches) == branches


@pytest.mark.requirement("S-33")
def test_a_default_that_is_no_branch_or_one_too_many_is_refused(app: Registry) -> None:
    graph = (
        app.graph("g")
        .route("r", "input", {"x": work}, default="y")
        .route("s", "input", {"default": work}, default=undo)
    )

    assert problems(graph) == [("r", "unknown_branch"), ("s", "duplicate_key")]


@pytest.mark.requirement("S-34")
def test_a_loop_ends_by_a_handler_or_an_expression(app: Registry) -> None:
    graph = app.graph("g").loop("a", work, condition="iteration < 3", feedback=False, compensate=undo)

    assert only(graph, LoopNode) == LoopNode(
        key="a",
        handler="g.a",
        compensate="g.a~compensate",
        condition=Computed(expression="iteration < 3"),
        max_iterations=1000,
        feedback=False,
    )


@pytest.mark.requirement("O-05")
def test_a_map_goes_over_what_an_expression_answers(app: Registry) -> None:
    graph = app.graph("g").map("m", work, over="input.items", concurrency=4, tolerate=1, input={"value": "item"})

    assert only(graph, MapNode) == MapNode(
        key="m", handler="g.m", over="input.items", concurrency=4, tolerate=1.0, input={"value": "item"}
    )


@pytest.mark.requirement("S-30")
@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(minutes=1), 60_000),
        (0.0011, 2),
        (0, 0),
        ("input.seconds", Computed(expression="input.seconds")),
        (work, Computed(handler="g.s~duration")),
    ],
)
def test_a_sleep_lasts_a_time_or_what_is_answered(
    app: Registry, duration: timedelta | float | str | Callable[..., Any], expected: int | Computed
) -> None:
    assert only(app.graph("g").sleep("s", duration), SleepNode).duration_ms == expected


@pytest.mark.requirement("S-31")
def test_a_signal_has_a_name_or_one_that_is_answered(app: Registry) -> None:
    by_handler = only(app.graph("g").wait_for_signal("s", choose_plan), SignalNode)
    by_expression = only(app.graph("h").wait_for_signal("s", Computed(expression="input.name")), SignalNode)

    assert by_handler.signal == Computed(handler="g.s~signal")
    assert by_expression.signal == Computed(expression="input.name")


@pytest.mark.requirement("S-31")
def test_a_signal_that_does_not_come_in_time_leads_elsewhere(app: Registry) -> None:
    graph = (
        app.graph("g")
        .wait_for_signal("wait", "s", timeout=5, on_timeout="remind")
        .step("go on", work)
        .step("remind", work, after=())
    )

    assert graph.build().edges == (
        Edge(source="wait", target="remind", condition="on_timeout"),
        Edge(source="wait", target="go on"),
    )


@pytest.mark.requirement("S-31")
def test_a_timeout_that_leads_to_the_next_node_always_goes_on(app: Registry) -> None:
    graph = app.graph("g").wait_for_signal("wait", "s", timeout=5, on_timeout="next").step("next", work)

    assert graph.build().edges == (Edge(source="wait", target="next", condition="always"),)


@pytest.mark.requirement("S-35")
def test_a_child_is_a_workflow_a_graph_or_a_name(app: Registry) -> None:
    async def send(x: str) -> None: ...

    ship = app.workflow(name="ship")(send)
    other = app.graph("other").step("x", work)

    graph = (
        app.graph("g")
        .child("a", ship.with_options(queue="q", priority=3, timeout=timedelta(seconds=9)), input={"x": "input"})
        .child("b", other, timeout=1)
        .child("c", "later")
    )

    assert graph.build().nodes == (
        ChildNode(key="a", workflow="ship", queue="q", priority=3, timeout_ms=9000, input={"x": "input"}),
        ChildNode(key="b", workflow="other", timeout_ms=1000),
        ChildNode(key="c", workflow="later"),
    )


def test_a_workflow_of_another_app_is_refused(app: Registry) -> None:
    foreign = Registry("other").workflow(name="ship")(start_billing)

    assert problems(app.graph("g").child("a", foreign)) == [("a", "unknown_workflow")]


def test_an_approval_takes_its_form_from_a_type_or_a_schema(app: Registry) -> None:
    graph = (
        app.graph("g")
        .approve("a", form=Answer, by="ann", escalate_after=timedelta(days=1), escalate_to=["bob", "eve"])
        .approve("b", form={"type": "boolean"})
        .approve("c")
    )

    first, second, third = graph.build().nodes

    assert isinstance(first, ApproveNode)
    assert isinstance(second, ApproveNode)
    assert isinstance(third, ApproveNode)
    assert first.form is not None
    assert "ok" in str(first.form)
    assert (first.by, first.escalate_after_ms, first.escalate_to) == (("ann",), 86_400_000, ("bob", "eve"))
    assert (second.form, third.form) == ({"type": "boolean"}, None)


def test_a_form_of_a_type_that_has_no_schema_is_refused(app: Registry) -> None:
    assert problems(app.graph("g").approve("a", form=Registry)) == [("a", "bad_form")]


@pytest.mark.requirement("O-04")
def test_a_graft_names_the_function_that_answers_its_nodes(app: Registry) -> None:
    assert only(app.graph("g").graft("a", work), GraftNode) == GraftNode(key="a", handler="g.a")


@pytest.mark.requirement("O-03")
def test_a_subgraph_is_copied_as_it_is_with_what_it_says_of_its_nodes(app: Registry) -> None:
    inner = app.graph("inner", ignore_failed=True).step("x", work).step("y", work, ignore_failed=False)
    outer = app.graph("outer").subgraph("s", inner, input={"n": "input.n"})

    inner.step("late", work)

    assert only(outer, SubgraphNode) == SubgraphNode(
        key="s",
        nodes=(
            StepNode(key="x", handler="inner.x", ignore_failed=True),
            StepNode(key="y", handler="inner.y", ignore_failed=False),
        ),
        edges=(Edge(source="x", target="y"),),
        input={"n": "input.n"},
    )


@pytest.mark.requirement("O-03")
def test_what_is_wrong_in_a_subgraph_is_told_below_its_key(app: Registry) -> None:
    inner = app.graph("inner").step("x", work, timeout=-1).step("y", work, when="results.z")

    assert problems(app.graph("outer").subgraph("s", inner)) == [("s/x", "out_of_range"), ("s/y", "unknown_node")]


# Edges


def test_a_node_follows_the_one_before_it_unless_told_otherwise(app: Registry) -> None:
    graph = app.graph("g").step("a", work).step("b", work).step("c", work, after="a").step("d", work, after=())

    assert [(edge.source, edge.target) for edge in graph.build().edges] == [("a", "b"), ("a", "c")]


@pytest.mark.requirement("L-28", "O-01")
def test_an_edge_gives_a_condition_to_what_follows_already(app: Registry) -> None:
    graph = (
        app.graph("g")
        .step("a", work)
        .step("b", work)
        .step("c", work, after=())
        .edge("a", "b", "result > 3", label="large")
        .edge("a", "c", "on_failure")
    )

    assert graph.build().edges == (
        Edge(source="a", target="b", condition="result > 3", label="large"),
        Edge(source="a", target="c", condition="on_failure"),
    )


def test_two_edges_between_the_same_nodes_are_refused(app: Registry) -> None:
    graph = app.graph("g").step("a", work).step("b", work).edge("a", "b", "always").edge("a", "b", "on_failure")

    assert problems(graph) == [("a", "duplicate_edge")]


# Errors


@pytest.mark.requirement("S-14", "B-20")
def test_one_error_lists_every_problem_with_node_and_reason(app: Registry) -> None:
    graph = (
        app.graph("g")
        .step("a", work, timeout=float("nan"))
        .step("a", undo)
        .step("", work)
        .step("b", work, after=["c", "gone"], when="1 +")
        .step("c", work, after="b")
        .sleep("s", -1, after=())
        .loop("l", work)
        .map("m", work, over="input", concurrency=0)
        .edge("m", "nowhere")
    )

    with pytest.raises(GraphError) as raised:
        graph.build()

    assert raised.value.code == "graph_invalid"
    assert isinstance(raised.value, UsageError)
    assert [(problem.node, problem.code) for problem in raised.value.problems] == [
        ("", "bad_key"),
        ("a", "duplicate_key"),
        ("a", "out_of_range"),
        ("b", "bad_expression"),
        ("b", "cycle"),
        ("b", "unknown_node"),
        ("l", "not_one_of"),
        ("m", "out_of_range"),
        ("m", "unknown_node"),
        ("s", "out_of_range"),
    ]
    assert "b: it follows itself: 'b' -> 'c' -> 'b' (cycle)" in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301 - our own


@pytest.mark.requirement("S-14")
def test_an_empty_graph_is_refused(app: Registry) -> None:
    assert problems(app.graph("g")) == [("", "empty_graph")]


def test_a_value_of_a_wrong_type_is_refused_with_its_place(app: Registry) -> None:
    wrong: Any = 5
    graph = app.graph("g").step("a", work, when=wrong)

    with pytest.raises(GraphError, match=r"Expected `str \| null`, got `int` - at `\$.nodes\[0\].when`"):
        graph.build()
    assert problems(app.graph("h").step(wrong, work)) == [("", "bad_value")]


def test_a_graph_can_be_built_while_it_grows(app: Registry) -> None:
    graph = app.graph("g").step("a", work)
    first = graph.build()

    second = graph.step("b", work).build()

    assert graph.build() == second
    assert [len(first.nodes), len(second.nodes)] == [1, 2]
    assert validate(second) == []


# Names


@pytest.mark.requirement("S-14")
def test_graphs_and_workflows_share_their_names(app: Registry) -> None:
    app.workflow(name="taken")(start_billing)
    graph = app.graph("mine")

    with pytest.raises(DuplicateName):
        app.graph("taken")
    with pytest.raises(DuplicateName):
        app.graph("mine")
    with pytest.raises(DuplicateName):
        app.workflow(name="mine")(start_billing)
    with pytest.raises(UsageError):
        app.graph("")
    assert app.find_graph("mine") is graph
    assert app.find_graph("taken") is None


@pytest.mark.requirement("B-20")
def test_a_graph_says_how_its_runs_start_and_what_its_nodes_ignore(app: Registry) -> None:
    graph = app.graph("g", queue="slow", timeout=60, ignore_failed=True, ignore_cancelled=True).step("a", work)

    assert graph.build().options == Options(queue="slow", timeout_ms=60_000, ignore_failed=True, ignore_cancelled=True)
    assert repr(graph) == "<Graph 'g'>"
