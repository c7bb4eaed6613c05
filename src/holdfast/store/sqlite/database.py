"""The connections to one database file: one that writes, a few that read, and who may use which when.

Any thread may call: it does the work itself, under a mutex for writing. Writing is serialised between processes by
``BEGIN IMMEDIATE``, and by a ``WriteLock`` before it where the library has the WAL-reset bug; there, checkpoints are
explicit too (``_Checkpoints``), instead of a part of whatever commit comes to fill the WAL.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from holdfast.errors import HoldfastError, StoreError, StoreMisconfigured, UsageError
from holdfast.store.sqlite.failures import DATA_ERRORS, is_connection_suspect, translate
from holdfast.store.sqlite.lending import LentConnection
from holdfast.store.sqlite.library import Version, check_library, has_wal_reset_bug
from holdfast.store.sqlite.lock import WriteLock
from holdfast.store.sqlite.mounts import network_file_system, read_mounts

READERS_MAX: Final = 4
WAL_CHECKPOINT_BYTES: Final = 4 << 20
"""A checkpoint is due when the WAL's file has grown by this much: SQLite's own default, 1,000 pages."""
CHANGES_PER_CHECKPOINT: Final = 4_000
"""And after this many changed rows, because a WAL that is written from its beginning again does not grow."""
CHANGES_PER_COMMIT: Final = 4
"""What the commit itself counts for: a small one writes about as many pages."""
CHANGES_PER_LOOK: Final = 200
"""Between two looks at the WAL's size: a twentieth of what makes a checkpoint due anyway."""
WAL_BYTES_MAX: Final = 64 << 20
"""SQLite cuts a larger WAL back to this when it starts it from the beginning."""

CACHE_KIB: Final = 16_384
"""Of pages, per connection: enough for the upper pages of every index; the operating system keeps the rest."""

C = TypeVar("C", bound=sqlite3.Connection)
logger = logging.getLogger("holdfast.store")


class Database:
    """All connections to one file. ``library`` is the version whose bugs are to be expected."""

    def __init__(self, path: str, *, busy_timeout_ms: int, library: Version) -> None:
        if not path or path == ":memory:":
            raise StoreMisconfigured(url=f"sqlite:///{path}", why="a durable store needs a file")
        self.path = str(Path(path).absolute())
        self.url = f"sqlite:///{self.path}"
        check_library(self.url, library)
        self.busy_timeout_ms = busy_timeout_ms
        self.guarded = has_wal_reset_bug(library)
        """Whether the library's bug has to be kept out by the lock file."""
        self._process = os.getpid()
        self._mutex = threading.RLock()
        self._writing = False
        self._closed = False
        self._lock: WriteLock | None = None
        self._writer: sqlite3.Connection | None = None
        self._lent: LentConnection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._reader_slots = threading.BoundedSemaphore(READERS_MAX)
        self._checkpoints = _Checkpoints(self)

    # Writing

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection, None, None]:
        """The writer's connection, with nobody else of ours writing, outside any transaction.

        A statement executed on it is a transaction of its own. Raises UsageError if this thread is writing already.
        """
        self._check_process()
        with self._mutex:
            if self._writing:
                raise UsageError("this thread has a transaction open on the store: use that one's connection")
            self._writing = True
            try:
                with self._locked():
                    connection = self.writer()
                    before = connection.total_changes
                    yield connection
                    if self.guarded:
                        self._checkpoints.count(connection, connection.total_changes - before)
            except DATA_ERRORS:
                raise
            except sqlite3.Error as error:
                raise self._failed(error, committing=True) from error
            finally:
                self._writing = False

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """A write transaction, rolled back if anything is raised. DATA_ERRORS come out as they are."""
        with self.writing() as connection, self._transaction(connection):
            yield connection

    @contextmanager
    def lending(self) -> Generator[LentConnection, None, None]:
        """A write transaction on the connection that handlers are given."""
        with self.writing():
            if self._lent is None:
                self._lent = self.open(LentConnection)
                self._lent.guard()
            with self._transaction(self._lent):
                yield self._lent

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Generator[None, None, None]:
        try:
            connection.execute("begin immediate")
            yield
        except DATA_ERRORS:
            _roll_back(connection)
            raise
        except sqlite3.Error as error:
            _roll_back(connection)
            raise self._failed(error, committing=False) from error
        except BaseException:
            _roll_back(connection)
            raise
        try:
            connection.execute("commit")
        except BaseException:
            _roll_back(connection)
            raise

    @contextmanager
    def translating(self) -> Generator[None, None, None]:
        """Turns the driver's errors, but for DATA_ERRORS, into ours, on a connection that is not ours."""
        try:
            yield
        except DATA_ERRORS:
            raise
        except sqlite3.Error as error:
            raise self._translated(error, committing=False) from error

    def writer(self) -> sqlite3.Connection:
        """The writer's connection, for those who hold the mutex."""
        if self._writer is None:
            self._writer = self.open(sqlite3.Connection)
        return self._writer

    def foreign_version(self) -> int | None:
        """A number that changes when somebody else's commit does, and not with the writer's own; None when busy."""
        if not self._mutex.acquire(blocking=False):
            return None
        try:
            if self._writing or self._closed:
                return None
            row: tuple[int] = self.writer().execute("pragma data_version").fetchone()
            return row[0]
        except sqlite3.Error:
            return None  # the next look, or the next writer, finds out what is wrong
        finally:
            self._mutex.release()

    # Reading

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection to read with; what it sees between BEGIN and COMMIT is one state."""
        self._check_process()
        with self._reader_slots:
            try:
                connection = self._readers.pop() if self._readers else self._open_reader()
            except IndexError:
                connection = self._open_reader()
            try:
                yield connection
            except BaseException as error:
                _roll_back(connection)
                if _is_answer(error) and not connection.in_transaction:
                    # To close a connection could mean to wait for a writer, who may wait for the one who asked.
                    self._readers.append(connection)
                    raise
                self._close_connections([connection])
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error, committing=False) from error
                raise
            else:
                self._readers.append(connection)
            if self._closed:
                self._close_readers()

    def _open_reader(self) -> sqlite3.Connection:
        connection = self.open(sqlite3.Connection)
        connection.execute("pragma query_only = on")
        return connection

    # Opening and closing

    def open(self, factory: type[C]) -> C:
        """A connection with our settings. Raises StoreMisconfigured, StoreBusy, StoreUnavailable."""
        if self._closed:
            raise UsageError("the store is closed")
        kind = network_file_system(self.path, read_mounts())
        if kind is not None:
            raise StoreMisconfigured(url=self.url, why=f"SQLite's locks cannot be trusted on a {kind} file system")
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=self.busy_timeout_ms / 1000,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
                factory=factory,
            )
        except sqlite3.Error as error:
            raise StoreMisconfigured(url=self.url, why=str(error)) from error
        try:
            self._configure(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._translated(error, committing=False) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"pragma busy_timeout = {self.busy_timeout_ms:d}")
        if self.guarded:
            connection.execute("pragma wal_autocheckpoint = 0")
        mode: tuple[str] = connection.execute("pragma journal_mode = wal").fetchone()
        if mode[0] != "wal":
            raise StoreMisconfigured(url=self.url, why=f"it needs journal_mode WAL, and stays in {mode[0]}")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = off")
        connection.execute(f"pragma journal_size_limit = {WAL_BYTES_MAX:d}")
        connection.execute(f"pragma cache_size = -{CACHE_KIB:d}")

    def close(self) -> None:
        """Close every connection. Idempotent. A child of a fork closes nothing: what it inherited is its parent's."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            if os.getpid() != self._process:
                return
            ours = [each for each in (self._writer, self._lent, *self._checkpoints.connections()) if each is not None]
            self._writer = self._lent = None
            self._close_connections(ours)
            self._close_readers()
            if self._lock is not None and not self._readers:
                self._lock.close()
                self._lock = None

    def _close_readers(self) -> None:
        readers = self._readers
        self._readers = []
        self._close_connections(readers)

    def _close_connections(self, connections: list[sqlite3.Connection]) -> None:
        """Closing the last connection to a file runs a checkpoint."""
        with self._mutex, self._locked() if connections and not self._writing else ExitStack():
            for connection in connections:
                connection.close()

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """Hold the lock between processes, if there has to be one."""
        if not self.guarded:
            yield
            return
        if self._lock is None:
            self._lock = WriteLock(self.path, timeout_ms=self.busy_timeout_ms)
        with self._lock.held():
            yield

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise UsageError("this store was opened before a fork; open one in the process that uses it")

    def _failed(self, error: sqlite3.Error, *, committing: bool) -> Exception:
        """The error to raise; the connections are given up if they cannot be trusted any more."""
        if is_connection_suspect(error):
            suspects = [each for each in (self._writer, self._lent) if each is not None]
            self._writer = self._lent = None
            for each in suspects:
                with suppress(sqlite3.Error):
                    each.close()
        return self._translated(error, committing=committing)

    def _translated(self, error: sqlite3.Error, *, committing: bool) -> Exception:
        return translate(error, url=self.url, waited_ms=self.busy_timeout_ms, committing=committing)


