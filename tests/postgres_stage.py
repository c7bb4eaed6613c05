"""What the PostgreSQL store's tests share: databases, statements in slow motion, and a proxy that cuts connections."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar

import psycopg
from sqlalchemy.engine import make_url

from holdfast.model.commit import RunCommit
from holdfast.store.postgres.commit import plan_commit
from holdfast.store.postgres.connection import Address, Connection, Pool
from holdfast.store.postgres.session import Session
from holdfast.store.postgres.statements import statement
from tests.contract.scene import Scene
from tests.contract.stores import ManualClock, open_postgres
from tests.postgres_server import fresh_database

_numbers = count(1)


@contextmanager
def migrated_database(server: str, template: str) -> Generator[str, None, None]:
    """The URL of a fresh database with all tables."""
    name = f"holdfast_postgres_{os.getpid()}_{next(_numbers)}"
    with fresh_database(server, name, template=template) as url:
        yield url


@contextmanager
def open_scene(url: str) -> Generator[Scene, None, None]:
    """A stage on a store whose clock stands still."""
    with open_postgres(ManualClock(), url) as opened:
        yield Scene(opened)


@dataclass(frozen=True)
class Inside:
    """The parts that a store is made of, for tests that look at how they work together."""

    pool: Pool
    session: Session


@contextmanager
def open_inside(
    url: str,
    *,
    size_max: int = 2,
    wait_s: float = 30,
    prepare: bool = True,
    jitter: Callable[[], float] = lambda: 0.0,
    sleep: Callable[[float], None] = lambda _: None,
) -> Generator[Inside, None, None]:
    """A pool and a session as a store has them."""
    address = Address(url, prepare=prepare)
    pool = Pool(address.connect, size_max=size_max, wait_s=wait_s, shown=address.shown)
    yield Inside(pool, Session(pool, shown=address.shown, read_committed=prepare, jitter=jitter, sleep=sleep))
    pool.close()


def execute(connection: Connection, name: str, scene: Scene, /, **params: Any) -> list[tuple[Any, ...]]:
    """One of the store's statements, on a connection of the test's."""
    cursor = connection.execute(statement(name), {"shard": 0, "now_ms": scene.clock.now_ms, **params})
    return cursor.fetchall() if cursor.description else []


def execute_commit(connection: Connection, scene: Scene, *batch: RunCommit) -> None:
    """All statements of a commit but the COMMIT."""
    for name, params in plan_commit(batch, shard=0, now_ms=scene.clock.now_ms).steps(families=True):
        connection.execute(statement(name), params)


@contextmanager
def transaction(url: str) -> Generator[Connection, None, None]:
    """A connection like the store's with an open transaction: commit it, or it is rolled back."""
    connection = Address(url, prepare=True).connect()
    connection.execute("begin")
    try:
        yield connection
    finally:
        connection.close()


def wait_for_lock(url: str, waiters: int = 1) -> None:
    """Return when so many other sessions of this database wait for a lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(6_000):
            found = connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            ).fetchone()
            if found is not None and found[0] >= waiters:
                return
            connection.execute("select pg_sleep(0.01)")
    raise AssertionError("nobody waits for a lock")


T = TypeVar("T")


class Background(Generic[T]):
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the test waits
            self._errors.append(error)

    def result(self) -> T:
        """Wait for the call to end. Raises what it raised."""
        self._thread.join(90)
        assert not self._thread.is_alive()
        for error in self._errors:
            raise error
        return self._results[0]


class Proxy:
    """Stands between a store and the server: it can cut every connection, at once or in place of the next answer."""

    def __init__(self, url: str) -> None:
        self._target = _socket_path(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._cut_answers = threading.Event()
        self._requests_until_cut: int | None = None
        host, port = self._listener.getsockname()
        self.url = make_url(url).set(host=host, port=port, query={}).render_as_string(hide_password=False)
        self._threads[0].start()

    def cut_at_next_answer(self) -> None:
        """Let what is sent next reach the server, and its answer nobody."""
        self._cut_answers.set()

    def cut_at_next_request(self) -> None:
        """Let what is sent next reach nobody."""
        self._requests_until_cut = 0

    def heal(self) -> None:
        """Let everything through again."""
        self._cut_answers.clear()
        self._requests_until_cut = None

    def close(self) -> None:
        """End all connections."""
        self._listener.close()
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _cut(pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            for source, sink, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, pair, is_answer), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, pair: Sequence[socket.socket], is_answer: bool) -> None:
        try:
            while data := source.recv(65_536):
                if is_answer and self._cut_answers.is_set():
                    break
                if not is_answer and self._requests_until_cut is not None:
                    break
                sink.sendall(data)
        except OSError:
            pass  # the other direction was cut
        _cut(pair)


def _cut(pair: Sequence[socket.socket]) -> None:
    for one in pair:
        with suppress(OSError):  # it is cut already
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def _socket_path(url: str) -> str:
    parsed = make_url(url)
    return f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}"
