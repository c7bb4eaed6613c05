"""The statements of this store: one file each in ``queries/``, named after the port's method."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

Params = dict[str, Any]
"""A statement's named parameters."""

Step = tuple[str, Params]
"""A statement's name, and its parameters."""


@cache
def statement(name: str) -> LiteralString:
    """The text of ``queries/<name>.sql``, without its comment: that is for people, not for the wire."""
    text = (files("holdfast.store.postgres") / "queries" / f"{name}.sql").read_text("utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return literal(body)


def literal(text: str) -> LiteralString:
    """A statement's text, for the driver: made of our files or SQLAlchemy's words, never of what came from outside."""
    checked: Any = text
    return checked  # type: ignore[no-any-return]
