from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from holdfast.core.definitions.moving import MovePlan, plan_move
from holdfast.model.definition import (
    Branch,
    Computed,
    Definition,
    Edge,
    GraftNode,
    LoopNode,
    MapNode,
    Node,
    Options,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    StepNode,
    SubgraphNode,
)
from holdfast.model.ids import DEFAULT_TENANT, Json, UnixMs, WorkerId
from holdfast.model.run import Attempt, Entry, RunDetail, VersionMove, Wait
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind
from holdfast.store.memory import MemoryStore
from tests.contract.scene import new_run, run_id


def graph(*nodes: Node) -> Definition:
    return Definition(workflow="signup", nodes=nodes)


def step(key: str, handler: str | None = None) -> StepNode:
    return StepNode(key=key, handler=handler or key)


def record(key: str, name: str | None = None) -> Entry:
    return Entry(
        key=key,
        seq=1,
        kind=EntryKind.STEP,
        name=name or key,
        status=EntryStatus.COMPLETED,
        result=Json(b"1"),
        epoch=1,
        started_ms=UnixMs(1),
        completed_ms=UnixMs(2),
    )


def detail_of(*entries: Entry, waits: tuple[Wait, ...] = (), **run: Any) -> RunDetail:
    """A run with this record."""
    store = MemoryStore(lambda: UnixMs(5))
    store.start_runs([new_run(1, workflow="signup", version=1, definition_hash="a" * 64)])
    detail = store.read_detail(DEFAULT_TENANT, run_id(1))
    changed = structs.replace(detail.run, **run)
    return structs.replace(detail, run=changed, journal=list(entries), waits=list(waits))


def plan(old: Definition, new: Definition, detail: RunDetail, **mapping: str) -> MovePlan:
    return plan_move(old, new, detail, mapping)


def told(found: MovePlan) -> list[str]:
    """The problems as people read them."""
    return [str(problem) for problem in found.problems]


def chain(*nodes: Node, conditions: tuple[str, ...] = ()) -> Definition:
    """A graph whose nodes follow each other."""
    words = [*conditions, *["on_success"] * len(nodes)]
    edges = tuple(
        Edge(source=one.key, target=other.key, condition=word)
        for one, other, word in zip(nodes, nodes[1:], words, strict=False)
    )
    return Definition(workflow="signup", nodes=nodes, edges=edges)


def moved_before(detail: RunDetail, **renamed: str) -> RunDetail:
    """The run was moved once, and these nodes renamed."""
    moved = VersionMove(from_version=1, to_version=2, renamed=renamed)
    last = structs.replace(detail.transitions[-1], seq=2, reason="moved", moved=moved)
    return structs.replace(detail, transitions=[*detail.transitions, last])


def test_nodes_that_both_versions_have_keep_their_records() -> None:
    old, new = graph(step("account"), step("mail")), graph(step("account"), step("letter"), step("stamp"))

    found = plan(old, new, detail_of(record("account")))

    assert (found.allowed, found.kept, found.renamed) == (True, ["account"], {})


def test_a_recorded_key_that_the_new_version_lacks_is_refused() -> None:
    found = plan(graph(step("account"), step("mail")), graph(step("account")), detail_of(record("mail")))

    assert told(found) == ["mail: it is recorded, and the new version has no node 'mail': map it to another one"]


def test_a_recorded_key_whose_kind_differs_is_refused() -> None:
    new = graph(SignalNode(key="account", signal="go"))

    found = plan(graph(step("account")), new, detail_of(record("account")))

    assert told(found)[0] == "account: it is recorded of a step, and 'account' is a signal"


def test_a_recorded_step_that_the_node_does_not_call_any_more_is_refused() -> None:
    found = plan(graph(step("a", "old")), graph(step("a", "new")), detail_of(record("a", "old")))

    assert told(found) == ["a: it is recorded of 'old', and the new version calls 'new' there"]


