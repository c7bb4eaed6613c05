"""What is known of each step of a graph's run, fed by the run's own record and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.client.dag import Dag, Dags, StepRow
from holdfast.errors import (
    AlreadyStored,
    DefinitionNotFound,
    LeaseLost,
    NoResult,
    NotADependency,
    RunNotFound,
    StepNotFound,
)
from holdfast.model.commit import Finish
from holdfast.model.definition import Branch, ChildNode, Definition, Edge, Node, ParallelNode, SleepNode, StepNode
from holdfast.model.ids import DEFAULT_TENANT, Json, UnixMs
from holdfast.model.run import ClaimedRun
from holdfast.model.status import EntryStatus, RunStatus, StepState
from tests.contract.scene import ERROR, OTHER_TENANT, Scene, attempt, child_wait, entry, run_id, timer

NAMES = ("extract", "clean", "index", "load")
EDGES = [("extract", "clean"), ("extract", "index"), ("clean", "load"), ("index", "load")]


def graph(nodes: tuple[Node, ...], edges: list[tuple[str, str]]) -> Definition:
    return Definition(workflow="order", nodes=nodes, edges=tuple(Edge(source=a, target=b) for a, b in edges))


ETL = graph(tuple(StepNode(key=name, handler=name) for name in NAMES), EDGES)


def dags_of(scene: Scene, definition: Definition = ETL, tenant: Any = DEFAULT_TENANT) -> Dags:
    return Dags(scene.store, tenant, definition_of=lambda _: definition)


def dag_of(scene: Scene, run: ClaimedRun, definition: Definition = ETL) -> Dag:
    return dags_of(scene, definition).read(run.id)


def states(rows: list[StepRow]) -> dict[str, StepState | None]:
    return {row.name: row.state for row in rows}


def held(scene: Scene) -> ClaimedRun:
    """A run that a worker holds, with the input of a graph that is given none."""
    return scene.held(1, input=Json(b'{"value":{}}'))


@pytest.fixture
def half(scene: Scene) -> ClaimedRun:
    """A run in which ``extract`` completed and ``clean`` failed once."""
    run = held(scene)
    done = entry(run, "extract", 1, result=Json(b'{"value":[1,"two",null]}'), started_ms=UnixMs(5))
    scene.accept(run, entries=[done], attempts=[attempt("clean", 1)], waits=[timer("clean~retry", 2, 1000)])
    return run


@pytest.mark.requirement("B-03", "B-10")
def test_every_step_has_a_state_and_the_completed_ones_are_named(scene: Scene, half: ClaimedRun) -> None:
    dag = dag_of(scene, half)

    assert dag.completed_step_names() == ["extract"]
    assert states(dag.step_states()) == {
        "clean": StepState.WAITING,
        "extract": StepState.COMPLETED,
        "index": StepState.READY,
        "load": StepState.BLOCKED,
    }


@pytest.mark.requirement("B-04", "B-05")
def test_dependencies_are_told_with_their_state_and_last_attempt(scene: Scene, half: ClaimedRun) -> None:
    dag = dag_of(scene, half)

    rows = dag.dependency_states(["extract", "clean", "nowhere"])

    assert [(row.name, row.attempted_ms) for row in rows] == [("clean", 1), ("extract", 5)]
    assert dag.find_step("load") == StepRow(name="load", state=StepState.BLOCKED, dependencies=("clean", "index"))
    assert dag.find_step("nowhere") is None


@pytest.mark.requirement("B-04", "B-51")
def test_a_purged_dependency_is_seen_as_such_and_never_vanishes(scene: Scene) -> None:
    """The child's run is not stored any more, and no end of it was recorded here."""
    definition = graph((ChildNode(key="bill", workflow="ship"), StepNode(key="send", handler="h")), [("bill", "send")])
    run = held(scene)
    scene.accept(run, waits=[child_wait("bill", 1, run_id(404))])

    rows = dag_of(scene, run, definition).dependency_states(["bill"])

    assert [(row.name, row.state) for row in rows] == [("bill", None)]
    assert states(dag_of(scene, run, definition).step_states())["bill"] is None


