"""No hot statement reads a whole table: not with many rows, and not with a plan made while there were none."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
import pytest

from holdfast.model.commit import Compensate, Finish, NewWait, Park, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import Attempt, Entry, NewRun, Signal
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind
from holdfast.store.postgres.commit import plan_commit
from holdfast.store.postgres.connection import Address, Connection
from holdfast.store.postgres.messages import signal_params
from holdfast.store.postgres.rows import NoteRow, PairRow, document, id_array, start_row
from holdfast.store.postgres.statements import Params, Step, statement
from tests.contract.scene import ERROR, INPUT, RESULT, run_id
from tests.postgres_stage import migrated_database

HOT_TABLES = {"runs", "journal", "waits", "attempts", "signals", "transitions"}
SIZE = 100_000
MOVED: Params = {
    "status": "paused",
    "status_reason": "paused",
    "terminal_reason": None,
    "keeps_error": False,
    "queue": "default",
    "priority": 0,
    "worker": None,
    "epoch": 1,
    "crashes": 0,
    "cancel_requested": False,
    "cancel_compensates": False,
    "pause_requested": False,
    "ready_ms": None,
    "wake_ms": None,
    "kept_wake_ms": None,
    "deadline_ms": None,
    "finalized_ms": None,
    "updated_ms": 1,
    "from_status": "queued",
    "from_epoch": 1,
    "from_worker": None,
    "ends": True,
    "key": None,
    "actor": "ann",
    "note": "",
    "command_id": run_id(3),
}
NOW_MS = 5_000_000

_LOAD = """
insert into holdfast.runs (
       shard, id, tenant, workflow, queue, status, status_reason, input, root_id, worker, epoch, created_ms, updated_ms,
       ready_ms, wake_ms, finalized_ms, suspect, key, parent_id, error_type, error_message, error_fingerprint)
select 0, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'default', 'order', 'default',
       case n %% 10 when 0 then 'queued' when 1 then 'waiting' when 2 then 'running' else 'completed' end, 'x', '{}',
       gen_random_uuid(), case n %% 10 when 2 then 'worker-' || n %% 7 end, 1, n, n,
       case n %% 10 when 0 then n end, case n %% 10 when 1 then n * 100 end, case when n %% 10 > 2 then n end,
       n %% 1000 = 0, 'key-' || n,
       case when n %% 5 = 0 then '00000000-0000-7000-8000-000000000002'::uuid end,
       case when n %% 10 > 7 then 'ValueError' end, case when n %% 10 > 7 then 'no route' end,
       case when n %% 10 > 7 then 'f' || n %% 3 end
  from generate_series(1, %(size)s) n;
"""
_LOAD_WORKERS = """
insert into holdfast.workers (id, queues, codes, host, pid, version, started_ms, heartbeat_ms, lease_until_ms)
values ('claimant', '{default}', '{order}', 'box', 1, '', 1, 1, 9000000000000)
"""
_LOAD_WAITS = """
insert into holdfast.waits (
       shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms, outcome, closed_ms, tenant)
select 0, id, 'w', 1, 'signal', 's' || mod(created_ms, 50), id, wake_ms, 1, 1,
       case when status = 'completed' then 'elapsed' end, case when status = 'completed' then 1 end, 'default'
  from holdfast.runs
"""
_LOAD_JOURNAL = """
insert into holdfast.journal (
       shard, run_id, key, seq, kind, name, status, attempts, epoch, started_ms, completed_ms)
select 0, id, 'k', 1, 'step', 'k', 'completed', 1, 1, 1, 1 from holdfast.runs
"""

_LOAD_ATTEMPTS = """
insert into holdfast.attempts (shard, run_id, key, attempt, error, epoch, started_ms, ended_ms)
select 0, id, 'k', 1, '{}', 1, 1, 1 from holdfast.runs
"""
_LOAD_ATTRIBUTES = """
insert into holdfast.attributes (shard, run_id, name, tenant, kind, number, created_ms)
select 0, id, 'customer', 'default', 'number', mod(created_ms, 7), created_ms from holdfast.runs
"""
_LOAD_APPROVALS = """
insert into holdfast.waits (shard, run_id, key, seq, kind, epoch, opened_ms, tenant, request)
select 0, id, 'approval', 2, 'approval', 1, created_ms, 'default', '{}' from holdfast.runs where status = 'waiting'
"""
_LOAD_SIGNALS = """
insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, consumed_ms, expires_ms, passed)
select 0, id, 'default', 's' || mod(created_ms, 50), id, '{}', 1, case when status = 'completed' then 1 end,
       created_ms + 6000000, case when mod(created_ms, 1000) = 1 then id end
  from holdfast.runs
