"""What all tests share: the PostgreSQL server and a migrated database to copy."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.postgres_server import fresh_database, run_server


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
