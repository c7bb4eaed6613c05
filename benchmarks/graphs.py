"""``python -m benchmarks.graphs URL``: what a node costs in graphs of a hundred nodes, and in very large ones.

A part of ``make bench``. Cost is the processor time of the one process that is client and worker, for each node of a
run from its start to its result, with everything that the engine does: the reading of the definition too. So figures of
a busy machine may be compared. On SQLite the database is in it, on PostgreSQL it is not: there the elapsed time tells.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import holdfast as hf
from benchmarks.stage import Figures
from holdfast.app import open_store
from holdfast.client.client import Client
from holdfast.runtime.host import ProcessHost, calm_garbage_collector, run_on_loop
from holdfast.runtime.settings import WorkerSettings
from holdfast.runtime.worker import Worker

SMALL: Final = 100
LARGE: Final = 10_000
GROWTH_MAX: Final = 2.0
"""What a node of a large graph may cost, against one of a small graph."""
SIDE: Final = "side"


app = hf.App("graphs")


@app.step
async def work() -> int:
    """Nothing."""
    return 1


@app.step
async def echo(item: int) -> int:
    """Nothing."""
    return item


def chain(graph: hf.Graph, size: int) -> None:
    """One node after the other."""
    for number in range(size):
        graph.step(f"n{number}", work)


def wide(graph: hf.Graph, size: int) -> None:
    """All nodes side by side."""
    for number in range(size):
        graph.step(f"n{number}", work, after=[])


def mapped(graph: hf.Graph, _size: int) -> None:
    """A map of steps."""
    graph.map("each", echo, over="input")


def queued(graph: hf.Graph, _size: int) -> None:
    """A map whose items are runs of their own."""
    graph.map("each", echo, over="input", queue=SIDE)


SHAPES: Final[dict[str, tuple[Callable[[hf.Graph, int], None], int]]] = {
    "chain": (chain, LARGE),
    "wide": (wide, LARGE // 2),
    "map": (mapped, LARGE),
    "map of child runs": (queued, LARGE),
}


async def cost(url: str, make: Callable[[hf.Graph, int], None], size: int, runs: int) -> tuple[float, float]:
    """Microseconds for each node, of the process and of the clock, over so many runs one after the other."""
    store, host = await asyncio.to_thread(open_store, url), ProcessHost()
    settings = WorkerSettings(queues=("default", SIDE))
    async with Client(store, host, registry=app) as client:
        # What a process does once is no node's cost.
        warm, graph = (app.graph(f"{make.__name__}_{size}{end}") for end in ("_warm", ""))
        make(warm, SMALL)
        make(graph, size)
        async with Worker(app, store, host, settings=settings):
            run: hf.RunHandle[Any] = await client.start(warm, list(range(SMALL)))
            await run.result(60)
            given = list(range(size))
            processor_s, clock_s = time.process_time(), time.perf_counter()
            for _ in range(runs):
                run = await client.start(graph, given)
                await run.result(600)
            processor_s, clock_s = time.process_time() - processor_s, time.perf_counter() - clock_s
    host.close()
    store.close()
    return processor_s / runs / size * 1e6, clock_s / runs / size * 1e6


async def measure(url: str, *, rounds: int = 20) -> Figures:
    """By shape: what a node costs in a small and a large graph, and how many times as much that is."""
    figures: Figures = {}
    for name, (make, large) in SHAPES.items():
        small_us, small_clock_us = await cost(url, make, SMALL, rounds)
        large_us, large_clock_us = await cost(url, make, large, 1)
        figures[name] = {
            "nodes": large,
            "small_us": round(small_us),
            "large_us": round(large_us),
            "small_elapsed_us": round(small_clock_us),
            "large_elapsed_us": round(large_clock_us),
            "growth": round(large_us / small_us, 2),
            "met": large_us <= GROWTH_MAX * small_us,
        }
    return figures


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    arguments = parser.parse_args()
    calm_garbage_collector()  # as `holdfast worker` does
    print(json.dumps(run_on_loop(measure(arguments.database))))


if __name__ == "__main__":
    main()
