"""Graphs: everything that a graph can say happens, over each store."""

# Lambdas stand for the handlers of nodes here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.errors import LoopNotDone, NodeResultMissing, NotADependency, UnknownBranch
from holdfast.model.definition import Computed
from holdfast.model.status import EntryKind, EntryStatus, RunStatus
from tests.engine.conftest import LONG_S, QUICK, Engine

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """It is broken."""


@dataclass
class Order:
    name: str
    count: int


async def outcome_of(engine: Engine, graph: hf.Graph, given: object = None) -> dict[str, Any]:
    """The result of a run that a worker executes."""
    async with engine.worker(queues=("default", "side")):
        run = await engine.client.start(graph, given)
        return await run.result(60)


async def failure_of(engine: Engine, graph: hf.Graph, given: Any = None) -> BaseException | None:
    """Why a run failed."""
    with pytest.raises(hf.errors.RunFailed) as failed:
        await outcome_of(engine, graph, given)
    return failed.value.__cause__


def keys_of(engine: Engine, run_id: str) -> set[str]:
    return {entry.key for entry in engine.detail(run_id).journal}


@pytest.mark.requirement("S-20", "B-22")
async def test_a_chain_hands_results_on_by_the_names_of_parameters(engine: Engine) -> None:
    def extract(order: Order) -> list[int]:
        return list(range(order.count))

    async def clean(extract: list[int], input: Order) -> list[int]:  # noqa: A002 - the convention
        assert isinstance(input, Order)
        return [number * 2 for number in extract]

    def load(clean: list[int], extract: list[int], limit: int = 10) -> int:
        return sum(clean) + len(extract) + limit

    graph = engine.app.graph("etl").step("extract", extract).step("clean", clean).step("load", load)

    assert await outcome_of(engine, graph, Order("a", 3)) == {"load": 19}


@pytest.mark.requirement("S-20", "B-20", "B-50", "B-52", "O-01")
async def test_a_node_begins_when_all_that_it_comes_after_has_ended(engine: Engine) -> None:
    seen: list[str] = []
    both = asyncio.Barrier(2)

    async def side(name: str) -> str:
        await both.wait()
        seen.append(name)
        return name

    async def join(left: str, right: str) -> str:
        seen.append("join")
        return left + right

    graph = engine.app.graph("diamond")
    graph.step("first", lambda: 0)
    graph.step("left", side, after="first", input={"name": "'l'"})
    graph.step("right", side, after="first", input={"name": "'r'"})
    graph.step("join", join, after=["left", "right"])

    assert await outcome_of(engine, graph) == {"join": "lr"}
    assert seen[2] == "join"


@pytest.mark.requirement("S-32", "C-58")
async def test_branches_of_a_parallel_node_are_steps_of_their_own(engine: Engine) -> None:
    tries: list[str] = []
    undone: list[tuple[str, str]] = []

    async def mail(account: str) -> str:
        tries.append("mail")
        if tries.count("mail") < 3:
            raise Broken("again")
        return f"mail of {account}"

    async def unmail(account: str, result: str) -> None:
        undone.append((account, result))

    def crm() -> str:
        return "crm"

    def fail(provision: dict[str, str]) -> None:
        assert provision == {"mail": "mail of ann", "crm": "crm"}
        raise Broken("later")

    graph = (
        engine.app.graph("g")
        .step("account", lambda: "ann")
        .parallel("provision", {"mail": hf.With(mail, compensate=unmail, retry=QUICK), "crm": crm})
        .step("fail", fail, retry=hf.Retry.never())
    )
    async with engine.worker():
        run = await engine.client.start(graph)
        ended = await engine.client.wait_for_end(run.id, timeout=60)

    assert ended.terminal_reason == "compensated"
    assert undone == [("ann", "mail of ann")]
    journal = {entry.key: entry.attempts for entry in engine.detail(run.id).journal}
    assert journal == {
        "account": 1,
        "provision/mail": 3,
        "provision/crm": 1,
        "fail": 1,
        "provision/mail~compensate": 1,
    }


