"""One command for many runs: what it is made of, and how far it has come."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from holdfast.model.command import Cancel, Change, CloseStuck, Pause, ReleaseStuck, Resume, Terminate
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import RunFilter


class Retry(Struct, frozen=True, tag="retry"):
    """Start the next attempt of the run."""

    from_start: bool = False


class SendSignal(Struct, frozen=True, tag="signal", kw_only=True):
    """Send the run a signal."""

    name: str
    payload: Json


class Delete(Struct, frozen=True, tag="delete"):
    """Delete the run, if it has ended and nothing that is under way refers to it, with all that belongs to it."""


Action = Cancel | Terminate | Pause | Resume | ReleaseStuck | CloseStuck | Change | Retry | SendSignal | Delete
"""What is done to each run."""


class BulkStatus(StrEnum):
    """Where a bulk job is."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class NewBulkJob(Struct, frozen=True, kw_only=True):
    """A bulk job as it is asked for."""

    id: RunId
    tenant: Tenant
    action: Action
    where: RunFilter
    query: str
    """The filter in words, for people."""
    expected: int
    rate: int | None = None
    """The most runs per second; as fast as it goes if None."""
    actor: str = ""
    note: str = ""


class BulkJob(Struct, frozen=True, kw_only=True):
    """One command for the runs that a filter names, carried out by workers in small batches."""

    id: RunId
    tenant: Tenant
    action: Action
    query: str
    status: BulkStatus
    expected: int
    """How many runs the filter named when the job was asked for."""
    done: int
    """How many runs have obeyed."""
    failed: int
    """How many have not: see the job's errors."""
    rate: int | None
    actor: str
    note: str
    created_ms: UnixMs
    updated_ms: UnixMs
    ended_ms: UnixMs | None
    stopped_by: str | None


class BulkError(Struct, frozen=True, kw_only=True):
    """Why one run did not obey."""

    run_id: RunId
    code: str
    """The error's stable code: ``run_finished``, ``command_refused``."""
    message: str
    at_ms: UnixMs


class Batch(Struct, frozen=True, kw_only=True):
    """The runs whose turn it is, recorded before anything is done to them."""

    job: BulkJob
    where: RunFilter
    run_ids: list[RunId]
    cursor: str | None
    """Where the next batch begins; None if this is the last one."""
    revision: int
    """Raised by whoever takes the job: the batch's outcome counts only at the same one."""
