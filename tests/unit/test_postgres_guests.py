from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from holdfast.errors import UsageError
from holdfast.model.commit import Finish, RunCommit
from holdfast.model.ids import Json
from holdfast.model.run import ClaimedRun
from holdfast.model.status import RunStatus
from holdfast.store.postgres import PostgresStore
from tests.contract.scene import Scene, entry, new_run, run_id
from tests.postgres_stage import migrated_database, open_scene


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str]


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        with psycopg.connect(url) as connection:
            connection.execute(
                """
                create table payments (
                    id integer generated always as identity primary key,
                    order_id text unique deferrable initially deferred)
                """
            )
        yield url


@pytest.fixture
def scene(url: str) -> Generator[Scene, None, None]:
    with open_scene(url) as scene:
        yield scene
        scene.check_histories()


def store_of(scene: Scene) -> PostgresStore:
    assert isinstance(scene.store, PostgresStore)
    return scene.store


def payments(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [order for (order,) in connection.execute("select order_id from payments order by 1")]


def charged(run: ClaimedRun, **parts: Any) -> RunCommit:
    return RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1, **parts)])


@pytest.mark.requirement("promise-3", "S-50")
def test_what_a_session_commits_waits_for_the_journal(scene: Scene, url: str) -> None:
    run = scene.held(1)

    def charge(session: Session) -> RunCommit:
        session.add(Payment(order_id="42"))
        session.commit()
        assert payments(url) == []
        session.add(Payment(order_id="43"))
        return charged(run)

    answer = scene.store.commit_with(charge, wants=Session)

    assert (answer.refused, answer.broken) == ({}, {})
    assert payments(url) == ["42", "43"]
    assert [found.key for found in scene.detail(run.id).journal] == ["charge"]


@pytest.mark.requirement("promise-3", "promise-4")
def test_what_a_session_committed_is_gone_if_the_lease_is_lost(scene: Scene, url: str) -> None:
    run = scene.held(1)
    scene.lose(run)

    def charge(session: Session) -> RunCommit:
        session.add(Payment(order_id="42"))
        session.commit()
        return charged(run)

    answer = scene.store.commit_with(charge, wants=Session)

    assert list(answer.refused) == [run.id]
    assert payments(url) == []


@pytest.mark.requirement("promise-3")
def test_a_handler_cannot_commit_before_the_journal(scene: Scene, url: str) -> None:
    run = scene.held(1)

    def by_alchemy(connection: Connection) -> RunCommit:
        connection.execute(text("insert into payments (order_id) values ('42')"))
        connection.commit()
        return charged(run)

    def by_driver(connection: psycopg.Connection[Any]) -> RunCommit:
        connection.execute("insert into payments (order_id) values ('43')")
        connection.commit()
        return charged(run)

    with pytest.raises(UsageError):
        scene.store.commit_with(by_alchemy, wants=Connection)
    with pytest.raises(psycopg.ProgrammingError):
        scene.store.commit_with(by_driver, wants=psycopg.Connection)
    for wants in (Connection, psycopg.Connection):
        # The next handler does not inherit what the last one left.
        scene.store.commit_with(lambda _: RunCommit(run.id, run.epoch), wants=wants)

    assert payments(url) == []
    assert scene.detail(run.id).journal == []


@pytest.mark.parametrize("wants", [psycopg.Connection, Connection, Session])
def test_rows_that_cannot_be_stored_take_the_handlers_sql_with_them(scene: Scene, url: str, wants: type) -> None:
    run = scene.held(1)

    def charge(connection: Any) -> RunCommit:
        connection.execute("insert into payments (order_id) values ('42')" if wants is psycopg.Connection else INSERT)
        return charged(run, result=Json(b"no json"))

    answer = scene.store.commit_with(charge, wants=wants)

    assert list(answer.broken) == [run.id]
    assert payments(url) == []


INSERT = text("insert into payments (order_id) values ('42')")


