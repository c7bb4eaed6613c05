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
    text = (files(__package__) / "queries" / f"{name}.sql").read_text("utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    # Literal in spirit: the files are part of the program, and nothing from outside is ever mixed into them.
    literal: Any = body
    return literal  # type: ignore[no-any-return]