@pytest.mark.requirement("S-33", "C-23", "R-25")
async def test_a_route_calls_the_branch_that_its_selector_names_and_records_the_choice(engine: Engine) -> None:
    def choose(plan: str) -> str:
        return plan

    graph = (
        engine.app.graph("g")
        .route("by_handler", choose, {"free": lambda: 0, "pro": lambda: 1})
        .route("by_text", "input + '!'", {"pro!": lambda: 2}, after="by_handler")
        .route("other", "'x'", {"a": lambda: 3}, default=lambda: 4)
    )
    async with engine.worker():
        run = await engine.client.start(graph, "pro")
        assert await run.result(60) == {"other": {"branch": "default", "result": 4}}

    journal = {entry.key: entry for entry in engine.detail(run.id).journal}
    assert journal["by_handler"].kind is EntryKind.VALUE
    assert journal["by_handler"].result == b'{"value":"pro"}'
    assert set(journal) == {
        "by_handler", "by_handler~selector", "by_handler/pro", "by_text", "by_text/pro!", "other", "other/default",
    }  # fmt: skip


@pytest.mark.requirement("S-33")
async def test_an_answer_that_is_no_branch_is_a_typed_error(engine: Engine) -> None:
    graph = engine.app.graph("g").route("r", "'x'", {"a": lambda: 3, "b": lambda: 4})

    error = await failure_of(engine, graph)

    assert isinstance(error, UnknownBranch)
    assert "none of its branches: a, b" in str(error)


@pytest.mark.requirement("S-34", "S-57", "C-58")
async def test_a_loop_journals_its_iterations_and_hands_the_last_result_to_the_next(engine: Engine) -> None:
    async def warm(result: int | None) -> int:
        return (result or 0) + 10

    def is_warm(result: int) -> bool:
        return result >= 30

    graph = engine.app.graph("g").loop("until", warm, until=is_warm, max_iterations=3)
    graph.loop("condition", warm, condition="iteration <= 2", max_iterations=2)

    async with engine.worker():
        run = await engine.client.start(graph)
        assert await run.result(60) == {"condition": [10, 20]}

    assert keys_of(engine, run.id) == {
        "until#1", "until~until#1", "until#2", "until~until#2", "until#3", "until~until#3",
        "condition#1", "condition#2",
    }  # fmt: skip


async def test_a_loop_that_is_not_done_in_time_fails(engine: Engine) -> None:
    graph = engine.app.graph("g").loop("l", lambda iteration: iteration, until="result > 5", max_iterations=5)

    error = await failure_of(engine, graph)

    assert isinstance(error, LoopNotDone)
    assert error.iterations == 5


@pytest.mark.requirement("O-05", "R-25")
async def test_a_map_goes_over_a_list_known_at_run_time_and_keeps_its_order(engine: Engine) -> None:
    async def fetch(url: str, index: int) -> str:
        await asyncio.sleep(0.01 * (3 - index))
        return f"{index}:{url}"

    graph = engine.app.graph("g").step("list", lambda: ["a", "b", "c"]).map("fetch", fetch, over="results.list")

    assert await outcome_of(engine, graph) == {"fetch": ["0:a", "1:b", "2:c"]}


async def test_a_map_tolerates_as_many_failures_as_it_is_told(engine: Engine) -> None:
    def fetch(item: int) -> int:
        if item % 2:
            raise Broken(str(item))
        return item

    def once(graph: hf.Graph, tolerate: float) -> hf.Graph:
        return graph.map("fetch", fetch, over="[1, 2, 3]", tolerate=tolerate, retry=hf.Retry.never())

    assert await outcome_of(engine, once(engine.app.graph("g"), 0.7)) == {"fetch": [None, 2, None]}
    error = await failure_of(engine, once(engine.app.graph("h"), 1))
    assert isinstance(error, Broken)


