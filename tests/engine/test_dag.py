"""What the client tells of the steps of runs that workers execute: every kind of node, in the middle and at the end."""

# Lambdas stand for the handlers of nodes here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.client import Client
from holdfast.client.dag import Dag
from holdfast.client.sync import SyncClient
from holdfast.errors import DefinitionNotFound, NoResult, NotADependency, RunNotFound, StepNotFound
from holdfast.model.ids import RunId
from holdfast.model.status import RunStatus, StepState
from holdfast.store.port import Statements
from holdfast.store.tenancy import OF_RUNS
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio

NEVER = hf.Retry.never()
DONE, FAILED, SKIPPED = StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED
BLOCKED, READY, RUNNING, WAITING = StepState.BLOCKED, StepState.READY, StepState.RUNNING, StepState.WAITING


class Broken(Exception):
    """It is broken."""


def states(dag: Dag) -> dict[str, StepState | None]:
    return {row.name: row.state for row in dag.step_states()}


async def until(engine: Engine, run_id: str, true: Callable[[Dag], bool]) -> Dag:
    """The steps of a run, as soon as they are so."""
    async with asyncio.timeout(60):
        while not true(dag := await engine.client.dag(run_id)):
            await asyncio.sleep(0.02)
    return dag


async def ended(engine: Engine, graph: hf.Graph, given: Any = None) -> Dag:
    """The steps of a run that a worker brought to its end."""
    async with engine.worker(queues=("default", "side")):
        run = await engine.client.start(graph.name, given)
        await engine.client.wait_for_end(run.id, timeout=60)
        return await engine.client.dag(run.id)


@pytest.mark.requirement("B-03", "B-04", "B-10", "B-12")
async def test_a_run_in_the_middle_tells_what_is_done_what_runs_what_waits_and_what_is_blocked(engine: Engine) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await go.wait()
        return "slow"

    graph = engine.app.graph("middle")
    graph.step("first", lambda: [1, None])
    graph.wait_for_signal("asked", "go", after=["first"])
    graph.step("slow", slow, after=["first"])
    graph.step("never", lambda: None, after=["first"], when="1 > 2")
    graph.step("other", lambda: "x", after=["first"]).edge("first", "other", "on_failure")
    graph.step("last", lambda slow, asked: [slow, asked], after=["slow", "asked", "never"])

    async with engine.worker():
        run = await engine.client.start(graph)
        await begun.wait()
        dag = await until(engine, run.id, lambda dag: states(dag)["asked"] is WAITING)

        assert states(dag) == {
            "asked": WAITING,
            "first": DONE,
            "last": BLOCKED,
            "never": SKIPPED,
            "other": SKIPPED,
            "slow": READY,
        }
        assert dag.completed_step_names() == ["first"]
        assert [row.name for row in dag.waiting_dependents("first")] == ["slow"]
        assert [(row.name, row.dependencies) for row in dag.waiting_dependents("asked")] == [
            ("last", ("asked", "never", "slow"))
        ]
        assert [(row.name, row.state) for row in dag.dependency_states(["slow", "asked", "nowhere"])] == [
            ("asked", WAITING),
            ("slow", READY),
        ]
        with pytest.raises(NoResult, match="blocked"):
            dag.result_for("last")
        go.set()
        await run.signal("go", "now")
        assert await run.result(60) == {"last": ["slow", "now"]}
        after = await engine.client.dag(run.id)

    assert states(dag)["last"] is BLOCKED, "what was read stays as it was"
    assert {name: state for name, state in states(after).items() if state is not DONE} == {
        "never": SKIPPED,
        "other": SKIPPED,
    }
    assert after.results_for(["first", "asked", "never", "other", "last"]) == {
        "first": [1, None],
        "asked": "now",
        "last": ["slow", "now"],
    }