def test_a_step_that_is_to_be_tried_again_is_the_same_step_under_the_same_key() -> None:
    failed = Attempt(key="a", attempt=1, error=Json(b"{}"), started_ms=UnixMs(1), ended_ms=UnixMs(2))
    detail = structs.replace(detail_of(), attempts=[failed])

    other_step = plan(graph(step("a", "old")), graph(step("a", "new")), detail)
    other_key = plan(graph(step("a", "do")), graph(step("b", "do")), detail, a="b")

    assert told(other_step) == ["a: it is recorded of 'old', and the new version calls 'new' there"]
    assert "idempotency key" in told(other_key)[0]


def test_a_mapping_gives_records_new_keys_with_all_that_belongs_to_them() -> None:
    inner = step("inner", "do")
    route = RouteNode(key="plan", selector=Computed(handler="choose"), branches={"free": Branch(handler="set_up")})
    old = graph(SubgraphNode(key="outer", nodes=(inner,)), route)
    new = graph(SubgraphNode(key="around", nodes=(inner,)), structs.replace(route, key="offer"))
    detail = detail_of(record("outer/inner", "do"), record("plan~selector", "choose"), record("plan/free", "set_up"))

    found = plan(old, new, detail, outer="around", plan="offer")

    assert told(found) == []
    assert found.renamed == {
        "outer/inner": "around/inner",
        "plan~selector": "offer~selector",
        "plan/free": "offer/free",
    }
    assert found.nodes == {"outer/inner": "around/inner", "plan": "offer"}


def test_iterations_items_and_what_a_graft_was_filled_in_with_are_renamed_alike() -> None:
    def version(loop: str, each: str, graft: str) -> Definition:
        until = Computed(expression="result > 1")
        return graph(
            LoopNode(key=loop, handler="warm", until=until),
            MapNode(key=each, handler="fetch", over="input"),
            GraftNode(key=graft, handler="plan"),
        )

    detail = detail_of(
        record("loop#1", "warm"), record("map[0]", "fetch"), record("graft", "plan"), record("graft/page#2", "page")
    )

    found = plan(version("loop", "map", "graft"), version("l", "m", "g"), detail, loop="l", map="m", graft="g")

    assert told(found) == []
    assert found.renamed == {"loop#1": "l#1", "map[0]": "m[0]", "graft": "g", "graft/page#2": "g/page#2"}


def test_a_branch_that_the_new_version_lacks_is_refused() -> None:
    old = graph(ParallelNode(key="both", branches={"x": Branch(handler="do"), "y": Branch(handler="do")}))
    new = graph(ParallelNode(key="both", branches={"x": Branch(handler="do")}))

    found = plan(old, new, detail_of(record("both/x", "do"), record("both/y", "do")))

    assert told(found) == ["both: 'both/y' is recorded, and the new version calls nothing there"]


def test_two_nodes_do_not_become_one() -> None:
    old = graph(step("a", "do"), step("b", "do"))

    found = plan(old, graph(step("b", "do")), detail_of(record("a", "do"), record("b", "do")), a="b")

    assert told(found) == ["b: it and 'a' would both become 'b'"]


def test_a_key_that_was_given_up_is_not_given_to_another_node() -> None:
    old, new = graph(step("a", "do")), graph(step("a", "do"), step("b", "do"))

    found = plan(old, new, detail_of(record("a", "do")), a="b")

    assert len(told(found)) == 1
    assert "the new version has another node of that key" in told(found)[0]


def test_a_key_that_an_earlier_move_took_away_comes_back_to_its_own_record_only() -> None:
    old = graph(step("b", "do"))
    detail = moved_before(detail_of(record("b", "do")), a="b")

    back = plan(old, graph(step("a", "do")), detail, b="a")
    other = plan(old, graph(step("a", "do"), step("b", "do")), detail)

    assert (back.allowed, back.renamed) == (True, {"b": "a"})
    assert "it was 'a'" in told(other)[0]


