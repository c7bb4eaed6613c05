"""Carries out bulk jobs: one batch of runs at a time, each run by the same command as by hand.

Every worker does this for all tenants; ``store.bulk`` keeps two of them from the same batch for long, and makes that
harmless where they meet. It needs no run to be claimed, so that jobs also mend tenants whose workflows fail or are
paused.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from msgspec import structs

from holdfast.core.bulk import command_id
from holdfast.core.lineage import retry_of
from holdfast.errors import PASSING, CommandRefused, HoldfastError, RunNotFound, StoreCorrupt, StoreError
from holdfast.model.bulk import Batch, BulkError, BulkJob, Delete, Retry, SendSignal
from holdfast.model.command import Order
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import RunFilter, Signal
from holdfast.model.search import RunOrder
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.model.tenant import Chosen
from holdfast.store.port import Statements, Store

if TYPE_CHECKING:
    from holdfast.runtime.services import Services
    from holdfast.runtime.settings import WorkerSettings

logger = logging.getLogger("holdfast.bulk")

LANE: Final = "bulk"

BATCH: Final = 50
"""The most runs of a batch: what is done again when a worker dies, and what a stop may still let happen."""

MESSAGE_MAX: Final = 500
"""The most characters of an error that are kept."""

END: Final = ""
"""The cursor behind the last page."""


def work_once(store: Store, holder: str, *, of: tuple[Tenant, RunId] | None = None) -> int | None:
    """Carry out one batch of a job that is due, of any tenant or this one.

    Returns:
        in how many milliseconds there is more to do; None if no job is under way.
    """
    # Most workers never see a job, and it brings SQLAlchemy along.
    from holdfast.store.bulk import next_due, record_batch, take_job

    def take(statements: Statements) -> tuple[Batch | None, UnixMs, UnixMs | None]:
        batch = take_job(statements, holder, of=of)
        return batch, statements.now_ms, next_due(statements, of=of) if batch is None else None

    batch, now_ms, due_ms = store.transact(None if of is None else of[0], take)
    if batch is None:
        return None if due_ms is None else max(due_ms - now_ms, 1)
    errors = [error for run_id in batch.run_ids if (error := _do(store, batch.job, run_id, now_ms)) is not None]
    size = BATCH if batch.job.rate is None else max(1, min(BATCH, batch.job.rate))
    following, cursor = _following(store, batch, size, errors, now_ms)
    pause_ms = 0 if batch.job.rate is None else len(batch.run_ids) * 1000 // batch.job.rate
    goes_on = store.transact(
        batch.job.tenant,
        lambda statements: record_batch(
            statements, batch, errors=errors, following=following, cursor=cursor, next_ms=UnixMs(now_ms + pause_ms)
        ),
    )
    return 0 if goes_on or of is None else None


def _following(
    store: Store, batch: Batch, size: int, errors: list[BulkError], now_ms: UnixMs
) -> tuple[list[RunId] | None, str | None]:
    """The runs whose turn is next, and where the batch behind them begins. None: there are no more.

    Newest first, and none that was started after the job: so what the job does, retries for one, cannot come back to
    it. A row that cannot be read is an error of the job.
    """
    if batch.cursor == END:
        return None, END
    job = batch.job
    before_ms = UnixMs(job.created_ms + 1)
    if batch.where.created_before_ms is not None:
        before_ms = min(before_ms, batch.where.created_before_ms)
    where: RunFilter = structs.replace(batch.where, created_before_ms=before_ms, order=RunOrder.NEWEST)
    page = store.list_runs(job.tenant, where, limit=size, after=batch.cursor)
    errors.extend(_error(run.id, StoreCorrupt.code, run.why, now_ms) for run in page.broken)
    return [run.id for run in page.runs], END if page.next is None else page.next


def _do(store: Store, job: BulkJob, run_id: RunId, now_ms: UnixMs) -> BulkError | None:
    """Do it to one run; why not, if it cannot be done. What passes is raised: the batch is done again."""
    try:
        _act(store, job, run_id)
    except StoreCorrupt as error:
        return _error(run_id, error.code, str(error), now_ms)
    except StoreError:
        raise
    except HoldfastError as error:
        return _error(run_id, error.code, str(error), now_ms)
    return None


def _act(store: Store, job: BulkJob, run_id: RunId) -> None:
    tenant, action, id_ = job.tenant, job.action, command_id(job.id, run_id)
    note = f"{job.note} (bulk job {job.id})".strip()
    match action:
        case Retry(from_start=from_start):
            detail = store.read_detail(tenant, run_id)
            store.start_copy(tenant, retry_of(detail, from_start=from_start, actor=job.actor, note=note))
        case SendSignal(name=name, payload=payload):
            store.send_signal(Signal(id=id_, tenant=tenant, name=name, payload=payload, run_id=run_id))
        case Delete():
            _delete(store, tenant, run_id)
        case _:
            store.command(tenant, run_id, Order(id=id_, command=action, actor=job.actor, note=note))


def _delete(store: Store, tenant: Tenant, run_id: RunId) -> None:
    if store.prune(Chosen(tenant, [run_id]), limit=1):
        return
    try:
        run = store.get_run(tenant, run_id)
    except RunNotFound:
        return  # a worker that died had deleted it
    why = "another run that is under way refers to it" if run.status in TERMINAL_STATUSES else "it has not ended"
    raise CommandRefused(run_id=run_id, command="delete", why=why, status=run.status, allowed="")


def _error(run_id: RunId, code: str, message: str, now_ms: UnixMs) -> BulkError:
    return BulkError(run_id=run_id, code=code, message=message[:MESSAGE_MAX], at_ms=now_ms)


class BulkWork:
    """A worker's part in bulk jobs: idle until the agenda names one."""

    def __init__(self, services: Services, settings: WorkerSettings, *, worker: str) -> None:
        self._services = services
        self._settings = settings
        self._worker = worker
        self._wake = asyncio.Event()

    def look(self) -> None:
        """A job is due."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._work()
            except PASSING as error:
                # The agenda names it again.
                logger.warning("a bulk job is interrupted: %s; it goes on later", error)

    async def _work(self) -> None:
        host, store = self._services.host, self._services.store
        while True:
            pause_ms: int | None = await host.call(LANE, work_once, store, self._worker)
            if pause_ms is None or pause_ms > self._settings.poll_ms:
                return
            await asyncio.sleep(pause_ms / 1000)
