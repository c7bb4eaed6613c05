"""One operation on the tables: the moves that runs make, at one moment, and the hints that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from holdfast.core.control import Closing, Effect
from holdfast.model.command import Order, RunCopy
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import NewRun, Run, Transition, Wait
from holdfast.model.status import ParentPolicy, RunStatus, WaitOutcome
from holdfast.store.memory.tables import Record, StoredWait, Tables
from holdfast.store.port import Hint

_PARKED = frozenset({RunStatus.WAITING, RunStatus.COMPENSATING})


class Unit:
    """What is done under the lock at ``now_ms``. Whoever uses it has checked first: no method here refuses."""

    def __init__(self, tables: Tables, now_ms: UnixMs) -> None:
        self.tables = tables
        self.now_ms = now_ms
        self._work = self._signals = False
        self.ended: list[Record] = []
        """The runs that it ends, as they were at that moment."""
        self._live: list[RunId] = []

    def hint(self) -> Hint:
        """What listeners should hear of this operation."""
        return Hint(
            work=self._work,
            signals=self._signals,
            ended=tuple(record.run.id for record in self.ended),
            live=tuple(self._live),
        )

    def start(self, new: NewRun) -> bool:
        """Record a run unless its id exists already; whether it was recorded."""
        if new.id in self.tables.records:
            return False
        self.begin(first_row(new, self.now_ms))
        return True

    def begin(self, run: Run) -> Record:
        """Record a new run as it is."""
        record = self.tables.records[run.id] = Record(run=run)
        self._append(record, None, run.status_reason)
        self._work = self._work or run.ready_ms is not None
        return record

    def free_place(self) -> None:
        """A run has left its worker: another may be claimed instead."""
        self._work = True

    def move(self, record: Record, to: RunStatus, *, reason: str, key: str | None = None, **changes: Any) -> None:
        """Change the run's row and append the transition."""
        before = record.run
        record.run = structs.replace(before, status=to, status_reason=reason, updated_ms=self.now_ms, **changes)
        self._append(record, before, reason, key)

    def put_in_line(self, record: Record, *, reason: str, key: str | None = None, **changes: Any) -> None:
        """Make the run claimable from now on, held by nobody."""
        to = RunStatus.COMPENSATING if record.run.status is RunStatus.COMPENSATING else RunStatus.QUEUED
        self.move(record, to, reason=reason, key=key, worker=None, ready_ms=self.now_ms, wake_ms=None, **changes)
        self._work = True

    def end(self, record: Record, to: RunStatus, *, terminal_reason: str, **changes: Any) -> None:
        """End the run: close what it waits for, and the waits of those that wait for its end."""
        # One that is set aside keeps its waits open: it may be released.
        for wait in [] if to is RunStatus.STUCK else record.open_waits():
            self.close_wait(record, wait.key, WaitOutcome.CANCELLED)
        reason = terminal_reason if to is RunStatus.STUCK else to.value
        self.move(
            record,
            to,
            reason=reason,
            terminal_reason=terminal_reason,
            worker=None,
            ready_ms=None,
            wake_ms=None,
            finalized_ms=self.now_ms,
            **changes,
        )
        self._tell_of_end(record)

    def obey(self, record: Record, effect: Effect, order: Order) -> None:
        """Write what a command makes of the run."""
        before = record.run
        if effect.entry is not None:
            record.journal[effect.entry.key] = effect.entry
        ends = effect.ends(before)
        closings = effect.closings
        if ends:
            closings = [Closing(key=wait.key, outcome=WaitOutcome.CANCELLED) for wait in record.open_waits()]
        for one in closings:
            stored = record.waits[one.key]
            wait = structs.replace(
                stored.wait,
                outcome=one.outcome,
                closed_ms=self.now_ms,
                result=one.result,
                error=one.error,
                child_status=one.child_status,
            )
            record.waits[one.key] = StoredWait(wait, stored.epoch)
        if effect.renamed:
            self._rename(record, effect.renamed)
        record.run = effect.after
        record.barred_by = None
        self._append(record, before, effect.after.status_reason, effect.key, order)
        record.transitions[-1] = structs.replace(record.transitions[-1], moved=effect.moved)
        self._work = self._work or effect.makes_work(before)
        if effect.tells_holder(before):
            self.tell_holder(record)
        if ends:
            self._tell_of_end(record)
            if record.run.status is RunStatus.CANCELLED:
                self.cancel_children(record.run)

    def _rename(self, record: Record, renamed: Mapping[str, str]) -> None:
        """Give records other keys."""

        def new(key: str) -> str:
            return renamed.get(key, key)

        record.journal = {new(key): structs.replace(one, key=new(key)) for key, one in record.journal.items()}
        record.waits = {
            new(key): structs.replace(one, wait=structs.replace(one.wait, key=new(key)))
            for key, one in record.waits.items()
        }
        record.attempts = {
            (new(key), number): structs.replace(one, attempt=structs.replace(one.attempt, key=new(key)))
            for (key, number), one in record.attempts.items()
        }
        for child in self.tables.records.values():
            if child.run.parent_id == record.run.id and child.run.parent_key is not None:
                child.run = structs.replace(child.run, parent_key=new(child.run.parent_key))

    def start_copy(self, source: Record, copy: RunCopy) -> None:
        """Record a run that begins with records of another."""
        old = source.run
        timeout_ms = None if old.deadline_ms is None else old.deadline_ms - old.created_ms
        new = NewRun(
            id=copy.id,
            tenant=old.tenant,
            workflow=old.workflow,
            input=old.input if copy.input is None else copy.input,
            queue=old.queue,
            priority=old.priority,
            timeout_ms=timeout_ms,
            attributes=old.attributes,
            root_id=old.root_id if copy.retry else None,
        )
        run = structs.replace(
            first_row(new, self.now_ms),
            status_reason="retried" if copy.retry else "forked",
            version=old.version,
            definition_hash=old.definition_hash,
            retry_of_id=old.id if copy.retry else None,
            attempt=old.attempt + 1 if copy.retry else 1,
            forked_from_id=None if copy.retry else old.id,
            epoch=1,
        )
        record = Record(run=run)
        changed = copy.input is not None or bool(copy.replaced)
        for key in copy.journal:
            entry = source.journal[key]
            record.journal[key] = structs.replace(
                entry,
                result=copy.replaced.get(key, entry.result),
                fingerprint="" if changed else entry.fingerprint,
                epoch=0,
                settled_by=copy.actor if key in copy.replaced else entry.settled_by,
            )
        for key in copy.waits:
            record.waits[key] = StoredWait(source.waits[key].wait, 0)
        self.tables.records[copy.id] = record
        self._append(record, None, run.status_reason)
        first = structs.replace(record.transitions[0], actor=copy.actor, note=copy.note)
        record.transitions[0] = first
        self._work = True

    def cancel_children(self, parent: Run) -> None:
        """Ask for the children of a cancelled run to be cancelled, as each one's policy has it."""
        for child in self.tables.children_to_cancel(parent):
            run = child.run
            child.barred_by = None
            undoes = parent.cancel_compensates or run.parent_policy is ParentPolicy.REQUEST
            asked: dict[str, Any] = {
                "cancel_requested": True,
                "cancel_compensates": undoes and run.status is not RunStatus.COMPENSATING,
                "pause_requested": False,
                "kept_wake_ms": None,
            }
            if run.worker is not None or run.status is RunStatus.COMPENSATING:
                self.move(child, run.status, reason="cancel_requested", **asked)
                if run.worker is not None:
                    self.tell_holder(child)
            else:
                ready_ms = self.now_ms if run.ready_ms is None else run.ready_ms
                to = RunStatus.QUEUED
                self.move(child, to, reason="cancel_requested", ready_ms=ready_ms, wake_ms=None, **asked)
            self._work = self._work or child.run.ready_ms is not None

    def _tell_of_end(self, record: Record) -> None:
        run = record.run
        self.ended.append(record)
        for parent, wait in self.tables.waiting_for_child(run):
            self.close_wait(parent, wait.key, WaitOutcome.CHILD_ENDED, child=run)
            self.tell(parent, reason="child_ended", key=wait.key)

    def tell(self, record: Record, *, reason: str, key: str) -> None:
        """A wait of the run was closed by others: a parked run becomes claimable, a held one's worker hears of it."""
        if record.run.worker is not None:
            self.tell_holder(record)
        elif record.run.ready_ms is None and record.run.status in _PARKED:
            self.put_in_line(record, reason=reason, key=key)

    def tell_of_signals(self) -> None:
        """Signals are under way."""
        self._signals = True

    def tell_holder(self, record: Record) -> None:
        """Something happened to a run that a worker holds."""
        self._live.append(record.run.id)

    def close_wait(
        self,
        record: Record,
        key: str,
        outcome: WaitOutcome,
        *,
        payload: Json | None = None,
        child: Run | None = None,
    ) -> Wait:
        """Give an open wait its outcome, with the signal's payload or the child's end."""
        stored = record.waits[key]
        wait = structs.replace(
            stored.wait,
            outcome=outcome,
            closed_ms=self.now_ms,
            result=payload if child is None else child.result,
            error=None if child is None else child.error,
            child_status=None if child is None else child.status,
        )
        record.waits[key] = StoredWait(wait, stored.epoch)
        return wait

    def _append(
        self, record: Record, before: Run | None, reason: str, key: str | None = None, order: Order | None = None
    ) -> None:
        run = record.run
        holder = run.worker if run.worker is not None or before is None else before.worker
        self.tables.positions += 1
        self.tables.feed[self.tables.positions] = (run.id, len(record.transitions) + 1)
        record.transitions.append(
            Transition(
                seq=len(record.transitions) + 1,
                from_status=None if before is None else before.status,
                to_status=run.status,
                reason=reason,
                key=key,
                worker=holder,
                epoch=run.epoch,
                at_ms=self.now_ms,
                actor=None if order is None else order.actor,
                note=None if order is None else order.note,
                command_id=None if order is None else order.id,
            )
        )


