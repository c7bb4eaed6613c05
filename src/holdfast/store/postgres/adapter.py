"""``Store`` on PostgreSQL. See the port for what each method promises, and ``queries/`` for how it is kept."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from holdfast.errors import CommitUnknown, RunNotFound, StoreMisconfigured, StoreUnavailable
from holdfast.model.command import Order, RunCopy
from holdfast.model.commit import CommitAnswer, LiveUpdate, Progress, RunCommit
from holdfast.model.event import EventFilter, EventPage
from holdfast.model.ids import RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import (
    Agenda,
    Answer,
    ApprovalPage,
    Attempt,
    Claim,
    Entry,
    NewRun,
    Outputs,
    Run,
    RunDetail,
    RunFilter,
    RunPage,
    Signal,
    Started,
    Sweep,
    Wait,
    WorkerInfo,
    WorkerRow,
)
from holdfast.model.search import GroupBy, RunGroup
from holdfast.model.status import EntryKind
from holdfast.model.tenant import Pruning
from holdfast.store.accounts import prune_and_count
from holdfast.store.events import HORIZON_POSTGRES, PositionsAheadError, read_events_in
from holdfast.store.listings import (
    approval_values,
    may_answer_postgres,
    output_values,
    outputs_of,
    page_of_approvals,
    runs_by_id,
)
from holdfast.store.paging import approval_page, decode_cursor, decode_place
from holdfast.store.port import SIGNAL_BATCH, UNASKED_MAX, WORKER_KEPT_MS, Hint, Statements
from holdfast.store.postgres import messages
from holdfast.store.postgres.claim import claim_runs
from holdfast.store.postgres.commit import Outcome, merge, plan_commit
from holdfast.store.postgres.connection import Address, Cursor, Pool, Row
from holdfast.store.postgres.control import obey, start_copy, tell_waiters
from holdfast.store.postgres.core_statements import PostgresStatements, read_made, started_from
from holdfast.store.postgres.guests import Guests
from holdfast.store.postgres.notify import PostgresHints
from holdfast.store.postgres.rows import (
    attempts_by_run,
    claimed_run,
    document,
    entries_by_run,
    id_array,
    start_row,
    status_of,
    waits_by_run,
)
from holdfast.store.postgres.session import ChildContinued, DataRefused, Session, rows_of
from holdfast.store.postgres.statements import Params
from holdfast.store.postgres.verdict import judge
from holdfast.store.records import approval_from, entry_from, run_from, transition_from, worker_from
from holdfast.store.rendering import render, text_of
from holdfast.store.schema import check_revision
from holdfast.store.search import Make, Query, group, read_page, rows_to_page
from holdfast.store.standing import read_standing

T = TypeVar("T")

_SHARD: Final = 0
"""There is one shard until the tables are distributed."""

_POOL_WAIT_S: Final = 30.0
_AHEAD_MAX: Final = 1_000
_FAMILY_BATCHES: Final = 100
"""After a batch with parents in it, this many batches lock parents and children in the order of ids."""


class PostgresStore:
    """The engine's tables in the schema ``holdfast`` of a PostgreSQL database, version 14 or later.

    Safe from any thread; each thread that is inside a method holds one connection. ``clock`` replaces the database's
    own clock, for tests. ``connections_max`` bounds the pool; the threads for wake-ups hold one connection each
    besides. ``listen=False`` hears nothing from other processes, and ``prepare=False`` prepares no statements: both for
    a pooler in transaction mode. ``jitter`` gives numbers from 0 to 1 for the pauses between attempts.

    Connects when it is first used. Raises: StoreMisconfigured for a URL that cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], UnixMs] | None = None,
        connections_max: int = 8,
        listen: bool = True,
        prepare: bool = True,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = Address(url, prepare=prepare)
        shown = self._address.shown
        self._clock = clock
        self._pool = Pool(self._address.connect, size_max=connections_max, wait_s=_POOL_WAIT_S, shown=shown)
        self._session = Session(self._pool, shown=shown, read_committed=prepare, jitter=jitter, sleep=sleep)
        self._hints = PostgresHints(
            self._address.connect, sender=uuid.uuid4().hex, listen=listen, jitter=jitter, pool=self._pool
        )
        # What is no single tenant's: workers, housekeeping, operators.
        self._everyone = self._session.within(None)
        self._guests = Guests(self._address, self._session, connections_max=connections_max, wait_s=_POOL_WAIT_S)
        self._families = 0
        self._few = self._barred = True
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The database's URL without its password, for messages."""
        return self._address.shown

    @property
    def hints(self) -> PostgresHints:
        """The wake-ups of this database."""
        return self._hints

    def close(self) -> None:
        """Give back connections and threads. Idempotent."""
        self._hints.close()
        self._guests.close()
        self._pool.close()

    def check_schema(self) -> None:
        """Raise SchemaTooOld, SchemaTooNew or StoreMisconfigured unless the tables fit this version."""
        found = self._session.read("read_revision_table", {})
        rows = self._session.read("read_revision", {}) if found[0][0] else []
        check_revision(self.url, rows[0][0] if rows else None)

    def read_clock(self) -> UnixMs:
        """The database's time."""
        return UnixMs(self._session.read("read_clock", self._params())[0][0])

    def transact(self, tenant: Tenant | None, work: Callable[[Statements], T], *, read_only: bool = False) -> T:
        """One transaction of statements that are not hot."""

        def act(cursor: Cursor, rows: list[Row]) -> tuple[T, PostgresStatements]:
            now = self._params()
            statements = PostgresStatements(cursor.connection, UnixMs(rows[0][0]), self._start_params, now)
            return work(statements), statements

        session = self._session.within(tenant)
        answer, done = session.transaction(("read_clock", self._params()), act, snapshot=read_only)
        if done.ready or done.live:
            self._hints.tell(done.hint, [*done.ready, *done.live])
        return answer

    def _params(self, **more: Any) -> Params:
        return {"shard": _SHARD, "now_ms": None if self._clock is None else self._clock(), **more}

    # Starting

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Record runs, all or none. Raises UsageError if the database cannot take one of them."""
        if not runs:
            return []
        rows = self._session.within(_tenant_of(runs)).write("start_runs", self._start_params(runs))
        self._hints.tell(Hint(work=any(row[1] for row in rows)), [run.id for run in runs])
        return started_from(runs, rows)

    def start_runs_in(self, connection: Any, runs: Sequence[NewRun]) -> list[Started]:
        """As ``start_runs``, inside the open transaction of a psycopg or SQLAlchemy Connection, or of a Session."""
        if not runs:
            return []
        return started_from(runs, self._guests.start(connection, _tenant_of(runs), self._start_params(runs)))

    async def start_runs_in_async(self, connection: Any, runs: Sequence[NewRun]) -> list[Started]:
        """As ``start_runs_in``, for a psycopg AsyncConnection or an SQLAlchemy AsyncConnection or AsyncSession."""
        if not runs:
            return []
        return started_from(
            runs, await self._guests.start_async(connection, _tenant_of(runs), self._start_params(runs))
        )

    def _start_params(self, runs: Sequence[NewRun]) -> Params:
        try:
            return self._params(runs=document([start_row(run) for run in runs]))
        except UnicodeEncodeError as error:
            raise DataRefused(why=str(error)) from error

    # Workers

    def register_worker(self, worker: WorkerInfo, *, lease_ms: int) -> UnixMs:
        """Announce a worker and open its lease."""
        params = self._params(
            worker=worker.id,
            queues=list(worker.queues),
            codes=list(worker.codes),
            lacks=document(worker.lacks),
            host=worker.host,
            pid=worker.pid,
            version=worker.version,
            lease_ms=lease_ms,
        )
        return UnixMs(self._everyone.write("register_worker", params)[0][0])

    def heartbeat(self, worker: WorkerId, *, lease_ms: int) -> UnixMs:
        """Extend the lease of a worker that is registered."""
        return UnixMs(self._everyone.write("heartbeat", self._params(worker=worker, lease_ms=lease_ms))[0][0])

    def retire_worker(self, worker: WorkerId, *, limit: int) -> int:
        """End the lease and hand back up to ``limit`` runs; how many are still held."""
        params = self._params(worker=worker, limit=limit)
        _, rows = self._everyone.pipeline([("retire_worker", params), ("retire_worker_runs", params)])
        moved, remaining = rows[0]
        self._hints.tell(Hint(work=moved > 0), None if moved else ())
        return int(remaining)

    def claim_runs(
        self, worker: WorkerId, *, queues: Sequence[str], codes: Sequence[str], limit: int, suspects: int
    ) -> Claim:
        """Take claimable runs, and read what those have recorded that were claimed before."""
        params = self._params(
            worker=worker, queues=list(queues), codes=list(codes), limit=limit, suspects=suspects, look=limit
        )
        claimed = claim_runs(self._everyone, params, few=self._few, barred=self._barred)
        self._few, self._barred = claimed.few, claimed.barred
        rows, now_ms = claimed.rows, claimed.now_ms
        if rows:
            self._hints.tell(Hint(), [row[1] for row in rows])
        # A run under its first epoch has recorded nothing.
        resumed = [row[1] for row in rows if row[11] > 1]
        journal, waits, attempts = self._read_histories(resumed)
        runs = [
            claimed_run(row, journal.get(row[1], []), waits.get(row[1], []), attempts.get(row[1], [])) for row in rows
        ]
        return Claim(now_ms, runs, more=claimed.more, barred=claimed.barred)

    def _read_histories(
        self, run_ids: Sequence[RunId]
    ) -> tuple[dict[RunId, list[Entry]], dict[RunId, list[Wait]], dict[RunId, list[Attempt]]]:
        """Read after the claim has committed: from then on nobody else writes a journal.

        A wait that somebody closes meanwhile is only the newer truth.
        """
        if not run_ids:
            return {}, {}, {}
        more = self._params(ids=id_array(run_ids), closed=False)
        try:
            journal_rows, wait_rows, attempt_rows = self._everyone.pipeline(
                [("read_journal", more), ("read_waits", more), ("read_attempts", more)]
            )
        except StoreUnavailable as error:
            raise CommitUnknown(why=f"the claim was done, but what was claimed could not be read: {error}") from error
        return entries_by_run(journal_rows), waits_by_run(wait_rows), attempts_by_run(attempt_rows)

    def release_unknown(self, worker: WorkerId, *, known: Sequence[RunId]) -> int:
        """Hand back the runs that the worker does not know it holds. Returns how many."""
        rows = self._everyone.write("release_unknown", self._params(worker=worker, known=id_array(known)))
        self._hints.tell(Hint(work=rows[0][0] > 0), None if rows[0][0] else ())
        return int(rows[0][0])

    def commit(self, batch: Sequence[RunCommit]) -> CommitAnswer:
        """Record a batch. If the database cannot take some run's rows, halves are tried until that run is found."""
        if not batch:
            return CommitAnswer(self.read_clock())
        outcome = self._commit(batch)
        self._hints.tell(outcome.hint, [commit.run_id for commit in batch])
        return outcome.answer

    def _commit(self, batch: Sequence[RunCommit]) -> Outcome:
        try:
            return self._commit_together(batch)
        except DataRefused as refusal:
            if len(batch) == 1:
                return judge(self._everyone, batch[0], str(refusal), self._params())
        half = len(batch) // 2
        first = self._commit(batch[:half])
        try:
            return merge(first, self._commit(batch[half:]))
        except StoreUnavailable as error:
            self._hints.tell(first.hint, [commit.run_id for commit in batch[:half]])
            raise CommitUnknown(why=f"a part of the batch was committed, then: {error}") from error

    def _commit_together(self, batch: Sequence[RunCommit]) -> Outcome:
        try:
            return self._commit_planned(batch, follows=False)
        except ChildContinued:
            return self._commit_planned(batch, follows=True)

    def _commit_planned(self, batch: Sequence[RunCommit], *, follows: bool) -> Outcome:
        plan = plan_commit(batch, shard=_SHARD, now_ms=None if self._clock is None else self._clock())
        try:
            steps = plan.steps(families=self._families > 0, follows=follows)
        except UnicodeEncodeError as error:
            raise DataRefused(why=str(error)) from error
        if follows or plan.choosy_runs():
            outcome = plan.outcome(*self._everyone.conversation(steps, plan.after))
        elif len(steps) == 1:
            name, params = steps[0]
            outcome = plan.outcome(steps, [self._everyone.write(name, params)])
        else:
            outcome = plan.outcome(steps, self._everyone.pipeline(steps))
        # A guess about the next batches; it may be wrong, and two threads may disagree about it.
        self._families = _FAMILY_BATCHES if outcome.has_families else max(0, self._families - 1)
        return outcome

    def commit_with(self, handler: Callable[[Any], RunCommit], *, wants: type) -> CommitAnswer:
        """Let the handler run SQL on a connection of class ``wants``, and commit both together.

        ``wants`` is psycopg's Connection, or SQLAlchemy's Connection or Session. The handler may be called only once:
        a collision with other transactions is StoreUnavailable here.
        """
        outcome = self._guests.commit_with(handler, wants=wants, params=self._params())
        self._hints.tell(outcome.hint, None)
        return outcome.answer

    async def commit_with_async(self, handler: Callable[[Any], Awaitable[RunCommit]], *, wants: type) -> CommitAnswer:
        """As ``commit_with``, for psycopg's AsyncConnection, and SQLAlchemy's AsyncConnection and AsyncSession."""
        outcome = await self._guests.commit_with_async(handler, wants=wants, params=self._params())
        self._hints.tell(outcome.hint, None)
        return outcome.answer

    def read_progress(self, run_ids: Sequence[RunId]) -> dict[RunId, Progress]:
        """How far these runs' records have come."""
        rows = self._everyone.read("read_progress", self._params(ids=id_array(run_ids)))
        return {run_id: Progress(status_of(status), epoch, seq, count) for run_id, status, epoch, seq, count in rows}

    def read_live(self, worker: WorkerId, waiting: Mapping[RunId, Sequence[str] | None]) -> list[LiveUpdate]:
        """News for those of these runs that the worker holds."""
        whole = [run_id for run_id, keys in waiting.items() if keys is None]
        pairs = [(run_id, key) for run_id, keys in waiting.items() for key in keys or ()]
        held, closed, of_keys = self._everyone.pipeline(
            [
                ("read_live", self._params(worker=worker, ids=id_array(waiting))),
                ("read_waits", self._params(ids=id_array(whole), closed=True)),
                (
                    "read_live_waits",
                    self._params(ids=id_array(one for one, _ in pairs), keys=[key for _, key in pairs]),
                ),
            ]
        )
        waits = {**waits_by_run(closed), **waits_by_run(of_keys)}
        return [
            LiveUpdate(run_id, cancel, waits.get(run_id, []), pause)
            for run_id, cancel, pause in held
            if cancel or pause or run_id in waits
        ]

    # Housekeeping

    def read_agenda(self, *, queues: Sequence[str], codes: Sequence[str], unwanted: Sequence[str] = ()) -> Agenda:
        """What there is to do."""
        params = self._params(
            queues=list(queues),
            codes=list(codes),
            unwanted=list(unwanted),
            unasked_max=UNASKED_MAX,
            kept_ms=WORKER_KEPT_MS,
        )
        now_ms, claimable, next_wake_ms, lost, unasked, *due = self._everyone.read("read_agenda", params)[0]
        return Agenda(now_ms, claimable, next_wake_ms, lost, sorted(unasked), *due)

    def wake_due(self, *, limit: int) -> int:
        """Put runs into the line whose time has come."""
        params = self._params(limit=limit)

        def wake(cursor: Cursor, rows: list[Row]) -> int:
            if not rows:
                return 0
            return int(rows_of(cursor, "wake_due", {**params, "ids": id_array(row[0] for row in rows)})[0][0])

        woken = self._everyone.transaction(("wake_due_lock", params), wake)
        self._hints.tell(Hint(work=woken > 0), None if woken else ())
        return woken

    def requeue_lost(self, *, limit: int, crashes_max: int) -> dict[RunId, bool]:
        """Take runs from workers whose lease has run out; True for those that were set aside."""
        params = self._params(limit=limit, crashes_max=crashes_max, kept_ms=WORKER_KEPT_MS)

        def take_over(cursor: Cursor, rows: list[Row]) -> tuple[dict[RunId, bool], list[Row]]:
            if not rows:
                rows_of(cursor, "forget_workers", params)
                return {}, []
            taken = rows_of(cursor, "requeue_lost", {**params, "ids": id_array(row[0] for row in rows)})
            lost: dict[RunId, bool] = dict(taken)
            rows_of(cursor, "forget_workers", params)
            return lost, self._tell_waiters(cursor, [run_id for run_id, stuck in lost.items() if stuck])

        lost, told = self._everyone.transaction(("requeue_lost_lock", params), take_over)
        self._publish_ends([run_id for run_id, stuck in lost.items() if stuck], told, work=bool(lost))
        return lost

    def prune(self, what: Pruning, *, limit: int) -> int:
        """Delete runs and all that belongs to them; how many."""
        return prune_and_count(self, what, limit=limit)

    def _tell_waiters(self, cursor: Cursor, ended: list[RunId]) -> list[Row]:
        """Close the waits for runs that this transaction ended: who waited, and whether it stands in the line now."""
        return tell_waiters(cursor, ended, self._params()) if ended else []

    def _publish_ends(self, ended: list[RunId], told: list[Row], *, work: bool) -> None:
        live = tuple(run_id for run_id, ready in told if not ready)
        hint = Hint(work=work or any(ready for _, ready in told), ended=tuple(ended), live=live)
        self._hints.tell(hint, None)

    # Clients

    def get_run(self, tenant: Tenant, run_id: RunId, *, newest: bool = False) -> Run:
        """The run, or the last link of its chain. Raises RunNotFound, also for another tenant's."""
        session = self._session.within(tenant)
        rows = session.read("get_run", self._params(tenant=tenant, id=run_id))
        if not rows:
            raise RunNotFound(run_id=run_id)
        run = run_from(rows[0])
        if newest and run.continued_as_id is not None:
            last = session.read("find_newest", self._params(chain_id=run.chain_id))
            return self.get_run(tenant, last[0][0], newest=True) if last and last[0][0] != run_id else run
        return run

    def get_runs(self, tenant: Tenant, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of these runs that are the tenant's and can be read."""
        return rows_to_page(self._query(tenant, runs_by_id(tenant, list(run_ids), shards=[_SHARD]))).runs

    def list_runs(self, tenant: Tenant, where: RunFilter, *, limit: int, after: str | None) -> RunPage:
        """A page of runs. Raises UsageError for a bad ``after``."""
        cursor = None if after is None else decode_cursor(after)
        return read_page(partial(self._read, tenant), tenant, where, limit=limit, after=cursor)

    def group_runs(
        self, tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool = False, most: int | None = None
    ) -> list[RunGroup]:
        """The largest groups of these runs."""
        return group(partial(self._read, tenant), tenant, where, by, limit=limit, bare=bare, most=most)

    def _query(self, tenant: Tenant, query: Query) -> list[Row]:
        return self._session.within(tenant).query(*render(query, "postgresql"))

    def _read(self, tenant: Tenant, make: Make, shape: tuple[Any, ...], values: Params) -> list[Row]:
        text, constants = text_of(make, "postgresql", *shape)
        return self._session.within(tenant).query(text, constants | values)

    def read_detail(self, tenant: Tenant, run_id: RunId) -> RunDetail:
        """The run with everything that explains it. Raises RunNotFound."""
        params = self._params(tenant=tenant, id=run_id, ids=id_array([run_id]), closed=False, limit=_AHEAD_MAX)

        def read_rest(cursor: Cursor, rows: list[Row]) -> RunDetail:
            if not rows:
                raise RunNotFound(run_id=run_id)
            run = run_from(rows[0])
            now_ms, ahead = rows_of(cursor, "read_detail", params)[0]
            serves = {**params, "worker": run.worker, "queue": run.queue, "code": run.code}
            workers = [worker_from(row) for row in rows_of(cursor, "read_detail_workers", serves)]
            waits = waits_by_run(rows_of(cursor, "read_waits", params)).get(run.id, [])
            return RunDetail(
                now_ms=now_ms,
                run=run,
                journal=entries_by_run(rows_of(cursor, "read_journal", params)).get(run.id, []),
                waits=waits,
                attempts=attempts_by_run(rows_of(cursor, "read_attempts", params)).get(run.id, []),
                transitions=[transition_from(row) for row in rows_of(cursor, "read_transitions", params)],
                workers=workers,
                ahead=ahead,
                standing=read_standing(partial(read_made, cursor.connection), run, workers, waits),
            )

        # One snapshot, so that the rows agree with each other.
        return self._session.within(tenant).transaction(("get_run", params), read_rest, snapshot=True)

    def read_outputs(
        self, tenant: Tenant, run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int
    ) -> Outputs:
        """What the run recorded for others. Raises RunNotFound."""
        status = self.get_run(tenant, run_id).status
        values = output_values(run_id, name, after=after, limit=limit)
        rows = self._read(tenant, outputs_of, (kind, after is None), values)
        return Outputs(status, [entry_from(row) for row in rows])

    def read_events(self, tenant: Tenant, where: EventFilter, *, after: str | None, limit: int) -> EventPage:
        """A part of the events of a run or of the tenant. Raises RunNotFound, UsageError."""

        def read(statements: Statements) -> EventPage:
            return read_events_in(statements, tenant, where, after=after, limit=limit, horizon=HORIZON_POSTGRES)

        try:
            return self.transact(tenant, read, read_only=True)
        except PositionsAheadError as error:
            why = "its transitions are ahead of its transactions, as in a restored copy: run `holdfast migrate`"
            raise StoreMisconfigured(url=self.url, why=why) from error

    def list_workers(self) -> list[WorkerRow]:
        """The workers whose lease has not run out, by id."""
        return [worker_from(row) for row in self._session.read("list_workers", self._params())]

    def list_approvals(self, tenant: Tenant, *, names: Sequence[str], limit: int, after: str | None) -> ApprovalPage:
        """A page of open approvals, oldest first. Raises UsageError for a bad ``after``."""
        place = None if after is None else decode_place(after)
        now_ms = self.read_clock()
        values = approval_values(tenant, limit=limit, after=place) | {"now_ms": now_ms, "names": list(names)}
        may = may_answer_postgres if names else None
        rows = self._read(tenant, page_of_approvals, (may, place is not None), values)
        return approval_page([approval_from(row, now_ms) for row in rows], limit=limit)

    def send_signal(self, signal: Signal | Answer, *, limit: int = SIGNAL_BATCH) -> list[RunId]:
        """Deliver a signal or an answer. Raises what the port says; UsageError if the database cannot take it."""
        session = self._session.within(signal.tenant)
        if isinstance(signal, Answer):
            told, more = messages.answer(session, self._params(), signal), False
        else:
            told, more = messages.send(session, self._params(), signal, limit)
        return self._publish_told(told, more=more)

    def send_signal_in(self, connection: Any, signal: Signal) -> None:
        """In the open transaction of a psycopg or SQLAlchemy Connection, or of a Session."""
        self._guests.send(connection, signal.tenant, messages.signal_params(self._params(), signal))

    async def send_signal_in_async(self, connection: Any, signal: Signal) -> None:
        """As ``send_signal_in``, for a psycopg AsyncConnection or an SQLAlchemy AsyncConnection or AsyncSession."""
        await self._guests.send_async(connection, signal.tenant, messages.signal_params(self._params(), signal))

    def sweep_signals(self, *, limit: int) -> Sweep:
        """Go on with signals that are under way, and delete expired ones."""
        told, more = messages.sweep(self._everyone, self._params(), limit)
        return Sweep(len(self._publish_told(told, more=False)), more)

    def _publish_told(self, told: list[Row], *, more: bool) -> list[RunId]:
        live = tuple(run_id for run_id, _, held in told if held)
        hint = Hint(work=any(ready for _, ready, _ in told), signals=more, live=live)
        self._hints.tell(hint, [run_id for run_id, _, _ in told])
        return [run_id for run_id, _, _ in told]

    def start_copy(self, tenant: Tenant, copy: RunCopy) -> Started:
        """Start a run with records of another. Raises RunNotFound, CommandRefused."""
        started = start_copy(self._session.within(tenant), tenant, copy, self._params())
        self._hints.tell(Hint(work=started.created), [copy.id])
        return started

    def command(self, tenant: Tenant, run_id: RunId, order: Order) -> Run:
        """Let a run obey a command. Raises RunNotFound, RunFinished, CommandRefused."""
        run, hint = obey(self._session.within(tenant), order, run_id, self._params(tenant=tenant))
        self._hints.tell(hint, None)
        return run


def _tenant_of(runs: Sequence[NewRun]) -> Tenant | None:
    """Whose runs they are; None if they are not all one tenant's."""
    tenants = {run.tenant for run in runs}
    return tenants.pop() if len(tenants) == 1 else None