"""


@pytest.fixture(scope="module")
def empty(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture(scope="module")
def loaded(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    """A database with many runs, a tenth of them claimable, a tenth parked, a tenth held."""
    with migrated_database(postgres_server_url, postgres_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_LOAD, {"size": SIZE})
            connection.execute(_LOAD_WORKERS)
            connection.execute(_LOAD_WAITS)
            connection.execute(_LOAD_JOURNAL)
            connection.execute(_LOAD_ATTEMPTS)
            connection.execute(_LOAD_SIGNALS)
            connection.execute(_LOAD_ATTRIBUTES)
            connection.execute(_LOAD_APPROVALS)
            connection.execute("vacuum analyze")
        yield url


def batch() -> Iterator[RunCommit]:
    """One of everything that a worker may commit."""
    entry = Entry(
        key="charge",
        seq=2,
        kind=EntryKind.STEP,
        name="charge",
        status=EntryStatus.COMPLETED,
        result=RESULT,
        epoch=1,
        started_ms=UnixMs(1),
        completed_ms=UnixMs(2),
    )
    attempt = Attempt(key="pack", attempt=1, error=ERROR, started_ms=UnixMs(1), ended_ms=UnixMs(2))
    waits = [
        NewWait(key="a", seq=3, kind=WaitKind.SIGNAL, signal="approved"),
        NewWait(key="b", seq=4, kind=WaitKind.CHILD, child_id=run_id(7)),
    ]
    moves: list[Park | Release | Compensate | Finish] = [
        Park(2),
        Release(),
        Compensate(ERROR, "failed"),
    ]
    sent = Signal(id=run_id(9), tenant=DEFAULT_TENANT, name="s1", payload=INPUT)
    child = NewRun(id=run_id(SIZE + 1), workflow="order", input=INPUT, parent_id=run_id(2), parent_key="ship")
    yield RunCommit(run_id(2), 1, [entry], [attempt], waits, [child], [sent], ["w"], ["w"])
    for number, move in enumerate(moves):
        yield RunCommit(run_id(12 + 10 * number), 1, [entry], move=move)
    end = Finish(RunStatus.COMPLETED, "completed", RESULT)
    yield RunCommit(run_id(52), 1, [entry], elapsed=["w"], move=end)


def steps() -> dict[str, Params]:
    """Every hot statement with parameters."""
    shared: Params = {"shard": 0, "now_ms": NOW_MS}
    line = {"queues": ["default", "slow"], "codes": ["order", "ship"]}
    one = {"tenant": "default", "id": run_id(1)}
    ids = {"ids": id_array(run_id(number) for number in range(1, 50))}
    sent = Signal(id=run_id(9), tenant=DEFAULT_TENANT, name="s1", payload=INPUT, run_id=run_id(1))
    signal = signal_params({}, sent)
    answer = {**one, "key": "w", "names": ["ann"], "answer_id": run_id(9), "verdict": "{}"}
    hot: list[Step] = [
        ("claim_runs", {"worker": "claimant", **line, "limit": 50, "suspects": 1}),
        ("read_agenda", {**line, "kept_ms": 1, "unwanted": ["x"], "unasked_max": 100}),
        ("forget_workers", {"kept_ms": 1}),
        ("wake_due_lock", {"limit": 50}),
        ("wake_due", ids),
        ("requeue_lost_lock", {"limit": 50}),
        ("requeue_lost", {**ids, "crashes_max": 3}),
        ("retire_worker_runs", {"worker": "worker-1", "limit": 50}),
        ("release_unknown", {"worker": "worker-1", "known": id_array([run_id(2)])}),
        ("start_runs", {"runs": document([start_row(NewRun(id=run_id(9), workflow="order", input=INPUT))])}),
        ("read_journal", ids),
        ("read_waits", {**ids, "closed": False}),
        ("read_attempts", ids),
        ("read_progress", ids),
        ("read_live", {**ids, "worker": "worker-1"}),
        ("read_live_waits", {**ids, "keys": ["approval"] * 49}),
        ("get_run", one),
        ("lock_waiters", ids),
        ("close_child_waits", ids),
        ("send_signal_lock", one),
        ("send_signal_seen", signal),
        ("signal_accept", signal),
        ("signal_waiters", {**signal, "passed": run_id(0), "limit": 50}),
        ("signal_listening", {**signal, **ids}),
        ("signal_heard", {**signal, **ids}),
        ("signal_receipts", {**signal, **ids}),
        ("signal_note", {"notes": document([NoteRow(run_id(1), "w", "no")])}),
        ("signal_close", {"pairs": document([PairRow(run_id(1), "w", "default", run_id(1))])}),
        ("signal_passed", {**signal, "passed": None}),
        ("signal_lock", signal),
        ("sweep_signals_pick", {}),
        ("sweep_signals_alike", {**signal, "limit": 50}),
        ("sweep_signals_lock", {**signal, **ids}),
        ("sweep_signals_expired", {"limit": 50}),
        ("send_answer_find", answer),
        ("send_answer", answer),
        ("command_lock", one),
        ("command_move", {**one, **MOVED}),
        ("command_waits", {**one, "closings": document([]), "updated_ms": 1}),
        ("cancel_children", ids),
    ]
    commit = plan_commit(list(batch()), shard=0, now_ms=UnixMs(NOW_MS)).steps(families=True)
    alone = RunCommit(run_id(62), 1, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    ends = plan_commit([alone], shard=0, now_ms=UnixMs(NOW_MS)).steps(families=False)
    return {name: {**shared, **params} for name, params in [*hot, *commit, *ends]}


STEPS = steps()


def scanned(connection: Connection, name: str, params: Params) -> set[str]:
    """The hot tables that the statement's plan for any parameters reads from end to end."""
    connection.execute("set plan_cache_mode = force_generic_plan")
    found = connection.execute("explain (format json) " + statement(name), params).fetchone()
    assert found is not None
    plan = json.loads(found[0])[0]["Plan"]
    return {table for node, table in walk(plan) if node == "Seq Scan" and table in HOT_TABLES}


