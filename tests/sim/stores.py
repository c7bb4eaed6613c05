"""The stores that are simulated."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from holdfast.model.ids import UnixMs
from holdfast.store.memory import MemoryStore
from holdfast.store.migrations import migrate
from holdfast.store.port import Store
from holdfast.testing.sim.cluster import MakeStore

KINDS = ("memory", "sqlite")
RAM = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it


@contextmanager
def store_maker(kind: str) -> Generator[MakeStore]:
    """A function that opens an empty store of that kind, again and again."""
    if kind == "memory":
        yield MemoryStore
        return
    from holdfast.store.sqlite.adapter import SqliteStore

    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        template = Path(folder, "template.db")
        migrate(f"sqlite:///{template}")
        connection = sqlite3.connect(template)
        with connection:
            connection.execute("create table outside_booking (n integer, run_id text)")
        connection.close()

        def make(clock: Callable[[], UnixMs]) -> Store:
            path = Path(folder, "simulated.db")
            for old in Path(folder).glob("simulated.db*"):
                old.unlink()
            shutil.copyfile(template, path)
            return SqliteStore(str(path), clock=clock)

        yield make


def bookings(kind: str, store: Store) -> dict[str, int]:
    """How often each run's transactional step was done, by what it left in the database."""
    if kind == "memory":
        return {}
    connection = sqlite3.connect(store.url.removeprefix("sqlite:///"))
    rows = connection.execute("select run_id, count(*) from outside_booking group by run_id").fetchall()
    connection.close()
    return dict(rows)
