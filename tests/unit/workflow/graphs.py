"""Functions and graphs that the tests of graphs share."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import pytest

from holdfast.core.definitions import GraphError
from holdfast.model.definition import Node
from holdfast.workflow.graph import Graph
from holdfast.workflow.registry import Registry

N = TypeVar("N", bound=Node)


def work(value: int = 0) -> int:
    return value


async def undo(value: int, result: int) -> None:
    """Undoes work."""


def only(graph: Graph, kind: type[N]) -> N:
    [node] = graph.build().nodes
    assert isinstance(node, kind)
    return node


def problems(graph: Graph) -> list[tuple[str, str]]:
    with pytest.raises(GraphError) as raised:
        graph.build()
    return [(problem.node, problem.code) for problem in raised.value.problems]


# The graphs of the design


async def create_account(name: str) -> str:
    return name


async def delete_account(name: str, result: str) -> None: ...


async def create_mailbox() -> None: ...


def create_crm_record() -> None: ...


def choose_plan() -> str:
    return "free"


def set_up_free() -> None: ...


def set_up_pro() -> None: ...


def warm() -> None: ...


def is_warm() -> bool:
    return True


async def start_billing() -> None: ...


def write_onboarding(app: Registry) -> Graph:
    return (
        app.graph("onboarding")
        .step("account", create_account, compensate=delete_account)
        .parallel("provision", {"mail": create_mailbox, "crm": create_crm_record})
        .route("plan", choose_plan, {"free": set_up_free, "pro": set_up_pro})
        .loop("warm_up", warm, until=is_warm, max_iterations=10)
        .sleep("settle", timedelta(hours=1))
        .wait_for_signal("consent", "user.consented", timeout=timedelta(days=7))
        .child("billing", start_billing)
    )
