"""The rows, as plain dictionaries of frozen records, and the ways to look among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from holdfast.errors import RunNotFound
from holdfast.model.ids import RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import Attempt, Entry, Run, Signal, Transition, Wait, WorkerRow
from holdfast.model.status import ParentPolicy, RunStatus
from holdfast.store.port import WORKER_KEPT_MS

SUSPECT_CRASHES = 2
"""A run that took down this many workers in a row is a suspect."""


class StoredWait(Struct, frozen=True):
    """A wait, and the epoch of the lease that opened it."""

    wait: Wait
    epoch: int
    answer_id: RunId | None = None


class StoredAttempt(Struct, frozen=True):
    """A failed attempt, and the epoch of the lease that recorded it."""

    attempt: Attempt
    epoch: int


class StoredSignal(Struct, frozen=True):
    """A signal that was accepted; one with a run and without ``consumed_ms`` is kept for a wait to come."""

    signal: Signal
    sent_ms: UnixMs
    consumed_ms: UnixMs | None = None
    wait_key: str | None = None
    expires_ms: UnixMs | None = None
    passed: str | None = None
    """While it is under way: the last run that it was delivered to, empty before the first. None: it has arrived."""
    received: frozenset[RunId] = frozenset()
    """Who has consumed one that is for all."""

    def is_for(self, run: Run, now_ms: UnixMs) -> bool:
        """Whether the run may consume it."""
        signal = self.signal
        if signal.tenant != run.tenant or self.consumed_ms is not None:
            return False
        is_fresh = self.expires_ms is None or self.expires_ms > now_ms
        if signal.run_id is not None:
            return signal.run_id == run.id and is_fresh
        is_kept = self.expires_ms is not None and is_fresh
        return run.id not in self.received and (is_kept or (self.passed is not None and run.id > self.passed))


@dataclass
class Record:
    """One run and all rows that belong to it."""

    run: Run
    journal: dict[str, Entry] = field(default_factory=dict[str, Entry])
    waits: dict[str, StoredWait] = field(default_factory=dict[str, StoredWait])
    attempts: dict[tuple[str, int], StoredAttempt] = field(default_factory=dict[tuple[str, int], StoredAttempt])
    transitions: list[Transition] = field(default_factory=list[Transition])
    barred_by: str | None = None
    """Which pause, quota or limit keeps it from being claimed, as the last claim found it."""

    def all_entries(self) -> list[Entry]:
        """The journal, in order of completion."""
        return sorted(self.journal.values(), key=lambda entry: entry.seq)

    def all_waits(self) -> list[Wait]:
        """Every wait, oldest first."""
        return sorted((stored.wait for stored in self.waits.values()), key=lambda wait: (wait.seq, wait.key))

    def waits_of(self, keys: Iterable[str]) -> list[Wait]:
        """The waits of these keys that there are, oldest first."""
        found = (self.waits[key].wait for key in keys if key in self.waits)
        return sorted(found, key=lambda wait: (wait.seq, wait.key))

    def open_waits(self) -> list[Wait]:
        """The waits without an outcome, oldest first."""
        return [wait for wait in self.all_waits() if wait.outcome is None]

    def all_attempts(self) -> list[Attempt]:
        """The failed attempts, by key and number."""
        return [self.attempts[place].attempt for place in sorted(self.attempts)]

    def recorded_under(self, epoch: int) -> bool:
        """Whether the lease with this epoch has journaled anything."""
        return (
            any(entry.epoch == epoch for entry in self.journal.values())
            or any(stored.epoch == epoch for stored in self.waits.values())
            or any(stored.epoch == epoch for stored in self.attempts.values())
        )


@dataclass
class Tables:
    """All that is stored."""

    records: dict[RunId, Record] = field(default_factory=dict[RunId, Record])
    signals: dict[tuple[Tenant, RunId], StoredSignal] = field(default_factory=dict[tuple[Tenant, RunId], StoredSignal])
    """By tenant and id: another tenant's signal with the same id is another signal."""
    workers: dict[WorkerId, WorkerRow] = field(default_factory=dict[WorkerId, WorkerRow])
    feed: dict[int, tuple[RunId, int]] = field(default_factory=dict[int, tuple[RunId, int]])
    """The transitions of all runs, by position: whose, and which."""
    positions: int = 0
    """The highest position that was given out."""
    pruned: dict[Tenant, int] = field(default_factory=dict[Tenant, int])
    """Up to which position transitions of a tenant were deleted."""

    def find(self, tenant: Tenant, run_id: RunId) -> Record:
        """The run's record. Raises RunNotFound, also for another tenant's."""
        record = self.records.get(run_id)
        if record is None or record.run.tenant != tenant:
            raise RunNotFound(run_id=run_id)
        return record

    def newest(self, record: Record) -> Record:
        """The last link of the chain that a run is in; itself if it is in none."""
        chain_id = record.run.chain_id
        links = [one for one in self.records.values() if chain_id is not None and one.run.chain_id == chain_id]
        return max(links, key=lambda one: one.run.link or 0, default=record)

    def has_obeyed(self, record: Record, command_id: RunId) -> bool:
        """Whether the run, or another link of its chain, has obeyed this command before."""
        chain_id = record.run.chain_id
        links = [one for one in self.records.values() if chain_id is not None and one.run.chain_id == chain_id]
        return any(step.command_id == command_id for one in links or [record] for step in one.transitions)

    def line(self) -> list[Record]:
        """Everything that can be claimed, in the order in which it is to be claimed."""
        claimable = [record for record in self.records.values() if record.run.ready_ms is not None]
        return sorted(claimable, key=lambda record: place_of(record.run))

    def barred(self) -> dict[tuple[Tenant, str], list[Record]]:
        """The runs that something kept from being claimed, by tenant and bar, each in the order of service."""
        found: dict[tuple[Tenant, str], list[Record]] = {}
        for record in self.line():
            if record.barred_by is not None:
                found.setdefault((record.run.tenant, record.barred_by), []).append(record)
        return found

    def count_held(self, tenant: Tenant, queue: str | None = None) -> int:
        """How many of the tenant's runs workers hold; in one queue, unless it is None."""
        held = (one.run for one in self.records.values() if one.run.worker is not None)
        return sum(run.tenant == tenant and queue in (None, run.queue) for run in held)

    def count_bytes(self, tenant: Tenant) -> int:
        """How many bytes of payloads the tenant has."""
        payloads = [stored.signal.payload for stored in self.signals.values() if stored.signal.tenant == tenant]
        for record in self.records.values():
            if record.run.tenant == tenant:
                parts = (record.run, *record.all_entries(), *record.all_waits(), *record.all_attempts())
                found = (
                    getattr(part, name, None) for part in parts for name in ("input", "result", "error", "request")
                )
                payloads += [payload for payload in found if payload is not None]
        return sum(map(len, payloads))

    def held_by(self, worker: WorkerId) -> list[Record]:
        """The runs that this worker holds, by id."""
        return self.by_id(record for record in self.records.values() if record.run.worker == worker)

    def lost(self, now_ms: UnixMs) -> list[Record]:
        """The runs whose holder's lease has run out, by id."""
        return self.by_id(
            record
            for record in self.records.values()
            if record.run.worker is not None and not self.has_lease(record.run.worker, now_ms)
        )

    def has_lease(self, worker: WorkerId, now_ms: UnixMs) -> bool:
        """Whether the worker is known and its lease has not run out."""
        row = self.workers.get(worker)
        return row is not None and row.lease_until_ms > now_ms

    def forgettable(self, now_ms: UnixMs) -> list[WorkerId]:
        """The workers that hold nothing and whose lease ran out so long ago that nobody asks for them any more."""
        before_ms = now_ms - WORKER_KEPT_MS
        gone = (row.id for row in self.workers.values() if row.lease_until_ms < before_ms)
        return [worker for worker in gone if not self.held_by(worker)]

    def waiting_for_child(self, child: Run) -> list[tuple[Record, Wait]]:
        """The open waits, of runs of the same tenant, for the end of this run."""
        return [
            (record, wait)
            for record in self.by_id(self.records.values())
            if record.run.tenant == child.tenant
            for wait in record.open_waits()
            if wait.child_id == child.id
        ]

    def children_to_cancel(self, parent: Run) -> list[Record]:
        """The children that a parent takes along when it is cancelled, by id: none that goes on, ended or was asked."""
        return self.by_id(
            record
            for record in self.records.values()
            if record.run.parent_id == parent.id
            and record.run.finalized_ms is None
            and record.run.parent_policy is not ParentPolicy.ABANDON
            and not record.run.cancel_requested
        )

    def count_queued(self, tenant: Tenant) -> int:
        """How many of the tenant's runs are queued."""
        return sum(one.run.tenant == tenant and one.run.status is RunStatus.QUEUED for one in self.records.values())

    def ended_before(self, tenant: Tenant, before_ms: UnixMs) -> list[RunId]:
        """The tenant's runs that ended before a moment and that no live run refers to, first ended first."""
        ended = [
            (record.run.finalized_ms, record.run.id)
            for record in self.records.values()
            if record.run.tenant == tenant and record.run.finalized_ms is not None
            if record.run.finalized_ms < before_ms and not self._is_referenced(record.run)
        ]
        return [run_id for _, run_id in sorted(ended)]

    def may_go(self, tenant: Tenant, run_id: RunId) -> bool:
        """Whether it is a run of the tenant that has ended and that no live run refers to."""
        record = self.records.get(run_id)
        if record is None or record.run.tenant != tenant or record.run.finalized_ms is None:
            return False
        return not self._is_referenced(record.run)

    def _is_referenced(self, run: Run) -> bool:
        others = [record.run for record in self.records.values() if record.run.id != run.id]
        is_inner = run.continued_from_id is not None and run.continued_as_id is not None
        return any(
            (other.finalized_ms is None and (other.id == run.parent_id or other.parent_id == run.id))
            or (other.finalized_ms is None and other.root_id == run.root_id and not is_inner)
            or other.chain_id == run.id
            for other in others
        )

    def forget(self, run_id: RunId) -> None:
        """Drop a run and all that belongs to it."""
        tenant = self.records.pop(run_id).run.tenant
        for position in [position for position, (whose, _) in self.feed.items() if whose == run_id]:
            del self.feed[position]
            self.pruned[tenant] = max(self.pruned.get(tenant, 0), position)
        for key in [key for key, stored in self.signals.items() if stored.signal.run_id == run_id]:
            del self.signals[key]

    def forget_signals(self, tenant: Tenant, before_ms: UnixMs | None) -> None:
        """Drop the tenant's messages to all that waited, those before a moment or every one."""
        for key, stored in list(self.signals.items()):
            to_all = key[0] == tenant and stored.signal.run_id is None
            if to_all and (before_ms is None or stored.sent_ms < before_ms):
                del self.signals[key]

    @staticmethod
    def by_id(records: Iterable[Record]) -> list[Record]:
        """These records, in the order of their runs' ids."""
        return sorted(records, key=lambda record: record.run.id)

    def ahead_of(self, run: Run, *, limit: int) -> int:
        """How many claimable runs of the same queue will be claimed before this one, counted up to ``limit``."""
        if run.ready_ms is None:
            return 0
        return min(sum(one.barred_by is None for one in self._before(run)), limit)

    def barred_ahead_of(self, run: Run, *, limit: int) -> int:
        """How many of them are barred by what bars this one."""
        mine = self.records[run.id]
        same = (run.tenant, mine.barred_by)
        found = [one for one in self._before(run) if (one.run.tenant, one.barred_by) == same]
        return 0 if mine.barred_by is None else min(len(found), limit)

    def _before(self, run: Run) -> list[Record]:
        return [one for one in self.line() if one.run.queue == run.queue and place_of(one.run) < place_of(run)]


def place_of(run: Run) -> tuple[int, int, str]:
    """Where a claimable run stands in the line: highest priority, then longest ready, then lowest id."""
    return (-run.priority, run.ready_ms or 0, run.id)
