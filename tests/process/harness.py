"""Real worker processes on a real database: start, kill, stop, continue and end them, and read what they left.

The processes are forked from a server that has imported everything already, so that each is ready in a moment. They
are those of ``holdfast worker``, with settings that the command line does not offer: leases and polls below a second.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import holdfast as hf
from holdfast.app import connect_sync
from holdfast.client.sync import SyncClient
from holdfast.model.run import RunDetail
from holdfast.model.status import TERMINAL_STATUSES, RunStatus
from tests.process.program import EFFECTS

LEASE: Final = timedelta(milliseconds=700)
DEADLINE_S: Final = 90.0
"""How long a condition may take to come true, on a machine that is busy with other things."""
POLL_S: Final = 0.02
PROGRAM: Final = "tests.process.program"
PRELOADED: Final = (
    "asyncio",
    "psycopg",
    "sqlalchemy.orm",
    "holdfast.cli.bulk",
    "holdfast.cli.commands",
    "holdfast.cli.doctor",
    "holdfast.cli.main",
    "holdfast.cli.reporting",
    "holdfast.cli.runs_group",
    "holdfast.cli.work",
    "holdfast.runtime.worker",
    "holdfast.store.bulk",
    "holdfast.store.catalog",
    "holdfast.store.migrations",
    "holdfast.store.postgres.adapter",
    "holdfast.store.rendering_postgresql",
    "holdfast.store.sqlite.adapter",
    "holdfast.store.sqlite.core_statements",
    "holdfast.store.sqlite.reading",
    "pydantic.main",
    "typer._adapters",
)

QUICKLY: Final = hf.WorkerSettings(lease=LEASE, poll=timedelta(milliseconds=100), grace=timedelta(seconds=10))

T = TypeVar("T")

_numbers = count(1)
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(PRELOADED))


def eventually(look: Callable[[], T | None], what: str, *, within_s: float = DEADLINE_S) -> T:
    """What ``look`` returns when that is neither None nor False. Fails after ``within_s``."""
    give_up = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < give_up, f"not within {within_s} s: {what}"
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Effect:
    """One line that a step of the program left."""

    what: str
    run: str
    attempt: int
    idempotency_key: str
    pid: int


class Process:
    """A process of the test's."""

    def __init__(self, log_file: Path, target: Callable[..., object], *args: Any) -> None:
        self._log_file = log_file
        self._process = FORKS.Process(target=_run, args=(str(log_file), target, args))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log_file.read_text("utf-8", "replace") if self._log_file.exists() else ""

    def says(self, what: str) -> None:
        """Wait for a text in its log. Fails at once when it has ended without it."""

        def look() -> bool:
            lived = self.lives
            said = what in self.log
            assert said or lived, f"process {self.pid} has ended without {what!r}; its log is\n{self.log}"
            return said

        eventually(look, f"{what!r} in the log of process {self.pid}")

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.send(signal.SIGSTOP)
        status = Path(f"/proc/{self.pid}/status")
        eventually(lambda: "State:\tT" in status.read_text("utf-8"), f"process {self.pid} stands still")

    def wait(self, within_s: float = DEADLINE_S) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        self._process.join(within_s)
        assert self._process.exitcode is not None, f"process {self.pid} has not ended within {within_s} s:\n{self.log}"
        return self._process.exitcode

    def close(self) -> None:
        """End it if it lives."""
        if self.lives:
            self._process.kill()
        self._process.join()
        self._process.close()


def _run(log_file: str, target: Callable[..., object], args: tuple[Any, ...]) -> None:
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(Path(log_file).parent)
    sys.exit(target(*args))  # type: ignore[arg-type]  # an exit code or None


def work(target: str, url: str, settings: hf.WorkerSettings) -> int:
    """``holdfast worker`` with these settings."""
    from holdfast.cli.logs import LogFormat, LogLevel, configure_logs
    from holdfast.cli.stopping import Stop
    from holdfast.cli.work import work as work_until_stopped

    module, _, name = target.partition(":")
    configure_logs(LogFormat.JSON, LogLevel.INFO)
    return asyncio.run(work_until_stopped(getattr(import_module(module), name), url, settings, Stop()))


@dataclass
class Stage:
    """A folder, a database, and the processes that a test starts there."""

    folder: Path
    url: str
    processes: list[Process] = field(default_factory=list[Process])

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.url.startswith("sqlite")

    # Processes

    def start(self, target: Callable[..., object], *args: Any) -> Process:
        """A process that executes a function of a module."""
        process = Process(self.folder / f"process-{next(_numbers)}.log", target, *args)
        self.processes.append(process)
        return process

    def worker(self, app: str = "app", *, settings: hf.WorkerSettings = QUICKLY, is_ready: bool = True) -> Process:
        """A worker process; ``is_ready`` waits until it works."""
        worker = self.start(work, f"{PROGRAM}:{app}", self.url, settings)
        if is_ready:
            worker.says("workflow(s)")
        return worker

    def close(self) -> None:
        """End all of them. Idempotent."""
        while self.processes:
            self.processes.pop().close()

    # Gates and effects

    def open_gate(self, name: str) -> None:
        """Let the steps pass that wait there."""
        (self.folder / name).touch()

    @property
    def effects(self) -> list[Effect]:
        """In the order in which they happened."""
        file = self.folder / EFFECTS
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [Effect(**json.loads(line)) for line in lines]

    def effects_of(self, what: str) -> list[Effect]:
        """Those of one kind."""
        return [effect for effect in self.effects if effect.what == what]

    def wait_for_effects(self, what: str, count: int = 1) -> list[Effect]:
        """Those of one kind when there are at least so many."""

        def look() -> list[Effect] | None:
            found = self.effects_of(what)
            return found if len(found) >= count else None

        return eventually(look, f"{count} effect(s) {what!r}")

    # The database

    @contextmanager
    def client(self) -> Generator[SyncClient, None, None]:
        """A client in the test's own process."""
        from tests.process.program import app

        with connect_sync(self.url, app=app) as client:
            yield client


def wait_until_ended(client: SyncClient, runs: list[str], *, within_s: float = DEADLINE_S) -> list[hf.Run]:
    """The runs when all have ended."""
    give_up = time.monotonic() + within_s
    return [client.wait_for_end(run, timeout=max(0.1, give_up - time.monotonic())) for run in runs]


def times_lost(detail: RunDetail) -> int:
    """How often a worker lost the run."""
    return len([move for move in detail.transitions if move.reason == "worker_lost"])


def check_ended_once(detail: RunDetail) -> None:
    """One terminal transition, and nothing after it; no wait left open; nobody holds it."""
    terminal = [move.to_status in TERMINAL_STATUSES for move in detail.transitions]
    assert terminal.count(True) == 1
    assert terminal[-1]
    assert all(wait.outcome is not None for wait in detail.waits)
    assert detail.run.worker is None
    assert detail.run.status is not RunStatus.RUNNING


@contextmanager
def open_stage(folder: Path, url: str) -> Generator[Stage, None, None]:
    """A stage whose processes are ended with it."""
    stage = Stage(folder, url)
    try:
        yield stage
    finally:
        stage.close()
