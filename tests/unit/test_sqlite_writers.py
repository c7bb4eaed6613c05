from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from holdfast.errors import RunNotFound, StoreBusy, StoreUnavailable, UsageError
from holdfast.model.commit import RunCommit
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.limit import QueueLimit
from holdfast.model.run import RunFilter, WorkerInfo
from holdfast.store.migrations import migrate
from holdfast.store.port import count_runs
from holdfast.store.queues import write_limit
from holdfast.store.sqlite import SqliteStore
from holdfast.store.sqlite.database import CHANGES_PER_CHECKPOINT, Database
from tests.contract.scene import ALICE, entry, new_run, run_id
from tests.unit.sqlite_programs import (
    FLAWED,
    SOUND,
    Version,
    program,
    start_many,
    survive_a_failed_write,
    survive_failing_checkpoints,
    take_and_end,
)

Opener = Callable[..., SqliteStore]


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "holdfast.db")
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=[FLAWED, SOUND], ids=["flawed", "sound"])
def library(request: pytest.FixtureRequest) -> Version:
    """Versions with and without the WAL-reset bug: what is done about it must work on any library."""
    version: Version = request.param
    return version


@pytest.fixture
def store(path: str, library: Version) -> Generator[SqliteStore, None, None]:
    store = SqliteStore(path, library=library, busy_timeout_ms=200)
    yield store
    store.close()


