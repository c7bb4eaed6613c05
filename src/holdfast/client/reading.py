"""What a client reads: runs, listings, counts, explanations."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from holdfast.client.requests import Requests
from holdfast.core.explain import Explanation, children_of, explain
from holdfast.core.ids import check_run_id
from holdfast.errors import RunNotFound, UsageError
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Run, RunDetail, RunFilter, RunPage, WorkerRow
from holdfast.model.status import RunStatus
from holdfast.workflow.duration import unix_milliseconds

EXPLAINED_MAX: Final = 20
"""How many runs one explanation reads at most: the run, its children, and theirs."""


class Reading(Requests):
    """The part of ``Client`` that changes nothing."""

    async def get(self, run_id: str) -> Run:
        """The run as it is now. Raises RunNotFound."""
        return await self._send(self.store.get_run, self.tenant, check_run_id(run_id))

    async def detail(self, run_id: str) -> RunDetail:
        """The run with its journal, waits, attempts and transitions. Raises RunNotFound."""
        return await self._send(self.store.read_detail, self.tenant, check_run_id(run_id))

    async def explain(self, run_id: str, *, depth: int = 3) -> Explanation:
        """Why the run is where it is, and what it waits for. Raises RunNotFound.

        Args:
            run_id: the run.
            depth: how many levels of the children that it waits for are explained with it.
        """
        return await self._explain(check_run_id(run_id), depth, [EXPLAINED_MAX - 1])

    async def _explain(self, run_id: RunId, depth: int, budget: builtins.list[int]) -> Explanation:
        detail = await self.detail(run_id)
        found: dict[RunId, Explanation] = {}
        for child in children_of(detail) if depth > 0 else ():
            if budget[0] <= 0:
                break
            budget[0] -= 1
            try:
                found[child] = await self._explain(child, depth - 1, budget)
            except RunNotFound:
                # The child was purged, or is not recorded yet: the wait for it is explained without it.
                continue
        return explain(detail, found)

    async def list(
        self,
        *,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
        workflow: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        parent_id: str | None = None,
        root_id: str | None = None,
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        attributes: Mapping[str, str] = {},
        limit: int = 50,
        after: str | None = None,
    ) -> RunPage:
        """A page of runs, newest first; pass its ``next`` as ``after`` for the page behind it.

        Args:
            status: one status, or several.
            limit: the most runs of a page, 1 to 1000.
            after: where the page begins.

        Raises:
            UsageError: a filter is malformed.
        """
        if not 1 <= limit <= _PAGE_MAX:
            raise UsageError(f"limit must be between 1 and {_PAGE_MAX}, not {limit}")
        where = RunFilter(
            statuses=_statuses(status),
            workflow=workflow,
            queue=queue,
            key=key,
            parent_id=None if parent_id is None else check_run_id(parent_id),
            root_id=None if root_id is None else check_run_id(root_id),
            created_from_ms=_moment(created_from),
            created_before_ms=_moment(created_before),
            attributes=dict(attributes),
        )
        return await self._send(self.store.list_runs, self.tenant, where, limit=limit, after=after)

    async def count(self, *, workflow: str | None = None, queue: str | None = None) -> dict[str, int]:
        """How many runs are in each status; statuses without runs are left out."""
        return await self._send(self.store.count_runs, self.tenant, RunFilter(workflow=workflow, queue=queue))

    async def workers(self) -> builtins.list[WorkerRow]:
        """The workers that are alive."""
        return await self._send(self.store.list_workers)


_PAGE_MAX = 1000


def _statuses(status: RunStatus | str | Iterable[RunStatus | str] | None) -> frozenset[RunStatus]:
    wanted = [] if status is None else [status] if isinstance(status, str) else list(status)
    try:
        return frozenset(RunStatus(one) for one in wanted)
    except ValueError as error:
        known = ", ".join(one.value for one in RunStatus)
        raise UsageError(f"{error}; the statuses are {known}") from None


def _moment(moment: datetime | None) -> UnixMs | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone")
    return UnixMs(unix_milliseconds(moment))