def first_row(new: NewRun, now_ms: UnixMs) -> Run:
    """The row of a run that is started."""
    delayed = new.delay_ms > 0
    deadline_ms = None if new.timeout_ms is None else UnixMs(now_ms + new.timeout_ms)
    wake_ms = UnixMs(now_ms + new.delay_ms)
    if deadline_ms is not None:
        wake_ms = min(wake_ms, deadline_ms)
    return Run(
        id=new.id,
        tenant=new.tenant,
        workflow=new.workflow,
        queue=new.queue,
        status=RunStatus.QUEUED,
        status_reason="delayed" if delayed else "started",
        terminal_reason=None,
        input=new.input,
        result=None,
        error=None,
        key=new.key,
        priority=new.priority,
        version=new.version,
        definition_hash=new.definition_hash,
        root_id=new.root_id or new.id,
        retry_of_id=None,
        attempt=1,
        parent_id=new.parent_id,
        parent_key=new.parent_key,
        parent_policy=new.parent_policy,
        attributes=dict(new.attributes),
        worker=None,
        epoch=0,
        crashes=0,
        cancel_requested=False,
        cancel_compensates=False,
        pause_requested=False,
        created_ms=now_ms,
        updated_ms=now_ms,
        ready_ms=None if delayed else now_ms,
        wake_ms=wake_ms if delayed else None,
        kept_wake_ms=None,
        deadline_ms=deadline_ms,
        started_ms=None,
        finalized_ms=None,
    )