def check_integrity(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


@pytest.mark.requirement("fault-38", "fault-40", "fault-36")
def test_two_processes_write_one_file_at_the_same_time(path: str, library: Version) -> None:
    with program(start_many, path, library, 0, 1_000), program(start_many, path, library, 1_000, 1_000):
        pass

    store = SqliteStore(path, library=library)
    assert count_runs(store, DEFAULT_TENANT, RunFilter()) == {"queued": 2_000}
    store.close()
    check_integrity(path)


@pytest.mark.requirement("fault-62", "promise-4")
def test_two_processes_keep_within_the_limit_of_a_queue_together(path: str) -> None:
    most, held = 2, get_context("spawn").Value("i", 0)
    with closing(SqliteStore(path, library=SOUND)) as store:
        limit = QueueLimit(tenant=DEFAULT_TENANT, queue="default", running_max=most, set_ms=UnixMs(0))
        store.transact(None, lambda statements: write_limit(statements, limit))
        store.start_runs([new_run(number) for number in range(100)])

        with program(take_and_end, path, "one", held, most), program(take_and_end, path, "two", held, most):
            pass

        assert count_runs(store, DEFAULT_TENANT, RunFilter()) == {"completed": 100}


@pytest.mark.requirement("fault-40", "fault-37")
def test_a_flawed_library_never_checkpoints_by_itself_yet_the_log_stays_small(path: str) -> None:
    store = SqliteStore(path, library=FLAWED)
    before = Path(path).stat().st_size
    for first in range(0, 8 * CHANGES_PER_CHECKPOINT, 1_000):
        store.start_runs([new_run(number) for number in range(first, first + 1_000)])

    log, after = Path(f"{path}-wal").stat().st_size, Path(path).stat().st_size
    store.close()

    assert after > before + 4_000_000
    assert log < after
    check_integrity(path)


@pytest.mark.requirement("fault-40")
def test_the_lock_file_keeps_out_the_writers_of_a_flawed_library(path: str) -> None:
    holder, other = (SqliteStore(path, library=FLAWED, busy_timeout_ms=100) for _ in range(2))
    database = Database(path, busy_timeout_ms=100, library=FLAWED)

    with database.writing(), pytest.raises(StoreBusy, match=r"more than 0\.1 s"):
        holder.start_runs([new_run(1)])
    started = other.start_runs([new_run(1)])

    assert started[0].created
    for each in (holder, other, database):
        each.close()


@pytest.mark.requirement("fault-36", "S-02")
def test_a_read_that_finds_nothing_waits_for_no_writer_and_the_next_one_sees_what_is_new(
    store: SqliteStore, path: str, library: Version
) -> None:
    with closing(Database(path, busy_timeout_ms=100, library=library)) as database, database.writing():
        for read in (store.get_run, store.read_detail):
            with pytest.raises(RunNotFound):
                read(DEFAULT_TENANT, run_id(1))

    assert store.start_runs([new_run(1)])[0].created
    assert store.get_run(DEFAULT_TENANT, run_id(1)).id == run_id(1)
    assert store.read_detail(DEFAULT_TENANT, run_id(1)).run.id == run_id(1)


@pytest.mark.requirement("fault-36")
def test_a_file_that_another_program_holds_for_long_is_busy_and_then_free(store: SqliteStore, path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(StoreBusy):
            store.start_runs([new_run(1)])
        readable = count_runs(store, DEFAULT_TENANT, RunFilter())
        other.execute("rollback")

    assert readable == {}
    assert store.start_runs([new_run(1)])[0].created


@pytest.mark.requirement("fault-30", "promise-11")
def test_a_full_disk_refuses_a_start_and_leaves_no_half_of_it(path: str, library: Version) -> None:
    database = Database(path, busy_timeout_ms=100, library=library)
    with database.transaction() as connection:
        (pages,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {pages:d}")

    def fill(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "insert into holdfast_workers values (?, '[]', '[]', '{}', '', 1, '', 1, 1, 1)",
            [(f"w{number}",) for number in range(5_000)],
        )

    with pytest.raises(StoreUnavailable, match="full"), database.transaction() as connection:
        fill(connection)
    with database.transaction() as connection:
        left = connection.execute("select count(*) from holdfast_workers").fetchone()
        connection.execute("pragma max_page_count = 1000000")
        fill(connection)

    assert left == (0,)
    database.close()
    check_integrity(path)


@pytest.mark.requirement("fault-32", "fault-30", "promise-11")
def test_a_write_that_fails_while_committing_is_unknown_and_the_store_recovers(path: str, library: Version) -> None:
    with program(survive_a_failed_write, path, library):
        pass

    check_integrity(path)


@pytest.mark.requirement("fault-31")
def test_commits_go_on_while_checkpoints_fail_and_the_log_says_so(path: str) -> None:
    with program(survive_failing_checkpoints, path):
        pass

    check_integrity(path)


@pytest.mark.requirement("fault-9")
def test_a_child_of_a_fork_cannot_use_its_parents_store(store: SqliteStore) -> None:
    store.start_runs([new_run(1)])

    child = os.fork()
    if child == 0:
        try:
            store.start_runs([new_run(2)])
        except UsageError:
            store.close()
            os._exit(7)
        os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert count_runs(store, DEFAULT_TENANT, RunFilter()) == {"queued": 1}


def test_a_store_that_is_closed_says_so(store: SqliteStore) -> None:
    store.close()
    store.close()

    with pytest.raises(UsageError, match="closed"):
        store.start_runs([new_run(1)])


@pytest.mark.requirement("promise-4", "promise-12")
@pytest.mark.parametrize("size", [1, 3, 600])
def test_a_refused_run_and_a_broken_one_leave_the_rest_of_a_batch_alone(store: SqliteStore, size: int) -> None:
    store.register_worker(WorkerInfo(id=ALICE, queues=["default"], codes=["order"]), lease_ms=10_000)
    store.start_runs([new_run(number) for number in range(size + 2)])
    claim = store.claim_runs(ALICE, queues=["default"], codes=["order"], limit=size + 2, suspects=0)
    stale, poison, *fine = claim.runs
    batch = [RunCommit(run.id, run.epoch, entries=[entry(run, "charge", 1)]) for run in fine]
    batch.insert(0, RunCommit(stale.id, stale.epoch - 1, entries=[entry(stale, "charge", 1)]))
    batch.append(RunCommit(poison.id, poison.epoch, entries=[entry(poison, "ch\x00rge", 1)]))

    answer = store.commit(batch)

    assert list(answer.refused) == [stale.id]
    assert list(answer.broken) == [poison.id]
    progress = store.read_progress([run.id for run in claim.runs])
    assert {run_id for run_id, one in progress.items() if one.seq == 1} == {run.id for run in fine}
