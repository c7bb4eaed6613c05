from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Generator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause
from holdfast.model.run import RunFilter, WorkerInfo
from holdfast.model.search import AttributeRange, RunOrder, WaitingOn
from holdfast.model.status import RunStatus
from holdfast.store.migrations import migrate
from holdfast.store.paging import PageCursor
from holdfast.store.queues import write_limit
from holdfast.store.rendering import text_of
from holdfast.store.search import Make, counts_of, read_page
from holdfast.store.shapes import shape_of, values_of
from holdfast.store.sqlite import SqliteStore, work
from holdfast.store.sqlite.ending import Change
from holdfast.store.sqlite.reading import Listings
from holdfast.store.sqlite.statements import ROWS_MAX, read_row, sql
from holdfast.store.sqlite.work import FEW_LINES
from holdfast.store.tenancy import write_pause
from tests.contract.scene import new_run, run_id

QUERIES = sorted(item.name.removesuffix(".sql") for item in (files("holdfast.store.sqlite") / "queries").iterdir())
ONLY_WHAT_IT_WANTS = {"commit_cancels"}
"""Reads all of its index, which holds nothing else than it is to answer."""


@pytest.fixture
def connection(tmp_path: Path) -> Generator[sqlite3.Connection, None, None]:
    path = tmp_path / "holdfast.db"
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def plan(connection: sqlite3.Connection, text: str, parameters: Any = None) -> list[str]:
    if parameters is None:
        names = set(re.findall(r":(\w+)", text))
        lists = {"rows", "run_ids", "queues", "codes", "unwanted", "known", "lines"}
        parameters = {name: "[]" if name in lists else 1 for name in names} or [None] * text.count("?")
    return [row[3] for row in connection.execute("explain query plan " + text, parameters)]


def full_scans(lines: list[str]) -> list[str]:
    """The steps that read a whole table, or all of the one shard that there is."""
    tables = "runs|journal|waits|attempts|signals|transitions|workers|attributes"
    # Lists that were given or found before; `gone` are the workers, which are few and are deleted when they are old.
    tables_made = r"b|p|l|s|sound|suspects|held|barred|gone|line|found|other|\(subquery-\d+\)"
    given = rf"SCAN (\w+ VIRTUAL TABLE|CONSTANT ROW|\d+ CONSTANT ROWS|{tables_made})"
    return [
        line
        for line in lines
        if line.endswith("(shard=?)")
        or "AUTOMATIC" in line
        or re.search(rf"SCAN ({tables})\b", line)
        or (line.startswith("SCAN") and not re.match(given, line))
    ]


