"""The signatures of graphs, as type checkers see them: `make check` runs mypy and pyright over this file."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from holdfast.core.retry import Retry
from holdfast.model.definition import Definition
from holdfast.workflow.graph import Graph
from holdfast.workflow.graph_options import With
from holdfast.workflow.registry import Registry

app = Registry("typed")


@app.step
async def charge(order: str) -> int:
    """An async step."""
    return len(order)


@app.workflow
async def ship(order: str) -> None:
    """A workflow."""


def label(order: str) -> str:
    """A plain function."""
    return order


def free() -> str:
    """A plain function that needs nothing."""
    return ""


def same(x: str) -> str:
    return x


def test_every_method_answers_the_graph_itself() -> None:
    graph = app.graph("g", timeout=60)
    assert_type(graph, Graph)
    assert_type(graph.step("a", charge, compensate=label, retry=Retry.never(), timeout=5, queue="q"), Graph)
    assert_type(graph.step("b", same, after=["a"], when="input.x", input={"x": "input.y"}), Graph)
    assert_type(graph.parallel("c", {"x": free, "y": With(free, timeout=timedelta(seconds=1))}), Graph)
    assert_type(graph.route("d", free, {"x": free}, default=free), Graph)
    assert_type(graph.loop("e", label, until="result == 'x'", max_iterations=3), Graph)
    assert_type(graph.map("f", label, over="input", concurrency=3, tolerate=0.5, input={"order": "item"}), Graph)
    assert_type(graph.sleep("g", timedelta(hours=1)), Graph)
    assert_type(graph.wait_for_signal("h", "s", timeout=5, on_timeout="i"), Graph)
    assert_type(graph.child("i", ship, priority=3, after="h", input={"order": "input"}), Graph)
    assert_type(graph.approve("j", form=dict, by="ann", ignore_failed=True), Graph)
    assert_type(graph.graft("k", free), Graph)
    assert_type(graph.subgraph("l", app.graph("inner").step("x", free)), Graph)
    assert_type(graph.edge("a", "c", "always", label="x"), Graph)
    assert_type(app.find_graph("g"), Graph | None)

    assert_type(graph.build(), Definition)


def wrong_uses_are_refused(graph: Graph) -> None:
    """Never called: each line is an error that type checkers must find."""
    graph.step("a", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    graph.step("a", label, retries=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    graph.step("a", label, when=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    graph.sleep("a", duration=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    graph.parallel("a", [label])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    graph.map("a", label)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