@pytest.mark.requirement("S-30")
async def test_a_sleep_parks_the_run_and_may_be_computed(engine: Engine) -> None:
    graph = (
        engine.app.graph("g")
        .sleep("a", LONG_S)
        .sleep("b", "input.rest")
        .sleep("c", lambda: 0.01)
        .step("done", lambda: "done")
    )
    async with engine.worker():
        run = await engine.client.start(graph, {"rest": 0.01})
        assert await run.result(60) == {"done": "done"}

    detail = engine.detail(run.id)
    assert [transition.reason for transition in detail.transitions].count("timer_elapsed") == 1
    assert {wait.key for wait in detail.waits} == {"a", "b", "c"}


@pytest.mark.requirement("S-31", "S-57")
async def test_a_signal_is_the_result_of_the_node_that_waits_for_it_also_if_it_came_before(engine: Engine) -> None:
    def approve(consent: dict[str, str]) -> str:
        return consent["by"]

    graph = (
        engine.app.graph("g")
        .sleep("settle", LONG_S)
        .wait_for_signal("consent", Computed(expression="input.signal"))
        .step("approve", approve)
    )
    async with engine.worker():
        run = await engine.client.start(graph, {"signal": "user.consented"})
        await run.signal("user.consented", {"by": "ann"})
        assert await run.result(60) == {"approve": "ann"}


@pytest.mark.requirement("S-31", "S-57", "C-22")
async def test_a_signal_that_does_not_come_leads_along_the_timeout_edge(engine: Engine) -> None:
    def remind(why: str) -> str:
        return why

    graph = (
        engine.app.graph("g")
        .wait_for_signal("consent", "s", timeout=LONG_S, on_timeout="remind")
        .step("approve", lambda: "approved")
        .step("remind", remind, after=[], input={"why": "errors.consent.type"})
        .step("end", lambda: 0, after=["approve", "remind"])
    )
    async with engine.worker():
        run = await engine.client.start(graph)
        assert await run.result(60) == {"end": 0}

    assert keys_of(engine, run.id) == {"remind", "end"}


@pytest.mark.requirement("S-35", "C-58", "R-25")
async def test_a_child_is_a_workflow_or_a_graph_and_its_result_the_nodes(engine: Engine) -> None:
    @engine.app.workflow
    async def double(number: int) -> int:
        return number * 2

    inner = engine.app.graph("inner").step("add", lambda number: number + 1, input={"number": "input.number"})
    graph = (
        engine.app.graph("outer")
        .child("doubled", double, input={"number": "input"})
        .child("added", inner, input={"input": "{'number': results.doubled}"})
    )

    @engine.app.workflow
    async def around(number: int) -> dict[str, Any]:
        return await hf.run_child(graph, number)

    async with engine.worker():
        run = await engine.client.start(around, 4)
        assert await run.result(60) == {"added": {"add": 9}}


@pytest.mark.requirement("S-35", "S-57")
async def test_a_child_that_fails_or_is_cancelled_fails_its_node(engine: Engine) -> None:
    @engine.app.workflow
    async def fail() -> None:
        raise Broken("child")

    @engine.app.workflow
    async def wait() -> None:
        await hf.wait_for_signal("never")

    graph = engine.app.graph("g")
    graph.child("fails", fail, after=[]).step("mends", lambda: "mended", after=[]).edge("fails", "mends", "on_failure")
    graph.child("waits", wait, after=[]).step("goes_on", lambda waits: waits, ignore_cancelled=True)

    async with engine.worker():
        run = await engine.client.start(graph)
        while not (children := (await engine.client.list(workflow="wait")).runs):
            await asyncio.sleep(0.01)
        await engine.client.cancel(children[0].id)
        assert await run.result(60) == {"mends": "mended", "goes_on": None}


