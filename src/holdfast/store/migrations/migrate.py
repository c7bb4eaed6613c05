"""Bringing a database to the newest revision, whoever else is at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from holdfast.errors import StoreMisconfigured
from holdfast.store.schema import HEAD, REVISIONS, VERSION_TABLE, check_revision

ADVISORY_LOCK: Final = 0x686F6C64
"""PostgreSQL's advisory lock that migrators queue up at: ``hold`` in ASCII."""


def migrate(url: str) -> str:
    """Bring the database to ``HEAD`` in one transaction and return that revision.

    Idempotent, and safe when several migrators race: the others wait and then find nothing to do.

    Raises:
        SchemaTooNew: the tables are of a revision that this version does not know.
        StoreMisconfigured: the URL names neither SQLite nor PostgreSQL.
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
def _transaction(url: str) -> Iterator[Connection]:
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
def _postgresql(url: str) -> Iterator[Connection]:
    import psycopg

    _, _, rest = url.partition("://")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(f"postgresql://{rest}"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
        yield connection


@contextmanager
def _sqlite(url: str) -> Iterator[Connection]:
    import sqlite3

    path = make_url(url).database
    if not path:
        raise StoreMisconfigured(url=url, why="it names no file; use sqlite:///relative.db or sqlite:////absolute.db")
    driver = sqlite3.connect(path, timeout=60, isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: driver, poolclass=NullPool)
    try:
        driver.execute("pragma journal_mode = wal")
        with engine.connect() as connection:
            connection.exec_driver_sql("begin immediate")
            yield connection
            connection.exec_driver_sql("commit")
    finally:
        driver.close()
