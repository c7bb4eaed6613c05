"""How statements are written for PostgreSQL. Imported late, by those who talk to one."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.base import PGCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect


class _Compiler(PGCompiler):
    """Writes ``insert_new`` and ``insert_or_change``, whose class is SQLite's: both databases know these forms."""

    def visit_on_conflict_do_nothing(self, on_conflict: object, **given: Any) -> str:  # noqa: ARG002 - the base's signature
        return "ON CONFLICT DO NOTHING"

    def _on_conflict_target(self, clause: Any, **given: Any) -> str:  # noqa: ARG002 - the base's signature
        return f"({', '.join(self.preparer.quote(column.name) for column in clause.inferred_target_elements)})"


def postgresql_dialect() -> Dialect:
    """The dialect, with psycopg's parameters."""
    dialect: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # its constructor has no annotations
    dialect.statement_compiler = _Compiler
    return dialect