@pytest.mark.requirement("B-02", "B-07", "B-08", "B-09")
async def test_every_kind_of_step_tells_its_state_and_its_result(engine: Engine) -> None:
    @engine.app.workflow
    async def child(value: str) -> str:
        return value.upper()

    def fill(inner: Any) -> dict[str, Any]:
        return {"nodes": [{"kind": "step", "key": "planned", "handler": "name", "input": {"value": "'z'"}}]}

    @engine.app.step
    async def name(value: Any = "x") -> str:
        return f"<{value}>"

    inner = engine.app.graph("inner").step("one", name, input={"value": "input.x"})
    graph = (
        engine.app.graph("all")
        .step("nothing", lambda: None)
        .parallel("side", {"a": name, "b": name})
        .route("way", "'left'", {"left": name, "right": name})
        .loop("loop", lambda result: (result or 0) + 1, until="result == 3")
        .map("map", name, over="['p', 'q']", input={"value": "item"})
        .map("away", name, over="[1, 2]", input={"value": "item"}, queue="side")
        .sleep("rest", 0.01)
        .child("child", child, input={"value": "'c'"})
        .subgraph("inner", inner, input={"x": "results.child"})
        .graft("graft", fill)
        .step("end", lambda: "end")
    )

    dag = await ended(engine, graph)

    assert set(states(dag).values()) == {DONE}
    assert dag.results_for([row.name for row in dag.step_states()]) == {
        "nothing": None,
        "side": {"a": "<x>", "b": "<x>"},
        "way": {"branch": "left", "result": "<x>"},
        "loop": [1, 2, 3],
        "map": ["<p>", "<q>"],
        "away": ["<1>", "<2>"],
        "rest": None,
        "child": "C",
        "inner": {"one": "<C>"},
        "graft": {"planned": "<z>"},
        "end": "end",
    }
    assert dag.own_result("nothing") is None


@pytest.mark.requirement("B-21", "B-25")
async def test_failures_that_are_ignored_tolerated_or_taken_care_of_are_told_apart(engine: Engine) -> None:
    @engine.app.step(retry=NEVER)
    async def fail(value: Any = None) -> None:
        raise Broken("no")

    @engine.app.step(retry=NEVER)
    async def odd(value: int) -> int:
        if value % 2:
            raise Broken("odd")
        return value

    broken = (
        engine.app.graph("broken").step("bad", fail).step("after", lambda: "went on").edge("bad", "after", "always")
    )
    graph = engine.app.graph("mixed")
    graph.step("bad", fail)
    graph.step("on", lambda: "on", after=["bad"], ignore_failed=True)
    graph.step("off", lambda: "off", after=["bad"], when="1 > 2", ignore_failed=True)
    graph.map("some", odd, over="[1, 2, 3]", input={"value": "item"}, tolerate=2)
    graph.subgraph("inner", broken)
    graph.wait_for_signal("late", "never", timeout=0.05)
    graph.step("timed", lambda: "timed", after=["late"]).edge("late", "timed", "on_timeout")

    await engine.client.closings.subscribe("audit", "mixed")
    dag = await ended(engine, graph)
    [closing] = await engine.client.closings.claim("audit")

    assert dag.run.status is RunStatus.COMPLETED
    assert states(dag) == {
        "bad": FAILED,
        "on": DONE,
        "off": SKIPPED,
        "some": DONE,
        "inner": DONE,
        "late": FAILED,
        "timed": DONE,
    }
    assert dag.result_for("some") == [None, 2, None]
    assert (closing.status, closing.failed_steps) == (RunStatus.COMPLETED, ["bad", "inner", "some"])


@pytest.mark.requirement("B-21")
async def test_when_a_failure_ends_the_run_what_follows_is_passed_over(engine: Engine) -> None:
    @engine.app.step(retry=NEVER)
    async def fail() -> None:
        raise Broken("no")

    graph = engine.app.graph("fails").step("first", lambda: 1).parallel("side", {"good": lambda: 1, "bad": fail})
    graph.step("after", lambda: 2)
    graph.sleep("rest", 60, after=["first"])

    dag = await ended(engine, graph)

    assert dag.run.status is RunStatus.FAILED
    assert states(dag) == {"first": DONE, "side": FAILED, "after": SKIPPED, "rest": SKIPPED}


async def test_a_step_that_is_tried_again_waits_for_its_next_attempt(engine: Engine) -> None:
    @engine.app.step(retry=hf.Retry(max_attempts=2, initial=timedelta(seconds=60)))
    async def flaky() -> None:
        raise Broken("not yet")

    graph = engine.app.graph("retried").step("flaky", flaky).step("after", lambda: 1)

    async with engine.worker():
        run = await engine.client.start(graph)
        dag = await until(engine, run.id, lambda dag: states(dag)["flaky"] is WAITING)

    [after, flaky_row] = dag.step_states()
    assert (after.state, after.attempted_ms) == (BLOCKED, None)
    assert flaky_row.attempted_ms is not None


async def test_a_loop_and_a_map_in_the_middle_are_running(engine: Engine) -> None:
    go = asyncio.Event()

    @engine.app.step
    async def slow(value: int) -> int:
        if value == 2:
            await go.wait()
        return value

    graph = engine.app.graph("loops")
    graph.map("map", slow, over="[1, 2]", input={"value": "item"})
    graph.loop("loop", slow, until="result == 3", input={"value": "iteration"}, after=[])

    async with engine.worker():
        run = await engine.client.start(graph)
        dag = await until(engine, run.id, lambda dag: set(states(dag).values()) == {RUNNING})
        with pytest.raises(NoResult, match="running"):
            dag.result_for("map")
        go.set()
        await run.result(60)
        after = await engine.client.dag(run.id)

    assert after.results_for(["map", "loop"]) == {"map": [1, 2], "loop": [1, 2, 3]}


