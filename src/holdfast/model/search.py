"""What runs are searched by, and what is counted of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from holdfast.model.ids import RunId, UnixMs

AttributeValue = str | int | float | bool | datetime
"""A search attribute's value: a text, a number, a truth, or a moment in UTC to the millisecond."""


class RunOrder(StrEnum):
    """How a listing is ordered."""

    NEWEST = "newest"
    """Last created first."""
    OLDEST = "oldest"
    """First created first."""
    ENDED = "ended"
    """Last ended first; runs that have not ended are not listed."""


class GroupBy(StrEnum):
    """What runs are grouped by."""

    STATUS = "status"
    WORKFLOW = "workflow"
    QUEUE = "queue"
    ERROR = "error"
    """The error that they ended with, by its fingerprint."""


class AttributeRange(Struct, frozen=True):
    """An attribute compared with a value of its own kind."""

    name: str
    operator: Literal["<", "<=", ">", ">="]
    value: AttributeValue


class WaitingOn(Struct, frozen=True):
    """An open wait; or, of a run in the line, the end of a pause, or room within a quota or limit."""

    kind: str
    """The kind of wait: timer, signal, child, retry, approval, breaker; queue, workflow, tenant: paused;
    quota, limit."""
    name: str | None = None
    """The name of the signal or breaker, the child's id, or the paused queue's or workflow's name, or the queue
    with the limit; any if None."""

    @property
    def in_line(self) -> bool:
        """Whether it is about runs in the line."""
        return self.kind in IN_LINE


IN_LINE = frozenset({"queue", "workflow", "tenant", "quota", "limit"})
"""What runs in the line may wait for besides a worker."""


class RunGroup(Struct, frozen=True):
    """Runs that have something in common."""

    value: str
    """What they have in common: a status, a name, or the fingerprint of an error."""
    count: int
    label: str | None = None
    """Of errors, type and message of one of them."""
    last_ms: UnixMs | None = None
    """When the last of them was moved."""
    sample_id: RunId | None = None
    """One of them."""
