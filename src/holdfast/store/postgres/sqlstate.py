"""What an error of the database means to the caller: one table of SQLSTATEs.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import psycopg


class Meaning(Enum):
    """What is to be done about an error."""

    LOST = "lost"
    """The connection is gone: whether the statement took effect depends on when."""
    AWAY = "away"
    """The server takes no statements now: nothing was done."""
    CONFLICT = "conflict"
    """The transaction collided with another and was rolled back: repeat it."""
    MISCONFIGURED = "misconfigured"
    """The server will refuse it again until a person changes something."""
    DATA = "data"
    """Some value of the statement cannot be stored."""
    CONTINUED = "continued"
    """A run that is to be waited for has continued as another: nothing was done, follow it."""
    OTHER = "other"
    """A fault of ours, or one that nobody foresaw: it comes out as it is."""


_BY_STATE: Final = {
    "57P01": Meaning.LOST,  # admin_shutdown: the session was ended, maybe after the commit
    "57P02": Meaning.LOST,  # crash_shutdown
    "57P05": Meaning.LOST,  # idle_session_timeout
    "25P03": Meaning.LOST,  # idle_in_transaction_session_timeout
    "57P03": Meaning.AWAY,  # cannot_connect_now: starting up, shutting down, recovering
    "53300": Meaning.AWAY,  # too_many_connections
    "53100": Meaning.AWAY,  # disk_full
    "53200": Meaning.AWAY,  # out_of_memory
    "53400": Meaning.AWAY,  # configuration_limit_exceeded
    "57014": Meaning.AWAY,  # query_canceled, as by statement_timeout
    "40001": Meaning.CONFLICT,  # serialization_failure
    "40P01": Meaning.CONFLICT,  # deadlock_detected
    "55P03": Meaning.CONFLICT,  # lock_not_available
    "25006": Meaning.MISCONFIGURED,  # read_only_sql_transaction
    "42501": Meaning.MISCONFIGURED,  # insufficient_privilege
    "3D000": Meaning.MISCONFIGURED,  # invalid_catalog_name: no such database
    "3F000": Meaning.MISCONFIGURED,  # invalid_schema_name
    "42P01": Meaning.MISCONFIGURED,  # undefined_table: not migrated
    "42703": Meaning.MISCONFIGURED,  # undefined_column: migrated by another version
    "HF001": Meaning.CONTINUED,  # our own: holdfast.refuse_continued
}

_BY_CLASS: Final = {
    "08": Meaning.LOST,  # connection exception
    "58": Meaning.AWAY,  # system error, outside the database
    "53": Meaning.AWAY,  # insufficient resources
    "28": Meaning.MISCONFIGURED,  # invalid authorization
    "22": Meaning.DATA,  # data exception
    "23": Meaning.DATA,  # integrity constraint violation
    "54": Meaning.DATA,  # program limit exceeded: too deep, too long for an index
}


FAILURES: Final = (psycopg.Error, UnicodeError, OverflowError, RecursionError)
"""What executing a statement may raise: the driver's errors, and those of encoding the parameters."""


def meaning_of_state(state: str) -> Meaning:
    """What an SQLSTATE means; codes that are not in the table mean OTHER."""
    return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Meaning.OTHER)


def meaning_of(error: BaseException) -> Meaning:
    """What an error of the driver, or of encoding the parameters, means."""
    if isinstance(error, UnicodeError | OverflowError | RecursionError):
        return Meaning.DATA
    if not isinstance(error, psycopg.Error):
        return Meaning.OTHER
    if error.sqlstate is not None:
        return meaning_of_state(error.sqlstate)
    if isinstance(error, psycopg.DataError):
        return Meaning.DATA
    # libpq's own errors carry no state: it could not send, receive, or connect.
    return Meaning.LOST if isinstance(error, psycopg.OperationalError) else Meaning.OTHER
