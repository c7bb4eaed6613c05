"""Bulk jobs in the database, written once for both over ``Store.transact``.

A job is worked on batch by batch. A batch is recorded before anything is done to its runs, and its outcome together
with the batch that follows. So whoever takes a job over from a worker that died does exactly the same runs again, to
which the same commands do nothing, and each run is counted once. Whoever takes a job raises its ``revision``; what
others still report is refused by it, in the same statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update

from holdfast.core.bulk import decode_action, decode_filter, encode_action, encode_filter
from holdfast.errors import BulkJobNotFound
from holdfast.model.bulk import Batch, BulkError, BulkJob, BulkStatus, NewBulkJob
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_new
from holdfast.store.tables import BULK_ERRORS, BULK_JOBS, WORKERS

HELD_MS: Final = 60_000
"""How long a job belongs to who took it for a batch, if its outcome is not recorded before."""

_JOBS_MAX: Final = 100

ERRORS_MAX: Final = 1_000
"""How many errors of a job are kept; all are counted."""

_J = BULK_JOBS.c
_E = BULK_ERRORS.c
_COLUMNS: Final = [_J[name] for name in BulkJob.__struct_fields__]
_RUNNING: Final = _J.status == BulkStatus.RUNNING.value


def insert_job(statements: Statements, new: NewBulkJob) -> BulkJob:
    """Record a job; one whose id exists is left as it is."""
    values = {
        "tenant": new.tenant,
        "id": new.id,
        "action": encode_action(new.action),
        "filter": encode_filter(new.where),
        "query": new.query,
        "status": BulkStatus.RUNNING.value,
        "expected": new.expected,
        "rate": new.rate,
        "actor": new.actor,
        "note": new.note,
        "created_ms": statements.now_ms,
        "updated_ms": statements.now_ms,
        "next_ms": statements.now_ms,
    }
    statements.changed(insert_new(BULK_JOBS).values(values))
    return find_job(statements, new.tenant, new.id)


def find_job(statements: Statements, tenant: Tenant, job_id: RunId) -> BulkJob:
    """The job. Raises BulkJobNotFound."""
    rows = statements.rows(select(*_COLUMNS).where(_J.tenant == tenant, _J.id == job_id))
    if not rows:
        raise BulkJobNotFound(job_id=job_id)
    return _job(rows[0])


def list_jobs(statements: Statements, tenant: Tenant, *, limit: int) -> list[BulkJob]:
    """The tenant's jobs, newest first."""
    query = select(*_COLUMNS).where(_J.tenant == tenant).order_by(_J.created_ms.desc(), _J.id.desc())
    return [_job(row) for row in statements.rows(query.limit(limit))]


def list_errors(
    statements: Statements, tenant: Tenant, job_id: RunId, *, limit: int, after: RunId | None
) -> list[BulkError]:
    """The errors of a job that were kept, by run. Raises BulkJobNotFound."""
    find_job(statements, tenant, job_id)
    query = select(_E.run_id, _E.code, _E.message, _E.at_ms).where(_E.tenant == tenant, _E.job_id == job_id)
    if after is not None:
        query = query.where(_E.run_id > after)
    return [
        BulkError(run_id=RunId(str(row[0])), code=row[1], message=row[2], at_ms=UnixMs(row[3]))
        for row in statements.rows(query.order_by(_E.run_id).limit(limit))
    ]


def stop_job(statements: Statements, tenant: Tenant, job_id: RunId, actor: str) -> BulkJob:
    """Stop a job that is under way: the batch that it is at is its last one. Repeatable. Raises BulkJobNotFound."""
    now_ms = statements.now_ms
    values = {
        "status": BulkStatus.STOPPED.value,
        "stopped_by": actor,
        "ended_ms": now_ms,
        "updated_ms": now_ms,
    }
    mine = [_J.tenant == tenant, _J.id == job_id, _RUNNING]
    statements.changed(update(BULK_JOBS).where(*mine).values(values))
    return find_job(statements, tenant, job_id)


# --- Working -----------------------------------------------------------------------------------------------------


