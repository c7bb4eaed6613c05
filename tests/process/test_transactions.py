"""Runs started in the program's own transactions, and steps whose SQL commits with their journal row."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Protocol

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

import holdfast as hf
from holdfast.errors import RunNotFound
from holdfast.model.status import RunStatus
from tests.process import program
from tests.process.harness import QUICKLY, Stage, check_ended_once, eventually, times_lost, wait_until_ended


class Transaction(Protocol):
    """What all of them have."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...


Opener = Callable[[Stage], AbstractContextManager[Transaction]]


@contextmanager
def open_sqlite3(stage: Stage) -> Generator[sqlite3.Connection, None, None]:
    with contextlib.closing(sqlite3.connect(stage.folder / "holdfast.db")) as connection:
        yield connection


@contextmanager
def open_psycopg(stage: Stage) -> Generator[psycopg.Connection, None, None]:
    with contextlib.closing(psycopg.connect(stage.url)) as connection:
        yield connection


@contextmanager
def open_session(stage: Stage) -> Generator[Session, None, None]:
    url = stage.url if stage.is_sqlite else stage.url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.mark.anyio
@pytest.mark.requirement("S-51", "B-06", "promise-1", "promise-11")
@pytest.mark.parametrize(
    ("database", "open_transaction"),
    [
        ("sqlite_stage", open_sqlite3),
        ("sqlite_stage", open_session),
        ("postgres_stage", open_psycopg),
        ("postgres_stage", open_session),
    ],
)
async def test_a_start_in_a_transaction_is_seen_by_a_worker_elsewhere_once_it_is_committed_and_never_if_it_is_not(
    request: pytest.FixtureRequest, database: str, open_transaction: Opener
) -> None:
    stage: Stage = request.getfixturevalue(database)
    stage.worker()
    async with hf.connect(stage.url, app=program.app) as client:
        with open_transaction(stage) as connection:
            undone = await client.start(program.short, connection=connection)
            connection.rollback()

            run = await client.start(program.three, "gate", connection=connection)
            with pytest.raises(RunNotFound):
                await run.get()
            if not stage.is_sqlite:
                # The worker looks into the line meanwhile. (On SQLite the open transaction holds up every other.)
                assert await (await client.start(program.short)).result(30) == 3
            assert not [effect for effect in stage.effects if effect.run == run.id]
            connection.commit()

        stage.open_gate("gate")
        assert await run.result(30) == 6
        with pytest.raises(RunNotFound):
            await undone.get()
    assert not [effect for effect in stage.effects if effect.run == undone.id]


