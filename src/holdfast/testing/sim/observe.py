"""Puts a simulation's eyes and clocks into a program for as long as it runs: nothing of it stays."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import uuid
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from random import Random
from typing import Any

from holdfast.runtime.execution import RunExecution
from holdfast.runtime.unread import COMPENSATED
from holdfast.runtime.worker import Worker
from holdfast.testing.sim.history import Execution, HandlerCall, History
from holdfast.testing.sim.loop import PROCESS
from holdfast.workflow import outside
from holdfast.workflow.context import CURRENT, StepInfo
from holdfast.workflow.registry import Registry

EXECUTION: ContextVar[Execution | None] = ContextVar("holdfast_simulated_execution", default=None)
"""The execution that the code running now belongs to."""

BODY: ContextVar[asyncio.Task[Any] | None] = ContextVar("holdfast_simulated_body", default=None)
"""The task of the workflow's body, in it and in its branches."""

HANDLER: ContextVar[HandlerCall | None] = ContextVar("holdfast_simulated_handler", default=None)
"""The handler's call that the code running now belongs to."""


@contextmanager
def replaced(owner: object, name: str, value: object) -> Generator[None]:
    """Put something else in the place of an attribute, for as long as the block lasts."""
    # As it is kept, not as it is looked up: a static method must come back as one.
    original = inspect.getattr_static(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def observed(registry: Registry, history: History, *, seed: int | str) -> Generator[None]:
    """Record executions and handlers' calls, take ``hf.now`` and its kin from the simulation, and watch the log."""
    with ExitStack() as stack:
        for name in registry.step_names:
            step = registry.find_step(name)
            assert step is not None
            watched = _watched(step.function, history, transactional=step.wants is not None)
            stack.enter_context(replaced(step, "function", watched))
            if step.compensation is not None:
                watched = _watched(step.compensation, history, compensates=True)
                stack.enter_context(replaced(step, "compensation", watched))
        for name in registry.workflow_names:
            workflow = registry.find_workflow(name)
            if workflow.is_async:
                stack.enter_context(replaced(workflow, "function", _body(workflow.function)))
        stack.enter_context(replaced(Worker, "begin_execution", staticmethod(_begin(Worker.begin_execution, history))))
        chance = Random(f"{seed}/outside")
        stack.enter_context(replaced(outside, "now", _now))
        stack.enter_context(replaced(outside, "random", chance.random))
        stack.enter_context(replaced(outside, "uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)))
        stack.enter_context(_quiet(history))
        yield


def _current_task() -> asyncio.Task[Any] | None:
    """The task that runs; None in a thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _now() -> datetime:
    return datetime.fromtimestamp(PROCESS.get().wall_s(), UTC)


def _begin(original: Callable[[RunExecution], None], history: History) -> Callable[[RunExecution], None]:
    def observed_begin(run: RunExecution) -> None:
        execution = history.begin_execution(run.run.id, run.epoch, PROCESS.get())
        context = copy_context()
        context.run(EXECUTION.set, execution)
        context.run(original, run)

    return observed_begin


def _body(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The same function, which notes the task it runs in."""

    @functools.wraps(function)
    async def body(*args: Any, **kwargs: Any) -> Any:
        BODY.set(asyncio.current_task())
        return await function(*args, **kwargs)

    return body


def _watched(
    function: Callable[..., Any], history: History, *, compensates: bool = False, transactional: bool = False
) -> Callable[..., Any]:
    """The same function, whose calls in a simulated run are recorded."""

    def enter() -> HandlerCall | None:
        info = CURRENT.get()
        process = PROCESS.get(None)
        if not isinstance(info, StepInfo) or process is None:
            return None
        call = HandlerCall(
            run_id=info.run_id,
            key=info.key,
            attempt=info.attempt,
            idempotency_key=info.idempotency_key,
            execution=EXECUTION.get(),
            process=process,
            started_s=history.loop.now_s,
            task=_current_task(),
            body=BODY.get(),
            # A graph may name any step as what undoes another.
            compensates=compensates or info.key.endswith(COMPENSATED),
            transactional=transactional,
        )
        history.begin_handler(call)
        HANDLER.set(call)
        return call

    def leave(call: HandlerCall | None, *, failed: bool) -> None:
        if call is not None:
            call.ended_s = history.loop.now_s
            call.failed = failed

    if inspect.iscoroutinefunction(function):
        return _watched_async(function, enter, leave)

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        call = enter()
        try:
            answer = function(*args, **kwargs)
        except BaseException:
            leave(call, failed=True)
            raise
        leave(call, failed=False)
        return answer

    return plain


def _watched_async(
    function: Callable[..., Coroutine[Any, Any, Any]],
    enter: Callable[[], HandlerCall | None],
    leave: Callable[..., None],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(function)
    async def handler(*args: Any, **kwargs: Any) -> Any:
        call = enter()
        try:
            answer = await function(*args, **kwargs)
        except BaseException:
            leave(call, failed=True)
            raise
        leave(call, failed=False)
        return answer

    return handler


class _Defects(logging.Handler):
    """Turns what the engine logs about its own defects into violations."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.ERROR)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        """An error with an exception is a defect, unless it is the database's."""
        if record.exc_info is not None and not record.getMessage().endswith("could not be handed back"):
            error = record.exc_info[1]
            self._history.violation(f"the engine logged: {record.getMessage()}: {type(error).__name__}: {error}")


@contextmanager
def _quiet(history: History) -> Generator[None]:
    """Faults are what a simulation is about: only defects are of interest, and they go to the history."""
    logger = logging.getLogger("holdfast")
    level, propagate = logger.level, logger.propagate
    handler = _Defects(history)
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