def next_due(statements: Statements, *, of: tuple[Tenant, RunId] | None) -> UnixMs | None:
    """When there is next something to do for any job, or this one; None if none is under way."""
    query = select(_J.next_ms, _J.held_until_ms).where(_RUNNING)
    if of is not None:
        query = query.where(_J.tenant == of[0], _J.id == of[1])
    rows = statements.rows(query.order_by(_J.next_ms).limit(_JOBS_MAX))
    return min((UnixMs(max(next_ms, held_until_ms or 0)) for next_ms, held_until_ms in rows), default=None)


def take_job(statements: Statements, holder: str, *, of: tuple[Tenant, RunId] | None) -> Batch | None:
    """Take the job that has waited longest for its turn, or this one; None if none is due and free."""
    now_ms = statements.now_ms
    due: list[ColumnElement[bool]] = [
        _RUNNING,
        _J.next_ms <= now_ms,
        or_(_J.holder.is_(None), _J.holder == holder, _J.held_until_ms <= now_ms, _is_lost(now_ms)),
    ]
    if of is not None:
        due.append(and_(_J.tenant == of[0], _J.id == of[1]))
    found = statements.rows(select(_J.tenant, _J.id, _J.revision).where(*due).order_by(_J.next_ms, _J.id).limit(1))
    if not found:
        return None
    tenant, job_id, revision = found[0]
    taken = {"holder": holder, "held_until_ms": now_ms + HELD_MS, "revision": revision + 1}
    mine = [_J.tenant == tenant, _J.id == str(job_id), _J.revision == revision, *due]
    if not statements.changed(update(BULK_JOBS).where(*mine).values(taken)):
        return None
    columns = [_J["filter"], _J.batch, _J.cursor]
    row = statements.rows(select(*columns, *_COLUMNS).where(_J.tenant == tenant, _J.id == str(job_id)))[0]
    return Batch(
        job=_job(row[3:]),
        where=decode_filter(row[0]),
        run_ids=msgspec.json.decode(row[1], type=list[RunId]),
        cursor=row[2],
        revision=revision + 1,
    )


def _is_lost(now_ms: UnixMs) -> ColumnElement[bool]:
    """Whether the holder is a worker whose lease has run out."""
    w = WORKERS.c
    return exists(select(w.id).where(w.id == _J.holder, w.lease_until_ms <= now_ms))


def record_batch(
    statements: Statements,
    batch: Batch,
    *,
    errors: Sequence[BulkError],
    following: Sequence[RunId] | None,
    cursor: str | None,
    next_ms: UnixMs,
) -> bool:
    """Record what came of a batch and which runs follow (None: none). Whether the job goes on.

    Nothing is recorded if somebody else has taken the job meanwhile.
    """
    job, now_ms = batch.job, statements.now_ms
    refused = {error.run_id for error in errors}
    values: dict[Any, Any] = {
        _J.done: _J.done + sum(run_id not in refused for run_id in batch.run_ids),
        _J.failed: _J.failed + len(errors),
        _J.batch: msgspec.json.encode(list(following or ())).decode(),
        _J.cursor: cursor,
        _J.updated_ms: now_ms,
        _J.next_ms: next_ms,
        _J.holder: None,
        _J.held_until_ms: None,
    }
    mine = [_J.tenant == job.tenant, _J.id == job.id, _J.revision == batch.revision]
    if not statements.changed(update(BULK_JOBS).where(*mine).values(values)):
        return False
    kept = select(func.count()).where(_E.tenant == job.tenant, _E.job_id == job.id)
    room = max(ERRORS_MAX - statements.rows(kept)[0][0], 0) if errors else 0
    for error in errors[:room]:
        row = {"tenant": job.tenant, "job_id": job.id, **{n: getattr(error, n) for n in error.__struct_fields__}}
        statements.changed(insert_new(BULK_ERRORS).values(row))
    if following is None:
        done = {"status": BulkStatus.DONE.value, "ended_ms": now_ms}
        statements.changed(update(BULK_JOBS).where(*mine, _RUNNING).values(done))
        return False
    return bool(statements.rows(select(_J.id).where(*mine, _RUNNING)))


def _job(row: Sequence[Any]) -> BulkJob:
    given = dict(zip(BulkJob.__struct_fields__, row, strict=True))
    given |= {"id": RunId(str(given["id"])), "action": decode_action(given["action"])}
    given |= {"status": BulkStatus(given["status"])}
    return BulkJob(**given)
