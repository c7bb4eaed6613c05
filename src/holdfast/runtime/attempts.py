"""A step's attempts: from the call to the recorded outcome."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.core.breakers import Breaker
from holdfast.core.retry import GiveUp, Retry, after_failure
from holdfast.errors import StepError, StepTimeout
from holdfast.model.commit import NewWait
from holdfast.model.ids import Json, UnixMs
from holdfast.model.run import Attempt, Entry
from holdfast.model.status import EntryKind, EntryStatus, WaitKind
from holdfast.runtime.admission import Admission, admit
from holdfast.runtime.execution import Suspend
from holdfast.runtime.host import end_forked_child, ending_forked_children
from holdfast.runtime.transaction import run_transaction
from holdfast.workflow.context import CURRENT, StepInfo

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.services import Services
    from holdfast.workflow.step import Step, StepOptions

logger = logging.getLogger("holdfast.step")

ABANDON_AFTER_S = 5.0
"""How long a handler that timed out may take to end after it was cancelled, before it is left to itself."""


class Call:
    """One call of a step in a run: what the journal needs to know of it."""

    __slots__ = ("args", "branch", "execution", "fingerprint", "input", "key", "kind", "kwargs", "step")

    def __init__(
        self,
        branch: RunBranch,
        step: Step[Any, Any],
        key: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        fingerprint: str = "",
    ) -> None:
        self.branch = branch
        self.execution = branch.execution
        self.step = step
        self.key = key
        self.args = args
        self.kwargs = kwargs
        self.kind = EntryKind.STEP
        self.fingerprint = fingerprint
        self.input: Json | None = None

    def entry(
        self,
        status: EntryStatus,
        *,
        attempts: int,
        started_ms: UnixMs,
        result: Json | None = None,
        error: Json | None = None,
    ) -> Entry:
        """The journal row of this call's outcome."""
        execution = self.execution
        return Entry(
            key=self.key,
            seq=execution.next_seq(),
            kind=self.kind,
            name=self.step.name,
            status=status,
            result=result,
            error=error,
            fingerprint=self.fingerprint,
            input=self.input,
            attempts=attempts,
            epoch=execution.epoch,
            started_ms=started_ms,
            completed_ms=execution.services.now_ms(),
        )