@pytest.mark.requirement("B-04", "B-51")
async def test_a_child_that_is_purged_is_none_while_it_is_waited_for_and_remembered_once_it_ended(
    engine: Engine,
) -> None:
    @engine.app.workflow
    async def child() -> str:
        return await hf.wait_for_signal("go", str)

    graph = engine.app.graph("parent").child("quick", child).child("long", child).step("after", lambda: 1)

    def purge(run_id: str) -> None:
        def work(statements: Statements) -> None:
            from sqlalchemy import delete

            from holdfast.store.tables import RUNS

            statements.changed(delete(RUNS).where(RUNS.c.id == run_id))
            for table in OF_RUNS:
                statements.changed(delete(table).where(table.c.run_id == run_id))

        if engine.opened.kind == "memory":
            engine.store._tables.forget(RunId(run_id))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        else:
            engine.store.transact(None, work)

    async def waited_for(run_id: str, key: str) -> str:
        await until(engine, run_id, lambda dag: states(dag)[key] is WAITING)
        return next(str(wait.child_id) for wait in engine.detail(run_id).waits if wait.key == key)

    async with engine.worker():
        run = await engine.client.start(graph)
        quick = await waited_for(run.id, "quick")
        await engine.client.signal("go", "done", run_id=quick)
        long = await waited_for(run.id, "long")
    purge(quick)
    purge(long)
    dag = await engine.client.dag(run.id)

    assert states(dag) == {"quick": DONE, "long": None, "after": BLOCKED}
    assert dag.result_for("quick") == "done"


@pytest.mark.requirement("B-23")
async def test_both_clients_read_results_for_those_who_follow(engine: Engine) -> None:
    graph = engine.app.graph("reads").step("a", lambda: 1).step("b", lambda: 2).step("c", lambda: 3)
    asked = await ended(engine, graph)

    def read() -> Dag:
        client = SyncClient(Client(engine.store, engine.host, registry=engine.app))
        try:
            return client.dag(asked.run.id)
        finally:
            client.close()

    for dag in (asked, await asyncio.to_thread(read)):
        assert states(dag) == {"a": DONE, "b": DONE, "c": DONE}
        assert dag.read_result("c", of="b") == 2
        with pytest.raises(NotADependency):
            dag.read_result("c", of="a")
        with pytest.raises(StepNotFound):
            dag.read_result("c", of="nowhere")
        assert dag.find_step("nowhere") is None


async def test_a_run_without_steps_to_tell_of_is_refused(engine: Engine) -> None:
    @engine.app.workflow
    async def plain() -> None: ...

    run = await engine.client.start(plain)

    with pytest.raises(DefinitionNotFound):
        await engine.client.dag(run.id)
    with pytest.raises(RunNotFound):
        await engine.client.dag("00000000-0000-7000-8000-000000000001")


@pytest.mark.requirement("B-50")
async def test_what_waits_is_neither_claimed_nor_written_to_however_often_workers_look(engine: Engine) -> None:
    graph = engine.app.graph("patient").wait_for_signal("asked", "go").step("after", lambda asked: asked)

    async with engine.worker(poll=timedelta(milliseconds=20)), engine.worker(poll=timedelta(milliseconds=20)):
        run = await engine.client.start(graph)
        await until(engine, run.id, lambda dag: states(dag)["asked"] is WAITING)
        while (before := engine.detail(run.id)).run.status is not RunStatus.WAITING:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        after = engine.detail(run.id)
        await run.signal("go", 1)
        assert await run.result(60) == {"after": 1}

    assert (after.run, after.transitions) == (before.run, before.transitions)
    assert engine.detail(run.id).run.epoch == before.run.epoch + 1


@pytest.mark.requirement("B-55", "B-22")
@pytest.mark.parametrize("answer", [None, {}, [], "", 0, False])
async def test_a_step_that_answered_next_to_nothing_is_not_run_again(engine: Engine, answer: Any) -> None:
    ran: list[str] = []

    def once() -> Any:
        ran.append("once")
        return answer

    graph = engine.app.graph("guarded").step("once", once).sleep("rest", LONG_S).step("after", lambda once: [once])
    graph.edge("once", "after")

    async with engine.worker():
        run = await engine.client.start(graph.name)
        assert await run.result(60) == {"after": [answer]}

    assert ran == ["once"]
    assert engine.detail(run.id).run.epoch > 1, "it was parked, and replayed"
