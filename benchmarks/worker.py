"""A worker process for the benchmarks: says "ready" when it works, and its memory when it is asked with a line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import holdfast as hf
from benchmarks.workflows import app
from holdfast.app import open_store
from holdfast.runtime.host import ProcessHost, calm_garbage_collector, run_on_loop
from holdfast.runtime.worker import Worker


class CountedStore:
    """Passes every call of the port on, and counts them: each is at least one statement."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        found = getattr(self._store, name)
        if not callable(found) or name in ("hints", "url"):
            return found

        def counted(*args: object, **kwargs: object) -> object:
            self.calls += 1
            return found(*args, **kwargs)

        return counted


def resident_kib() -> int:
    """The memory of this process that is in use, in KiB."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


async def work(url: str, lease_s: float | None) -> None:
    """Work until standard input ends; answer each line with memory, calls to the store, and runs held."""
    store = CountedStore(await asyncio.to_thread(open_store, url))
    host = ProcessHost()
    settings = hf.WorkerSettings() if lease_s is None else hf.WorkerSettings(lease=timedelta(seconds=lease_s))
    async with Worker(app, store, host, settings=settings) as worker:  # type: ignore[arg-type]  # passes all calls on
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(resident_kib(), store.calls, worker.held_runs, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--lease", type=float)
    arguments = parser.parse_args()
    calm_garbage_collector()  # as `holdfast worker` does
    run_on_loop(work(arguments.database, arguments.lease))


if __name__ == "__main__":
    main()
