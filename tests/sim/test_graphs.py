"""Graphs in the simulator: random ones with a crash at every commit point, and one that has every kind of node."""

# Lambdas stand for the handlers of nodes here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import holdfast as hf
from holdfast.client.dag import Dag, Dags
from holdfast.core.graphs import Interpreter, Plan
from holdfast.model.definition import Definition
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.status import RunStatus, StepState
from holdfast.runtime import walk
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.memory import MemoryStore
from holdfast.testing import CrashPoint, RunOutcome, crash_everywhere
from holdfast.testing.sim.cluster import Cluster, simulation
from holdfast.testing.sim.crash import CRASHES, Sweep
from holdfast.testing.sim.network import Calm
from holdfast.testing.sim.observe import replaced
from tests.graph_reference import RefEdge, RefNode, what_must_happen
from tests.graph_strategies import definition_edges, definition_nodes, graphs


class Broken(Exception):
    """It is broken."""


def make_graph(nodes: list[RefNode], edges: list[RefEdge]) -> tuple[hf.App, hf.Graph]:
    app = hf.App("random")

    @app.step
    async def work(key: str) -> str:
        await asyncio.sleep(int(key[1:]) % 3 / 100)
        return key

    @app.step
    async def undo(key: str, result: str) -> None:
        assert key == result

    @app.step
    async def fail(key: str) -> None:
        await asyncio.sleep(int(key[1:]) % 2 / 100)
        raise Broken(key)

    graph = app.graph("g")
    definition = Definition(workflow="g", nodes=definition_nodes(nodes), edges=definition_edges(edges))
    graph._built = definition  # pyright: ignore[reportPrivateUsage]  # as a stored one would be
    return app, graph


def check_outcome(outcome: RunOutcome, nodes: list[RefNode], edges: list[RefEdge]) -> None:
    """What the contract says of the run: exactly if it completes; if it fails, others may have been stopped before."""
    expected = what_must_happen(nodes, edges)
    steps = {node.key for node in nodes if node.ends != "timed_out"}
    words = {"done": "completed", "failed": "failed"}
    journal = {key: words[state] for key, state in expected.states.items() if key in steps and state in words}
    if expected.completed:
        last = {node.key for node in nodes} - {edge.source for edge in edges}
        results = {key: None if expected.states[key] == "passed" else key for key in last}
        ended = {key for key in last if expected.states[key] in ("done", "passed")}
        assert outcome.status is RunStatus.COMPLETED
        assert outcome.result == {key: results[key] for key in ended}
        assert outcome.journal == journal
        return
    assert outcome.status is RunStatus.FAILED
    forward = {key: state for key, state in outcome.journal.items() if "~" not in key}
    assert forward.items() <= journal.items()
    undone = {key.removesuffix("~compensate") for key in outcome.journal if key.endswith("~compensate")}
    assert undone == {key for key, state in forward.items() if state == "completed"}


@pytest.mark.requirement("fault-1", "S-05", "B-22", "S-55")
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graph=graphs(largest=6, cancelled=False))
def test_random_graphs_end_as_the_contract_says_wherever_their_worker_dies(
    graph: tuple[list[RefNode], list[RefEdge]],
) -> None:
    nodes, edges = graph
    app, made = make_graph(nodes, edges)
    sweep = Sweep(
        made, (), app, (), within=timedelta(hours=1), settings=WorkerSettings(), make_store=MemoryStore, seed=0
    )

    outcome, calls = sweep.run(None, None, None)
    check_outcome(outcome, nodes, edges)
    for call in range(1, calls + 1):
        for fault in CRASHES:
            after, _ = sweep.run(CrashPoint(call, fault), None, None)
            check_outcome(after, nodes, edges)


def make_everything() -> tuple[hf.App, hf.Graph]:
    """One node of each kind that a run does by itself."""
    app = hf.App("everything")

    @app.step
    async def name(value: Any = "x") -> str:
        await asyncio.sleep(0.01)
        return f"<{value}>"

    @app.step(retry=hf.Retry(max_attempts=3, initial=timedelta(seconds=1), jitter=0))
    async def flaky(value: str) -> str:
        if hf.current_node().attempt < 2:
            raise Broken(value)
        return value

    @app.workflow
    async def child(value: str) -> str:
        await hf.sleep(5)
        return value

    async def plan(gather: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {"kind": "step", "key": key, "handler": "name", "input": {"value": f"'{key}'"}} for key in gather["route"]
        ]
        return {"nodes": nodes}

    inner = (
        app.graph("inner").step("one", name, input={"value": "input.x"}).sleep("rest", 2).step("two", lambda one: one)
    )
    graph = (
        app.graph("everything")
        .step("first", name, compensate=lambda value="", result="": None)
        .parallel("side", {"a": name, "b": hf.With(flaky, input={"value": "'b'"})})
        .route("route", "'left'", {"left": name, "right": name})
        .loop("loop", lambda result: (result or 0) + 1, until="result == 3")
        .map("map", name, over="['p', 'q', 'r']", concurrency=2, input={"value": "item"})
        .map("away", name, over="[1, 2, 3]", concurrency=2, input={"value": "item"}, queue="default")
        .sleep("sleep", 60)
        .wait_for_signal("signal", "go")
        .child("child", child, input={"value": "results.signal"})
        .subgraph("sub", inner, input={"x": "results.child"})
        .step("gather", lambda sub, route: {"sub": sub, "route": route})
        .graft("graft", plan)
        .step("end", lambda graft, map, away, loop, side: [graft, map, away, loop, side])  # noqa: A006 - the nodes' keys
    )
    return app, graph