@pytest.mark.requirement("B-21", "R-25")
async def test_a_failed_node_fails_the_run_unless_what_follows_ignores_it(engine: Engine) -> None:
    def fail() -> None:
        raise Broken("no")

    def build(name: str, *, ignore: bool) -> hf.Graph:
        graph = engine.app.graph(name).step("fail", fail, retry=hf.Retry.never())
        return graph.step("next", lambda fail: [fail], ignore_failed=ignore)

    assert await outcome_of(engine, build("g", ignore=True)) == {"next": [None]}
    assert isinstance(await failure_of(engine, build("h", ignore=False)), Broken)


@pytest.mark.requirement("C-23")
async def test_a_failure_leads_nowhere_before_the_retries_have_ended(engine: Engine) -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Broken("not yet")
        return "mended"

    graph = engine.app.graph("g").step(
        "flaky", flaky, retry=hf.Retry(max_attempts=3, initial=timedelta(milliseconds=1))
    )
    graph.step("on_failure", lambda: "f", after=[]).edge("flaky", "on_failure", "on_failure")
    graph.step("on_success", lambda: "s", after=[]).edge("flaky", "on_success", "on_success")

    assert await outcome_of(engine, graph) == {"on_success": "s"}
    assert len(tries) == 3


@pytest.mark.requirement("B-21", "C-22", "C-23", "C-58")
async def test_edges_are_taken_by_their_conditions_and_what_no_edge_reaches_is_skipped(engine: Engine) -> None:
    def fail() -> None:
        raise Broken("no")

    graph = engine.app.graph("g")
    graph.step("a", lambda: 5)
    graph.step("big", lambda: "big", after=[]).edge("a", "big", "result > 3")
    graph.step("small", lambda: "small", after=[]).edge("a", "small", "result <= 3")
    graph.step("after_small", lambda: 0, after=["small"])
    graph.step("passed", lambda: 0, after=["a"], when="results.a > 10")
    graph.step("fail", fail, after=["a"], retry=hf.Retry.never())
    graph.step("on_failure", lambda: "f", after=[]).edge("fail", "on_failure", "on_failure")
    graph.step("always", lambda: "a", after=[]).edge("fail", "always", "always")
    graph.step("on_success", lambda: "s", after=["fail"])

    assert await outcome_of(engine, graph) == {"big": "big", "passed": None, "on_failure": "f", "always": "a"}


@pytest.mark.requirement("B-23", "O-06")
async def test_a_handler_reads_the_nodes_that_it_comes_after_and_no_others(engine: Engine) -> None:
    async def read(names: list[str]) -> list[Any]:
        node = hf.current_node()
        assert (node.key, node.attempt, node.input) == ("read", 1, ["a"])
        assert node.idempotency_key == f"{node.run_id}/read"
        answers: list[Any] = []
        for name in names:
            try:
                answers.append(node.result(name))
            except (NotADependency, NodeResultMissing) as error:
                answers.append(error.code)
        return answers

    graph = engine.app.graph("g")
    graph.step("far", lambda: 1).step("near", lambda: 2)
    graph.step("skipped", lambda: 3, after=[]).edge("near", "skipped", "result > 2")
    graph.step("other", lambda: 4, after=[])
    names = "['far', 'near', 'skipped', 'other', 'read', 'nobody']"
    graph.step("read", read, after=["near"], input={"names": names}).edge("skipped", "read", "always")

    assert await outcome_of(engine, graph, ["a"]) == {
        "read": [1, 2, "node_result_missing", "not_a_dependency", "not_a_dependency", "not_a_dependency"],
        "other": 4,
    }


async def test_outside_a_node_there_is_no_current_node(engine: Engine) -> None:
    with pytest.raises(hf.errors.NotInWorkflow):
        hf.current_node()
    with pytest.raises(hf.errors.NotInWorkflow, match="start it with a client"):
        await engine.app.graph("g").step("a", lambda: 0)()