@pytest.mark.parametrize("wants", [psycopg.Connection, Connection, Session])
def test_a_constraint_that_speaks_at_the_commit_is_the_handlers_error(scene: Scene, url: str, wants: type) -> None:
    run = scene.held(1)

    def charge(connection: Any) -> RunCommit:
        for _ in range(2):
            connection.execute(str(INSERT) if wants is psycopg.Connection else INSERT)
        return charged(run)

    with pytest.raises(Exception, match="duplicate key"):
        scene.store.commit_with(charge, wants=wants)

    assert payments(url) == []
    assert scene.detail(run.id).journal == []


def test_handlers_get_the_drivers_usual_types(scene: Scene) -> None:
    run = scene.held(1)
    found: list[Any] = []

    def look(connection: psycopg.Connection[Any]) -> RunCommit:
        found.extend(
            connection.execute("select '{\"a\": 1}'::json, gen_random_uuid(), current_setting('enable_seqscan')")
        )
        return charged(run)

    scene.store.commit_with(look, wants=psycopg.Connection)

    [(document, uuid, seqscan)] = found
    assert document == {"a": 1}
    assert type(uuid).__name__ == "UUID"
    assert seqscan == "on"


def test_a_class_that_is_no_connection_is_a_usage_error(scene: Scene) -> None:
    with pytest.raises(UsageError, match="dict"):
        scene.store.commit_with(lambda _: RunCommit(run_id(1), 1), wants=dict)
    with pytest.raises(UsageError, match="dict"):
        asyncio.run(store_of(scene).commit_with_async(lambda _: never(), wants=dict))
    with pytest.raises(UsageError, match="dict"):
        scene.store.start_runs_in({}, [new_run(1)])
    with pytest.raises(UsageError, match="dict"):
        asyncio.run(store_of(scene).start_runs_in_async({}, [new_run(1)]))


async def never() -> RunCommit:
    raise AssertionError


@pytest.mark.requirement("promise-3")
def test_an_awaited_handlers_sql_commits_with_the_journal(scene: Scene, url: str) -> None:
    first, second = scene.held(1), scene.held(2)

    def charge(run: ClaimedRun, order: str) -> Callable[[psycopg.AsyncConnection[Any]], Awaitable[RunCommit]]:
        async def handler(connection: psycopg.AsyncConnection[Any]) -> RunCommit:
            await connection.execute("insert into payments (order_id) values (%s)", [order])
            return RunCommit(run.id, run.epoch, move=Finish(RunStatus.COMPLETED, "completed"))

        return handler

    async def both() -> None:
        for run, order in ((first, "42"), (second, "43")):
            answer = await store_of(scene).commit_with_async(charge(run, order), wants=psycopg.AsyncConnection)
            assert (answer.refused, answer.broken) == ({}, {})

    asyncio.run(both())

    assert payments(url) == ["42", "43"]
    assert scene.run(second.id).status is RunStatus.COMPLETED


@pytest.mark.requirement("promise-3", "promise-4")
def test_an_awaited_handlers_sql_is_gone_if_the_lease_is_lost_or_it_raises(scene: Scene, url: str) -> None:
    run = scene.held(1)
    scene.lose(run)

    async def charge(connection: psycopg.AsyncConnection[Any]) -> RunCommit:
        await connection.execute("insert into payments (order_id) values ('42')")
        return charged(run)

    async def fail(connection: psycopg.AsyncConnection[Any]) -> RunCommit:
        await charge(connection)
        raise ZeroDivisionError

    answer = asyncio.run(store_of(scene).commit_with_async(charge, wants=psycopg.AsyncConnection))
    assert list(answer.refused) == [run.id]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(store_of(scene).commit_with_async(fail, wants=psycopg.AsyncConnection))

    assert payments(url) == []


@pytest.mark.requirement("S-51")
@pytest.mark.parametrize("commit", [True, False])
def test_runs_started_in_an_awaited_transaction_share_its_fate(scene: Scene, url: str, commit: bool) -> None:
    async def start() -> None:
        connection = await psycopg.AsyncConnection.connect(url)
        [started] = await store_of(scene).start_runs_in_async(connection, [new_run(1)])
        assert started.created
        await (connection.commit() if commit else connection.rollback())
        await connection.close()

    asyncio.run(start())

    assert len(scene.store.get_runs(new_run(1).tenant, [run_id(1)])) == int(commit)


