"""What happened in a simulation: every answer of the database, every execution, every call of a handler.

It is written down where it happens, on the database's side of the network and around the user's functions, so that it
does not depend on what the engine believes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.failure import read_failure
from holdfast.model.commit import CommitAnswer, Continue, Finish, Park, RunCommit
from holdfast.model.ids import RunId, UnixMs, WorkerId
from holdfast.model.run import Claim, ClaimedRun, NewRun, Signal
from holdfast.model.status import RunStatus, WaitOutcome
from holdfast.testing.sim.loop import Process, SimLoop

LATE_MS_MAX = 1000
"""How far a worker may be wrong about its lease because the database's clock has jumped."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A commit of one run that the database accepted."""

    commit: RunCommit
    process: Process
    at_s: float
    store_ms: UnixMs


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run as it was handed to a worker."""

    run: ClaimedRun
    process: Process
    at_s: float
    leased: bool
    """Whether the worker had a lease at that moment."""


@dataclass(slots=True)
class Execution:
    """One execution of a run's code by a worker."""

    number: int
    run_id: RunId
    epoch: int
    process: Process


@dataclass(slots=True)
class HandlerCall:
    """One call of a step's function, or of a compensation."""

    run_id: RunId
    key: str
    attempt: int
    idempotency_key: str
    execution: Execution | None
    process: Process
    started_s: float
    compensates: bool
    transactional: bool
    """Its effect is undone with the transaction that it is part of."""
    task: asyncio.Task[Any] | None
    """The branch it was called in; None for a plain function's thread."""
    body: asyncio.Task[Any] | None
    """The run's body; None for what is compensated without one."""
    effects: int = 0
    """How often the outside world did what it asked for."""
    ended_s: float | None = None
    failed: bool = False

    def may_depend_on(self, earlier: HandlerCall) -> bool:
        """Whether it may be based on that call: of the same branch, or of a branch that the body has joined."""
        if earlier.task is None or self.task is None:
            return False
        return self.task is earlier.task or (earlier.task.done() and self.task is self.body)