@pytest.mark.requirement("O-03")
async def test_a_subgraph_runs_inside_the_run_and_answers_all_its_results(engine: Engine) -> None:
    inner = engine.app.graph("inner").step("a", lambda given: given["x"]).step("b", lambda a: a + 1)
    graph = engine.app.graph("outer").subgraph("sub", inner, input={"x": "input"}).step("end", lambda sub: sub)

    async with engine.worker():
        run = await engine.client.start(graph, 4)
        assert await run.result(60) == {"end": {"a": 4, "b": 5}}

    assert keys_of(engine, run.id) == {"sub/a", "sub/b", "end"}


@pytest.mark.requirement("O-04")
async def test_a_graft_is_filled_in_with_what_its_handler_answers(engine: Engine) -> None:
    @engine.app.step
    async def fetch(url: str) -> str:
        return url.upper()

    def plan(urls: list[str]) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = [
            {"kind": "step", "key": f"n{number}", "handler": "fetch", "input": {"url": f"'{url}'"}}
            for number, url in enumerate(urls)
        ]
        nodes.append({"kind": "sleep", "key": "rest", "duration_ms": int(LONG_S * 1000)})
        return {"nodes": nodes, "edges": [{"source": "n0", "target": "rest"}]}

    graph = engine.app.graph("g").graft("more", plan).step("end", lambda more: more)

    async with engine.worker():
        run = await engine.client.start(graph, ["a", "b"])
        assert await run.result(60) == {"end": {"n0": "A", "n1": "B", "rest": None}}

    assert keys_of(engine, run.id) == {"more", "more/n0", "more/n1", "end"}


@pytest.mark.requirement("O-04")
async def test_a_graft_that_cannot_be_run_fails_its_node_with_every_problem(engine: Engine) -> None:
    def plan() -> dict[str, Any]:
        nodes = [
            {"kind": "step", "key": "a", "handler": "nobody"},
            {"kind": "step", "key": "b", "handler": "nobody", "when": "("},
        ]
        return {"nodes": nodes, "edges": [{"source": "a", "target": "c"}]}

    error = await failure_of(engine, engine.app.graph("g").graft("more", plan))

    assert isinstance(error, hf.GraphError)
    assert "more/b: when is no expression" in str(error)
    assert "more/a: its edge leads to 'c'" in str(error)


@pytest.mark.requirement("S-36", "C-58")
async def test_completed_steps_are_undone_in_reverse_order_of_completion(engine: Engine) -> None:
    undone: list[Any] = []

    def undo(*call: Any) -> None:
        undone.append(call)

    def fail() -> None:
        raise Broken("no")

    graph = (
        engine.app.graph("g")
        .step("a", lambda given: f"a{given}", compensate=undo)
        .loop("b", lambda iteration: iteration, until="iteration == 2", compensate=undo)
        .map("c", lambda item: item, over="['x', 'y']", compensate=undo, queue="side")
        .step("fail", fail, retry=hf.Retry.never())
    )

    assert isinstance(await failure_of(engine, graph, 7), Broken)
    assert set(undone[:2]) == {("x", "x"), ("y", "y")}
    assert undone[2:] == [(2, 2), (1, 1), (7, "a7")]


async def test_a_step_in_another_line_is_a_run_of_its_own_with_the_nodes_options(engine: Engine) -> None:
    tries: list[str] = []

    def work(order: Order) -> str:
        tries.append(order.name)
        if len(tries) < 3:
            raise Broken("again")
        return order.name

    graph = engine.app.graph("g").step("work", work, queue="side", retry=QUICK)

    assert await outcome_of(engine, graph, Order("a", 1)) == {"work": "a"}
    page = await engine.client.list(queue="side")
    assert [run.workflow for run in page.runs] == ["step:g.work"]


async def test_a_step_that_fails_in_another_line_fails_its_node_with_its_own_error(engine: Engine) -> None:
    def work() -> None:
        raise Broken("there")

    graph = engine.app.graph("g").step("work", work, queue="side", retry=hf.Retry.never())

    error = await failure_of(engine, graph)

    assert isinstance(error, Broken)
    assert str(error) == "there"


