"""SQLAlchemy Core statements as text and parameters for a driver: what is not hot is written once for both databases.

A statement is executed on the adapter's own connection, so values go to the driver as they are: ids and payloads as
text, times as integers. ``insert_new`` and ``insert_or_change`` are the constructs whose dialect matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, ColumnElement, Table, Text, bindparam, literal_column
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement

DialectName = Literal["sqlite", "postgresql"]

SHARD: Final[ColumnElement[int]] = literal_column("0")
"""There is one shard until the tables are distributed."""

_SCHEMA: Final[dict[str | None, str | None]] = {None: "holdfast"}


class _SqliteCompiler(SQLiteCompiler):
    """Writes ``with_hint(table, "INDEXED BY ...", "sqlite")``: without statistics SQLite overrates the primary key."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:  # noqa: ARG002 - the base's signature
        return text


@cache
def _dialect(name: DialectName) -> Dialect:
    if name == "sqlite":
        dialect = SQLiteDialect_pysqlite(paramstyle="named")
        dialect.statement_compiler = _SqliteCompiler
        return dialect
    # SQLAlchemy's PostgreSQL takes as long to import as a quarter of the rest: programs on SQLite do without.
    from holdfast.store.rendering_postgresql import postgresql_dialect

    return postgresql_dialect()


_rendered: Final[WeakKeyDictionary[ClauseElement, dict[DialectName, tuple[str, dict[str, Any]]]]] = WeakKeyDictionary()
"""What was rendered, for as long as its statement lives: those that a module keeps are rendered once."""


def render(statement: Executable, dialect: DialectName) -> tuple[str, dict[str, Any]]:
    """The text, with the tables named in full, and its named parameters: ``:name``, or psycopg's ``%(name)s``."""
    assert isinstance(statement, ClauseElement)
    by_dialect = _rendered.setdefault(statement, {})
    if dialect not in by_dialect:
        by_dialect[dialect] = _render(statement, dialect)
    text, params = by_dialect[dialect]
    return text, dict(params)


def _render(statement: ClauseElement, dialect: DialectName) -> tuple[str, dict[str, Any]]:
    compiled = statement.compile(
        dialect=_dialect(dialect),
        schema_translate_map=_SCHEMA,
        render_schema_translate=True,
        compile_kwargs={"render_postcompile": True},
    )
    # SQLite has no schemas: there the name of ours is the prefix of our tables.
    text = str(compiled).replace("holdfast.", "holdfast_") if dialect == "sqlite" else str(compiled)
    params: Any = compiled.params
    return text, {str(name): value for name, value in params.items()}


@lru_cache(maxsize=500)
def text_of(make: Callable[..., Executable], dialect: DialectName, *shape: object) -> tuple[str, dict[str, Any]]:
    """The text of ``make(*shape)``, kept for the next time, and the constants in it; do not change these.

    All values are parameters that the statement names itself: it is not made of any.
    """
    text, params = render(make(*shape), dialect)
    return text, {name: value for name, value in params.items() if value is not None}


def value(name: str, type_: Any = Text) -> BindParameter[Any]:
    """The parameter of that name, for statements whose text is kept."""
    return bindparam(name, type_=type_, required=False)


def insert_new(table: Table) -> Insert:
    """An INSERT that leaves a row alone that exists already; add ``.values(...)`` and ``.returning(...)``.

    It is SQLAlchemy's class for SQLite; ``rendering_postgresql`` can write it too.
    """
    return insert(table).on_conflict_do_nothing()


def insert_or_change(table: Table, values: Mapping[str, Any], change: Callable[[Any], Mapping[str, Any]]) -> Insert:
    """An INSERT that changes the row with that primary key if there is one; ``change`` is given the row not inserted.

    One statement: a row that is deleted meanwhile is neither missed nor half written.
    """
    new = insert(table).values(values)
    return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=change(new.excluded))