async def execute_step(
    planned: RunBranch, step: Step[Any, Any], key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What the journal holds for this call; else execute it, try by try, and record the outcome.

    The first try of a step on the loop is written out here, because it is what nearly all time is spent on.
    """
    branch = planned.enter()
    execution, services = branch.execution, branch.execution.services
    fingerprint = services.codec.fingerprint(args, kwargs)
    policy = step.options
    if execution.replaying or not step.is_async or step.compensation or step.wants or policy.timeout or policy.breaker:
        return await _execute_in_full(Call(branch, step, key, args, kwargs, fingerprint))
    if execution.staged.durable < execution.staged.count:
        await execution.saved()
    if execution.draining:
        await _hold(branch)
    if branch.stopped or execution.stop is not None or execution.ending is not None or execution.refused is not None:
        branch.enter()
    run = execution.run
    decode = services.step_result_of(step)
    started_ms = services.now_ms()
    token = CURRENT.set(
        StepInfo(run_id=run.id, tenant=run.tenant, workflow=run.workflow, step=step.name, key=key, attempt=1)
    )
    branch.in_handler = True
    try:
        value = await step.function(*args, **kwargs)
        where = f"the result of step {key!r}"
        result = services.codec.encode(value, where)
        decoded = decode(result, where)
    except BaseException as raised:
        call = Call(branch, step, key, args, kwargs, fingerprint)
        error = _failure_of(call, raised)
        if error is None:
            raise
    else:
        execution.stage_entry(
            Entry(
                key=key,
                seq=execution.next_seq(),
                kind=EntryKind.STEP,
                name=step.name,
                status=EntryStatus.COMPLETED,
                result=result,
                fingerprint=fingerprint,
                epoch=execution.epoch,
                started_ms=started_ms,
                completed_ms=services.now_ms(),
            )
        )
        return decoded
    finally:
        branch.in_handler = False
        CURRENT.reset(token)
        if services.host.was_forked():
            end_forked_child(step.name)
    _settle_failure(call, error, policy, 1, started_ms)
    del error  # its traceback holds this frame
    return await attempt_until_settled(call, step.function, policy, decode)


async def _execute_in_full(call: Call) -> Any:
    execution, step = call.execution, call.step
    services = execution.services
    if execution.replaying:
        entry = call.branch.recorded(call.key, EntryKind.STEP, step.name)
        if entry is not None:
            return _replay(call, entry)
    if step.compensation is not None:
        where = f"the arguments of step {step.name!r}"
        call.input = services.codec.encode_arguments(call.args, call.kwargs, where)
    return await attempt_until_settled(call, step.function, step.options, services.step_result_of(step))


def _replay(call: Call, entry: Entry) -> Any:
    services = call.execution.services
    if entry.fingerprint != call.fingerprint and entry.fingerprint and call.fingerprint:
        call.branch.diverged(
            call.key,
            f"step {entry.name!r} with other arguments",
            f"step {entry.name!r} with the arguments it passes now",
        )
    return recorded_outcome(services, entry, services.step_result_of(call.step))


def recorded_outcome(services: Services, entry: Entry, decode: Callable[[Json, str], Any]) -> Any:
    """A recorded step's result, or its failure, raised."""
    if entry.status is EntryStatus.COMPLETED and entry.result is not None:
        return decode(entry.result, f"the recorded result of step {entry.key!r}")
    raise services.rebuild(services.read_failure(entry.error), step=entry.key)


async def attempt_until_settled(
    call: Call, function: Callable[..., Any], options: StepOptions, decode: Callable[[Json, str], Any]
) -> Any:
    """Try until an attempt succeeds or the policy gives up; record the outcome; return it or raise."""
    execution, key = call.execution, call.key
    services = execution.services
    attempt = execution.failed_attempts.get(key, 0) + 1
    branch = call.branch
    while True:
        if attempt > 1:
            # A failed attempt may have had its effect: only an outcome in the journal lets it be compensated.
            branch.finishing = call.input is not None
            await _wait_before_retry(call, attempt - 1)
        if execution.staged.durable < execution.staged.count:
            await execution.saved()
        if execution.draining:
            await _hold(branch)
        branch.enter()
        admission = None if options.breaker is None else await _admit(call, options.breaker, options.retry)
        branch.finishing = False
        started_ms = services.now_ms()
        try:
            decoded = await _attempt(call, function, options, decode, attempt, started_ms)
        except BaseException as raised:
            error = _failure_of(call, raised)
            if error is None:
                if admission is not None:
                    admission.give_back()
                raise
        else:
            if admission is not None:
                await admission.succeeded()
            return decoded
        if admission is not None and await admission.failed(error):
            # It was made for all who wait: it uses up no attempt, and the next one waits for the breaker.
            _record_attempt(call, error, attempt, started_ms)
        else:
            _settle_failure(call, error, options, attempt, started_ms)
        del error
        attempt += 1


async def _attempt(
    call: Call,
    function: Callable[..., Any],
    options: StepOptions,
    decode: Callable[[Json, str], Any],
    attempt: int,
    started_ms: UnixMs,
) -> Any:
    """Call the handler and record its result, which is returned."""
    if call.step.wants is not None and call.kind is EntryKind.STEP:
        return await run_transaction(call, attempt=attempt, started_ms=started_ms, decode=decode)
    value = await _invoke(call, function, options, attempt)
    where = f"the result of step {call.key!r}"
    result = call.execution.services.codec.encode(value, where)
    decoded = decode(result, where)
    call.execution.stage_entry(
        call.entry(EntryStatus.COMPLETED, attempts=attempt, started_ms=started_ms, result=result)
    )
    return decoded


async def _admit(call: Call, breaker: Breaker, retry: Retry) -> Admission:
    """Wait until the breaker lets the next attempt through, and the handler may start."""
    admission = await admit(call, breaker, retry)
    try:
        call.branch.enter()
    except BaseException:
        admission.give_back()
        raise
    if call.execution.draining:
        # Another worker's call may try meanwhile.
        admission.give_back()
        await _hold(call.branch)
    return admission


def _settle_failure(call: Call, error: BaseException, options: StepOptions, attempt: int, started_ms: UnixMs) -> None:
    """Record a failed attempt and the wait before the next; if there is no next, the failure, and raise it."""
    execution, services = call.execution, call.execution.services
    counted = attempt if options.breaker is None else _counted(call, attempt)
    verdict = after_failure(options.retry, attempt=counted, error=error, random=services.host.random())
    if isinstance(verdict, GiveUp):
        stored = services.record_failure(error, retryable=False)
        execution.stage_entry(call.entry(EntryStatus.FAILED, attempts=attempt, started_ms=started_ms, error=stored))
        raise services.rebuild(services.read_failure(stored), step=call.key) from error
    _record_attempt(call, error, attempt, started_ms)
    execution.stage_wait(
        NewWait(
            key=retry_key(call.key, attempt), seq=execution.next_seq(), kind=WaitKind.RETRY, delay_ms=verdict.delay_ms
        )
    )


def _record_attempt(call: Call, error: BaseException, attempt: int, started_ms: UnixMs) -> None:
    services = call.execution.services
    call.execution.stage_attempt(
        Attempt(
            key=call.key,
            attempt=attempt,
            error=services.record_failure(error, retryable=True),
            started_ms=started_ms,
            ended_ms=services.now_ms(),
        )
    )


def _counted(call: Call, attempt: int) -> int:
    """The number of an attempt without those before it that were probes: these had no wait for a retry behind them."""
    waits = call.execution.waits
    return 1 + sum(1 for failed in range(1, attempt) if retry_key(call.key, failed) in waits)


async def _wait_before_retry(call: Call, failed: int) -> None:
    key = retry_key(call.key, failed)
    if key in call.execution.waits:
        await call.branch.wait(key)


def retry_key(key: str, failed: int) -> str:
    """The key of the wait after that many failed attempts."""
    return f"{key}~retry{failed}"


async def _hold(branch: RunBranch) -> None:
    """The worker drains: start nothing more; the run is handed back when its last handler has ended."""
    execution = branch.execution
    held: asyncio.Future[None] = execution.loop.create_future()
    execution.joins[held] = None
    execution.block()
    try:
        await held
    finally:
        execution.joins.pop(held, None)


def _failure_of(call: Call, raised: BaseException) -> BaseException | None:
    """The failure of the handler; None if the exception is the engine's own or stops the run."""
    execution = call.execution
    if isinstance(raised, Suspend):
        return None
    if execution.ending is not None or (execution.stop is not None and isinstance(raised, asyncio.CancelledError)):
        return None
    if isinstance(raised, asyncio.CancelledError):
        task = call.branch.task
        if task is not None and task.cancelling():
            return None
        return StepError(type="CancelledError", message="the handler was cancelled by its own code")
    return raised


async def _invoke(call: Call, function: Callable[..., Any], options: StepOptions, attempt: int) -> Any:
    """Call the handler once, on the loop or in a thread, within its timeout."""
    branch, step, host = call.branch, call.step, call.execution.services.host
    run = call.execution.run
    info = StepInfo(
        run_id=run.id, tenant=run.tenant, workflow=run.workflow, step=step.name, key=call.key, attempt=attempt
    )
    token = CURRENT.set(info)
    branch.in_handler = True
    try:
        if step.is_async if call.kind is EntryKind.STEP else inspect.iscoroutinefunction(function):
            if options.timeout is None:
                return await function(*call.args, **call.kwargs)
            coroutine = function(*call.args, **call.kwargs)
            return await _within(step.name, options.timeout.total_seconds(), asyncio.ensure_future(coroutine))
        context = contextvars.copy_context()

        def handle() -> Any:
            with ending_forked_children(host, step.name):
                return context.run(function, *call.args, **call.kwargs)

        thread = host.run_thread(handle)
        if options.timeout is None:
            return await thread
        return await _within(step.name, options.timeout.total_seconds(), thread)
    finally:
        branch.in_handler = False
        CURRENT.reset(token)
        if host.was_forked():
            end_forked_child(step.name)


async def _within(step: str, timeout_s: float, handler: asyncio.Future[Any]) -> Any:
    """The handler's result; StepTimeout if it takes longer, also if it then refuses to be cancelled."""
    try:
        done, _ = await asyncio.wait([handler], timeout=timeout_s)
    except asyncio.CancelledError:
        handler.cancel()
        raise
    if not done:
        handler.cancel()
        done, _ = await asyncio.wait([handler], timeout=ABANDON_AFTER_S)
        if not done:
            logger.error("step %s: its handler ignores cancellation after its timeout; it is left to itself", step)
            handler.add_done_callback(_forget)
        raise StepTimeout(step=step, timeout_s=timeout_s)
    return handler.result()


def _forget(handler: asyncio.Future[Any]) -> None:
    if not handler.cancelled():
        handler.exception()
