"""No hot statement reads a whole table: not with many rows, and not with a plan made while there were none."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from importlib.resources import files
from typing import Any

import psycopg
import pytest

from holdfast.model.commit import Compensate, Finish, NewWait, Park, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, UnixMs, WorkerId
from holdfast.model.pause import Pause
from holdfast.model.run import Attempt, Entry, NewRun, RunFilter, Signal
from holdfast.model.search import AttributeRange, AttributeValue, GroupBy, RunOrder, WaitingOn
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind
from holdfast.store.listings import approval_values, may_answer_postgres, output_values, outputs_of, page_of_approvals
from holdfast.store.paging import GATHERED, WINDOW, decode_cursor
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.commit import plan_commit
from holdfast.store.postgres.connection import Address, Connection
from holdfast.store.postgres.messages import signal_params
from holdfast.store.postgres.rows import NoteRow, PairRow, document, id_array, start_row
from holdfast.store.postgres.session import planned_anew
from holdfast.store.postgres.statements import Params, Step, literal, statement
from holdfast.store.postgres.wall import lower_wall, raise_wall
from holdfast.store.rendering import text_of
from holdfast.store.search import Make, group, read_page
from holdfast.store.tenancy import write_pause
from tests.contract.scene import ERROR, INPUT, OTHER_TENANT, RESULT, run_id
from tests.postgres_server import as_role, make_login
from tests.postgres_stage import migrated_database

HOT_TABLES = {"runs", "journal", "waits", "attempts", "signals", "transitions", "subscriptions"}
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
    "from_hash": None,
    "seen_seq": None,
    "version": None,
    "definition_hash": None,
    "moved": None,
    "ends": True,
    "key": None,
    "actor": "ann",
    "note": "",
    "command_id": run_id(3),
}
SETTLED: Params = {
    "seq": 9,
    "key": "charge",
    "kind": "step",
    "name": "charge",
    "entry_status": "completed",
    "result": None,
    "error": None,
    "attempts": 1,
    "settled_by": "ann",
}
COPIED: Params = {
    "bytes": 0,
    "from_hash": None,
    "copy_id": run_id(8_000_000),
    "retry": True,
    "journal": ["k"],
    "waits": ["w"],
    "input": None,
    "replaced": "[]",
    "changed": False,
    "actor": "ann",
    "note": "",
}
WORKER: Params = {
    "worker": "newcomer",
    "queues": ["default"],
    "codes": ["order"],
    "lacks": "{}",
    "host": "box",
    "pid": 1,
    "version": "",
    "lease_ms": 1,
}
NOW_MS = 5_000_000

_LOAD = """
insert into holdfast.runs (
       shard, id, tenant, workflow, queue, status, status_reason, input, root_id, worker, epoch, created_ms, updated_ms,
       transition_seq, ready_ms, wake_ms, finalized_ms, suspect, key, parent_id, error_type, error_message,
       error_fingerprint)
select 0, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'default', 'order', 'default',
       case n %% 10 when 0 then 'queued' when 1 then 'waiting' when 2 then 'running' else 'completed' end, 'x', '{}',
       gen_random_uuid(), case n %% 10 when 2 then 'worker-' || n %% 7 end, 1, n, n, 1,
       case n %% 10 when 0 then n end, case n %% 10 when 1 then n * 100 end, case when n %% 10 > 2 then n end,
       n %% 1000 = 0, 'key-' || n,
       case when n %% 5 = 0 then ('00000000-0000-7000-8000-' || lpad(to_hex(n / 1000), 12, '0'))::uuid end,
       case when n %% 100 > 97 then 'ValueError' end, case when n %% 100 > 97 then 'no route' end,
       case when n %% 100 > 97 then 'f' || n %% 3 end
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
_LOAD_TRANSITIONS = """
insert into holdfast.transitions (shard, run_id, seq, to_status, reason, epoch, at_ms)
select 0, id, 1, 'queued', 'started', 0, created_ms from holdfast.runs
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
_LOAD_SUBSCRIPTIONS = """
insert into holdfast.subscriptions (tenant, workflow, name, created_ms)
select 't' || n %% 20000, 'w' || n %% 7, 'r' || n, 1 from generate_series(1, %(size)s) n
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
            connection.execute(_LOAD_SUBSCRIPTIONS, {"size": SIZE})
            connection.execute(_LOAD_WORKERS)
            connection.execute(_LOAD_WAITS)
            connection.execute(_LOAD_JOURNAL)
            connection.execute(_LOAD_ATTEMPTS)
            connection.execute(_LOAD_SIGNALS)
            connection.execute(_LOAD_ATTRIBUTES)
            connection.execute(_LOAD_TRANSITIONS)
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
    named: dict[str, AttributeValue | None] = {"customer": 3, "city": None}
    yield RunCommit(run_id(2), 1, [entry], [attempt], waits, [child], [sent], ["w"], ["w"], attributes=named)
    for number, move in enumerate(moves):
        yield RunCommit(run_id(12 + 10 * number), 1, [entry], move=move)
    end = Finish(RunStatus.COMPLETED, "completed", RESULT)
    yield RunCommit(run_id(52), 1, [entry], elapsed=["w"], move=end)


