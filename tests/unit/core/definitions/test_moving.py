from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from holdfast.core.definitions.moving import MovePlan, plan_move
from holdfast.model.definition import Branch, Definition, Node, ParallelNode, SignalNode, StepNode, SubgraphNode
from holdfast.model.ids import DEFAULT_TENANT, Json, UnixMs, WorkerId
from holdfast.model.run import Entry, RunDetail, Wait
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


def test_nodes_that_both_versions_have_keep_their_records() -> None:
    old, new = graph(step("account"), step("mail")), graph(step("account"), step("letter"), step("stamp"))

    found = plan(old, new, detail_of(record("account")))

    assert (found.allowed, found.kept, found.renamed) == (True, ["account"], {})


def test_a_recorded_key_that_the_new_version_lacks_is_refused() -> None:
    found = plan(graph(step("account"), step("mail")), graph(step("account")), detail_of(record("mail")))

    assert found.problems == ["'mail' is recorded, and the new version has no node 'mail': map it to another one"]


def test_a_recorded_key_whose_kind_differs_is_refused() -> None:
    new = graph(SignalNode(key="account", signal="go"))

    found = plan(graph(step("account")), new, detail_of(record("account")))

    assert found.problems == ["'account' is recorded of a step, and 'account' is a signal"]


def test_a_recorded_step_that_the_node_does_not_call_any_more_is_refused() -> None:
    found = plan(graph(step("a", "old")), graph(step("a", "new")), detail_of(record("a", "old")))

    assert found.problems == ["'a' is recorded of step 'old', and 'a' calls 'new'"]


def test_a_mapping_gives_records_new_keys_with_all_that_belongs_to_them() -> None:
    inner = step("inner", "do")
    old = graph(SubgraphNode(key="outer", nodes=(inner,)), step("mail", "send"))
    new = graph(SubgraphNode(key="around", nodes=(inner,)), step("post", "send"))
    detail = detail_of(record("outer/inner", "do"), record("mail~selector", "choose"), record("mail", "send"))

    found = plan(old, new, detail, outer="around", mail="post")

    assert found.allowed
    assert found.renamed == {"outer/inner": "around/inner", "mail~selector": "post~selector", "mail": "post"}


def test_a_branch_that_the_new_version_lacks_is_refused() -> None:
    old = graph(ParallelNode(key="both", branches={"x": Branch(handler="do"), "y": Branch(handler="do")}))
    new = graph(ParallelNode(key="both", branches={"x": Branch(handler="do")}))

    found = plan(old, new, detail_of(record("both/x", "do"), record("both/y", "do")))

    assert (found.kept, found.problems) == (["both"], ["'both/y' is recorded, and 'both' has no branch 'y'"])


def test_nothing_is_renamed_over_another_record() -> None:
    old = graph(step("a", "do"), step("b", "do"))

    found = plan(old, old, detail_of(record("a", "do"), record("b", "do")), a="b")

    assert found.problems == ["'b' is recorded already, so nothing can be renamed to it"]


def test_open_waits_are_looked_at_like_records() -> None:
    wait = Wait(key="consent", seq=1, kind=WaitKind.SIGNAL, signal="go", opened_ms=UnixMs(1))
    old = graph(SignalNode(key="consent", signal="go"))

    found = plan(old, graph(step("account")), detail_of(waits=(wait,)))

    assert "'consent' is recorded, and the new version has no node 'consent'" in found.problems[0]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({"status": RunStatus.COMPLETED}, "the run is completed"),
        ({"status": RunStatus.COMPENSATING}, "the run is compensating"),
        ({"status": RunStatus.RUNNING, "worker": WorkerId("w")}, "worker w holds it; pause it first"),
    ],
)
def test_a_run_that_ended_undoes_or_is_held_is_not_moved(run: dict[str, Any], why: str) -> None:
    assert plan(graph(step("a")), graph(step("a")), detail_of(**run)).problems == [why]


def test_a_mapping_of_what_is_not_there_and_an_input_that_differs_are_told() -> None:
    new = graph(StepNode(key="a", handler="a", input={"x": "input.y"}))

    found = plan(graph(step("a")), new, detail_of(record("a")), z="a")

    assert found.problems == ["version 1 has no node 'z'"]
    assert "'a' computes its input differently" in found.notes[0]
    assert found.lines()[0] == "keeps a"


def test_what_belongs_to_no_node_of_its_own_version_is_refused() -> None:
    found = plan(graph(step("a")), graph(step("a")), detail_of(record("x")))

    assert found.problems == ["'x' is recorded, and belongs to no node of the run's own version"]
