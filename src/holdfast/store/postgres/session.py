"""Running statements: one, several in one transaction, or all of a commit in one round trip.

Here the driver's errors become ours, collisions are repeated, and the three outcomes of a write are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, LiteralString, NoReturn, TypeVar

import psycopg
import structlog
from psycopg.pq import TransactionStatus

from holdfast.errors import CommitUnknown, StoreMisconfigured, StoreUnavailable, UsageError
from holdfast.store.postgres.connection import Connection, Cursor, Pool, Row
from holdfast.store.postgres.sqlstate import FAILURES, Meaning, meaning_of
from holdfast.store.postgres.statements import Params, Step, literal, statement

T = TypeVar("T")

ATTEMPTS_MAX: Final = 8
"""How often a transaction is tried that collides with others."""

_FIRST_DELAY_S: Final = 0.005
_log = structlog.get_logger(__name__)
_BEGIN: Final = "begin isolation level read committed"
_BEGIN_SNAPSHOT: Final = "begin isolation level repeatable read, read only"


class DataRefused(UsageError):
    """The database cannot take some value of a statement; nothing was done."""

    code = "data_refused"
    template = "the database cannot store this: {why}"


class Session:
    """Statements on pooled connections, safe from any thread.

    ``read_committed`` says that the connections have that isolation by default: a pipeline then needs no BEGIN.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        shown: str,
        read_committed: bool,
        jitter: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._pool = pool
        self._read_committed = read_committed
        self._shown = shown
        self._jitter = jitter
        self._sleep = sleep

    def read(self, name: str, params: Params) -> list[Row]:
        """One statement that changes nothing."""
        return self._repeat(lambda connection: self._execute(connection, name, params, is_write=False))

    def query(self, text: str, params: Params) -> list[Row]:
        """One statement that is not in a file and changes nothing."""
        return self._repeat(lambda connection: self._query(connection, text, params))

    def write(self, name: str, params: Params, *, notice: str | None = None) -> list[Row]:
        """One statement that commits by itself. ``notice``: as in ``pipeline``."""
        if notice is not None:
            return self.pipeline([(name, params)], notice=notice)[0]
        return self._repeat(lambda connection: self._execute(connection, name, params, is_write=True))

    @property
    def takes_notices(self) -> bool:
        """Whether a notice can go along with a write."""
        return self._read_committed

    def pipeline(self, steps: Sequence[Step], *, notice: str | None = None) -> list[list[Row]]:
        """Several statements in one transaction and one round trip; the rows of each.

        ``notice`` goes out to other processes right behind that transaction, in the same round trip and a transaction
        of its own.
        """
        return self._repeat(lambda connection: self._pipeline(connection, steps, notice))

    def conversation(
        self, steps: Sequence[Step], after: Callable[[str, list[Row]], list[Step]]
    ) -> tuple[list[Step], list[list[Row]]]:
        """Several statements in one transaction, and those that ``after`` makes of one's rows; with the rows of all."""

        def go_on(cursor: Cursor, rows: list[Row]) -> tuple[list[Step], list[list[Row]]]:
            done, found = [steps[0]], [rows]
            left = [*after(steps[0][0], rows), *steps[1:]]
            while left:
                step = left.pop(0)
                done.append(step)
                found.append(rows_of(cursor, *step))
                left[:0] = after(step[0], found[-1])
            return done, found

        return self.transaction(steps[0], go_on)

    def transaction(self, first: Step, then: Callable[[Cursor, list[Row]], T], *, snapshot: bool = False) -> T:
        """One transaction: the first statement, and what follows from its rows. ``then`` may be called again.

        With ``snapshot`` it only reads, and all its statements see the same moment.
        """
        begin: LiteralString = _BEGIN_SNAPSHOT if snapshot else _BEGIN
        return self._repeat(lambda connection: self._transaction(connection, begin, first, then))

    def _repeat(self, attempt: Callable[[Connection], T]) -> T:
        """Try until it does not collide with others, but not forever."""
        number = 1
        while True:
            try:
                with self._pool.connection() as connection:
                    return attempt(connection)
            except psycopg.Error as error:
                if meaning_of(error) is not Meaning.CONFLICT:
                    raise
                if number == ATTEMPTS_MAX:
                    why = f"{number} attempts collided with others: {_first_line(error)}"
                    raise StoreUnavailable(url=self._shown, why=why) from error
            self._sleep(_FIRST_DELAY_S * 2**number * (0.5 + self._jitter()))
            number += 1

    def _execute(self, connection: Connection, name: str, params: Params, *, is_write: bool) -> list[Row]:
        return self._run(connection, statement(name), params, is_write=is_write)

    def _query(self, connection: Connection, text: str, params: Params) -> list[Row]:
        try:
            return planned_anew(connection).execute(literal(text), params).fetchall()
        except FAILURES as error:
            self.translate(error, commit_sent=False)

    def _run(self, connection: Connection, text: str, params: Params, *, is_write: bool) -> list[Row]:
        try:
            cursor = connection.execute(literal(text), params)
            return cursor.fetchall() if cursor.description else []
        except FAILURES as error:
            self.translate(error, commit_sent=is_write)

    def _pipeline(self, connection: Connection, steps: Sequence[Step], notice: str | None) -> list[list[Row]]:
        cursors: list[Cursor] = []
        try:
            with connection.pipeline() as pipeline:
                # What is sent before a synchronisation is one transaction by itself, with two messages less.
                if not self._read_committed:
                    connection.execute(_BEGIN)
                cursors += [connection.execute(statement(name), params) for name, params in steps]
                if not self._read_committed:
                    connection.execute("commit")
                if notice is not None:
                    pipeline.sync()
                    connection.execute(statement("notify"), {"payload": notice})
        except FAILURES as error:
            _forget_prepared(connection)
            if not _is_of_notice(error, cursors):
                self.translate(error, commit_sent=True)
            _log.warning("notify_failed", why=_first_line(error))
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def _transaction(
        self, connection: Connection, begin: LiteralString, first: Step, then: Callable[[Cursor, list[Row]], T]
    ) -> T:
        commit_sent = False
        name, params = first
        try:
            with connection.pipeline():
                connection.execute(begin)
                cursor = connection.execute(statement(name), params)
            answer = then(connection.cursor(), cursor.fetchall())
            commit_sent = True
            connection.execute("commit")
        except FAILURES as error:
            self.translate(error, commit_sent=commit_sent)
        return answer

    def translate(self, error: Exception, *, commit_sent: bool) -> NoReturn:
        """Raise what the error means to the caller; collisions and what is not the database's comes out as it is."""
        match meaning_of(error):
            case Meaning.LOST if commit_sent:
                raise CommitUnknown(why=_first_line(error)) from error
            case Meaning.LOST | Meaning.AWAY:
                raise StoreUnavailable(url=self._shown, why=_first_line(error)) from error
            case Meaning.MISCONFIGURED:
                raise StoreMisconfigured(url=self._shown, why=_first_line(error)) from error
            case Meaning.DATA:
                raise DataRefused(why=_first_line(error)) from error
            case Meaning.CONFLICT | Meaning.OTHER:
                raise error


