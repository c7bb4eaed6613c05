"""The store port: what the engine asks of a database, and nothing else.

Each method is one transaction, blocking, and safe to call from any thread. Times in the answers, and all
comparisons with "now", are by the store's own clock, never by the caller's. A worker's writes name the run's epoch
and are refused, in the same statement, unless the run is in a held status at that epoch.

Every method may raise ``StoreUnavailable`` (nothing was done: repeat it) and, if it writes, ``CommitUnknown`` (it may
have been done). ``start_runs``, ``send_signal``, ``command`` and the housekeeping methods may then simply be
repeated: they name their rows, so that a second time does nothing. ``commit`` may not: see ``read_progress``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import Struct

from holdfast.errors import UsageError
from holdfast.model.command import Order, RunCopy
from holdfast.model.commit import CommitAnswer, LiveUpdate, Progress, RunCommit
from holdfast.model.event import EventFilter, EventPage
from holdfast.model.ids import RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import (
    Agenda,
    Answer,
    ApprovalPage,
    Claim,
    NewRun,
    Outputs,
    Run,
    RunDetail,
    RunFilter,
    RunPage,
    Signal,
    Started,
    Sweep,
    WorkerInfo,
    WorkerRow,
)
from holdfast.model.search import GroupBy, RunGroup
from holdfast.model.status import EntryKind, RunStatus
from holdfast.model.tenant import Pruning
from holdfast.store.shapes import SERVED, Lead, shape_of

if TYPE_CHECKING:
    from sqlalchemy.sql.base import Executable

T = TypeVar("T")

UNASKED_MAX: Final = 100
"""How many codes an agenda names that it was not asked for."""

WORKER_KEPT_MS: Final = 86_400_000
"""How long the row of a worker that holds no run outlives its lease: a day, so that what went wrong overnight can still
be looked into. Without an end the table would grow by a row with every restart of every process."""


CLAIM_LOOK: Final = 500
"""Runs that a claim which met barred ones looks at in its last round. These leave the line, so that no later claim
meets them again; to take one out costs about as much as to claim one, and what the claim has taken waits for it. Where
there were that many, the claim answers that there may be more."""

CLAIM_ROUNDS: Final = 16
"""Rounds between the first and the last of a claim at most, each in the queues in which it has met no barred runs."""

SIGNAL_BATCH: Final = 1_000
"""Runs that one transaction delivers a signal to, so that none holds its locks for long."""


class Hint(Struct, frozen=True, kw_only=True):
    """One wake-up."""

    work: bool = False
    """Runs became claimable."""
    ended: tuple[RunId, ...] | None = ()
    """These runs ended; None if some did, but it is not known which."""
    signals: bool = False
    """Signals are under way: ``sweep_signals`` has something to do."""
    live: tuple[RunId, ...] | None = ()
    """Something happened to these held runs; None if it is not known which."""
    moved: tuple[RunId, ...] | None = ()
    """These runs, which somebody watches, moved or recorded something; None if it is not known which."""
    watch: tuple[RunId, ...] | None = ()
    """Somebody watches these runs for the next seconds; None: all of them."""


class Hints(Protocol):
    """Wake-ups: only ever hints, which may be lost, late, doubled or wrong. A slow poll must suffice without them."""

    def publish(self, hint: Hint) -> None:
        """Tell everyone who listens, in this process and in others. Coalesced; opens nothing, never raises."""
        ...

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call ``listener``, from any thread, at each hint until the returned function is called."""
        ...

    def watch(self, run_id: RunId | None) -> Callable[[], None]:
        """Want hints when this run moves or records something, or any run if None, until the function is called.

        Without it nobody publishes them. Other processes are asked for a while only: watch anew every few seconds.
        """
        ...


