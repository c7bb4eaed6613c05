"""The blocking form of the client: the same implementation, behind a portal."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, cast, overload

from holdfast.client.client import Client, RunHandle, Start, StartOptions
from holdfast.client.events import EventOptions
from holdfast.client.filters import Filters
from holdfast.client.messages import AnswerOptions, SignalOptions
from holdfast.client.outputs import Published, StreamItem
from holdfast.client.portal import Portal
from holdfast.client.sync_breakers import SyncBreakers
from holdfast.client.sync_bulk import SyncBulk
from holdfast.client.sync_closings import SyncClosings
from holdfast.client.sync_definitions import SyncDefinitions
from holdfast.client.sync_moving import SyncMoving
from holdfast.client.sync_pauses import SyncPauses
from holdfast.client.sync_queues import SyncQueues
from holdfast.client.sync_schedules import SyncSchedules
from holdfast.core.explain import Explanation
from holdfast.model.event import Event
from holdfast.model.ids import RunId
from holdfast.model.lineage import Lineage
from holdfast.model.run import ApprovalPage, Run, RunDetail, RunPage, WorkerRow
from holdfast.model.search import GroupBy, RunGroup
from holdfast.workflow.graph import Graph

if TYPE_CHECKING:
    from holdfast.client.dag import Dag

R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")


class SyncRunHandle(Generic[R_co]):
    """A run that was started or looked up; see ``RunHandle``."""

    def __init__(self, portal: Portal, handle: RunHandle[R_co]) -> None:
        self.id = handle.id
        self.created = handle.created
        self._portal = portal
        self._handle = handle

    def result(self, timeout: timedelta | float | None = None) -> R_co:
        """As ``RunHandle.result``."""
        return self._portal.call(self._handle.result(timeout))

    def get(self, *, newest: bool = False) -> Run:
        """As ``RunHandle.get``."""
        return self._portal.call(self._handle.get(newest=newest))

    def signal(self, name: str, payload: Any = None) -> bool:
        """As ``RunHandle.signal``."""
        return self._portal.call(self._handle.signal(name, payload))

    def cancel(self, reason: str = "", *, compensate: bool = False) -> Run:
        """As ``RunHandle.cancel``."""
        return self._portal.call(self._handle.cancel(reason, compensate=compensate))

    def explain(self) -> Explanation:
        """As ``RunHandle.explain``."""
        return self._portal.call(self._handle.explain())


class SyncClient(SyncMoving):
    """See ``Client``: every method does what its namesake does, and blocks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._portal = Portal()
        self.definitions = SyncDefinitions(self._portal, client.definitions)
        self.bulk = SyncBulk(self._portal, client.bulk)
        self.closings = SyncClosings(self._portal, client.closings)
        self.pauses = SyncPauses(self._portal, client.pauses)
        self.schedules = SyncSchedules(self._portal, client.schedules)
        self.queues = SyncQueues(self._portal, client.queues)
        self.breakers = SyncBreakers(self._portal, client.breakers)

    @property
    def _control(self) -> Client:
        return self._client

    def close(self) -> None:
        """As ``Client.close``."""
        self._portal.call(self._client.close())
        self._portal.close()

    @overload
    def start(
        self, workflow: Graph, /, *args: Any, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[dict[str, Any]]: ...
    @overload
    def start(
        self, workflow: Callable[[], Coroutine[Any, Any, R]], /, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self, workflow: Callable[[A1], Coroutine[Any, Any, R]], a1: A1, /, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self, workflow: Callable[[A1, A2], Coroutine[Any, Any, R]], a1: A1, a2: A2, /, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self,
        workflow: Callable[[A1, A2, A3], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        /,
        **options: Unpack[StartOptions],
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self,
        workflow: Callable[[A1, A2, A3, A4], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        /,
        **options: Unpack[StartOptions],
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self,
        workflow: Callable[[A1, A2, A3, A4, A5], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        a5: A5,
        /,
        **options: Unpack[StartOptions],
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(self, workflow: Callable[[], R], /, **options: Unpack[StartOptions]) -> SyncRunHandle[R]: ...
    @overload
    def start(self, workflow: Callable[[A1], R], a1: A1, /, **options: Unpack[StartOptions]) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self, workflow: Callable[[A1, A2], R], a1: A1, a2: A2, /, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self, workflow: Callable[[A1, A2, A3], R], a1: A1, a2: A2, a3: A3, /, **options: Unpack[StartOptions]
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self,
        workflow: Callable[[A1, A2, A3, A4], R],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        /,
        **options: Unpack[StartOptions],
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(
        self,
        workflow: Callable[[A1, A2, A3, A4, A5], R],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        a5: A5,
        /,
        **options: Unpack[StartOptions],
    ) -> SyncRunHandle[R]: ...
    @overload
    def start(self, workflow: str, /, *args: Any, **options: Unpack[StartOptions]) -> SyncRunHandle[Any]: ...
    def start(self, workflow: Any, /, *args: Any, **options: Unpack[StartOptions]) -> SyncRunHandle[Any]:
        """As ``Client.start``."""
        connection = options.get("connection")
        if connection is not None:
            start_here = Start.asked(workflow, args, options)
            return SyncRunHandle(self._portal, self._client.start_in(connection, start_here))
        start = cast("Any", self._client.start)
        return SyncRunHandle(self._portal, self._portal.call(start(workflow, *args, **options)))

    def start_many(self, starts: Iterable[Start]) -> list[SyncRunHandle[Any]]:
        """As ``Client.start_many``."""
        return [SyncRunHandle(self._portal, one) for one in self._portal.call(self._client.start_many(starts))]

    def handle(self, run_id: str, type_: Any = Any) -> SyncRunHandle[Any]:
        """As ``Client.handle``."""
        return SyncRunHandle(self._portal, self._client.handle(run_id, type_))

    def wait_for_end(self, run_id: str, *, timeout: timedelta | float | None = None) -> Run:
        """As ``Client.wait_for_end``."""
        return self._portal.call(self._client.wait_for_end(run_id, timeout=timeout))

    def get(self, run_id: str, *, newest: bool = False) -> Run:
        """As ``Client.get``."""
        return self._portal.call(self._client.get(run_id, newest=newest))

    def detail(self, run_id: str) -> RunDetail:
        """As ``Client.detail``."""
        return self._portal.call(self._client.detail(run_id))

    def dag(self, run_id: str) -> Dag:
        """As ``Client.dag``."""
        return self._portal.call(self._client.dag(run_id))

    def explain(self, run_id: str) -> Explanation:
        """As ``Client.explain``."""
        return self._portal.call(self._client.explain(run_id))

    def lineage(self, run_id: str, *, most: int = 200) -> Lineage:
        """As ``Client.lineage``."""
        return self._portal.call(self._client.lineage(run_id, most=most))

    def list(
        self, query: str | None = None, *, limit: int = 50, after: str | None = None, **filters: Unpack[Filters]
    ) -> RunPage:
        """As ``Client.list``."""
        return self._portal.call(self._client.list(query, limit=limit, after=after, **filters))

    def count(self, query: str | None = None, *, most: int | None = None, **filters: Unpack[Filters]) -> dict[str, int]:
        """As ``Client.count``."""
        return self._portal.call(self._client.count(query, most=most, **filters))

    def group(
        self, by: GroupBy | str, query: str | None = None, *, limit: int = 100, **filters: Unpack[Filters]
    ) -> builtins.list[RunGroup]:
        """As ``Client.group``."""
        return self._portal.call(self._client.group(by, query, limit=limit, **filters))

    def workers(self) -> builtins.list[WorkerRow]:
        """As ``Client.workers``."""
        return self._portal.call(self._client.workers())

    def signal(self, name: str, payload: Any = None, **options: Unpack[SignalOptions]) -> builtins.list[RunId]:
        """As ``Client.signal``."""
        connection = options.get("connection")
        if connection is not None:
            self._client.signal_in(connection, name, payload, options)
            return []
        return self._portal.call(self._client.signal(name, payload, **options))

    def read(self, run_id: str, name: str, type_: Any = Any) -> Any:
        """As ``Client.read``."""
        return self._portal.call(self._client.read(run_id, name, type_))

    def query(self, run_id: str, name: str, type_: Any = Any) -> Published[Any]:
        """As ``Client.query``."""
        return self._portal.call(self._client.query(run_id, name, type_))

    def stream(self, run_id: str, stream: str, type_: Any = Any, *, after: int = 0) -> Iterator[StreamItem[Any]]:
        """As ``Client.stream``."""
        return self._iterate(self._client.stream(run_id, stream, type_, after=after))

    def _iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        async def following() -> T | None:
            return await anext(items, None)

        try:
            while (item := self._portal.call(following())) is not None:
                yield item
        finally:
            if not self._portal.closed:
                self._portal.call(items.aclose())

    def events(
        self,
        run_id: str | None = None,
        *,
        after: str | None = None,
        follow: bool = False,
        speed: float | None = None,
        **options: Unpack[EventOptions],
    ) -> Iterator[Event]:
        """As ``Client.events``."""
        return self._iterate(self._client.events(run_id, after=after, follow=follow, speed=speed, **options))

    def update(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        type_: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """As ``Client.update``."""
        return self._portal.call(self._client.update(run_id, name, value, type_=type_, key=key, timeout=timeout))

    def approvals(self, names: Iterable[str] = (), *, limit: int = 50, after: str | None = None) -> ApprovalPage:
        """As ``Client.approvals``."""
        return self._portal.call(self._client.approvals(names, limit=limit, after=after))

    def approve(self, run_id: str, key: str = "approval", **answer: Unpack[AnswerOptions]) -> None:
        """As ``Client.approve``."""
        self._portal.call(self._client.approve(run_id, key, **answer))

    def reject(self, run_id: str, key: str = "approval", **answer: Unpack[AnswerOptions]) -> None:
        """As ``Client.reject``."""
        self._portal.call(self._client.reject(run_id, key, **answer))
