from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from holdfast.errors import RunNotFound, UsageError
from holdfast.model.commit import RunCommit
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import ClaimedRun, WorkerInfo
from holdfast.store.migrations import migrate
from holdfast.store.sqlite import SqliteStore
from tests.contract.scene import ALICE, entry, new_run, run_id
from tests.unit.sqlite_programs import FLAWED


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "holdfast.db")
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table ledger (what text unique)")
    return path


@pytest.fixture
def store(path: str) -> Generator[SqliteStore, None, None]:
    store = SqliteStore(path)
    yield store
    store.close()


@pytest.fixture
def run(store: SqliteStore) -> ClaimedRun:
    store.register_worker(WorkerInfo(id=ALICE, queues=["default"], codes=["order"]), lease_ms=10_000)
    store.start_runs([new_run(1)])
    return store.claim_runs(ALICE, queues=["default"], codes=["order"], limit=1, suspects=0).runs[0]


def ledger(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("select what from ledger order by what")]


def recorded(run: ClaimedRun) -> RunCommit:
    return RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)])


@pytest.mark.requirement("promise-3")
def test_a_sessions_own_commit_does_not_end_the_transaction(store: SqliteStore, path: str, run: ClaimedRun) -> None:
    def handler(session: Session) -> RunCommit:
        session.execute(text("insert into ledger values ('first')"))
        session.commit()
        session.execute(text("insert into ledger values ('second')"))
        session.rollback()
        session.execute(text("insert into ledger values ('third')"))
        assert ledger(path) == []
        return RunCommit(run.id, run.epoch + 1, entries=[entry(run, "charge", 1)])

    refused = store.commit_with(handler, wants=Session)
    after_refusal = ledger(path)
    accepted = store.commit_with(lambda session: (handler(session), recorded(run))[1], wants=Session)

    assert list(refused.refused) == [run.id]
    assert after_refusal == []
    assert accepted.refused == {}
    assert ledger(path) == ["first", "third"]


def commit_sqlite(connection: sqlite3.Connection) -> None:
    connection.execute("insert into ledger values ('x')")
    connection.commit()


def commit_by_sql(connection: sqlite3.Connection) -> None:
    connection.execute("insert into ledger values ('x')")
    connection.execute("commit")


def commit_by_block(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("insert into ledger values ('x')")


def commit_by_script(connection: sqlite3.Connection) -> None:
    connection.executescript("insert into ledger values ('x');")


def roll_back(connection: sqlite3.Connection) -> None:
    connection.execute("insert into ledger values ('x')")
    connection.rollback()


def commit_alchemy(connection: Connection) -> None:
    connection.execute(text("insert into ledger values ('x')"))
    connection.commit()


@pytest.mark.requirement("promise-3")
@pytest.mark.parametrize(
    ("end", "wants"),
    [
        (commit_sqlite, sqlite3.Connection),
        (commit_by_sql, sqlite3.Connection),
        (commit_by_block, sqlite3.Connection),
        (commit_by_script, sqlite3.Connection),
        (roll_back, sqlite3.Connection),
        (commit_alchemy, Connection),
    ],
)
def test_a_handler_cannot_end_the_transaction(
    store: SqliteStore, path: str, run: ClaimedRun, end: Callable[[Any], None], wants: type
) -> None:
    def handler(connection: Any) -> RunCommit:
        end(connection)
        return recorded(run)

    with pytest.raises((UsageError, sqlite3.DatabaseError)):
        store.commit_with(handler, wants=wants)

    assert ledger(path) == []
    assert store.read_progress([run.id])[run.id].seq == 0
    assert store.commit([recorded(run)]).refused == {}


def test_what_a_handler_did_to_its_connection_does_not_reach_the_next(store: SqliteStore, run: ClaimedRun) -> None:
    def handler(connection: sqlite3.Connection) -> RunCommit:
        connection.row_factory = sqlite3.Row
        return RunCommit(run.id, run.epoch - 1)

    store.commit_with(handler, wants=sqlite3.Connection)

    assert store.commit_with(lambda connection: recorded(run), wants=sqlite3.Connection).refused == {}


def test_a_handlers_own_database_error_comes_out_as_it_is(store: SqliteStore, run: ClaimedRun) -> None:
    def handler(connection: sqlite3.Connection) -> RunCommit:
        connection.execute("insert into ledger values ('x'), ('x')")
        return recorded(run)

    with pytest.raises(sqlite3.IntegrityError):
        store.commit_with(handler, wants=sqlite3.Connection)

    assert store.read_progress([run.id])[run.id].seq == 0


def test_the_store_itself_cannot_be_used_inside_a_handler(store: SqliteStore, run: ClaimedRun) -> None:
    def handler(connection: sqlite3.Connection) -> RunCommit:
        store.start_runs([new_run(2)])
        return recorded(run)

    with pytest.raises(UsageError, match="connection"):
        store.commit_with(handler, wants=sqlite3.Connection)


def test_runs_are_not_started_in_a_transaction_on_another_file(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other, pytest.raises(UsageError, match="another database"):
        store.start_runs_in(other, [new_run(1)])


def test_runs_are_not_started_without_a_transaction(store: SqliteStore, path: str) -> None:
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as autocommitting,
        pytest.raises(UsageError, match="no transaction"),
    ):
        store.start_runs_in(autocommitting, [new_run(1)])


@pytest.mark.requirement("promise-1")
@pytest.mark.parametrize("kept", [True, False])
def test_a_caller_with_a_session_of_its_own_decides_whether_the_run_starts(
    store: SqliteStore, path: str, kept: bool
) -> None:
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool)
    with Session(engine) as session:
        session.execute(text("insert into ledger values ('order')"))
        store.start_runs_in(session, [new_run(1)])
        session.commit() if kept else session.rollback()
    engine.dispose()

    assert ledger(path) == ["order"] * kept
    if kept:
        assert store.get_run(DEFAULT_TENANT, run_id(1)).status == "queued"
    else:
        with pytest.raises(RunNotFound):
            store.get_run(DEFAULT_TENANT, run_id(1))


@pytest.mark.requirement("fault-40")
def test_a_callers_connection_no_longer_checkpoints_with_a_flawed_library(path: str) -> None:
    store = SqliteStore(path, library=FLAWED)
    with closing(sqlite3.connect(path)) as connection, connection:
        store.start_runs_in(connection, [new_run(1)])

        assert connection.execute("pragma wal_autocheckpoint").fetchone() == (0,)

    store.close()
