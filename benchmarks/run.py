"""``make bench``: the engine beside the floor, in one run, on SQLite and PostgreSQL; a table, and JSON with --json.

Rates are compared as ratios of medians over rounds in which floor and engine take turns, because a machine's speed
drifts. The floor (``limit.py``) is the least database work that keeps the promises.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import holdfast as hf
from benchmarks import operate
from benchmarks.graphs import GROWTH_MAX
from benchmarks.stage import Databases, Figures, ask, run_json, worker
from benchmarks.workflows import app, held, parked, three
from holdfast.model.status import RunStatus
from holdfast.runtime.host import run_on_loop
from tests.postgres_server import run_server


def throughput(databases: Databases, *, rounds: int, runs: int) -> Figures:
    """Floor, engine, and graphs on the engine in turn; medians and their ratios."""
    floors: list[Figures] = []
    engines: list[Figures] = []
    graphs: list[Figures] = []
    for _ in range(rounds):
        floors.append(run_json("benchmarks.limit", databases.fresh(), "--runs", str(runs)))
        engines.append(run_json("benchmarks.drain", databases.fresh(), "--runs", str(runs)))
        graphs.append(run_json("benchmarks.drain", databases.fresh(), "--runs", str(runs), "--graph"))
    figures: Figures = {}
    for name in ("runs_per_s", "sequential_step_ms", "starts_per_s"):
        floor = statistics.median(one[name] for one in floors)
        engine = statistics.median(one[name] for one in engines)
        figures[name] = {"floor": floor, "engine": engine, "ratio": round(engine / floor, 3)}
    drained = statistics.median(one["runs_per_s"] for one in graphs)
    share = round(drained / figures["runs_per_s"]["engine"], 3)
    figures["graphs_per_s"] = {"engine": drained, "of_functions": share}
    return figures


async def latency(url: str, *, samples: int) -> Figures:
    """From start to result of a three-step run on an idle system; client and worker are two processes."""
    took: list[float] = []
    async with hf.connect(url, app=app) as client:
        for number in range(samples + 10):
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            run = await client.start(three, number)
            await run.result(30)
            took.append((time.perf_counter() - began) * 1000)
    measured = sorted(took[10:])
    return {"median_ms": round(statistics.median(measured), 2), "p95_ms": round(measured[int(samples * 0.95)], 2)}


async def takeover(url: str, marker: Path) -> float:
    """Seconds from the SIGKILL of a worker to the next attempt of the step that it was executing."""
    async with hf.connect(url, app=app) as client:
        with worker(url) as first:
            await client.start(held, str(marker))
            while not marker.exists():
                await asyncio.sleep(0.05)
            with worker(url) as second:
                killed = time.time()
                os.kill(first.pid, signal.SIGKILL)
                while len(lines := marker.read_text("ascii").splitlines()) < 2:
                    await asyncio.sleep(0.05)
                second.kill()
                second.wait()
    return round(float(lines[1].split()[1]) - killed, 2)


def idle(url: str, *, seconds: float) -> float:
    """Calls to the store per second of a worker with nothing to do; its idle calls are one statement each."""
    with worker(url) as process:
        time.sleep(3)
        before = ask(process)[1]
        time.sleep(seconds)
        return round((ask(process)[1] - before) / seconds, 2)


async def parked_memory(url: str, *, runs: int) -> Figures:
    """A worker's memory before and after so many runs were parked by it."""
    async with hf.connect(url, app=app) as client:
        with worker(url) as process:
            await start_parked(client, 2000)
            before = ask(process)[0]
            await start_parked(client, runs)
            await asyncio.sleep(1)
            after, _, holding = ask(process)
    return {"runs": runs, "before_mib": before // 1024, "after_mib": after // 1024, "held": holding}


async def start_parked(client: hf.Client, runs: int) -> None:
    """Start runs that park, and wait until they all have."""
    already = (await client.count(workflow="parked")).get(RunStatus.WAITING, 0)
    for at in range(0, runs, 1000):
        await client.start_many(hf.Start(workflow=parked) for _ in range(min(1000, runs - at)))
    while (await client.count(workflow="parked")).get(RunStatus.WAITING, 0) < already + runs:
        await asyncio.sleep(0.5)


def measure(databases: Databases, arguments: argparse.Namespace, folder: Path) -> Figures:
    """All figures of one kind of database."""
    console = Console(stderr=True)
    console.print(f"[bold]{databases.kind}[/]: throughput ...")
    figures = throughput(databases, rounds=arguments.rounds, runs=arguments.runs)
    console.print(f"[bold]{databases.kind}[/]: latency ...")
    url = databases.fresh()
    with worker(url):
        figures["start_to_result"] = run_on_loop(latency(url, samples=arguments.samples))
    if not arguments.short:
        console.print(f"[bold]{databases.kind}[/]: take-over ...")
        figures["takeover_s"] = asyncio.run(takeover(databases.fresh(), folder / f"{databases.kind}.marker"))
        console.print(f"[bold]{databases.kind}[/]: idle worker ...")
        figures["idle_statements_per_s"] = idle(databases.fresh(), seconds=20)
        console.print(f"[bold]{databases.kind}[/]: large graphs ...")
        figures["large_graphs"] = run_json("benchmarks.graphs", databases.fresh())
        console.print(f"[bold]{databases.kind}[/]: {arguments.parked} parked runs ...")
        figures["parked"] = asyncio.run(parked_memory(databases.fresh(), runs=arguments.parked))
    if databases.kind == "PostgreSQL":
        console.print(f"[bold]{databases.kind}[/]: {arguments.loaded} loaded runs ...")
        figures["operating"] = asyncio.run(operate.measure(databases.fresh(), arguments.loaded))
    return figures


def show(results: dict[str, Figures]) -> Table:
    """The table for people."""
    table = Table(title="holdfast beside the floor", title_justify="left")
    for column in ("", *results):
        table.add_column(column, justify="left" if not column else "right")

    def row(title: str, cell: Callable[[Figures], object]) -> None:
        table.add_row(title, *(str(cell(figures)) for figures in results.values()))

    row("runs of three steps per second", lambda f: f"{f['runs_per_s']['engine']:,.0f}")
    row("  floor", lambda f: f"{f['runs_per_s']['floor']:,.0f}")
    row("  ratio (at least 0.40)", lambda f: f"{f['runs_per_s']['ratio']:.2f}")
    row("the same as graphs, per second", lambda f: f"{f['graphs_per_s']['engine']:,.0f}")
    row("  of functions (at least 0.80)", lambda f: f"{f['graphs_per_s']['of_functions']:.2f}")
    row("one sequential step, ms", lambda f: f["sequential_step_ms"]["engine"])
    row("  floor", lambda f: f["sequential_step_ms"]["floor"])
    row("  ratio (at most 1.50)", lambda f: f"{f['sequential_step_ms']['ratio']:.2f}")
    row("start to result, median ms (PostgreSQL: at most 8)", lambda f: f["start_to_result"]["median_ms"])
    if all("takeover_s" in figures for figures in results.values()):
        row("take-over after SIGKILL, s (at most 12)", lambda f: f["takeover_s"])
        row("idle worker, statements/s (at most 2)", lambda f: f["idle_statements_per_s"])
        row("memory with parked runs, MiB before and after", lambda f: parked_cell(f["parked"]))
        for shape in results[next(iter(results))]["large_graphs"]:
            title = f"µs for a node of a graph: {shape}, 100 nodes and {{nodes:,}}"
            row_of_graph(table, results, title, shape)
    return table


def row_of_graph(table: Table, results: dict[str, Figures], title: str, shape: str) -> None:
    """What a node costs in a small and in a large graph of one shape."""
    found = [figures["large_graphs"][shape] for figures in results.values()]
    cells = [f"{one['small_us']} -> {one['large_us']}, x {one['growth']:.2f}" for one in found]
    table.add_row(title.format(nodes=found[0]["nodes"]) + f" (at most x {GROWTH_MAX:g})", *cells)


def parked_cell(figures: Figures) -> str:
    """One cell of the table."""
    return f"{figures['before_mib']} -> {figures['after_mib']} ({figures['runs']:,})"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--parked", type=int, default=100_000)
    loaded = "runs that are loaded into PostgreSQL; the limits are for 1000000"
    parser.add_argument("--loaded", type=int, default=100_000, help=loaded)
    parser.add_argument("--short", action="store_true", help="throughput and latency only")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        if arguments.only != "postgresql":
            results["SQLite"] = measure(Databases("SQLite", folder, None), arguments, folder)
        if arguments.only != "sqlite":
            with run_server(durable=True) as server:
                results["PostgreSQL"] = measure(Databases("PostgreSQL", folder, server), arguments, folder)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        Console().print(show(results))
        for figures in results.values():
            if "operating" in figures:
                Console().print(operate.show(figures["operating"]))


if __name__ == "__main__":
    main()
