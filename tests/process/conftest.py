"""A stage for each test: a folder, a database without runs, and whatever processes the test starts."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from holdfast.store.migrations import migrate
from tests.process.harness import Stage, open_stage


@pytest.fixture(scope="session")
def sqlite_file_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file: copying it is quicker than migrating."""
    file = tmp_path_factory.mktemp("template") / "holdfast.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_stage(tmp_path: Path, sqlite_file_template: Path) -> Generator[Stage, None, None]:
    """A stage on SQLite."""
    file = tmp_path / "holdfast.db"
    shutil.copy(sqlite_file_template, file)
    with open_stage(tmp_path, f"sqlite:///{file}") as stage:
        yield stage


@pytest.fixture
def postgres_stage(tmp_path: Path, postgres_url: str) -> Generator[Stage, None, None]:
    """A stage on PostgreSQL."""
    with open_stage(tmp_path, postgres_url) as stage:
        yield stage


@pytest.fixture(params=["sqlite", "postgresql"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """A stage on each database in turn."""
    stage: Stage = request.getfixturevalue("sqlite_stage" if request.param == "sqlite" else "postgres_stage")
    return stage
