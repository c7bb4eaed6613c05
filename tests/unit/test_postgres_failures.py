from __future__ import annotations

import os
import threading
from collections.abc import Generator

import psycopg
import pytest
from psycopg import errors, sql

from holdfast.errors import CommitUnknown, StoreMisconfigured, StoreUnavailable, UsageError
from holdfast.model.commit import Finish, Park, Release, RunCommit
from holdfast.model.ids import Json
from holdfast.model.status import RunStatus
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.connection import Cursor, Row
from holdfast.store.postgres.session import ATTEMPTS_MAX
from tests.contract.scene import Scene, entry, new_run, run_id, timer
from tests.contract.stores import ManualClock, OpenStore
from tests.postgres_stage import Proxy, migrated_database, open_inside, open_scene


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture
def scene(url: str) -> Generator[Scene, None, None]:
    with open_scene(url) as scene:
        yield scene
        scene.check_histories()


@pytest.fixture
def proxy(url: str) -> Generator[Proxy, None, None]:
    proxy = Proxy(url)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: Proxy) -> Generator[Scene, None, None]:
    """A scene whose store reaches the database through the proxy."""
    clock = ManualClock()
    store = PostgresStore(proxy.url, clock=clock, listen=False)
    yield Scene(OpenStore("postgres", store, clock, {}))
    store.close()


def end_sessions(url: str) -> None:
    """End every other session of this database, as an administrator may, and see them gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid() and application_name = 'holdfast'"
        )


def sessions(url: str) -> int:
    """How many sessions stores have in this database."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select from pg_stat_activity where datname = current_database() and application_name = 'holdfast'"
        )
        return len(found.fetchall())


def test_a_connection_that_died_idle_is_replaced_unnoticed(scene: Scene, url: str) -> None:
    run = scene.held(1)

    end_sessions(url)

    scene.accept(run, entries=[entry(run, "charge", 1)])


@pytest.mark.requirement("fault-18", "promise-11")
def test_a_connection_lost_before_the_commit_means_that_nothing_was_done(scene: Scene, url: str) -> None:
    scene.register()
    scene.start(1)
    line = {"queues": ["default"], "codes": ["order"], "limit": 9, "look": 9, "suspects": 0}
    params = {"shard": 0, "now_ms": scene.clock.now_ms, "worker": "worker-alice", **line}

    def lose(cursor: Cursor, rows: list[Row]) -> None:
        assert rows[0][1] == run_id(1)
        end_sessions(url)
        cursor.execute("select 1")

    with open_inside(url) as inside, pytest.raises(StoreUnavailable):
        inside.session.transaction(("claim_runs", params), lose)

    assert scene.place(run_id(1)) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("fault-18", "fault-19", "promise-11")
@pytest.mark.parametrize("finish", [False, True])
def test_a_commit_that_reached_nobody_is_unknown_and_not_done(
    through_proxy: Scene, proxy: Proxy, scene: Scene, finish: bool
) -> None:
    run = scene.held(1)
    commit = RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)], move=_finish(finish))
    through_proxy.store.read_clock()
    assert through_proxy.run(run.id).status is RunStatus.RUNNING

    proxy.cut_at_next_request()
    with pytest.raises(CommitUnknown):
        through_proxy.store.commit([commit])

    assert scene.store.read_progress([run.id])[run.id].seq == 0


@pytest.mark.requirement("fault-19", "promise-11")
@pytest.mark.parametrize("finish", [False, True])
def test_a_commit_whose_answer_is_lost_is_unknown_and_can_be_looked_up(
    through_proxy: Scene, proxy: Proxy, scene: Scene, url: str, finish: bool
) -> None:
    run = scene.held(1)
    commit = RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)], move=_finish(finish))
    assert through_proxy.run(run.id).status is RunStatus.RUNNING

    proxy.cut_at_next_answer()
    with pytest.raises(CommitUnknown):
        through_proxy.store.commit([commit])
    proxy.heal()

    _wait_until_idle(url)
    progress = through_proxy.store.read_progress([run.id])[run.id]
    assert progress.seq == 1
    assert progress.status is (RunStatus.COMPLETED if finish else RunStatus.RUNNING)