def test_a_node_stays_in_its_subgraph() -> None:
    old = graph(SubgraphNode(key="outer", nodes=(step("inner", "do"),)))

    found = plan_move(old, graph(step("inner", "do")), detail_of(), {"outer/inner": "inner"})

    assert "a node stays in the graph or subgraph that it is in" in told(found)[0]


def test_open_waits_are_looked_at_like_records() -> None:
    wait = Wait(key="consent", seq=1, kind=WaitKind.SIGNAL, signal="go", opened_ms=UnixMs(1))
    old = graph(SignalNode(key="consent", signal="go"))

    gone = plan(old, graph(step("account")), detail_of(waits=(wait,)))
    other = plan(old, graph(SignalNode(key="consent", signal="stop")), detail_of(waits=(wait,)))

    assert "it is recorded, and the new version has no node 'consent'" in told(gone)[0]
    assert told(other) == ["consent: it waits for another signal"]


# What the run has decided


def test_a_recorded_node_that_now_comes_after_something_else_is_refused() -> None:
    old = chain(step("a"), step("c"))

    found = plan(old, chain(step("a"), step("b"), step("c")), detail_of(record("a"), record("c")))

    assert told(found) == ["c: it came after 'a' (on_success), and comes after 'b' (on_success) in the new version"]


def test_a_node_may_be_put_before_what_has_not_begun() -> None:
    old = chain(step("a"), step("c"))

    assert plan(old, chain(step("a"), step("b"), step("c")), detail_of(record("a"))).allowed


def test_a_recorded_node_behind_another_condition_is_refused() -> None:
    old, new = (chain(step("a"), step("b"), conditions=(word,)) for word in ("result > 1", "result > 2"))

    assert "it came after 'a' (result > 1)" in told(plan(old, new, detail_of(record("a"), record("b"))))[0]
    assert plan(old, new, detail_of(record("a"))).allowed


def test_a_node_that_the_run_has_gone_past_decides_as_before() -> None:
    """B was passed over, and left no record: were it not, it would come after what follows it."""
    skipped = StepNode(key="b", handler="b", when="results.a > 1")
    old = chain(step("a"), skipped, step("c"))
    detail = detail_of(record("a"), record("c"))

    other = plan(old, chain(step("a"), step("b"), step("c")), detail)
    gone = plan(old, chain(step("a"), step("c")), detail)

    assert told(other) == ["b: its `when` differs"]
    assert "b: the run has gone past it, and the new version has no such node: map it" in told(gone)


def test_expressions_that_read_a_renamed_node_are_the_same() -> None:
    def version(key: str, other: str) -> Definition:
        last = StepNode(key="b", handler="b", when=f"results.{key}.rows > 1 && has(results.{other})")
        return chain(step(key, "a"), last)

    detail = detail_of(record("a"), record("b"))

    assert plan(version("a", "a"), version("z", "z"), detail, a="z").allowed
    assert told(plan(version("a", "a"), version("z", "b"), detail, a="z")) == ["b: its `when` differs"]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            LoopNode(key="n", handler="do", until=Computed(expression="result > 1")),
            LoopNode(key="n", handler="do", until=Computed(expression="result > 2")),
            "n: its `until` differs",
        ),
        (
            LoopNode(key="n", handler="do", until=Computed(expression="result > 1")),
            LoopNode(key="n", handler="do", until=Computed(expression="result > 1"), max_iterations=1),
            "n: 2 iterations are recorded, and the new version allows 1",
        ),
        (
            MapNode(key="n", handler="do", over="input"),
            MapNode(key="n", handler="do", over="input.items"),
            "n: it goes over another list",
        ),
        (
            StepNode(key="n", handler="do"),
            StepNode(key="n", handler="do", queue="slow"),
            "n: it is recorded, and only one of the versions gives it a line of its own",
        ),
    ],
)
def test_what_a_node_decides_by_stays_while_it_is_under_way(before: Node, after: Node, why: str) -> None:
    key = {"loop": "n#2", "map": "n[0]", "step": "n"}[str(before.__struct_config__.tag)]

    assert told(plan(graph(before), graph(after), detail_of(record(key, "do")))) == [why]