class _Checkpoints:
    """Explicit checkpoints, for libraries with the WAL-reset bug.

    Run while the lock file is held, and inside a transaction of the writer: that holds SQLite's own write lock, so that
    even a connection which does not know our lock file (a caller's own) cannot commit, and thereby reset the WAL,
    meanwhile. A passive checkpoint needs no lock that the writer holds, and waits for nobody.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._wal = f"{database.path}-wal"
        self._changes = 0
        self._look_at = 0
        self._wal_bytes = 0

    def count(self, writer: sqlite3.Connection, changes: int) -> None:
        """Note a commit, and copy the WAL into the database if it has grown enough."""
        self._changes += changes + CHANGES_PER_COMMIT
        if self._changes < self._look_at:
            return
        self._look_at = self._changes + CHANGES_PER_LOOK
        try:
            size = os.stat(self._wal).st_size  # noqa: PTH116 - on the path of every commit, a Path costs more than the call
        except FileNotFoundError:
            return
        if self._changes < CHANGES_PER_CHECKPOINT and size < self._wal_bytes + WAL_CHECKPOINT_BYTES:
            return
        self._changes, self._look_at, self._wal_bytes = 0, 0, size
        try:
            self._run(writer)
        except (sqlite3.Error, StoreError) as error:
            # What was committed is safe in the WAL, which goes on growing: the next one may succeed.
            logger.warning("%s: a checkpoint failed, and its log has %d bytes: %s", self._database.url, size, error)

    def _run(self, writer: sqlite3.Connection) -> None:
        if self._connection is None:
            self._connection = self._database.open(sqlite3.Connection)
        writer.execute("begin immediate")
        try:
            self._connection.execute("pragma wal_checkpoint(passive)").fetchone()
        finally:
            _roll_back(writer)

    def connections(self) -> list[sqlite3.Connection]:
        """What there is to close."""
        return [] if self._connection is None else [self._connection]


def _is_answer(error: BaseException) -> bool:
    """Whether it was said on purpose, such as that there is no such run: the connection is as good as before."""
    return isinstance(error, HoldfastError) and not isinstance(error, StoreError)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Leave the transaction, if the library has not done so itself."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("rollback")
