"""What all tests share: the PostgreSQL server and a migrated database."""

from __future__ import annotations

import compileall
import contextlib
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.postgres_server import Emptier, as_role, fresh_database, make_login, run_server

# No test shall fail because the machine is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


ROOT = Path(__file__).resolve().parents[1]
SLOW_FIRST = ("sim", "process", "e2e")
"""Folders whose tests take long: at the end one of them would keep one of the processes busy, and the other waiting."""


def pytest_configure(config: pytest.Config) -> None:
    """Make ready what processes inherit that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a shell: nothing that a test starts could be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        # Each would compile the package anew where the environment says that nobody may keep what it compiled.
        compileall.compile_dir(ROOT / "src", quiet=2)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, in the order that chance gave them."""
    items.sort(key=lambda item: item.path.relative_to(ROOT).parts[1] not in SLOW_FIRST)


CLIENT_LOGIN, WORKER_LOGIN = "holdfast_test_client", "holdfast_test_worker"


@pytest.fixture(scope="session")
def postgres_server_url() -> Generator[str, None, None]:
    """The URL of a PostgreSQL server in which databases may be created."""
    with run_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server_url: str) -> Generator[str, None, None]:
    """The name of a database with all tables and no rows: copying it is quicker than migrating."""
    from holdfast.store.migrations import migrate

    name = f"holdfast_template_{os.getpid()}"
    with fresh_database(postgres_server_url, name) as url:
        migrate(url)
        yield name


@pytest.fixture(scope="session")
def _postgres_shared(postgres_server_url: str, postgres_template: str) -> Generator[tuple[str, Emptier], None, None]:
    name = f"holdfast_shared_{os.getpid()}"
    with (
        fresh_database(postgres_server_url, name, template=postgres_template) as url,
        contextlib.closing(Emptier(url)) as emptier,
    ):
        yield url, emptier


@pytest.fixture
def postgres_url(_postgres_shared: tuple[str, Emptier]) -> str:
    """The URL of a migrated database without rows. All tests of this process use the same one, one after the other."""
    url, emptier = _postgres_shared
    emptier.empty()
    return url


@pytest.fixture(scope="session")
def _walled_shared(postgres_server_url: str, postgres_template: str) -> Generator[tuple[str, Emptier], None, None]:
    from holdfast.store.postgres.wall import raise_wall

    name = f"holdfast_walled_{os.getpid()}"
    with fresh_database(postgres_server_url, name, template=postgres_template) as url:
        raise_wall(url, settle_s=0)
        with contextlib.closing(Emptier(url)) as emptier:
            yield url, emptier


@pytest.fixture
def walled_admin_url(_walled_shared: tuple[str, Emptier]) -> str:
    """The URL of an empty database with a wall between its tenants, for its superuser."""
    url, emptier = _walled_shared
    emptier.empty()
    return url


@pytest.fixture
def walled_client_url(walled_admin_url: str) -> str:
    """The same, for a role that acts for one tenant at a time."""
    make_login(walled_admin_url, CLIENT_LOGIN, "holdfast_client")
    return as_role(walled_admin_url, CLIENT_LOGIN)


@pytest.fixture
def walled_url(walled_admin_url: str) -> str:
    """The same, for a role that may also act for all tenants."""
    make_login(walled_admin_url, WORKER_LOGIN, "holdfast_worker")
    return as_role(walled_admin_url, WORKER_LOGIN)
