"""What keeps a run from being claimed, read for its explanation: written once for both databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, func, literal, select, tuple_

from holdfast.model.ids import RunId, WorkerId
from holdfast.model.run import Holder, Run, Standing, WorkerRow
from holdfast.model.status import HELD_STATUSES
from holdfast.store.listings import Query
from holdfast.store.queues import limit_from, limit_of
from holdfast.store.tables import RUNS, TENANTS
from holdfast.store.tenancy import pause_from, pauses_of

AHEAD_MAX: Final = 1_000

HOLDERS_MAX: Final = 10
"""Runs that an explanation names at most."""


def read_standing(
    read: Callable[[Query], list[Any]], run: Run, workers: Sequence[WorkerRow], *, shard: int
) -> Standing:
    """Pauses that matter to a run that has not ended; of one in the line also its limits and who holds the workers."""
    if run.finalized_ms is not None:
        return Standing()
    pauses = [pause_from(row) for row in read(pauses_of(run.tenant, queue=run.queue, workflow=run.workflow))]
    if run.ready_ms is None:
        return Standing(pauses=pauses)
    c = RUNS.c
    held = (
        c.shard == shard,
        c.tenant == run.tenant,
        c.status.in_(sorted(status.value for status in HELD_STATUSES)),
        c.worker.is_not(None),
    )
    limits = read(select(TENANTS.c.running_max).where(TENANTS.c.tenant == run.tenant))
    most = limits[0][0] if limits else None
    count = _by_status(select(func.count()).select_from(RUNS).where(*held))
    running = 0 if most is None else int(read(count)[0][0])
    limit = next((limit_from(row) for row in read(limit_of(run.tenant, run.queue))), None)
    queue_most = None if limit is None else limit.running_max
    queue_running = 0 if limit is None else int(read(count.where(c.queue == run.queue))[0][0])
    query = _by_status(select(c.id, c.workflow, c.worker, c.updated_ms).where(*held).order_by(c.updated_ms, c.id))
    if queue_most is not None and queue_running >= queue_most:
        query = query.where(c.queue == run.queue)
    elif most is None or running < most:
        query = query.where(c.worker.in_([row.id for row in workers if serves(row, run)]))
    holders = [
        Holder(run_id=RunId(str(run_id)), workflow=workflow, worker=WorkerId(worker), since_ms=since_ms)
        for run_id, workflow, worker, since_ms in read(query.limit(HOLDERS_MAX))
    ]
    barred_ahead = min(int(read(_barred_ahead(run, shard))[0][0]), AHEAD_MAX)
    return Standing(
        pauses=pauses,
        barred_ahead=barred_ahead,
        running_max=most,
        running=running,
        queue_running_max=queue_most,
        queue_running=queue_running,
        holders=holders,
    )


def _by_status(query: Query) -> Query:
    """Without statistics SQLite would read all runs by the beginning of their primary key. Access: runs_status."""
    return query.with_hint(RUNS, "INDEXED BY runs_status", "sqlite")


def _barred_ahead(run: Run, shard: int) -> Query:
    """How many runs are barred as this one is, and stand before it. Access: the primary key, runs_barred."""
    c, mine = RUNS.c, RUNS.alias("mine")
    bar = select(mine.c.barred_by).where(mine.c.shard == shard, mine.c.id == run.id).scalar_subquery()
    same = (
        c.shard == shard,
        c.tenant == run.tenant,
        c.barred_by.is_not(None),
        c.barred_by == bar,
        c.queue == run.queue,
    )
    place = tuple_(literal(run.ready_ms, BigInteger), literal(run.id, c.id.type))
    # Two ranges of the index, and no `or`, which would be looked for among all that are barred.
    before = ((c.priority > run.priority,), (c.priority == run.priority, tuple_(c.ready_ms, c.id) < place))
    counts = [
        select(func.count()).select_from(
            select(c.id)
            .where(*same, *where)
            .limit(AHEAD_MAX)
            .with_hint(RUNS, "INDEXED BY runs_barred", "sqlite")
            .subquery()
        )
        for where in before
    ]
    return select(counts[0].scalar_subquery() + counts[1].scalar_subquery())


def serves(worker: WorkerRow, run: Run) -> bool:
    """Whether the worker claims from the line of the run."""
    return run.queue in worker.queues and run.code in worker.codes
