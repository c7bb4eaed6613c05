"""Whatever is wrong with a database, opening it says so in one typed line, and never says its password."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from holdfast.app import connect_sync, open_store
from holdfast.errors import StoreCorrupt, StoreError, StoreMisconfigured, StoreUnavailable
from holdfast.store.migrations import current_revision, migrate
from holdfast.store.postgres import PostgresStore
from holdfast.store.sqlite import SqliteStore
from holdfast.store.sqlite.watcher import FOREIGN
from tests.contract.scene import new_run

SECRET = "hunter2-hunter2"  # noqa: S105 - looked for in messages
NOBODY = 65_534


def failure(url: str, expected: type[StoreError], *, open_it: Callable[[str], object] = open_store) -> str:
    """The one line that opening this database says."""
    with pytest.raises(StoreError) as raised:
        open_it(url)
    text = str(raised.value)
    assert type(raised.value) is expected, repr(raised.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


@contextmanager
def as_nobody() -> Generator[Path, None, None]:
    """Without the right to write wherever one likes; a folder that is not ours to write in."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-open-"))
    folder.chmod(0o755)
    user = os.geteuid()
    try:
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def give_up_rights() -> None:
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


@pytest.mark.parametrize("prepare", [True, False])
def test_a_file_that_is_no_database_is_not_used(tmp_path: Path, prepare: bool) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("remember the milk\n" * 100)

    def open_and_look(url: str) -> None:
        with closing(open_store(url, prepare=prepare)) as store:
            store.check_schema()

    assert "file is not a database" in failure(f"sqlite:///{file}", StoreMisconfigured, open_it=open_and_look)
    assert file.read_text().startswith("remember")


def test_a_damaged_database_is_called_corrupt(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.db"
    migrate(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("pragma journal_mode = delete")
    content = bytearray(file.read_bytes())
    content[100:4096] = b"\xff" * 3996
    file.write_bytes(bytes(content))

    assert "malformed" in failure(f"sqlite:///{file}", StoreCorrupt)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    folder = tmp_path / "holdfast.db"
    folder.mkdir()

    assert "unable to open database file" in failure(f"sqlite:///{folder}", StoreMisconfigured)


def test_a_file_in_a_folder_that_does_not_exist_cannot_be_made(tmp_path: Path) -> None:
    text = failure(f"sqlite:///{tmp_path}/no/such/folder/holdfast.db", StoreMisconfigured)

    assert "cannot be" in text or "unable to open" in text


def test_a_file_that_may_not_be_written_is_not_used() -> None:
    with as_nobody() as folder:
        file = folder / "holdfast.db"
        migrate(f"sqlite:///{file}")
        with closing(open_store(f"sqlite:///{file}")) as store:
            store.start_runs([new_run(1)])
        for each in folder.iterdir():
            each.chmod(0o444)
        folder.chmod(0o555)
        give_up_rights()

        failure(f"sqlite:///{file}", StoreMisconfigured)


def test_a_new_file_in_a_folder_that_may_not_be_written_is_not_made() -> None:
    with as_nobody() as folder:
        folder.chmod(0o555)
        give_up_rights()

        failure(f"sqlite:///{folder}/holdfast.db", StoreMisconfigured)


@pytest.mark.requirement("R-24")
@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite://relative.db",
        "sqlite:///:memory:",
        f"sqlite:///file.db?key={SECRET}",
        f"mysql://root:{SECRET}@localhost/runs",
        f"host=localhost password={SECRET}",
        SECRET,
        f"postgresql://ann:{SECRET}:{SECRET}@localhost:none/runs",
        f"postgresql://ann@localhost/runs?password={SECRET}&nonsense=1",
        f"postgresql://ann@local host:{SECRET}/runs",
    ],
)
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    failure(url, StoreMisconfigured)
    failure(url, StoreMisconfigured, open_it=current_revision)


def test_what_a_url_could_not_be_read_for_is_not_quoted_by_a_cause() -> None:
    with pytest.raises(StoreMisconfigured) as raised:
        PostgresStore(f"postgresql://ann@localhost:{SECRET}/runs")

    assert raised.value.__suppress_context__


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_is_unavailable(scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

    text = failure(f"{scheme}://ann:{SECRET}@127.0.0.1:{port}/runs", StoreUnavailable)

    assert f"postgresql://ann@127.0.0.1:{port}/runs" in text
    assert "refused" in text.lower()


def test_a_database_that_does_not_exist_is_named(postgres_server_url: str) -> None:
    url = make_url(postgres_server_url).set(database="no_such_database").render_as_string(hide_password=False)

    assert 'database "no_such_database" does not exist' in failure(url, StoreMisconfigured)


def test_a_wrong_password_is_not_repeated_to_the_user(postgres_server_url: str) -> None:
    server = make_url(postgres_server_url)
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        [hba] = connection.execute("show hba_file").fetchone() or [""]
        before = Path(hba).read_text("utf-8")
        connection.execute("create role ann login password 'another'")
        try:
            Path(hba).write_text(f"local all ann scram-sha-256\nhost all ann all scram-sha-256\n{before}", "utf-8")
            connection.execute("select pg_reload_conf()")

            text = failure(
                server.set(username="ann", password=SECRET).render_as_string(hide_password=False), StoreMisconfigured
            )
        finally:
            Path(hba).write_text(before, "utf-8")
            connection.execute("select pg_reload_conf()")
            connection.execute("drop role ann")

    assert "password authentication failed" in text


@pytest.mark.requirement("R-24")
def test_a_role_without_rights_is_told_so(postgres_server_url: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute("create role bob login")
        try:
            url = make_url(postgres_url).set(username="bob").render_as_string(hide_password=False)
            assert "permission denied" in failure(url, StoreMisconfigured)
        finally:
            connection.execute("drop role bob")


@pytest.mark.requirement("R-24")
@pytest.mark.parametrize(
    "given",
    [
        f"postgresql://ann:{SECRET}@localhost:5433/runs",
        f"postgresql+psycopg://ann:{SECRET}@localhost/runs?sslmode=require",
        f"postgresql:///runs?host=/run/postgresql&user=ann&password={SECRET}&sslpassword={SECRET}",
    ],
)
def test_the_url_of_a_store_does_not_show_its_password(given: str) -> None:
    with closing(PostgresStore(given, listen=False)) as store:
        assert SECRET not in store.url
        assert store.url.startswith("postgresql://")
        assert "runs" in store.url


def test_a_store_of_an_empty_file_has_tables(tmp_path: Path) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/holdfast.db")) as store:
        store.check_schema()


@pytest.mark.requirement("promise-12")
def test_an_opened_file_tells_of_what_other_programs_commit(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.db"
    heard = threading.Event()
    with closing(open_store(f"sqlite:///{file}")) as store, closing(SqliteStore(str(file))) as other:
        store.hints.subscribe(lambda hint: heard.set() if hint == FOREIGN else None)

        other.start_runs([new_run(1)])

        assert heard.wait(30)


def test_a_client_of_a_database_that_is_away_is_told_when_it_opens(tmp_path: Path) -> None:
    def connect(url: str) -> None:
        with connect_sync(url):
            raise AssertionError("it opened")

    failure(f"sqlite:///{tmp_path}", StoreMisconfigured, open_it=connect)
