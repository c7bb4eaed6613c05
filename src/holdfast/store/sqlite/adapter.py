"""The store port on one SQLite file: what each method's transaction is; how it is done stands in the other modules."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import StoreMisconfigured, UsageError
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
from holdfast.model.status import EntryKind
from holdfast.model.tenant import Pruning
from holdfast.store.port import SIGNAL_BATCH, Hint
from holdfast.store.schema import check_revision
from holdfast.store.sqlite import signals, work
from holdfast.store.sqlite.commit import (
    Refused,
    commit_all,
    commit_each,
    commit_plain,
    explain,
    find_refused,
    is_plain,
    start_runs,
)
from holdfast.store.sqlite.database import Database
from holdfast.store.sqlite.ending import Change, Entangled
from holdfast.store.sqlite.failures import DATA_ERRORS
from holdfast.store.sqlite.lending import HandlerRaised, borrow, call_with
from holdfast.store.sqlite.library import Version
from holdfast.store.sqlite.rows import LIVE, PROGRESS, live_from, progress_from
from holdfast.store.sqlite.statements import as_json, read_json, run
from holdfast.store.sqlite.watcher import SqliteHints

if TYPE_CHECKING:
    from holdfast.store.port import Statements
    from holdfast.store.sqlite.reading import Listings

T = TypeVar("T")


def system_clock() -> UnixMs:
    """The machine's time: a file has no clock of its own, and all its processes are on one machine."""
    return UnixMs(time.time_ns() // 1_000_000)


class SqliteStore:
    """``Store`` on one SQLite file, for any number of threads and processes of one machine.

    ``clock`` is the store's time in milliseconds, read when the write lock is held. A writer that waits for others
    gives up with StoreBusy after ``busy_timeout_ms``. ``watch`` makes the hints include those of other processes, by a
    thread that looks at the file every ``watch_interval_ms``, more rarely when it is quiet, once somebody has
    subscribed. ``library`` is the version of SQLite whose bugs are to be kept out; another than the real one is for
    tests.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], UnixMs] | None = None,
        busy_timeout_ms: int = 10_000,
        watch: bool = False,
        watch_interval_ms: int = 20,
        library: Version = sqlite3.sqlite_version_info,
    ) -> None:
        self._database = Database(path, busy_timeout_ms=busy_timeout_ms, library=library)
        self._clock = clock or system_clock
        self._hints = SqliteHints(
            self._database.path,
            foreign_version=self._database.foreign_version,
            watch=watch,
            interval_ms=watch_interval_ms,
        )

    @property
    def url(self) -> str:
        """``sqlite:///`` and the file's absolute path."""
        return self._database.url

    @property
    def hints(self) -> SqliteHints:
        """The wake-ups of this file."""
        return self._hints

    def check_schema(self) -> None:
        """Raises SchemaTooOld, SchemaTooNew, StoreMisconfigured."""
        with self._database.reading() as connection:
            known = "select count(*) from sqlite_schema where type = 'table' and name = 'holdfast_version'"
            found: list[tuple[str]] = []
            if connection.execute(known).fetchone() == (1,):
                found = connection.execute("select version_num from holdfast_version").fetchall()
        if len(found) > 1:
            raise StoreMisconfigured(url=self.url, why="its table holdfast_version has more than one row")
        check_revision(self.url, found[0][0] if found else None)

    def read_clock(self) -> UnixMs:
        """The store's time."""
        return self._clock()

    def close(self) -> None:
        """Close the connections and end the watcher. Idempotent."""
        self._hints.close()
        self._database.close()

    @contextmanager
    def _change(self) -> Generator[Change, None, None]:
        """One write transaction; its hints are published when it is committed and the lock is free again."""
        with self._database.transaction() as connection:
            change = Change(connection, self._clock())
            yield change
        self._hints.tell(change.hint(), None)

    def transact(
        self,
        tenant: Tenant | None,  # noqa: ARG002 - there is no second wall
        work: Callable[[Statements], T],
        *,
        read_only: bool = False,
    ) -> T:
        """One transaction of statements that are not hot."""
        # SQLAlchemy takes longer to import than a worker needs to start: it waits for the first such statement.
        from holdfast.store.sqlite.core_statements import SqliteStatements

        if read_only:
            with self._database.reading() as connection:
                connection.execute("begin")
                answer = work(SqliteStatements(connection, self._clock()))
                connection.execute("commit")
                return answer
        with self._database.transaction() as connection:
            statements = SqliteStatements(connection, self._clock())
            answer = work(statements)
        if statements.change.work or statements.change.live:
            self._hints.tell(statements.change.hint(), None)
        return answer

    # Starting

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Raises UsageError, having started none, if one of them cannot be stored."""
        if not runs:
            return []
        with _refusing("a run"), self._change() as change:
            return start_runs(change, runs)

    def start_runs_in(self, connection: Any, runs: Sequence[NewRun]) -> list[Started]:
        """``connection`` is a sqlite3.Connection, or SQLAlchemy's Connection or Session, to the same file.

        Raises UsageError for anything else, or if a run cannot be stored. Listeners in this process hear of the runs
        only if the store watches the file, for the commit is the caller's.
        """
        driver = borrow(connection, self._database.path)
        if self._database.guarded:
            driver.execute("pragma wal_autocheckpoint = 0")
        factory, driver.row_factory = driver.row_factory, None
        try:
            with _refusing("a run"), self._database.translating():
                return start_runs(Change(driver, self._clock()), runs)
        finally:
            driver.row_factory = factory

    # Workers

    def register_worker(self, worker: WorkerInfo, *, lease_ms: int) -> UnixMs:
        """Announce a worker and open its lease. Raises UsageError if a text of it cannot be stored."""
        with _refusing("the worker"), self._change() as change:
            work.register(change, worker, lease_ms=lease_ms)
            return change.now_ms

    def heartbeat(self, worker: WorkerId, *, lease_ms: int) -> UnixMs:
        """Extend the lease of a worker that is registered."""
        with self._change() as change:
            run(change.connection, "heartbeat", worker=worker, lease_ms=lease_ms, now_ms=change.now_ms)
            return change.now_ms

    def retire_worker(self, worker: WorkerId, *, limit: int) -> int:
        """End the worker's lease and hand back its runs."""
        with self._change() as change:
            return work.retire(change, worker, limit=limit)

    def claim_runs(
        self, worker: WorkerId, *, queues: Sequence[str], codes: Sequence[str], limit: int, suspects: int
    ) -> Claim:
        """Take claimable runs."""
        with self._change() as change:
            return work.claim(change, worker, queues=queues, codes=codes, limit=limit, suspects=suspects)

    def release_unknown(self, worker: WorkerId, *, known: Sequence[RunId]) -> int:
        """Hand back what the worker holds without knowing it."""
        with self._change() as change:
            return work.release_unknown(change, worker, known=known)

    def commit(self, batch: Sequence[RunCommit]) -> CommitAnswer:
        """Record a batch."""
        if is_plain(batch):
            try:
                with self._database.writing() as connection:
                    answer = commit_plain(connection, batch, self._clock())
            except DATA_ERRORS:
                pass  # nothing was done: find the run that cannot be stored
            else:
                self._hints.tell(Hint(), [commit.run_id for commit in batch])
                return answer
        else:
            try:
                with self._change() as change:
                    return commit_all(change, batch)
            except (Refused, Entangled, *DATA_ERRORS):
                pass  # all was rolled back: find out about each run
        with self._change() as change:
            return commit_each(change, batch)

    def commit_with(self, handler: Callable[[Any], RunCommit], *, wants: type) -> CommitAnswer:
        """``wants`` is sqlite3.Connection, or SQLAlchemy's Connection or Session.

        Raises UsageError for anything else, and if the handler commits or rolls back by itself.
        """
        commit: RunCommit | None = None
        try:
            with self._database.lending() as connection:
                commit = call_with(connection, handler, wants)
                change = Change(connection, self._clock())
                answer = commit_all(change, [commit])
        except HandlerRaised as raised:
            raise raised.error from raised.error.__cause__
        except (Refused, *DATA_ERRORS) as error:
            if commit is None:
                raise
            return self._decline(commit, error)
        self._hints.tell(change.hint(), None)
        return answer

    def _decline(self, commit: RunCommit, error: Exception) -> CommitAnswer:
        with self._database.reading() as connection:
            now_ms = self._clock()
            refused = find_refused(connection, [commit])
            if refused or isinstance(error, Refused):
                return CommitAnswer(now_ms, refused=refused or explain(connection, [commit.run_id]))
            return CommitAnswer(now_ms, broken={commit.run_id: str(error)})

    def read_progress(self, run_ids: Sequence[RunId]) -> dict[RunId, Progress]:
        """How far these runs have come."""
        ids = as_json(list(dict.fromkeys(run_ids)))
        with self._database.reading() as connection:
            rows = read_json(connection, "read_progress", PROGRESS, run_ids=ids)
        return {row[0]: progress_from(row) for row in rows}

    def read_live(self, worker: WorkerId, waiting: Mapping[RunId, Sequence[str] | None]) -> list[LiveUpdate]:
        """What happened to those of these runs that the worker holds, in the order of their ids."""
        asked = as_json([[run_id, keys] for run_id, keys in sorted(waiting.items())])
        with self._database.reading() as connection:
            rows = read_json(connection, "read_live", LIVE, asked=asked, worker=worker, now_ms=self._clock())
            return [live_from(row) for row in rows]

    # Housekeeping

    def read_agenda(self, *, queues: Sequence[str], codes: Sequence[str], unwanted: Sequence[str] = ()) -> Agenda:
        """What there is to do."""
        with self._database.reading() as connection:
            return work.read_agenda(connection, self._clock(), queues=queues, codes=codes, unwanted=unwanted)

    def wake_due(self, *, limit: int) -> int:
        """Put due runs into the line."""
        with self._change() as change:
            return work.wake_due(change, limit=limit)

    def sweep_signals(self, *, limit: int) -> Sweep:
        """Go on with signals that are under way, and delete expired ones."""
        with self._change() as change:
            return signals.sweep(change, limit)

    def requeue_lost(self, *, limit: int, crashes_max: int) -> dict[RunId, bool]:
        """Take runs from workers whose lease has run out."""
        with self._change() as change:
            return work.requeue_lost(change, limit=limit, crashes_max=crashes_max)

    def prune(self, what: Pruning, *, limit: int) -> int:
        """Delete runs and all that belongs to them; how many."""
        from holdfast.store.accounts import prune_and_count

        return prune_and_count(self, what, limit=limit)

    # Clients

    def get_run(self, tenant: Tenant, run_id: RunId, *, newest: bool = False) -> Run:
        """The run, or the last link of its chain. Raises RunNotFound."""
        with self._listings() as listings:
            return listings.get_run(tenant, run_id, newest=newest)

    def get_runs(self, tenant: Tenant, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of these runs that are the tenant's."""
        with self._listings() as listings:
            return listings.get_runs(tenant, run_ids)

    def list_runs(self, tenant: Tenant, where: RunFilter, *, limit: int, after: str | None) -> RunPage:
        """A page of runs. Raises UsageError for a bad ``after``."""
        with self._listings() as listings:
            return listings.list_runs(tenant, where, limit=limit, after=after)

    def group_runs(
        self, tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool = False, most: int | None = None
    ) -> list[RunGroup]:
        """The largest groups of these runs."""
        with self._listings() as listings:
            return listings.group_runs(tenant, where, by, limit=limit, bare=bare, most=most)

    def read_detail(self, tenant: Tenant, run_id: RunId) -> RunDetail:
        """The run with everything that explains it, as of one moment. Raises RunNotFound."""
        with self._listings() as listings:
            return listings.read_detail(tenant, run_id, self._clock())

    def read_outputs(
        self, tenant: Tenant, run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int
    ) -> Outputs:
        """What the run recorded for others. Raises RunNotFound."""
        with self._listings() as listings:
            return listings.read_outputs(tenant, run_id, kind, name, after=after, limit=limit)

    def read_events(self, tenant: Tenant, where: EventFilter, *, after: str | None, limit: int) -> EventPage:
        """A part of the events of a run or of the tenant. Raises RunNotFound, UsageError."""
        from holdfast.store.events import HORIZON_SQLITE, read_events_in

        def read(statements: Statements) -> EventPage:
            return read_events_in(statements, tenant, where, after=after, limit=limit, horizon=HORIZON_SQLITE)

        return self.transact(tenant, read, read_only=True)

    def list_workers(self) -> list[WorkerRow]:
        """The workers whose lease has not run out, by id."""
        with self._listings() as listings:
            return listings.list_workers(self._clock())

    @contextmanager
    def _listings(self) -> Generator[Listings, None, None]:
        # SQLAlchemy takes longer to import than a worker needs to start: it waits for the first listing.
        from holdfast.store.sqlite.reading import Listings

        with self._database.reading() as connection:
            yield Listings(connection)

    def list_approvals(self, tenant: Tenant, *, names: Sequence[str], limit: int, after: str | None) -> ApprovalPage:
        """A page of open approvals, oldest first. Raises UsageError for a bad ``after``."""
        with self._listings() as listings:
            return listings.list_approvals(tenant, names, self._clock(), limit=limit, after=after)

    def send_signal(self, signal: Signal | Answer, *, limit: int = SIGNAL_BATCH) -> list[RunId]:
        """Deliver a signal or an answer. Raises what the port says; UsageError if it cannot be stored."""
        with _refusing("the signal"), self._change() as change:
            return signals.answer(change, signal) if isinstance(signal, Answer) else signals.send(change, signal, limit)

    def send_signal_in(self, connection: Any, signal: Signal) -> None:
        """``connection`` is what ``start_runs_in`` takes. Raises UsageError, RunNotFound, RunFinished."""
        driver = borrow(connection, self._database.path)
        if self._database.guarded:
            driver.execute("pragma wal_autocheckpoint = 0")
        factory, driver.row_factory = driver.row_factory, None
        try:
            with _refusing("the signal"), self._database.translating():
                change = Change(driver, self._clock())
                if signal.run_id is not None:
                    signals.check_receiver(change, signal)
                signals.check_account(change, signal.tenant)
                signals.accept(change, [signal])
        finally:
            driver.row_factory = factory

    def start_copy(self, tenant: Tenant, copy: RunCopy) -> Started:
        """Start a run with records of another. Raises RunNotFound, CommandRefused, UsageError for a bad text."""
        from holdfast.store.sqlite.control import start_copy

        with _refusing("the run"), self._change() as change:
            return start_copy(change, tenant, copy)

    def command(self, tenant: Tenant, run_id: RunId, order: Order) -> Run:
        """Let a run obey a command. Raises RunNotFound, RunFinished, CommandRefused, UsageError for a bad text."""
        # SQLAlchemy, which it reads with, waits for the first command.
        from holdfast.store.sqlite.control import obey

        with _refusing("the command"), self._change() as change:
            return obey(change, tenant, run_id, order)


@contextmanager
def _refusing(what: str) -> Generator[None, None, None]:
    """Turns what the database cannot take into a UsageError: nothing was done."""
    try:
        yield
    except DATA_ERRORS as error:
        raise UsageError(f"{what} cannot be stored: {error}") from error
