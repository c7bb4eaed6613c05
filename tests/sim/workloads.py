"""The programs that are simulated, written against the public API alone."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import holdfast as hf
from holdfast.core.ids import derive_id
from holdfast.model.ids import Json, RunId
from holdfast.model.run import NewRun
from holdfast.store.memory import MemoryTransaction
from tests.sim.world import act, kill_own_process

app = hf.App("simulated")

QUICK = hf.Retry(max_attempts=4, initial=timedelta(seconds=0.3), max_delay=timedelta(seconds=2))


class Refused(Exception):
    """The world says no."""


@app.step(retry=QUICK)
async def add(x: int, y: int) -> int:
    await act()
    return x + y


@app.step
def double(x: int) -> int:
    return 2 * x


@app.step(retry=QUICK)
async def flaky(n: int, failures: int) -> int:
    info = hf.current()
    assert isinstance(info, hf.StepInfo)
    await act()
    if info.attempt <= failures:
        raise Refused(f"{n}: attempt {info.attempt}")
    return info.attempt


@app.step(retry=hf.Retry.never())
async def reserve(n: int, item: int, fails: bool = False) -> str:
    await act()
    if fails:
        raise Refused(f"{n}: no {item}")
    return f"{n}-{item}"


@reserve.compensate_with(retry=QUICK)
async def release(n: int, item: int, fails: bool, reserved: str) -> None:
    assert reserved == f"{n}-{item}"
    info = hf.current()
    assert isinstance(info, hf.StepInfo)
    await act()
    if item == 1 and info.attempt <= 2:
        raise Refused("busy")
    if is_hopeless(n, item):
        raise hf.NonRetryable("gone")


def is_hopeless(n: int, item: int) -> bool:
    """Whether a reservation cannot be released any more."""
    return n % 5 == 4 and item == 2


@app.step(timeout=timedelta(seconds=60))
async def note(text: str) -> str:
    await act()
    return text


@app.step
async def work(n: int, seconds: float) -> int:
    await act(seconds)
    return n


@app.step
async def die() -> None:
    await kill_own_process()


@app.transaction
def book_sqlite(connection: sqlite3.Connection, n: int, run_id: str) -> int:
    connection.execute("insert into outside_booking (n, run_id) values (?, ?)", (n, run_id))
    return n


@app.transaction
def book_memory(connection: MemoryTransaction, n: int, run_id: str) -> int:
    follow_up = RunId(derive_id("booking", run_id))
    connection.add_starts([NewRun(id=follow_up, workflow="three", input=Json(b'{"value":{"args":[%d]}}' % n))])
    return n


@app.workflow
async def three(n: int) -> int:
    x = await add(n, 1)
    x = await add(x, 10)
    return await add(x, 100)


@app.workflow
async def saga(n: int, width: int, fails: bool) -> int:
    for item in range(width):
        await reserve(n, item)
    if fails:
        await reserve(n, width, fails=True)
    return width


@app.workflow
async def retries(n: int, failures: int) -> int:
    return await flaky(n, failures)


@app.workflow
async def fan(n: int, width: int, bad: int) -> list[str]:
    async def one(item: int) -> str:
        first = await reserve(n, item, fails=item == bad)
        return await note(first)

    return await hf.map(one, range(width), concurrency=3)


@app.workflow
async def tolerant(n: int, width: int, bad: int) -> list[str]:
    async def one(item: int) -> str:
        return await reserve(n, item, fails=item == bad)

    results = await hf.map(one, range(width), concurrency=2, tolerate=1, key=str)
    return ["-" if isinstance(result, Exception) else result for result in results]


@app.workflow
async def branches(n: int) -> int:
    async def slow(delay: float) -> int:
        await hf.sleep(delay)
        return await add(n, 1)

    async def deep() -> int:
        a, b = await hf.gather(add(n, 2), slow(0.4))
        return a + b

    x, y, z = await hf.gather(slow(1.5), deep(), flaky(n, 1))
    return x + y + z


@app.workflow
async def nap(n: int, seconds: float) -> int:
    x = await add(n, 1)
    await hf.sleep(seconds)
    return await add(x, 10)


@app.workflow
async def rest(n: int, seconds: float) -> int:
    x = await add(n, 1)
    await hf.sleep(seconds)
    return x


@app.workflow
async def busy(n: int, seconds: float) -> int:
    x = await add(n, 1)
    return await work(x, seconds)


@app.workflow
async def mail(n: int, count: int) -> list[str]:
    received: list[str] = []
    for number in range(count):
        received.append(await hf.wait_for_signal("mail", str))
        if number % 2:
            await add(n, number)
    return received


@app.workflow
async def listener(n: int, name: str) -> list[str]:
    """Hears two signals of a name, but no noise."""
    await add(n, 1)
    heard = [await hf.wait_for_signal(name, str, where="payload != 'noise'")]
    await add(n, 2)
    return [*heard, await hf.wait_for_signal(name, str, where="payload != 'noise'")]


@app.workflow
async def news(n: int, width: int) -> list[list[str]]:
    """Tells all who listen, and those who will."""
    name = f"news-{hf.current().run_id}"
    children = [await hf.start_child(listener, n, name) for _ in range(width)]
    for text in ("a", "noise", "b"):
        await hf.signal(name, text, keep=3600)
        await add(n, 1)
    return [await child.result() for child in children]


@app.workflow
async def letters(n: int) -> list[str]:
    """Tells one run."""
    child = await hf.start_child(listener, n, "letter")
    for text in ("a", "noise", "b"):
        await hf.signal("letter", text, run_id=child.run_id)
        await add(n, 1)
    return await child.result()


@app.workflow
async def says(n: int, count: int) -> int:
    """Emits numbers, one between each two steps."""
    for number in range(count):
        await hf.emit("numbers", number)
        await add(n, number)
    return n


@app.workflow
async def stays(n: int) -> str:
    """Waits for what nobody sends."""
    await add(n, 1)
    return await hf.wait_for_signal("never", str)


@app.workflow
async def hears(n: int) -> list[int]:
    """Takes bids until one is nothing."""
    bids: list[int] = []
    async for update in hf.updates("bid", int):
        bids.append(await add(update.value, 0))
        await update.answer(len(bids))
        if update.value == 0:
            break
    return bids


@app.workflow
async def asks(n: int) -> str:
    """Asks a person."""
    await add(n, 1)
    decision = await hf.wait_for_approval(by=("ann",), timeout=600)
    return f"{decision.by} {decision.approved}"


@app.workflow
async def mail_in_time(n: int, seconds: float) -> str:
    await add(n, 1)
    try:
        text = await hf.wait_for_signal("mail", str, timeout=seconds)
    except hf.errors.SignalTimeout:
        text = "none"
    await add(n, 2)
    return text


@app.workflow
async def family(n: int, width: int) -> list[int]:
    first = await hf.start_child(three, n)
    sums = await hf.gather(*[hf.run_child(nap, n + number, 0.2 * number) for number in range(width)])
    try:
        await hf.run_child(retries, n, 9)
    except hf.errors.RunFailed:
        sums.append(-1)
    return [await first.result(), *sums]


@app.workflow(timeout=timedelta(seconds=6))
async def hurry(n: int) -> str:
    reserved = await reserve(n, 0)
    await hf.sleep(60)
    return reserved


@app.workflow
async def values(n: int) -> bool:
    text = f"{n} {hf.now()} {hf.random()} {hf.uuid4()}"
    first = await note(text)
    await hf.sleep(0.5)
    return await note(text) == first == text


@app.workflow
def plain(n: int) -> int:
    x = double(n)
    hf.blocking.sleep(0.4)
    x = add.sync(x, 1)
    return sum(hf.blocking.map(double, [x, n]))


@app.workflow
async def booking(n: int, kind: str) -> int:
    x = await add(n, 1)
    info = hf.current()
    step = book_sqlite if kind == "sqlite" else book_memory
    await step.aio(n, info.run_id)
    return await add(x, 1)


@app.workflow
async def bookings(n: int, kind: str) -> int:
    info = hf.current()
    step = book_sqlite if kind == "sqlite" else book_memory

    async def chain(start: int) -> int:
        x = start
        for number in range(4):
            x = await add(x, number)
        return x

    async def book() -> int:
        await add(n, 1)
        return await step.aio(n, info.run_id)

    booked, x, y = await hf.gather(book(), chain(n), chain(0))
    return booked + x + y


@app.workflow
async def poison(n: int) -> None:
    await add(n, 1)
    await die()
