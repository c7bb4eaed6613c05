"""Workflows of every shape, recorded once per release in ``*.jsonl`` beside this file and replayed ever after.

Never change one: a history that parts from it is either a broken engine or a changed shape. Add new ones at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import holdfast as hf

app = hf.App("golden")

QUICK = hf.Retry(max_attempts=3, initial=timedelta(milliseconds=1), jitter=0)
PARKING_S = 0.3
"""Longer than a run lingers in memory."""


class OutOfStock(Exception):
    """An error of the program's own."""


@dataclass
class Order:
    """A payload that is more than plain JSON."""

    name: str
    items: list[str]
    due: datetime


@app.step
async def double(number: int) -> int:
    return number * 2


@app.step
def double_plain(number: int) -> int:
    return number * 2


@app.step(retry=QUICK)
async def fail_first(times: int) -> str:
    if hf.current_step().attempt <= times:
        raise ConnectionError("not yet")
    return f"after {times}"


@app.step(retry=hf.Retry.never())
async def refuse(why: str) -> None:
    raise OutOfStock(why)


@app.step
async def book(what: str) -> str:
    return f"booking of {what}"


@book.compensate
async def unbook(what: str, booking: str) -> None:
    assert booking == f"booking of {what}"


@app.step
async def pack(order: Order) -> dict[str, datetime]:
    return dict.fromkeys(order.items, order.due)


@app.workflow
async def three_steps(number: int) -> int:
    return await double(await double(await double(number)))


@app.workflow
async def retried() -> str:
    return await fail_first(2)


@app.workflow
async def retry_exhausted() -> str:
    return await fail_first(9)


@app.workflow
async def caught_failure() -> str:
    try:
        await refuse("tea")
    except OutOfStock as error:
        return f"no {error}"
    return "yes"


@app.workflow
async def compensated() -> None:
    await book("flight")
    await book("hotel")
    await refuse("car")


@app.workflow
async def dataclasses_and_times() -> list[str]:
    parcels = await pack(Order("one", ["tea", "milk"], datetime(2026, 1, 2, tzinfo=UTC)))
    return sorted(parcels)


@app.workflow
async def values() -> int:
    moment, chance, ident = hf.now(), hf.random(), hf.uuid4()
    await hf.sleep(PARKING_S)
    return await double(len(str(ident)) + (moment.year > 2000) + (chance < 1))


@app.workflow
async def sleeps() -> None:
    await hf.sleep(PARKING_S)
    await double(1)
    await hf.sleep_until(datetime(2020, 1, 1, tzinfo=UTC), key="past")


@app.workflow
async def loop(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total += await double(turn)
        await double.with_options(key=f"turn-{turn}")(turn)
    return total


@app.workflow
async def signals() -> list[Any]:
    first = await hf.wait_for_signal("one", int)
    try:
        await hf.wait_for_signal("never", timeout=0.01)
    except hf.errors.SignalTimeout:
        return [first, await hf.wait_for_signal("two", str)]
    return []


@app.workflow
async def waits_for_ever() -> str:
    await double(1)
    return str(await hf.wait_for_signal("never"))


@app.workflow
async def gathered() -> list[int]:
    async def two(number: int) -> int:
        await hf.sleep(PARKING_S)
        return await double(await double(number))

    first, second = await hf.gather(double(1), two(2))
    again = await hf.gather(two(3), return_exceptions=False)
    return [first, second, *again]


@app.workflow
async def gather_fails() -> str:
    try:
        await hf.gather(double(1), refuse("milk"), hf.wait_for_signal("never"))
    except OutOfStock:
        await hf.sleep(PARKING_S)
        return await book("other")
    return ""


@app.workflow
async def mapped() -> list[int]:
    async def tolerant(number: int) -> int:
        if number == 2:
            await refuse("two")
        return await double(number)

    results = await hf.map(tolerant, [1, 2, 3, 4], concurrency=2, tolerate=1, key=str)
    return [result for result in results if isinstance(result, int)]


@app.workflow
async def child(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return await double(number)


@app.workflow
async def children() -> list[int]:
    started = await hf.start_child(child.with_options(key="early"), 1)
    direct = await hf.run_child(child, 2)
    try:
        await hf.run_child(child, -1)
    except hf.errors.RunFailed:
        direct += 1
    return [await started.result(), direct]


@app.workflow
def plain(number: int) -> int:
    hf.blocking.sleep(PARKING_S)
    return sum(hf.blocking.map(double_plain, [number, number + 1])) + double.sync(number)


@app.workflow
async def patched() -> int:
    base = await double(1)
    if hf.patched("a change"):
        base += await double(10)
    await hf.sleep(PARKING_S)
    return base


@app.workflow(timeout=timedelta(milliseconds=50))
async def deadline() -> None:
    await book("room")
    await hf.wait_for_signal("never")


@app.workflow
async def swallows_cancelling() -> str:
    try:
        await hf.wait_for_signal("never", timeout=0.01)
    except (hf.errors.SignalTimeout, asyncio.CancelledError):
        return "went on"
    return ""


@app.workflow
async def talks() -> str:
    await hf.publish("progress", 1)
    await hf.emit("lines", "a")
    await hf.signal("to nobody", {"a": 1})
    await hf.sleep(PARKING_S)
    await hf.publish("progress", 2)
    return await book("table")


@dataclass(frozen=True)
class Case:
    """A run to record: ``live`` ones are recorded as they are parked, and again when they have ended."""

    workflow: str
    args: Sequence[Any] = ()
    signals: Sequence[tuple[str, Any]] = ()
    ends: bool = True


CASES = (
    Case("three_steps", [5]),
    Case("retried"),
    Case("retry_exhausted"),
    Case("caught_failure"),
    Case("compensated"),
    Case("dataclasses_and_times"),
    Case("values"),
    Case("sleeps"),
    Case("loop", [3]),
    Case("signals", signals=[("one", 1), ("two", "b")]),
    Case("waits_for_ever", ends=False),
    Case("gathered"),
    Case("gather_fails"),
    Case("mapped"),
    Case("children"),
    Case("plain", [4]),
    Case("patched"),
    Case("deadline"),
    Case("swallows_cancelling"),
    Case("talks"),
)
