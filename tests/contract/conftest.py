"""One suite over every store: ``scene`` is parametrised by the kind of store."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from holdfast.store.port import Store
from tests.contract.scene import Scene
from tests.contract.stores import KINDS, ManualClock, OpenStore, open_memory, open_postgres, open_sqlite

WALL_VARIABLE = "HOLDFAST_TEST_WALL"
"""Set it, and every test of the PostgreSQL store runs behind the wall between tenants."""


Opener = Callable[[str, ManualClock], AbstractContextManager[OpenStore]]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file without rows."""
    from holdfast.store.migrations import migrate

    path = tmp_path_factory.mktemp("template") / "holdfast.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens an empty store of the given kind, once each; only the kinds that are asked for cost anything."""

    @contextmanager
    def opener(kind: str, clock: ManualClock) -> Generator[OpenStore, None, None]:
        if kind == "memory":
            opening = open_memory(clock)
        elif kind == "sqlite":
            template: Path = request.getfixturevalue("sqlite_template")
            opening = open_sqlite(clock, template, tmp_path / "holdfast.db")
        elif kind == "walled" or WALL_VARIABLE in os.environ:
            url: str = request.getfixturevalue("walled_url")
            opening = open_postgres(clock, url, request.getfixturevalue("walled_admin_url"))
        else:
            opening = open_postgres(clock, request.getfixturevalue("postgres_url"))
        with opening as opened:
            yield opened

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
