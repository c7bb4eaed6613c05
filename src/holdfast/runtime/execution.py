"""One run in the hands of a worker: its replay, its unsaved records, and how it ends.

The workflow's function is executed from its beginning each time a worker claims the run. Durable operations
(``branch.py``) look into the journal first: what is recorded is returned, what is not is done and *staged*.

**The barrier.** Staged records become durable with the worker's next group commit. A handler starts only when all
that was staged before is durable (``saved``), so that whatever an effect was based on cannot be lost; between
handlers the workflow's code need not wait.

**Waiting.** Each branch of the run is *active*, or it is *blocked* on a durable wait or on branches of its own. When
no branch is active, the run is quiet: it is parked in the same commit that opens its waits, and all its branches are
unwound by ``Suspend``. A wait that ends soon, and children that keep ending, let it stay in memory for a moment.

**Ending.** A run leaves this worker in exactly one way (``Ending``). From then on every operation raises Suspend.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from holdfast.errors import NonDeterminismError, StoreError
from holdfast.model.commit import CommitAnswer, Compensate, Finish, LiveUpdate, NewWait, Park, Release, RunCommit
from holdfast.model.ids import Json, UnixMs
from holdfast.model.run import Attempt, ClaimedRun, Entry, NewRun, Signal, Wait
from holdfast.model.status import EntryStatus, RunStatus
from holdfast.runtime.linger import Linger
from holdfast.runtime.open_waits import OpenWaits
from holdfast.runtime.staged import Staged
from holdfast.runtime.unread import keys_to_read

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.services import Services
    from holdfast.workflow.workflow import Workflow

logger = logging.getLogger("holdfast.run")


class Suspend(BaseException):
    """Unwinds a workflow's body; a BaseException, so that a user's ``except Exception`` lets it by."""


class BranchStopped(asyncio.CancelledError):
    """Another branch of the same gather failed: this one stops at its next durable operation."""


class Ending(enum.Enum):
    """How a run left this worker."""

    PARKED = "parked"
    RELEASED = "released"
    FINISHED = "finished"
    LOST = "lost"


class Stop(enum.Enum):
    """Why a run is being stopped from outside while it executes."""

    CANCEL = "cancel"
    DEADLINE = "deadline"


class RunExecution:
    """See the module's docstring."""

    __slots__ = (
        "__weakref__",
        "active",
        "branch_count",
        "branches",
        "compensable",
        "deadline_timer",
        "draining",
        "ending",
        "epoch",
        "failed_attempts",
        "joins",
        "journal",
        "leaving",
        "linger",
        "loop",
        "open",
        "parted",
        "quiet_check",
        "refused",
        "replaying",
        "run",
        "seq",
        "services",
        "staged",
        "stop",
        "timer",
        "unread",
        "waits",
        "workflow",
    )

    def __init__(self, run: ClaimedRun, workflow: Workflow[Any, Any], services: Services) -> None:
        self.run = run
        self.epoch = run.epoch
        self.workflow = workflow
        self.services = services
        self.loop = services.loop
        self.journal: dict[str, Entry] = {}
        self.waits: dict[str, Wait] = {}
        self.failed_attempts: dict[str, int] = {}
        self.unread: set[str] = set()
        self.seq = 0
        self.compensable = False
        self.replaying = run.epoch > 1
        """An earlier lease may have left records to be read."""

        self.staged = Staged()

        # Branches and what they wait for
        self.active = self.branch_count = 0
        self.open = OpenWaits()
        self.joins: dict[asyncio.Future[None], None] = {}
        self.branches: dict[int, RunBranch] = {}
        self.quiet_check: asyncio.Handle | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.deadline_timer: asyncio.TimerHandle | None = None
        self.linger = Linger()

        self.ending: Ending | None = None
        self.leaving = False
        """A move that gives the lease away is on its way to the database."""
        self.stop: Stop | None = None
        self.refused: StoreError | None = None
        """The database refused a record of the run: every operation raises this until the run has ended."""
        self.parted: NonDeterminismError | None = None
        """Code and journal have parted: likewise, so that no ``except`` of the body can swallow it."""
        self.draining = False
        if self.replaying:
            self._load(run)

    def _load(self, run: ClaimedRun) -> None:
        for entry in run.journal:
            self.journal[entry.key] = entry
            if entry.input is not None and entry.status is EntryStatus.COMPLETED:
                self.compensable = True
            self.seq = max(self.seq, entry.seq)
        for wait in run.waits:
            self.waits[wait.key] = wait
            self.seq = max(self.seq, wait.seq)
        for attempt in run.attempts:
            self.failed_attempts[attempt.key] = max(self.failed_attempts.get(attempt.key, 0), attempt.attempt)
        self.unread = keys_to_read(run)

    # Life

    async def finish(
        self, status: RunStatus, reason: str, *, result: Json | None = None, error: Json | None = None
    ) -> None:
        """End the run, together with all that is staged."""
        self.leaving = True
        self.staged.add_move(self._end(status, reason, result=result, error=error))
        await self.saved()

    def _end(self, status: RunStatus, reason: str, *, result: Json | None = None, error: Json | None = None) -> Finish:
        return Finish(status, reason, result=result, error=error, awaited=self.run.parent_id is not None)

    def calm(self, *, keep_waits: bool = False) -> None:
        """After the body was stopped: stopping it is over, and what it waited for is waited for no longer.

        With ``keep_waits`` it still is: a run that is set aside may be released.
        """
        self.refused = None
        task = self.branches[0].task
        while task is not None and task.cancelling():
            task.uncancel()
        if self.deadline_timer is not None:
            self.deadline_timer.cancel()
        if not keep_waits:
            self.drop_waits([key for key, wait in self.waits.items() if wait.outcome is None])

    async def wants_compensation(self) -> bool:
        """Whether the run, which is to be cancelled, is to undo first what it did."""
        if not self.compensable:
            return False
        services, run = self.services, self.run
        now = await services.until_available(
            lambda: services.host.call("keep", services.store.get_run, run.tenant, run.id)
        )
        return now.cancel_compensates

    async def begin_compensation(self, error: Json, reason: str) -> None:
        """The run has failed for good: from now on it only undoes."""
        self.parted = None
        by_cancel = self.stop is Stop.CANCEL
        self.run = structs.replace(self.run, status=RunStatus.COMPENSATING, error=error, cancel_compensates=by_cancel)
        self.staged.add_move(Compensate(error=error, reason=reason))
        await self.saved()

    def record_error(self, error: BaseException) -> Json:
        """The stored form of an error that ends the run."""
        return self.services.record_failure(error, retryable=False)

    # Records

    def next_seq(self) -> int:
        """The next number in the run's order of events."""
        self.seq += 1
        return self.seq

    def stage_entry(self, entry: Entry) -> None:
        """Record an outcome with the next commit."""
        self.journal[entry.key] = entry
        if entry.input is not None and entry.status is EntryStatus.COMPLETED:
            self.compensable = True
        self.staged.entries.append(entry)
        self.staged.count += 1
        self.services.committer.note(self)

    def remember(self, entry: Entry) -> None:
        """Take note of an outcome that is durable already."""
        self.journal[entry.key] = entry
        if entry.input is not None:
            self.compensable = True

    def stage_attempt(self, attempt: Attempt) -> None:
        """Record a failed attempt with the next commit."""
        self.failed_attempts[attempt.key] = attempt.attempt
        self.staged.attempts.append(attempt)
        self.staged.count += 1
        self.services.committer.note(self)

    def stage_wait(self, wait: NewWait, child: NewRun | None = None) -> None:
        """Open a wait, and start the child it waits for, with the next commit."""
        self.waits[wait.key] = Wait(
            key=wait.key,
            seq=wait.seq,
            kind=wait.kind,
            signal=wait.signal,
            child_id=wait.child_id,
            due_ms=wait.due_ms if wait.delay_ms is None else UnixMs(self.services.now_ms() + wait.delay_ms),
            opened_ms=UnixMs(0),
            request=wait.request,
        )
        self.staged.waits.append(wait)
        if child is not None:
            self.staged.children.append(child)
        self.staged.count += 1
        self.services.committer.note(self)

    def stage_child(self, child: NewRun) -> None:
        """Start a child with the next commit."""
        self.staged.children.append(child)
        self.staged.count += 1
        self.services.committer.note(self)

    def stage_signal(self, signal: Signal) -> None:
        """Send a signal to others with the next commit."""
        self.staged.signals.append(signal)
        self.staged.count += 1
        self.services.committer.note(self)

    def drop_waits(self, keys: Iterable[str]) -> None:
        """Close waits that the workflow no longer waits for."""
        for key in keys:
            self.open.take(key)
            self.staged.cancelled.append(key)
            self.staged.count += 1
        if self.staged.cancelled:
            self.services.committer.note(self)

    async def saved(self) -> None:
        """The barrier: return when all that is staged now is durable."""
        staged = self.staged
        target = staged.count
        while staged.durable < target:
            if self.ending is not None:
                raise Suspend
            barrier: asyncio.Future[None] = self.loop.create_future()
            staged.barriers.append((target, barrier))
            self.services.committer.submit(self)
            await barrier

    def take(self) -> RunCommit:
        """All that is staged, for the commit that begins now."""
        return self.staged.take(self.run.id, self.epoch, counted=self.run.counted)

    def committed(self, commit: RunCommit, answer: CommitAnswer) -> None:
        """The commit is durable: let those go on who waited for it."""
        staged = self.staged
        staged.durable = staged.taken
        if self.ending is not None:
            return
        move = commit.move
        if move is not None and not isinstance(move, Compensate):
            if isinstance(move, Park):
                self._expect_next(answer)
            self._leave(_ENDINGS.get(type(move), Ending.FINISHED))
            return
        if staged.barriers and staged.open_barriers():
            self.services.committer.submit(self)
        if answer.waits and (waits := answer.waits.get(self.run.id)):
            self.absorb(waits)

    def _expect_next(self, answer: CommitAnswer) -> None:
        """Tell the housekeeper when the parked run is due."""
        now = {wait.key: wait for wait in answer.waits.get(self.run.id, ())}
        waits = [now.get(key, wait) for key, wait in self.waits.items() if wait.outcome is None]
        dues = [wait.due_ms for wait in waits if wait.due_ms is not None]
        if self.run.deadline_ms is not None:
            dues.append(self.run.deadline_ms)
        if dues:
            self.services.expect(min(dues))

    def lost(self) -> None:
        """The lease is gone: drop the work."""
        if self.ending is None:
            logger.warning("run %s: lease lost at epoch %d; another worker goes on with it", self.run.id, self.epoch)
            self._leave(Ending.LOST)

    def broken(self, why: str) -> None:
        """The database cannot take what this run recorded: the run fails, with nothing of the refused records.

        What was done is compensated, for that needs no more than what this process remembers.
        """
        if self.ending is not None:
            return
        logger.error("run %s: the database refused its records: %s", self.run.id, why)
        self.staged.clear()
        error = StoreError(f"the database refused what the run recorded: {why}")
        if self.refused is not None:
            # Not even the failure can be recorded: leave the run to another worker, or to a person.
            self._leave(Ending.LOST)
            self.services.hand_back(self)
            return
        if self.run.status is RunStatus.COMPENSATING or (self.leaving and not self.compensable):
            self.leaving = True
            self.refused = error
            self.staged.add_move(self._end(RunStatus.FAILED, "error", error=self.record_error(error)))
            self.services.committer.submit(self)
            return
        self.leaving = False
        self.refused = error
        # Nothing is on its way to the database now: those who wait for it hear why.
        self.staged.durable = self.staged.count
        blocked: list[asyncio.Future[Any]] = [*self.staged.take_barriers()]
        for key in self.open:
            self.active += 1
            del self.waits[key]
        blocked += self.open.take_all()
        for future in blocked:
            if not future.done():
                future.set_exception(error)

    # Waiting

    async def wait(self, key: str) -> Wait:
        """Block this branch until the wait is closed."""
        wait = self.waits[key]
        if wait.outcome is not None:
            return wait
        future: asyncio.Future[Wait] = self.loop.create_future()
        self.open.add(wait, future)
        if self.replaying and wait.due_ms is not None and wait.due_ms == self.open.next_due_ms:
            # Opened by an earlier lease, so that no commit of this one will tell when it is due.
            self.arm()
        self.block()
        try:
            return await future
        except asyncio.CancelledError:
            if self.open.take(key) is not None:
                self.active += 1
            raise
        finally:
            del future

    def stop_waiting(self, key: str, why: BaseException) -> None:
        """End a branch's wait with an exception: it waits for this no longer."""
        future = self.open.get(key)
        if future is not None and not future.done():
            self.active += 1
            self.drop_waits([key])
            future.set_exception(why)

    def block(self) -> None:
        """One branch less is active."""
        self.active -= 1
        if self.active == 0 and self.quiet_check is None:
            self.quiet_check = self.loop.call_soon(self._quiet)

    def absorb(self, waits: Iterable[Wait]) -> None:
        """Learn how waits stand; wake the branches whose wait was closed."""
        woken = False
        for wait in waits:
            known = self.waits.get(wait.key)
            if known is None or known.outcome is not None:
                continue
            self.waits[wait.key] = wait
            if wait.outcome is None:
                self.open.learn(wait)
            elif (future := self.open.take(wait.key)) is not None:
                self.active += 1
                woken = True
                if not future.done():
                    future.set_result(wait)
        if woken:
            self.linger.restart()
        self.arm()

    def update(self, update: LiveUpdate) -> None:
        """News from outside: waits that others closed, or a request to cancel."""
        if self.ending is not None or self.leaving:
            return
        self.absorb(update.waits)
        if update.cancel_requested:
            self.request_stop(Stop.CANCEL)
        elif update.pause_requested:
            self.pause()

    @property
    def waits_for_others(self) -> bool:
        """Whether somebody else may close one of its waits, so that the worker must listen."""
        return self.open.of_others > 0

    def arm(self) -> None:
        """Set the timer for the next due wait of the branches in memory, and for the run's deadline."""
        if self.run.deadline_ms is not None and self.deadline_timer is None and self.stop is None:
            delay_s = max(0.0, (self.run.deadline_ms - self.services.now_ms()) / 1000)
            self.deadline_timer = self.loop.call_later(delay_s, self.request_stop, Stop.DEADLINE)
        due_ms = self.open.next_due_ms
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if due_ms is not None:
            delay_s = max(0.0, (due_ms - self.services.now_ms() + 1) / 1000)
            self.timer = self.loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        """A wait is due by our estimate of the database's time: ask the database to close it."""
        self.timer = None
        if self.ending is not None or self.leaving:
            return
        due = self.open.take_due(self.services.now_ms())
        if due:
            self.staged.elapsed += due
            self.staged.count += len(due)
            self.services.committer.submit(self)
        self.arm()

    def _quiet(self) -> None:
        """No branch is active: stay for a moment, or give the run back."""
        self.quiet_check = None
        if self.active or self.ending is not None or self.leaving:
            return
        if self.draining:
            self._give_back(Release())
            return
        if not self.open:
            return
        records = len(self.journal) + len(self.waits)
        stay_ms = self.linger.stay_ms(
            self.services.now_ms(), self.open, records=records, has_room=self.services.has_room()
        )
        if stay_ms > 0:
            if self.staged.count > self.staged.durable:
                self.services.committer.submit(self)
            self.arm()
            if self.staged.count == self.staged.durable and not self.linger.listening:
                self.linger.listening = True
                self.services.listen(self)
            self.quiet_check = self.loop.call_later(stay_ms / 1000, self._quiet)
            return
        self._give_back(Park(open_waits=sum(1 for wait in self.waits.values() if wait.outcome is None)))

    def _give_back(self, move: Park | Release) -> None:
        self.leaving = True
        self.staged.add_move(move)
        self.services.committer.submit(self)

    # Stopping

    def check(self) -> None:
        """Every durable operation passes here first."""
        if self.ending is not None:
            raise Suspend
        if self.refused is not None:
            raise self.refused
        if self.parted is not None:
            raise self.parted
        if self.stop is not None and self.run.status is not RunStatus.COMPENSATING:
            raise asyncio.CancelledError

    def request_stop(self, stop: Stop) -> None:
        """Cancel the body of the run: at once in waits and async steps, else at its next durable operation.

        A run that compensates already is not stopped: what it began to undo it undoes to the end.
        """
        if self.ending is not None or self.stop is not None or self.run.status is RunStatus.COMPENSATING:
            return
        if self.leaving:
            return
        self.stop = stop
        for branch in list(self.branches.values()):
            branch.cancel()

    def pause(self) -> None:
        """Hand the run back as soon as no handler runs: the database pauses it then. One that compensates goes on."""
        if self.run.status is not RunStatus.COMPENSATING:
            self.drain()

    def drain(self) -> None:
        """Hand the run back as soon as no handler runs."""
        self.draining = True
        if self.active == 0 and self.quiet_check is None:
            self.quiet_check = self.loop.call_soon(self._quiet)
        elif self.active == 0 and self.ending is None and not self.leaving:
            self._give_back(Release())

    def abandon(self) -> None:
        """Hand the run back now, whatever it does."""
        if self.ending is None and not self.leaving:
            self._give_back(Release())

    def _leave(self, ending: Ending) -> None:
        """The one place where a run is unwound."""
        self.ending = ending
        self._cancel_timers()
        for barrier in self.staged.take_barriers():
            barrier.set_result(None) if ending is Ending.FINISHED else _unwind(barrier)
        if self.open or self.joins:
            blocked: list[asyncio.Future[Any]] = [*self.open.take_all(), *self.joins]
            for future in blocked:
                if not future.done():
                    _unwind(future)
        for branch in tuple(self.branches.values()):
            if branch.in_handler:
                branch.cancel()

    def fail_over(self) -> None:
        """The engine itself failed: let the lease go, so that the run is not held for ever."""
        if self.ending is None:
            self._leave(Ending.LOST)
            self.services.hand_back(self)

    def close(self) -> None:
        """The body has ended, however.

        What refers to each other is parted here, and where a branch waits: a run that ended or was parked is then freed
        at once, instead of filling memory until the garbage collector comes.
        """
        self._cancel_timers()
        for branch in self.branches.values():
            branch.task = branch.plain = None
        self.branches.clear()
        self.services.ended(self)

    def _cancel_timers(self) -> None:
        for timer in (self.timer, self.deadline_timer, self.quiet_check):
            if timer is not None:
                timer.cancel()
        self.timer = self.deadline_timer = self.quiet_check = None


_ENDINGS: dict[type[Any], Ending] = {Park: Ending.PARKED, Release: Ending.RELEASED}


def _unwind(future: asyncio.Future[Any]) -> None:
    future.set_exception(Suspend())
    # Whoever waits for it may be gone already; asyncio shall not complain of that.
    future.exception()
