"""What a program waits for when it starts: no module is imported that it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.store.migrations import migrate

SERVER = {"psycopg", "sqlalchemy.dialects.postgresql", "holdfast.store.postgres"}
SCHEMA = {"alembic"}
STATEMENTS = {"sqlalchemy"}
EXTRAS = {"yaml", "uvloop"}
LOGS = {"structlog"}
WORK = {"holdfast.runtime.worker"}
STUDIO = {"holdfast.studio"}
ENGINE = {"asyncio", "msgspec", "rich", "holdfast.app", "holdfast.client", "holdfast.runtime", "holdfast.store"}

TELL = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"


def imported_by(program: str, folder: Path) -> set[str]:
    """The modules that a process has imported when this program has run in it."""
    environment = {name: value for name, value in os.environ.items() if name != "HOLDFAST_DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{TELL}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return set(json.loads(done.stderr))


def imported_by_command(folder: Path, *words: str) -> set[str]:
    """The modules that a command imports."""
    return imported_by(f"from holdfast.cli.main import run\nassert run({list(words)}) == 0", folder)


def test_importing_holdfast_imports_only_what_its_errors_need(tmp_path: Path) -> None:
    assert not imported_by("import holdfast", tmp_path) & ENGINE


def test_writing_a_program_imports_no_database(tmp_path: Path) -> None:
    program = "import holdfast as hf\napp = hf.App('orders')\n@app.workflow\nasync def fulfil(): ..."

    assert not imported_by(program, tmp_path) & (SERVER | SCHEMA | STATEMENTS | EXTRAS | LOGS | STUDIO | {"rich"})


def test_a_worker_on_a_file_with_tables_imports_neither_a_server_nor_the_schema(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/holdfast.db")
    program = (
        "import asyncio, holdfast as hf\n"
        "app = hf.App('orders')\n"
        "@app.workflow\n"
        "async def fulfil(): ...\n"
        "async def main():\n"
        "    async with app.worker(): pass\n"
        "asyncio.run(main())"
    )

    assert not imported_by(program, tmp_path) & (SERVER | SCHEMA | LOGS | STUDIO | {"rich"})


@pytest.mark.parametrize("words", [["--help"], ["version"]], ids=" ".join)
def test_a_command_that_opens_no_database_imports_no_part_of_the_engine(tmp_path: Path, words: list[str]) -> None:
    assert not imported_by_command(tmp_path, *words) & (ENGINE | SERVER | SCHEMA | STATEMENTS | LOGS | STUDIO)


@pytest.mark.parametrize(
    "words",
    [["runs", "list"], ["runs", "count"], ["start", "fulfil"], ["workers"], ["queues", "list"], ["schedules", "list"]],
    ids=" ".join,
)
def test_a_command_on_a_file_imports_neither_a_server_nor_a_worker_nor_the_schema(
    tmp_path: Path, words: list[str]
) -> None:
    migrate(f"sqlite:///{tmp_path}/holdfast.db")

    assert not imported_by_command(tmp_path, *words) & (SERVER | SCHEMA | WORK | LOGS | STUDIO)


def test_a_signal_from_the_command_line_imports_no_statements_for_two_databases(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/holdfast.db")

    assert not imported_by_command(tmp_path, "signal", "paid", "--all") & STATEMENTS


def test_all_names_of_the_package_are_there_once_one_is_asked_for(tmp_path: Path) -> None:
    program = (
        "import holdfast as hf\n"
        "assert set(hf.__all__) <= set(dir(hf))\n"
        "assert 'map' in vars(hf) and hf.map is not map\n"
        "assert not hasattr(hf, 'nothing')\n"
        "from holdfast import *\n"
        "assert App is hf.App"
    )

    assert "holdfast.app" in imported_by(program, tmp_path)
