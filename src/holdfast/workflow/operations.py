"""The durable operations that a workflow's body calls.

Outside a run most of them just do the thing, so that workflows are unit-tested without an engine.
"""

from __future__ import annotations

import uuid as uuid_module
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from holdfast.core.attributes import check_attributes
from holdfast.core.names import check_name
from holdfast.errors import NotInWorkflow, UsageError
from holdfast.model.ids import RunId
from holdfast.model.search import AttributeValue
from holdfast.workflow import outside
from holdfast.workflow.context import Branch, require_branch
from holdfast.workflow.duration import seconds
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")

_DEFAULT_CONCURRENCY = 100
"""How many items of a map are under way at once, unless told otherwise."""


def now() -> datetime:
    """The time now, in UTC: recorded, so that a replay sees the same."""
    branch = require_branch("hf.now()")
    return outside.now() if branch is None else cast("datetime", branch.record_value("now", outside.now, datetime))


def uuid4() -> uuid_module.UUID:
    """A new random UUID: recorded, so that a replay sees the same."""
    branch = require_branch("hf.uuid4()")
    if branch is None:
        return outside.uuid4()
    return cast("uuid_module.UUID", branch.record_value("uuid4", outside.uuid4, uuid_module.UUID))


def random() -> float:
    """A random number, at least 0 and below 1: recorded, so that a replay sees the same."""
    branch = require_branch("hf.random()")
    return outside.random() if branch is None else cast("float", branch.record_value("random", outside.random, float))


def patched(name: str) -> bool:
    """Whether this run takes the new path at a change of the workflow's body: ``if hf.patched("two-carriers"): ...``.

    True for a run that comes here first with the new code, and recorded, so that it stays True. False for a run whose
    journal holds anything that comes after this place: it goes on as it began. Each name is answered once, in the body
    or in a branch of a gather or map, for that branch and those inside it. Outside a run it is True.

    Args:
        name: of the change; unique in the workflow. Remove the call when no run on the old path is left.
    """
    check_name("patch", name)
    branch = require_branch("hf.patched()")
    return True if branch is None else branch.patched(name)


def set_attributes(**attributes: AttributeValue | None) -> None:
    """Set search attributes of this run; None takes one away. Recorded with the run's next commit.

    A value is a text of at most 200 characters, a number, True or False, or a datetime with a time zone, which is kept
    to the millisecond. ``holdfast runs list attr.customer=42`` finds the run by it. Outside a run it does nothing.

    Raises:
        UsageError: a name or value cannot be stored.
    """
    branch = require_branch("hf.set_attributes()")
    given = {name: value for name, value in attributes.items() if value is not None}
    checked: dict[str, AttributeValue | None] = {**dict.fromkeys(attributes), **check_attributes(given)}
    for name in attributes:
        check_name("attribute", name)
    if branch is not None and checked:
        branch.set_attributes(checked)


async def sleep(duration: timedelta | float, *, key: str | None = None) -> None:
    """Wait, durably: it survives restarts, and a waiting run holds no thread and no memory.

    Args:
        duration: a timedelta, or seconds; at most 100 years. Never ends early.
        key: an explicit key in the run's journal.
    """
    delay = seconds(duration, "the duration of hf.sleep()")
    branch = require_branch("hf.sleep()")
    if branch is None:
        await outside.sleep(delay)
    else:
        await branch.sleep(delay=delay, until=None, key=key)


async def sleep_until(moment: datetime, *, key: str | None = None) -> None:
    """Wait, durably, until a moment; at once if it is past.

    Args:
        moment: an aware datetime. Raises UsageError for a naive one.
        key: an explicit key in the run's journal.
    """
    if moment.tzinfo is None:
        raise UsageError("hf.sleep_until() needs a datetime with a time zone")
    branch = require_branch("hf.sleep_until()")
    if branch is None:
        await outside.sleep(max(moment.astimezone(UTC) - outside.now(), timedelta(0)))
    else:
        await branch.sleep(delay=None, until=moment, key=key)


