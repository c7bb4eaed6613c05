"""Commands on runs, as clients give them: each is one legal move, or is refused with a typed error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from holdfast.client.requests import Requests
from holdfast.core.codec import Codec
from holdfast.core.failure import record_failure
from holdfast.core.ids import check_run_id, derive_id
from holdfast.core.lineage import Kept, keep_before, keep_through, retry_of
from holdfast.core.names import check_name
from holdfast.errors import StepError, UsageError
from holdfast.model.command import (
    Cancel,
    Change,
    CloseStuck,
    Command,
    Order,
    Pause,
    ReleaseStuck,
    Resume,
    RunCopy,
    Settle,
    Terminate,
)
from holdfast.model.ids import RunId
from holdfast.model.run import Run
from holdfast.workflow.duration import milliseconds, seconds

PRIORITY_MAX = 1000
NOTE_MAX = 1000
"""The most characters of a note: it stands in the log of transitions, which holds no payloads."""


class Control(Requests):
    """The part of ``Client`` that operates runs.

    Every method takes ``actor`` (who asks) and ``reason`` (why, in their words); both stand in the run's transitions.
    All raise RunNotFound; RunFinished if the run has ended; CommandRefused, which names the run's status and what it
    would obey, if the command has no legal move from there. A repeated request after a lost answer does nothing more.
    """

    _codec: Codec

    async def cancel(self, run_id: str, *, compensate: bool = False, actor: str = "", reason: str = "") -> Run:
        """Cancel a run: at once if no worker holds it, else as soon as its worker notices. Its children follow.

        Args:
            run_id: the run.
            compensate: undo its completed steps first; it then ends as cancelled with the reason ``compensated``.
            actor: who asks.
            reason: why.

        A run that compensates already is not cancelled: what it began to undo it undoes to the end.
        """
        return await self.command(run_id, Cancel(compensate=compensate), actor=actor, reason=reason)

    async def terminate(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """End a run as cancelled now, whatever it does. Nothing is undone; what its worker still does is refused."""
        return await self.command(run_id, Terminate(), actor=actor, reason=reason)

    async def pause(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """Hold a run: at once if no worker holds it, else as soon as the handlers that it executes have ended.

        Signals and ends of children still reach it, and its timers run; what came meanwhile it finds when it resumes.
        """
        return await self.command(run_id, Pause(), actor=actor, reason=reason)

    async def resume(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """Let a paused run go on."""
        return await self.command(run_id, Resume(), actor=actor, reason=reason)

    async def release(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """Put a stuck run back into the line, its crashes forgotten."""
        return await self.command(run_id, ReleaseStuck(), actor=actor, reason=reason)

    async def close_stuck(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """End a stuck run as failed, with the terminal reason ``closed``."""
        return await self.command(run_id, CloseStuck(), actor=actor, reason=reason)

    async def settle(
        self,
        run_id: str,
        key: str,
        *,
        result: Any = None,
        error: str | BaseException | None = None,
        step: str = "",
        unseen: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """Give a step or wait of a run that nobody holds its outcome by hand; the run goes on from there.

        Args:
            run_id: the run; pause it first if a worker holds it.
            key: the key of a step that failed and is to be tried again, or of a wait, as ``explain`` shows them.
            result: what the step answers, the signal's payload, or the child's result; a timer just elapses.
            error: what the step or child fails with instead.
            step: the step's name, where the key does not tell.
            unseen: the step has not failed yet, so that no trace of the key exists.
            actor: who settles it; recorded in the journal.
            reason: why.
        """
        stored = None
        if error is not None:
            raised = error if isinstance(error, BaseException) else StepError(type="SettledByHand", message=error)
            stored = record_failure(raised, retryable=False)
        encoded = self._codec.encode(result, f"the result of {key!r}") if stored is None else None
        command = Settle(key=key, result=encoded, error=stored, name=step, unseen=unseen)
        return await self.command(run_id, command, actor=actor, reason=reason)

    async def change(
        self,
        run_id: str,
        *,
        priority: int | None = None,
        queue: str | None = None,
        timeout: timedelta | float | None = None,
        drop_deadline: bool = False,
        wake: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """Change a run that nobody holds; what is left out stays.

        Args:
            run_id: the run.
            priority: -1000 to 1000; higher is claimed first.
            queue: the line it stands in from now on.
            timeout: a new deadline, this long from now; a timedelta, or seconds.
            drop_deadline: it has no deadline any more.
            wake: make it claimable now: a delayed start begins, a parked run looks again.
            actor: who asks.
            reason: why.
        """
        if priority is not None and not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
            raise UsageError(f"priority must be between -{PRIORITY_MAX} and {PRIORITY_MAX}, not {priority}")
        command = Change(
            priority=priority,
            queue=None if queue is None else check_name("queue", queue),
            timeout_ms=None if timeout is None else milliseconds(seconds(timeout, "timeout")),
            drop_deadline=drop_deadline,
            wake=wake,
        )
        return await self.command(run_id, command, actor=actor, reason=reason)

    async def command(self, run_id: str, command: Command, *, actor: str = "", reason: str = "") -> Run:
        """Give a run any command of ``holdfast.model.command``; the methods above are its readable forms."""
        if len(reason) > NOTE_MAX or len(actor) > NOTE_MAX:
            raise UsageError(f"actor and reason may have at most {NOTE_MAX} characters each")
        order = Order(id=RunId(self._host.new_id()), command=command, actor=actor, note=reason)
        return await self._send(self.store.command, self.tenant, check_run_id(run_id), order)

    async def retry(self, run_id: str, *, from_start: bool = False, actor: str = "", reason: str = "") -> Run:
        """Start the next attempt of a run that failed, was cancelled or is stuck, as a new run of the same lineage.

        It has the source's root, the next attempt number and its workflow version, input, queue and attributes. What
        the source recorded is copied, but for what it failed of: that is tried again. If it was compensated, everything
        from the first compensated step on is made again. Asked twice, the same new run is the answer; to retry once
        more, retry that one.

        Args:
            run_id: the run.
            from_start: take over nothing.
            actor: who asks.
            reason: why.

        Returns:
            the new run.
        """
        detail = await self._send(self.store.read_detail, self.tenant, check_run_id(run_id))
        copy = retry_of(detail, from_start=from_start, actor=actor, note=reason)
        started = await self._send(self.store.start_copy, self.tenant, copy)
        return await self._send(self.store.get_run, self.tenant, started.run_id)

    async def fork(
        self,
        run_id: str,
        *,
        before: str | None = None,
        args: Sequence[Any] | None = None,
        results: Mapping[str, Any] = {},
        request_id: str | None = None,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """Start a new run, of its own root, from what another one has recorded so far.

        Args:
            run_id: the run; it may still be under way, and stays as it is.
            before: the key of a step or wait: what was recorded before it is kept, it and all later is made again.
            args: other arguments of the workflow.
            results: other results of recorded steps, by key. Without ``before`` all up to the last of them is kept.
            request_id: the same one starts one fork, however often it is asked for.
            actor: who asks.
            reason: why.

        Without ``before`` and ``results`` nothing is kept. With other arguments or results the check of the steps'
        arguments is off for what was kept. Signals that the source has not consumed stay with it.

        Raises:
            UsageError: there is no such key.
        """
        detail = await self._send(self.store.read_detail, self.tenant, check_run_id(run_id))
        source, kept = detail.run, Kept([], [])
        if before is not None:
            kept = keep_before(detail, before)
        elif results:
            kept = keep_through(detail, results)
        replaced = {key: self._codec.encode(value, f"the result of {key!r}") for key, value in results.items()}
        missing = sorted(replaced.keys() - set(kept.journal))
        if missing:
            raise UsageError(f"run {source.id} has no outcome {missing[0]!r} before {before!r}")
        where = f"the input of workflow {source.workflow!r}"
        new_id = self._host.new_id() if request_id is None else derive_id("fork", source.id, request_id)
        copy = RunCopy(
            id=RunId(new_id),
            source_id=source.id,
            retry=False,
            journal=kept.journal,
            waits=kept.waits,
            definition_hash=source.definition_hash,
            input=None if args is None else self._codec.encode_arguments(tuple(args), {}, where),
            replaced=replaced,
            actor=actor,
            note=reason,
        )
        started = await self._send(self.store.start_copy, self.tenant, copy)
        return await self._send(self.store.get_run, self.tenant, started.run_id)
