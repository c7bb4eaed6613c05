"""Opening the database that a command is about.

Unlike a program's own client, a command that only looks makes no tables and no file: a mistyped URL is an error, not an
empty database.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from holdfast.app import App, database_url, open_store
from holdfast.client.client import Client
from holdfast.client.sync import SyncClient
from holdfast.errors import SchemaTooOld, StoreMisconfigured
from holdfast.model.ids import Tenant
from holdfast.runtime.host import ProcessHost
from holdfast.store.port import Store


class NoDatabaseFile(StoreMisconfigured):
    """A command that only looks was pointed at a SQLite file that is not there."""

    template = "there is no file {file}; `holdfast migrate` or `holdfast dev` makes it"


@dataclass(frozen=True)
class Session:
    """An open database: its client, and the store for what clients do not ask."""

    client: SyncClient
    store: Store


def choose_url(given: str | None, app: App | None) -> str:
    """The database: ``--database``, else the App's own, else as ``database_url`` says."""
    return database_url(given or (app.database if app is not None else None))


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for any other."""
    scheme, _, path = url.partition(":///")
    return Path(path) if scheme.partition("+")[0] == "sqlite" and path else None


def find_database(url: str) -> Store:
    """The store, not yet connected. Raises StoreMisconfigured, also for a SQLite file that is not there."""
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise NoDatabaseFile(url=url, file=str(file.absolute()))
    return open_store(url, prepare=False)


def make_database(url: str) -> Store:
    """The store, with tables if it had none at all. Raises what ``Store.check_schema`` does, and StoreMisconfigured."""
    file = sqlite_file(url)
    if file is not None and not file.absolute().parent.is_dir():
        raise StoreMisconfigured(url=url, why=f"there is no folder {file.absolute().parent}")
    store = open_store(url, prepare=False)
    try:
        try:
            store.check_schema()
        except SchemaTooOld as error:
            if error.found != "none":
                raise
            upgrade(store, url)
            store.check_schema()
    except BaseException:
        store.close()
        raise
    return store


def upgrade(store: Store, url: str) -> str:
    """Migrate a database that answers, and return its new revision. Raises StoreMisconfigured if it refuses."""
    # Most commands need neither.
    from sqlalchemy.exc import SQLAlchemyError

    from holdfast.store.migrations import migrate

    try:
        return migrate(url)
    except (SQLAlchemyError, sqlite3.Error) as error:
        why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise StoreMisconfigured(url=store.url, why=f"its tables cannot be made: {why}") from error


@contextlib.contextmanager
def open_session(
    database: str | None, tenant: str, *, app: App | None = None, make_tables: bool = False
) -> Generator[Session]:
    """A client of the database for one command.

    Raises StoreMisconfigured, StoreUnavailable, SchemaTooOld, SchemaTooNew.
    """
    url = choose_url(database, app)
    store = make_database(url) if make_tables else find_database(url)
    with contextlib.closing(store):
        if not make_tables:
            store.check_schema()
        with (
            contextlib.closing(ProcessHost()) as host,
            contextlib.closing(SyncClient(Client(store, host, tenant=Tenant(tenant), registry=app))) as client,
        ):
            yield Session(client, store)