@pytest.mark.requirement("S-51", "B-06")
@pytest.mark.parametrize(
    ("database", "open_transaction"), [("sqlite_stage", open_sqlite3), ("postgres_stage", open_psycopg)]
)
def test_the_blocking_client_starts_in_a_transaction_too(
    request: pytest.FixtureRequest, database: str, open_transaction: Opener
) -> None:
    stage: Stage = request.getfixturevalue(database)
    stage.worker()
    with stage.client() as client:
        with open_transaction(stage) as connection:
            undone = client.start(program.short, connection=connection)
            connection.rollback()
            run = client.start(program.short, connection=connection)
            connection.commit()

        assert run.result(30) == 3
        with pytest.raises(RunNotFound):
            undone.get()


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio."""
    return "asyncio"


# Steps

WAYS = [
    ("sqlite_stage", "sqlite"),
    ("sqlite_stage", "sqlite_async"),
    ("sqlite_stage", "session"),
    ("postgres_stage", "psycopg"),
    ("postgres_stage", "psycopg_async"),
    ("postgres_stage", "session"),
]
START = 1_000


class Bank:
    """The program's own table, beside the engine's."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._execute("create table accounts (name text primary key, balance integer not null)")
        self._execute(f"insert into accounts values ('ann', {START}), ('bob', 0)")  # noqa: S608 - a number of ours

    def close(self) -> None:
        self._execute("drop table accounts")

    @property
    def balances(self) -> dict[str, int]:
        """By name."""
        return dict(self._execute("select name, balance from accounts"))

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        stage = self._stage
        if stage.is_sqlite:
            with contextlib.closing(sqlite3.connect(stage.folder / "holdfast.db", timeout=30)) as file, file:
                return file.execute(statement).fetchall()
        with psycopg.connect(stage.url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def open_bank(stage: Stage) -> Generator[Bank, None, None]:
    bank = Bank(stage)
    try:
        yield bank
    finally:
        # Nobody may hold the table any more.
        stage.close()
        bank.close()


@pytest.mark.requirement("promise-3", "promise-2", "fault-1", "fault-3")
@pytest.mark.parametrize(("database", "how"), WAYS)
def test_a_worker_that_is_killed_in_a_transactional_step_leaves_neither_its_sql_nor_its_record(
    request: pytest.FixtureRequest, database: str, how: str
) -> None:
    stage: Stage = request.getfixturevalue(database)
    with open_bank(stage) as bank, stage.client() as client:
        victim = stage.worker()
        run = client.start(program.transfer, how, "gate")
        stage.wait_for_effects("between")
        victim.kill()

        assert bank.balances == {"ann": START, "bob": 0}
        assert client.detail(run.id).journal == []

        stage.open_gate("gate")
        stage.worker()
        assert run.result(30) == how
        assert bank.balances == {"ann": START - 1, "bob": 1}
        detail = client.detail(run.id)
    assert [entry.epoch for entry in detail.journal] == [detail.run.epoch]
    assert len({effect.idempotency_key for effect in stage.effects_of("between")}) == 1
    check_ended_once(detail)


@pytest.mark.requirement("promise-3", "promise-5", "fault-1", "fault-2")
def test_no_money_is_made_or_lost_while_workers_are_killed(stage: Stage) -> None:
    chance = random.Random(3)
    settings = replace(QUICKLY, concurrency=6, crashes_max=50)
    ways = [way for database, way in WAYS if (database == "sqlite_stage") == stage.is_sqlite]
    stage.open_gate("gate")
    with open_bank(stage) as bank, stage.client() as client:
        runs = client.start_many(
            hf.Start(workflow=program.transfer, args=(ways[number % 3], "gate")) for number in range(60)
        )
        workers = [stage.worker(settings=settings) for _ in range(2)]
        for threshold in sorted(chance.sample(range(1, 55), 5)):
            eventually(lambda threshold=threshold: len(stage.effects) >= threshold, "progress")  # type: ignore[misc]
            workers.pop(chance.randrange(2)).kill()
            assert sum(bank.balances.values()) == START
            workers.append(stage.worker(settings=settings, is_ready=False))
        ended = wait_until_ended(client, [run.id for run in runs])
        details = [client.detail(run.id) for run in runs]

        assert bank.balances == {"ann": START - 60, "bob": 60}
    assert {run.status for run in ended} == {RunStatus.COMPLETED}
    for detail in details:
        assert len(detail.journal) == 1
        check_ended_once(detail)
    # A handler may have been called more often than it committed, but only where a worker was lost.
    assert 60 <= len(stage.effects) <= 60 + sum(times_lost(detail) for detail in details)


@pytest.mark.requirement("promise-3", "promise-4", "fault-4")
def test_a_transactional_step_of_a_worker_that_lost_its_lease_is_rolled_back(postgres_stage: Stage) -> None:
    stage = postgres_stage
    with open_bank(stage) as bank, stage.client() as client:
        zombie = stage.worker()
        run = client.start(program.transfer, "psycopg", "gate")
        stage.wait_for_effects("between")
        zombie.stop()
        heir = stage.worker()
        # The heir's handler waits for the row that the zombie's has changed: only the engine's own rows are free.
        eventually(lambda: client.detail(run.id).run.epoch > 1, "the run is taken over")
        stage.open_gate("gate")
        zombie.send(signal.SIGCONT)

        assert run.result(30) == "psycopg"
        zombie.says("lease lost")
        assert bank.balances == {"ann": START - 1, "bob": 1}
        detail = client.detail(run.id)
    assert [entry.epoch for entry in detail.journal] == [detail.run.epoch]
    assert [effect.pid for effect in stage.effects] == [zombie.pid, heir.pid]
