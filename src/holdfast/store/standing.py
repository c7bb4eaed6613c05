"""What keeps a run from being claimed, read for its explanation: written once for both databases.

The statements are built once, and their text is kept: that takes longer than executing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import chain
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, SmallInteger, case, func, literal_column, select, tuple_, union_all

from holdfast.model.breaker import BreakerRow
from holdfast.model.ids import RunId, WorkerId
from holdfast.model.pause import bar_of
from holdfast.model.run import Holder, Run, Standing, Wait, WorkerRow
from holdfast.model.status import HELD_STATUSES, RunStatus, WaitKind
from holdfast.store.breakers import breaker_from, breakers_awaited
from holdfast.store.rendering import SHARD, value
from holdfast.store.search import Query, Read
from holdfast.store.tables import QUEUES, RUNS, TENANTS
from holdfast.store.tenancy import pause_from, pauses_of

AHEAD_MAX: Final = 1_000

HOLDERS_MAX: Final = 10
"""Runs that an explanation names at most."""

HELD_LOOK: Final = 200
"""So many of a tenant's held runs are looked at for those, of each status the ones that were created first."""

_VALUES: Final = ("tenant", "queue", "id", "priority", "ready_ms")


class By(StrEnum):
    """Whose held runs keep a run waiting."""

    QUEUE = "queue"
    TENANT = "tenant"
    WORKER = "worker"


def read_standing(read: Read, run: Run, workers: Sequence[WorkerRow], waits: Sequence[Wait]) -> Standing:
    """What matters to a run that has not ended: pauses, and the breakers that it waits for.

    Of one in the line also its limits and who holds the workers.
    """
    if run.finalized_ms is not None:
        return Standing()
    values: dict[str, Any] = {name: getattr(run, name) for name in _VALUES}
    values |= {"queue_bar": bar_of("queue", run.queue), "workflow_bar": bar_of("workflow", run.workflow)}
    pauses = [pause_from(row) for row in read(pauses_of, (), values)]
    breakers: list[BreakerRow] = []
    if any(wait.kind is WaitKind.BREAKER and wait.outcome is None for wait in waits):
        breakers = [breaker_from(row) for row in read(breakers_awaited, (), values)]
    if run.ready_ms is None:
        return Standing(pauses=pauses, breakers=breakers)
    [(most, running, queue_most, queue_running, before, beside)] = read(place_of, (), values)
    by = By.WORKER
    if queue_most is not None and queue_running >= queue_most:
        by = By.QUEUE
    elif most is not None and running >= most:
        by = By.TENANT
    serving = [row.id for row in workers if serves(row, run)] if by is By.WORKER else []
    held: Sequence[Any] = []
    if serving or by is not By.WORKER:
        # Some stand there twice, so that there are few texts.
        number = 1 << max(len(serving) - 1, 0).bit_length()
        names = {f"worker_{at}": serving[at % len(serving)] for at in range(number)} if serving else {}
        held = read(holders_of, (by, number), {**values, **names})
    return Standing(
        pauses=pauses,
        breakers=breakers,
        barred_ahead=min(before + beside, AHEAD_MAX),
        running_max=most,
        running=running or 0,
        queue_running_max=queue_most,
        queue_running=queue_running or 0,
        holders=[
            Holder(run_id=RunId(str(run_id)), workflow=workflow, worker=WorkerId(worker), since_ms=since_ms)
            for run_id, workflow, worker, since_ms in held
        ],
    )


def serves(worker: WorkerRow, run: Run) -> bool:
    """Whether the worker claims from the line of the run."""
    return run.queue in worker.queues and run.code in worker.codes


# --- Statements --------------------------------------------------------------------------------------------------


def place_of() -> Query:
    """One row: the tenant's quota and how many of its runs workers hold; the same of the queue, with its limit; and how
    many runs are barred as this one is and stand before it, by their priority, and by their age.

    Held runs are counted only if there is a limit. Access: runs_status; the primary key, runs_barred.
    """
    c, mine, quota, limit = RUNS.c, RUNS.alias("mine"), TENANTS.c, QUEUES.c
    most = select(quota.running_max).where(quota.tenant == value("tenant")).scalar_subquery()
    queue_most = select(limit.running_max).where(limit.tenant == value("tenant"), limit.queue == value("queue"))
    count = _by_status(select(func.count()).select_from(RUNS).where(*_held(*HELD_STATUSES)))
    counts = [
        (limit_of, case((limit_of.is_not(None), held.scalar_subquery())))
        for limit_of, held in (
            (most, count),
            (queue_most.scalar_subquery(), count.where(c.queue == value("queue"))),
        )
    ]
    bar = select(mine.c.barred_by).where(mine.c.shard == SHARD, mine.c.id == value("id", c.id.type)).scalar_subquery()
    same = (
        c.shard == SHARD,
        c.tenant == value("tenant"),
        c.barred_by.is_not(None),
        c.barred_by == bar,
        c.queue == value("queue"),
    )
    place = tuple_(value("ready_ms", BigInteger), value("id", c.id.type))
    priority = value("priority", SmallInteger)
    # Two ranges of the index, and no `or`, which would be looked for among all that are barred.
    before = ((c.priority > priority,), (c.priority == priority, tuple_(c.ready_ms, c.id) < place))
    ahead = [
        select(func.count())
        .select_from(
            select(c.id)
            .where(*same, *where)
            .limit(literal_column(str(AHEAD_MAX)))
            .with_hint(RUNS, "INDEXED BY holdfast_runs_barred", "sqlite")
            .subquery()
        )
        .scalar_subquery()
        for where in before
    ]
    return select(*chain.from_iterable(counts), *ahead)


def holders_of(by: By, workers: int) -> Query:
    """The runs that are held longest: of the queue, or of those that are looked at of the tenant, by so many workers.

    Access: runs_status.
    """
    if by is By.QUEUE:
        query = _by_status(select(*_HOLDER).where(*_held(*HELD_STATUSES), RUNS.c.queue == value("queue")))
        return query.order_by(RUNS.c.updated_ms, RUNS.c.id).limit(literal_column(str(HOLDERS_MAX)))
    c = RUNS.c
    most: ColumnElement[int] = literal_column(str(HELD_LOOK))
    heads = [
        _by_status(select(*_HOLDER).where(*_held(status))).order_by(c.created_ms, c.id).limit(most).subquery(status)
        for status in sorted(HELD_STATUSES)
    ]
    held = union_all(*(select(head) for head in heads)).subquery("held")
    found: Query = select(held)
    if by is By.WORKER:
        found = found.where(held.c.worker.in_([value(f"worker_{number}") for number in range(workers)]))
    return found.order_by(held.c.updated_ms, held.c.id).limit(literal_column(str(HOLDERS_MAX)))


_HOLDER: Final = [RUNS.c[name] for name in ("id", "workflow", "worker", "updated_ms")]


def _held(*held: RunStatus) -> tuple[ColumnElement[bool], ...]:
    c = RUNS.c
    statuses: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in sorted(held)]
    return (c.shard == SHARD, c.tenant == value("tenant"), c.status.in_(statuses), c.worker.is_not(None))


def _by_status(query: Query) -> Query:
    """Without statistics SQLite would read all runs by the beginning of their primary key. Access: runs_status."""
    return query.with_hint(RUNS, "INDEXED BY holdfast_runs_status", "sqlite")
