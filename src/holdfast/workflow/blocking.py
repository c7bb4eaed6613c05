"""The durable operations for plain workflows (``def``): ``import holdfast as hf``, then ``hf.blocking.sleep(60)``.

Each does what its namesake in ``holdfast`` does, and blocks the workflow's thread until it is done. A run that waits
durably gives its thread back: it is unwound, and re-executed against its journal when the wait is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, cast

from holdfast.workflow import approval, operations, signals
from holdfast.workflow.approval import Decision
from holdfast.workflow.context import CURRENT, Branch
from holdfast.workflow.operations import Child
from holdfast.workflow.step import PlainStep
from holdfast.workflow.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def sleep(duration: timedelta | float, *, key: str | None = None) -> None:
    """As ``holdfast.sleep``."""
    _run(lambda: operations.sleep(duration, key=key))


def sleep_until(moment: datetime, *, key: str | None = None) -> None:
    """As ``holdfast.sleep_until``."""
    _run(lambda: operations.sleep_until(moment, key=key))


def wait_for_signal(
    name: str,
    type_: type[T] | Any = Any,
    *,
    where: str | None = None,
    values: Mapping[str, Any] = {},
    timeout: timedelta | float | None = None,
    key: str | None = None,
) -> Any:
    """As ``holdfast.wait_for_signal``."""
    return _run(lambda: signals.wait_for_signal(name, type_, where=where, values=values, timeout=timeout, key=key))


def signal(
    name: str,
    payload: Any = None,
    *,
    run_id: str | None = None,
    keep: timedelta | float | None = None,
    key: str | None = None,
) -> None:
    """As ``holdfast.signal``."""
    _run(lambda: signals.signal(name, payload, run_id=run_id, keep=keep, key=key))


def publish(name: str, value: Any) -> None:
    """As ``holdfast.publish``."""
    _run(lambda: signals.publish(name, value))


def emit(stream: str, value: Any) -> None:
    """As ``holdfast.emit``."""
    _run(lambda: signals.emit(stream, value))


def patched(name: str) -> bool:
    """As ``holdfast.patched``, which may be called in a plain workflow as well."""
    return operations.patched(name)


def wait_for_approval(
    key: str | None = None,
    *,
    form: Any = None,
    title: str | None = None,
    by: Sequence[str] = (),
    escalate_after: timedelta | float | None = None,
    escalate_to: Sequence[str] = (),
    timeout: timedelta | float | None = None,
) -> Decision[Any]:
    """As ``holdfast.wait_for_approval``."""
    answer = _run(
        lambda: approval.wait_for_approval(
            key,
            form=form,
            title=title,
            by=by,
            escalate_after=escalate_after,
            escalate_to=escalate_to,
            timeout=timeout,
        )
    )
    return cast("Decision[Any]", answer)


def run_child(workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As ``holdfast.run_child``."""
    return cast("R", _run(lambda: operations.run_child(workflow, *args, **kwargs)))


def start_child(workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Child[R]:
    """As ``holdfast.start_child``; wait for it with ``child_result``."""
    return cast("Child[R]", _run(lambda: operations.start_child(workflow, *args, **kwargs)))


def child_result(child: Child[R]) -> R:
    """As ``await child.result()``."""
    return cast("R", _run(child.result))


def map(
    function: Callable[[T], R],
    items: Iterable[T],
    /,
    *,
    concurrency: int = 100,
    tolerate: float | None = None,
    key: Callable[[T], str] | None = None,
) -> list[R]:
    """As ``holdfast.map`` over a plain step; failures that are tolerated stand in the list as exceptions."""
    target: Callable[[T], Any] = function.aio if isinstance(function, PlainStep) else function
    if tolerate is None:
        return cast("list[R]", _run(lambda: operations.map(target, items, concurrency=concurrency, key=key)))
    return cast(
        "list[R]", _run(lambda: operations.map(target, items, concurrency=concurrency, tolerate=tolerate, key=key))
    )


def _run(operation: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    place = CURRENT.get()
    if isinstance(place, Branch):
        return place.run_blocking(lambda _branch: operation())
    return asyncio.run(operation())