def commands(one: Params, ids: Params) -> list[Step]:
    """The statements of commands."""
    return [
        ("start_copy", {**one, **COPIED}),
        ("start_copy_place", {"root_id": run_id(1), "attempt": 2}),
        ("command_seen", {**one, **MOVED}),
        ("command_settle", {**one, **MOVED, **SETTLED}),
        ("command_lock", one),
        ("command_move", {**one, **MOVED}),
        ("command_rename", {**one, "renamed": document({"charge": "pay"})}),
        ("command_waits", {**one, "closings": document([]), "updated_ms": 1}),
        ("cancel_children", ids),
    ]


def rare(one: Params, signal: Params, ids: Params) -> list[Step]:
    """The statements of workers that come and go, of explanations, and others that are not for each run."""
    return [
        ("signal_gate", signal),
        ("signal_receiver", one),
        ("commit_kept", {"waits": document([])}),
        ("register_worker", WORKER),
        ("heartbeat", {"worker": "worker-1", "lease_ms": 1}),
        ("retire_worker", {"worker": "worker-1"}),
        ("list_workers", {}),
        # The first of its queue: all others come behind it.
        ("read_detail", {**one, "id": run_id(10), "limit": 1_000}),
        ("read_detail_workers", {"worker": "worker-1", "queue": "default", "code": "order"}),
        ("read_transitions", one),
        ("lock_children", ids),
    ]


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
        ("claim_runs", {"worker": "claimant", **line, "limit": 50, "suspects": 1, "look": 50}),
        ("claim_runs_readmit", {**line, "look": 50}),
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
        *commands(one, ids),
        *rare(one, signal, ids),
    ]
    commit = plan_commit(list(batch()), shard=0, now_ms=UnixMs(NOW_MS)).steps(families=True)
    alone = RunCommit(run_id(62), 1, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    ends = plan_commit([alone], shard=0, now_ms=UnixMs(NOW_MS)).steps(families=False)
    return {name: {**shared, **params} for name, params in [*hot, *commit, *ends]}


STEPS = steps()
WITHOUT_ROWS = {
    *("notify", "notify_start", "read_clock", "read_revision", "read_revision_table", "commit_signal_gate"),
    *("enter_tenant", "read_wall"),
}
"""Those that read none of the tables that grow."""


def test_every_statement_has_its_plan_tested() -> None:
    found = {file.name.removesuffix(".sql") for file in (files("holdfast.store.postgres") / "queries").iterdir()}

    assert {name for name in found if "README" not in name} == WITHOUT_ROWS | set(STEPS)


def scanned(connection: Connection, name: str, params: Params) -> set[str]:
    """The hot tables that the statement's plan for any parameters reads from end to end."""
    plan = plan_of(connection, name, params)
    return {
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in HOT_TABLES
    }


def plan_of(connection: Connection, name: str, params: Params) -> dict[str, Any]:
    connection.execute("set plan_cache_mode = force_generic_plan")
    found = connection.execute("explain (format json) " + statement(name), params).fetchone()
    assert found is not None
    plan: dict[str, Any] = json.loads(found[0])[0]["Plan"]
    return plan


def goes_astray(node: dict[str, Any]) -> bool:
    """Whether a run is looked for by another index than its primary key: among all that are held, say."""
    index: str = node.get("Index Name", "")
    if not index.startswith("runs_") or index == "runs_pkey":
        return False
    asked = [node.get(word, "") for word in ("Index Cond", "Filter", "Recheck Cond")]
    return node["Node Type"] == "Bitmap Index Scan" or any(re.search(r"\bid = ", condition) for condition in asked)


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
    assert not [node for node in nodes(plan_of(connection, name, STEPS[name])) if goes_astray(node)]
    connection.close()


@pytest.mark.requirement("fault-60", "promise-10")
def test_behind_the_wall_a_hot_statement_goes_by_the_same_indexes(loaded: str) -> None:
    raise_wall(loaded, settle_s=0)
    found: dict[str, set[str]] = {}
    for login, role, tenant, everyone in (
        ("holdfast_test_client", "holdfast_client", "default", ""),
        ("holdfast_test_worker", "holdfast_worker", "", "on"),
    ):
        make_login(loaded, login, role)
        connection = Address(as_role(loaded, login), prepare=False).connect()
        # Of a client there are no other tenants' rows to be seen, but many to be passed over.
        connection.execute("select set_config('holdfast.tenant', %s, false)", [tenant])
        connection.execute("select set_config('holdfast.all_tenants', %s, false)", [everyone])
        found |= {f"{role}: {name}": scanned(connection, name, params) for name, params in STEPS.items()}
        connection.close()
    lower_wall(loaded)

    assert {name: tables for name, tables in found.items() if tables} == {}


ROWS_READ_MAX = 2_000


@pytest.mark.requirement("fault-60", "C-55")
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


LISTED = {
    "all": RunFilter(),
    "all, oldest first": RunFilter(order=RunOrder.OLDEST),
    "all, last ended first": RunFilter(order=RunOrder.ENDED),
    "status": RunFilter(statuses=frozenset({RunStatus.WAITING})),
    "two statuses": RunFilter(statuses=frozenset({RunStatus.WAITING, RunStatus.QUEUED})),
    "workflow": RunFilter(workflow="order"),
    "workflow and status": RunFilter(workflow="order", statuses=frozenset({RunStatus.FAILED})),
    "time": RunFilter(created_from_ms=UnixMs(100), created_before_ms=UnixMs(90_000)),
    "time of another order": RunFilter(finalized_before_ms=UnixMs(5_000)),
    "key": RunFilter(key="key-777"),
    "parent": RunFilter(parent_id=run_id(2)),
    "root": RunFilter(root_id=run_id(2)),
    "attribute": RunFilter(attributes={"customer": 3}),
    "attribute, last ended first": RunFilter(attributes={"customer": 3}, order=RunOrder.ENDED),
    "two attributes": RunFilter(attributes={"customer": 3, "city": "x"}),
    "attribute of a status": RunFilter(attributes={"customer": 3}, statuses=frozenset({RunStatus.FAILED})),
    "range of an attribute": RunFilter(ranges=(AttributeRange("customer", ">", 5),)),
    "signal that few wait for": RunFilter(waiting_on=WaitingOn("signal", "s999")),
    "signal that many wait for": RunFilter(waiting_on=WaitingOn("signal", "s1"), workflow="order"),
    "any signal": RunFilter(waiting_on=WaitingOn("signal")),
    "child": RunFilter(waiting_on=WaitingOn("child", run_id(7))),
    "error": RunFilter(error_type="ValueError"),
    "error of a workflow": RunFilter(error_type="ValueError", workflow="other"),
    "fingerprint": RunFilter(fingerprint="f1"),
    "text": RunFilter(text="nothing like it"),
    "queue": RunFilter(queue="slow"),
}


class Reader:
    """Executes listings, and keeps their plans."""

    def __init__(self, url: str) -> None:
        self.connection = Address(url, prepare=False).connect()
        self.plans: list[dict[str, Any]] = []

    def __call__(self, make: Make, shape: tuple[Any, ...], values: Params) -> list[Any]:
        text, constants = text_of(make, "postgresql", *shape)
        cursor = planned_anew(self.connection)
        explain = literal("explain (analyze, timing off, format json) " + text)
        found = cursor.execute(explain, constants | values).fetchone()
        assert found is not None
        self.plans += nodes(json.loads(found[0])[0]["Plan"])
        return cursor.execute(literal(text), constants | values).fetchall()

    def sorted_rows(self) -> float:
        """The most rows that were sorted at once."""
        sorts = [node for node in self.plans if "Sort" in node["Node Type"]]
        return max((max(below["Actual Rows"] for below in node["Plans"]) for node in sorts), default=0)

    def scanned(self) -> set[str]:
        """The tables that were read from end to end."""
        return {node["Relation Name"] for node in self.plans if node["Node Type"] == "Seq Scan"}

    def rows_read(self) -> float:
        """How many rows were looked at."""
        return sum(map(rows_read, self.plans))


@pytest.fixture
def reader(loaded: str) -> Iterator[Reader]:
    one = Reader(loaded)
    yield one
    one.connection.close()


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("number", [1, 2])
def test_a_page_reads_few_rows_however_many_there_are(reader: Reader, name: str, number: int) -> None:
    where, after = LISTED[name], None
    for _ in range(number):
        reader.plans.clear()
        page = read_page(reader, DEFAULT_TENANT, where, limit=50, after=after)
        after = None if page.next is None else decode_cursor(page.next)

    assert reader.scanned() == set()
    assert reader.sorted_rows() <= len(RunStatus) * WINDOW
    # A key is looked at by its index, its run and what belongs to that.
    assert reader.rows_read() <= (len(RunStatus) + 3) * WINDOW + 2 * GATHERED


@pytest.mark.requirement("C-55")
def test_open_approvals_are_found_by_their_index(reader: Reader) -> None:
    for names, after in (([], None), (["ann"], (UnixMs(5), run_id(5), "a"))):
        values = approval_values(DEFAULT_TENANT, limit=50, after=after) | {"now_ms": 1, "names": names}
        may = may_answer_postgres if names else None

        found = reader(page_of_approvals, (may, after is not None), values)

        assert len(found) == 51
    assert reader.scanned() == set()
    assert reader.rows_read() <= 500


@pytest.mark.parametrize("after", [None, 5])
def test_what_a_run_says_is_found_by_its_index(reader: Reader, after: int | None) -> None:
    values = output_values(run_id(1), "progress", after=after, limit=50)

    reader(outputs_of, (EntryKind.EMITTED, after is None), values)

    assert reader.scanned() == set()
    assert reader.rows_read() <= 50


@pytest.mark.requirement("O-07", "L-33")
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RunFilter(statuses=frozenset({RunStatus.FAILED})), 0),
        (RunFilter(key="key-777"), 1),
        (RunFilter(parent_id=run_id(2)), 200),
        (RunFilter(created_from_ms=UnixMs(99_000), statuses=frozenset({RunStatus.WAITING})), 100),
        (RunFilter(waiting_on=WaitingOn("signal", "s999")), 0),
    ],
    ids=str,
)
def test_a_count_and_a_group_of_few_runs_read_few_rows(reader: Reader, where: RunFilter, expected: int) -> None:
    for by, bare in ((GroupBy.STATUS, True), (GroupBy.WORKFLOW, False)):
        assert sum(one.count for one in group(reader, DEFAULT_TENANT, where, by, limit=10, bare=bare)) == expected

    assert reader.scanned() == set()
    assert reader.rows_read() <= 2_000


@pytest.mark.requirement("L-33")
def test_errors_are_grouped_without_a_look_at_runs_that_have_none(reader: Reader) -> None:
    groups = group(reader, DEFAULT_TENANT, RunFilter(), GroupBy.ERROR, limit=10)

    assert sum(one.count for one in groups) == SIZE / 50
    assert reader.scanned() == set()
    assert reader.rows_read() == SIZE / 50


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
        connection.execute(_LOAD_WORKERS)

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
