"""When a workflow is started by the clock, as programs write it: ``hf.Schedule``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.core.attributes import check_attributes, plain_attributes
from holdfast.core.names import check_name
from holdfast.core.schedules import ATTRIBUTE_NAME, ATTRIBUTE_SLOT
from holdfast.core.slots import check_timing
from holdfast.errors import UsageError
from holdfast.model.schedule import CatchUp, Cron, Every, Overlap, ScheduleSpec, Timing
from holdfast.model.search import AttributeValue
from holdfast.workflow.duration import milliseconds, optional_seconds, seconds

if TYPE_CHECKING:
    from holdfast.workflow.workflow import Workflow, WorkflowOptions

PRIORITY_MAX: Final = 1_000

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When runs of a workflow are started, and by which policies. Raises UsageError for what cannot be.

    Give ``cron`` or ``every``. A cron expression has five fields (minute, hour, day of month, month, day of week) with
    names, lists, ranges and steps, ``L`` for a month's last day and ``FRI#2`` or ``5L`` for its second or last Friday,
    and is read by the clocks of ``timezone``. If both days are limited, either may match. An interval counts from
    1970-01-01T00:00:00Z.

    Where a clock is put forward or back, times of day come once: one that is left out when the clock goes on, one that
    is shown twice the first time. Expressions whose minute or hour begins with ``*`` follow the clock instead: nothing
    in the hour that is left out, twice in the one that comes twice.
    """

    cron: str | None = None
    every: timedelta | float | None = None
    """A timedelta, or seconds; at least one second."""
    timezone: str = "UTC"
    """A name of the IANA database, such as Europe/Berlin; for ``cron``."""
    overlap: Overlap | str = Overlap.SKIP
    """While a run of the schedule is under way, a slot starts its run all the same (``allow``), starts none (``skip``)
    or waits for the end, one at a time (``queue``)."""
    catch_up: CatchUp | str = CatchUp.ONE
    """Of the slots that came while no worker ran, ``all`` start their runs, the newest (``one``), or ``none``."""
    catch_up_window: timedelta | float = timedelta(days=1)
    """How far back slots are caught up with; a timedelta, or seconds."""
    jitter: timedelta | float = 0
    """A run is started up to this much after its slot, always the same for the same slot; a timedelta, or seconds."""
    queue: str | None = None
    """The line of its runs; the workflow's by default."""
    priority: int = 0
    timeout: timedelta | float | None = None
    """Its runs' deadline, counted from their start; the workflow's by default."""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])
    """Search attributes of its runs, besides ``schedule`` and ``slot``."""
    version: int | None = None
    """The version of a stored graph that its runs follow; what is live at each slot by default."""

    def __post_init__(self) -> None:
        self.spec("any")

    @property
    def timing(self) -> Timing:
        """Its slots."""
        if (self.cron is None) == (self.every is None):
            raise UsageError("a schedule needs either cron= or every=")
        if self.cron is not None:
            return Cron(expression=self.cron, timezone=self.timezone)
        assert self.every is not None
        return Every(every_ms=milliseconds(seconds(self.every, "a schedule's interval")))

    def spec(
        self, workflow: str, options: WorkflowOptions | None = None, *, version: int | None = None
    ) -> ScheduleSpec:
        """What is stored of it, for a workflow with these options. Raises UsageError."""
        timing = self.timing
        check_timing(timing)
        if not -PRIORITY_MAX <= self.priority <= PRIORITY_MAX:
            raise UsageError(f"priority must be between -{PRIORITY_MAX} and {PRIORITY_MAX}, not {self.priority}")
        attributes = check_attributes({**(options.attributes if options else {}), **self.attributes})
        for taken in (ATTRIBUTE_NAME, ATTRIBUTE_SLOT):
            if taken in attributes:
                raise UsageError(
                    f"the attribute {taken!r} of a schedule's runs says what started them: name it otherwise"
                )
        timeout = optional_seconds(self.timeout, "timeout") or (options.timeout if options else None)
        queue = self.queue or (options.queue if options else None)
        return ScheduleSpec(
            timing=timing,
            workflow=workflow,
            version=self.version if version is None else version,
            queue=queue if queue is None else check_name("queue", queue),
            priority=self.priority,
            timeout_ms=None if timeout is None else milliseconds(timeout),
            attributes=plain_attributes(attributes),
            overlap=_policy(Overlap, "overlap", self.overlap),
            catch_up=_policy(CatchUp, "catch_up", self.catch_up),
            window_ms=milliseconds(seconds(self.catch_up_window, "catch_up_window")),
            jitter_ms=milliseconds(seconds(self.jitter, "jitter")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A schedule that a program declares."""

    schedule: Schedule
    workflow: Workflow[..., Any]
    args: tuple[Any, ...]


def as_schedule(given: Schedule | str | timedelta) -> Schedule:
    """A schedule, a cron expression in UTC, or an interval. Raises UsageError."""
    if isinstance(given, Schedule):
        return given
    return Schedule(cron=given) if isinstance(given, str) else Schedule(every=given)


def check_call(workflow: Workflow[..., Any], args: tuple[Any, ...]) -> None:
    """Raise UsageError unless the workflow can be called with these arguments."""
    if workflow.is_graph:
        return
    try:
        inspect.signature(workflow.function).bind(*args)
    except TypeError as error:
        raise UsageError(f"a schedule cannot start workflow {workflow.name!r}: {error}; give it args") from error


def _policy(kind: type[E], name: str, given: str) -> E:
    try:
        return kind(given)
    except ValueError as error:
        raise UsageError(f"{name} is {', '.join(kind)}, not {given!r}") from error
