"""The statements of ``queries/``, one per file.

Most take their rows as one JSON parameter, which costs one call of the library however many rows there are: the
interpreter's lock changes hands at every call, and under load that is what a call costs. The three hottest take a
``values`` list instead, which SQLite reads about twice as fast as JSON; ``run_rows`` writes it out for as many rows as
there are, rounded up to a power of two so that few statements are ever prepared, with rows of nulls that match nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final, TypeVar

import msgspec

from holdfast.errors import StoreCorrupt

ROWS_MAX: Final = 512
"""The longest ``values`` list; longer input takes several statements."""

_ROW: Final = re.compile(r"values (\(\?(?:, \?)*\))")
_encode = msgspec.json.Encoder().encode

T = TypeVar("T")
Value = str | int | bytes | None


@cache
def sql(name: str) -> str:
    """The text of ``queries/<name>.sql`` without its comments."""
    text = (files("holdfast.store.sqlite") / "queries" / f"{name}.sql").read_text("utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


@cache
def _sql_for_rows(name: str, count: int) -> tuple[str, int]:
    """The statement with its ``values`` row repeated, and the number of columns of a row."""
    text = sql(name)
    found = _ROW.search(text)
    if found is None:
        raise ValueError(f"{name}.sql has no row of values")
    row = found.group(1)
    return text[: found.start(1)] + ", ".join([row] * count) + text[found.end(1) :], row.count("?")


def run_rows(connection: sqlite3.Connection, name: str, rows: Sequence[Sequence[Value]]) -> int:
    """Execute a ``values`` statement over all rows and return how many rows it changed."""
    changed = 0
    for first in range(0, len(rows), ROWS_MAX):
        chunk = rows[first : first + ROWS_MAX]
        size = 1 << (len(chunk) - 1).bit_length()
        text, width = _sql_for_rows(name, size)
        flat: list[Value] = [value for row in chunk for value in row]
        flat.extend([None] * (width * (size - len(chunk))))
        changed += connection.execute(text, flat).rowcount
    return changed


def run(connection: sqlite3.Connection, name: str, /, **parameters: Value) -> int:
    """Execute a statement and return how many rows it changed."""
    return connection.execute(sql(name), parameters).rowcount


def as_json(rows: object) -> str:
    """Rows as the JSON parameter of a statement. Raises UnicodeEncodeError for a lone surrogate."""
    return _encode(rows).decode()


def read_row(connection: sqlite3.Connection, name: str, /, **parameters: Value) -> tuple[Value, ...] | None:
    """The first row that a statement returns; the statement is closed before this returns."""
    cursor = connection.execute(sql(name), parameters)
    row: tuple[Value, ...] | None = cursor.fetchone()
    cursor.close()
    return row


def read_json(connection: sqlite3.Connection, name: str, decoder: msgspec.json.Decoder[T], /, **parameters: Value) -> T:
    """What a statement returns as its one JSON value. Raises StoreCorrupt."""
    row = read_row(connection, name, **parameters)
    return decode(decoder, row[0] if row is not None else None, name)


def decode(decoder: msgspec.json.Decoder[T], value: Value, name: str) -> T:
    """A JSON value that the statement ``name`` returned. Raises StoreCorrupt if a row in it cannot be read."""
    try:
        return decoder.decode(value if isinstance(value, str) else "null")
    except msgspec.DecodeError as error:
        raise StoreCorrupt(what=f"what {name} returned", why=str(error)) from error
