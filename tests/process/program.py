"""The program that the workers of these tests execute: its steps leave a line in a file for every effect.

It works in a folder of its test's: ``effects`` takes the lines; a step waits at a gate until the file of that name is
made; a step that misbehaves does so until a file says that it has done it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import sqlalchemy
from sqlalchemy.orm import Session

import holdfast as hf

EFFECTS = "effects"
GATE_POLL_S = 0.01

app = hf.App("process")
newcomer = hf.App("newcomer")
"""Knows a workflow that ``app`` does not."""


def leave(what: str) -> None:
    """An effect: one line, appended at once."""
    info = hf.current()
    assert isinstance(info, hf.StepInfo)
    effect = {
        "what": what,
        "run": info.run_id,
        "attempt": info.attempt,
        "idempotency_key": info.idempotency_key,
        "pid": os.getpid(),
    }
    descriptor = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{json.dumps(effect)}\n".encode())
    finally:
        os.close(descriptor)


def first_time(what: str) -> bool:
    """Whether no process has asked so before."""
    try:
        os.close(os.open(what, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


async def pass_gate(name: str) -> None:
    while not Path(name).exists():
        await asyncio.sleep(GATE_POLL_S)


def pass_gate_in_thread(name: str) -> None:
    while not Path(name).exists():
        time.sleep(GATE_POLL_S)


# A fan-out over a list, whose items are runs of their own


@app.step
async def square_item(item: int) -> int:
    leave("item")
    await asyncio.sleep(0.01)
    return item * item


@app.step
async def add_up(squares: list[int]) -> int:
    return sum(squares)


fan_out = (
    app.graph("fan_out")
    .map("squares", square_item, over="input", queue="items", concurrency=500)
    .step("total", add_up, input={"squares": "results.squares"})
)


# Three steps, the second of which waits at a gate


@app.step
async def first() -> int:
    leave("first")
    return 1


@app.step
async def held(gate: str) -> int:
    leave("held")
    await pass_gate(gate)
    return 2


@app.step
def held_in_thread(gate: str) -> int:
    leave("held")
    pass_gate_in_thread(gate)
    return 2


@app.step
async def last() -> int:
    leave("last")
    return 3


@app.workflow
async def three(gate: str) -> int:
    return await first() + await held(gate) + await last()


@app.workflow
async def three_in_thread(gate: str) -> int:
    return await first() + await held_in_thread.aio(gate) + await last()


@app.workflow
async def short() -> int:
    return await last()


@newcomer.workflow
async def unheard_of() -> str:
    return "done by the newcomer"


# Orders: three steps, of which two are undone when the third fails


@app.step
async def reserve(number: int) -> str:
    leave("reserve")
    await asyncio.sleep(0.02)
    return f"reservation {number}"


@reserve.compensate
async def release(number: int, reservation: str) -> None:
    leave("reserve~compensate")
    await asyncio.sleep(0.02)


@app.step
def charge(number: int) -> str:
    leave("charge")
    time.sleep(0.02)
    return f"receipt {number}"


@charge.compensate
def refund(number: int, receipt: str) -> None:
    leave("charge~compensate")
    time.sleep(0.02)


@app.step
async def ship(number: int) -> str:
    leave("ship")
    await asyncio.sleep(0.02)
    if number % 3 == 0:
        raise hf.NonRetryable(f"order {number} cannot be shipped")
    return f"parcel {number}"


@app.workflow
async def fulfil(number: int) -> str:
    await reserve(number)
    if number % 2 == 0:
        await hf.sleep(timedelta(milliseconds=400))  # longer than a run lingers in memory: it is parked
    await charge.aio(number)
    return await ship(number)


# Bad steps


@app.step
async def abort_process() -> None:
    leave("abort")
    os.abort()


@app.step
async def exit_process() -> None:
    leave("exit")
    os._exit(0)


@app.workflow
async def poison(how: str) -> None:
    await (abort_process() if how == "abort" else exit_process())


@app.step
async def slow() -> None:
    leave("slow")
    await asyncio.sleep(0.2)


@app.workflow
async def healthy(number: int) -> int:
    await slow()
    return number


def fork_and_return() -> int:
    """Returns twice; in the parent with the child's exit status."""
    child = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0


@app.step
async def fork_on_loop() -> int:
    leave("fork")
    return fork_and_return()


@app.step
def fork_in_thread() -> int:
    leave("fork")
    return fork_and_return()


@app.step
def fork_and_raise() -> int:
    leave("fork")
    status = fork_and_return()
    if not status:
        raise ValueError("raised in the child")
    return status


