"""The lock file that writers of one database take turns at, where the SQLite library needs protection from itself.

With a library that has the WAL-reset bug (see ``library``), no checkpoint may run while another connection commits. So
every write transaction, checkpoint and closing of ours holds an exclusive lock on ``<database>-lock``. Whoever wants it
first takes ``<database>-next``: a process that writes without pause cannot starve the others, because it has to queue
up behind the one that waits already.

The locks are ``flock`` locks: they belong to the open file, not to the process, so that two stores in one process
exclude each other too, and the system frees them when their process dies.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from holdfast.errors import StoreBusy, StoreMisconfigured

if sys.platform != "win32":
    import fcntl

HAS_FILE_LOCKS: Final = sys.platform != "win32"
_RETRY_S: Final = 0.0005


class WriteLock:
    """An exclusive lock across processes. Not reentrant, and not safe to share between threads without a mutex."""

    def __init__(self, path: str, *, timeout_ms: int, has_file_locks: bool = HAS_FILE_LOCKS) -> None:
        """Raises StoreMisconfigured if the lock files cannot be made, or the platform has no such locks."""
        url = f"sqlite:///{path}"
        if not has_file_locks:
            raise StoreMisconfigured(
                url=url,
                why="this SQLite library has the WAL-reset bug, and this platform no file locks to work around it: "
                "use SQLite 3.51.3 or later",
            )
        self._url = url
        self._timeout_s = timeout_ms / 1000
        try:
            self._turn = _open(f"{path}-lock")
            self._next = _open(f"{path}-next")
        except OSError as error:
            raise StoreMisconfigured(url=url, why=f"its lock files cannot be made: {error}") from error

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Hold the lock. Raises StoreBusy if others hold it for longer than the timeout."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self) -> None:
        """Wait for the turn. Raises StoreBusy."""
        give_up = time.monotonic() + self._timeout_s
        self._wait_for(self._next, give_up)
        try:
            self._wait_for(self._turn, give_up)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next one in."""
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give back the files, which stay on disk: removing one that another process has open would split the lock."""
        os.close(self._turn)
        os.close(self._next)

    def _wait_for(self, descriptor: int, give_up: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= give_up:
                    raise StoreBusy(url=self._url, waited_s=self._timeout_s) from error
            else:
                return
            time.sleep(_RETRY_S)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
