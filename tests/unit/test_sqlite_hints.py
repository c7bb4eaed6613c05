from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from holdfast.store.migrations import migrate
from holdfast.store.port import Hint
from holdfast.store.sqlite import SqliteStore
from holdfast.store.sqlite.watcher import FOREIGN, QUIET_FACTOR, QUIET_LOOKS
from tests.contract.scene import new_run
from tests.unit.sqlite_programs import SOUND, program, start_many


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "holdfast.db")
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(path: str) -> Generator[SqliteStore, None, None]:
    """A store that looks at the file only when it is told to."""
    store = SqliteStore(path)
    yield store
    store.close()


def test_a_commit_of_another_process_wakes_those_who_listen(path: str) -> None:
    store = SqliteStore(path, watch=True)
    heard = threading.Event()
    store.hints.subscribe(lambda hint: heard.set() if hint == FOREIGN else None)

    with program(start_many, path, SOUND, 0, 1):
        assert heard.wait(30)

    store.close()


def test_a_store_of_the_same_file_in_this_process_counts_as_somebody_else(store: SqliteStore, path: str) -> None:
    hints: list[Hint] = []
    store.start_runs([new_run(1)])
    store.hints.look()
    store.hints.look()
    store.hints.subscribe(hints.append)
    other = SqliteStore(path)

    other.start_runs([new_run(2)])
    store.hints.look()
    other.close()

    assert hints == [FOREIGN]


def test_own_commits_are_hinted_once_and_exactly(store: SqliteStore) -> None:
    hints: list[Hint] = []
    store.start_runs([new_run(1)])
    store.hints.look()
    store.hints.look()
    store.hints.subscribe(hints.append)

    store.start_runs([new_run(2)])
    for _ in range(3):
        store.hints.look()

    assert hints == [Hint(work=True)]


def test_a_store_watches_only_if_it_is_asked_to_and_somebody_listens(path: str) -> None:
    before = threading.active_count()
    quiet, watching = SqliteStore(path), SqliteStore(path, watch=True)
    quiet.hints.subscribe(lambda hint: None)
    unheard = threading.active_count()
    watching.hints.subscribe(lambda hint: None)
    heard = threading.active_count()

    quiet.close()
    watching.close()

    assert (unheard - before, heard - before, threading.active_count() - before) == (0, 1, 0)


def test_a_watcher_looks_more_rarely_while_nobody_commits(store: SqliteStore) -> None:
    busy_s = store.hints.pause_s
    for _ in range(QUIET_LOOKS + 1):
        store.hints.look()
    quiet_s = store.hints.pause_s

    store.start_runs([new_run(1)])
    store.hints.look()

    assert (quiet_s, store.hints.pause_s) == (busy_s * QUIET_FACTOR, busy_s)