@pytest.mark.parametrize("name", QUERIES)
def test_no_statement_reads_more_than_it_needs(connection: sqlite3.Connection, name: str) -> None:
    lines = plan(connection, sql(name))

    assert full_scans(lines) == [] or name in ONLY_WHAT_IT_WANTS, lines


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim_runs_pick", "COVERING INDEX holdfast_runs_line (shard=? AND queue=? AND code=? AND suspect=?)"),
        ("claim_runs_merge", "COVERING INDEX holdfast_runs_line (shard=? AND queue=? AND code=? AND suspect=?)"),
        (
            "claim_runs_merge",
            (
                "COVERING INDEX holdfast_runs_line"
                " (shard=? AND queue=? AND code=? AND suspect=? AND priority=? AND ready_ms>?)"
            ),
        ),
        (
            "claim_runs_merge",
            "COVERING INDEX holdfast_runs_line (shard=? AND queue=? AND code=? AND suspect=? AND priority<?)",
        ),
        ("wake_due_pick", "INDEX holdfast_runs_wake (shard=? AND wake_ms>? AND wake_ms<?)"),
        ("read_agenda", "COVERING INDEX holdfast_runs_line (shard=? AND queue=? AND code>?)"),
        ("requeue_lost_forget", "COVERING INDEX holdfast_runs_worker (shard=? AND worker=?)"),
        ("read_agenda", "COVERING INDEX holdfast_runs_wake"),
        ("read_agenda", "COVERING INDEX holdfast_schedules_due_ms"),
        ("read_agenda", "COVERING INDEX holdfast_breakers_next_ms"),
        ("read_agenda", "COVERING INDEX holdfast_runs_worker"),
        ("commit_park", "INDEX holdfast_waits_open (shard=? AND run_id=?)"),
        ("commit_cancels", "INDEX holdfast_runs_cancel"),
        ("commit_kept", "INDEX holdfast_signals_kept (shard=? AND run_id=? AND name=?)"),
        ("commit_kept", "INDEX holdfast_signals_kept_for_all (shard=? AND tenant=? AND name=?)"),
        ("end_waits", "INDEX holdfast_waits_open (shard=? AND run_id=?)"),
        ("end_waits", "INDEX holdfast_waits_child (shard=? AND child_id=?)"),
        ("end_own_waits", "INDEX holdfast_waits_open (shard=? AND run_id=?)"),
        ("requeue_lost_pick", "INDEX holdfast_runs_worker"),
        ("claim_runs_rooms", "COVERING INDEX holdfast_runs_worker (shard=? AND worker=? AND tenant=? AND queue=?)"),
        ("claim_runs_open", "COVERING INDEX holdfast_runs_worker (shard=? AND worker=? AND tenant=? AND queue=?)"),
        ("retire_worker_runs", "INDEX holdfast_runs_worker (shard=? AND worker=?)"),
        ("breaker_waiters", "INDEX holdfast_waits_signal (shard=? AND tenant=? AND signal=? AND run_id>?)"),
        ("signal_listening", "INDEX holdfast_waits_signal (shard=? AND tenant=? AND signal=? AND run_id=?)"),
        ("signal_waiters", "INDEX holdfast_waits_signal (shard=? AND tenant=? AND signal=? AND run_id>?)"),
        ("signal_heard", "INDEX holdfast_signals_under_way_by_name (shard=? AND tenant=? AND name=?)"),
        ("sweep_signals_pick", "INDEX holdfast_signals_under_way (shard=? AND passed>?)"),
        ("sweep_signals_expired", "INDEX holdfast_signals_expiring (shard=? AND expires_ms>? AND expires_ms<?)"),
    ],
)
def test_a_hot_statement_goes_by_its_index(connection: sqlite3.Connection, name: str, index: str) -> None:
    lines = plan(connection, sql(name))

    assert any(index in line for line in lines), lines


@pytest.mark.parametrize("name", ["claim_runs_pick", "claim_runs_merge", "wake_due_pick"])
def test_the_line_is_read_in_the_order_of_its_index(connection: sqlite3.Connection, name: str) -> None:
    lines = plan(connection, sql(name))

    # The pairs of queue and workflow are made distinct.
    assert [line for line in lines if "TEMP B-TREE" in line and "DISTINCT" not in line] == []


@pytest.mark.parametrize("workflows", [1, FEW_LINES, FEW_LINES + 1])
@pytest.mark.requirement("fault-60", "promise-12")
def test_a_backlog_that_nobody_knows_costs_a_claim_and_the_agenda_nothing(tmp_path: Path, workflows: int) -> None:
    path = tmp_path / "holdfast.db"
    migrate(f"sqlite:///{path}")
    names = [f"known-{number}" for number in range(workflows)]
    worker = WorkerId("worker")
    with closing(SqliteStore(str(path))) as store, closing(sqlite3.connect(path, isolation_level=None)) as counted:
        store.start_runs([new_run(number, workflow="unknown") for number in range(1, 3_000)])
        store.start_runs([new_run(number, workflow=names[number % workflows]) for number in range(5_000, 5_050)])
        steps: list[int] = []
        counted.set_progress_handler(lambda: steps.append(100), 100)
        name = "claim_runs_pick" if workflows <= FEW_LINES else "claim_runs_merge"
        asked = {"queues": '["default"]', "codes": json.dumps(names)}
        info = WorkerInfo(id=worker, queues=["default"], codes=names)
        now_ms = store.register_worker(info, lease_ms=60_000)

        read_row(counted, name, limit=10, suspects=1, worker=worker, now_ms=now_ms, **asked)
        read_row(counted, "read_agenda", now_ms=0, before_ms=0, unwanted="[]", unasked_max=1, **asked)

        # Instructions of SQLite's machine: a walk through the backlog would take some ten for each of its 3,000 runs.
        assert sum(steps) < 5_000
        claim = store.claim_runs(worker, queues=["default"], codes=names, limit=100, suspects=1)
        assert [run.id for run in claim.runs] == [run_id(number) for number in range(5_000, 5_050)]


