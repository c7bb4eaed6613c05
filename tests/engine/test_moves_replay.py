"""What a plan allows is right: the renamed record of a moved run is exactly what a walk of the new version asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

import holdfast as hf
from holdfast.core.codec import Codec
from holdfast.core.definitions import content_hash, validate
from holdfast.core.definitions.moving import plan_move
from holdfast.core.failure import record_failure
from holdfast.core.graphs import Interpreter, Plan
from holdfast.core.graphs.interpreter import Completed, Failed, TimedOut
from holdfast.core.history import history_of
from holdfast.errors import SignalTimeout
from holdfast.model.definition import Definition, Edge, Node, SignalNode, StepNode
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import Entry, RunDetail, Wait
from holdfast.model.status import EntryKind, EntryStatus, WaitKind, WaitOutcome
from holdfast.store.memory import MemoryStore
from holdfast.testing.replay import replay
from tests.contract.scene import new_run, run_id
from tests.graph_reference import RefNode
from tests.graph_strategies import definition_edges, definition_nodes, graphs

APP = hf.App("moves")
CONDITIONS = ("on_success", "always", "on_failure", "1 < 2", "1 > 2")


@APP.step
async def work(key: str) -> str:
    """Never called: a replay calls no handler."""
    return key


@APP.step
async def undo(key: str, result: str) -> None:
    """Never called."""


@APP.step
async def fail(key: str) -> None:
    """Never called."""


def walk_some_way(
    definition: Definition, nodes: dict[str, RefNode], data: st.DataObject
) -> tuple[list[Any], list[Wait]]:
    """The records of a run that has come some way, its nodes ending in any order."""
    interpreter = Interpreter(Plan(definition.nodes, definition.edges, definition.options), input=None, run={})
    begun = [plan.key for plan in interpreter.begin()]
    journal: list[Entry] = []
    waits = [opened(key, nodes) for key in begun if nodes[key].ends == "timed_out"]
    for seq in range(1, data.draw(st.integers(0, len(nodes))) + 1):
        if not begun:
            break
        key = begun.pop(data.draw(st.integers(0, len(begun) - 1)))
        ends = nodes[key].ends
        if ends == "timed_out":
            waits = [closed(wait) if wait.key == key else wait for wait in waits]
            outcome: Any = TimedOut(SignalTimeout(signal="never", timeout_s=1))
        else:
            journal.append(entry(key, seq, ends))
            outcome = Completed(key) if ends == "done" else Failed(ValueError(key))
        fresh = [plan.key for plan in interpreter.ended(key, outcome)]
        assume(interpreter.failed is None)
        waits += [opened(one, nodes) for one in fresh if nodes[one].ends == "timed_out"]
        begun += fresh
    return journal, waits


def entry(key: str, seq: int, ends: str) -> Entry:
    done = ends == "done"
    return Entry(
        key=key,
        seq=seq,
        kind=EntryKind.STEP,
        name="work" if done else "fail",
        status=EntryStatus.COMPLETED if done else EntryStatus.FAILED,
        result=Codec().encode(key, "a result") if done else None,
        error=None if done else record_failure(ValueError(key), retryable=False),
        epoch=1,
        started_ms=UnixMs(1),
        completed_ms=UnixMs(2),
    )


def opened(key: str, nodes: dict[str, RefNode]) -> Wait:
    number = 100 + list(nodes).index(key)
    return Wait(key=key, seq=number, kind=WaitKind.SIGNAL, signal="never", due_ms=UnixMs(1000), opened_ms=UnixMs(1))


def closed(wait: Wait) -> Wait:
    return structs.replace(wait, outcome=WaitOutcome.ELAPSED, closed_ms=UnixMs(1000))


@st.composite
def versions(draw: st.DrawFn, old: Definition) -> tuple[Definition, dict[str, str]]:
    """Another version of a graph: some nodes and edges more, less or other, and some under other keys."""
    nodes = {node.key: draw(changed(node)) for node in old.nodes}
    edges = {(edge.source, edge.target): edge for edge in old.edges}
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(("drop edge", "edge", "condition", "drop node", "node", "node")))
        keys = sorted(nodes)
        if what in ("drop edge", "condition") and edges:
            ends = draw(st.sampled_from(sorted(edges)))
            edge = edges.pop(ends)
            if what == "condition":
                edges[ends] = structs.replace(edge, condition=draw(st.sampled_from(CONDITIONS)))
        elif what == "drop node" and len(keys) > 1:
            gone = draw(st.sampled_from(keys))
            del nodes[gone]
            edges = {ends: edge for ends, edge in edges.items() if gone not in ends}
        elif what == "node":
            key = f"m{len(keys)}"
            nodes[key] = StepNode(key=key, handler="work", input={"key": "'more'"})
            for other in draw(st.sets(st.sampled_from(keys), max_size=2)):
                edges[other, key] = Edge(source=other, target=key)
        elif len(keys) > 1:
            source, target = draw(st.permutations(keys))[:2]
            edges[source, target] = Edge(source=source, target=target, condition=draw(st.sampled_from(CONDITIONS)))
    renamed = {key: f"r-{key}" for key in sorted(nodes) if key[0] == "n" and draw(st.integers(0, 3)) == 0}

    def name(key: str) -> str:
        return renamed.get(key, key)

    return Definition(
        workflow="g",
        nodes=tuple(structs.replace(node, key=name(node.key)) for node in nodes.values()),
        edges=tuple(
            structs.replace(edge, source=name(edge.source), target=name(edge.target)) for edge in edges.values()
        ),
    ), renamed


def changed(node: Node) -> st.SearchStrategy[Node]:
    others: list[Node] = [node] * 8
    others.append(structs.replace(node, when=None if node.when else "1 > 2"))
    others.append(structs.replace(node, ignore_failed=not node.ignore_failed))
    others.append(SignalNode(key=node.key, signal="never", timeout_ms=1000))
    return st.sampled_from(others)


def moved(detail: RunDetail, definition: Definition, renamed: dict[str, str]) -> RunDetail:
    run = structs.replace(detail.run, version=2, definition_hash=content_hash(definition))
    return structs.replace(
        detail,
        run=run,
        journal=[structs.replace(one, key=renamed.get(one.key, one.key)) for one in detail.journal],
        waits=[structs.replace(one, key=renamed.get(one.key, one.key)) for one in detail.waits],
    )


@pytest.mark.requirement("promise-2", "promise-9")
@settings(max_examples=150, deadline=None)
@given(graphs(largest=6, cancelled=False), st.data())
def test_the_record_of_a_moved_run_is_what_its_new_version_asks_for(
    drawn: tuple[list[RefNode], list[Any]], data: st.DataObject
) -> None:
    nodes = {node.key: node for node in drawn[0]}
    old = Definition(workflow="g", nodes=definition_nodes(drawn[0]), edges=definition_edges(drawn[1]))
    journal, waits = walk_some_way(old, nodes, data)
    new, mapping = data.draw(versions(old))
    assume(not validate(new))
    store = MemoryStore(lambda: UnixMs(5))
    given_input = Codec().encode_arguments((), {}, "nothing")
    store.start_runs([new_run(1, workflow="g", version=1, definition_hash=content_hash(old), input=given_input)])
    detail = structs.replace(store.read_detail(DEFAULT_TENANT, run_id(1)), journal=journal, waits=waits)

    plan = plan_move(old, new, detail, mapping)

    if plan.allowed:
        report = replay(APP, [history_of(moved(detail, new, plan.renamed), new)], check=False)
        assert (report.replayed, report.partings) == (1, []), (old, new)
