"""Bringing a database to the newest revision, whoever else is at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.store.schema import HEAD, REVISIONS, VERSION_TABLE, check_revision
from holdfast.store.sqlite.database import Database
from holdfast.store.urls import one_line, read_scheme, read_sqlite_path, shown

_WAIT_MS: Final = 60_000
"""How long an SQLite file may be in use by others before a migration gives up."""

ADVISORY_LOCK: Final = 0x686F6C64
"""PostgreSQL's advisory lock that migrators queue up at: ``hold`` in ASCII."""


def migrate(url: str) -> str:
    """Bring the database to ``HEAD`` in one transaction and return that revision.

    Idempotent, and safe when several migrators race: the others wait and then find nothing to do.

    Raises:
        SchemaTooNew: the tables are of a revision that this version does not know.
        StoreMisconfigured: the URL names neither SQLite nor PostgreSQL, or what cannot be used: a file that is no
            database, a server that refuses us.
        StoreBusy, StoreUnavailable: the database is in use, or does not answer.
    """
    with _transaction(url) as connection:
        found = _read_revision(connection)
        if found is not None and found not in REVISIONS:
            check_revision(shown(make_url(url)), found)
        if found != HEAD:
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if connection.dialect.name == "postgresql":
            # Of a restored dump the transitions have positions that this cluster's transactions have not come to yet.
            connection.exec_driver_sql("select holdfast.raise_transition_base()")
            _extend_wall(connection)
    return HEAD


def _extend_wall(connection: Connection) -> None:
    """What tables there are now stand behind the wall between tenants, if there is one."""
    from holdfast.store.postgres.wall import extend_wall

    driver: Any = connection.connection.driver_connection
    extend_wall(driver)


def current_revision(url: str) -> str | None:
    """The database's revision, None if it has no tables of ours. Creates nothing but an absent SQLite file."""
    with _transaction(url) as connection:
        return _read_revision(connection)


def _read_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


@contextmanager
def _transaction(url: str) -> Generator[Connection, None, None]:
    """One transaction that no other migrator can be in at the same time."""
    match read_scheme(url):
        case "sqlite":
            opened = _sqlite(url)
        case "postgresql" | "postgres":
            opened = _postgresql(url)
        case other:
            raise StoreMisconfigured(url=f"{other}://...", why="it must begin with sqlite:/// or postgresql://")
    with opened as connection:
        yield connection


@contextmanager
def _postgresql(url: str) -> Generator[Connection, None, None]:
    import psycopg

    from holdfast.store.postgres.connection import Address
    from holdfast.store.postgres.sqlstate import Meaning, meaning_of

    address = Address(url, prepare=False)

    def connect() -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(**address.plain)
        except psycopg.Error as error:
            raise address.refusal(error) from error
        try:
            address.check_writable(connection.info)
        except StoreMisconfigured:
            connection.close()
            raise
        return connection

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
            # The tables' owner, too, is stopped by a wall between tenants.
            connection.exec_driver_sql("select set_config('holdfast.all_tenants', 'on', true)")
            yield connection
    except (psycopg.Error, DBAPIError) as error:
        cause = error if isinstance(error, psycopg.Error) else error.orig
        match meaning_of(cause or error):
            case Meaning.MISCONFIGURED:
                raise StoreMisconfigured(url=address.shown, why=one_line(cause or error)) from error
            case Meaning.LOST | Meaning.AWAY | Meaning.CONFLICT:
                # It is all one transaction, and a second one finds nothing to do: even a lost COMMIT may be repeated.
                raise StoreUnavailable(url=address.shown, why=one_line(cause or error)) from error
            case Meaning.DATA | Meaning.CONTINUED | Meaning.OTHER:
                raise


@contextmanager
def _sqlite(url: str) -> Generator[Connection, None, None]:
    database = Database(read_sqlite_path(url), busy_timeout_ms=_WAIT_MS, library=sqlite3.sqlite_version_info)
    try:
        with database.writing() as driver:
            engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool, pool_reset_on_return=None)
            # SQLAlchemy rolls back when it first connects, so it comes before BEGIN; it does not know of the latter.
            with engine.connect() as connection, _begun(driver):
                yield connection
    finally:
        database.close()


@contextmanager
def _begun(driver: sqlite3.Connection) -> Generator[None, None, None]:
    """A transaction, committed unless an exception leaves it. The driver's errors come out bare of SQLAlchemy's."""
    driver.execute("begin immediate")
    try:
        yield
    except DBAPIError as error:
        driver.execute("rollback")
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise
    except BaseException:
        driver.execute("rollback")
        raise
    driver.execute("commit")
