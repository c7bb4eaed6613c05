"""One suite over every store: ``scene`` is parametrised by the kind of store."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from holdfast.store.port import Store
from tests.contract.scene import Scene
from tests.contract.stores import KINDS, ManualClock, OpenStore, open_memory, open_postgres, open_sqlite
from tests.postgres_server import fresh_database

Opener = Callable[[str, ManualClock], AbstractContextManager[OpenStore]]

_numbers = count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file without rows."""
    from holdfast.store.migrations import migrate

    path = tmp_path_factory.mktemp("template") / "holdfast.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens an empty store of the given kind; only the kinds that are asked for cost anything."""

    @contextmanager
    def opener(kind: str, clock: ManualClock) -> Generator[OpenStore, None, None]:
        number = next(_numbers)
        with ExitStack() as stack:
            if kind == "memory":
                opened = open_memory(clock)
            elif kind == "sqlite":
                template: Path = request.getfixturevalue("sqlite_template")
                opened = open_sqlite(clock, template, tmp_path / f"{number}.db")
            else:
                server: str = request.getfixturevalue("postgres_server_url")
                copied: str = request.getfixturevalue("postgres_template")
                name = f"holdfast_test_{os.getpid()}_{number}"
                url = stack.enter_context(fresh_database(server, name, template=copied))
                opened = open_postgres(clock, url)
            yield stack.enter_context(opened)

    return opener


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, open_store: Opener) -> Generator[OpenStore, None, None]:
    """Each store in turn, empty."""
    with open_store(str(request.param), ManualClock()) as opened:
        yield opened


@pytest.fixture
def scene(opened: OpenStore) -> Generator[Scene, None, None]:
    """A stage on each store in turn; when the test is over, every run's history must be a legal one."""
    scene = Scene(opened)
    yield scene
    scene.check_histories()


@pytest.fixture
def store(opened: OpenStore) -> Store:
    """Each store in turn, empty."""
    return opened.store
