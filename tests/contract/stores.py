"""The stores that the contract is about, opened on fresh databases with a clock that the test moves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from holdfast.model.ids import UnixMs
from holdfast.store.memory import MemoryStore, MemoryTransaction
from holdfast.store.port import Store

KINDS = ("memory", "sqlite", "postgres")
START_MS = UnixMs(1_700_000_000_000)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: UnixMs = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> UnixMs:
        return self.now_ms

    def advance(self, ms: int) -> UnixMs:
        """Move on by so many milliseconds."""
        self.now_ms = UnixMs(self.now_ms + ms)
        return self.now_ms


Opening = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class OpenStore:
    """A store, and how a program opens a transaction of its own on the same database."""

    kind: str
    store: Store
    clock: ManualClock
    transactions: dict[type, Opening]
    """By class of connection, the driver's first: committed at the end, rolled back if an exception leaves it."""
    owner: Opening | None = None
    """The same, of the driver's class, for one whom no wall stops; None if none stands."""

    @property
    def connection(self) -> type:
        """What a transactional handler asks for if it has no wishes."""
        return next(iter(self.transactions))

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction on such a connection."""
        return self.transactions[self.connection]()

    def owner_transaction(self) -> AbstractContextManager[Any]:
        """A transaction that sees and may do everything."""
        return (self.owner or self.transaction)()


@contextmanager
def open_memory(clock: ManualClock) -> Generator[OpenStore, None, None]:
    """The reference."""
    store = MemoryStore(clock)
    yield OpenStore("memory", store, clock, {MemoryTransaction: store.transaction})
    store.close()


@contextmanager
def open_sqlite(clock: ManualClock, template: Path, path: Path) -> Generator[OpenStore, None, None]:
    """A copy of the migrated file ``template`` at ``path``."""
    from holdfast.store.sqlite.adapter import SqliteStore

    shutil.copyfile(template, path)
    store = SqliteStore(str(path), clock=clock)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path)

    @contextmanager
    def transaction() -> Generator[sqlite3.Connection, None, None]:
        connection = connect()
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    try:
        yield OpenStore("sqlite", store, clock, {sqlite3.Connection: transaction, **_alchemy("sqlite://", connect)})
    finally:
        store.close()


@contextmanager
def open_postgres(clock: ManualClock, url: str, owner_url: str | None = None) -> Generator[OpenStore, None, None]:
    """The migrated and empty database at ``url``; where a wall stands, that of a worker, and of the tables' owner."""
    import psycopg

    from holdfast.store.postgres.adapter import PostgresStore

    store = PostgresStore(url, clock=clock)

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(url)

    try:
        yield OpenStore(
            "postgres",
            store,
            clock,
            {psycopg.Connection: connect, **_alchemy("postgresql+psycopg://", connect)},
            None if owner_url is None else lambda: psycopg.connect(owner_url),
        )
    finally:
        store.close()


def _alchemy(dialect: str, connect: Callable[[], Any]) -> dict[type, Opening]:
    engine = create_engine(dialect, creator=connect, poolclass=NullPool)

    @contextmanager
    def session() -> Generator[Session, None, None]:
        with Session(engine) as session, session.begin():
            yield session

    return {Connection: engine.begin, Session: session}