@app.transaction
def fork_in_psycopg(connection: psycopg.Connection) -> int:
    leave("fork")
    return fork_and_return()


@app.transaction
def fork_in_sqlite(connection: sqlite3.Connection) -> int:
    leave("fork")
    return fork_and_return()


@app.workflow
async def forking(where: str) -> int:
    match where:
        case "psycopg":
            status = await fork_in_psycopg.aio()
        case "sqlite":
            status = await fork_in_sqlite.aio()
        case "loop":
            status = await fork_on_loop()
        case "thread":
            status = await fork_in_thread.aio()
        case _:
            status = await fork_and_raise.aio()
    await last()
    return status


def square(queue: multiprocessing.Queue[int], number: int) -> None:
    queue.put(number * number)


@app.step
def use_processes() -> list[str]:
    leave("processes")
    done = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    fork = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[int] = fork.Queue()
    child = fork.Process(target=square, args=(queue, 5))
    child.start()
    answer = queue.get(timeout=10)
    child.join(10)
    return [done.stdout.strip(), str(answer), str(child.exitcode)]


@app.workflow
async def with_processes() -> list[str]:
    return await use_processes.aio()


@app.step
def hold_interpreter(seconds: float) -> None:
    leave("hold")
    if first_time("interpreter-held"):
        # A library that is loaded so keeps the interpreter lock during its calls.
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@app.step
async def block_loop(seconds: float) -> None:
    leave("hold")
    if first_time("loop-blocked"):
        time.sleep(seconds)


@app.workflow
async def holding(how: str, seconds: float) -> int:
    await (hold_interpreter.aio(seconds) if how == "interpreter" else block_loop(seconds))
    return await last()


# Money: the SQL of the program itself, in transactional steps

TAKE = "update accounts set balance = balance - 1 where name = 'ann'"
GIVE = "update accounts set balance = balance + 1 where name = 'bob'"


@app.transaction
def move_psycopg(connection: psycopg.Connection, gate: str) -> str:
    connection.execute(TAKE)
    leave("between")
    pass_gate_in_thread(gate)
    connection.execute(GIVE)
    return "psycopg"


@app.transaction
async def move_psycopg_async(connection: psycopg.AsyncConnection, gate: str) -> str:
    await connection.execute(TAKE)
    leave("between")
    await pass_gate(gate)
    await connection.execute(GIVE)
    return "psycopg_async"


@app.transaction
def move_session(session: Session, gate: str) -> str:
    session.execute(sqlalchemy.text(TAKE))
    leave("between")
    pass_gate_in_thread(gate)
    session.execute(sqlalchemy.text(GIVE))
    return "session"


@app.transaction
def move_sqlite(connection: sqlite3.Connection, gate: str) -> str:
    connection.execute(TAKE)
    leave("between")
    pass_gate_in_thread(gate)
    connection.execute(GIVE)
    return "sqlite"


@app.transaction
async def move_sqlite_async(connection: sqlite3.Connection, gate: str) -> str:
    connection.execute(TAKE)
    leave("between")
    await pass_gate(gate)
    connection.execute(GIVE)
    return "sqlite_async"


@app.workflow
async def transfer(how: str, gate: str) -> str:
    match how:
        case "psycopg":
            return await move_psycopg.aio(gate)
        case "psycopg_async":
            return await move_psycopg_async(gate)
        case "session":
            return await move_session.aio(gate)
        case "sqlite":
            return await move_sqlite.aio(gate)
        case _:
            return await move_sqlite_async(gate)


# A service that is down until a file says that it is up

SERVICE = hf.Breaker("service", failures=5, open_for=0.4, factor=1, rate=200)


@app.step(breaker=SERVICE, retry=hf.Retry(max_attempts=6, initial=timedelta(milliseconds=10)))
async def ask_service(number: int) -> int:
    if Path("service-is-up").exists():
        leave("answered")
        return number
    leave("tried")
    await asyncio.sleep(0.02)
    raise ConnectionError("nobody answers")


@app.workflow
async def call_service(number: int) -> int:
    return await ask_service(number)


# A loop without an end: each item is counted in the program's own table, and after a few the run begins anew

TALLIED_AT_ONCE = 3


@app.transaction
def tally_item(session: Session, item: int) -> None:
    session.execute(sqlalchemy.text("insert into tallied (item) values (:item)"), {"item": item})
    leave("tallied")


@app.workflow
async def tally(done: int, goal: int) -> int:
    for _ in range(TALLIED_AT_ONCE):
        await tally_item.aio(await hf.wait_for_signal("item", int))
        done += 1
    if done < goal:
        hf.continue_as_new(done, goal)
    return done
