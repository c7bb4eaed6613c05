"""Random filters, and attributes for them to find."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from holdfast.model.ids import UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, AttributeValue, RunOrder, WaitingOn
from holdfast.model.status import RunStatus
from tests.contract.scene import run_id

RENAMED: tuple[dict[str, AttributeValue | None], ...] = ({}, {}, {}, {"customer": "eve", "total": None}, {"vip": False})
"""What a commit may set and take away."""

ATTRIBUTES: tuple[dict[str, AttributeValue], ...] = (
    {},
    {},
    {"customer": "ann"},
    {"customer": "bob", "total": 3},
    {"total": 2.5, "vip": True},
    {"due": datetime(2026, 1, 31, tzinfo=UTC)},
)
"""What a run may start with."""


WAITING = (
    WaitingOn("signal", "paid"),
    WaitingOn("signal", "approved"),
    WaitingOn("child", run_id(2)),
    WaitingOn("timer"),
    WaitingOn("signal"),
)


def choose_filter(pick: random.Random, now_ms: UnixMs) -> RunFilter:
    """A filter that often finds something."""
    return RunFilter(
        statuses=frozenset(pick.sample(list(RunStatus), 4)) if pick.random() < 0.4 else frozenset(),
        workflow=pick.choice((None, None, None, "order")),
        queue=pick.choice((None, None, None, "slow")),
        attributes=pick.choice(({}, *ATTRIBUTES)),
        ranges=pick.choice(((), (), (), (AttributeRange("total", ">", 2.5),))),
        waiting_on=pick.choice((*[None] * 4, *WAITING)),
        error_type=pick.choice((None, None, None, None, "Refused")),
        text=pick.choice((None, None, None, None, "ORD")),
        order=pick.choice(list(RunOrder)),
        created_from_ms=pick.choice((None, None, None, now_ms)),
        created_before_ms=pick.choice((None, None, None, now_ms)),
        parent_id=pick.choice((None, None, None, None, run_id(1))),
        root_id=pick.choice((*[None] * 8, run_id(1))),
        forked_from_id=pick.choice((*[None] * 8, run_id(1))),
        updated_from_ms=pick.choice((None, None, None, now_ms)),
    )