@pytest.mark.requirement("fault-19", "promise-1")
def test_a_start_whose_answer_is_lost_can_be_repeated(through_proxy: Scene, proxy: Proxy, url: str) -> None:
    through_proxy.store.read_clock()

    proxy.cut_at_next_answer()
    with pytest.raises(CommitUnknown):
        through_proxy.store.start_runs([new_run(1)])
    proxy.heal()
    _wait_until_idle(url)
    [again] = through_proxy.store.start_runs([new_run(1)])

    assert not again.created
    assert len(through_proxy.detail(run_id(1)).transitions) == 1


def test_a_read_that_is_cut_off_can_be_repeated(through_proxy: Scene, proxy: Proxy) -> None:
    through_proxy.store.read_clock()

    proxy.cut_at_next_answer()
    with pytest.raises(StoreUnavailable):
        through_proxy.store.read_clock()
    proxy.heal()

    through_proxy.store.read_clock()


def test_a_database_that_does_not_answer_is_unavailable() -> None:
    store = PostgresStore("postgresql://ann:secret@127.0.0.1:1/orders")

    with pytest.raises(StoreUnavailable) as caught:
        store.read_clock()

    assert "secret" not in str(caught.value)
    assert store.url == "postgresql://ann@127.0.0.1:1/orders"
    store.close()


@pytest.mark.parametrize("bad", ["orders", "mysql://localhost/orders", "postgresql://localhost/orders?colour=red"])
def test_a_url_that_names_no_postgresql_database_is_refused(bad: str) -> None:
    with pytest.raises(StoreMisconfigured):
        PostgresStore(bad)


def test_a_database_that_does_not_exist_is_a_mistake_and_no_outage(url: str) -> None:
    store = PostgresStore(url.replace("/holdfast_postgres_", "/absent_"))

    with pytest.raises(StoreMisconfigured):
        store.read_clock()
    store.close()


@pytest.mark.requirement("fault-17", "fault-23")
def test_a_read_only_server_is_refused_loudly(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            sql.SQL("alter database {} set default_transaction_read_only = on").format(sql.Identifier(name))
        )
    store = PostgresStore(url)

    with pytest.raises(StoreMisconfigured, match="read-only"):
        store.start_runs([new_run(1)])
    store.close()