class Statements(Protocol):
    """An open transaction of SQLAlchemy Core statements (``store.tables``, ``store.rendering``)."""

    now_ms: UnixMs
    """The store's time when the transaction began."""

    def rows(self, statement: Executable) -> list[Any]:
        """Execute a statement; the rows that it returns, as the driver gives them."""
        ...

    def changed(self, statement: Executable) -> int:
        """Execute a statement; how many rows it changed."""
        ...

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """As ``Store.start_runs``, as a part of this transaction. Raises QuotaExceeded."""
        ...

    def end_waits(self, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
        """Close as ELAPSED up to ``limit`` open waits for a breaker, of runs behind ``after`` in the order of ids.

        A parked run becomes claimable (``breaker_passed``), the worker of a held one is told. Returns whose they were,
        in that order, a run once for each wait.
        """
        ...


class Store(Protocol):
    """See the module's docstring for the contract that all methods share."""

    @property
    def url(self) -> str:
        """The database's URL without its password, for messages."""
        ...

    @property
    def hints(self) -> Hints:
        """The wake-ups of this database."""
        ...

    def check_schema(self) -> None:
        """Raise SchemaTooOld, SchemaTooNew or StoreMisconfigured unless the tables fit this version."""
        ...

    def read_clock(self) -> UnixMs:
        """The store's time."""
        ...

    def transact(self, tenant: Tenant | None, work: Callable[[Statements], T], *, read_only: bool = False) -> T:
        """One transaction of statements that are not hot, written once for all databases; what ``work`` answers.

        ``tenant`` is in whose name it acts; None for what workers and operators do for all of them. Where a wall stands
        between tenants, PostgreSQL shows and takes no other tenant's rows.

        ``work`` may be called again if it collides with others: it does nothing but run statements and read rows. What
        it raises rolls back and comes out. Isolation is READ COMMITTED, or one snapshot if ``read_only``: what must
        hold stands in the statements themselves. The reference store has the tables of definitions and of the
        editor here, and none of those that runs are made of.
        """
        ...

    # Starting

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Record runs, all or none; one whose id exists already is left as it is and answered ``created=False``.

        Raises QuotaExceeded if it would exceed a quota of a tenant; the children that a commit starts do not ask.
        """
        ...

    def start_runs_in(self, connection: Any, runs: Sequence[NewRun]) -> list[Started]:
        """As ``start_runs``, inside the caller's open transaction: a rollback starts nothing."""
        ...

    # Workers

    def register_worker(self, worker: WorkerInfo, *, lease_ms: int) -> UnixMs:
        """Announce a worker and open its lease. Repeatable. Returns the store's time."""
        ...

    def heartbeat(self, worker: WorkerId, *, lease_ms: int) -> UnixMs:
        """Extend the lease to ``lease_ms`` from now. Returns the store's time.

        A worker that is not known stays unknown: one whose lease had run out must register again.
        """
        ...

    def retire_worker(self, worker: WorkerId, *, limit: int) -> int:
        """End the worker: its lease, and up to ``limit`` of its runs are handed back. Returns how many are left."""
        ...

    def claim_runs(
        self, worker: WorkerId, *, queues: Sequence[str], codes: Sequence[str], limit: int, suspects: int
    ) -> Claim:
        """Take up to ``limit`` claimable runs, highest priority and longest ready first, raising each one's epoch.

        ``codes`` are those of the runs to take: see ``model.catalog.code_name``.
        A worker whose lease has run out gets none. Runs that other workers are claiming are passed over. A run that
        lost two workers in a row without progress is a suspect; at most ``suspects`` of them are taken.

        Runs whose queue, workflow or tenant is paused are not taken, and of a tenant with a ``running_max`` no more
        than leave it within that, whoever else claims at the same time. They are barred: set aside where no claim reads
        them again, until a claim finds that the pause is over or that the tenant has room; their place in the line
        stays.
        """
        ...

    def release_unknown(self, worker: WorkerId, *, known: Sequence[RunId]) -> int:
        """Hand back the runs that the worker holds by the record but not by its own knowledge. Returns how many.

        For a claim whose answer was lost. Repeatable.
        """
        ...

    def commit(self, batch: Sequence[RunCommit]) -> CommitAnswer:
        """Record a batch; each run is accepted or refused for itself. At most one element per run."""
        ...

    def commit_with(self, handler: Callable[[Any], RunCommit], *, wants: type) -> CommitAnswer:
        """Open a transaction, let the handler run SQL of its own on the connection, and commit both together.

        ``wants`` is the class of connection to hand over (the driver's, or SQLAlchemy's Connection or Session). If
        the run is refused, the handler's SQL is rolled back too; whatever the handler raises rolls back and comes out.
        """
        ...

    def read_progress(self, run_ids: Sequence[RunId]) -> dict[RunId, Progress]:
        """How far these runs' records have come; absent runs are left out."""
        ...

    def read_live(self, worker: WorkerId, waiting: Mapping[RunId, Sequence[str] | None]) -> list[LiveUpdate]:
        """Of these runs, those it holds that are to be cancelled or paused, or have closed waits; with these.

        ``waiting`` says for each run which of its waits are of interest, by key; None for all of them. So the news of
        a run that has waited for very many children cost what it waits for now.
        """
        ...

    # Housekeeping: any worker, at any time, as often as it likes

    def read_agenda(self, *, queues: Sequence[str], codes: Sequence[str], unwanted: Sequence[str] = ()) -> Agenda:
        """What there is to do: one statement, cheap enough for every second.

        ``workers_lost`` says that ``requeue_lost`` has something to do: runs to take over or rows to delete.
        ``unasked`` names codes with claimable runs in these queues that are neither in ``codes`` nor ``unwanted``.
        """
        ...

    def wake_due(self, *, limit: int) -> int:
        """Make up to ``limit`` runs claimable whose timer, retry, delay or deadline has come. Returns how many.

        Their due waits are closed as ELAPSED in the same transaction.
        """
        ...

    def sweep_signals(self, *, limit: int) -> Sweep:
        """Go on with the oldest signal that is under way, for up to ``limit`` runs; delete expired ones, as many.

        How far a signal to all has come is recorded with each part of it, so that none is delivered twice.
        """
        ...

    def requeue_lost(self, *, limit: int, crashes_max: int) -> dict[RunId, bool]:
        """Take up to ``limit`` runs from workers whose lease has run out. Returns them, True for those set aside.

        The epoch is raised, so the old worker is fenced at once. A run whose lost lease recorded nothing counts one
        more crash, any other starts again at one; at ``crashes_max`` the run is set aside as STUCK.
        Rows of workers that hold no run are deleted ``WORKER_KEPT_MS`` after their lease ran out.
        """
        ...

    def prune(self, what: Pruning, *, limit: int) -> int:
        """Delete up to ``limit`` runs, with journal, transitions and all else that belongs to them. Returns how many.

        Fewer than the limit: nothing is left to be deleted; of ``Everything`` the tenant's other rows are gone then,
        too. A run that has not ended, or that a live parent, child or run of its lineage refers to, stays, but for
        ``Everything``.
        """
        ...

    # Clients

    def get_run(self, tenant: Tenant, run_id: RunId, *, newest: bool = False) -> Run:
        """The run; with ``newest`` the last link of its chain. Raises RunNotFound, also for another tenant's."""
        ...

    def get_runs(self, tenant: Tenant, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of these runs that exist and can be read, in no particular order."""
        ...

    def list_runs(self, tenant: Tenant, where: RunFilter, *, limit: int, after: str | None) -> RunPage:
        """A page of runs, in the filter's order. ``after``: the ``next`` of the page before, of the same filter.

        What its index does not serve (``shapes.SERVED``) is looked for in the next ``paging.WINDOW`` runs alone, so
        that a page may be short, or empty, and name a next one.
        Raises UsageError for a bad ``after``.
        """
        ...

    def group_runs(
        self, tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool = False, most: int | None = None
    ) -> list[RunGroup]:
        """The largest groups of these runs, largest first and by value within a size; at most 1,000.

        ``bare``: only how many, which an index alone may answer. ``most``, which is for bare groups by status alone
        (``count_runs``): no more of each are counted, and no more are read.
        """
        ...

    def read_detail(self, tenant: Tenant, run_id: RunId) -> RunDetail:
        """The run with its journal, waits, attempts, transitions and workers. Raises RunNotFound."""
        ...

    def read_outputs(
        self, tenant: Tenant, run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int
    ) -> Outputs:
        """Up to ``limit`` of the run's entries of that kind and name behind the offset; the last one if it is None.

        If the run's status is a terminal one, there will be no more. Raises RunNotFound.
        """
        ...

    def read_events(self, tenant: Tenant, where: EventFilter, *, after: str | None, limit: int) -> EventPage:
        """The events of one run, or of all of the tenant's, behind a cursor; from the first one that is kept if None.

        A page looks at up to ``limit`` events and tells those that pass the filter. Going on with ``next``, or with any
        event's cursor, neither misses nor repeats one; where events were deleted before they were read, a gap is told.
        Raises RunNotFound; UsageError for a bad ``after``, or records of more than one run.
        """
        ...

    def list_workers(self) -> list[WorkerRow]:
        """The workers whose lease has not run out."""
        ...

    def list_approvals(self, tenant: Tenant, *, names: Sequence[str], limit: int, after: str | None) -> ApprovalPage:
        """A page of open approvals, oldest first: those that somebody with one of these names may answer now.

        All of the tenant's if ``names`` is empty. ``after``: the ``next`` of the page before. Raises UsageError for a
        bad one.
        """
        ...

    def send_signal(self, signal: Signal | Answer, *, limit: int = SIGNAL_BATCH) -> list[RunId]:
        """Deliver a signal, or a person's answer to an approval, and return the runs whose wait it closed.

        An answer: closes the open approval of that key, once. Raises RunNotFound, ApprovalNotFound, ApprovalClosed,
        NotAnApprover; the answer with the same id does nothing the second time and answers as the first time.

        To one run: closes its oldest open wait for that name whose filter it passes, or is kept until such a wait opens
        (``keep_ms`` at most); of a run that continued, to the last link of its chain. Raises RunNotFound, RunFinished.
        To all: closes the oldest such wait of every run of the tenant that waits for it, and of those that will within
        ``keep_ms``. It is accepted at once and delivered to the first ``limit`` runs, in the order of ids;
        ``sweep_signals`` goes on from there.
        """
        ...

    def send_signal_in(self, connection: Any, signal: Signal) -> None:
        """Accept a signal inside the caller's open transaction; ``sweep_signals`` delivers it once that commits.

        Raises RunNotFound, RunFinished as they are in that transaction.
        """
        ...

    def command(self, tenant: Tenant, run_id: RunId, order: Order) -> Run:
        """Let one run obey a command (``model.command``): one legal move, recorded with actor and note, or a refusal.

        Returns the run as it is then. A run that a worker holds is only asked to be cancelled or paused; its worker
        hears of it. Repeatable: an order that the run has obeyed before does nothing. A run that it cancels or
        terminates takes its children along, by the policy of each. A command to a run that continued is obeyed by the
        last link of its chain, unless it names a record (``core.control.is_for_newest``).
        Raises RunNotFound, RunFinished, CommandRefused.
        """
        ...

    def start_copy(self, tenant: Tenant, copy: RunCopy) -> Started:
        """Start a run that begins with records of another, all in one transaction; a known id starts nothing.

        Workflow, version, queue, priority, attributes and the length of the deadline are the source's. What it begins
        with is copied. The database keeps one run per root and attempt.
        Raises RunNotFound; CommandRefused if it is to be retried and has not failed, or has been retried before;
        QuotaExceeded as ``start_runs`` does, of payloads for what is given instead of the source's.
        """
        ...

    def close(self) -> None:
        """Give back connections and threads. Idempotent."""
        ...


def count_runs(store: Store, tenant: Tenant, where: RunFilter, *, most: int | None = None) -> dict[str, int]:
    """How many of these runs are in each status; statuses without runs are left out.

    ``most``: no more of each status are counted, and no more are read, however many there are. Raises UsageError if the
    filter then asks for what the index does not tell.
    """
    if most is not None:
        if most < 1:
            raise UsageError(f"most must be at least 1, not {most}")
        beside = shape_of(where).asked - SERVED[Lead.STATUS]
        if beside:
            names = ", ".join(sorted({name.rstrip("_0123456789") for name in beside}))
            raise UsageError(
                f"up to a number runs are counted by status, workflow and time of creation alone, not by {names}"
            )
    groups = store.group_runs(tenant, where, GroupBy.STATUS, limit=len(RunStatus), bare=True, most=most)
    return {group.value: group.count for group in groups}
