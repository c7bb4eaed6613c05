"""``python -m benchmarks.operate``: what operators feel when very many runs are parked on PostgreSQL.

A part of ``make bench``, there with 100,000 runs. The limits are for the 1,000,000 of this program, or of
``make bench ARGS="--loaded 1000000"``, which take about 2 GiB of disk and three minutes. The runs are loaded by SQL, as
their own worker would have left them; those that are woken were parked by a real one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
from rich.console import Console
from rich.table import Table

import holdfast as hf
from benchmarks.stage import Databases, Figures, ask, worker
from benchmarks.workflows import app, hears, woken
from holdfast.model.ids import WorkerId
from holdfast.model.run import WorkerInfo
from holdfast.model.status import RunStatus
from holdfast.store.postgres import PostgresStore
from tests.postgres_server import run_server

SAMPLES: Final = 30
LISTENERS: Final = 5_000
WAKE_MS_MAX: Final = 20.0
EXPLAIN_MS_MAX: Final = 20.0
CLAIM_MS_MAX: Final = 200.0
MET: Final = 100_000
"""Runs at most that stand in a queue behind its limit."""
PAGE_MS_MAX: Final = 50.0
BROADCAST_PER_S_MIN: Final = 2_000.0
GROWTH_MIB_MAX: Final = 20.0
"""How much a worker's memory may move while runs are loaded that it never sees."""

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
    select r.shard, r.id, r.tenant, 'w', 1, 'signal', 'signal-' || r.created_ms %% 1000, 1, r.created_ms,
           case when r.status = 'failed' then 'cancelled' end, r.finalized_ms
      from holdfast.runs r
     where r.workflow like 'flow-%%'
    """,
    """
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, number, created_ms)
    select r.shard, r.id, 'customer', r.tenant, 'number', r.created_ms %% 1000, r.created_ms
      from holdfast.runs r
     where r.workflow like 'flow-%%'
    """,
    """
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
    select r.shard, r.id, s.seq, s.from_status, s.to_status, s.reason, s.seq - 1, r.created_ms
      from holdfast.runs r
     cross join (values (1, null, 'queued', 'started'), (2, 'queued', 'running', 'claimed'),
                        (3, 'running', 'waiting', 'waiting')) s (seq, from_status, to_status, reason)
     where r.workflow like 'flow-%%'
    """,
    "vacuum (analyze) holdfast.runs",
    "vacuum (analyze) holdfast.waits",
    "vacuum (analyze) holdfast.attributes",
    "vacuum (analyze) holdfast.transitions",
)

LOAD_LIMITED: Final = """
insert into holdfast.runs (
       shard, id, tenant, workflow, queue, status, status_reason, input, key, root_id, transition_seq, created_ms,
       updated_ms, ready_ms)
select 0, d.id, 'default', 'limited', case when d.n > %(runs)s then 'quick' else 'slow' end, 'queued', 'started',
       '{"value":{"args":[]}}', 'limited-' || d.n, d.id, 1, d.n, d.n, d.n
  from (select n, ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid as id
          from generate_series(1, %(runs)s + 20) n) d