async def run_child(workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Start a child run and wait for its result. Options: ``workflow.with_options(key=, queue=, ...)``.

    Outside a run it calls the workflow's function.

    Raises:
        RunFailed: the child failed; ``failure`` names why.
        RunCancelled: the child was cancelled.
    """
    branch = require_branch("hf.run_child()")
    if branch is None:
        return cast("R", await outside.call(workflow.function, args, kwargs))
    return cast("R", await branch.run_child(workflow, args, kwargs, options=workflow.child_options))


async def start_child(workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Child[R]:
    """Start a child run and go on; ``await child.result()`` later, or never.

    Raises:
        NotInWorkflow: outside a run.
    """
    branch = _branch("hf.start_child()")
    run_id = await branch.start_child(workflow, args, kwargs, options=workflow.child_options)
    return Child(workflow, run_id)


class Child(Generic[R]):
    """A child run that was started."""

    def __init__(self, workflow: Workflow[Any, R], run_id: RunId) -> None:
        self.workflow = workflow
        self.run_id = run_id

    async def result(self) -> R:
        """Wait for the child's end. Raises as ``run_child`` does."""
        return cast("R", await _branch("child.result()").wait_for_child(self.workflow, self.run_id))


@overload
async def gather(a: Awaitable[T1], /) -> tuple[T1]: ...
@overload
async def gather(a: Awaitable[T1], b: Awaitable[T2], /) -> tuple[T1, T2]: ...
@overload
async def gather(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> tuple[T1, T2, T3]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather(*awaitables: Awaitable[T], return_exceptions: Literal[False] = False) -> list[T]: ...
@overload
async def gather(*awaitables: Awaitable[T], return_exceptions: bool) -> list[T | Exception]: ...
async def gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> Any:
    """Run awaitables side by side and return their results in order.

    If one fails, the others stop at their next durable operation (a handler that runs is let finish, so that its
    outcome is recorded and can be compensated), and the first failure in the order of the arguments is raised.

    Args:
        awaitables: steps, children, waits, or coroutines of your own that call them.
        return_exceptions: let all of them end, and return failures in their places.
    """
    branch = require_branch("hf.gather()")
    if branch is None:
        return await outside.gather(awaitables, return_exceptions=return_exceptions)
    return await branch.gather(awaitables, return_exceptions=return_exceptions)


@overload
async def map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    concurrency: int = _DEFAULT_CONCURRENCY,
    key: Callable[[T], str] | None = None,
) -> list[R]: ...
@overload
async def map(
    function: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    concurrency: int = _DEFAULT_CONCURRENCY,
    tolerate: float,
    key: Callable[[T], str] | None = None,
) -> list[R | Exception]: ...
async def map(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    /,
    *,
    concurrency: int = _DEFAULT_CONCURRENCY,
    tolerate: float | None = None,
    key: Callable[[Any], str] | None = None,
) -> Any:
    """Call a function for each item, at most ``concurrency`` at a time; results in the items' order.

    Each item has a scope of its own in the journal, so the function may call any number of steps.

    Args:
        function: an async step, or an async function that calls steps. For a plain step pass ``step.aio``.
        items: what to map over; the same items in the same order on replay.
        concurrency: how many items are under way at once; 100 by default.
        tolerate: how many items may fail: a share if below 1, else a number. Failures then stand in their items'
            places. Without it the first failure stops the map, as in ``hf.gather``.
        key: a stable, unique name of an item, instead of its position.

    Raises:
        the failure that came first in the items' order, if more items failed than tolerated.
    """
    if concurrency < 1:
        raise UsageError("hf.map() needs a concurrency of at least 1")
    branch = require_branch("hf.map()")
    if branch is None:
        return await outside.map_items(function, list(items), concurrency=concurrency, tolerate=tolerate)
    return await branch.map(function, items, concurrency=concurrency, tolerate=tolerate, key=key)


def _branch(operation: str) -> Branch:
    branch = require_branch(operation)
    if branch is None:
        raise NotInWorkflow(operation=operation)
    return branch
