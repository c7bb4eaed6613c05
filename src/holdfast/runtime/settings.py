"""How a worker works. Every field has a default that is safe; ``lease`` is the one number that decides take-over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from holdfast.model.ids import DEFAULT_QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """A worker's settings."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    """The lines it serves."""
    concurrency: int = 1000
    """How many runs it holds at once. Parked runs do not count: they cost a worker nothing."""
    threads: int = 64
    """How many plain (``def``) steps and workflows it executes at once."""
    lease: timedelta = timedelta(seconds=10)
    """How long after its last sign of life its runs are taken over. It gives a sign every third of it."""
    poll: timedelta = timedelta(seconds=1)
    """How often it looks at the database when no hint came: the longest delay that a lost hint can cause."""
    grace: timedelta = timedelta(seconds=25)
    """How long a draining worker lets running steps finish before it hands their runs back. Below the 30 s that
    Kubernetes gives a pod between SIGTERM and SIGKILL."""
    stall: timedelta = timedelta(minutes=5)
    """How long a blocked event loop keeps its leases. Afterwards its runs are taken over, as if it had died."""
    crashes_max: int = 5
    """How many workers in a row a run may take down, without any progress, before it is set aside as stuck."""

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return int(self.lease.total_seconds() * 1000)

    @property
    def poll_ms(self) -> int:
        """The poll interval in milliseconds."""
        return int(self.poll.total_seconds() * 1000)


LAZY_MS = 20
"""A result that nothing waits for is committed after this time at the latest."""