def walk(plan: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield plan["Node Type"], plan.get("Relation Name")
    for child in plan.get("Plans", []):
        yield from walk(child)


@pytest.mark.requirement("fault-60")
@pytest.mark.parametrize("name", STEPS)
def test_a_hot_statement_reads_no_table_from_end_to_end(loaded: str, name: str) -> None:
    connection = Address(loaded, prepare=False).connect()

    assert scanned(connection, name, STEPS[name]) == set()
    connection.close()


@pytest.mark.requirement("fault-60")
@pytest.mark.parametrize("name", STEPS)
def test_a_plan_made_for_empty_tables_stays_good(empty: str, name: str) -> None:
    connection = Address(empty, prepare=True).connect()

    assert scanned(connection, name, STEPS[name]) == set()
    connection.close()


ROWS_READ_MAX = 2_000


@pytest.mark.requirement("fault-60")
@pytest.mark.parametrize("name", STEPS)
def test_a_hot_statement_reads_few_rows_however_many_there_are(loaded: str, name: str) -> None:
    connection = Address(loaded, prepare=True).connect()
    connection.execute("begin")
    connection.execute("set local plan_cache_mode = force_generic_plan")

    found = connection.execute("explain (analyze, timing off, format json) " + statement(name), STEPS[name]).fetchone()

    assert found is not None
    read = sum(rows_read(node) for node in nodes(json.loads(found[0])[0]["Plan"]))
    connection.close()
    assert read <= (8_000 if name in MANY_ROWS else ROWS_READ_MAX)


MANY_ROWS = {"retire_worker_runs", "release_unknown", "requeue_lost_lock", "signal_waiters"}
"""Those that are about all runs of a worker, or all runs that wait for one signal."""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def rows_read(node: dict[str, Any]) -> float:
    if node.get("Relation Name") not in HOT_TABLES or "Scan" not in node["Node Type"]:
        return 0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    rows: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return rows