@pytest.mark.requirement("S-14")
@pytest.mark.parametrize("key", ["", "a/b", "a#1", "a~b", "a[0]"])
async def test_an_empty_reserved_or_double_key_is_refused_before_anything_runs(engine: Engine, key: str) -> None:
    with pytest.raises(hf.GraphError, match=r"a: 2 nodes have this key"):
        engine.app.graph("g").step(key, lambda: 0).step("a", lambda: 0).step("a", lambda: 0).build()


async def test_a_graph_is_started_by_its_name_in_bulk_and_with_its_own_queue_and_deadline(engine: Engine) -> None:
    graph = engine.app.graph("g", queue="side", timeout=60).step("a", lambda given: given)

    async with engine.worker(queues=("side",)):
        one = await engine.client.start("g", 1)
        [two] = await engine.client.start_many([hf.Start(workflow=graph, args=(2,))])
        assert [await one.result(60), await two.result(60)] == [{"a": 1}, {"a": 2}]

    run = await two.get()
    assert run.queue == "side"
    assert run.deadline_ms is not None


@pytest.mark.requirement("C-58", "R-25")
async def test_a_deadline_ends_a_graph_and_a_cancel_does(engine: Engine) -> None:
    graph = engine.app.graph("g").wait_for_signal("w", "never").step("b", lambda: 0)
    graph.wait_for_signal("side", "never", after=[])

    async with engine.worker():
        late = await engine.client.start(graph, None, timeout=0.3)
        unwanted = await engine.client.start(graph, None)
        await asyncio.sleep(0.1)
        await unwanted.cancel()
        ended = await engine.client.wait_for_end(late.id, timeout=60)
        assert ended.terminal_reason == "deadline_exceeded"
        assert (await engine.client.wait_for_end(unwanted.id, timeout=60)).status is RunStatus.CANCELLED


async def test_a_worker_refuses_graphs_that_cannot_be_run_and_names_every_problem(engine: Engine) -> None:
    engine.app.graph("empty")
    engine.app.graph("bad").step("a", lambda x, y: 0).step("b", lambda: 0, when="(")

    with pytest.raises(hf.GraphError) as refused:
        async with engine.worker():
            pass

    assert [problem.code for problem in refused.value.problems] == ["empty_graph", "bad_expression"]


async def test_arguments_that_do_not_fit_fail_the_node_and_are_journaled(engine: Engine) -> None:
    def take(order: Order) -> None: ...

    graph = engine.app.graph("g").step("take", take)

    async with engine.worker():
        run = await engine.client.start(graph, {"name": 5})
        with pytest.raises(hf.errors.RunFailed) as failed:
            await run.result(60)

    assert isinstance(failed.value.__cause__, hf.errors.DecodeError)
    [entry] = engine.detail(run.id).journal
    assert (entry.key, entry.status) == ("take", EntryStatus.FAILED)


async def test_an_approval_waits_for_a_person_and_edges_look_at_the_answer(engine: Engine) -> None:
    form = {"type": "object", "properties": {"limit": {"type": "integer"}}, "required": ["limit"]}
    graph = engine.app.graph("g").approve("ask", form=form, by="ann")
    graph.step("yes", lambda ask: ask["data"]["limit"], after=[]).edge("ask", "yes", "result.approved")
    graph.step("no", lambda ask: ask["by"], after=[]).edge("ask", "no", "!result.approved")

    async with engine.worker():
        granted = await engine.client.start(graph)
        refused = await engine.client.start(graph)
        while len(await _open_approvals(engine)) < 2:
            await asyncio.sleep(0.02)
        await engine.client.approve(granted.id, "ask", by="ann", data={"limit": 5})
        await engine.client.reject(refused.id, "ask", by="ann")
        assert await granted.result(60) == {"yes": 5}
        assert await refused.result(60) == {"no": "ann"}


async def _open_approvals(engine: Engine) -> list[str]:
    return [one.key for one in (await engine.client.approvals()).approvals]
