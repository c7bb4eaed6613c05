"""Hints from other processes: somebody else's commit is seen in the WAL's file.

Every commit appends to ``<database>-wal``, so a look at the file's size and time tells cheaply that something was
committed; SQLite's ``data_version`` then tells whether it was somebody else, for our own commits publish exact hints.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holdfast.store.hints import LocalHints
from holdfast.store.port import Hint

FOREIGN = Hint(work=True, ended=None, live=None, moved=None)
"""Somebody committed something."""


QUIET_LOOKS: Final = 50
"""After so many looks that saw no commit, a second of them by default, the watcher slows down."""

QUIET_FACTOR: Final = 5
"""By this much: an idle process looks ten times a second, and after a rest the first hint is a tenth late at most."""


class SqliteHints(LocalHints):
    """This process's hints, and with ``watch`` those of other processes, by a thread from the first subscriber on."""

    def __init__(self, path: str, *, foreign_version: Callable[[], int | None], watch: bool, interval_ms: int) -> None:
        super().__init__()
        self._wal = Path(f"{path}-wal")
        self._foreign_version = foreign_version
        self._watch = watch
        self._interval_s = interval_ms / 1000
        self._starting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: tuple[int, int] | None = None
        self._version: int | None = None
        self._looks = 0
        self._quiet = 0

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Call ``listener`` at each hint until the returned function is called."""
        unsubscribe = super().subscribe(listener)
        with self._starting:
            if self._watch and self._thread is None and not self._stop.is_set():
                self._version = self._foreign_version()
                self._thread = threading.Thread(target=self._run, name="holdfast-sqlite-watcher", daemon=True)
                self._thread.start()
        return unsubscribe

    def close(self) -> None:
        """Stop watching, and wait until the thread has ended. Idempotent."""
        with self._starting:
            self._stop.set()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def look(self) -> None:
        """Publish a hint if somebody else has committed since the last look.

        After a change the version is asked for twice, at this look and the next: a file's time is so coarse that two
        commits may bear the same. While our own writer is busy it is asked for at the next look.
        """
        stat = self._stat()
        self._quiet += 1
        if stat != self._seen:
            self._seen = stat
            self._looks = 2
            self._quiet = 0
        if self._looks == 0:
            return
        version = self._foreign_version()
        if version is None:
            return
        self._looks -= 1
        if version != self._version:
            self._version = version
            self.publish(FOREIGN)

    @property
    def pause_s(self) -> float:
        """How long to wait for the next look: longer when nobody has committed anything for a while."""
        return self._interval_s if self._quiet < QUIET_LOOKS else self._interval_s * QUIET_FACTOR

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self._wal.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def _run(self) -> None:
        while not self._stop.wait(self.pause_s):
            self.look()
