"""Bulk jobs as programs ask for them: one command for every run that a filter names, carried out by workers."""

from __future__ import annotations

import asyncio
import builtins
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

from holdfast.client.filters import Filters, filter_from
from holdfast.client.requests import Requests
from holdfast.core.bulk import word_of
from holdfast.core.ids import check_run_id, derive_id
from holdfast.core.names import check_name
from holdfast.errors import BulkTooLarge, UsageError
from holdfast.model.bulk import Action, BulkError, BulkJob, BulkStatus, Delete, NewBulkJob, Retry, SendSignal
from holdfast.model.command import Cancel, CloseStuck, Pause, ReleaseStuck, Resume, Terminate
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import RunFilter
from holdfast.store.port import Hint, count_runs
from holdfast.workflow.duration import seconds

if TYPE_CHECKING:
    from holdfast.core.codec import Codec
    from holdfast.runtime.host import Host
    from holdfast.store.port import Store

ACTIONS: Final[dict[str, Action]] = {
    word_of(action): action
    for action in (Cancel(), Terminate(), Pause(), Resume(), ReleaseStuck(), CloseStuck(), Retry(), Delete())
}
"""What can be said by a word alone."""

NOTE_MAX: Final = 900
"""The most characters of a job's reason: with the job's id it stands in the log of each run."""

_POLL_FIRST_S: Final = 0.05
_POLL_MAX_S: Final = 1.0
_PAGE_MAX: Final = 1000


class BulkOptions(Filters, total=False):
    """How a job is carried out, and which runs it is for."""

    all_runs: bool
    """Needed if there is no filter."""
    most: int | None
    """Refuse if more runs match than this, say the number that was counted before."""
    rate: int | None
    """The most runs per second; as fast as it goes by default."""
    request_id: str | None
    """Any text that names the job: the same one is one job, however often it is asked for."""
    actor: str
    """Who asks; kept in the transitions of each run."""
    reason: str
    """Why, up to 900 characters; likewise."""


_OWN: Final = frozenset(BulkOptions.__annotations__) - frozenset(Filters.__annotations__)