def _is_of_notice(error: Exception, cursors: Sequence[Cursor]) -> bool:
    """Whether it is the notice alone that the server could not take; its queue is full, and the rest is committed."""
    if not isinstance(error, psycopg.errors.ProgramLimitExceeded):
        return False
    return bool(cursors) and all(one.pgresult is not None for one in cursors)


def _forget_prepared(connection: Connection) -> None:
    """After a pipeline that failed: what stood behind the failure was not prepared, although the driver believes so."""
    if connection.info.transaction_status == TransactionStatus.IDLE:
        # A connection that is lost by now is noticed, and dropped, by the pool.
        with suppress(psycopg.OperationalError):
            connection.execute(_BEGIN)
            connection.rollback()  # upon which the driver prepares everything anew


def planned_anew(connection: Connection) -> Cursor:
    """A cursor for statements with free filters, whose best plan depends on their values: they stand in the text."""
    return psycopg.ClientCursor(connection)


def rows_of(cursor: Cursor, name: str, params: Params) -> list[Row]:
    """Execute one more statement of an open transaction."""
    cursor.execute(statement(name), params)
    return cursor.fetchall() if cursor.description else []


def rows_of_all(cursor: Cursor, steps: Sequence[Step]) -> list[list[Row]]:
    """Execute several more statements of an open transaction in one round trip; the rows of each."""
    connection = cursor.connection
    with connection.pipeline():
        cursors = [connection.execute(statement(name), params) for name, params in steps]
    return [one.fetchall() if one.description else [] for one in cursors]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
