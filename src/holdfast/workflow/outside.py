"""What durable operations do outside a run: the plain thing, for unit tests of workflows without an engine.

Inside a run ``now``, ``uuid4`` and ``random`` are called once and recorded.
"""

from __future__ import annotations

import asyncio
import inspect
import random as random_module
import uuid as uuid_module
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.core.tolerance import failures_allowed


def now() -> datetime:
    """The machine's time, in UTC."""
    return datetime.now(UTC)


def uuid4() -> uuid_module.UUID:
    """A random UUID."""
    return uuid_module.uuid4()


def random() -> float:
    """A random number, at least 0 and below 1."""
    return random_module.random()


async def sleep(duration: timedelta) -> None:
    """Sleep in memory."""
    await asyncio.sleep(duration.total_seconds())


async def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an async or plain function."""
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def gather(awaitables: Iterable[Awaitable[Any]], *, return_exceptions: bool) -> list[Any]:
    """The gather of asyncio."""
    return list(await asyncio.gather(*awaitables, return_exceptions=return_exceptions))


async def map_items(
    function: Callable[[Any], Any], items: list[Any], *, concurrency: int, tolerate: float | None
) -> list[Any]:
    """A bounded map in memory, with the same answer as a durable one."""
    gate = asyncio.Semaphore(concurrency)

    async def one(item: Any) -> Any:
        async with gate:
            return await function(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    if len(failures) > failures_allowed(tolerate, items=len(items)):
        raise failures[0]
    return list(results)