@pytest.mark.requirement("B-02", "B-07", "B-55")
def test_a_steps_own_result_is_its_guard_and_a_recorded_null_is_one(scene: Scene, half: ClaimedRun) -> None:
    scene.accept(half, entries=[entry(half, "index", 3, result=Json(b'{"value":null}'))])
    dag = dag_of(scene, half)

    assert dag.own_result("extract") == [1, "two", None]
    assert dag.own_result("index") is None
    for step in ("load", "nowhere"):
        with pytest.raises(NoResult) as caught:
            dag.own_result(step)
        assert caught.value.code == "no_result"


@pytest.mark.requirement("B-08")
def test_a_step_that_is_not_there_differs_from_one_that_stored_nothing_yet(scene: Scene, half: ClaimedRun) -> None:
    dag = dag_of(scene, half)

    assert dag.result_for("extract") == [1, "two", None]
    with pytest.raises(NoResult, match="blocked"):
        dag.result_for("load")
    with pytest.raises(StepNotFound):
        dag.result_for("nowhere")


@pytest.mark.requirement("B-09")
def test_of_several_results_those_not_stored_are_left_out(scene: Scene, half: ClaimedRun) -> None:
    assert dag_of(scene, half).results_for(["extract", "load", "nowhere"]) == {"extract": [1, "two", None]}


@pytest.mark.requirement("B-12")
def test_the_dependents_that_wait_for_a_step_are_those_that_have_not_begun(scene: Scene, half: ClaimedRun) -> None:
    dag = dag_of(scene, half)

    assert [(row.name, row.dependencies) for row in dag.waiting_dependents("extract")] == [("index", ("extract",))]
    assert [row.name for row in dag.waiting_dependents("clean")] == ["load"]
    assert dag.waiting_dependents("load") == []


@pytest.mark.requirement("B-23")
def test_a_step_reads_the_results_of_what_it_follows_and_of_nothing_else(scene: Scene, half: ClaimedRun) -> None:
    dag = dag_of(scene, half)

    assert dag.read_result("clean", of="extract") == [1, "two", None]
    with pytest.raises(NotADependency) as caught:
        dag.read_result("load", of="extract")
    assert caught.value.code == "not_a_dependency"
    with pytest.raises(NoResult):
        dag.read_result("load", of="clean")
    for step, of in (("clean", "nowhere"), ("nowhere", "extract")):
        with pytest.raises(StepNotFound):
            dag.read_result(step, of=of)


@pytest.mark.requirement("B-02", "B-11")
@pytest.mark.parametrize("value", [[1, 2], "text", 7, None, {"a": [True]}])
def test_a_result_is_stored_once_and_comes_back_as_it_was(scene: Scene, value: Any) -> None:
    dags, run = dags_of(scene), held(scene)

    dags.store_result(run, "extract", value, started_ms=UnixMs(1))

    assert dags.read(run.id).own_result("extract") == value
    with pytest.raises(AlreadyStored):
        dags.store_result(run, "extract", "another", started_ms=UnixMs(1))
    assert dags.read(run.id).own_result("extract") == value


@pytest.mark.requirement("B-11", "promise-4")
def test_a_worker_that_lost_the_run_stores_nothing(scene: Scene) -> None:
    dags, run = dags_of(scene), held(scene)
    scene.lose(run)

    with pytest.raises(LeaseLost):
        dags.store_result(run, "extract", 1, started_ms=UnixMs(1))

    assert dags.read(run.id).completed_step_names() == []