@pytest.mark.requirement("O-09", "fault-60", "promise-12")
def test_ten_thousand_barred_runs_at_the_head_of_the_line_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    migrate(f"sqlite:///{path}")
    worker, noisy = WorkerId("worker"), Tenant("noisy")
    asked: dict[str, Any] = {"queues": ["default"], "codes": ["order"]}
    with closing(SqliteStore(str(path))) as store, closing(sqlite3.connect(path, isolation_level=None)) as counted:
        store.start_runs([new_run(number, tenant=noisy) for number in range(1, 10_001)])
        store.start_runs([new_run(number) for number in range(20_000, 20_003)])
        paused = Pause(tenant=noisy, kind="tenant", name=noisy, since_ms=UnixMs(1))
        store.transact(None, lambda statements: write_pause(statements, paused))
        now_ms = store.register_worker(WorkerInfo(id=worker, **asked), lease_ms=60_000)

        claim = store.claim_runs(worker, **asked, limit=2, suspects=1)
        while claim.more:
            claim = store.claim_runs(worker, **asked, limit=2, suspects=1)

        assert [run.id for run in claim.runs] == [run_id(20_000), run_id(20_001)]
        steps: list[int] = []
        counted.set_progress_handler(lambda: steps.append(100), 100)
        change = Change(counted, now_ms)
        assert work.claim(change, worker, **asked, limit=2, suspects=1).runs[0].id == run_id(20_002)
        assert not work.read_agenda(counted, now_ms, **asked, unwanted=[]).claimable
        assert sum(steps) < 5_000


@pytest.mark.requirement("fault-60", "fault-62", "promise-12")
def test_a_queue_with_few_places_and_very_many_runs_costs_claims_nothing_once_they_were_met(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    migrate(f"sqlite:///{path}")
    worker = WorkerId("worker")
    asked: dict[str, Any] = {"queues": ["default", "quick"], "codes": ["order"]}
    with closing(SqliteStore(str(path))) as store, closing(sqlite3.connect(path, isolation_level=None)) as counted:
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=2, set_ms=UnixMs(0))
        store.transact(None, lambda statements: write_limit(statements, limit))
        store.start_runs([new_run(number) for number in range(1, 20_001)])
        now_ms = store.register_worker(WorkerInfo(id=worker, **asked), lease_ms=60_000)

        claim = store.claim_runs(worker, **asked, limit=4, suspects=1)
        assert len(claim.runs) == 2
        while claim.more:
            claim = store.claim_runs(worker, **asked, limit=4, suspects=1)
            assert claim.runs == []

        store.start_runs([new_run(number, queue="quick") for number in range(30_000, 30_020)])
        steps: list[int] = []
        counted.set_progress_handler(lambda: steps.append(100), 100)
        change = Change(counted, now_ms)
        assert work.claim(change, worker, **asked, limit=2, suspects=1).runs[0].queue == "quick"
        work.read_agenda(counted, now_ms, **asked, unwanted=[])
        assert sum(steps) < 8_000

        for number in (200, 19_000):
            steps.clear()
            found = Listings(counted).read_detail(DEFAULT_TENANT, run_id(number), now_ms).standing
            assert (found.queue_running_max, len(found.holders)) == (2, 2)
            assert sum(steps) < 40_000


@pytest.mark.parametrize("count", [1, 2, ROWS_MAX])
@pytest.mark.parametrize("name", ["commit_entries", "commit_finish"])
def test_a_list_of_values_looks_each_run_up(connection: sqlite3.Connection, name: str, count: int) -> None:
    row = re.search(r"\((\?, )+\?\)", sql(name))
    assert row is not None
    text = sql(name).replace(row.group(), ", ".join([row.group()] * count))

    lines = plan(connection, text)

    assert any("PRIMARY KEY (shard=? AND id=?)" in line for line in lines), lines
    assert full_scans(lines) == []


