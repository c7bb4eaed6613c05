"""The tree of runs in which a run stands, read run by run: each look is by a key or by an index."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from holdfast.core.failure import read_failure
from holdfast.core.ids import retry_id
from holdfast.errors import RunNotFound, StoreCorrupt
from holdfast.model.ids import RunId
from holdfast.model.lineage import Kinship, Lineage, Relative, predecessor_of
from holdfast.model.run import Run, RunFilter, RunPage
from holdfast.model.search import RunOrder
from holdfast.model.status import RunStatus

BELOW_MAX: Final = 20
"""How many links, forks and children of one run are shown, of each kind."""

ABOVE_MAX: Final = 50
"""How many runs above the one that is asked for are gone up to."""

_RETRIED: Final = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.STUCK})

Get = Callable[[RunId], Awaitable[Run]]
"""The run. Raises RunNotFound."""
GetNewest = Get
"""The last run of its chain. Raises RunNotFound."""
ListRuns = Callable[[RunFilter, int], Awaitable[RunPage]]
"""The first page of a filter, of up to so many runs."""


class _Node:
    """A run of the tree while it is read."""

    def __init__(self, kinship: Kinship, run: Run) -> None:
        self.kinship = kinship
        self.run = run
        self.below: list[_Node] = []
        self.more = False


class LineageReader:
    """Reads one tree."""

    def __init__(self, get: Get, get_newest: GetNewest, list_runs: ListRuns, *, most: int) -> None:
        self._get = get
        self._get_newest = get_newest
        self._list = list_runs
        self._left = most

    async def read(self, run_id: RunId) -> Lineage:
        """Up to ``most`` runs around this one, and always those between it and its origin. Raises RunNotFound."""
        path = await self._path(await self._get(run_id))
        origin = _Node(Kinship.ORIGIN, path[0])
        self._left -= len(path)
        # From above to below, so that what is left out is what is farthest from the origin.
        waiting = deque([origin])
        nodes = [origin]
        while waiting:
            node = waiting.popleft()
            await self._expand(node, path)
            waiting += node.below
            nodes += node.below
        return Lineage(asked_id=run_id, origin=_relative(nodes))

    async def _path(self, run: Run) -> list[Run]:
        """The runs from its origin, as far up as they are there, down to this one."""
        path = [run]
        while (above := predecessor_of(path[0])) is not None and len(path) <= ABOVE_MAX:
            found = await self._find(above[1])
            if found is None:
                break
            path.insert(0, found)
        return path

    async def _expand(self, node: _Node, path: list[Run]) -> None:
        """Find what comes from a run; what lies on the path to the run that is asked for is always there."""
        at = next((index for index, run in enumerate(path) if run.id == node.run.id), None)
        kept = path[at + 1] if at is not None and at + 1 < len(path) else None
        found, node.more = await self._below(node.run)
        if kept is not None and all(run.id != kept.id for _, run in found):
            found.append(((predecessor_of(kept) or (Kinship.CHILD,))[0], kept))
        for kinship, run in found:
            if run.id != (None if kept is None else kept.id):
                if self._left <= 0:
                    node.more = True
                    continue
                self._left -= 1
            node.below.append(_Node(kinship, run))

    async def _below(self, run: Run) -> tuple[list[tuple[Kinship, Run]], bool]:
        """What comes from a run, and whether that is not all."""
        found: list[tuple[Kinship, Run]] = []
        if run.status in _RETRIED and (retry := await self._find(retry_id(run.id))) is not None:
            found.append((Kinship.RETRY, retry))
        links, more = await self._links(run)
        found += [(Kinship.CONTINUED, link) for link in links]
        for kinship, where in (
            (Kinship.FORK, RunFilter(forked_from_id=run.id, order=RunOrder.OLDEST)),
            (Kinship.CHILD, RunFilter(parent_id=run.id, order=RunOrder.OLDEST)),
        ):
            page = await self._list(where, BELOW_MAX)
            # A later link has its parent from the first, under which it stands.
            found += [(kinship, one) for one in page.runs if one.continued_from_id is None]
            more = more or page.next is not None
        return found, more

    async def _links(self, run: Run) -> tuple[list[Run], bool]:
        """The later links of a chain, of its first one; of a long one the next ones and the last."""
        links: list[Run] = []
        if run.chain_id != run.id or run.continued_as_id is None:
            return links, False
        link: Run | None = run
        while link is not None and link.continued_as_id is not None and len(links) < BELOW_MAX:
            link = await self._find(link.continued_as_id)
            links += [] if link is None else [link]
        if link is not None and link.continued_as_id is None:
            return links, False
        last = await self._get_newest(run.id)
        return [*links, *([] if last.id in {one.id for one in links} else [last])], True

    async def _find(self, run_id: RunId) -> Run | None:
        try:
            return await self._get(run_id)
        except RunNotFound:
            return None


def _relative(nodes: list[_Node]) -> Relative:
    """The first of the nodes with all below it; each stands before those that are below it."""
    made: dict[RunId, Relative] = {}
    for node in reversed(nodes):
        run = node.run
        made[run.id] = Relative(
            id=run.id,
            kinship=node.kinship,
            workflow=run.workflow,
            status=run.status,
            status_reason=run.terminal_reason or run.status_reason,
            attempt=run.attempt,
            created_ms=run.created_ms,
            key=run.key,
            finalized_ms=run.finalized_ms,
            error=_error_of(run),
            parent_key=run.parent_key if node.kinship is Kinship.CHILD else None,
            link=run.link,
            relatives=[made[one.run.id] for one in node.below],
            more=node.more,
        )
    return made[nodes[0].run.id]


def _error_of(run: Run) -> str | None:
    if run.error is None:
        return None
    try:
        return read_failure(run.error).summary
    except StoreCorrupt as error:
        return str(error)
