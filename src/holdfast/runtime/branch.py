"""The durable operations, as one branch of a run executes them."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

from holdfast.core.approvals import write_question
from holdfast.core.attributes import check_attributes
from holdfast.core.ids import child_id
from holdfast.core.matching import SignalFilter
from holdfast.core.tolerance import failures_allowed
from holdfast.errors import (
    ApprovalTimeout,
    DuplicateStepKey,
    NonDeterminismError,
    SignalTimeout,
    StepNotRegistered,
    UsageError,
)
from holdfast.model.commit import NewWait
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import Entry, NewRun, Wait
from holdfast.model.status import EntryKind, EntryStatus, WaitKind, WaitOutcome
from holdfast.runtime.attempts import execute_step
from holdfast.runtime.child_result import child_result
from holdfast.runtime.continuing import encode_successor
from holdfast.runtime.execution import BranchStopped, RunExecution, Suspend
from holdfast.runtime.graph_program import with_policy
from holdfast.runtime.inputs import decision_of, new_signal, stored_filter
from holdfast.runtime.join import Join
from holdfast.runtime.plain import PlainBody
from holdfast.runtime.source import find_source
from holdfast.runtime.unread import describe, is_passed
from holdfast.workflow.approval import Decision
from holdfast.workflow.context import CURRENT, Branch, ChildOptions, RunInfo
from holdfast.workflow.duration import milliseconds, unix_milliseconds
from holdfast.workflow.graph import run_options

if TYPE_CHECKING:
    from holdfast.model.definition import CallPolicy
    from holdfast.model.run import Question
    from holdfast.model.search import AttributeValue
    from holdfast.workflow.step import Step
    from holdfast.workflow.workflow import Workflow


class RunBranch(Branch):
    """See the module's docstring. ``scope`` begins the keys of all that it does.

    ``join`` is the key of the gather or map that it is a branch of, and ``parent`` the branch that waits there.
    """

    __slots__ = (
        "absolute_keys",
        "counts",
        "execution",
        "finishing",
        "in_handler",
        "join",
        "last_key",
        "loop",
        "parent",
        "patches",
        "plain",
        "scope",
        "stopped",
        "task",
        "waiting",
    )

    def __init__(
        self, execution: RunExecution, *, scope: str, parent: RunBranch | None = None, join: str | None = None
    ) -> None:
        self.execution = execution
        self.parent = parent
        self.join = join
        self.loop = execution.loop
        self.scope = scope
        self.task: asyncio.Task[Any] | None = None
        self.counts: dict[str, int] = {}
        self.stopped = False
        self.in_handler = False
        self.finishing = False
        self.waiting: str | None = None
        self.last_key = ""
        self.patches: dict[str, bool] | None = None
        self.plain: PlainBody | None = None
        self.absolute_keys = False
        """Explicit keys are whole ones, not continued from the scope: so a graph's nodes are journaled."""

    @property
    def info(self) -> RunInfo:
        """The run, as ``hf.current()`` answers it."""
        run = self.execution.run
        deadline = None if run.deadline_ms is None else datetime.fromtimestamp(run.deadline_ms / 1000, UTC)
        return RunInfo(
            run_id=run.id,
            tenant=run.tenant,
            workflow=run.workflow,
            key=run.key,
            attempt=run.attempt,
            deadline=deadline,
        )

    # Keys

    def next_key(self, name: str, explicit: str | None) -> str:
        """The key of the next operation of that name. Raises DuplicateStepKey for an explicit one used before."""
        execution, counts = self.execution, self.counts
        if explicit is None:
            number = counts.get(name, 0) + 1
            counts[name] = number
            key = f"{self.scope}{name}" if number == 1 else f"{self.scope}{name}#{number}"
        else:
            key = explicit if self.absolute_keys else self.scope + explicit
        used = f"={key}"
        if used in counts:
            raise DuplicateStepKey(run_id=execution.run.id, key=key)
        if explicit is not None:
            counts[used] = 1
        self.last_key = key
        if execution.unread:
            execution.unread.discard(key)
        return key

    def enter(self) -> RunBranch:
        """The branch that runs this operation now; every durable operation begins here.

        Raises:
            UsageError: it is called by a task of the user's own, where order is not deterministic.
            Suspend, asyncio.CancelledError: the run or the branch is being stopped.
        """
        place = CURRENT.get()
        branch = place if isinstance(place, RunBranch) else self
        if current_task(self.loop) is not branch.task:
            raise UsageError(
                "a durable operation was called in a task of its own, where the order of calls is not repeatable: "
                "use hf.gather() or hf.map() instead of asyncio.gather(), create_task() or TaskGroup"
            )
        execution = self.execution
        if (
            execution.ending is not None
            or execution.stop is not None
            or execution.refused is not None
            or execution.parted is not None
        ):
            execution.check()
        if branch.stopped and not branch.finishing:
            raise BranchStopped
        return branch

    def recorded(self, key: str, kind: EntryKind, name: str) -> Entry | None:
        """What the journal holds for a key. Raises NonDeterminismError if it is something else."""
        entry = self.execution.journal.get(key)
        if entry is None:
            if key in self.execution.waits:
                self.diverged(key, describe(self.execution, key), f"{kind} {name!r}")
            return None
        if entry.kind is not kind or entry.name != name:
            self.diverged(key, describe(self.execution, key), f"{kind} {name!r}")
        return entry

    def diverged(self, key: str, recorded: str, asked: str) -> NoReturn:
        """Stop the run: its code and its journal part here."""
        error = NonDeterminismError(
            run_id=self.execution.run.id, key=key, recorded=recorded, asked=asked, source=find_source(self)
        )
        self.execution.parted = self.execution.parted or error
        raise error

    # Steps and values

    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """See Branch."""
        return execute_step(self, step, self.next_key(step.name, step.options.key), args, kwargs)

    def record_value(self, name: str, make: Callable[[], Any], type_: Any) -> Any:
        """See Branch."""
        return self._at_once(lambda: self._record_value(name, make, type_))

    def _at_once(self, operation: Callable[[], Any]) -> Any:
        """An operation that waits for nothing; from a plain body's thread it is sent to the loop."""
        if self.plain is not None and self.plain.in_body_thread():
            return self.run_blocking(lambda _branch: _answer(operation))
        return operation()

    def patched(self, name: str) -> bool:
        """See Branch."""
        return bool(self._at_once(lambda: self._patched(name)))

    def _patched(self, name: str) -> bool:
        branch = self.enter()
        place: RunBranch | None = branch
        while place is not None:
            if place.patches is not None and name in place.patches:
                return place.patches[name]
            place = place.parent
        key = f"{branch.scope}patch:{name}"
        answer = branch.recorded(key, EntryKind.PATCH, name) is not None
        if not answer and not is_passed(branch):
            answer = True
            branch.execution.stage_entry(branch.note(key, EntryKind.PATCH, name))
        branch.patches = {**(branch.patches or {}), name: answer}
        return answer

    def note(self, key: str, kind: EntryKind, name: str, result: Json | None = None) -> Entry:
        """The journal row of something that was done at once."""
        execution = self.execution
        now_ms = execution.services.now_ms()
        return Entry(
            key=key,
            seq=execution.next_seq(),
            kind=kind,
            name=name,
            status=EntryStatus.COMPLETED,
            result=result,
            epoch=execution.epoch,
            started_ms=now_ms,
            completed_ms=now_ms,
        )

    def _record_value(self, name: str, make: Callable[[], Any], type_: Any) -> Any:
        branch = self.enter()
        execution, services = self.execution, self.execution.services
        key = branch.next_key(name, None)
        where = f"the recorded value {key!r} of run {execution.run.id}"
        entry = branch.recorded(key, EntryKind.VALUE, name)
        if entry is None:
            entry = branch.note(key, EntryKind.VALUE, name, services.codec.encode(make(), where))
            execution.stage_entry(entry)
        assert entry.result is not None
        return services.codec.decoder(type_)(entry.result, where)

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Json:
        """See Branch."""
        return cast("Json", self._at_once(lambda: encode_successor(self.enter(), args, kwargs)))

    def set_attributes(self, attributes: dict[str, AttributeValue | None]) -> None:
        """See Branch."""

        def stage() -> list[str]:
            self.execution.staged.attributes.update(attributes)
            return sorted(attributes)

        # A value of the journal, so that a replay, which knows it, sets nothing again.
        self.record_value("set_attributes", stage, list[str])

    # Waits

    async def sleep(self, *, delay: timedelta | None, until: datetime | None, key: str | None) -> None:
        """See Branch."""
        branch = self.enter()
        key = branch.next_key("sleep", key)
        wait = branch.known_wait(key, WaitKind.TIMER)
        if wait is None:
            due_ms = None if until is None else UnixMs(unix_milliseconds(until))
            delay_ms = None if delay is None else milliseconds(delay)
            self.execution.stage_wait(
                NewWait(key=key, seq=self.execution.next_seq(), kind=WaitKind.TIMER, delay_ms=delay_ms, due_ms=due_ms)
            )
        await branch.wait(key)

    async def wait_for_signal(
        self, name: str, *, timeout: timedelta | None, type_: Any, key: str | None, where: SignalFilter | None = None
    ) -> Any:
        """See Branch."""
        branch = self.enter()
        execution = self.execution
        key = branch.next_key(f"signal:{name}", key)
        wait = branch.known_wait(key, WaitKind.SIGNAL, signal=name)
        if wait is None:
            execution.stage_wait(
                NewWait(
                    key=key,
                    seq=execution.next_seq(),
                    kind=WaitKind.SIGNAL,
                    signal=name,
                    delay_ms=None if timeout is None else milliseconds(timeout),
                    request=None if where is None else stored_filter(execution, where, key),
                )
            )
        wait = await branch.wait(key)
        if wait.outcome is WaitOutcome.SIGNALLED and wait.result is not None:
            told = f"the payload of signal {name!r} to run {execution.run.id}"
            return execution.services.codec.decoder(type_)(wait.result, told)
        raise SignalTimeout(signal=name, timeout_s=None if timeout is None else timeout.total_seconds())

    async def send_signal(
        self, name: str, payload: Any, *, run_id: RunId | None, keep: timedelta | None, key: str | None
    ) -> None:
        """See Branch."""
        branch = self.enter()
        execution = self.execution
        key = branch.next_key(f"send:{name}", key)
        if branch.recorded(key, EntryKind.SIGNAL, name) is not None:
            return
        execution.stage_signal(new_signal(execution, key, name, payload, run_id=run_id, keep=keep))
        branch.stage_output(EntryKind.SIGNAL, key, name, None)

    async def record_output(self, kind: EntryKind, name: str, value: Any, *, key: str | None) -> None:
        """See Branch."""
        branch = self.enter()
        key = branch.next_key(f"{kind}:{name}", key)
        if branch.recorded(key, kind, name) is None:
            stored = self.execution.services.codec.encode(value, f"{kind} {name!r} of run {self.execution.run.id}")
            branch.stage_output(kind, key, name, stored)

    def read_value(self, value: Any, type_: Any, where: str) -> Any:
        """See Branch."""
        codec = self.execution.services.codec
        return codec.decoder(type_)(codec.encode(value, where), where)

    def stage_output(self, kind: EntryKind, key: str, name: str, result: Json | None) -> None:
        """Record something that is done with the next commit."""
        execution = self.execution
        now_ms = execution.services.now_ms()
        execution.stage_entry(
            Entry(
                key=key,
                seq=execution.next_seq(),
                kind=kind,
                name=name,
                status=EntryStatus.COMPLETED,
                result=result,
                epoch=execution.epoch,
                started_ms=now_ms,
                completed_ms=now_ms,
            )
        )

    async def wait_for_approval(
        self, question: Question, *, timeout: timedelta | None, type_: Any, key: str | None
    ) -> Decision[Any]:
        """See Branch."""
        branch = self.enter()
        execution, codec = self.execution, self.execution.services.codec
        key, request = branch.next_key("approval", key), write_question(question)
        where = f"approval {key!r} of run {execution.run.id}"
        if branch.known_wait(key, WaitKind.APPROVAL) is None:
            codec.check_size(request, f"the question of {where}")
            delay_ms, seq = None if timeout is None else milliseconds(timeout), execution.next_seq()
            execution.stage_wait(NewWait(key=key, seq=seq, kind=WaitKind.APPROVAL, delay_ms=delay_ms, request=request))
        wait = await branch.wait(key)
        if wait.outcome is not WaitOutcome.ANSWERED or wait.result is None or wait.closed_ms is None:
            raise ApprovalTimeout(key=key, timeout_s=None if timeout is None else timeout.total_seconds())
        return decision_of(codec, wait.result, wait.closed_ms, type_, f"the data of {where}")

    def known_wait(self, key: str, kind: WaitKind, *, signal: str | None = None) -> Wait | None:
        """The wait under a key, if it was opened. Raises NonDeterminismError if the key is something else."""
        wait = self.execution.waits.get(key)
        asked = f"a wait for a {kind}" if signal is None else f"a wait for signal {signal!r}"
        if wait is None:
            entry = self.execution.journal.get(key)
            if entry is not None:
                self.diverged(key, describe(self.execution, key), asked)
            return None
        if wait.kind is not kind or wait.signal != signal:
            self.diverged(key, describe(self.execution, key), asked)
        return wait

    # Children

    async def run_child(
        self, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, options: ChildOptions
    ) -> Any:
        """See Branch."""
        branch = self.enter()
        key = branch.next_key(workflow.name, options.key)
        child = child_id(self.execution.run.id, key)
        if branch.known_wait(key, WaitKind.CHILD) is None:
            new = await branch.new_child(workflow, args, kwargs, key, child, options)
            self.execution.stage_wait(
                NewWait(key=key, seq=self.execution.next_seq(), kind=WaitKind.CHILD, child_id=child), new
            )
        return child_result(self.execution.services, workflow, child, await branch.wait(key))

    async def start_child(
        self, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, options: ChildOptions
    ) -> RunId:
        """See Branch."""
        branch = self.enter()
        execution = self.execution
        key = branch.next_key(workflow.name, options.key)
        child = child_id(execution.run.id, key)
        codec, where = execution.services.codec, f"the id of child {key!r}"
        entry = branch.recorded(key, EntryKind.CHILD, workflow.name)
        if entry is not None:
            # In a run that began with the records of another, the child is that one's.
            return child if entry.result is None else RunId(codec.decoder(str)(entry.result, where))
        execution.stage_child(await branch.new_child(workflow, args, kwargs, key, child, options))
        execution.stage_entry(branch.note(key, EntryKind.CHILD, workflow.name, codec.encode(str(child), where)))
        return child

    async def wait_for_child(self, workflow: Workflow[Any, Any], child: RunId) -> Any:
        """See Branch."""
        branch = self.enter()
        key = branch.next_key(f"result:{child}", None)
        if branch.known_wait(key, WaitKind.CHILD) is None:
            self.execution.stage_wait(
                NewWait(key=key, seq=self.execution.next_seq(), kind=WaitKind.CHILD, child_id=child)
            )
        return child_result(self.execution.services, workflow, child, await branch.wait(key))

    async def new_child(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: str,
        child: RunId,
        options: ChildOptions,
    ) -> NewRun:
        """The record of a child to be started, with the version that it is to follow if it is a graph's."""
        execution = self.execution
        pin = await execution.services.pin_of_child(execution.run.tenant, workflow.name)
        if pin is not None:
            # The run may have been stopped while the database was asked.
            self.enter()
        defaults = workflow.options if pin is None else run_options(pin.options)
        timeout = options.timeout or defaults.timeout
        return NewRun(
            id=child,
            tenant=execution.run.tenant,
            workflow=workflow.name,
            version=None if pin is None else pin.version,
            definition_hash=None if pin is None else pin.definition_hash,
            input=execution.services.codec.encode_arguments(args, kwargs, f"the input of child {workflow.name!r}"),
            queue=options.queue or defaults.queue,
            priority=execution.run.priority if options.priority is None else options.priority,
            timeout_ms=None if timeout is None else milliseconds(timeout),
            attributes=check_attributes(defaults.attributes),
            parent_id=execution.run.id,
            parent_key=key,
            parent_policy=options.policy,
        )

    # Side by side

    async def gather(self, awaitables: Iterable[Awaitable[Any]], *, return_exceptions: bool) -> list[Any]:
        """See Branch."""
        items = list(awaitables)
        try:
            branch = self.enter()
        except BaseException:
            _close(items)
            raise
        scope = branch.next_key("gather", None)
        join = Join(branch, scope, stop_at_failure=not return_exceptions)
        results = await join.run(
            [(f"[{number}]", _return(item)) for number, item in enumerate(items)], width=len(items)
        )
        if not return_exceptions:
            raise_first(results)
        return results

    async def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        concurrency: int,
        tolerate: float | None,
        key: Callable[[Any], str] | None,
    ) -> list[Any]:
        """See Branch."""
        branch = self.enter()
        scope = branch.next_key("map", None)
        wanted = list(items)
        names = [f"[{number}]" if key is None else f"[{key(item)}]" for number, item in enumerate(wanted)]
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise DuplicateStepKey(run_id=self.execution.run.id, key=scope + twice)
        allowed = failures_allowed(tolerate, items=len(wanted))
        join = Join(branch, scope, stop_at_failure=tolerate is None)
        calls = [(name, _call(function, item)) for name, item in zip(names, wanted, strict=True)]
        results = await join.run(calls, width=concurrency)
        if sum(1 for result in results if isinstance(result, BaseException)) > allowed:
            raise_first(results)
        return results

    # Graphs

    def walk(self, input: Any) -> Coroutine[Any, Any, dict[str, Any]]:  # noqa: A002 - the document's word
        """See Branch."""
        return self.execution.services.walk(self, input)

    async def run_step(self, name: str, arguments: dict[str, Any], policy: CallPolicy) -> Any:
        """See Branch."""
        services = self.execution.services
        step = services.registry.find_step(name)
        if step is None:
            known = ", ".join(services.registry.step_names)
            raise StepNotRegistered(run_id=self.execution.run.id, step=name, known=known)
        step = with_policy(step, services.registry, policy)
        args, kwargs = services.arguments_reader_of(step)(arguments)
        return await execute_step(self, step, self.next_key(step.name, None), args, kwargs)

    # Plain workflows

    async def run_plain(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Execute a plain workflow's body in a thread, and its operations here."""
        self.plain = PlainBody(self.execution.services.host, self)
        return await self.plain.run(lambda: function(*args, **kwargs))

    def run_blocking(self, operation: Callable[[Branch], Coroutine[Any, Any, Any]]) -> Any:
        """See Branch."""
        if self.plain is None or not self.plain.in_body_thread():
            raise UsageError(
                "a plain step or a blocking operation was called in an async workflow, whose loop it would block: "
                "use `await step.aio(...)` there, and the operations of holdfast itself instead of holdfast.blocking"
            )
        return self.plain.call(operation)

    async def wait(self, key: str) -> Wait:
        """Block until the wait is closed."""
        self.waiting = key
        try:
            return await self.execution.wait(key)
        finally:
            self.waiting = None

    def stop(self) -> None:
        """Go no further than the next durable operation; a wait ends at once.

        A step that can be compensated and has failed once is tried to its end first: that attempt may have had its
        effect, and only an outcome in the journal lets it be compensated.
        """
        self.stopped = True
        if self.waiting is not None and not self.finishing:
            self.execution.stop_waiting(self.waiting, BranchStopped())

    def spawn(self, join: str, name: str, call: Callable[[], Awaitable[Any]]) -> RunBranch:
        """A new branch of a gather or map, active at once, that runs ``call`` in a task of its own."""
        execution = self.execution
        branch = RunBranch(execution, scope=f"{join}{name}/", parent=self, join=join)
        branch.absolute_keys = self.absolute_keys
        context = copy_context()
        context.run(CURRENT.set, branch)
        execution.active += 1
        execution.branch_count += 1
        number = execution.branch_count
        execution.branches[number] = branch
        branch.task = execution.loop.create_task(_body(call, number, branch), context=context)
        return branch

    def cancel(self) -> None:
        """Stop what the branch does at the moment."""
        if self.task is not None and not self.task.done():
            self.task.cancel()


def raise_first(results: Iterable[Any]) -> None:
    """Raise the first failure in order; one that a branch was stopped with only if there is no other."""
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, asyncio.CancelledError):
            raise failure
    for failure in failures:
        raise failure


async def _body(call: Callable[[], Awaitable[Any]], number: int, branch: RunBranch) -> Any:
    try:
        return await call()
    except Suspend:
        return None
    finally:
        branch.task = None
        del branch.execution.branches[number]


async def _answer(operation: Callable[[], Any]) -> Any:
    return operation()


def _close(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Drop what was to run side by side, and was not begun."""
    for awaitable in awaitables:
        if isinstance(awaitable, Coroutine):
            awaitable.close()


def _return(awaitable: Awaitable[Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: awaitable


def _call(function: Callable[[Any], Any], item: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: function(item)