class Bulk(Requests):
    """``client.bulk``: one command for many runs, as a durable job.

    Workers, of whatever queue, carry it out in batches of 50. It survives the death of who asked for it and of the
    worker that is at it; each run obeys once. The runs are those that match when their turn comes, newest first, and
    were started before the job.
    """

    def __init__(self, store: Store, host: Host, *, tenant: Tenant, codec: Codec) -> None:
        super().__init__(store, host, tenant=tenant)
        self._codec = codec

    async def count(self, query: str | None = None, **filters: Unpack[Filters]) -> dict[str, int]:
        """How many runs a job would be for, by status: the dry run. Raises UsageError."""
        return await self._send(count_runs, self.store, self.tenant, await self._filter(query, filters))

    async def start(self, action: Action | str, query: str | None = None, **options: Unpack[BulkOptions]) -> BulkJob:
        """Start a job, durably: once this returns, it will be carried out.

        Args:
            action: ``cancel``, ``terminate``, ``pause``, ``resume``, ``release``, ``close``, ``retry``, ``delete``; or
                one with options: ``Cancel(compensate=True)``, ``Change(priority=5)`` of ``holdfast.model.command``,
                ``Retry(from_start=True)`` of ``holdfast.model.bulk``. For signals see ``signal``.
            query: which runs, in the filter language.
            options: see ``BulkOptions`` and ``Filters``.

        Raises:
            BulkTooLarge: more than ``most`` runs match; nothing was started.
            UsageError: an argument is malformed, or no filter is given.
        """
        wanted = _action(action)
        filters: Any = {name: value for name, value in options.items() if name not in _OWN}
        rate, most, key = options.get("rate"), options.get("most"), options.get("request_id")
        actor, reason = options.get("actor", ""), options.get("reason", "")
        if rate is not None and rate < 1:
            raise UsageError(f"rate must be at least 1 run per second, not {rate}")
        if len(reason) > NOTE_MAX or len(actor) > NOTE_MAX:
            raise UsageError(f"actor and reason may have at most {NOTE_MAX} characters each")
        where = await self._filter(query, filters)
        if where == RunFilter(order=where.order) and not options.get("all_runs"):
            raise UsageError("say which runs: a filter such as status:failed, or that all runs are meant")
        words = query or ", ".join(f"{name}={value}" for name, value in filters.items()) or "all runs"
        expected = sum((await self._send(count_runs, self.store, self.tenant, where)).values())
        if most is not None and expected > most:
            raise BulkTooLarge(found=expected, query=words, most=most)
        job_id = self._host.new_id() if key is None else derive_id("bulk_job", self.tenant, check_name("key", key))
        new = NewBulkJob(
            id=RunId(job_id),
            tenant=self.tenant,
            action=wanted,
            where=where,
            query=words,
            expected=expected,
            rate=rate,
            actor=actor,
            note=reason,
        )
        job = await self._send(_insert, self.store, new)
        # Workers read their agenda, which names it.
        self.store.hints.publish(Hint(signals=True))
        return job

    async def signal(
        self, name: str, payload: Any = None, query: str | None = None, **options: Unpack[BulkOptions]
    ) -> BulkJob:
        """Start a job that sends each run a signal. As ``start``."""
        encoded = self._codec.encode(payload, f"the payload of signal {name!r}")
        return await self.start(SendSignal(name=check_name("signal", name), payload=encoded), query, **options)

    async def get(self, job_id: str) -> BulkJob:
        """The job as it is now. Raises BulkJobNotFound."""
        return await self._send(_find, self.store, self.tenant, check_run_id(job_id))

    async def list(self, *, limit: int = 50) -> builtins.list[BulkJob]:
        """The newest jobs, 1 to 1000. Raises UsageError."""
        return await self._send(_list, self.store, self.tenant, _checked(limit))

    async def errors(self, job_id: str, *, limit: int = 100, after: str | None = None) -> builtins.list[BulkError]:
        """Which runs did not obey, and why, by run: the first 1,000 of a job are kept.

        Args:
            job_id: the job.
            limit: the most of them, 1 to 1000.
            after: begin behind this run.

        Raises:
            BulkJobNotFound, UsageError.
        """
        behind = None if after is None else check_run_id(after)
        return await self._send(_errors, self.store, self.tenant, check_run_id(job_id), _checked(limit), behind)

    async def stop(self, job_id: str, *, actor: str = "") -> BulkJob:
        """Stop a job: the batch that it is at is its last one. What was done stays done. Raises BulkJobNotFound."""
        return await self._send(_stop, self.store, self.tenant, check_run_id(job_id), actor)

    async def wait(self, job_id: str, *, timeout: timedelta | float | None = None) -> BulkJob:
        """The job, when it is done or stopped.

        Args:
            job_id: the job.
            timeout: a timedelta, or seconds; no limit by default.

        Raises:
            BulkJobNotFound, TimeoutError.
        """
        limit_s = None if timeout is None else seconds(timeout, "timeout").total_seconds()
        pause_s = _POLL_FIRST_S
        async with asyncio.timeout(limit_s):
            while (job := await self.get(job_id)).status is BulkStatus.RUNNING:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _POLL_MAX_S)
        return job

    async def work(self, job_id: str) -> BulkJob:
        """Carry out a job here, without a worker, to its end. Workers that are there help. Raises BulkJobNotFound."""
        from holdfast.runtime.bulk import LANE, work_once

        checked, holder = check_run_id(job_id), self._host.new_id()
        while (job := await self.get(checked)).status is BulkStatus.RUNNING:
            pause_ms = await self._host.call(LANE, work_once, self.store, holder, of=(self.tenant, checked))
            await asyncio.sleep(min((pause_ms or 0) / 1000, _POLL_MAX_S))
        return job

    async def _filter(self, query: str | None, filters: Filters) -> RunFilter:
        now_ms = UnixMs(0) if query is None else await self._send(self.store.read_clock)
        return filter_from(query, filters, now_ms=now_ms)


def _action(given: Action | str) -> Action:
    if not isinstance(given, str):
        return given
    if given not in ACTIONS:
        raise UsageError(f"there is no bulk action {given!r}; there are {', '.join(ACTIONS)}, signal and set")
    return ACTIONS[given]


def _checked(limit: int) -> int:
    if not 1 <= limit <= _PAGE_MAX:
        raise UsageError(f"limit must be between 1 and {_PAGE_MAX}, not {limit}")
    return limit


# SQLAlchemy comes with these, and most programs have no use for it.


def _insert(store: Store, new: NewBulkJob) -> BulkJob:
    from holdfast.store.bulk import insert_job

    return store.transact(new.tenant, lambda statements: insert_job(statements, new))


def _find(store: Store, tenant: Tenant, job_id: RunId) -> BulkJob:
    from holdfast.store.bulk import find_job

    return store.transact(tenant, lambda statements: find_job(statements, tenant, job_id), read_only=True)


def _list(store: Store, tenant: Tenant, limit: int) -> builtins.list[BulkJob]:
    from holdfast.store.bulk import list_jobs

    return store.transact(tenant, lambda statements: list_jobs(statements, tenant, limit=limit), read_only=True)


def _errors(store: Store, tenant: Tenant, job_id: RunId, limit: int, after: RunId | None) -> builtins.list[BulkError]:
    from holdfast.store.bulk import list_errors

    return store.transact(tenant, lambda s: list_errors(s, tenant, job_id, limit=limit, after=after), read_only=True)


def _stop(store: Store, tenant: Tenant, job_id: RunId, actor: str) -> BulkJob:
    from holdfast.store.bulk import stop_job

    return store.transact(tenant, lambda statements: stop_job(statements, tenant, job_id, actor))