async def pay(connection: AsyncConnection | AsyncSession, order: str) -> None:
    await connection.execute(text("insert into payments (order_id) values (:order)"), {"order": order})


@pytest.mark.requirement("promise-3", "S-50")
@pytest.mark.parametrize("wants", [AsyncConnection, AsyncSession])
def test_what_an_awaited_session_writes_commits_with_the_journal(scene: Scene, url: str, wants: type) -> None:
    lost = scene.held(2)
    scene.lose(lost)
    run = scene.held(1)

    def charge(run: ClaimedRun, order: str) -> Callable[[AsyncConnection | AsyncSession], Awaitable[RunCommit]]:
        async def handler(connection: AsyncConnection | AsyncSession) -> RunCommit:
            assert isinstance(connection, wants)
            await pay(connection, order)
            return charged(run)

        return handler

    async def fail(connection: AsyncConnection | AsyncSession) -> RunCommit:
        await pay(connection, "raised")
        raise ZeroDivisionError

    async def three() -> None:
        store = store_of(scene)
        answer = await store.commit_with_async(charge(run, "42"), wants=wants)
        assert answer.refused == {}
        answer = await store.commit_with_async(charge(lost, "stale"), wants=wants)
        assert list(answer.refused) == [lost.id]
        with pytest.raises(ZeroDivisionError):
            await store.commit_with_async(fail, wants=wants)

    asyncio.run(three())

    assert payments(url) == ["42"]
    assert [one.key for one in scene.detail(run.id).journal] == ["charge"]


@pytest.mark.requirement("promise-3", "S-50")
def test_what_an_awaited_session_commits_waits_for_the_journal(scene: Scene, url: str) -> None:
    lost = scene.held(2)
    scene.lose(lost)
    run = scene.held(1)

    def charge(run: ClaimedRun, order: str) -> Callable[[AsyncSession], Awaitable[RunCommit]]:
        async def handler(session: AsyncSession) -> RunCommit:
            session.add(Payment(order_id=order))
            await session.commit()
            assert payments(url) == []
            return charged(run)

        return handler

    async def both() -> None:
        answer = await store_of(scene).commit_with_async(charge(lost, "stale"), wants=AsyncSession)
        assert list(answer.refused) == [lost.id]
        answer = await store_of(scene).commit_with_async(charge(run, "42"), wants=AsyncSession)
        assert answer.refused == {}

    asyncio.run(both())

    assert payments(url) == ["42"]


@pytest.mark.requirement("S-51")
@pytest.mark.parametrize("commit", [True, False])
def test_runs_started_in_an_awaited_sessions_transaction_share_its_fate(scene: Scene, url: str, commit: bool) -> None:
    async def start() -> None:
        engine = create_async_engine(make_url(url).set(drivername="postgresql+psycopg"))
        async with AsyncSession(engine) as session:
            session.add(Payment(order_id="42"))
            await session.flush()
            [started] = await store_of(scene).start_runs_in_async(session, [new_run(1)])
            assert started.created
            await (session.commit() if commit else session.rollback())
        await engine.dispose()

    asyncio.run(start())

    assert len(scene.store.get_runs(new_run(1).tenant, [run_id(1)])) == int(commit)
    assert payments(url) == ["42"] * commit


@pytest.mark.requirement("fault-19", "promise-11")
def test_a_connection_that_the_handler_lost_is_the_handlers_error(scene: Scene, url: str) -> None:
    run = scene.held(1)

    def lose(connection: psycopg.Connection[Any]) -> RunCommit:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
        connection.execute("select 1")
        return charged(run)

    with pytest.raises(psycopg.OperationalError):
        scene.store.commit_with(lose, wants=psycopg.Connection)

    assert scene.detail(run.id).journal == []