def test_a_sleep_that_has_begun_is_not_asked_how_long_it_is() -> None:
    wait = Wait(key="nap", seq=1, kind=WaitKind.TIMER, due_ms=UnixMs(9), opened_ms=UnixMs(1))
    old = graph(SleepNode(key="nap", duration_ms=5))
    asks = graph(SleepNode(key="nap", duration_ms=Computed(handler="how_long")))

    assert "asks a handler how long" in told(plan(old, asks, detail_of(waits=(wait,))))[0]
    assert plan(old, graph(SleepNode(key="nap", duration_ms=7)), detail_of(waits=(wait,))).allowed
    assert plan(old, asks, detail_of()).allowed


def test_what_the_run_has_gone_past_gets_no_more_branches_or_nodes() -> None:
    def version(*names: str) -> Definition:
        both = ParallelNode(key="both", branches={name: Branch(handler="do") for name in names})
        inner = SubgraphNode(key="inner", nodes=tuple(step(name, "do") for name in names))
        return chain(both, inner, step("last"))

    under_way = detail_of(record("both/x", "do"))
    past = detail_of(record("both/x", "do"), record("inner/x", "do"), record("last"))

    assert plan(version("x"), version("x", "y"), under_way).allowed
    assert told(plan(version("x"), version("x", "y"), past)) == [
        "both: the run has gone past it, and the new version has other branches there",
        "inner: the run has gone past it, and the new version has more nodes in it",
    ]


def test_a_failure_that_was_taken_care_of_still_is() -> None:
    def version(*more: Node) -> Definition:
        known = chain(step("a"), step("b"), conditions=("on_failure",))
        return structs.replace(known, nodes=(*known.nodes, *more))

    failed = structs.replace(record("a"), status=EntryStatus.FAILED, result=None, error=Json(b"{}"))
    careless = structs.replace(version(), edges=())

    assert plan(version(), version(step("c")), detail_of(failed)).allowed
    assert told(plan(version(), careless, detail_of(failed))) == [
        "a: it failed, and in the new version nothing takes care of that"
    ]


def test_other_defaults_of_the_graph_matter_to_nodes_that_come_after_others() -> None:
    old = chain(step("a"), step("b"))
    new = structs.replace(old, options=Options(ignore_failed=True))

    assert plan(old, new, detail_of(record("a"))).allowed
    assert told(plan(old, new, detail_of(record("a"), record("b")))) == [
        "b: it ignores other failures of what it comes after"
    ]


# The run


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({"status": RunStatus.COMPLETED}, "the run is completed"),
        ({"status": RunStatus.COMPENSATING}, "the run is compensating"),
        ({"status": RunStatus.RUNNING, "worker": WorkerId("w")}, "worker w holds it; pause it first"),
        ({"cancel_requested": True}, "it is to be cancelled"),
    ],
)
def test_a_run_that_ended_undoes_or_is_held_is_not_moved(run: dict[str, Any], why: str) -> None:
    assert told(plan(graph(step("a")), graph(step("a")), detail_of(**run))) == [why]


def test_a_mapping_of_what_is_not_there_and_an_input_that_differs_are_told() -> None:
    new = graph(StepNode(key="a", handler="a", input={"x": "input.y"}))

    found = plan(graph(step("a")), new, detail_of(record("a")), z="a", a="q")

    assert told(found)[:2] == ["z: version 1 has no such node", "a: the new version has no node 'q'"]
    assert plan(graph(step("a")), new, detail_of(record("a"))).notes == [
        "'a' is given another input; what it has recorded stays"
    ]
    assert found.lines()[-1].startswith("refused: ")


def test_what_belongs_to_no_node_of_its_own_version_is_refused() -> None:
    found = plan(graph(step("a")), graph(step("a")), detail_of(record("x")))

    assert told(found) == ["x: it is recorded, and belongs to no node of the run's own version"]
