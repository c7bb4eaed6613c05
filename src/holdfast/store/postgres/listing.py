"""The listings that are written once for both databases, on this one: rendered for psycopg, in our schema."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect

_DIALECT: Final[Dialect] = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_SCHEMA: Final[dict[str | None, str | None]] = {None: "holdfast"}


def render(query: Select[Any]) -> tuple[str, dict[str, Any]]:
    """The statement's text, with the tables named in full, and its parameters."""
    compiled = query.compile(
        dialect=_DIALECT,
        schema_translate_map=_SCHEMA,
        render_schema_translate=True,
        compile_kwargs={"render_postcompile": True},
    )
    return str(compiled), dict(compiled.params)
