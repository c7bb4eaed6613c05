"""One worker process drains a full line of three-step runs, then executes long runs of sequential steps, one by one."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable

from benchmarks.workflows import app, sequence, three, three_graph
from holdfast.app import open_store
from holdfast.client.client import Client, Start
from holdfast.runtime.host import ProcessHost, calm_garbage_collector, run_on_loop
from holdfast.runtime.settings import WorkerSettings
from holdfast.runtime.worker import Worker
from holdfast.store.port import Hint

INSERT = 1000
SEQUENTIAL = 1000
SEQUENCES = 3
"""The median of these is told."""


async def measure(url: str, *, runs: int, concurrency: int, graph: bool = False) -> dict[str, float]:
    """Rates per second, and milliseconds for one step of a sequential run."""
    store = await asyncio.to_thread(open_store, url)
    host = ProcessHost()
    drained = three_graph if graph else three
    async with Client(store, host, registry=app) as client:
        began = time.perf_counter()
        for at in range(0, runs, INSERT):
            size = min(INSERT, runs - at)
            await client.start_many(Start(workflow=drained, args=(number,)) for number in range(at, at + size))
        started = time.perf_counter()
        ended = Ended(store.hints.subscribe)
        settings = WorkerSettings(concurrency=concurrency)
        async with Worker(app, store, host, settings=settings):
            await ended.count(runs)
            all_ended = time.perf_counter()
            took = [await run_sequence(client) for _ in range(SEQUENCES)]
        counts = await client.count()
    if counts != {"completed": runs + SEQUENCES}:
        raise SystemExit(f"not every run completed: {counts}")
    host.close()
    store.close()
    return {
        "starts_per_s": round(runs / (started - began)),
        "runs_per_s": round(runs / (all_ended - started)),
        "sequential_step_ms": round(statistics.median(took) / SEQUENTIAL * 1e3, 3),
    }


async def run_sequence(client: Client) -> float:
    """Seconds for one run of sequential steps."""
    run = await client.start(sequence, SEQUENTIAL)
    before = time.perf_counter()
    assert await run.result() == SEQUENTIAL
    return time.perf_counter() - before


class Ended:
    """Counts the runs that ended, by the store's own hints in this process."""

    def __init__(self, subscribe: Callable[[Callable[[Hint], None]], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seen = 0
        self._changed = asyncio.Event()
        subscribe(self._hint)

    def _hint(self, hint: Hint) -> None:
        if hint.ended:
            self._loop.call_soon_threadsafe(self._add, len(hint.ended))

    def _add(self, number: int) -> None:
        self._seen += number
        self._changed.set()

    async def count(self, wanted: int) -> None:
        """Return when so many have ended."""
        while self._seen < wanted:
            self._changed.clear()
            await self._changed.wait()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--graph", action="store_true", help="drain graphs of three steps instead of functions")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=WorkerSettings().concurrency)
    arguments = parser.parse_args()
    calm_garbage_collector()  # as `holdfast worker` does
    figures = run_on_loop(
        measure(arguments.database, runs=arguments.runs, concurrency=arguments.concurrency, graph=arguments.graph)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
