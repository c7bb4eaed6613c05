"""Running a DDL file statement by statement inside the open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


def read_script(dialect: str, revision: str) -> str:
    """The text of a revision's DDL file for ``sqlite`` or ``postgresql``."""
    return (files("holdfast.store.migrations") / f"{revision}_{dialect}.sql").read_text("utf-8")


def split_statements(script: str) -> Iterator[str]:
    """The statements of an SQLite script, one by one: ``executescript`` would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def run_script(connection: Connection, revision: str) -> None:
    """Execute the DDL file of ``revision`` for the connection's dialect, as it stands: ``%`` and ``:`` mean nothing."""
    dialect = connection.dialect.name
    script = read_script(dialect, revision)
    cursor = connection.connection.cursor()
    try:
        for statement in split_statements(script) if dialect == "sqlite" else [script]:
            cursor.execute(statement)
    finally:
        cursor.close()
