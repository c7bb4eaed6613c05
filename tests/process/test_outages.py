"""Databases that die, come back, cut connections, are locked, too old, too new, or read-only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Self

import psycopg
import pytest

import holdfast as hf
from holdfast.app import connect_sync
from holdfast.client.client import Client
from holdfast.client.sync import SyncClient
from holdfast.errors import CommitUnknown, StoreBusy, StoreError, StoreUnavailable
from holdfast.model.status import RunStatus
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.worker import Worker
from holdfast.store.schema import HEAD
from holdfast.store.sqlite.adapter import SqliteStore
from tests.postgres_server import fresh_database
from tests.process import program
from tests.process.harness import (
    PROGRAM,
    QUICKLY,
    Stage,
    check_ended_once,
    eventually,
    open_stage,
    times_lost,
    wait_until_ended,
)
from tests.process.servers import MortalServer, run_mortal_server


@pytest.fixture(scope="module")
def mortal_server() -> Generator[MortalServer, None, None]:
    with run_mortal_server() as server:
        yield server


@pytest.fixture
def mortal_stage(tmp_path: Path, mortal_server: MortalServer) -> Generator[Stage, None, None]:
    """A stage whose server may be killed; it runs again afterwards."""
    with open_stage(tmp_path, mortal_server.make_database()) as stage:
        try:
            yield stage
        finally:
            mortal_server.start()


class Starter:
    """A program that starts orders one after the other, and repeats a start whose outcome it was not told."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[str] = []
        self.errors: list[Exception] = []
        self._url = url
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End after the start that is under way."""
        self._enough.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with connect_sync(self._url, app=program.app) as client:
            number = 0
            while not self._enough.is_set():
                try:
                    run = client.start(program.fulfil, number, key=f"order-{number}")
                except Exception as error:  # noqa: BLE001 - the test looks at all of them
                    self.errors.append(error)
                else:
                    self.acknowledged.append(run.id)
                    number += 1
                self._enough.wait(0.02)


@pytest.mark.requirement("fault-14", "fault-15", "fault-41", "promise-1", "promise-2", "promise-5", "promise-11")
def test_runs_workers_and_clients_survive_a_server_that_is_killed(
    mortal_stage: Stage, mortal_server: MortalServer
) -> None:
    stage = mortal_stage
    workers = [stage.worker(), stage.worker()]
    with stage.client() as client:
        patient = client.start(program.three, "gate")
        with Starter(stage.url) as starter:
            for _ in range(2):
                _wait_for_growth(starter.acknowledged, 15)
                mortal_server.kill()
                _wait_for_growth(starter.errors)
                mortal_server.start()
            _wait_for_growth(starter.acknowledged, 5)
        stage.open_gate("gate")

        assert patient.result(30) == 6
        runs = wait_until_ended(client, starter.acknowledged)
        details = [client.detail(run.id) for run in runs]
    assert all(isinstance(error, StoreUnavailable | CommitUnknown) for error in starter.errors), starter.errors
    assert len(set(starter.acknowledged)) == len(starter.acknowledged)
    assert all(worker.lives for worker in workers)
    effects = Counter((effect.run, effect.what) for effect in stage.effects)
    for number, detail in enumerate(details):
        check_ended_once(detail)
        assert detail.run.status is (RunStatus.COMPLETED if number % 3 else RunStatus.FAILED)
        assert all(effects[detail.run.id, entry.key] <= 1 + times_lost(detail) for entry in detail.journal)


def _wait_for_growth(grows: Sequence[object], more: int = 1) -> None:
    before = len(grows)
    eventually(lambda: len(grows) >= before + more, f"{more} more than {before}")


@pytest.mark.requirement("fault-14", "fault-21", "promise-11")
def test_a_worker_waits_for_a_server_that_is_down_when_it_starts(
    mortal_stage: Stage, mortal_server: MortalServer
) -> None:
    stage = mortal_stage
    with stage.client() as client:
        run = client.start(program.short)
    mortal_server.kill()
    with pytest.raises(StoreUnavailable), stage.client():
        pass
    worker = stage.worker(is_ready=False)
    worker.says("does not answer")
    assert worker.lives
    mortal_server.start()

    with stage.client() as client:
        assert client.handle(run.id).result(30) == 3


@pytest.mark.requirement("fault-14", "fault-7")
def test_a_worker_whose_server_is_gone_still_ends_when_it_is_asked_to(
    mortal_stage: Stage, mortal_server: MortalServer
) -> None:
    stage = mortal_stage
    settings = replace(QUICKLY, grace=timedelta(milliseconds=300))
    idle, busy = stage.worker(settings=settings), stage.worker(settings=settings)
    with stage.client() as client:
        run = client.start(program.three, "gate")
        stage.wait_for_effects("held")
    mortal_server.kill()
    for worker in (idle, busy):
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    mortal_server.start()
    stage.open_gate("gate")
    stage.worker()

    with stage.client() as client:
        assert client.handle(run.id).result(30) == 6


@pytest.mark.requirement("fault-18", "fault-19", "fault-41", "promise-2", "promise-11", "S-56")
def test_connections_that_are_cut_again_and_again_cost_no_step_and_no_worker(
    tmp_path: Path, postgres_server_url: str, postgres_template: str
) -> None:
    settings = replace(QUICKLY, lease=timedelta(seconds=30), concurrency=10)
    name = f"holdfast_cut_{os.getpid()}"
    with (
        fresh_database(postgres_server_url, name, template=postgres_template) as url,
        open_stage(tmp_path, url) as stage,
        psycopg.connect(postgres_server_url, autocommit=True) as executioner,
    ):
        with stage.client() as client:
            runs = client.start_many(hf.Start(workflow=program.fulfil, args=(number,)) for number in range(60))
            workers = [stage.worker(settings=settings), stage.worker(settings=settings)]
            for threshold in range(10, 160, 10):
                eventually(lambda threshold=threshold: len(stage.effects) >= threshold, "progress")  # type: ignore[misc]
                executioner.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
                )
            wait_until_ended(client, [run.id for run in runs])
            details = [client.detail(run.id) for run in runs]
        assert all(worker.lives for worker in workers)
        assert "trying again" in "".join(worker.log for worker in workers)
        for worker in workers:
            worker.send(signal.SIGTERM)
            assert worker.wait() == 0
    for number, detail in enumerate(details):
        check_ended_once(detail)
        assert detail.run.status is (RunStatus.COMPLETED if number % 3 else RunStatus.FAILED)
        assert times_lost(detail) == 0
    assert set(Counter((effect.run, effect.what) for effect in stage.effects).values()) == {1}


# SQLite


@pytest.mark.requirement("fault-38", "promise-1", "promise-2")
def test_two_workers_and_a_client_share_one_file(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    with stage.client() as client:
        stage.worker()
        stage.worker()
        runs = [client.start(program.fulfil, number, key=f"order-{number}") for number in range(200)]
        ended = wait_until_ended(client, [run.id for run in runs], within_s=60)
    assert [run.status is RunStatus.COMPLETED for run in ended] == [number % 3 != 0 for number in range(200)]
    assert set(Counter((effect.run, effect.what) for effect in stage.effects).values()) == {1}
    assert len({effect.pid for effect in stage.effects}) == 2
    with contextlib.closing(sqlite3.connect(stage.folder / "holdfast.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


def work_impatiently(target: str, file: str, settings: hf.WorkerSettings) -> int:
    """A worker that waits for the file for a quarter of a second only."""
    module, _, name = target.partition(":")

    async def work() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        host = ProcessHost()
        store = SqliteStore(file, busy_timeout_ms=250)
        async with Worker(getattr(import_module(module), name), store, host, settings=settings):
            sys.stderr.write("worker: 1 workflow(s)\n")
            await stopped.wait()
        host.close()
        store.close()

    asyncio.run(work())
    return 0


@contextlib.contextmanager
def impatient_client(file: Path) -> Generator[SyncClient, None, None]:
    with (
        contextlib.closing(SqliteStore(str(file), busy_timeout_ms=250)) as store,
        contextlib.closing(ProcessHost()) as host,
        contextlib.closing(SyncClient(Client(store, host, registry=program.app))) as client,
    ):
        yield client


@pytest.mark.requirement("fault-36", "promise-2", "promise-11", "S-56")
def test_a_file_that_another_program_holds_for_too_long_delays_its_runs_and_fails_none(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    file = stage.folder / "holdfast.db"
    settings = replace(QUICKLY, lease=timedelta(seconds=60))
    with impatient_client(file) as client, contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        worker = stage.start(work_impatiently, f"{PROGRAM}:app", str(file), settings)
        worker.says("workflow(s)")
        runs = [client.start(workflow, "gate") for workflow in ("three", "three_in_thread")]
        stage.wait_for_effects("held", 2)

        other.execute("begin immediate")
        stage.open_gate("gate")
        with pytest.raises(StoreBusy, match="another program"):
            client.start(program.short)
        worker.says("another program held")
        assert [run.get().status for run in runs] == [RunStatus.RUNNING] * 2
        eventually(lambda: worker.log.count("another program held") >= 4, "it tries again and again")
        other.execute("rollback")

        assert [run.result(30) for run in runs] == [6, 6]
        assert client.start(program.short).result(30) == 3
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    assert Counter(effect.what for effect in stage.effects) == {"first": 2, "held": 2, "last": 3}


def open_read_only(file: str, answers: str) -> None:
    """Open two stores on a file that may not be written, as somebody without rights, and say what came of it."""
    if os.geteuid() == 0:
        os.setgid(65_534)
        os.setuid(65_534)
    found: list[str] = []
    for _ in range(2):
        try:
            with contextlib.closing(SqliteStore(file)) as store:
                store.check_schema()
                store.read_agenda(queues=["default"], codes=["short"])
                store.wake_due(limit=1)
            found.append("no error")
        except StoreError as error:
            found.append(f"{error.code} {error}")
    Path(answers).write_text(json.dumps(found), "utf-8")


@pytest.mark.requirement("fault-23")
def test_stores_on_a_file_that_may_only_be_read_say_so(sqlite_stage: Stage) -> None:
    # Not below the test's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-read-only-"))
    try:
        answers = folder / "answers"
        answers.mkdir(mode=0o777)
        answers.chmod(0o777)
        file = folder / "holdfast.db"
        shutil.copy(stage_file(sqlite_stage), file)
        file.chmod(0o444)
        folder.chmod(0o555)
        assert sqlite_stage.start(open_read_only, str(file), str(answers / "found")).wait() == 0
        found = json.loads((answers / "found").read_text("utf-8"))
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert len(found) == 2
    for error in found:
        assert error.startswith("store_misconfigured")
        assert str(file) in error


def stage_file(stage: Stage) -> Path:
    return stage.folder / "holdfast.db"


# Tables of another version

OLDER = "import holdfast.store.schema as schema; schema.REVISIONS = ('0000', *schema.REVISIONS)"
"""A program that knows a revision before its own, as every later version does."""
MAIN = "import sys; from holdfast.cli.main import main; sys.exit(main())"


@pytest.mark.requirement("fault-56", "fault-57", "S-17")
@pytest.mark.parametrize(("revision", "way_out"), [("0000", "run `holdfast migrate`"), ("9999", "upgrade holdfast")])
def test_a_worker_of_another_version_than_its_tables_ends_and_says_what_to_do(
    stage: Stage, revision: str, way_out: str
) -> None:
    with at_revision(stage, revision):
        done = subprocess.run(
            [sys.executable, "-c", f"{OLDER}\n{MAIN}", "worker", f"{PROGRAM}:app", "--database", stage.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 5, done.stderr
    assert way_out in done.stderr
    assert revision in done.stderr


@contextlib.contextmanager
def at_revision(stage: Stage, revision: str) -> Generator[None, None, None]:
    """Tables that say they are of this revision. The other tests use the same database."""
    set_revision(stage, revision)
    try:
        yield
    finally:
        set_revision(stage, HEAD)


def set_revision(stage: Stage, revision: str) -> None:
    if stage.is_sqlite:
        with contextlib.closing(sqlite3.connect(stage_file(stage))) as file, file:
            file.execute("update holdfast_version set version_num = ?", (revision,))
    else:
        with psycopg.connect(stage.url) as connection:
            connection.execute("set search_path to holdfast, public")
            connection.execute("update holdfast_version set version_num = %s", (revision,))
