"""Runs that must not be claimed cost a claim nothing, wherever they stand in the line."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import psycopg
import pytest
from msgspec import structs

from holdfast.model.commit import Finish, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, UnixMs, WorkerId
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause
from holdfast.model.run import NewRun, WorkerInfo
from holdfast.model.status import RunStatus
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.connection import Address
from holdfast.store.postgres.statements import Params, statement
from holdfast.store.queues import write_limit
from holdfast.store.rendering import text_of
from holdfast.store.standing import AHEAD_MAX, HELD_LOOK, read_standing
from holdfast.store.tenancy import write_pause
from tests.contract.scene import INPUT, OTHER_TENANT, RESULT, run_id
from tests.postgres_stage import migrated_database
from tests.unit.postgres_plans import Reader, nodes, rows_read
from tests.unit.postgres_rows import LOAD_WORKERS

READ: Final = "select idx_tup_fetch from pg_stat_xact_user_tables where relid = 'holdfast.runs'::regclass"
"""How many rows of runs this transaction has fetched."""


@pytest.mark.requirement("O-09", "promise-12", "fault-60")
def test_ten_thousand_barred_runs_at_the_head_of_the_line_are_read_once(
    postgres_server_url: str, postgres_template: str
) -> None:
    line: dict[str, Any] = {"queues": ["default"], "codes": ["order"]}
    noisy = [NewRun(id=run_id(n), workflow="order", input=INPUT, tenant=OTHER_TENANT) for n in range(1, 10_001)]
    with (
        migrated_database(postgres_server_url, postgres_template) as url,
        closing(PostgresStore(url, connections_max=2)) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        store.start_runs(noisy)
        store.start_runs([NewRun(id=run_id(n), workflow="order", input=INPUT) for n in range(20_000, 20_003)])
        paused = Pause(tenant=OTHER_TENANT, kind="tenant", name=OTHER_TENANT, since_ms=UnixMs(1))
        store.transact(None, lambda statements: write_pause(statements, paused))
        connection.execute(LOAD_WORKERS)

        claim = store.claim_runs(WorkerId("claimant"), **line, limit=2, suspects=1)
        while claim.more:
            claim = store.claim_runs(WorkerId("claimant"), **line, limit=2, suspects=1)

        assert [run.id for run in claim.runs] == [run_id(20_000), run_id(20_001)]
        connection.execute("set plan_cache_mode = force_generic_plan")
        shared: Params = {"shard": 0, "now_ms": None, **line}
        asked: dict[str, Params] = {
            "claim_runs_readmit": {**shared, "look": 1_000},
            "claim_runs": {**shared, "worker": "claimant", "limit": 50, "suspects": 1, "look": 50},
            "read_agenda": {**shared, "kept_ms": 1, "unwanted": [], "unasked_max": 100},
        }
        for name, params in asked.items():
            found = connection.execute("explain (analyze, buffers, format json) " + statement(name), params).fetchone()
            assert found is not None
            plan = found[0][0]["Plan"]
            assert sum(rows_read(node) for node in nodes(plan)) <= 50, name
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 300, name


@pytest.mark.requirement("fault-60", "fault-62", "promise-12")
def test_a_queue_with_few_places_and_very_many_runs_costs_claims_nothing_once_they_were_met(
    postgres_server_url: str, postgres_template: str
) -> None:
    line: dict[str, Any] = {"queues": ["default", "quick"], "codes": ["order"]}
    waiting, worker = 20_000, WorkerId("claimant")
    with (
        migrated_database(postgres_server_url, postgres_template) as url,
        closing(PostgresStore(url, connections_max=2)) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=2, set_ms=UnixMs(0))
        store.transact(None, lambda statements: write_limit(statements, limit))
        store.start_runs([NewRun(id=run_id(n), workflow="order", input=INPUT) for n in range(waiting)])
        quick = [NewRun(id=run_id(waiting + n), workflow="order", input=INPUT, queue="quick") for n in range(20)]
        store.start_runs(quick)
        store.register_worker(WorkerInfo(id=worker, **line), lease_ms=600_000)
        claim = store.claim_runs(worker, **line, limit=50, suspects=1)
        met = claim.runs
        while claim.more:
            claim = store.claim_runs(worker, **line, limit=50, suspects=1)
            met += claim.runs
        assert len([run for run in met if run.queue == "default"]) == 2

        connection.execute("set plan_cache_mode = force_generic_plan")
        shared: Params = {"shard": 0, "now_ms": None, **line}
        asked: dict[str, Params] = {
            "claim_runs_readmit": {**shared, "look": 1_000},
            "read_agenda": {**shared, "kept_ms": 1, "unwanted": [], "unasked_max": 100},
            "claim_runs": {**shared, "worker": worker, "limit": 50, "suspects": 1, "look": 50},
        }
        for name, params in asked.items():
            found = connection.execute("explain (analyze, buffers, format json) " + statement(name), params).fetchone()
            assert found is not None
            plan = found[0][0]["Plan"]
            assert sum(rows_read(node) for node in nodes(plan)) <= 50, name
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 600, name

        first = next(run for run in met if run.queue == "default")
        store.commit([RunCommit(first.id, first.epoch, move=Finish(RunStatus.COMPLETED, "completed", RESULT))])
        again = store.claim_runs(worker, **line, limit=50, suspects=1)
        assert [run.queue for run in again.runs].count("default") == 1


LOAD_BARRED: Final = """
insert into holdfast.runs (
       shard, id, tenant, workflow, queue, status, status_reason, input, root_id, worker, epoch, created_ms, updated_ms,
       ready_ms, barred_by)
