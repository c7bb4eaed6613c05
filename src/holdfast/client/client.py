"""The client: everything that programs and people ask of runs, over a store.

Every request that writes is named before it is sent (a run's id, a signal's id), so that an answer that was lost can be
asked for again without doing anything twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack, cast, overload

from msgspec import Struct

from holdfast.client.breakers import Breakers
from holdfast.client.bulk import Bulk
from holdfast.client.closings import Closings
from holdfast.client.control import PRIORITY_MAX
from holdfast.client.definitions import Definitions
from holdfast.client.events import Events
from holdfast.client.moving import Moving
from holdfast.client.pauses import Pauses
from holdfast.client.queues import Queues
from holdfast.client.results import Results
from holdfast.client.schedules import Schedules
from holdfast.core.attributes import check_attributes
from holdfast.core.codec import Codec
from holdfast.core.explain import Explanation
from holdfast.core.failure import read_failure, rebuild
from holdfast.core.ids import check_run_id, run_id_for_key
from holdfast.core.names import check_name
from holdfast.errors import (
    ResultTimeout,
    RunCancelled,
    RunFailed,
    RunStuck,
    UsageError,
    WorkflowNotRegistered,
)
from holdfast.model.ids import DEFAULT_QUEUE, DEFAULT_TENANT, Json, RunId, Tenant
from holdfast.model.run import NewRun, Run, Started
from holdfast.model.search import AttributeValue
from holdfast.model.status import ACTIVE_STATUSES, RunStatus
from holdfast.runtime.host import Host
from holdfast.runtime.pins import Pin, Pins
from holdfast.store.port import Store
from holdfast.workflow.duration import milliseconds, seconds
from holdfast.workflow.graph import Graph, run_options
from holdfast.workflow.registry import Registry
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from holdfast.client.dag import Dag

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")

NEW_MS = 5.0
"""A run that was started less than so many milliseconds ago is waited for without a look: two round trips, and the
processor time of both sides, that a run of a few milliseconds would pay in full."""

NEW_LOOK_S = 0.05
"""When to look at such a run if no hint came."""


class StartOptions(TypedDict, total=False):
    """How a run is started."""

    key: str | None
    """An idempotency key: per tenant and workflow it starts one run, whoever asks and however often."""
    delay: timedelta | float
    """Not before this long from now; a timedelta, or seconds."""
    priority: int
    """-1000 to 1000, 0 by default; higher is claimed first."""
    timeout: timedelta | float | None
    """The run's deadline, from now; the workflow's own by default."""
    queue: str | None
    """The line it stands in; the workflow's own by default."""
    attributes: Mapping[str, AttributeValue]
    """Search attributes, in addition to the workflow's own."""
    version: int | None
    """Of a graph: the stored version to follow. By default the graph of this App; of one that this App does not know,
    the version that release ``live`` stands for."""
    connection: Any
    """Your own open transaction on the same database: the run exists if and when you commit."""


class Start(Struct, frozen=True, kw_only=True):
    """One run of a bulk start; the fields are the arguments of ``Client.start``."""

    workflow: Any
    """A workflow, or its name."""
    args: tuple[Any, ...] = ()
    key: str | None = None
    delay: timedelta | float = 0
    priority: int = 0
    timeout: timedelta | float | None = None
    queue: str | None = None
    attributes: Mapping[str, AttributeValue] = {}
    version: int | None = None

    @classmethod
    def asked(cls, workflow: Any, args: tuple[Any, ...], options: StartOptions) -> Start:
        """What a call of ``Client.start`` asks for, but for the connection."""
        return cls(
            workflow=workflow,
            args=args,
            key=options.get("key"),
            delay=options.get("delay", 0),
            priority=options.get("priority", 0),
            timeout=options.get("timeout"),
            queue=options.get("queue"),
            attributes=options.get("attributes", {}),
            version=options.get("version"),
        )


class RunHandle(Generic[R_co]):
    """A run that was started or looked up."""

    def __init__(
        self, client: Client, run_id: RunId, *, created: bool, result_type: Any, started_ms: float | None = None
    ) -> None:
        self.id = run_id
        self.created = created
        """Whether this start made the run; False if its key had started it before."""
        self._client = client
        self._result_type = result_type
        self._started_ms = started_ms if created else None

    async def result(self, timeout: timedelta | float | None = None) -> R_co:
        """Wait for the run's end and return its result.

        Args:
            timeout: a timedelta, or seconds; no limit by default. The run goes on when it passes.

        Raises:
            RunFailed: it failed; the cause is the exception that ended it, rebuilt if its type is registered.
            RunCancelled, RunStuck: it ended so.
            ResultTimeout: it has not ended in time.
        """
        run = await self._client.wait_for_end(self.id, timeout=timeout, started_ms=self._started_ms)
        return cast("R_co", self._client.result_from(run, self._result_type))

    async def get(self, *, newest: bool = False) -> Run:
        """The run as it is now; with ``newest`` the last run of its chain, if it continued."""
        return await self._client.get(self.id, newest=newest)

    async def signal(self, name: str, payload: Any = None) -> bool:
        """Send this run a signal. Returns whether a wait took it at once; otherwise it is kept for the next one."""
        return bool(await self._client.signal(name, payload, run_id=self.id))

    async def cancel(self, reason: str = "", *, compensate: bool = False) -> Run:
        """Ask for the run to be cancelled, with ``compensate`` after its completed steps are undone."""
        return await self._client.cancel(self.id, reason=reason, compensate=compensate)

    async def explain(self) -> Explanation:
        """Why the run is where it is, and what it waits for."""
        return await self._client.explain(self.id)

    def __repr__(self) -> str:
        return f"<Run {self.id}>"


