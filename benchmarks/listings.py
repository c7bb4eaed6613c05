"""``python -m benchmarks.listings``: pages, counts and explanations among 10,000,000 runs on PostgreSQL.

A tenth of them wait, a hundredth stands in a queue behind its limit, the others have ended. They are loaded by SQL,
with what belongs to them for the listings; 10,000,000 take 9 GiB of disk and a quarter of an hour. Of each filter the
first page, the second and one in the middle of all runs are read, of 50 runs each: the milliseconds of a client's call,
and the pages of 8 KiB that the database looked at, which no other work on the machine can change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from rich.console import Console
from rich.table import Table

import holdfast as hf
from benchmarks.stage import Databases, Figures
from holdfast.client.filters import filter_from
from holdfast.model.ids import DEFAULT_TENANT, RunId, UnixMs
from holdfast.store.migrations import migrate
from holdfast.store.paging import PageCursor, decode_cursor, encode_cursor
from holdfast.store.postgres.connection import Address
from holdfast.store.postgres.session import planned_anew
from holdfast.store.postgres.statements import literal
from holdfast.store.rendering import text_of
from holdfast.store.search import Make, read_page
from tests.postgres_server import run_server

SAMPLES: Final = 9
PAGE: Final = 50
PAGE_MS_MAX: Final = 50.0
EXPLAIN_MS_MAX: Final = 20.0

ID_OF: Final = """
create function pg_temp.id_of(n bigint) returns uuid language sql immutable
    return ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
"""

RUNS: Final = """
insert into holdfast.runs (
       shard, id, tenant, workflow, version, definition_hash, queue, status, status_reason, terminal_reason, input, key,
       root_id, retry_of_id, attempt, parent_id, parent_key, attributes, worker, epoch, transition_seq, created_ms,
       updated_ms, ready_ms, barred_by, wake_ms, finalized_ms, error_type, error_message, error_fingerprint)
select 0, pg_temp.id_of(n), 'default', 'flow-' || n %% 20,
       case when n %% 20 = 19 then n %% 3 + 1 end, case when n %% 20 = 19 then repeat(to_hex(n %% 3 + 1), 64) end,
       case when status in ('queued', 'running') then 'mail' else 'default' end, status, 'loaded',
       case status when 'failed' then 'error' when 'completed' then 'completed' when 'cancelled' then 'cancelled' end,
       '{"value":{"args":[]}}', 'key-' || n,
       pg_temp.id_of(case when n %% 1000 = 7 then n - 6 else n end),
       case when n %% 1000 = 7 then pg_temp.id_of(n - 6) end, case when n %% 1000 = 7 then 2 else 1 end,
       case when n %% 20 = 3 then pg_temp.id_of(n - 3) end, case when n %% 20 = 3 then 'child' end,
       jsonb_build_object('customer', n %% 1000), case when status = 'running' then 'holder' end, 1, 3, n, n,
       case when status = 'queued' then n end, case when status = 'queued' then 'limit:mail' end,
       case when status = 'waiting' and n %% 100 = 70 then 9000000000000 + n end,
       case when status in ('completed', 'failed', 'cancelled') then n end,
       case when status = 'failed' then 'ValueError' end, case when status = 'failed' then 'no route to ' || n %% 7 end,
       case when status = 'failed' then 'f' || n %% 7 end
  from (select n, case when n %% 10 = 0 then 'waiting' when n %% 100 = 1 then 'failed'
                       when n %% 1000 = 2 then 'cancelled'
                       when n %% 100 = 5 and n > 1000 then 'queued' when n %% 100 = 5 then 'running'
                       else 'completed' end as status
          from generate_series(%(first)s::int, %(last)s::int) n) d