@dataclass
class History:
    """See the module's docstring."""

    loop: SimLoop
    clock: Callable[[], UnixMs]
    """The database's."""
    accepted: dict[RunId, list[Accepted]] = field(default_factory=dict[RunId, list[Accepted]])
    claimed: dict[RunId, list[Claimed]] = field(default_factory=dict[RunId, list[Claimed]])
    handlers: dict[RunId, list[HandlerCall]] = field(default_factory=dict[RunId, list[HandlerCall]])
    started: dict[RunId, NewRun] = field(default_factory=dict[RunId, NewRun])
    copied: set[RunId] = field(default_factory=set[RunId])
    """The runs that began with records of others, and the successors of runs that continued."""
    signals: dict[RunId, Signal] = field(default_factory=dict[RunId, Signal])
    executions: list[Execution] = field(default_factory=list[Execution])
    violations: list[str] = field(default_factory=list[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    notes: Counter[str] = field(default_factory=Counter[str])
    """How often each thing happened that is worth happening."""
    commits: int = 0
    store_ms_max: int = 0
    """The latest time that the database's clock has shown."""
    _epochs: dict[RunId, int] = field(default_factory=dict[RunId, int])
    _ended: set[RunId] = field(default_factory=set[RunId])
    _holders: dict[RunId, WorkerId] = field(default_factory=dict[RunId, WorkerId])
    _leases: dict[WorkerId, int] = field(default_factory=dict[WorkerId, int])

    def note(self, what: str, times: int = 1) -> None:
        """Something worth happening has happened."""
        self.notes[what] += times

    def violation(self, what: str) -> None:
        """A promise was broken."""
        self.violations.append(f"at {self.loop.now_s:.3f} s: {what}")

    def recorded(self, run_id: RunId, key: str) -> bool:
        """Whether an outcome is durable under this key."""
        return any(entry.key == key for accepted in self.accepted.get(run_id, ()) for entry in accepted.commit.entries)

    # The database's answers

    def record(
        self,
        process: Process,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        answer: Any,
        error: BaseException | None,
    ) -> None:
        """A call was executed."""
        self.store_ms_max = max(self.store_ms_max, self.clock())
        if error is not None:
            return
        match method:
            case "commit" | "commit_with":
                self._record_commit(process, args[0], answer)
            case "claim_runs":
                self._record_claim(process, args[0], answer)
            case "register_worker" | "heartbeat":
                self._leases[getattr(args[0], "id", args[0])] = answer + kwargs["lease_ms"]
            case "retire_worker":
                self._leases[args[0]] = 0
            case "requeue_lost":
                self._record_take_over(answer)
            case "start_runs":
                self._record_start(args[0], answer)
            case "start_copy":
                self.copied.add(answer.run_id)
            case "send_signal":
                if args[0].id in self.signals:
                    self.note("a signal sent twice")
                self.signals.setdefault(args[0].id, args[0])
            case "release_unknown" if answer:
                self.note("a claim handed back whose answer was lost", answer)
            case _:
                pass

    def answer_lost(self, method: str, answer: Any) -> None:
        """A call was executed, and nobody will know."""
        if method in ("commit", "commit_with"):
            self.note("a commit whose answer was lost")
        if method == "claim_runs" and answer is not None and answer.runs:
            self.note("a claim whose answer was lost")

    def _record_start(self, runs: Sequence[NewRun], answer: Any) -> None:
        for new, started in zip(runs, answer, strict=True):
            if not started.created:
                self.note("a start repeated")
            self.started.setdefault(new.id, new)

    def _record_claim(self, process: Process, worker: WorkerId, claim: Claim) -> None:
        late_ms = self.clock() - self._leases.get(worker, 0)
        if claim.runs and late_ms > LATE_MS_MAX:
            # They would be taken over at once.
            self.violation(f"worker {worker} got runs {late_ms} ms after its lease had run out")
        for run in claim.runs:
            before = self._epochs.get(run.id, 0)
            if run.epoch <= before:
                self.violation(f"run {run.id} was claimed at epoch {run.epoch}, after epoch {before}")
            self._epochs[run.id] = run.epoch
            self._holders[run.id] = worker
            earlier = self.claimed.setdefault(run.id, [])
            if earlier:
                self._compare(earlier[-1].run, run)
            leased = self.clock() < self._leases.get(worker, 0)
            earlier.append(Claimed(run, process, self.loop.now_s, leased))
            for wait in run.waits:
                if wait.outcome is WaitOutcome.ELAPSED and (wait.due_ms or 0) > self.store_ms_max:
                    self.violation(f"run {run.id}: the wait {wait.key!r} fired before it was due, at {wait.due_ms}")
            if run.journal:
                self.note("a replay")
            if run.status is RunStatus.COMPENSATING:
                self.note("compensating goes on elsewhere")

    def _compare(self, before: ClaimedRun, after: ClaimedRun) -> None:
        """What was recorded once stays as it was."""
        entries = {entry.key: entry for entry in after.journal}
        waits = {wait.key: wait for wait in after.waits}
        for entry in before.journal:
            if entries.get(entry.key) != entry:
                self.violation(f"run {after.id}: the journal's {entry.key!r} was changed")
        for wait in before.waits:
            if wait.outcome is not None and waits.get(wait.key) != wait:
                self.violation(f"run {after.id}: the closed wait {wait.key!r} was changed")
        if len(after.attempts) < len(before.attempts):
            self.violation(f"run {after.id}: recorded attempts are gone")

    def _record_take_over(self, runs: dict[RunId, bool]) -> None:
        now_ms = self.clock()
        for run_id, set_aside in runs.items():
            lease_ms = self._leases.get(self._holders[run_id], 0)
            if now_ms < lease_ms:
                self.violation(f"run {run_id} was taken over {lease_ms - now_ms} ms before its holder's lease ran out")
            self._epochs[run_id] = self._epochs.get(run_id, 0) + 1
            self.note("poison set aside" if set_aside else "a run taken over")
            if set_aside:
                self._ended.add(run_id)

    def _record_commit(self, process: Process, batch: Sequence[RunCommit], answer: CommitAnswer) -> None:
        self.commits += 1
        for commit in batch:
            if commit.run_id in answer.refused:
                self.note("a stale write refused")
            elif commit.run_id in answer.broken:
                self.note("a commit that was done already refused by its keys")
            else:
                self._record_accepted(process, commit, answer)

    def _record_accepted(self, process: Process, commit: RunCommit, answer: CommitAnswer) -> None:
        run_id = commit.run_id
        known = self.accepted.setdefault(run_id, [])
        if commit.move is None and any(one.commit == commit for one in known):
            self.note("a commit that was done already answered as done")
            return
        if commit.epoch != self._epochs.get(run_id):
            self.violation(
                f"run {run_id}: a write at epoch {commit.epoch} was accepted, while {self._epochs.get(run_id)} holds"
            )
        if run_id in self._ended:
            self.violation(f"run {run_id}: a write was accepted after its end")
        keys = {entry.key for one in known for entry in one.commit.entries}
        for entry in commit.entries:
            if entry.key in keys:
                self.violation(f"run {run_id}: {entry.key!r} was journaled twice")
            self._check_entry_has_a_handler(commit, entry.key, entry.kind.value)
        for attempt in commit.attempts:
            if any(name in read_failure(attempt.error).type for name in ("CommitUnknown", "StoreUnavailable")):
                self.violation(f"run {run_id}: the database's failure was recorded as one of {attempt.key!r}")
        known.append(Accepted(commit, process, self.loop.now_s, answer.now_ms))
        for child in commit.children:
            self.started.setdefault(child.id, child)
        if isinstance(commit.move, Finish | Continue):
            self._ended.add(run_id)
        if isinstance(commit.move, Continue):
            self.note("a run continued")
            self.copied.add(commit.move.successor_id)
        if isinstance(commit.move, Park):
            self.note("a run parked")

    def _check_entry_has_a_handler(self, commit: RunCommit, key: str, kind: str) -> None:
        """An outcome is recorded only after the handler that it speaks of has ended, in the same execution."""
        if kind not in ("step", "compensation"):
            return
        if not any(
            call.key == key
            and call.ended_s is not None
            and call.execution is not None
            and call.execution.epoch == commit.epoch
            for call in self.handlers.get(commit.run_id, ())
        ):
            self.violation(f"run {commit.run_id}: {key!r} was journaled before its handler had ended")

    # Executions and handlers

    def begin_execution(self, run_id: RunId, epoch: int, process: Process) -> Execution:
        """A worker begins to execute a run."""
        execution = Execution(len(self.executions), run_id, epoch, process)
        self.executions.append(execution)
        return execution

    def begin_handler(self, call: HandlerCall) -> None:
        """A handler is about to be called: see whether everything is durable that has to be."""
        earlier = self.handlers.setdefault(call.run_id, [])
        if call.execution is not None:
            self._check_before_handler(call, earlier)
        if any(one.key == call.key and one.attempt == call.attempt for one in earlier):
            self.note("an effect repeated after a crash")
        if call.attempt > 1:
            self.note("a retry")
            if call.process is not earlier[-1].process:
                self.note("a retry by another worker")
        earlier.append(call)

    def _check_before_handler(self, call: HandlerCall, earlier: list[HandlerCall]) -> None:
        execution, run_id = call.execution, call.run_id
        assert execution is not None
        where = f"run {run_id}: {call.key!r}"
        for accepted in self.accepted.get(run_id, ()):
            if accepted.commit.epoch <= execution.epoch and any(
                entry.key == call.key for entry in accepted.commit.entries
            ):
                self.violation(f"{where} was called again although its outcome is journaled")
        failed = {
            attempt.attempt
            for accepted in self.accepted.get(run_id, ())
            for attempt in accepted.commit.attempts
            if attempt.key == call.key
        }
        if not set(range(1, call.attempt)) <= failed:
            self.violation(f"{where} was called for attempt {call.attempt}, and an earlier one is not recorded")
        if call.attempt in failed and any(
            accepted.commit.epoch <= execution.epoch
            for accepted in self.accepted.get(run_id, ())
            for attempt in accepted.commit.attempts
            if (attempt.key, attempt.attempt) == (call.key, call.attempt)
        ):
            self.violation(f"{where} was called again for attempt {call.attempt}, which is recorded")
        for one in earlier:
            if one.key == call.key and one.idempotency_key != call.idempotency_key:
                self.violation(f"{where} was called with another idempotency key")
            if one.execution is not execution or one.ended_s is None:
                continue
            if one.key == call.key and one.attempt == call.attempt and not call.transactional:
                self.violation(f"{where} was called twice by one execution for attempt {call.attempt}")
            if not one.failed and call.may_depend_on(one) and not self.recorded(run_id, one.key):
                self.violation(f"{where} was called before {one.key!r} was durable")
