"""All that a store holds, for comparing before and after."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

from psycopg import sql

from tests.contract.stores import OpenStore


def dump(opened: OpenStore) -> dict[str, list[str]]:
    """Every row of every table, by table; tables without any are left out."""
    return {name: rows for name, rows in _tables(opened).items() if rows}


def _tables(opened: OpenStore) -> dict[str, list[str]]:
    if opened.kind == "memory":
        # Its rows are nowhere else.
        parts: dict[str, Any] = vars(opened.store)
        tables = cast("dict[str, Any]", vars(parts["_tables"]))
        documents: sqlite3.Connection | None = parts["_documents"]
        rows = {f"memory {name}": [repr(one) for one in _items(held)] for name, held in tables.items() if held}
        return rows if documents is None else rows | _sqlite(documents)
    with opened.owner_transaction() as connection:
        return _sqlite(connection) if opened.kind == "sqlite" else _postgres(connection)


def _items(held: Any) -> list[Any]:
    return sorted(held.items(), key=str) if hasattr(held, "items") else [held]


def _sqlite(connection: sqlite3.Connection) -> dict[str, list[str]]:
    names = connection.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite%'")
    return {
        name.removeprefix("holdfast_"): sorted(
            repr(row)
            for row in connection.execute(f'select * from "{name}"')  # noqa: S608 - from the schema
        )
        for (name,) in names.fetchall()
    }


def _postgres(connection: Any) -> dict[str, list[str]]:
    names = connection.execute("select tablename from pg_tables where schemaname = 'holdfast'").fetchall()
    return {
        name: sorted(
            repr(row)
            for row in connection.execute(sql.SQL("select * from holdfast.{}").format(sql.Identifier(name))).fetchall()
        )
        for (name,) in names
    }
