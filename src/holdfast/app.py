"""The composition root: the only place that names concrete stores and reads the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from holdfast.client.client import Client
from holdfast.client.sync import SyncClient
from holdfast.core.names import check_name
from holdfast.errors import SchemaTooNew, SchemaTooOld, StoreMisconfigured
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.port import Store
from holdfast.store.urls import read_scheme, read_sqlite_path
from holdfast.workflow.registry import Registry

if TYPE_CHECKING:
    from holdfast.runtime.worker import Worker
    from holdfast.studio.studio import Studio

DATABASE_VARIABLE = "HOLDFAST_DATABASE_URL"
DEFAULT_DATABASE = "sqlite:///holdfast.db"


def database_url(url: str | None = None) -> str:
    """The database to use: the given one, else ``HOLDFAST_DATABASE_URL``, else ``holdfast.db`` in this folder."""
    return url or os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE


def open_store(url: str | None = None, *, prepare: bool = True) -> Store:
    """Open a database.

    Args:
        url: ``sqlite:///file.db``, or ``postgresql://user@host/database``.
        prepare: make the tables of an empty database. One that holds older tables is left alone: ``holdfast migrate``.

    Raises:
        StoreMisconfigured: the URL is not understood, the driver is not installed, the file is no database or cannot be
            written, the server refuses us.
        StoreUnavailable: the database does not answer.
        StoreBusy, StoreCorrupt: others hold the SQLite file, or it is damaged.
    """
    wanted = database_url(url)
    store = _choose_store(wanted)
    if prepare:
        try:
            _make_tables(store, wanted)
        except BaseException:
            store.close()
            raise
    return store


def _choose_store(url: str) -> Store:
    scheme = read_scheme(url)
    if scheme == "sqlite":
        from holdfast.store.sqlite.adapter import SqliteStore

        # Another process's start is to wake this one's workers, and the end of its runs those who wait here for them.
        return SqliteStore(read_sqlite_path(url), watch=True)
    if scheme in ("postgresql", "postgres"):
        try:
            from holdfast.store.postgres.adapter import PostgresStore
        except ImportError as error:
            raise StoreMisconfigured(
                url=f"{scheme}://...", why="the driver is missing: pip install 'holdfast[postgres]'"
            ) from error
        return PostgresStore(url)
    raise StoreMisconfigured(url=f"{scheme}://...", why="the URL must begin with sqlite:/// or postgresql://")


def _make_tables(store: Store, url: str) -> None:
    try:
        store.check_schema()
    except SchemaTooNew:
        return
    except SchemaTooOld as error:
        if error.found == "none":
            # Once in the life of a database, so the rest of the time nobody waits for Alembic's import.
            from holdfast.store.migrations import migrate

            migrate(url)


class App(Registry):
    """A program's workflows and steps, and the database that their runs live in.

    Args:
        name: of the program; shown, never part of a key.
        database: its URL; ``HOLDFAST_DATABASE_URL``, or else ``holdfast.db`` in this folder, by default.
    """

    def __init__(self, name: str, *, database: str | None = None) -> None:
        super().__init__(check_name("app", name))
        self.database = database

    @asynccontextmanager
    async def worker(self, *, settings: WorkerSettings | None = None) -> AsyncGenerator[Worker, None]:
        """A worker inside this program, on this event loop, for as long as the block lasts; then it drains."""
        from holdfast.runtime.worker import Worker

        store = await asyncio.to_thread(open_store, self.database)
        settings = settings or WorkerSettings()
        host = ProcessHost(threads=settings.threads)
        try:
            async with Worker(self, store, host, settings=settings, version=version("holdfast")) as worker:
                yield worker
        finally:
            await asyncio.to_thread(_close, store, host)

    @asynccontextmanager
    async def client(self, *, tenant: str = DEFAULT_TENANT) -> AsyncGenerator[Client, None]:
        """A client of this App's database. Raises StoreMisconfigured, StoreUnavailable, SchemaTooOld, SchemaTooNew."""
        async with connect(self.database, tenant=tenant, app=self) as client:
            yield client

    @contextmanager
    def sync_client(self, *, tenant: str = DEFAULT_TENANT) -> Generator[SyncClient, None, None]:
        """The client for programs without an event loop."""
        with connect_sync(self.database, tenant=tenant, app=self) as client:
            yield client


@asynccontextmanager
async def connect(
    url: str | None = None, *, tenant: str = DEFAULT_TENANT, app: Registry | None = None
) -> AsyncGenerator[Client, None]:
    """A client of a database, with or without an App. Raises as ``open_store``, and SchemaTooOld, SchemaTooNew."""
    store = await asyncio.to_thread(_open_checked, url)
    host = ProcessHost()
    try:
        async with Client(store, host, tenant=Tenant(tenant), registry=app) as client:
            yield client
    finally:
        await asyncio.to_thread(_close, store, host)


@contextmanager
def connect_sync(
    url: str | None = None, *, tenant: str = DEFAULT_TENANT, app: Registry | None = None
) -> Generator[SyncClient, None, None]:
    """As ``connect``, for programs without an event loop."""
    store = _open_checked(url)
    host = ProcessHost()
    try:
        with contextlib.closing(SyncClient(Client(store, host, tenant=Tenant(tenant), registry=app))) as client:
            yield client
    finally:
        _close(store, host)


@contextmanager
def open_studio(url: str | None = None) -> Generator[Studio, None, None]:
    """The editor's side of a database: projects, drawn workflows, drafts, triggers. Raises as ``connect``."""
    # What only the editor needs is no part of the start of a worker.
    from holdfast.studio.studio import Studio

    with contextlib.closing(_open_checked(url)) as store:
        yield Studio(store)


def _open_checked(url: str | None) -> Store:
    store = open_store(url)
    try:
        store.check_schema()
    except BaseException:
        store.close()
        raise
    return store


def _close(store: Store, host: ProcessHost) -> None:
    host.close()
    store.close()
