from __future__ import annotations

import re
import sqlite3
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path

import pytest

from holdfast.errors import SchemaTooNew, SchemaTooOld, StoreMisconfigured
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store import tables
from holdfast.store.migrations import HEAD, current_revision, migrate
from holdfast.store.sqlite import SqliteStore
from tests.unit.sqlite_programs import migrate_file, program


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "holdfast.db")


def change(path: str, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def check(path: str) -> None:
    store = SqliteStore(path)
    try:
        store.check_schema()
    finally:
        store.close()


@pytest.mark.requirement("R-24")
def test_migrating_twice_is_migrating_once(path: str) -> None:
    before = current_revision(f"sqlite:///{path}")

    first, second = migrate(f"sqlite:///{path}"), migrate(f"sqlite:///{path}")

    assert (before, first, second, current_revision(f"sqlite:///{path}")) == (None, HEAD, HEAD, HEAD)
    check(path)


@pytest.mark.requirement("fault-58")
def test_migrators_that_race_all_find_the_tables(path: str) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(program(migrate_file, path))

    check(path)


@pytest.mark.requirement("fault-58")
def test_a_migration_that_fails_leaves_nothing_behind(path: str) -> None:
    change(path, "create table holdfast_workers (x)")

    with pytest.raises(Exception, match="holdfast_workers already exists"):
        migrate(f"sqlite:///{path}")

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select name from sqlite_schema").fetchall() == [("holdfast_workers",)]


def test_a_users_tables_live_beside_ours_whatever_their_names(path: str) -> None:
    names = [table.name for table in tables.METADATA.sorted_tables]
    for name in names:
        change(path, f"create table {name} (x)")
        change(path, f"create index {name}_by_x on {name} (x)")
    change(path, "insert into runs values ('a marathon')")

    migrate(f"sqlite:///{path}")

    with closing(sqlite3.connect(path)) as connection:
        made = {name for (name,) in connection.execute("select name from sqlite_schema where name not like 'sqlite_%'")}
        assert connection.execute("select x from runs").fetchall() == [("a marathon",)]
    users = {*names, *(f"{name}_by_x" for name in names)}
    assert [name for name in sorted(made - users) if not name.startswith("holdfast_")] == []


def test_a_database_without_tables_is_too_old(path: str) -> None:
    with pytest.raises(SchemaTooOld, match="holdfast migrate"):
        check(path)


def test_a_database_of_a_later_version_is_too_new(path: str) -> None:
    migrate(f"sqlite:///{path}")
    change(path, "update holdfast_version set version_num = '9999'")

    with pytest.raises(SchemaTooNew, match="9999"):
        check(path)
    with pytest.raises(SchemaTooNew, match="9999"):
        migrate(f"sqlite:///{path}")


def test_a_database_with_two_versions_is_misconfigured(path: str) -> None:
    migrate(f"sqlite:///{path}")
    change(path, "insert into holdfast_version values ('9999')")

    with pytest.raises(StoreMisconfigured, match="more than one row"):
        check(path)


@pytest.mark.parametrize("url", ["mysql://x/y", "holdfast.db", "sqlite://"])
def test_a_url_that_names_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(StoreMisconfigured):
        migrate(url)


@pytest.fixture
def ddl(path: str) -> dict[str, str]:
    """The definition of every table and index."""
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("select name, sql from sqlite_schema where sql is not null").fetchall())


@pytest.mark.requirement("C-20")
@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("runs", "status", RunStatus),
        ("journal", "kind", EntryKind),
        ("journal", "status", EntryStatus),
        ("waits", "kind", WaitKind),
        ("waits", "outcome", WaitOutcome),
        ("waits", "child_status", RunStatus),
        ("transitions", "from_status", RunStatus),
        ("transitions", "to_status", RunStatus),
    ],
)
def test_the_checks_list_the_words_of_the_model(
    ddl: dict[str, str], table: str, column: str, words: type[StrEnum]
) -> None:
    found = re.search(rf"\b{column} text\b[^,(]*check \({column} in \(([^)]*)\)", ddl[f"holdfast_{table}"])

    assert found is not None
    assert re.findall(r"'(\w+)'", found.group(1)) == [word.value for word in words]


def test_all_tables_are_strict(ddl: dict[str, str]) -> None:
    made = {name: text for name, text in ddl.items() if text.lower().startswith("create table")}
    loose = [name for name, text in made.items() if not re.search(r"\) strict(, without rowid)?$", text)]

    assert sorted(loose) == ["holdfast_version", "sqlite_sequence"]


def test_sqlalchemy_sees_the_columns_that_there_are(path: str) -> None:
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        for table in tables.METADATA.sorted_tables:
            columns = connection.execute(
                "select name from pragma_table_xinfo(?) order by name", (f"holdfast_{table.name}",)
            )

            assert [row[0] for row in columns] == sorted(table.c.keys())


def test_no_table_is_unknown_to_erasure_and_export(path: str) -> None:
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'")

        assert {row[0] for row in found} - {"holdfast_version"} == {
            f"holdfast_{table.name}" for table in tables.METADATA.sorted_tables
        }


@pytest.mark.parametrize(
    "statement",
    [
        "update holdfast_runs set ready_ms = 1, worker = 'w', status = 'running'",
        "update holdfast_runs set ready_ms = 1, status = 'waiting'",
        "update holdfast_runs set worker = 'w', status = 'queued', ready_ms = null",
        "update holdfast_runs set worker = null, status = 'running', ready_ms = null",
        "update holdfast_runs set status = 'completed', ready_ms = null",
        "update holdfast_runs set status = 'queued', finalized_ms = 1",
        "update holdfast_runs set status = 'done'",
        "update holdfast_runs set input = 'no json'",
        "update holdfast_runs set priority = 1001",
    ],
)
def test_the_tables_refuse_what_no_run_can_be(path: str, statement: str) -> None:
    migrate(f"sqlite:///{path}")
    change(
        path,
        "insert into holdfast_runs (id, tenant, workflow, code, queue, status, status_reason, input, root_id,"
        " created_ms, updated_ms, ready_ms) values ('r', 't', 'w', 'w', 'q', 'queued', 'started', '{}', 'r', 1, 1, 1)",
    )

    with pytest.raises(sqlite3.IntegrityError):
        change(path, statement)
