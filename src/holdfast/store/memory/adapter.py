"""The reference store: the contract of the port in the plainest code, one lock around every method.

It keeps nothing past its process. What it answers is what every other store must answer, and the order of what it
does depends on nothing but the calls and the clock.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import structs

from holdfast.core.control import Situation, check_retry, check_source, decide, is_for_newest
from holdfast.core.quotas import check_quotas, check_stored
from holdfast.errors import RunFinished, UsageError
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
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, RunStatus, WaitOutcome
from holdfast.model.tenant import Chosen, Ended, Everything, Expired, Pruning, TenantPolicy
from holdfast.store.hints import LocalHints
from holdfast.store.memory.claiming import Claiming, find_standing
from holdfast.store.memory.commit import apply_commit, find_defect, find_refusal, send_signals
from holdfast.store.memory.due import bulk_is_due, next_breaker, next_tick
from holdfast.store.memory.events import read_events
from holdfast.store.memory.limits import awaited_breakers, read_limits
from holdfast.store.memory.messages import accept, answer, open_approvals, send, sweep
from holdfast.store.memory.rules import Rules
from holdfast.store.memory.searching import groups, matching, page
from holdfast.store.memory.storable import unstorable
from holdfast.store.memory.tables import Record, Tables
from holdfast.store.memory.transaction import MemoryTransaction
from holdfast.store.memory.unit import Unit
from holdfast.store.paging import approval_page, decode_cursor, decode_place, place_of
from holdfast.store.port import SIGNAL_BATCH, UNASKED_MAX, Statements

T = TypeVar("T")

_AHEAD_MAX = 1_000


class MemoryStore:
    """``Store`` in memory; see the port for what each method promises. ``clock`` is its time, in milliseconds."""

    def __init__(self, clock: Callable[[], UnixMs], *, url: str = "memory://") -> None:
        self._clock = clock
        self._url = url
        self._lock = threading.RLock()
        self._tables = Tables()
        self._hints = LocalHints()
        self._documents: sqlite3.Connection | None = None

    @property
    def url(self) -> str:
        """What messages call this store."""
        return self._url

    @property
    def hints(self) -> LocalHints:
        """The wake-ups of this store, published after each change in the caller's thread."""
        return self._hints

    def check_schema(self) -> None:
        """There is no schema that could be too old or too new."""

    def read_clock(self) -> UnixMs:
        """The store's time."""
        return self._clock()

    def transact(self, tenant: Tenant | None, work: Callable[[Statements], T], *, read_only: bool = False) -> T:  # noqa: ARG002 - one lock serves all
        """One transaction in a private SQLite database: what is written once for both has no second form to compare."""
        from holdfast.store.memory.documents import open_documents
        from holdfast.store.memory.statements import MemoryStatements

        with self._lock:
            if self._documents is None:
                self._documents = open_documents()
            self._documents.execute("begin")
            statements = MemoryStatements(self._documents, self._clock(), self._stage, self._tables)
            try:
                answer = work(statements)
            except BaseException:
                self._documents.execute("rollback")
                raise
            self._documents.execute("commit")
            # Nothing can be in the way of these any more: they were checked under the same lock.
            unit = statements.follow_up()
        if unit is None:
            return answer
        self._hints.tell(unit.hint(), None)
        return answer

    def close(self) -> None:
        """Give back the connection of ``transact``; what else is stored stays as long as the object."""
        with self._lock:
            if self._documents is not None:
                self._documents.close()
                self._documents = None

    @contextmanager
    def _unit(self) -> Generator[Unit, None, None]:
        """One atomic change; its hints are published when the lock is free again."""
        with self._lock:
            unit = Unit(self._tables, self._clock())
            yield unit
            told = [record for record in unit.ended if record.run.continued_as_id is None]
            if told and self._documents is not None:
                from holdfast.store.memory.telling import tell_of_ends

                self.transact(None, lambda statements: tell_of_ends(statements, told))
        self._hints.tell(unit.hint(), None)

    # Starting

    @contextmanager
    def transaction(self) -> Generator[MemoryTransaction, None, None]:
        """Open a transaction for ``start_runs_in``: committed at the end, dropped if an exception leaves it."""
        transaction = MemoryTransaction()
        yield transaction
        with self._unit() as unit:
            _commit_guest(unit, transaction)

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Raises UsageError, having started none, if one of them cannot be stored."""
        _refuse_unstorable(runs)
        with self._unit() as unit:
            self._check_quotas(runs)
            return [Started(new.id, unit.start(new)) for new in runs]

    def _check_quotas(self, runs: Sequence[NewRun]) -> None:
        for tenant in sorted({new.tenant for new in runs}):
            fresh = {new.id: len(new.input) for new in runs if new.tenant == tenant}
            inputs = [size for run_id, size in fresh.items() if run_id not in self._tables.records]
            self._check_quota(tenant, inputs)

    def _check_quota(self, tenant: Tenant, inputs: Sequence[int]) -> None:
        policy, stored = self._limits(tenant)
        check_quotas(policy, inputs, queued=self._tables.count_queued(tenant), stored=stored)

    def _check_account(self, tenant: Tenant) -> None:
        policy, stored = self._limits(tenant)
        check_stored(tenant, limit=policy.stored_bytes_max, stored=stored)

    def _limits(self, tenant: Tenant) -> tuple[TenantPolicy, int]:
        return read_limits(self._documents, self._clock(), tenant)

    def start_runs_in(self, connection: Any, runs: Sequence[NewRun]) -> list[Started]:
        """``connection`` is a MemoryTransaction. Raises UsageError for anything else."""
        if not isinstance(connection, MemoryTransaction):
            raise UsageError(f"{self._url} starts runs in a MemoryTransaction, not in a {type(connection).__name__}")
        started = self._stage(connection.starts, runs)
        connection.add_starts(runs)
        return started

    def _stage(self, before: Sequence[NewRun], runs: Sequence[NewRun]) -> list[Started]:
        """What starts answer that count only with the transaction they are part of, behind those before them."""
        _refuse_unstorable(runs)
        with self._lock:
            self._check_quotas([*before, *runs])
            known = {*self._tables.records, *(new.id for new in before)}
        started: list[Started] = []
        for new in runs:
            started.append(Started(new.id, new.id not in known))
            known.add(new.id)
        return started

    # Workers

    def register_worker(self, worker: WorkerInfo, *, lease_ms: int) -> UnixMs:
        """Announce a worker and open its lease."""
        with self._lock:
            now_ms = self._clock()
            known = self._tables.workers.get(worker.id)
            self._tables.workers[worker.id] = WorkerRow(
                id=worker.id,
                queues=list(worker.queues),
                codes=list(worker.codes),
                lacks={code: list(names) for code, names in worker.lacks.items()},
                host=worker.host,
                pid=worker.pid,
                version=worker.version,
                started_ms=now_ms if known is None else known.started_ms,
                heartbeat_ms=now_ms,
                lease_until_ms=UnixMs(now_ms + lease_ms),
            )
            return now_ms

    def heartbeat(self, worker: WorkerId, *, lease_ms: int) -> UnixMs:
        """Extend the lease of a worker that is registered."""
        with self._lock:
            now_ms = self._clock()
            row = self._tables.workers.get(worker)
            if row is not None:
                until_ms = UnixMs(now_ms + lease_ms)
                self._tables.workers[worker] = structs.replace(row, heartbeat_ms=now_ms, lease_until_ms=until_ms)
            return now_ms

    def retire_worker(self, worker: WorkerId, *, limit: int) -> int:
        """Close the lease and put up to ``limit`` of the worker's runs back in the line."""
        with self._unit() as unit:
            row = self._tables.workers.get(worker)
            if row is not None:
                self._tables.workers[worker] = structs.replace(row, lease_until_ms=unit.now_ms)
            held = self._tables.held_by(worker)
            for record in held[:limit]:
                unit.put_in_line(record, reason="drained")
            return len(held[limit:])

    def claim_runs(
        self, worker: WorkerId, *, queues: Sequence[str], codes: Sequence[str], limit: int, suspects: int
    ) -> Claim:
        """Take the first runs of the line that this worker may have."""
        with self._unit() as unit:
            claiming = Claiming(unit, self._rules(), queues, codes)
            return claiming.claim(worker, limit=limit, suspects=suspects)

    def _rules(self) -> Rules:
        """What tenants have paused, and how much they may run."""
        if self._documents is None:
            return Rules()
        from holdfast.store.queues import list_limits
        from holdfast.store.tenancy import list_pauses, list_policies

        def read(statements: Statements) -> Rules:
            return Rules(list_pauses(statements, None), list_policies(statements), list_limits(statements, None))

        return self.transact(None, read, read_only=True)

    def release_unknown(self, worker: WorkerId, *, known: Sequence[RunId]) -> int:
        """Put the worker's runs back in the line that it does not know it holds."""
        with self._unit() as unit:
            unknown = [record for record in self._tables.held_by(worker) if record.run.id not in known]
            for record in unknown:
                unit.put_in_line(record, reason="drained")
            return len(unknown)

    def commit(self, batch: Sequence[RunCommit]) -> CommitAnswer:
        """Record each run's part, or answer why not."""
        with self._unit() as unit:
            return _commit(unit, batch)

    def commit_with(self, handler: Callable[[Any], RunCommit], *, wants: type) -> CommitAnswer:
        """``wants`` must be MemoryTransaction; what the handler started in it counts only if its run is accepted."""
        if wants is not MemoryTransaction:
            raise UsageError(f"{self._url} has no connection of type {wants.__name__}; ask for a MemoryTransaction")
        transaction = MemoryTransaction()
        commit = handler(transaction)
        with self._unit() as unit:
            answer = _commit(unit, [commit])
            if not answer.refused and not answer.broken:
                _commit_guest(unit, transaction)
            return answer

    def read_progress(self, run_ids: Sequence[RunId]) -> dict[RunId, Progress]:
        """How far these runs have come."""
        with self._lock:
            found = (self._tables.records[one] for one in dict.fromkeys(run_ids) if one in self._tables.records)
            return {record.run.id: _progress(record) for record in found}

    def read_live(self, worker: WorkerId, waiting: Mapping[RunId, Sequence[str] | None]) -> list[LiveUpdate]:
        """What happened to those of these runs that the worker holds."""
        with self._lock:
            updates: list[LiveUpdate] = []
            rules, now_ms = self._rules(), self._clock()
            for record in self._tables.held_by(worker):
                run = record.run
                if run.id not in waiting:
                    continue
                keys = waiting[run.id]
                wanted = record.all_waits() if keys is None else record.waits_of(keys)
                closed = [wait for wait in wanted if wait.outcome is not None]
                aside = run.aside_until_ms is not None and run.aside_until_ms > now_ms
                leaves = run.pause_requested or aside or rules.recalls(run)
                if closed or run.cancel_requested or leaves:
                    updates.append(LiveUpdate(run.id, run.cancel_requested, closed, leaves))
            return updates

    # Housekeeping

    def read_agenda(self, *, queues: Sequence[str], codes: Sequence[str], unwanted: Sequence[str] = ()) -> Agenda:
        """What there is to do."""
        with self._lock:
            now_ms = self._clock()
            runs = [record.run for record in self._tables.records.values()]
            line = (record.run for record in self._tables.line() if record.barred_by is None)
            claimable = {run.code for run in line if run.queue in queues}
            claiming = Claiming(Unit(self._tables, now_ms), self._rules(), queues, codes)
            return Agenda(
                now_ms=now_ms,
                claimable=not claimable.isdisjoint(codes) or bool(claiming.find_open()),
                next_wake_ms=min((run.wake_ms for run in runs if run.wake_ms is not None), default=None),
                signals_due=any(
                    stored.passed is not None or (stored.expires_ms is not None and stored.expires_ms <= now_ms)
                    for stored in self._tables.signals.values()
                ),
                workers_lost=bool(self._tables.lost(now_ms) or self._tables.forgettable(now_ms)),
                bulk_due=bulk_is_due(self._documents, now_ms),
                next_tick_ms=next_tick(self._documents),
                next_breaker_ms=next_breaker(self._documents),
                unasked=sorted(claimable.difference(codes, unwanted))[:UNASKED_MAX],
            )

    def wake_due(self, *, limit: int) -> int:
        """Put the runs in the line whose ``wake_ms`` has come, earliest first."""
        with self._unit() as unit:
            due = [
                (run.wake_ms, run.id)
                for run in (record.run for record in self._tables.records.values())
                if run.wake_ms is not None and run.wake_ms <= unit.now_ms
            ]
            for _, run_id in sorted(due)[:limit]:
                _wake(unit, self._tables.records[run_id])
            return len(due[:limit])

    def sweep_signals(self, *, limit: int) -> Sweep:
        """Go on with signals that are under way, and delete expired ones."""
        with self._unit() as unit:
            return sweep(unit, limit)

    def requeue_lost(self, *, limit: int, crashes_max: int) -> dict[RunId, bool]:
        """Take runs from workers whose lease has run out."""
        with self._unit() as unit:
            lost = self._tables.lost(unit.now_ms)[:limit]
            taken = {record.run.id: _take_over(unit, record, crashes_max) for record in lost}
            for worker in self._tables.forgettable(unit.now_ms):
                del self._tables.workers[worker]
            return taken

    def prune(self, what: Pruning, *, limit: int) -> int:
        """Delete runs and all that belongs to them; how many."""
        with self._lock:
            doomed = self._doomed(what)[:limit]
            for run_id in doomed:
                self._tables.forget(run_id)
            if isinstance(what, Everything) and len(doomed) < limit:
                self._tables.forget_signals(what.tenant, None)
            if not isinstance(what, Ended) and self._documents is not None:
                from holdfast.store.tenancy import prune_in

                self.transact(None, lambda statements: prune_in(statements, what, limit=limit))
            if isinstance(what, Expired) and self._documents is not None and len(doomed) < limit:
                from holdfast.store.accounts import count_due

                count_due(self, self._tables.count_bytes)
            return len(doomed)

    def _doomed(self, what: Pruning) -> list[RunId]:
        match what:
            case Everything(tenant=tenant):
                return sorted(one.run.id for one in self._tables.records.values() if one.run.tenant == tenant)
            case Ended(tenant=tenant, before_ms=before_ms):
                self._tables.forget_signals(tenant, before_ms)
                return self._tables.ended_before(tenant, before_ms)
            case Chosen(tenant=tenant, run_ids=run_ids):
                return [run_id for run_id in run_ids if self._tables.may_go(tenant, run_id)]
            case Expired():
                tenants = sorted({record.run.tenant for record in self._tables.records.values()})
                kept = ((tenant, self._limits(tenant)[0].retention_ms) for tenant in tenants)
                return [
                    run_id
                    for tenant, retention_ms in kept
                    if retention_ms is not None
                    for run_id in self._tables.ended_before(tenant, UnixMs(self._clock() - retention_ms))
                ]

    # Clients

    def get_run(self, tenant: Tenant, run_id: RunId, *, newest: bool = False) -> Run:
        """The run, or the last link of its chain. Raises RunNotFound."""
        with self._lock:
            record = self._tables.find(tenant, run_id)
            return (self._tables.newest(record) if newest else record).run

    def get_runs(self, tenant: Tenant, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of these runs that are the tenant's."""
        with self._lock:
            found = [self._tables.records.get(run_id) for run_id in dict.fromkeys(run_ids)]
            return [record.run for record in found if record is not None and record.run.tenant == tenant]

    def list_runs(self, tenant: Tenant, where: RunFilter, *, limit: int, after: str | None) -> RunPage:
        """A page of runs. Raises UsageError for a bad ``after``."""
        cursor = None if after is None else decode_cursor(after)
        with self._lock:
            return page(self._tables, self._rules(), tenant, where, limit=limit, after=cursor)

    def group_runs(
        self, tenant: Tenant, where: RunFilter, by: GroupBy, *, limit: int, bare: bool = False, most: int | None = None
    ) -> list[RunGroup]:
        """The largest groups of these runs."""
        with self._lock:
            runs = list(matching(self._tables, self._rules(), tenant, where))
            return groups(runs, by, limit=limit, bare=bare, most=most)

    def read_detail(self, tenant: Tenant, run_id: RunId) -> RunDetail:
        """The run with everything that explains it. Raises RunNotFound."""
        with self._lock:
            now_ms = self._clock()
            record = self._tables.find(tenant, run_id)
            run = record.run
            workers = [
                row
                for row in self._all_workers()
                if row.id == run.worker
                or (
                    row.lease_until_ms > now_ms
                    and run.queue in row.queues
                    and (run.code in row.codes or run.code in row.lacks)
                )
            ]
            breakers = awaited_breakers(self._documents, now_ms, record)
            return RunDetail(
                now_ms=now_ms,
                run=run,
                journal=record.all_entries(),
                waits=record.all_waits(),
                attempts=record.all_attempts(),
                transitions=list(record.transitions),
                workers=workers,
                ahead=self._tables.ahead_of(run, limit=_AHEAD_MAX),
                standing=find_standing(self._tables, self._rules(), run, workers, breakers),
            )

    def read_outputs(
        self, tenant: Tenant, run_id: RunId, kind: EntryKind, name: str, *, after: int | None, limit: int
    ) -> Outputs:
        """What the run recorded for others. Raises RunNotFound."""
        with self._lock:
            record = self._tables.find(tenant, run_id)
            found = [one for one in record.all_entries() if (one.kind, one.name) == (kind, name)]
            wanted = found[-1:] if after is None else [one for one in found if one.seq > after][: max(limit, 0)]
            return Outputs(record.run.status, wanted)

    def read_events(self, tenant: Tenant, where: EventFilter, *, after: str | None, limit: int) -> EventPage:
        """A part of the events of a run or of the tenant. Raises RunNotFound, UsageError."""
        with self._lock:
            return read_events(self._tables, tenant, where, after=after, limit=limit, now_ms=self._clock())

    def list_workers(self) -> list[WorkerRow]:
        """The workers whose lease has not run out, by id."""
        with self._lock:
            now_ms = self._clock()
            return [row for row in self._all_workers() if row.lease_until_ms > now_ms]

    def _all_workers(self) -> list[WorkerRow]:
        return sorted(self._tables.workers.values(), key=lambda row: row.id)

    def list_approvals(self, tenant: Tenant, *, names: Sequence[str], limit: int, after: str | None) -> ApprovalPage:
        """A page of open approvals, oldest first. Raises UsageError for a bad ``after``."""
        cursor = None if after is None else decode_place(after)
        with self._lock:
            found = open_approvals(self._tables, tenant, names, self._clock())
        return approval_page([one for one in found if cursor is None or place_of(one) > cursor], limit=limit)

    def send_signal(self, signal: Signal | Answer, *, limit: int = SIGNAL_BATCH) -> list[RunId]:
        """Deliver a signal or an answer. Raises RunNotFound, RunFinished and what an answer may be refused with."""
        _refuse_unstorable([signal])
        with self._unit() as unit:
            return (
                answer(unit, signal) if isinstance(signal, Answer) else send(unit, signal, limit, self._check_account)
            )

    def send_signal_in(self, connection: Any, signal: Signal) -> None:
        """``connection`` is a MemoryTransaction. Raises UsageError for anything else, RunNotFound, RunFinished."""
        if not isinstance(connection, MemoryTransaction):
            raise UsageError(f"{self._url} sends signals in a MemoryTransaction, not in a {type(connection).__name__}")
        _refuse_unstorable([signal])
        with self._lock:
            if signal.run_id is not None and not any(new.id == signal.run_id for new in connection.starts):
                run = self._tables.newest(self._tables.find(signal.tenant, signal.run_id)).run
                if run.status in TERMINAL_STATUSES:
                    raise RunFinished(run_id=run.id, status=run.status)
            self._check_account(signal.tenant)
        connection.add_signal(signal)

    def start_copy(self, tenant: Tenant, copy: RunCopy) -> Started:
        """Start a run with records of another. Raises RunNotFound, CommandRefused, UsageError for a bad text."""
        _refuse_unstorable([copy])
        with self._unit() as unit:
            source = self._tables.find(tenant, copy.source_id)
            if copy.id in self._tables.records:
                return Started(copy.id, created=False)
            check_source(source.run, copy)
            runs = [record.run for record in self._tables.records.values()]
            place = (source.run.root_id, source.run.attempt + 1)
            taken = {(run.root_id, run.attempt) for run in runs if run.retry_of_id is not None}
            if copy.retry:
                check_retry(source.run, again=place in taken)
            self._check_quota(tenant, [copy.bytes_given])
            unit.start_copy(source, copy)
            return Started(copy.id, created=True)

    def command(self, tenant: Tenant, run_id: RunId, order: Order) -> Run:
        """Let a run obey a command. Raises RunNotFound, RunFinished, CommandRefused, UsageError for a bad text."""
        _refuse_unstorable([order])
        with self._unit() as unit:
            record = self._tables.find(tenant, run_id)
            if is_for_newest(record.run, order.command):
                record = self._tables.newest(record)
            if not self._tables.has_obeyed(record, order.id):
                situation = Situation(
                    now_ms=unit.now_ms,
                    run=record.run,
                    journal=record.all_entries(),
                    waits=record.all_waits(),
                    attempts=record.all_attempts(),
                    transitions=list(record.transitions),
                )
                effect = decide(situation, order)
                if effect is not None:
                    unit.obey(record, effect, order)
            return record.run


def _commit_guest(unit: Unit, transaction: MemoryTransaction) -> None:
    for new in transaction.starts:
        unit.start(new)
    for signal in transaction.signals:
        accept(unit, signal)
        unit.tell_of_signals()


def _refuse_unstorable(rows: Sequence[NewRun | Signal | Answer | Order | RunCopy]) -> None:
    for row in rows:
        why = unstorable(row)
        if why is not None:
            raise UsageError(f"{row.id!r} cannot be stored: {why}")


def _commit(unit: Unit, batch: Sequence[RunCommit]) -> CommitAnswer:
    answer = CommitAnswer(unit.now_ms)
    accepted: list[RunCommit] = []
    for commit in batch:
        refusal = find_refusal(unit.tables, commit)
        if refusal is not None:
            answer.refused[commit.run_id] = refusal
            continue
        record = unit.tables.records[commit.run_id]
        defect = find_defect(record, commit)
        if defect is not None:
            answer.broken[commit.run_id] = defect
            continue
        if record.run.cancel_requested:
            answer.cancel_requested.append(commit.run_id)
        accepted.append(commit)
        if commit.frees_place:
            unit.free_place()
        waits = apply_commit(unit, commit)
        if waits:
            answer.waits[commit.run_id] = waits
    for commit in accepted:
        send_signals(unit, commit)
    return answer


def _progress(record: Record) -> Progress:
    seqs = [entry.seq for entry in record.journal.values()] + [stored.wait.seq for stored in record.waits.values()]
    return Progress(record.run.status, record.run.epoch, max(seqs, default=0), len(record.attempts))


def _wake(unit: Unit, record: Record) -> None:
    due = [wait for wait in record.open_waits() if wait.due_ms is not None and wait.due_ms <= unit.now_ms]
    for wait in due:
        unit.close_wait(record, wait.key, WaitOutcome.ELAPSED)
    run = record.run
    is_deadline = not due and (run.status is not RunStatus.QUEUED or run.wake_ms == run.deadline_ms)
    unit.put_in_line(record, reason="deadline_exceeded" if is_deadline else "timer_elapsed")


def _take_over(unit: Unit, record: Record, crashes_max: int) -> bool:
    """Fence the lost worker; whether the run is set aside because it took too many workers down."""
    run = record.run
    crashes = 1 if record.recorded_under(run.epoch) else run.crashes + 1
    if crashes < crashes_max:
        unit.put_in_line(record, reason="worker_lost", epoch=run.epoch + 1, crashes=crashes)
        return False
    unit.end(record, RunStatus.STUCK, terminal_reason="worker_crashes", epoch=run.epoch + 1, crashes=crashes)
    return True