ACTIVE = frozenset({RunStatus.WAITING})


BY_VALUE = "holdfast_attributes_value (tenant=? AND name=? AND kind=? AND text=? AND number"


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize(
    ("where", "index"),
    [
        (RunFilter(), "holdfast_runs_status (tenant=? AND status=? AND"),
        (RunFilter(statuses=ACTIVE), "holdfast_runs_status (tenant=? AND status=? AND"),
        (RunFilter(workflow="w"), "holdfast_runs_workflow (tenant=? AND workflow=? AND status=? AND"),
        (
            RunFilter(workflow="w", statuses=ACTIVE, text="x"),
            "holdfast_runs_workflow (tenant=? AND workflow=? AND status=? AND",
        ),
        (RunFilter(order=RunOrder.ENDED), "holdfast_runs_ended (tenant=? AND"),
        (
            RunFilter(attributes={"customer": 42}),
            f"{BY_VALUE}=?",
        ),
        (RunFilter(error_type="E"), "holdfast_runs_error (tenant=? AND error_type=? AND"),
        (RunFilter(fingerprint="f"), "holdfast_runs_fingerprint (tenant=? AND error_fingerprint=? AND"),
        (RunFilter(waiting_on=WaitingOn("signal", "s")), "holdfast_waits_signal (shard=? AND tenant=? AND signal=?"),
        (RunFilter(waiting_on=WaitingOn("timer")), "waits USING PRIMARY KEY (shard=? AND run_id=?"),
        (RunFilter(key="k"), "holdfast_runs_key (tenant=? AND key=?"),
        (RunFilter(parent_id=run_id(1)), "holdfast_runs_parent (parent_id=?"),
        (RunFilter(forked_from_id=run_id(1)), "holdfast_runs_forks (forked_from_id=?"),
        (RunFilter(root_id=run_id(1)), "holdfast_runs_root (root_id=?"),
        (
            RunFilter(ranges=(AttributeRange("total", ">", 3),)),
            "attributes USING PRIMARY KEY (shard=? AND run_id=? AND name=?",
        ),
    ],
    ids=str,
)
def test_a_page_of_runs_is_read_by_its_index(connection: sqlite3.Connection, where: RunFilter, index: str) -> None:
    def read(make: Make, shape: tuple[Any, ...], values: dict[str, Any]) -> list[Any]:
        text, constants = text_of(make, "sqlite", *shape)
        lines.extend(plan(connection, text, constants | values))
        return connection.execute(text, constants | values).fetchall()

    lines: list[str] = []
    read_page(read, Tenant("t"), where, limit=10, after=PageCursor(UnixMs(5), RunId("x")))

    assert any(index in line for line in lines), lines
    assert not [line for line in lines if re.search(r"SCAN (runs|waits|attributes)\b", line)], lines


@pytest.mark.requirement("O-07", "L-33")
@pytest.mark.parametrize(
    ("where", "index"),
    [
        (RunFilter(), "holdfast_runs_status (tenant=? AND status=?)"),
        (RunFilter(workflow="w"), "holdfast_runs_workflow (tenant=? AND workflow=? AND status=?)"),
    ],
    ids=str,
)
def test_counting_up_to_a_number_goes_by_an_index_alone(
    connection: sqlite3.Connection, where: RunFilter, index: str
) -> None:
    text, constants = text_of(counts_of, "sqlite", shape_of(where))

    lines = plan(connection, text, {**constants, **values_of(Tenant("t"), where), "most": 5, "shown": 9})

    found = [line for line in lines if "holdfast_runs" in line]
    assert len(found) == len(RunStatus)
    assert all(f"COVERING INDEX {index}" in line for line in found), found


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_says_what_it_is_for(name: str) -> None:
    text = (files("holdfast.store.sqlite") / "queries" / f"{name}.sql").read_text("utf-8")

    assert text.startswith("-- ")
    assert ";" not in sql(name)
