"""The driver's errors in our words."""

from __future__ import annotations

import sqlite3
from typing import Final

from holdfast.errors import CommitUnknown, StoreBusy, StoreCorrupt, StoreError, StoreMisconfigured, StoreUnavailable

DATA_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    OverflowError,
    ValueError,  # UnicodeError too
)
"""What a row raises that the database cannot take, as opposed to a database that cannot take any row."""

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_LATER: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL}
_CORRUPT: Final = {sqlite3.SQLITE_CORRUPT}


def primary_code(error: sqlite3.Error) -> int:
    """The primary result code, or 0 if the error did not come from the library."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_connection_suspect(error: sqlite3.Error) -> bool:
    """Whether the connection must not be used again: after a failed write or sync nobody knows what is on the disk."""
    return primary_code(error) in {sqlite3.SQLITE_IOERR, *_CORRUPT}


def translate(error: sqlite3.Error, *, url: str, waited_ms: int, committing: bool) -> StoreError:
    """The error to raise from the driver's.

    ``committing`` says that COMMIT was under way: if writing or syncing failed then, the transaction's last page may
    have reached the disk, so that nobody knows whether it was done. A full disk is no such case: nothing was done.
    """
    code = primary_code(error)
    if code in _BUSY:
        return StoreBusy(url=url, waited_s=waited_ms / 1000)
    if code == sqlite3.SQLITE_IOERR and committing:
        return CommitUnknown(why=str(error))
    if code in _LATER:
        return StoreUnavailable(url=url, why=str(error))
    if code in _CORRUPT:
        return StoreCorrupt(what=url, why=str(error))
    return StoreMisconfigured(url=url, why=str(error))
