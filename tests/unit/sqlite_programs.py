"""What the tests of the SQLite store run in processes of their own."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from holdfast.errors import CommitUnknown
from holdfast.model.commit import Finish, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, WorkerId
from holdfast.model.run import RunFilter, WorkerInfo
from holdfast.model.status import RunStatus
from holdfast.store.migrations import migrate
from holdfast.store.port import count_runs
from holdfast.store.sqlite import SqliteStore
from tests.contract.scene import RESULT, new_run

Version = tuple[int, int, int]
FLAWED: Version = (3, 40, 1)
SOUND: Version = (3, 51, 3)
TIMEOUT_S = 60


@contextmanager
def program(work: Callable[..., None], *arguments: Any) -> Generator[BaseProcess, None, None]:
    """Run ``work`` in a process of its own, and wait for its good end."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    try:
        yield process
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


def start_many(path: str, library: Version, first: int, count: int) -> None:
    """Start runs one by one, each in a transaction of its own."""
    store = SqliteStore(path, library=library, busy_timeout_ms=30_000)
    for number in range(first, first + count):
        store.start_runs([new_run(number)])
    store.close()


def migrate_file(path: str) -> None:
    """Migrate a file that others migrate as well."""
    assert migrate(f"sqlite:///{path}") == "0001"


def survive_a_failed_write(path: str, library: Version) -> None:
    """Run into the system's limit for the size of a file, as into a broken disk, and go on when it is lifted."""
    store = SqliteStore(path, library=library)
    store.start_runs([new_run(0)])
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, hard))
    acknowledged = 1
    try:
        for number in range(1, 1_000):
            store.start_runs([new_run(number)])
            acknowledged += 1
    except CommitUnknown:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert acknowledged < 1_000
    found = count_runs(store, DEFAULT_TENANT, RunFilter())["queued"]
    assert found in (acknowledged, acknowledged + 1)
    again = store.start_runs([new_run(number) for number in range(acknowledged + 1)])
    assert [started.created for started in again[:acknowledged]] == [False] * acknowledged
    assert count_runs(store, DEFAULT_TENANT, RunFilter()) == {"queued": acknowledged + 1}
    store.close()


def survive_failing_checkpoints(path: str) -> None:
    """Let the database's file grow no more, but the WAL's: no checkpoint can succeed."""
    store = SqliteStore(path, library=FLAWED)
    _start_thousands(store, 0, 20)
    store.close()
    store = SqliteStore(path, library=FLAWED)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(path).stat().st_size, hard))
    with warnings_of_store() as logs:
        _start_thousands(store, 20, 25)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert logs
    assert all("a checkpoint failed" in log for log in logs)
    with warnings_of_store() as logs:
        _start_thousands(store, 25, 30)
    assert logs == []
    assert count_runs(store, DEFAULT_TENANT, RunFilter()) == {"queued": 30_000}
    store.close()


@contextmanager
def warnings_of_store() -> Generator[list[str], None, None]:
    """What stores log from here on."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]  # shorter than a class
    logger = logging.getLogger("holdfast.store")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)


def _start_thousands(store: SqliteStore, first: int, last: int) -> None:
    for thousand in range(first, last):
        store.start_runs([new_run(number) for number in range(thousand * 1_000, (thousand + 1) * 1_000)])


def take_and_end(path: str, worker: str, held: Any, most: int) -> None:
    """Claim runs of a limited queue and end them, until there are none; look at each moment how many are held."""
    store = SqliteStore(path, library=SOUND, busy_timeout_ms=30_000)
    id_ = WorkerId(worker)
    store.register_worker(WorkerInfo(id=id_, queues=["default"], codes=["order"]), lease_ms=600_000)
    end = Finish(RunStatus.COMPLETED, "completed", RESULT)
    while count_runs(store, DEFAULT_TENANT, RunFilter()).keys() - {"completed"}:
        runs = store.claim_runs(id_, queues=["default"], codes=["order"], limit=5, suspects=1).runs
        with held.get_lock():
            held.value += len(runs)
            assert held.value <= most
        for run in runs:
            # Counted out before it ends: what is counted is never more than what is held.
            with held.get_lock():
                held.value -= 1
            answer = store.commit([RunCommit(run.id, run.epoch, move=end, counted=run.counted)])
            assert not answer.refused
    store.close()
