"""What a worker asks a store to make durable: one ``RunCommit`` per run, many of them in one transaction.

The three outcomes of a commit are kept apart: it was done (an answer), it was not done (``StoreUnavailable``),
or nobody knows (``CommitUnknown``: read the runs' ``Progress`` before repeating).
"""

from __future__ import annotations

from msgspec import Struct

from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import Attempt, Entry, NewRun, Signal, Wait
from holdfast.model.search import AttributeValue
from holdfast.model.status import RunStatus, WaitKind


class NewWait(Struct, frozen=True, kw_only=True):
    """A wait to be opened. With both ``delay_ms`` and ``due_ms`` None it has no time limit."""

    key: str
    seq: int
    kind: WaitKind
    signal: str | None = None
    child_id: RunId | None = None
    delay_ms: int | None = None
    """Due this long after the commit, by the database's clock."""
    due_ms: UnixMs | None = None
    """Due at this moment, for waits until a given time."""
    request: Json | None = None
    """What it asks for: a stored ``Question`` of an approval, a ``SignalFilter`` of a signal."""


class Park(Struct, frozen=True):
    """Give the lease back: everything the run does is durable waiting.

    ``open_waits`` is how many waits the worker believes to be open. If the store finds fewer, one was closed
    meanwhile, and the run becomes claimable at once instead of waiting for a wake-up that already came.
    """

    open_waits: int


class Release(Struct, frozen=True):
    """Give the lease back and stay claimable: the worker drains."""

    reason: str = "drained"


class Compensate(Struct, frozen=True):
    """The run has failed for good; its completed steps are to be compensated. The lease stays."""

    error: Json
    reason: str


class Finish(Struct, frozen=True):
    """End the run."""

    status: RunStatus
    """COMPLETED, FAILED or CANCELLED; STUCK for a run that only a person can judge."""
    reason: str
    """The terminal reason: a stable word."""
    result: Json | None = None
    error: Json | None = None
    awaited: bool = True
    """Another run may wait for this one's end. False only for a run without a parent: nobody is looked for then."""


class Continue(Struct, frozen=True):
    """End the run as COMPLETED, reason ``continued``, and start its successor, in one.

    The successor takes over whatever does not stand in the journal: tenant, workflow and version, queue, priority, key,
    attributes, deadline, parent, lineage, requests to cancel or pause, and the signals that nobody consumed. It does
    not ask for a quota. Who waits for the run waits for the successor from then on.
    """

    successor_id: RunId
    input: Json


Move = Park | Release | Compensate | Finish | Continue


class RunCommit(Struct, frozen=True):
    """All that one run wants recorded together, fenced by its epoch."""

    run_id: RunId
    epoch: int
    entries: list[Entry] = []
    attempts: list[Attempt] = []
    waits: list[NewWait] = []
    children: list[NewRun] = []
    signals: list[Signal] = []
    """Signals to others: accepted with the commit, delivered by ``sweep_signals``."""
    elapsed: list[str] = []
    """Keys of open waits whose time has come: closed as ELAPSED if the database agrees, else left open."""
    cancelled: list[str] = []
    """Keys of open waits that the workflow no longer waits for: closed as CANCELLED."""
    attributes: dict[str, AttributeValue | None] = {}
    """Search attributes to be set; None takes one away."""
    move: Move | None = None
    counted: bool = False
    """Its place was counted when it was claimed: others may be waiting for it to leave."""

    @property
    def frees_place(self) -> bool:
        """Whether, once it is done, another run may be claimed in the place of this one."""
        return self.counted and isinstance(self.move, (Park, Release, Finish, Continue))


class CommitAnswer(Struct, frozen=True):
    """What came of a batch.

    A run that is neither in ``refused`` nor in ``broken`` was committed as asked.
    """

    now_ms: UnixMs
    refused: dict[RunId, str] = {}
    """Runs whose lease is lost (another epoch, another status): nothing of theirs was written."""
    broken: dict[RunId, str] = {}
    """Runs whose rows the database cannot take (why): nothing of theirs was written."""
    waits: dict[RunId, list[Wait]] = {}
    """Every wait opened, elapsed or cancelled by this batch, as it stands now: one that a kept signal or an ended
    child closed at once has its outcome, and an ``elapsed`` that came too early is still open."""
    cancel_requested: list[RunId] = []
    """Runs of the batch that somebody wants cancelled."""


class Progress(Struct, frozen=True):
    """How far a run's record has come: what settles an unknown commit."""

    status: RunStatus
    epoch: int
    seq: int
    """The highest seq among its journal entries and waits; 0 for none."""
    attempts: int
    """The number of its recorded failed attempts."""


class LiveUpdate(Struct, frozen=True):
    """News for a run that a worker holds: waits that others closed, and whether it is to be cancelled or paused."""

    run_id: RunId
    cancel_requested: bool
    waits: list[Wait]
    pause_requested: bool = False