@pytest.mark.requirement("fault-23")
def test_missing_rights_are_refused_loudly(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop role if exists holdfast_stranger")
        connection.execute("create role holdfast_stranger login")
        store = PostgresStore(
            url.replace("//postgres:@", "//holdfast_stranger@").replace("//postgres@", "//holdfast_stranger@")
        )
        with pytest.raises(StoreMisconfigured, match="permission"):
            store.start_runs([new_run(1)])
        store.close()
        connection.execute("drop role holdfast_stranger")


@pytest.mark.requirement("fault-22")
def test_collisions_without_end_are_an_outage(url: str) -> None:
    pauses: list[float] = []

    def collide(cursor: object, rows: object) -> None:
        raise errors.DeadlockDetected("collided")

    with open_inside(url, sleep=pauses.append) as inside, pytest.raises(StoreUnavailable):
        inside.session.transaction(("read_clock", {"now_ms": None}), collide)
    assert len(pauses) == ATTEMPTS_MAX - 1


@pytest.mark.requirement("promise-1", "promise-12")
def test_a_bulk_that_no_socket_takes_at_once_is_started_and_recorded(url: str) -> None:
    large = Json(b'{"value":"' + b"x" * 4_000_000 + b'"}')
    with open_scene(url) as scene:
        scene.store.start_runs([new_run(number) for number in range(1, 5_001)])
        first, second = scene.claim(limit=2)

        scene.accept(first, entries=[entry(first, "big", 1, result=large)], move=Release())
        big = entry(second, "big", 1, result=large)
        scene.accept(second, entries=[big], waits=[timer("t", 2, 5)], move=Park(1))

        assert scene.place(first.id) == (RunStatus.QUEUED, True)
        assert scene.place(second.id) == (RunStatus.WAITING, False)
        assert [one.result for one in scene.detail(second.id).journal] == [large]


@pytest.mark.requirement("fault-43")
def test_a_pool_whose_connections_are_all_lent_says_so(url: str) -> None:
    with open_inside(url, size_max=1, wait_s=0.05) as inside:
        with inside.pool.connection(), pytest.raises(StoreUnavailable, match="busy"):
            inside.session.read("read_clock", {"now_ms": None})

        assert inside.session.read("read_clock", {"now_ms": None})


def test_many_threads_share_few_connections(url: str) -> None:
    store = PostgresStore(url, connections_max=2, listen=False)
    threads = [
        threading.Thread(target=store.start_runs, args=([new_run(10 * one + other) for other in range(10)],))
        for one in range(20)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(store.get_runs(new_run(0).tenant, [run_id(number) for number in range(200)])) == 200
    assert sessions(url) <= 2 + 1, "two in the pool, and the one that notifies"
    store.close()


@pytest.mark.requirement("fault-24")
def test_a_store_for_a_pooler_leaves_nothing_in_the_session(url: str) -> None:
    with open_inside(url, size_max=1, prepare=False) as inside:
        for _ in range(10):
            inside.session.read("read_clock", {"now_ms": None})
        with inside.pool.connection() as connection:
            prepared = connection.execute("select count(*) from pg_prepared_statements").fetchall()
            settings = connection.execute("select name from pg_settings where source = 'session'").fetchall()

    assert prepared == [(0,)]
    assert settings == []


@pytest.mark.requirement("fault-9")
def test_a_forked_child_opens_connections_of_its_own(scene: Scene, url: str) -> None:
    scene.start(1)
    store = scene.store
    assert isinstance(store, PostgresStore)
    before = sessions(url)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.start_runs([new_run(2)])
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert store.read_clock()
    assert sessions(url) == before
    assert scene.run(run_id(2)).status is RunStatus.QUEUED


@pytest.mark.requirement("promise-12", "fault-69")
@pytest.mark.parametrize("bad", [b"no json", b'{"value": ', b'{"value": "\xff"}', b'{"value": "a\x00b"}'])
def test_one_run_that_cannot_be_stored_is_found_among_many(scene: Scene, bad: bytes) -> None:
    runs = [scene.held(number) for number in range(1, 22)]
    batch = [RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)]) for run in runs]
    batch[13] = RunCommit(runs[13].id, runs[13].epoch, entries=[entry(runs[13], "charge", 1, result=Json(bad))])

    answer = scene.store.commit(batch)

    assert list(answer.broken) == [runs[13].id]
    written = [bool(scene.detail(run.id).journal) for run in runs]
    assert [number for number, is_written in enumerate(written) if not is_written] == [13]


@pytest.mark.requirement("fault-69")
def test_a_start_that_cannot_be_stored_names_no_secret_and_starts_nothing(scene: Scene) -> None:
    for bad in (new_run(2, workflow="a\x00b"), new_run(2, workflow="\ud800"), new_run(2, input=Json(b"nothing"))):
        with pytest.raises(UsageError):
            scene.store.start_runs([new_run(1), bad])

    assert scene.store.get_runs(new_run(1).tenant, [run_id(1), run_id(2)]) == []


def _finish(finish: bool) -> Finish | None:
    return Finish(RunStatus.COMPLETED, "completed") if finish else None


def _wait_until_idle(url: str) -> None:
    """Return when the server has done with what was sent to it."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(6_000):
            busy = connection.execute(
                "select from pg_stat_activity where datname = current_database() and state <> 'idle' "
                "and pid <> pg_backend_pid() and application_name = 'holdfast'"
            ).fetchall()
            if not busy:
                return
            connection.execute("select pg_sleep(0.01)")
    raise AssertionError("the server is still busy")
