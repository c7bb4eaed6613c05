"""Every table that holds rows of tenants is known to counting, export and erasure: a new one fails here.

The rows are made from the schema itself, one of each of two tenants in every table that PostgreSQL has.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Generator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from holdfast.model.ids import Tenant
from holdfast.model.tenant import Ended, Everything
from holdfast.store.postgres import PostgresStore
from holdfast.store.tenancy import count_rows, export
from tests.contract.scene import run_id
from tests.postgres_stage import migrated_database

FLEET = {"workers"}
"""Tables of nobody's."""

GIVEN: dict[str, dict[str, Any]] = {
    "runs": {"status": "completed", "finalized_ms": 1, "parent_policy": "cancel"},
    "triggers": {"kind": "manual"},
    "pauses": {"kind": "tenant", "bar": "tenant"},
    "definitions": {"hash": "0" * 64},
    "schedule_ticks": {"outcome": "missed"},
}
"""Where one column's value depends on another's."""

_COLUMNS = """
select c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       (select string_agg(pg_get_constraintdef(k.oid), ' ') from pg_constraint k
         where k.conrelid = c.oid and k.contype = 'c' and a.attnum = any (k.conkey))
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'holdfast'::regnamespace and c.relkind in ('r', 'p')
   and (a.attnotnull or a.attname in ('run_id', 'tenant')) and a.attidentity = '' and a.attgenerated = ''
   and (not a.atthasdef or a.attname in ('run_id', 'tenant'))
"""
_NAMES = """
select c.relname, array_agg(a.attname::text)
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'holdfast'::regnamespace and c.relkind in ('r', 'p')
 group by c.relname
"""

MINE, THEIRS = Tenant("mine"), Tenant("theirs")
RUNS = {MINE: run_id(1), THEIRS: run_id(2)}


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


def fill(connection: psycopg.Connection[Any]) -> set[str]:
    """A row of each tenant in every table; the tables' names."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for table, column, type_, checks in connection.execute(_COLUMNS).fetchall():
        tables.setdefault(table, {})[column] = (type_, checks or "")
    for table, columns in tables.items():
        for tenant in () if table in FLEET else tuple(RUNS):
            row = {name: _value(name, *of, tenant) for name, of in columns.items()} | GIVEN.get(table, {})
            connection.execute(
                sql.SQL("insert into holdfast.{} ({}) values ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() * len(row)),
                ),
                list(row.values()),
            )
    return set(tables) - FLEET


def _value(column: str, type_: str, checks: str, tenant: Tenant) -> Any:
    if column == "tenant":
        return tenant
    if type_ == "uuid":
        return RUNS[tenant] if column in ("id", "run_id", "root_id") else str(uuid.UUID(int=1))
    if type_ == "text":
        word = re.search(rf"\(?{column} = ANY \(ARRAY\['(\w+)'", checks)
        return word.group(1) if word else f"{column} of {tenant}"
    if type_ in ("json", "jsonb"):
        return "{}"
    if type_.endswith("[]"):
        return []
    return False if type_ == "boolean" else 0 if column == "shard" else 1


def left(connection: psycopg.Connection[Any], tenant: Tenant) -> dict[str, int]:
    """The rows of each table that name the tenant or its run, whatever the columns are called."""
    found: dict[str, int] = {}
    for (table,) in connection.execute("select tablename from pg_tables where schemaname = 'holdfast'").fetchall():
        count = connection.execute(
            sql.SQL("select count(*) from holdfast.{} t where to_jsonb(t)::text ~ %s").format(sql.Identifier(table)),
            [rf"\m({tenant}|{RUNS[tenant]})\M"],
        ).fetchone()
        if count is not None and count[0]:
            found[table] = count[0]
    return found


@pytest.mark.requirement("promise-10", "L-33")
def test_a_table_of_rows_of_tenants_has_a_tenant_or_a_run(url: str) -> None:
    with psycopg.connect(url) as connection:
        columns: dict[str, list[str]] = dict(connection.execute(_NAMES).fetchall())

    assert {table for table, names in columns.items() if not {"tenant", "run_id"} & set(names)} == FLEET


@pytest.mark.requirement("promise-10", "L-33")
def test_erasure_and_export_know_every_table_that_the_database_has(url: str) -> None:
    with psycopg.connect(url) as connection:
        tables = fill(connection)
    store = PostgresStore(url)

    counted = store.transact(MINE, lambda s: count_rows(s, MINE), read_only=True)
    lines = [line.decode() for line in export(store, MINE)]
    with psycopg.connect(url) as connection:
        before = left(connection, THEIRS)
        assert set(left(connection, MINE)) == tables
    assert counted == dict.fromkeys(tables, 1)
    assert {match[1] for line in lines if (match := re.match(r'\{"table":"(\w+)"', line))} == tables
    assert not any(THEIRS in line for line in lines)

    store.prune(Everything(MINE), limit=100)
    store.close()

    with psycopg.connect(url) as connection:
        assert left(connection, MINE) == {}
        assert left(connection, THEIRS) == before


@pytest.mark.requirement("L-33")
def test_retention_takes_every_row_that_belongs_to_a_run(url: str) -> None:
    with psycopg.connect(url) as connection:
        fill(connection)
        columns: dict[str, list[str]] = dict(connection.execute(_NAMES).fetchall())
    store = PostgresStore(url)

    assert store.prune(Ended(MINE, store.read_clock()), limit=100) == 1
    store.close()

    with psycopg.connect(url) as connection:
        kept = left(connection, MINE)
    assert not {table for table in kept if "run_id" in columns[table]} - {"outbox"}
    assert "runs" not in kept
    assert {"definitions", "projects", "tenants"} <= set(kept)