select 0, d.id, 'default', 'order', 'default', case when d.held then 'running' else 'queued' end, 'loaded', '{}', d.id,
       case when d.held then 'claimant' end, 1, d.n, d.n, case when not d.held then d.n end,
       case when not d.held then 'limit:default' end
  from (select n, n <= 20 as held, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id
          from generate_series(1, 20000) n) d
"""


@pytest.mark.requirement("fault-60", "fault-62")
def test_explaining_a_run_behind_very_many_that_a_limit_keeps_reads_few_of_them(
    postgres_server_url: str, postgres_template: str
) -> None:
    with (
        migrated_database(postgres_server_url, postgres_template) as url,
        closing(PostgresStore(url, connections_max=2)) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=20, set_ms=UnixMs(0))
        store.transact(None, lambda statements: write_limit(statements, limit))
        connection.execute(LOAD_BARRED)
        connection.execute(LOAD_WORKERS)
        reader = Reader(url)

        detail = store.read_detail(DEFAULT_TENANT, run_id(20_000))
        standing = read_standing(reader, detail.run, detail.workers, detail.waits)

        assert standing == detail.standing
        built = text_of.cache_info().misses
        assert store.read_detail(DEFAULT_TENANT, run_id(19_999)).standing == standing
        assert text_of.cache_info().misses == built, "building a statement takes longer than executing it"
        assert (standing.barred_ahead, standing.queue_running) == (AHEAD_MAX, 20)
        assert [one.run_id for one in standing.holders] == [run_id(n) for n in range(1, 11)]
        # The two ranges of those before it, each up to that; who holds the places, counted and named.
        assert reader.rows_read() <= AHEAD_MAX + 50
        assert reader.pages <= 500
        assert reader.scanned() == set()
        reader.connection.close()


@pytest.mark.requirement("fault-60", "fault-62")
def test_explaining_a_run_of_a_large_fleet_reads_few_of_those_that_are_held(loaded: str) -> None:
    reader = Reader(loaded)
    with closing(PostgresStore(loaded, connections_max=1)) as store:
        detail = store.read_detail(DEFAULT_TENANT, run_id(10))
    workers = [structs.replace(detail.workers[0], id=WorkerId(f"worker-{number}")) for number in range(7)]

    standing = read_standing(reader, detail.run, workers, detail.waits)

    assert [one.run_id for one in standing.holders] == [run_id(n) for n in range(2, 102, 10)]
    assert reader.rows_read() <= HELD_LOOK + 50
    assert "runs" not in reader.scanned()
    reader.connection.close()


@pytest.mark.requirement("O-09", "fault-60")
def test_a_line_of_ten_thousand_runs_is_not_read_to_find_that_they_are_many(
    postgres_server_url: str, postgres_template: str
) -> None:
    line: dict[str, Any] = {"queues": ["default", "mail"], "codes": ["order", "refund"]}
    runs = [NewRun(id=run_id(n), workflow="order", input=INPUT, priority=n % 3) for n in range(1, 10_001)]
    with (
        migrated_database(postgres_server_url, postgres_template) as url,
        closing(PostgresStore(url, connections_max=2)) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        store.start_runs(runs)
        connection.execute(LOAD_WORKERS)
        connection.execute("set plan_cache_mode = force_generic_plan")
        params = {"shard": 0, "now_ms": None, **line, "worker": "claimant", "limit": 40, "suspects": 1}
        text = "explain (analyze, format json) " + statement("claim_runs_few")

        found = connection.execute(text, params).fetchone()

        assert found is not None
        assert sum(rows_read(node) for node in nodes(found[0][0]["Plan"])) <= 50
        claim = store.claim_runs(WorkerId("claimant"), **line, limit=40, suspects=1)
        assert [run.id for run in claim.runs] == [run_id(n) for n in range(2, 2 + 3 * 40, 3)]


@pytest.mark.requirement("fault-60", "fault-62")
def test_statistics_of_one_long_line_mislead_no_claim_from_another(
    postgres_server_url: str, postgres_template: str
) -> None:
    line: dict[str, Any] = {"queues": ["quick"], "codes": ["order"]}
    with (
        migrated_database(postgres_server_url, postgres_template) as url,
        closing(PostgresStore(url, connections_max=2)) as store,
        closing(Address(url, prepare=True).connect()) as connection,
    ):
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=1, set_ms=UnixMs(0))
        store.transact(None, lambda statements: write_limit(statements, limit))
        store.start_runs([NewRun(id=run_id(n), workflow="order", input=INPUT) for n in range(60_000)])
        connection.execute("analyze holdfast.runs")
        quick = [NewRun(id=run_id(100_000 + n), workflow="order", input=INPUT, queue="quick") for n in range(20)]
        store.start_runs(quick)
        connection.execute(LOAD_WORKERS)
        connection.execute("set plan_cache_mode = force_generic_plan")
        asked: Params = {"shard": 0, "now_ms": None, **line, "worker": "claimant", "limit": 5, "suspects": 1, "look": 5}
        for name in ("claim_runs", "claim_runs_few"):
            connection.execute("begin")
            connection.execute(statement(name), asked, prepare=True)
            [(read,)] = connection.execute(READ).fetchall()
            connection.execute("rollback")
            assert read <= 200, name
