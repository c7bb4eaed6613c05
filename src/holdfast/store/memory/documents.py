"""The tables of ``Store.transact`` for the reference store: a private SQLite database in memory."""

from __future__ import annotations

import sqlite3

from holdfast.store.migrations.script import read_script
from holdfast.store.schema import REVISIONS


def open_documents() -> sqlite3.Connection:
    """A connection to a new database with the newest tables, for any thread that holds the store's lock."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for revision in REVISIONS:
        connection.executescript(read_script("sqlite", revision))
    return connection
