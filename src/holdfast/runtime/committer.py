"""Group commit: all runs that wait for a commit share the next one.

When nothing is under way a commit begins at once; while one is, others gather for the next. So batches are single
when the worker is idle and grow by themselves under load. Two may be under way at a time, but never two of one run:
its records reach the database in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from holdfast.errors import PASSING, CommitUnknown, StoreError
from holdfast.model.commit import CommitAnswer, Continue, Finish, Park, Progress, Release, RunCommit
from holdfast.model.ids import RunId
from holdfast.model.status import HELD_STATUSES
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.execution import Stop
from holdfast.runtime.settings import LAZY_MS

if TYPE_CHECKING:
    from holdfast.runtime.execution import RunExecution
    from holdfast.runtime.services import Services

logger = logging.getLogger("holdfast.commit")

BATCH_MAX = 1000
"""The most runs in one commit: beyond it a batch gains little and delays its members."""


class Committer:
    """See the module's docstring."""

    def __init__(self, services: Services, *, lanes: tuple[str, ...]) -> None:
        self._services = services
        self._loop = services.loop
        self._free = list(reversed(lanes))
        self._waiting: dict[RunExecution, None] = {}
        self._lazy: dict[RunExecution, None] = {}
        self._in_flight: set[RunExecution] = set()
        self._pump_scheduled = False
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, execution: RunExecution) -> None:
        """Commit what the run has staged, as soon as may be."""
        self._waiting[execution] = None
        if not self._pump_scheduled and self._free:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def note(self, execution: RunExecution) -> None:
        """Commit what the run has staged with the next commit, or after a short while if there is none."""
        self._lazy[execution] = None
        if self._lazy_timer is None:
            self._lazy_timer = self._loop.call_later(LAZY_MS / 1000, self._submit_lazy)

    def _submit_lazy(self) -> None:
        self._lazy_timer = None
        for execution in self._lazy:
            if execution.staged.count > execution.staged.taken:
                self.submit(execution)
        self._lazy.clear()

    def release(self, execution: RunExecution) -> None:
        """Give back the lease of a run that this worker cannot execute, with nothing recorded."""
        run = execution.run
        move = Release(reason="engine_failed")
        commit = RunCommit(run_id=run.id, epoch=execution.epoch, move=move, counted=run.counted)
        self._spawn(self._send_alone(commit))

    def close(self) -> None:
        """Give up what a database that does not answer was to be told again and again."""
        for task in self._tasks:
            task.cancel()

    async def _send_alone(self, commit: RunCommit) -> None:
        services = self._services
        try:
            await services.until_available(lambda: services.host.call("keep", services.store.commit, [commit]))
        except StoreError:
            # Not given back: the run is taken over when this worker's lease ends, or by its next restart.
            logger.exception("run %s: could not be handed back", commit.run_id)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._free:
            batch = self._take()
            if not batch:
                return
            lane = self._free.pop()
            commits = [commit for _, commit in batch]
            call = self._services.host.call(lane, self._services.store.commit, commits)
            call.add_done_callback(lambda done, lane=lane, batch=batch: self._done(lane, batch, done))  # type: ignore[misc]

    def _take(self) -> list[tuple[RunExecution, RunCommit]]:
        batch: list[tuple[RunExecution, RunCommit]] = []
        in_flight = self._in_flight
        kept: dict[RunExecution, None] = {}
        waiting = self._waiting
        if self._lazy:
            waiting.update(self._lazy)
            self._lazy.clear()
        for execution in waiting:
            if execution in in_flight or len(batch) >= BATCH_MAX:
                kept[execution] = None
            elif execution.staged.count > execution.staged.taken and execution.ending is None:
                in_flight.add(execution)
                batch.append((execution, execution.take()))
        self._waiting = kept
        return batch

    def _done(self, lane: str, batch: list[tuple[RunExecution, RunCommit]], call: asyncio.Future[CommitAnswer]) -> None:
        error = call.exception()
        if error is None:
            self._settle(lane, batch, call.result())
        elif isinstance(error, PASSING):
            self._spawn(self._recover(lane, batch, error))
        else:
            logger.error("a commit failed for a reason of the engine's own", exc_info=error)
            self._spawn(self._recover_alone(lane, batch, error))

    def _settle(self, lane: str, batch: list[tuple[RunExecution, RunCommit]], answer: CommitAnswer) -> None:
        self._free.append(lane)
        self._services.learn_time(answer.now_ms)
        in_flight = self._in_flight
        refused, broken = answer.refused, answer.broken
        for execution, commit in batch:
            in_flight.discard(execution)
            if refused and commit.run_id in refused:
                execution.lost()
            elif broken and commit.run_id in broken:
                execution.broken(broken[commit.run_id])
            else:
                execution.committed(commit, answer)
        if answer.cancel_requested:
            self._pass_on_cancels(batch, set(answer.cancel_requested))
        if self._waiting and not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def _pass_on_cancels(self, batch: list[tuple[RunExecution, RunCommit]], wanted: set[RunId]) -> None:
        for execution, commit in batch:
            if commit.run_id in wanted:
                execution.request_stop(Stop.CANCEL)

    async def _recover(self, lane: str, batch: list[tuple[RunExecution, RunCommit]], error: BaseException) -> None:
        """The database did not answer: send again what was certainly not done, and look before if that is unknown."""
        services = self._services
        backoff = Backoff(services.host.random)
        commits = [commit for _, commit in batch]
        done: set[RunId] = set()
        unknown = isinstance(error, CommitUnknown)
        while True:
            logger.warning("a commit of %d run(s) failed: %s; trying again", len(commits), error)
            await asyncio.sleep(backoff.next_s())
            try:
                if unknown:
                    done |= await self._which_were_done(batch, commits)
                    commits = [commit for commit in commits if commit.run_id not in done]
                    unknown = False
                answer = CommitAnswer(now_ms=services.now_ms())
                if commits:
                    answer = await services.host.call(lane, services.store.commit, commits)
                    done |= await self._which_came_late(batch, commits, answer)
                break
            except CommitUnknown as raised:
                unknown, error = True, raised
            except PASSING as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001 - one run's records may be what breaks the engine
                await self._recover_alone(lane, batch, raised)
                return
        if done:
            answer = await self._with_waits(answer, batch, done)
        self._settle(lane, batch, answer)

    async def _recover_alone(
        self, lane: str, batch: list[tuple[RunExecution, RunCommit]], error: BaseException
    ) -> None:
        """The store failed in a way that it should not: find out which run it is, and let the others go on."""
        services = self._services
        answers = CommitAnswer(now_ms=services.now_ms(), refused={}, broken={}, waits={}, cancel_requested=[])
        for _, commit in batch:
            try:
                done = await self._which_were_done(batch, [commit])
                if done:
                    continue
                answer = await services.until_available(
                    lambda commit=commit: services.host.call(lane, services.store.commit, [commit])  # type: ignore[misc]
                )
            except Exception as raised:
                logger.exception("run %s: its records could not be committed", commit.run_id)
                answers.broken[commit.run_id] = f"{type(raised).__name__}: {raised} (after {error})"
            else:
                answers.refused.update(answer.refused)
                answers.broken.update(answer.broken)
                answers.waits.update(answer.waits)
                answers.cancel_requested.extend(answer.cancel_requested)
        self._settle(lane, batch, answers)

    async def _which_were_done(
        self, batch: list[tuple[RunExecution, RunCommit]], commits: list[RunCommit]
    ) -> set[RunId]:
        services = self._services
        ids = [commit.run_id for commit in commits]
        progress = await services.until_available(lambda: services.host.call("keep", services.store.read_progress, ids))
        executions = {execution.run.id: execution for execution, _ in batch}
        done: set[RunId] = set()
        for commit in commits:
            if was_done(commit, progress.get(commit.run_id)) and (
                commit.move is not None or await services.has_rows(executions[commit.run_id], commit)
            ):
                done.add(commit.run_id)
        return done

    async def _which_came_late(
        self, batch: list[tuple[RunExecution, RunCommit]], commits: list[RunCommit], answer: CommitAnswer
    ) -> set[RunId]:
        """Runs whose first sending was done after all, between our look and the second one, which was turned away."""
        turned_away = [one for one in commits if one.run_id in answer.broken or one.run_id in answer.refused]
        if not turned_away:
            return set()
        late = await self._which_were_done(batch, turned_away)
        for run_id in late:
            answer.broken.pop(run_id, None)
            answer.refused.pop(run_id, None)
        return late

    async def _with_waits(
        self, answer: CommitAnswer, batch: list[tuple[RunExecution, RunCommit]], done: set[RunId]
    ) -> CommitAnswer:
        """The waits that the commit opened, whose answer was lost: read how they stand."""
        services = self._services
        waits = dict(answer.waits)
        for execution, commit in batch:
            if (
                commit.run_id in done
                and (commit.waits or commit.elapsed)
                and not isinstance(commit.move, (Park, Finish, Continue))
            ):
                detail = await services.until_available(
                    lambda run=execution.run: services.host.call(  # type: ignore[misc]
                        "keep", services.store.read_detail, run.tenant, run.id
                    )
                )
                waits[commit.run_id] = detail.waits
        return CommitAnswer(
            now_ms=answer.now_ms,
            refused=answer.refused,
            broken=answer.broken,
            waits=waits,
            cancel_requested=answer.cancel_requested,
        )


def was_done(commit: RunCommit, progress: Progress | None) -> bool:
    """Whether an unknown commit was done, by the run's progress.

    A run is moved at its epoch by its own worker alone: every take-over and claim raises the epoch.
    """
    if progress is None or progress.epoch != commit.epoch:
        # Taken over since: a retry will be refused, whether or not the commit was done.
        return False
    if isinstance(commit.move, (Park, Release, Finish, Continue)):
        return progress.status not in HELD_STATUSES or _left_while_compensating(commit, progress)
    if commit.move is not None:
        return progress.status.value == "compensating"
    highest = max((*(entry.seq for entry in commit.entries), *(wait.seq for wait in commit.waits)), default=0)
    if highest:
        return progress.seq >= highest
    # Only waits to be closed: doing that twice does no harm.
    return False


def _left_while_compensating(commit: RunCommit, progress: Progress) -> bool:
    """A compensating run that was parked keeps its status; what it recorded tells."""
    highest = max((*(entry.seq for entry in commit.entries), *(wait.seq for wait in commit.waits)), default=0)
    return progress.status.value == "compensating" and highest > 0 and progress.seq >= highest
