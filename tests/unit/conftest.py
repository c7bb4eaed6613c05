"""Databases among whose rows the plans of statements are tested."""

from __future__ import annotations

from collections.abc import Generator

import psycopg
import pytest

from tests.postgres_stage import migrated_database
from tests.unit.postgres_rows import fill


@pytest.fixture(scope="session")
def empty(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    """A database with all tables and no rows."""
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def loaded(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    """A database with many runs, a tenth of them claimable, a tenth parked, a tenth held."""
    with migrated_database(postgres_server_url, postgres_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            fill(connection)
        yield url