class Client(Moving, Events):
    """Asynchronous; ``SyncClient`` is its blocking form. One tenant; one database."""

    def __init__(
        self,
        store: Store,
        host: Host,
        *,
        tenant: Tenant = DEFAULT_TENANT,
        registry: Registry | None = None,
        codec: Codec | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(store, host, tenant=tenant, codec=codec)
        self._registry = registry
        self._on_close = on_close
        self._results = Results(store, host, self.tenant)
        self._pins = Pins(store)
        self.definitions = Definitions(store, host, tenant=self.tenant)
        self.closings = Closings(store, host, tenant=self.tenant)
        """Stored versions of graphs, and releases."""
        self.pauses = Pauses(store, host, tenant=self.tenant)
        self.queues = Queues(store, host, tenant=self.tenant)
        self.breakers = Breakers(store, host, tenant=self.tenant)
        """Queues, workflows and the tenant, paused and resumed."""
        self.bulk = Bulk(store, host, tenant=self.tenant, codec=self._codec)
        """One command for many runs, as durable jobs."""
        self.schedules = Schedules(
            store, host, tenant=self.tenant, codec=self._codec, pins=self._pins, registry=registry
        )
        """What starts runs by the clock."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop waiting for results and give the database connections back."""
        await self._results.close()
        if self._on_close is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._on_close)

    # Starting

    # Callables rather than Workflow[[A1], R], so that a workflow may be started without its default arguments;
    # an async one is meant to match before a plain one.
    @overload
    async def start(
        self, workflow: Graph, /, *args: Any, **options: Unpack[StartOptions]
    ) -> RunHandle[dict[str, Any]]: ...
    @overload
    async def start(
        self, workflow: Callable[[], Coroutine[Any, Any, R]], /, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Callable[[A1], Coroutine[Any, Any, R]], a1: A1, /, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Callable[[A1, A2], Coroutine[Any, Any, R]], a1: A1, a2: A2, /, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[A1, A2, A3], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        /,
        **options: Unpack[StartOptions],
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[A1, A2, A3, A4], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        /,
        **options: Unpack[StartOptions],
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[A1, A2, A3, A4, A5], Coroutine[Any, Any, R]],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        a5: A5,
        /,
        **options: Unpack[StartOptions],
    ) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: Callable[[], R], /, **options: Unpack[StartOptions]) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: Callable[[A1], R], a1: A1, /, **options: Unpack[StartOptions]) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Callable[[A1, A2], R], a1: A1, a2: A2, /, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Callable[[A1, A2, A3], R], a1: A1, a2: A2, a3: A3, /, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[A1, A2, A3, A4], R],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        /,
        **options: Unpack[StartOptions],
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Callable[[A1, A2, A3, A4, A5], R],
        a1: A1,
        a2: A2,
        a3: A3,
        a4: A4,
        a5: A5,
        /,
        **options: Unpack[StartOptions],
    ) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: str, /, *args: Any, **options: Unpack[StartOptions]) -> RunHandle[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **options: Unpack[StartOptions]) -> RunHandle[Any]:
        """Start a run, durably: once this returns, it is never lost.

        Args:
            workflow: the workflow, or its name. A name needs no App here.
            args: the workflow's arguments.
            options: see ``StartOptions``.

        Raises:
            WorkflowNotRegistered: this App has no such workflow, and none of that name is stored.
            DefinitionNotFound: there is no such ``version``; or this App's graph is not stored yet, and cannot be in
                the caller's transaction: call ``client.definitions.put(graph)`` before.
            ReleaseNotFound: versions of that name are stored, but none of them is live.
            EncodeError, PayloadTooLarge: an argument cannot be stored.
            StoreUnavailable: the database does not answer, and nothing was started.
            CommitUnknown: it is not known whether the run was started; start it again with the same key.
        """
        start = Start.asked(workflow, args, options)
        connection = options.get("connection")
        if connection is None:
            started = await self._send(self.store.start_runs, [self._new_run(start, await self._pin(start))])
            return self._handle(start, (await self._follow(started))[0])
        start_async = getattr(self.store, "start_runs_in_async", None)
        if start_async is None or not type(connection).__name__.startswith("Async"):
            return self.start_in(connection, start)
        pin = await self._pin(start, write=False)
        return self._handle(start, (await start_async(connection, [self._new_run(start, pin)]))[0])

    def start_in(self, connection: Any, start: Start) -> RunHandle[Any]:
        """Start a run in the caller's open transaction, on the caller's own thread, as the connection is the caller's.

        What ``start`` does with a connection that blocks. Raises as ``start`` does.
        """
        # A transaction of the caller's on SQLite would be in the way of storing anything besides.
        pin = self._pin_by_reading(start, write=False)
        return self._handle(start, self.store.start_runs_in(connection, [self._new_run(start, pin)])[0])

    async def start_many(self, starts: Iterable[Start]) -> list[RunHandle[Any]]:
        """Start many runs in one transaction: all of them or none. Raises as ``start`` does."""
        wanted = list(starts)
        pins: dict[tuple[str, int | None], Pin | None] = {}
        news: list[NewRun] = []
        for start in wanted:
            place = _name_of(start), start.version
            if place not in pins:
                pins[place] = await self._pin(start)
            news.append(self._new_run(start, pins[place]))
        started: list[Started] = await self._send(self.store.start_runs, news) if news else []
        return [self._handle(start, one) for start, one in zip(wanted, await self._follow(started), strict=True)]

    async def _follow(self, started: list[Started]) -> list[Started]:
        """The answers to starts: of a run that was started before and has continued, the last run of its chain."""
        known = [one.run_id for one in started if not one.created]
        if not known:
            return started
        runs: list[Run] = await self._send(self.store.get_runs, self.tenant, known)
        newest = {run.id: (await self.get(run.id, newest=True)).id for run in runs if run.continued_as_id is not None}
        return [Started(newest.get(one.run_id, one.run_id), one.created) for one in started]

    async def _pin(self, start: Start, *, write: bool = True) -> Pin | None:
        """The version that the run is to follow; None for a function workflow."""
        workflow = self._find(start.workflow)
        if start.version is None and isinstance(workflow, Workflow):
            if not isinstance(workflow, Graph):
                return None
            known = self._pins.remembered(self.tenant, workflow.build())
            if known is not None:
                return known
        return await self._send(self._pin_by_reading, start, write=write)

    def _pin_by_reading(self, start: Start, *, write: bool = True) -> Pin | None:
        workflow = self._find(start.workflow)
        if isinstance(workflow, Workflow) and not isinstance(workflow, Graph):
            if start.version is not None:
                raise UsageError(f"workflow {workflow.name!r} is a function: it has no versions to choose from")
            return None
        if isinstance(workflow, Graph) and start.version is None:
            definition = workflow.build()
            return self._pins.remembered(self.tenant, definition) or self._pins.own(
                self.tenant, definition, write=write
            )
        name = workflow if isinstance(workflow, str) else workflow.name
        pin = self._pins.named(self.tenant, name, version=start.version)
        if pin is None and self._registry is not None:
            self._registry.find_workflow(name)
        return pin

    def _new_run(self, start: Start, pin: Pin | None) -> NewRun:
        workflow = self._find(start.workflow)
        name = workflow if isinstance(workflow, str) else workflow.name
        options = None if isinstance(workflow, str) else workflow.options
        if pin is not None:
            options = run_options(pin.options)
        timeout = start.timeout if start.timeout is not None or options is None else options.timeout
        if not -PRIORITY_MAX <= start.priority <= PRIORITY_MAX:
            raise UsageError(f"priority must be between -{PRIORITY_MAX} and {PRIORITY_MAX}, not {start.priority}")
        attributes = check_attributes({**(options.attributes if options else {}), **start.attributes})
        key = start.key if start.key is None else check_name("key", start.key)
        return NewRun(
            id=RunId(self._host.new_id()) if key is None else run_id_for_key(self.tenant, name, key),
            tenant=self.tenant,
            workflow=name,
            version=None if pin is None else pin.version,
            definition_hash=None if pin is None else pin.definition_hash,
            input=self._codec.encode_arguments(start.args, {}, f"the input of workflow {name!r}"),
            queue=check_name("queue", start.queue or (options.queue if options else DEFAULT_QUEUE)),
            key=key,
            priority=start.priority,
            delay_ms=milliseconds(seconds(start.delay, "delay")),
            timeout_ms=None if timeout is None else milliseconds(seconds(timeout, "timeout")),
            attributes=attributes,
        )

    def _find(self, workflow: object) -> Workflow[..., Any] | str:
        if isinstance(workflow, Workflow):
            return cast("Workflow[..., Any]", workflow)
        if not isinstance(workflow, str):
            raise UsageError(
                f"start() needs a workflow or its name, not {workflow!r}: is it decorated with @app.workflow?"
            )
        if self._registry is None:
            return check_name("workflow", workflow)
        try:
            return self._registry.find_workflow(workflow)
        except WorkflowNotRegistered:
            # It may be stored: whoever starts it looks there before this is an error.
            return check_name("workflow", workflow)

    def _handle(self, start: Start, started: Started) -> RunHandle[Any]:
        workflow = self._find(start.workflow)
        type_ = Any if isinstance(workflow, str) else workflow.result_type
        return RunHandle(
            self,
            started.run_id,
            created=started.created,
            result_type=type_,
            started_ms=self._host.monotonic_ms(),
        )

    # Results

    def handle(self, run_id: str, type_: type[T] = object) -> RunHandle[T]:  # type: ignore[assignment]  # the default is any JSON value
        """A handle on a run known by its id; ``type_`` is its result's type. Raises UsageError for a malformed id."""
        return RunHandle(self, check_run_id(run_id), created=False, result_type=type_)

    async def dag(self, run_id: str) -> Dag:
        """The steps of a graph's run as they stand now: states, results, who waits for whom.

        Raises RunNotFound; DefinitionNotFound if the run follows no graph.
        """
        # It brings SQLAlchemy along, which most programs need nothing of.
        from holdfast.client.dag import Dags

        errors = None if self._registry is None else self._registry.errors
        dags = Dags(self.store, self.tenant, codec=self._codec, errors=errors)
        return await self._send(dags.read, check_run_id(run_id))

    async def wait_for_end(
        self, run_id: str, *, timeout: timedelta | float | None = None, started_ms: float | None = None
    ) -> Run:
        """The run, when it has ended, however it ended; of one that continued, the last run of its chain.

        Args:
            run_id: the run.
            timeout: a timedelta, or seconds; no limit by default.
            started_ms: when this client started it, by the host's monotonic clock: a run that is hardly older than a
                round trip is not looked at before there is a hint, or a moment has passed.

        Raises:
            RunNotFound: there is no such run.
            ResultTimeout: it has not ended in time.
        """
        checked = check_run_id(run_id)
        limit_s = None if timeout is None else seconds(timeout, "timeout").total_seconds()
        is_new = started_ms is not None and self._host.monotonic_ms() - started_ms < NEW_MS
        if not is_new:
            # Tells an unknown run at once, and waits for nothing that has ended.
            run = await self.get(checked, newest=True)
            if run.status not in ACTIVE_STATUSES:
                return run
            checked = run.id
        try:
            async with asyncio.timeout(limit_s):
                return await self._wait_for_last(checked, NEW_LOOK_S if is_new else 0.0)
        except TimeoutError:
            run = await self.get(checked, newest=True)
            if run.status not in ACTIVE_STATUSES:
                return run
            raise ResultTimeout(run_id=run.id, timeout_s=limit_s, status=run.status.value) from None

    async def _wait_for_last(self, run_id: RunId, look_after_s: float) -> Run:
        run = await self._results.wait(run_id, look_after_s=look_after_s)
        while run.continued_as_id is not None:
            newest = await self.get(run.id, newest=True)
            if newest.status not in ACTIVE_STATUSES:
                return newest
            run = await self._results.wait(newest.id)
        return run

    async def wait_for_result(self, run_id: str, *, timeout: timedelta | float | None = None, type_: Any = Any) -> Any:
        """As ``RunHandle.result``."""
        return self.result_from(await self.wait_for_end(run_id, timeout=timeout), type_)

    def result_from(self, run: Run, type_: Any = Any) -> Any:
        """The result of an ended run. Raises RunFailed, RunCancelled, RunStuck."""
        match run.status:
            case RunStatus.COMPLETED:
                stored = Json(b'{"value":null}') if run.result is None else run.result
                return self._codec.decoder(type_)(stored, f"the result of run {run.id}")
            case RunStatus.CANCELLED:
                raise RunCancelled(run_id=run.id)
            case RunStatus.STUCK:
                raise RunStuck(run_id=run.id, reason=run.terminal_reason or "unknown")
            case _ if run.error is None:
                raise RunFailed(run_id=run.id, reason=run.terminal_reason, error="no error was recorded")
            case _:
                failure = read_failure(run.error)
                error = RunFailed(run_id=run.id, reason=run.terminal_reason, error=failure.summary, failure=failure)
                cause = rebuild(failure, self._registry.errors) if self._registry is not None else None
                raise error from cause

    # Commands


def _name_of(start: Start) -> str:
    return start.workflow if isinstance(start.workflow, str) else str(getattr(start.workflow, "name", ""))