"""

LOAD: Final = (
    RUNS,
    """
    insert into holdfast.waits (
           shard, run_id, tenant, key, seq, kind, signal, child_id, due_ms, request, epoch, opened_ms, outcome,
           closed_ms)
    select 0, pg_temp.id_of(n), 'default', 'w', 1, kind, case when kind = 'signal' then 'signal-' || n / 10 %% 1000 end,
           case when kind = 'child' then pg_temp.id_of(n + 3) end,
           case when kind = 'timer' then 9000000000000 + n end, case when kind = 'approval' then '{}'::json end, 1, n,
           case when n %% 10 = 4 then 'signalled' end, case when n %% 10 = 4 then n end
      from (select n, case when n %% 100 in (90) then 'approval' when n %% 100 = 80 then 'child'
                           when n %% 100 = 70 then 'timer' else 'signal' end as kind
              from generate_series(%(first)s::int, %(last)s::int) n
             where n %% 10 in (0, 4)) d
    """,
    """
    insert into holdfast.attributes (shard, run_id, name, tenant, kind, number, created_ms)
    select 0, pg_temp.id_of(n), 'customer', 'default', 'number', n %% 1000, n
      from generate_series(%(first)s::int, %(last)s::int) n
    """,
    """
    insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)
    select 0, pg_temp.id_of(n), s.seq, s.from_status, s.to_status, s.reason, s.seq - 1, n
      from generate_series(%(first)s::int, %(last)s::int) n
     cross join (values (1, null, 'queued', 'started'), (2, 'queued', 'running', 'claimed'),
                        (3, 'running', 'waiting', 'waiting')) s (seq, from_status, to_status, reason)
     where n %% 10 = 0
    """,
)
ONCE: Final = (
    "insert into holdfast.queues (tenant, queue, running_max, set_ms) values ('default', 'mail', 10, 1)",
    """
    insert into holdfast.workers (id, queues, codes, host, pid, version, started_ms, heartbeat_ms, lease_until_ms)
    select 'holder', '{default,mail}', array_agg('flow-' || n), 'box', 1, '', 1, 1, 9000000000000
      from generate_series(0, 18) n
    """,
    "vacuum (analyze) holdfast.runs, holdfast.waits, holdfast.attributes, holdfast.transitions",
)
CHUNK: Final = 500_000

FILTERS: Final = {
    "newest": "",
    "oldest": "order:oldest",
    "last ended": "order:ended",
    "status:waiting": "status:waiting",
    "status:completed": "status:completed",
    "status:failed": "status:failed",
    "status:stuck (none)": "status:stuck",
    "two statuses": "status:waiting,queued",
    "workflow": "workflow:flow-7",
    "workflow, oldest": "workflow:flow-7 order:oldest",
    "workflow, last ended": "workflow:flow-7 order:ended",
    "workflow and status": "workflow:flow-0 status:waiting",
    "version": "version:2",
    "workflow and version": "workflow:flow-19 version:2",
    "queue": "queue:mail",
    "queue that nobody uses": "queue:slow",
    "key": "key:key-77",
    "parent": "parent:{parent}",
    "root": "root:{root}",
    "attribute": "attr.customer=42",
    "attribute and status": "attr.customer=40 status:waiting",
    "attribute and another status": "attr.customer=42 status:failed",
    "attribute, last ended": "attr.customer=42 order:ended",
    "attribute range": "attr.customer>990",
    "attribute range of none": "attr.customer>5000",
    "waiting on a signal": "waiting:signal:signal-42",
    "waiting on a signal of none": "waiting:signal:no-such",
    "waiting on any signal": "waiting:signal",
    "waiting on a timer": "waiting:timer",
    "waiting on an approval": "waiting:approval",
    "waiting on any child": "waiting:child",
    "waiting on a child": "waiting:child:{child}",
    "waiting on a retry (none)": "waiting:retry",
    "waiting on a limit": "waiting:limit:mail",
    "waiting on a quota (none)": "waiting:quota",
    "waiting on a paused queue (none)": "waiting:queue",
    "error type": "error:ValueError",
    "error type of none": "error:OSError",
    "error type of a workflow": "error:ValueError workflow:flow-3",
    "fingerprint": "fingerprint:f3",
    "text, rare": "nothing-has-this",
    "text": "route",
    "created in a time": "created>1970-01-01T00:16:40Z created<1970-01-01T00:25:00Z",
    "ended before": "ended<1970-01-01T00:16:40Z",
    "workflow, ended after": "workflow:flow-7 ended>1970-01-01T00:16:40Z",
}


async def timed(call: Callable[[], Awaitable[Any]]) -> float:
    """The median milliseconds of a call."""
    took: list[float] = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(took), 2)


def id_of(number: int) -> RunId:
    """The id of a loaded run."""
    return RunId(f"00000000-0000-7000-8000-{number:012x}")


def load(url: str, runs: int) -> float:
    """Fill the tables; in how many seconds. Their indexes are made afterwards, which takes half the time."""
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ID_OF)
        connection.execute("set synchronous_commit = off")
        connection.execute("set maintenance_work_mem = '512MB'")
        indexes = connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(literal(f"drop index {name}"))
        for first in range(1, runs + 1, CHUNK):
            for statement in LOAD:
                connection.execute(statement, {"first": first, "last": min(first + CHUNK - 1, runs)})
        for _, definition in indexes:
            connection.execute(literal(definition))
        for statement in ONCE:
            connection.execute(statement)
    return round(time.perf_counter() - began, 1)


INDEXES: Final = """
select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
  from pg_index i
  join pg_class c on c.oid = i.indrelid
 where c.relnamespace = 'holdfast'::regnamespace and c.relname in ('runs', 'waits', 'attributes')
   and not i.indisprimary