@pytest.mark.requirement("B-10")
def test_when_the_run_has_ended_every_step_is_settled(scene: Scene, half: ClaimedRun) -> None:
    failed = entry(half, "index", 3, status=EntryStatus.FAILED, result=None, error=ERROR)
    finish = Finish(RunStatus.FAILED, "retries_exhausted", error=ERROR)
    scene.accept(half, entries=[failed], cancelled=["clean~retry"], move=finish)

    found = states(dag_of(scene, half).step_states())

    assert found == {
        "extract": StepState.COMPLETED,
        "index": StepState.FAILED,
        "clean": StepState.SKIPPED,
        "load": StepState.SKIPPED,
    }


def test_waits_and_branches_settle_the_steps_they_belong_to(scene: Scene) -> None:
    branches = {"mail": Branch(handler="mail"), "crm": Branch(handler="crm")}
    definition = graph((SleepNode(key="settle", duration_ms=5), ParallelNode(key="provision", branches=branches)), [])
    run = held(scene)
    scene.accept(run, entries=[entry(run, "provision/mail", 1)], waits=[timer("settle", 2, 5)])

    before = states(dag_of(scene, run, definition).step_states())
    scene.clock.advance(10)
    scene.accept(run, entries=[entry(run, "provision/crm", 3)], elapsed=["settle"])

    assert before == {"settle": StepState.WAITING, "provision": StepState.RUNNING}
    assert set(states(dag_of(scene, run, definition).step_states()).values()) == {StepState.COMPLETED}


@pytest.mark.requirement("promise-10")
def test_another_tenants_run_is_not_found(scene: Scene, half: ClaimedRun) -> None:
    with pytest.raises(RunNotFound):
        dags_of(scene, tenant=OTHER_TENANT).read(half.id)


def test_a_run_without_a_definition_has_no_steps_to_tell_of(scene: Scene, half: ClaimedRun) -> None:
    with pytest.raises(DefinitionNotFound):
        Dags(scene.store, DEFAULT_TENANT).read(half.id)


@pytest.mark.requirement("B-24", "B-52")
def test_the_commit_that_records_a_step_is_what_releases_those_that_follow(scene: Scene) -> None:
    """No write comes after it: whoever reads in that moment finds them released, and before it not."""
    run = held(scene)
    before = states(dag_of(scene, run).step_states())
    scene.accept(run, entries=[entry(run, "extract", 1)])
    after_one = states(dag_of(scene, run).step_states())
    scene.accept(run, entries=[entry(run, "clean", 2)])
    after_two = states(dag_of(scene, run).step_states())
    scene.accept(run, entries=[entry(run, "index", 3)])
    after_three = states(dag_of(scene, run).step_states())

    ready, blocked, done = StepState.READY, StepState.BLOCKED, StepState.COMPLETED
    assert before == {"extract": ready, "clean": blocked, "index": blocked, "load": blocked}
    assert after_one == {"extract": done, "clean": ready, "index": ready, "load": blocked}
    assert after_two == {"extract": done, "clean": done, "index": ready, "load": blocked}
    assert after_three == {"extract": done, "clean": done, "index": done, "load": ready}


@pytest.mark.requirement("B-24", "B-52")
def test_two_siblings_that_end_in_one_commit_release_what_follows_both(scene: Scene) -> None:
    run = held(scene)
    scene.accept(run, entries=[entry(run, "extract", 1)])

    scene.accept(run, entries=[entry(run, "index", 2), entry(run, "clean", 3)])

    assert [row.name for row in dag_of(scene, run).waiting_dependents("clean")] == ["load"]
    assert states(dag_of(scene, run).step_states())["load"] is StepState.READY


@pytest.mark.requirement("B-24", "B-52", "promise-4")
def test_a_commit_that_is_refused_releases_nothing(scene: Scene) -> None:
    run = held(scene)
    scene.lose(run)

    assert scene.commit(run, entries=[entry(run, "extract", 1)]).refused.keys() == {run.id}

    assert states(dag_of(scene, run).step_states())["clean"] is StepState.BLOCKED