@pytest.mark.requirement("S-19", "S-20", "B-56", "O-03", "O-04", "C-58")
def test_a_graph_of_every_kind_of_node_survives_the_death_of_its_worker_at_every_moment() -> None:
    app, graph = make_everything()

    report = crash_everywhere(graph, app=app, signals=[("go", "payload")])

    assert report.outcome.status is RunStatus.COMPLETED
    assert report.outcome.result == {
        "end": [
            {"branch": "<branch>", "result": "<result>"},
            ["<p>", "<q>", "<r>"],
            ["<1>", "<2>", "<3>"],
            [1, 2, 3],
            {"a": "<x>", "b": "b"},
        ]
    }
    assert len(report.points) == 2 * report.calls


class Watched:
    """A graph's run in the simulator, with the interpreter that its worker walks."""

    def __init__(self) -> None:
        self.interpreters: list[Interpreter] = []
        self.read: list[dict[str, StepState | None]] = []
        self.dag: Dag | None = None

    async def play(self, cluster: Cluster) -> None:
        """Run it, and look at its steps all the time."""
        cluster.start_worker()
        process, client = cluster.make_client("client")

        async def start() -> RunId:
            return (await client.start("g")).id

        run_id = await process.spawn(start())
        dags = Dags(cluster.store, DEFAULT_TENANT)
        while cluster.unended():
            self.read.append(states_of(dags.read(run_id)))
            await asyncio.sleep(0.01)
        self.dag = dags.read(run_id)

    def outermost(self, plan: Plan, *, input: Any, run: Any) -> Interpreter:  # noqa: A002 - the interpreter's word
        """In place of the interpreter's class."""
        made = Interpreter(plan, input=input, run=run)
        self.interpreters.append(made)
        return made


def states_of(dag: Dag) -> dict[str, StepState | None]:
    return {row.name: row.state for row in dag.step_states()}


LATER = {
    StepState.BLOCKED: set(StepState),
    StepState.READY: set(StepState) - {StepState.BLOCKED},
    StepState.RUNNING: set(StepState) - {StepState.BLOCKED, StepState.READY},
    StepState.WAITING: set(StepState) - {StepState.BLOCKED, StepState.READY},
    StepState.COMPLETED: {StepState.COMPLETED},
    StepState.FAILED: {StepState.FAILED},
    StepState.SKIPPED: {StepState.SKIPPED},
}
"""What a step may be later."""


@pytest.mark.requirement("B-04", "B-10", "B-24", "O-01")
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graph=graphs(largest=8, cancelled=False))
def test_the_steps_are_told_as_the_interpreter_of_the_worker_sees_them(
    graph: tuple[list[RefNode], list[RefEdge]],
) -> None:
    nodes, edges = graph
    app, _ = make_graph(nodes, edges)
    watched = Watched()
    with (
        simulation(app, MemoryStore, seed=1, weather=Calm(), settings=WorkerSettings()) as cluster,
        replaced(walk, "Interpreter", watched.outermost),
    ):
        cluster.run(watched.play(cluster))
    dag, worker = watched.dag, watched.interpreters[-1]
    assert dag is not None
    ended = states_of(dag)

    for before, after in pairwise([*watched.read, ended]):
        for key, state in before.items():
            assert state is not None
            assert after[key] in LATER[state], f"{key} was {state}, and then {after[key]}"
    done = {key for key, state in ended.items() if state is StepState.COMPLETED}
    results = {key: result for key, result in worker.results.items() if key in done}
    if dag.run.status is RunStatus.COMPLETED:
        assert {key for key, state in ended.items() if state is StepState.FAILED} == worker.failures.keys()
        assert done == {key for key in worker.results if nodes_by_key(nodes)[key].when is not False}
        passed_over = worker.skipped | (worker.results.keys() - done)
        assert {key for key, state in ended.items() if state is StepState.SKIPPED} == passed_over
        assert dag.results_for(sorted(done)) == results
    else:
        # Others were at work when the failure came that ended the run: the walk did not hear of what they recorded.
        assert ended[worker.failed or ""] is StepState.FAILED
        assert results.keys() <= done
        assert dag.results_for(sorted(results)) == results
        assert set(ended.values()) <= {StepState.COMPLETED, StepState.FAILED, StepState.SKIPPED}


def nodes_by_key(nodes: list[RefNode]) -> dict[str, RefNode]:
    return {node.key: node for node in nodes}
