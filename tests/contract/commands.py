"""Commands as somebody might give them, chosen at random for a run as it is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from msgspec import structs

from holdfast.model.command import (
    Change,
    CloseStuck,
    Command,
    HandBack,
    MoveTo,
    Pause,
    ReleaseStuck,
    Resume,
    Settle,
    Terminate,
)
from holdfast.model.definition import (
    ApproveNode,
    ChildNode,
    Definition,
    Node,
    SignalNode,
    SleepNode,
    StepNode,
)
from holdfast.model.run import RunDetail
from holdfast.model.status import WaitKind
from tests.contract.scene import ERROR, RESULT

HASHES: Final = ("ab" * 32, "cd" * 32)
"""Of the versions that runs of random sequences follow."""

_NODES: Final[dict[WaitKind, Callable[[str], Node]]] = {
    WaitKind.TIMER: lambda key: SleepNode(key=key, duration_ms=1),
    WaitKind.SIGNAL: lambda key: SignalNode(key=key, signal="any"),
    WaitKind.CHILD: lambda key: ChildNode(key=key, workflow="ship"),
    WaitKind.APPROVAL: lambda key: ApproveNode(key=key),
}


def draw_move(pick: Random, detail: RunDetail, *, unseen: str) -> MoveTo:
    """To a version that has a node for each record, some under other keys; now and then to one that lacks some."""
    nodes: dict[str, Node] = {"s1": StepNode(key="s1", handler="s1")}
    nodes |= {one.key: StepNode(key=one.key, handler=one.name) for one in detail.journal}
    nodes |= {one.key: _NODES[one.kind](one.key) for one in detail.waits if one.kind in _NODES}
    nodes |= {one.key: StepNode(key=one.key, handler="any") for one in detail.attempts if one.key not in nodes}
    tried = {one.key for one in detail.attempts}
    renamed = {key: f"{unseen}-{key}" for key in nodes if key not in tried and pick.random() < 0.4}
    kept = [node for node in nodes.values() if pick.random() < 0.98]
    return MoveTo(
        from_hash=detail.run.definition_hash or HASHES[1],
        before=Definition(workflow="order", nodes=tuple(nodes.values())),
        version=pick.choice((2, 3)),
        definition_hash=pick.choice(HASHES),
        after=Definition(
            workflow="order", nodes=tuple(structs.replace(node, key=renamed.get(node.key, node.key)) for node in kept)
        ),
        mapping=renamed,
    )


def draw_command(pick: Random, detail: RunDetail | None, *, unseen: str) -> Command:
    """Any command but Cancel. ``unseen`` is a step's key that no run has recorded."""
    keys = ["s1"]
    if detail is not None:
        keys += [one.key for one in detail.waits if one.outcome is None] + [one.key for one in detail.attempts]
    if detail is not None and detail.run.worker is not None and pick.random() < 0.2:
        return HandBack(pick.choice((0, 300, 5_000)))
    if detail is not None and detail.run.definition_hash is not None and pick.random() < 0.5:
        return draw_move(pick, detail, unseen=unseen)
    failed = pick.random() < 0.3
    choices: list[Command] = [
        Pause(),
        Resume(),
        Resume(),
        ReleaseStuck(),
        CloseStuck(),
        Terminate(),
        Settle(key=pick.choice(keys), result=None if failed else RESULT, error=ERROR if failed else None),
        Settle(key=unseen, result=RESULT, unseen=True),
        Change(priority=pick.choice((None, 3)), queue=pick.choice((None, "slow")), wake=pick.random() < 0.3),
        Change(timeout_ms=pick.choice((None, 10, 700)), drop_deadline=pick.random() < 0.3),
    ]
    return pick.choice(choices)
