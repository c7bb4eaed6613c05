"""``python -m benchmarks.parked``: what operators feel when very many runs are parked on PostgreSQL.

The runs are loaded by SQL, as their own worker would have left them; those that are woken were parked by a real one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import psycopg
from rich.console import Console
from rich.table import Table

import holdfast as hf
from benchmarks.run import Databases, Figures, ask, worker
from benchmarks.workflows import app, woken
from holdfast.model.status import RunStatus
from tests.postgres_server import run_server

SAMPLES: Final = 30
BOUNDS: Final = {"wake_ms": 20.0, "explain_ms": 20.0, "page_ms": 50.0}

LOAD: Final = (
    """
    insert into holdfast.runs (
           shard, id, tenant, workflow, queue, status, status_reason, terminal_reason, input, key, root_id, attributes,
           epoch, transition_seq, created_ms, updated_ms, finalized_ms, error_type, error_message, error_fingerprint)
    select 0, d.id, 'default', 'flow-' || d.n %% 20, 'default', d.status, 'waiting',
           case when d.status = 'failed' then 'error' end, '{"value":{"args":[]}}', 'key-' || d.n, d.id,
           jsonb_build_object('customer', d.n %% 1000), 1, 3, d.n, d.n,
           case when d.status = 'failed' then d.n end, case when d.status = 'failed' then 'ValueError' end,
           case when d.status = 'failed' then 'no route to ' || d.n %% 7 end,
           case when d.status = 'failed' then 'f' || d.n %% 7 end
      from (select n, case when n %% 100 = 0 then 'failed' else 'waiting' end as status,
                   ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id
              from generate_series(1, %(runs)s) n) d
    """,
    """
    insert into holdfast.waits (shard, run_id, tenant, key, seq, kind, signal, epoch, opened_ms, outcome, closed_ms)
    select r.shard, r.id, r.tenant, 'w', 1, 'signal', 'signal-' || r.created_ms % 1000, 1, r.created_ms,
           case when r.status = 'failed' then 'cancelled' end, r.finalized_ms
      from holdfast.runs r
     where r.workflow <> 'woken'
    """,
    """
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, number, created_ms)
    select r.shard, r.id, 'customer', r.tenant, 'number', r.created_ms % 1000, r.created_ms
      from holdfast.runs r
     where r.workflow <> 'woken'
    """,
    """
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
    select r.shard, r.id, s.seq, s.from_status, s.to_status, s.reason, s.seq - 1, r.created_ms
      from holdfast.runs r
     cross join (values (1, null, 'queued', 'started'), (2, 'queued', 'running', 'claimed'),
                        (3, 'running', 'waiting', 'waiting')) s (seq, from_status, to_status, reason)
     where r.workflow <> 'woken'
    """,
    "vacuum (analyze) holdfast.runs",
    "vacuum (analyze) holdfast.waits",
    "vacuum (analyze) holdfast.attributes",
    "vacuum (analyze) holdfast.transitions",
)

PAGES: Final = {
    "newest": "",
    "oldest": "order:oldest",
    "last ended": "order:ended",
    "status:waiting": "status:waiting",
    "status:failed": "status:failed",
    "workflow": "workflow:flow-7",
    "workflow and status": "workflow:flow-7 status:waiting",
    "attribute": "attr.customer=42",
    "attribute range": "attr.customer>990",
    "waiting on a signal": "waiting:signal:signal-42",
    "waiting on any signal": "waiting:signal",
    "error type": "error:ValueError",
    "fingerprint": "fingerprint:f3",
    "key": "key:key-77",
    "text, rare": "nothing-has-this",
    "queue that nobody uses": "queue:slow",
}


async def timed(call: Callable[[], Awaitable[Any]], *, samples: int = SAMPLES) -> float:
    """The median milliseconds of a call."""
    took: list[float] = []
    for _ in range(samples):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took[samples // 5 :]), 2)


async def wake(client: hf.Client) -> float:
    """Median milliseconds from a signal's send to the beginning of the next step."""
    handles = [await client.start(woken) for _ in range(SAMPLES)]
    while (await client.count(workflow="woken")).get(RunStatus.WAITING, 0) < SAMPLES:
        await asyncio.sleep(0.2)
    took: list[float] = []
    for handle in handles:
        await asyncio.sleep(0.05)
        began = time.time()
        await handle.signal("go")
        took.append((await handle.result(30) - began) * 1000)
    return round(statistics.median(took), 2)


async def measure(url: str, runs: int) -> Figures:
    """Load, and measure."""
    figures: Figures = {"runs": runs}
    async with hf.connect(url, app=app) as client:
        with worker(url) as process:
            figures["wake_ms_empty"] = await wake(client)
            before = ask(process)[0]
            began = time.perf_counter()
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in LOAD:
                    connection.execute(statement, {"runs": runs} if "generate_series" in statement else None)
            figures["load_s"] = round(time.perf_counter() - began, 1)
            figures["wake_ms"] = await wake(client)
            one = (await client.list("status:waiting", limit=1)).runs[0].id
            figures["explain_ms"] = await timed(lambda: client.explain(one))
            figures["pages_ms"] = {
                name: await timed(lambda query=query: client.list(query or None, limit=50))  # type: ignore[misc]
                for name, query in PAGES.items()
            }
            figures["count_ms"] = await timed(client.count, samples=5)
            figures["worker_mib"] = [before // 1024, ask(process)[0] // 1024]
    return figures


def show(figures: Figures) -> Table:
    """The table for people."""
    table = Table("", "ms", title=f"{figures['runs']:,} parked runs on PostgreSQL", title_justify="left")
    table.add_row("signal to the next step's start (at most 20)", str(figures["wake_ms"]))
    table.add_row("  the same in an empty database", str(figures["wake_ms_empty"]))
    table.add_row("explain (at most 20)", str(figures["explain_ms"]))
    for name, took in figures["pages_ms"].items():
        table.add_row(f"a page of 50: {name} (at most 50)", str(took))
    table.add_row("counts by status", str(figures["count_ms"]))
    table.add_row("a worker's memory, MiB, before and after", " -> ".join(map(str, figures["worker_mib"])))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name, run_server(durable=True) as server:
        url = Databases("PostgreSQL", Path(name), server).fresh()
        figures = asyncio.run(measure(url, arguments.runs))
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        Console().print(show(figures))


if __name__ == "__main__":
    main()
