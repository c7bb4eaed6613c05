"""What a client does inside the caller's own transaction shares its fate: committed, rolled back, or lost."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from anyio import to_thread
from sqlalchemy import Connection, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import holdfast as hf
from holdfast.client.sync import SyncClient
from holdfast.errors import RunNotFound, UsageError
from tests.contract.conftest import Opener
from tests.contract.scene import run_id
from tests.engine.conftest import Engine, RealClock

pytestmark = pytest.mark.anyio

KINDS = {
    "sqlite": (sqlite3.Connection, Connection, Session),
    "postgres": (psycopg.Connection, Connection, Session),
    "walled": (psycopg.Connection, Session),
}
CASES = [pytest.param(kind, wants, id=f"{kind}-{wants.__module__}") for kind, all_ in KINDS.items() for wants in all_]


@asynccontextmanager
async def waiting(open_store: Opener, kind: str) -> AsyncGenerator[tuple[Engine, Any, Callable[[type], Any]], None]:
    """An engine, a run that waits for a signal, and how to open a connection of the caller's."""
    with open_store(kind, RealClock()) as opened:
        engine = Engine(opened)

        @engine.app.workflow
        async def order() -> Any:
            return await hf.wait_for_signal("approved")

        def connect() -> Any:
            with opened.transaction() as known:
                if kind == "sqlite":
                    return sqlite3.connect(known.execute("pragma database_list").fetchone()[2])
                return psycopg.connect(known.info.dsn)

        def caller(wants: type) -> Any:
            if wants in (sqlite3.Connection, psycopg.Connection):
                return connect()
            scheme = "sqlite://" if kind == "sqlite" else "postgresql+psycopg://"
            alchemy = create_engine(scheme, creator=connect, poolclass=NullPool)
            return Session(alchemy) if wants is Session else alchemy.connect()

        async with engine.worker():
            run = await engine.client.start(order)
            yield engine, run, caller
        engine.host.close()


@pytest.mark.requirement("C-27", "promise-7")
@pytest.mark.parametrize(("kind", "wants"), CASES)
async def test_a_signal_in_a_callers_transaction_arrives_once_that_commits(
    open_store: Opener, kind: str, wants: type
) -> None:
    async with waiting(open_store, kind) as (engine, run, caller):
        connection = caller(wants)
        assert await engine.client.signal("approved", "rolled back", run_id=run.id, connection=connection) == []
        connection.rollback()
        await engine.client.signal("approved", "lost", run_id=run.id, connection=connection)
        connection.close()  # as a crash does: the database has heard of no commit

        again = caller(wants)
        await engine.client.signal("approved", "committed", run_id=run.id, connection=again)
        again.commit()
        again.close()

        assert await run.result(60) == "committed"


@pytest.mark.requirement("S-51", "promise-1")
@pytest.mark.parametrize(("kind", "wants"), CASES)
async def test_a_start_in_a_transaction_that_has_not_begun_yet_is_committed_with_it(
    open_store: Opener, kind: str, wants: type
) -> None:
    async with waiting(open_store, kind) as (engine, run, caller):
        connection = caller(wants)
        undone = await engine.client.start("order", connection=connection)
        connection.rollback()
        started = await engine.client.start("order", connection=connection)
        connection.commit()
        connection.close()

        assert (await started.get()).id == started.id
        with pytest.raises(RunNotFound):
            await undone.get()
        await engine.client.signal("approved", 1, run_id=run.id)


@pytest.mark.requirement("C-27")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_the_blocking_client_signals_in_a_transaction_too(open_store: Opener, kind: str) -> None:
    async with waiting(open_store, kind) as (engine, run, caller):

        def send() -> None:
            client = SyncClient(engine.client)
            connection = caller(sqlite3.Connection if kind == "sqlite" else psycopg.Connection)
            client.signal("approved", 7, run_id=run.id, connection=connection)
            connection.commit()
            connection.close()

        await to_thread.run_sync(send)

        assert await run.result(60) == 7


@pytest.mark.requirement("C-27")
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "walled"])
async def test_a_signal_to_a_run_that_is_not_there_leaves_the_callers_transaction_usable(
    open_store: Opener, kind: str
) -> None:
    async with waiting(open_store, kind) as (engine, run, caller):
        connection = caller(sqlite3.Connection if kind == "sqlite" else psycopg.Connection)
        with pytest.raises(RunNotFound):
            await engine.client.signal("approved", run_id=run_id(404), connection=connection)

        await engine.client.signal("approved", 1, run_id=run.id, connection=connection)
        connection.commit()
        connection.close()

        assert await run.result(60) == 1


@pytest.mark.requirement("C-27", "S-51")
@pytest.mark.parametrize("kind", ["postgres", "walled"])
async def test_an_awaited_connection_takes_signals_and_starts(open_store: Opener, kind: str) -> None:
    async with waiting(open_store, kind) as (engine, run, caller):
        with caller(psycopg.Connection) as known:
            dsn = known.info.dsn
        connection = await psycopg.AsyncConnection.connect(dsn)
        await engine.client.signal("approved", "rolled back", run_id=run.id, connection=connection)
        undone = await engine.client.start("order", connection=connection)
        await connection.rollback()

        await engine.client.signal("approved", "committed", run_id=run.id, connection=connection)
        started = await engine.client.start("order", connection=connection)
        await connection.commit()
        await connection.close()

        assert await run.result(60) == "committed"
        assert (await started.get()).id == started.id
        with pytest.raises(RunNotFound):
            await undone.get()


class AsyncSession:
    """Named as SQLAlchemy's is, which awaits a driver that SQLite's store does not have."""


@pytest.mark.requirement("S-51")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_what_is_no_connection_of_the_database_is_refused_by_its_name(open_store: Opener, kind: str) -> None:
    async with waiting(open_store, kind) as (engine, run, _):
        with pytest.raises(UsageError, match=r"Connection.*in a AsyncSession|in a AsyncSession.*Connection"):
            await engine.client.signal("approved", run_id=run.id, connection=AsyncSession())
        with pytest.raises(UsageError, match=r"Connection.*in a AsyncSession|in a AsyncSession.*Connection"):
            await engine.client.start("order", connection=AsyncSession())

        await engine.client.signal("approved", 1, run_id=run.id)
        assert await run.result(60) == 1
