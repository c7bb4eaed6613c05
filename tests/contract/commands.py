"""Commands as somebody might give them, chosen at random for a run as it is."""

from __future__ import annotations

from random import Random

from holdfast.model.command import (
    Change,
    CloseStuck,
    Command,
    Pause,
    ReleaseStuck,
    Resume,
    Settle,
    Terminate,
)
from holdfast.model.run import RunDetail
from tests.contract.scene import ERROR, RESULT


def draw_command(pick: Random, detail: RunDetail | None, *, unseen: str) -> Command:
    """Any command but Cancel. ``unseen`` is a step's key that no run has recorded."""
    keys = ["s1"]
    if detail is not None:
        keys += [one.key for one in detail.waits if one.outcome is None] + [one.key for one in detail.attempts]
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