"""


class Looking:
    """Executes the statements of listings, and counts the pages of 8 KiB that the database looks at."""

    def __init__(self, url: str) -> None:
        self._cursor = planned_anew(Address(url, prepare=False).connect())
        self.pages = 0

    def __call__(self, make: Make, shape: tuple[Any, ...], values: dict[str, Any]) -> list[Any]:
        """The rows of the statement that is made of a shape."""
        text, constants = text_of(make, "postgresql", *shape)
        given = constants | values
        explain = literal("explain (analyze, buffers, timing off, format json) " + text)
        found = self._cursor.execute(explain, given).fetchone()
        assert found is not None
        plan = json.loads(found[0])[0]["Plan"]
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return self._cursor.execute(literal(text), given).fetchall()


async def measure_pages(client: hf.Client, looking: Looking, runs: int, name: str, query: str) -> Figures:
    """Milliseconds, runs and database pages of the first, the second and a deep page."""
    middle = encode_cursor(PageCursor(UnixMs(runs // 2), id_of(runs // 2)))
    first = await client.list(query or None, limit=PAGE)
    figures: Figures = {"name": name}
    where = filter_from(query or None, {}, now_ms=UnixMs(0))
    for number, after in (("first", None), ("second", first.next), ("deep", middle)):
        if number == "second" and after is None:
            continue
        took_ms = await timed(partial(client.list, query or None, limit=PAGE, after=after))
        looking.pages = 0
        cursor = None if after is None else decode_cursor(after)
        page = read_page(looking, DEFAULT_TENANT, where, limit=PAGE, after=cursor)
        figures[number] = {"ms": took_ms, "runs": len(page.runs), "pages": looking.pages}
    return figures


async def measure(url: str, runs: int) -> Figures:
    """All figures of loaded tables."""
    looking = Looking(url)
    ids = {"parent": id_of(runs // 40 * 20), "root": id_of(runs // 2000 * 1000 + 1), "child": id_of(83)}
    async with hf.connect(url) as client:
        pages = [
            await measure_pages(client, looking, runs, name, query.format(**ids)) for name, query in FILTERS.items()
        ]
        explained = {
            "a run that waits": await timed(lambda: client.explain(id_of(runs // 2000 * 1000))),
            "the last one behind a limit": await timed(lambda: client.explain(id_of(runs // 100 * 100 - 95))),
        }
        counted = {name: await timed(call) for name, call in counts_of(client).items()}
    return {"runs": runs, "pages": pages, "explain_ms": explained, "count_ms": counted}


def counts_of(client: hf.Client) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What dashboards ask for."""
    return {
        "all by status": client.count,
        "all by status, up to 10,000 of each": lambda: client.count(most=10_000),
        "waiting": lambda: client.count("status:waiting"),
        "queued and running by queue": lambda: client.group("queue", "status:queued,running"),
        "all by workflow": lambda: client.group("workflow"),
        "errors": lambda: client.group("error"),
    }


def show(figures: Figures) -> Table:
    """The table for people."""
    title = f"{figures['runs']:,} runs on PostgreSQL, loaded in {figures['load_s']} s"
    table = Table("page of 50", title=title, title_justify="left")
    for number in ("first", "second", "deep"):
        table.add_column(f"{number}: ms, runs, pages read", justify="right")
    for page in figures["pages"]:
        cells = [page.get(number) for number in ("first", "second", "deep")]
        table.add_row(page["name"], *("" if one is None else _cell(one) for one in cells))
    for title, limit, kind in (("explain", EXPLAIN_MS_MAX, "explain_ms"), ("count", None, "count_ms")):
        for name, value in figures[kind].items():
            missed = limit is not None and value > limit
            table.add_row(f"{title}: {name}", f"[bold red]{value:g}" if missed else f"{value:g}")
    return table


def _cell(page: Figures) -> str:
    colour = "[bold red]" if page["ms"] > PAGE_MS_MAX else ""
    return f"{colour}{page['ms']:.1f}  {page['runs']:>3}  {page['pages']:>5}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name, run_server(durable=True) as server:
        url = Databases("PostgreSQL", Path(name), server).fresh()
        migrate(url)
        load_s = load(url, arguments.runs)
        figures = {"load_s": load_s, **asyncio.run(measure(url, arguments.runs))}
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        Console().print(show(figures))


if __name__ == "__main__":
    main()