"""

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


async def broadcast(client: hf.Client) -> float:
    """Runs per second that one signal to all wakes, from its send until none of them waits any more."""
    for at in range(0, LISTENERS, 1000):
        await client.start_many(hf.Start(workflow=hears) for _ in range(min(1000, LISTENERS - at)))
    while (await client.count(workflow="hears")).get(RunStatus.WAITING, 0) < LISTENERS:
        await asyncio.sleep(0.2)
    began = time.perf_counter()
    await client.signal("news", "all")
    while (await client.count(workflow="hears")).get(RunStatus.WAITING, 0):
        await asyncio.sleep(0.02)
    return round(LISTENERS / (time.perf_counter() - began))


async def meet(client: hf.Client, url: str, runs: int) -> tuple[list[Figures], float]:
    """What it costs to meet very many runs behind a limit, for the first time; and in how many seconds all were met."""
    await client.queues.limit("slow", running=10)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(LOAD_LIMITED, {"runs": runs})
        connection.execute("vacuum (analyze) holdfast.runs")
    line: dict[str, Any] = {"queues": ["slow", "quick"], "codes": ["limited"]}
    me, quick = WorkerId("claimant"), 0
    took: list[float] = []
    with closing(PostgresStore(url, connections_max=2)) as store:
        store.register_worker(WorkerInfo(id=me, **line), lease_ms=3_600_000)
        more = True
        while more:
            began = time.perf_counter()
            claim = store.claim_runs(me, **line, limit=100, suspects=1)
            took.append((time.perf_counter() - began) * 1000)
            more = claim.more
            quick = quick or (len(took) if any(run.queue == "quick" for run in claim.runs) else 0)
        last = f"00000000-0000-7000-9000-{runs:012x}"
        explained_ms = await timed(lambda: client.explain(last))
        store.retire_worker(me, limit=1_000)
    return [
        at_most(f"longest claim that meets {runs} runs behind a limit, ms", round(max(took), 2), CLAIM_MS_MAX),
        at_most("which of these claims finds runs of another queue", quick, 1),
        at_most("explain of the last of them, ms", explained_ms, EXPLAIN_MS_MAX),
    ], round(sum(took) / 1000, 1)


def load(url: str, runs: int) -> Figures:
    """Fill the tables; how long it took, and how large they are, with their indexes."""
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in LOAD:
            connection.execute(statement, {"runs": runs})
        took_s = round(time.perf_counter() - began, 1)
        rows = connection.execute(SIZES).fetchall()
    return {"load_s": took_s, "sizes_mib": {name: [whole, indexes] for name, whole, indexes in rows}}


SIZES: Final = """
select relname::text, pg_total_relation_size(relid) / 1048576, pg_indexes_size(relid) / 1048576
  from pg_stat_user_tables
 where schemaname = 'holdfast' and pg_total_relation_size(relid) > 1048576
 order by 2 desc
"""


async def measure(url: str, runs: int) -> Figures:
    """Load, and measure. Each measured value stands beside its limit."""
    async with hf.connect(url, app=app) as client:
        with worker(url) as process:
            wake_empty_ms = await wake(client)
            broadcast_empty = await broadcast(client)
            before_mib = ask(process)[0] / 1024
            figures: Figures = {"runs": runs, **load(url, runs)}
            measured = [at_most("signal to the next step's start, ms", await wake(client), WAKE_MS_MAX)]
            grown_mib = round(ask(process)[0] / 1024 - before_mib, 1)
            one = (await client.list("status:waiting workflow:flow-3", limit=1)).runs[0].id
            measured.append(at_most("explain, ms", await timed(lambda: client.explain(one)), EXPLAIN_MS_MAX))
            for name, query in PAGES.items():
                took_ms = await timed(lambda query=query: client.list(query or None, limit=50))  # type: ignore[misc]
                measured.append(at_most(f"a page of 50: {name}, ms", took_ms, PAGE_MS_MAX))
            measured.append(at_most("what a worker grew by while they were loaded, MiB", grown_mib, GROWTH_MIB_MAX))
            count_ms = await timed(client.count, samples=5)
            rate = await broadcast(client)
            limit = {"at_least": BROADCAST_PER_S_MIN, "met": rate >= BROADCAST_PER_S_MIN}
            measured.append({"name": "runs woken by a broadcast, per second", "value": rate, **limit})
        met, met_s = await meet(client, url, min(runs, MET))
        measured += met
    figures["measured"] = measured
    figures["beside"] = {
        "signal to the next step's start, before the load, ms": wake_empty_ms,
        "runs woken by a broadcast, before the load, per second": broadcast_empty,
        "counts by status of all runs, ms": count_ms,
        "all claims that meet the runs behind a limit, s": met_s,
    }
    return figures


def at_most(name: str, value: float, limit: float) -> Figures:
    """A measured value that has a limit."""
    return {"name": name, "value": value, "at_most": limit, "met": value <= limit}


def show(figures: Figures) -> Table:
    """The table for people."""
    title = f"{figures['runs']:,} parked runs on PostgreSQL, loaded in {figures['load_s']} s"
    table = Table("", "", "limit", title=title, title_justify="left")
    for one in figures["measured"]:
        limit = f"at most {one['at_most']:g}" if "at_most" in one else f"at least {one['at_least']:g}"
        table.add_row(one["name"], f"{one['value']:g}", limit if one["met"] else f"[bold red]{limit}: missed")
    for name, value in figures["beside"].items():
        table.add_row(name, f"{value:g}", "")
    for name, (whole, indexes) in figures["sizes_mib"].items():
        table.add_row(f"table {name}, MiB, and its indexes", f"{whole} ({indexes})", "")
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
