"""SQLAlchemy Core statements, and starts of runs, in a transaction on one of the driver's connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.store.port import Hint
from holdfast.store.postgres.connection import Connection, Row, returns_rows
from holdfast.store.postgres.messages import NIL
from holdfast.store.postgres.rows import WaitKeyRow, document, quota_error
from holdfast.store.postgres.session import planned_anew, rows_of
from holdfast.store.postgres.statements import Params, literal
from holdfast.store.rendering import render, text_of

if TYPE_CHECKING:
    from sqlalchemy.sql.base import Executable


class PostgresStatements:
    """``Statements`` in an open transaction; ``params`` makes the parameters of starts, ``now`` are those of others."""

    def __init__(
        self,
        connection: Connection,
        now_ms: UnixMs,
        params: Callable[[Sequence[NewRun]], Params],
        now: Params,
    ) -> None:
        self._connection = connection
        self._cursor = planned_anew(connection)
        self._params = params
        self._now = now
        self.now_ms = now_ms
        self.ready: list[RunId] = []
        """The runs that can be claimed once it commits."""
        self.live: list[RunId] = []
        """The held runs whose workers are to be told then."""

    @property
    def hint(self) -> Hint:
        """What listeners should hear once it commits."""
        return Hint(work=bool(self.ready), live=tuple(dict.fromkeys(self.live)))

    def rows(self, statement: Executable) -> list[Row]:
        """Execute a statement; the rows that it returns."""
        text, params = render(statement, "postgresql")
        self._cursor.execute(literal(text), params)
        return self._cursor.fetchall() if returns_rows(self._cursor) else []

    def changed(self, statement: Executable) -> int:
        """Execute a statement; how many rows it changed."""
        text, params = render(statement, "postgresql")
        return self._cursor.execute(literal(text), params).rowcount

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        """Record runs in this transaction. Raises QuotaExceeded."""
        if not runs:
            return []
        rows = rows_of(self._connection.cursor(), "start_runs", self._params(runs))
        started = started_from(runs, rows)
        self.ready += [RunId(str(row[0])) for row in rows if row[1]]
        return started

    def end_waits(self, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
        """Close open waits for a breaker."""
        cursor = self._connection.cursor()
        which = {**self._now, "tenant": tenant, "name": breaker, "after": after or NIL, "limit": max(limit, 0)}
        told: list[Row] = []
        # Those that were picked may have been cancelled or deleted while this waited for their rows: then the next.
        while not told and (picked := rows_of(cursor, "breaker_waiters", which)):
            waiting = [WaitKeyRow(RunId(str(run_id)), key) for run_id, key, found in picked if found]
            told = rows_of(cursor, "breaker_pass", {**self._now, "pairs": document(waiting)})
            if not waiting:
                which["after"] = picked[-1][0]
        self.ready += [RunId(str(run_id)) for run_id, ready, _ in told if ready]
        self.live += [RunId(str(run_id)) for run_id, _, held in told if held]
        return [RunId(str(row[0])) for row in told]


def read_made(
    connection: Connection, make: Callable[..., Executable], shape: tuple[Any, ...], values: Params
) -> list[Row]:
    """Execute the statement that is made of a shape, with values, in an open transaction; its text is kept."""
    text, constants = text_of(make, "postgresql", *shape)
    return planned_anew(connection).execute(literal(text), constants | values).fetchall()


def started_from(runs: Sequence[NewRun], rows: list[Row]) -> list[Started]:
    """One answer per run; of two with the same id in one call, the first one made it."""
    for _, _, tenant, quota in rows:
        if quota is not None:
            raise quota_error(tenant, quota)
    created = {row[0] for row in rows}
    answers: list[Started] = []
    for run in runs:
        answers.append(Started(run.id, run.id in created))
        created.discard(run.id)
    return answers
