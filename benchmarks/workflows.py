"""The workflows that are measured: steps that do nothing, so that the engine alone is seen."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import holdfast as hf

app = hf.App("benchmarks")


@app.step
async def first(i: int) -> int:
    """Nothing."""
    return i


@app.step
async def second(i: int) -> int:
    """Nothing."""
    return i


@app.step
async def third(i: int) -> int:
    """Nothing."""
    return i


@app.workflow
async def three(i: int) -> int:
    """Three steps."""
    return await third(await second(await first(i)))


three_graph = (
    app.graph("three_graph")
    .step("one", first)
    .step("two", second, input={"i": "results.one"})
    .step("three", third, input={"i": "results.two"})
)
"""The same three steps, as a graph."""


@app.workflow
async def sequence(steps: int) -> int:
    """Many steps, one after the other."""
    done = 0
    for number in range(steps):
        done += await first(number) >= 0
    return done


@app.workflow
async def parked() -> None:
    """Waits for a signal that never comes."""
    await hf.wait_for_signal("never")


@app.step(retry=hf.Retry.never())
async def hold(marker: str) -> None:
    """Says in a file that it began, and when; the first process to do so then holds still."""
    path = Path(marker)
    began = not path.exists()
    with path.open("a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    if began:
        await asyncio.sleep(3600)


@app.workflow
async def held(marker: str) -> None:
    """One step that is under way when its worker dies."""
    await hold(marker)


@app.step
async def stamp() -> float:
    """When it began."""
    return time.time()


@app.workflow
async def woken() -> float:
    """Waits for a signal, and says when it went on."""
    await hf.wait_for_signal("go")
    return await stamp()


@app.workflow
async def hears() -> None:
    """Waits for what everybody is told."""
    await hf.wait_for_signal("news")
