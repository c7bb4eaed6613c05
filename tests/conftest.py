"""What all tests share: the PostgreSQL server and a migrated database."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests.postgres_server import empty_tables, fresh_database, run_server

# No test shall fail because the machine is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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
def _postgres_shared(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    name = f"holdfast_shared_{os.getpid()}"
    with fresh_database(postgres_server_url, name, template=postgres_template) as url:
        yield url


@pytest.fixture
def postgres_url(_postgres_shared: str) -> str:
    """The URL of a migrated database without rows. All tests of this process use the same one, one after the other."""
    empty_tables(_postgres_shared)
    return _postgres_shared
