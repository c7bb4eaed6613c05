"""Schedules: when a workflow is started by the clock, and what came of its slots."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from holdfast.model.ids import Json, RunId, Tenant, UnixMs


class Cron(Struct, frozen=True, tag="cron", tag_field="kind", kw_only=True):
    """The minutes that a cron expression names, by the clocks of a time zone."""

    expression: str
    timezone: str = "UTC"


class Every(Struct, frozen=True, tag="every", tag_field="kind", kw_only=True):
    """Every multiple of an interval since 1970-01-01T00:00:00Z."""

    every_ms: int


Timing = Cron | Every
"""Which moments are slots. A slot is a moment, never a local time: it comes once."""


class Overlap(StrEnum):
    """What becomes of a slot while a run of the schedule is still under way."""

    ALLOW = "allow"
    """It starts a run all the same."""
    SKIP = "skip"
    """It starts none."""
    QUEUE = "queue"
    """It starts its run when the other one has ended; one slot waits in this way, further ones start none."""


class CatchUp(StrEnum):
    """What becomes of slots that came while nobody was there to start them."""

    ALL = "all"
    """Each starts its run, oldest first, as far back as the window reaches."""
    ONE = "one"
    """The newest of them starts a run, if it lies in the window."""
    NONE = "none"
    """None of them starts one."""


class ScheduleSpec(Struct, frozen=True, kw_only=True):
    """What a schedule starts, when, and by which policies."""

    timing: Timing
    workflow: str
    version: int | None = None
    """The version of the graph that its runs follow; None: what is live when they start, or a function workflow."""
    queue: str | None = None
    """None: the line that the live version of the graph names, or the default one."""
    priority: int = 0
    timeout_ms: int | None = None
    """The runs' deadline, counted from their start."""
    attributes: dict[str, Any] = {}
    """Search attributes of its runs, as a run's row has them."""
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONE
    window_ms: int = 86_400_000
    """How far back slots are caught up with."""
    jitter_ms: int = 0
    """A slot's run is started up to this much later: always the same for the same slot."""


class ScheduleRow(Struct, frozen=True, kw_only=True):
    """A schedule as recorded."""

    tenant: Tenant
    name: str
    spec: ScheduleSpec
    input: Json
    declared_by: str
    """The App whose program declares it; empty if it was put by a client."""
    next_ms: UnixMs | None
    """The next slot; None while it is paused, or if there is none any more."""
    due_ms: UnixMs | None
    """When to look at it next: the next slot's turn, or sooner if a slot waits."""
    queued_ms: UnixMs | None
    """The slot that waits for the end of a run."""
    last_ms: UnixMs | None
    """The newest slot that was decided."""
    recent: list[RunId]
    """The runs that it started last, newest first: one that is under way is looked for among these 20."""
    ticks: int
    """How many entries its history has had."""
    revision: int
    """Raised by every change: what was decided from an older one is not recorded."""
    problem: str
    """Why its slot could not be started the last time; it is tried again."""
    paused_ms: UnixMs | None
    actor: str
    """Who paused it, or put it last."""
    note: str
    created_ms: UnixMs
    changed_ms: UnixMs


class TickCause(StrEnum):
    """Why there is an entry."""

    SLOT = "slot"
    TRIGGER = "trigger"
    BACKFILL = "backfill"


class TickOutcome(StrEnum):
    """What came of a slot."""

    STARTED = "started"
    QUEUED = "queued"
    """It waits for the end of a run; another entry says when it was started."""
    SKIPPED = "skipped"
    """A run was under way."""
    MISSED = "missed"
    """Nobody was there to start it in time."""


class Tick(Struct, frozen=True, kw_only=True):
    """An entry of a schedule's history: what came of a slot, or of several in a row."""

    slot_ms: UnixMs
    """The slot, or the first of several; of a trigger, when it was pulled."""
    until_ms: UnixMs
    """The last of several."""
    slots: int | None = 1
    """How many; None if they are more than anybody counted."""
    cause: TickCause = TickCause.SLOT
    outcome: TickOutcome
    run_id: RunId | None = None
    """The run that was started."""


class TickRow(Tick, frozen=True, kw_only=True):
    """An entry as recorded."""

    number: int
    """1 for the schedule's first."""
    at_ms: UnixMs
    """When it was decided."""
