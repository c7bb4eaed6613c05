"""How runs come from each other: retries, forks, links of a chain, children."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Run
from holdfast.model.status import RunStatus


class Kinship(StrEnum):
    """What a run is to the one above it in a lineage."""

    ORIGIN = "origin"
    """Nothing is above it: it was started, or what it comes from is gone."""
    RETRY = "retry"
    FORK = "fork"
    CONTINUED = "continued"
    """A later link of the chain of the one above it, which is the first link."""
    CHILD = "child"


class Relative(Struct, frozen=True, kw_only=True):
    """A run in a lineage, with those that come from it."""

    id: RunId
    kinship: Kinship
    workflow: str
    status: RunStatus
    status_reason: str
    attempt: int
    created_ms: UnixMs
    key: str | None = None
    finalized_ms: UnixMs | None = None
    error: str | None = None
    """Type and message of the error that it ended with."""
    parent_key: str | None = None
    """Of a child, under which key its parent has it."""
    link: int | None = None
    """Its number in its chain."""
    relatives: list[Relative] = []
    """Retries, links, forks and children, in this order, each the oldest first."""
    more: bool = False
    """Whether more runs come from it than are shown here."""


class Lineage(Struct, frozen=True, kw_only=True):
    """The tree of runs in which a run stands."""

    asked_id: RunId
    """The run that was asked for."""
    origin: Relative

    @property
    def size(self) -> int:
        """How many runs are shown."""
        waiting, size = [self.origin], 0
        while waiting:
            one = waiting.pop()
            size += 1
            waiting += one.relatives
        return size


def predecessor_of(run: Run) -> tuple[Kinship, RunId] | None:
    """What the run comes from, and how. The first link of a chain stands for all before a link."""
    if run.continued_from_id is not None and run.chain_id is not None:
        return Kinship.CONTINUED, run.chain_id
    if run.retry_of_id is not None:
        return Kinship.RETRY, run.retry_of_id
    if run.forked_from_id is not None:
        return Kinship.FORK, run.forked_from_id
    if run.parent_id is not None:
        return Kinship.CHILD, run.parent_id
    return None
