"""Bringing a database to the newest revision, whoever else is at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, StaticPool

from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.store.schema import HEAD, REVISIONS, VERSION_TABLE, check_revision
from holdfast.store.sqlite.database import Database

_WAIT_MS: Final = 60_000
"""How long an SQLite file may be in use by others before a migration gives up."""

ADVISORY_LOCK: Final = 0x686F6C64
"""PostgreSQL's advisory lock that migrators queue up at: ``hold`` in ASCII."""


def migrate(url: str) -> str:
    """Bring the database to ``HEAD`` in one transaction and return that revision.

    Idempotent, and safe when several migrators race: the others wait and then find nothing to do.

    Raises:
        SchemaTooNew: the tables are of a revision that this version does not know.
        StoreMisconfigured: the URL names neither SQLite nor PostgreSQL, or a file that is no database.
        StoreBusy, StoreUnavailable: the database is in use, or does not answer.
    """
    with _transaction(url) as connection:
        found = _read_revision(connection)
        if found is not None and found not in REVISIONS:
            check_revision(make_url(url).render_as_string(), found)
        if found != HEAD:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return HEAD


def current_revision(url: str) -> str | None:
    """The database's revision, None if it has no tables of ours. Creates nothing but an absent SQLite file."""
    with _transaction(url) as connection:
        return _read_revision(connection)


def _read_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


@contextmanager
def _transaction(url: str) -> Generator[Connection, None, None]:
    """One transaction that no other migrator can be in at the same time."""
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise StoreMisconfigured(url="the database URL", why=str(error)) from error
    match backend:
        case "sqlite":
            opened = _sqlite(url)
        case "postgresql":
            opened = _postgresql(url)
        case _:
            raise StoreMisconfigured(url=make_url(url).render_as_string(), why="it must be sqlite:// or postgresql://")
    with opened as connection:
        yield connection


@contextmanager
def _postgresql(url: str) -> Generator[Connection, None, None]:
    import psycopg

    conninfo = "postgresql://" + url.partition("://")[2]
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
            yield connection
    except psycopg.OperationalError as error:
        raise StoreUnavailable(url=make_url(url).render_as_string(), why=str(error)) from error


@contextmanager
def _sqlite(url: str) -> Generator[Connection, None, None]:
    path = make_url(url).database
    if not path:
        raise StoreMisconfigured(url=url, why="it names no file; use sqlite:///relative.db or sqlite:////absolute.db")
    database = Database(path, busy_timeout_ms=_WAIT_MS, library=sqlite3.sqlite_version_info)
    try:
        with database.writing() as driver:
            engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool, pool_reset_on_return=None)
            # SQLAlchemy rolls back when it first connects, so it comes before BEGIN; it does not know of the latter.
            with engine.connect() as connection:
                driver.execute("begin immediate")
                try:
                    yield connection
                except BaseException:
                    driver.execute("rollback")
                    raise
                driver.execute("commit")
    finally:
        database.close()
