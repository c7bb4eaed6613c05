"""Running statements: one, several in one transaction, or all of a commit in one round trip.

Here the driver's errors become ours, collisions are repeated, and the three outcomes of a write are kept apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, LiteralString, NoReturn, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from holdfast.errors import CommitUnknown, StoreMisconfigured, StoreUnavailable, UsageError
from holdfast.model.ids import Tenant
from holdfast.store.postgres.connection import Connection, Cursor, Pool, Row, returns_rows
from holdfast.store.postgres.scope import NOBODY, WORKER_ROLE, Scope, Sight, Watch, scope_of
from holdfast.store.postgres.sqlstate import FAILURES, Meaning, meaning_of
from holdfast.store.postgres.statements import Params, Step, literal, statement

T = TypeVar("T")

ATTEMPTS_MAX: Final = 8
"""How often a transaction is tried that collides with others."""

_FIRST_DELAY_S: Final = 0.005
_BEGIN: Final = "begin isolation level read committed"
_BEGIN_SNAPSHOT: Final = "begin isolation level repeatable read, read only"


class DataRefused(UsageError):
    """The database cannot take some value of a statement; nothing was done."""

    code = "data_refused"
    template = "the database cannot store this: {why}"


class ChildContinued(Exception):
    """A run that was to be waited for has continued as another; nothing was done: follow it."""


class Session:
    """Statements on pooled connections, safe from any thread.

    ``read_committed`` says that the connections have that isolation by default: a pipeline then needs no BEGIN.
    Each acts in somebody's name: ``within`` a tenant, or all of them. Until then it sees what is no tenant's.
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
        self._scope = NOBODY
        self.watch = Watch()

    def within(self, tenant: Tenant | None) -> Session:
        """The same, acting for a tenant; for all of them if None."""
        session = copy.copy(self)
        session._scope = scope_of(tenant)  # noqa: SLF001 - a copy of this one
        return session

    def read(self, name: str, params: Params) -> list[Row]:
        """One statement that changes nothing."""
        return self._repeat(lambda connection: self._execute(connection, name, params, is_write=False))

    def query(self, text: str, params: Params) -> list[Row]:
        """One statement that is not in a file and changes nothing."""
        return self._repeat(lambda connection: self._query(connection, text, params))

    def write(self, name: str, params: Params) -> list[Row]:
        """One statement that commits by itself."""
        return self._repeat(lambda connection: self._execute(connection, name, params, is_write=True))

    def pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Several statements in one transaction and one round trip; the rows of each."""
        return self._repeat(lambda connection: self._pipeline(connection, steps, is_write=True))

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
        if self._opening(connection):
            return self._pipeline(connection, [(name, params)], is_write=is_write)[0]
        try:
            cursor = connection.execute(statement(name), params)
            return cursor.fetchall() if returns_rows(cursor) else []
        except FAILURES as error:
            self.translate(error, commit_sent=is_write)

    def _query(self, connection: Connection, text: str, params: Params) -> list[Row]:
        opening = self._opening(connection)
        try:
            if not opening:
                return planned_anew(connection).execute(literal(text), params).fetchall()
            with connection.pipeline():
                if not self._read_committed:
                    connection.execute(_BEGIN)
                _send(connection, opening)
                cursor = planned_anew(connection).execute(literal(text), params)
                if not self._read_committed:
                    connection.execute("commit")
            return cursor.fetchall()
        except FAILURES as error:
            self.translate(error, commit_sent=False)

    def _pipeline(self, connection: Connection, steps: Sequence[Step], *, is_write: bool) -> list[list[Row]]:
        opening = self._opening(connection)
        try:
            with connection.pipeline():
                # What is sent before the pipeline's end is one transaction by itself, with two messages less.
                if not self._read_committed:
                    connection.execute(_BEGIN)
                _send(connection, opening)
                cursors = _send(connection, steps)
                if not self._read_committed:
                    connection.execute("commit")
            return [cursor.fetchall() if returns_rows(cursor) else [] for cursor in cursors]
        except FAILURES as error:
            _forget_prepared(connection)
            self.translate(error, commit_sent=is_write)

    def _opening(self, connection: Connection) -> Sequence[Step]:
        """What a transaction on this idle connection must begin with: nothing, or for whom it acts."""
        sight = self.watch.known()
        if sight is None:
            at_s = self.watch.now_s()
            try:
                sight = self.watch.learn(at_s, Sight.of(connection.execute(statement("read_wall")).fetchall()))
            except FAILURES as error:
                self.translate(error, commit_sent=False)
        return self.opening(self._scope, sight)

    def opening(self, scope: Scope, sight: Sight) -> Sequence[Step]:
        """The same, for what is known. Raises StoreMisconfigured if our role must not act for all tenants."""
        if not sight.stands or scope == NOBODY:
            return ()
        if scope.everyone and not sight.serves_all:
            why = f"a wall stands between its tenants, and this role serves one at a time; grant it {WORKER_ROLE}"
            raise StoreMisconfigured(url=self._shown, why=why)
        return (scope.step,)

    def _transaction(
        self, connection: Connection, begin: LiteralString, first: Step, then: Callable[[Cursor, list[Row]], T]
    ) -> T:
        commit_sent = False
        name, params = first
        opening = self._opening(connection)
        try:
            with connection.pipeline():
                connection.execute(begin)
                _send(connection, opening)
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
            case Meaning.CONTINUED:
                raise ChildContinued from error
            case Meaning.CONFLICT | Meaning.OTHER:
                raise error


def _send(connection: Connection, steps: Sequence[Step]) -> list[Cursor]:
    return [connection.execute(statement(name), params) for name, params in steps]


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
    return cursor.fetchall() if returns_rows(cursor) else []


def rows_of_all(cursor: Cursor, steps: Sequence[Step]) -> list[list[Row]]:
    """Execute several more statements of an open transaction in one round trip; the rows of each."""
    connection = cursor.connection
    with connection.pipeline():
        cursors = [connection.execute(statement(name), params) for name, params in steps]
    return [one.fetchall() if returns_rows(one) else [] for one in cursors]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
