"""What a client reads: runs, listings, counts, explanations."""

from __future__ import annotations

import builtins
from typing import Final, Unpack

from holdfast.client.filters import Filters, filter_from
from holdfast.client.lineage import LineageReader
from holdfast.client.requests import Requests
from holdfast.core.explain import Explanation, children_of, explain
from holdfast.core.ids import check_run_id
from holdfast.errors import RunNotFound, UsageError
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.lineage import Lineage
from holdfast.model.run import Run, RunDetail, RunFilter, RunPage, WorkerRow
from holdfast.model.search import GroupBy, RunGroup
from holdfast.store.port import count_runs

EXPLAINED_MAX: Final = 20
"""How many runs one explanation reads at most: the run, its children, and theirs."""


class Reading(Requests):
    """The part of ``Client`` that changes nothing."""

    async def get(self, run_id: str, *, newest: bool = False) -> Run:
        """The run as it is now; with ``newest`` the last run of its chain, if it continued. Raises RunNotFound."""
        return await self._send(self.store.get_run, self.tenant, check_run_id(run_id), newest=newest)

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

    async def lineage(self, run_id: str, *, most: int = 200) -> Lineage:
        """The tree of runs in which a run stands: retries, forks, the links of its chain, children, and theirs.

        Of each run up to 20 links, forks and children are shown; ``more`` says that there are others. Raises
        RunNotFound.

        Args:
            run_id: any run of the tree.
            most: how many runs are shown, besides those between this one and its origin.
        """

        async def get(one: RunId) -> Run:
            return await self._send(self.store.get_run, self.tenant, one)

        async def get_newest(one: RunId) -> Run:
            return await self._send(self.store.get_run, self.tenant, one, newest=True)

        async def list_runs(where: RunFilter, limit: int) -> RunPage:
            return await self._send(self.store.list_runs, self.tenant, where, limit=limit, after=None)

        return await LineageReader(get, get_newest, list_runs, most=most).read(check_run_id(run_id))

    async def list(
        self, query: str | None = None, *, limit: int = 50, after: str | None = None, **filters: Unpack[Filters]
    ) -> RunPage:
        """A page of runs; pass its ``next`` as ``after`` for the page behind it, with the same filter.

        A page is short, or even empty, and still names a next one if it looked at many runs for what no index serves:
        a version, a queue, a text, times of change.

        Args:
            query: a text in the filter language: ``status:failed type:order attr.customer=42``.
            limit: the most runs of a page, 1 to 1000.
            after: where the page begins.
            filters: see ``Filters``.

        Raises:
            UsageError: a filter is malformed.
        """
        if not 1 <= limit <= _PAGE_MAX:
            raise UsageError(f"limit must be between 1 and {_PAGE_MAX}, not {limit}")
        where = await self._filter(query, filters)
        return await self._send(self.store.list_runs, self.tenant, where, limit=limit, after=after)

    async def count(
        self, query: str | None = None, *, most: int | None = None, **filters: Unpack[Filters]
    ) -> dict[str, int]:
        """How many runs are in each status; statuses without runs are left out.

        Args:
            query: a text in the filter language.
            most: of each status no more are counted, and no more are read: what a dashboard asks for every second. The
                filter may then name statuses, a workflow and times of creation alone. All of them by default.
            filters: see ``Filters``.

        Raises:
            UsageError: a filter is malformed, or asks for more than goes with ``most``.
        """
        where = await self._filter(query, filters)
        return await self._send(count_runs, self.store, self.tenant, where, most=most)

    async def group(
        self, by: GroupBy | str, query: str | None = None, *, limit: int = 100, **filters: Unpack[Filters]
    ) -> builtins.list[RunGroup]:
        """The largest groups of runs with the same status, workflow, queue, or error (by its fingerprint).

        Args:
            by: ``status``, ``workflow``, ``queue`` or ``error``.
            query: a text in the filter language.
            limit: the most groups, 1 to 1000.
            filters: see ``Filters``.

        Raises:
            UsageError: a filter is malformed.
        """
        try:
            wanted = GroupBy(by)
        except ValueError as error:
            raise UsageError(f"{error}; runs are grouped by {', '.join(one.value for one in GroupBy)}") from None
        where = await self._filter(query, filters)
        return await self._send(self.store.group_runs, self.tenant, where, wanted, limit=limit)

    async def _filter(self, query: str | None, filters: Filters) -> RunFilter:
        # Ages in a filter (`created>2h`) count from the database's time.
        now_ms = UnixMs(0) if query is None else await self._send(self.store.read_clock)
        return filter_from(query, filters, now_ms=now_ms)

    async def workers(self) -> builtins.list[WorkerRow]:
        """The workers that are alive."""
        return await self._send(self.store.list_workers)


_PAGE_MAX = 1000
