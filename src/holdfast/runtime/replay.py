"""Recorded histories against the code at hand: whether it still asks for what is recorded.

A replay is a worker without a database that drains from its first moment: what is recorded is read, as always; where
the record ends a run is held before its next handler, and handed back when all its branches stand still. Commits go
nowhere, and no handler runs. When the run has been handed back or has ended, everything recorded must have been asked
for, and a run that had ended must end again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeVar, cast

from msgspec import Struct

from holdfast.core.codec import Codec
from holdfast.core.definitions import content_hash
from holdfast.core.failure import read_failure
from holdfast.core.history import History
from holdfast.errors import DefinitionNotFound, HistoryUnreadable, NonDeterminismError, WorkflowNotRegistered
from holdfast.model.commit import CommitAnswer, Compensate, Continue, Finish, Move
from holdfast.model.definition import Definition
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import ClaimedRun
from holdfast.model.status import ACTIVE_STATUSES, RunStatus
from holdfast.runtime.body import begin
from holdfast.runtime.branch import RunBranch
from holdfast.runtime.execution import RunExecution
from holdfast.runtime.services import Services
from holdfast.runtime.source import find_source, source_of
from holdfast.runtime.unread import describe, first_unread
from holdfast.runtime.walk import walk_run
from holdfast.workflow.registry import Registry

SIDE_BY_SIDE: Final = 200
"""How many histories are replayed at once: enough that the event loop's own work is shared."""

T = TypeVar("T")

_STOPPED: Final = frozenset({"deadline_exceeded", "store_error"})
"""Errors that end a run from outside its body: what it would have done next is not recorded."""

_UNUSABLE: Final = frozenset({"decode_error", "encode_error", "payload_error", "usage_error", "duplicate_step_key"})
"""Errors of a body that cannot go on with what is recorded."""


class Parting(Struct, frozen=True, kw_only=True):
    """Where code and history part."""

    run_id: RunId
    workflow: str
    kind: str
    """``changed``: something else is recorded under the key. ``removed``: what is recorded is not asked for.
    ``added``: the run had ended, and the code goes on. ``outcome``: the code ends otherwise."""
    key: str
    """The step, wait or child, by its key in the journal; empty for the run as a whole."""
    recorded: str
    asked: str
    source: str | None
    """The line of the workflow, as ``file:line``."""

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        key = f" at {self.key!r}" if self.key else ""
        return (
            f"run {self.run_id} of {self.workflow!r}{key}{where}: {self.kind}; "
            f"recorded {self.recorded}, but the code asks for {self.asked}"
        )


class ReplayReport(Struct, kw_only=True):
    """What came of a replay."""

    replayed: int = 0
    """Histories that were replayed, those that parted included."""
    partings: list[Parting] = []
    skipped: dict[str, int] = {}
    """Histories that the App cannot execute, by name: it does not register the workflow, or lacks a step of the version
    that the run follows; or the history does not hold that version, and it is none of the App's own."""

    def add(self, other: ReplayReport) -> None:
        """Take in another report."""
        self.replayed += other.replayed
        self.partings.extend(other.partings)
        for name, count in other.skipped.items():
            self.skipped[name] = self.skipped.get(name, 0) + count


class ReplayHost(Struct):
    """A process without a clock, whose threads are those of ``threads`` and whose database never answers."""

    threads: Callable[[Callable[[], Any]], asyncio.Future[Any]]
    name: str = "replay"
    pid: int = 0

    def monotonic_ms(self) -> float:
        """It stands still: no timer comes, and no deadline."""
        return 0.0

    def random(self) -> float:
        """The least one."""
        return 0.0

    def new_id(self) -> NoReturn:
        """Nothing here has an id."""
        raise NotImplementedError

    def call(self, lane: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> NoReturn:
        """There is no database."""
        raise NotImplementedError

    def run_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """For the bodies of plain workflows."""
        return self.threads(function)

    def beat(self, interval_ms: float, heartbeat: Callable[[], object]) -> NoReturn:
        """It has no lease."""
        raise NotImplementedError

    def was_forked(self) -> bool:
        """No handler runs that could."""
        return False


def replay_all(
    registry: Registry,
    histories: Iterable[History],
    threads: Callable[[Callable[[], Any]], asyncio.Future[Any]],
    *,
    codec: Codec | None = None,
) -> ReplayReport:
    """Replay histories on an event loop of their own.

    Raises:
        HistoryUnreadable: one is redacted, or holds another definition than the run's.
        UsageError: a registered function has an annotation that cannot be resolved.
        GraphError: graphs of the App cannot be run.
    """
    return asyncio.run(_Replay.play(registry, histories, ReplayHost(threads=threads), codec or Codec()))


class _InertServices(Services):
    """Those of a worker that may not look into its database."""

    def __init__(self, registry: Registry, store: Any, host: Any, codec: Codec) -> None:
        super().__init__(registry, store, host, codec)
        self._pinned: dict[str, Definition] = {}

    def learn(self, history: History) -> None:
        """Know the version that the history holds. Raises HistoryUnreadable."""
        digest, definition = history.run.definition_hash, history.definition
        if digest is None or definition is None or digest in self._pinned:
            return
        if content_hash(definition) != digest:
            where = f"the history of run {history.run.id}"
            raise HistoryUnreadable(where=where, why="it holds another definition than the one that the run follows")
        self._pinned[digest] = definition

    def definition_of(self, run: ClaimedRun) -> Definition:
        """The App's own version, or the one that a history holds. Raises as everywhere."""
        definition = self._pinned.get(run.definition_hash or "")
        if definition is None:
            return super().definition_of(run)
        missing = self.codes.missing(definition)
        if missing:
            raise DefinitionNotFound(workflow=run.workflow, version=f"{run.version} (lacks {', '.join(missing)})")
        return definition

    async def pin_of_child(self, tenant: Tenant, name: str) -> None:
        """A child that is not recorded is not started either."""


class _Replay:
    """The services of a worker that has no database."""

    def __init__(self, registry: Registry, host: ReplayHost, codec: Codec) -> None:
        self.registry = registry
        self.report = ReplayReport(partings=[], skipped={})
        self.under_way: dict[RunExecution, History | None] = {}
        self.faults: list[RunId] = []
        self.room = asyncio.Event()
        registry.check_graphs()
        registry.learn_errors()
        self.services = services = _InertServices(registry, cast("Any", None), host, codec)
        services.check_types()
        services.committer = cast("Any", self)
        services.listen = lambda _: None
        services.expect = lambda _: None
        services.ended = self._ended
        services.walk = walk_run

    @classmethod
    async def play(
        cls, registry: Registry, histories: Iterable[History], host: ReplayHost, codec: Codec
    ) -> ReplayReport:
        replay = cls(registry, host, codec)
        for history in histories:
            run = claim(history)
            replay.services.learn(history)
            try:
                workflow = replay.services.workflow_of(run)
            except (WorkflowNotRegistered, DefinitionNotFound) as error:
                version = run.version if isinstance(error, WorkflowNotRegistered) else error.version
                name = run.workflow if run.version is None else f"{run.workflow} version {version}"
                replay.report.skipped[name] = replay.report.skipped.get(name, 0) + 1
                continue
            if history.redacted:
                raise HistoryUnreadable(where=f"the history of run {history.run.id}", why="its payloads are redacted")
            replay._begin(history, RunExecution(run, workflow, replay.services))
            await replay._until_fewer(SIDE_BY_SIDE)
        await replay._until_fewer(1)
        if replay.faults:
            raise RuntimeError(f"the engine failed to replay run {replay.faults[0]}")
        replay.report.partings.sort(key=lambda parting: (parting.workflow, parting.run_id))
        return replay.report

    def _begin(self, history: History, execution: RunExecution) -> None:
        execution.draining = True
        self.under_way[execution] = history
        self.report.replayed += 1
        begin(execution)

    async def _until_fewer(self, limit: int) -> None:
        while len(self.under_way) >= limit:
            self.room.clear()
            await self.room.wait()

    def _ended(self, execution: RunExecution) -> None:
        self.under_way.pop(execution, None)
        self.room.set()
        # A run holds its branches, and these their tasks, which hold them: left to the garbage collector, these rings
        # would cost a third of a replay.
        for branch in execution.branches.values():
            branch.task = None
        execution.branches.clear()

    # The committer's part

    def note(self, execution: RunExecution) -> None:
        """What is recorded anew lies behind the end of the record."""

    def submit(self, execution: RunExecution) -> None:
        """Answer that all is durable, and look at how the run leaves."""
        if execution.ending is not None or execution.staged.count == execution.staged.taken:
            return
        commit = execution.take()
        if commit.move is not None and (history := self.under_way.get(execution)) is not None:
            parting = judge(history, execution, commit.move)
            if parting is not None:
                self.report.partings.append(parting)
                # One parting of a run is enough.
                self.under_way[execution] = None
        execution.loop.call_soon(execution.committed, commit, _ANSWER)

    def release(self, execution: RunExecution) -> None:
        """The engine itself failed over this history, and has said so in the log."""
        self.faults.append(execution.run.id)


_ANSWER: Final = CommitAnswer(now_ms=UnixMs(0))


def claim(history: History) -> ClaimedRun:
    """The run as a worker would claim it, from the beginning of its body."""
    run = history.run
    return ClaimedRun(
        id=run.id,
        tenant=run.tenant,
        workflow=run.workflow,
        version=run.version,
        definition_hash=run.definition_hash,
        queue=run.queue,
        status=RunStatus.RUNNING,
        input=run.input,
        error=None,
        key=run.key,
        root_id=run.root_id,
        attempt=run.attempt,
        # Never the first lease, which has nothing to read.
        epoch=run.epoch + 2,
        crashes=0,
        cancel_requested=False,
        created_ms=run.created_ms,
        deadline_ms=run.deadline_ms,
        priority=run.priority,
        journal=history.journal,
        waits=history.waits,
        attempts=history.attempts,
    )


def judge(history: History, execution: RunExecution, move: Move) -> Parting | None:
    """Whether the way in which a replayed run leaves fits its history."""
    if execution.parted is not None:
        return _parted(history, execution.parted)
    if isinstance(move, Compensate):
        return _judge_failure(history, execution, move.error)
    if isinstance(move, Continue):
        return _judge_continuing(history, execution)
    if isinstance(move, Finish):
        if execution.run.status is RunStatus.COMPENSATING:
            return None
        if move.status is RunStatus.COMPLETED:
            return _judge_completion(history, execution)
        return _judge_failure(history, execution, move.error)
    if execution.run.status is RunStatus.COMPENSATING:
        return None
    return _judge_rest(history, execution)


def _parted(history: History, error: NonDeterminismError) -> Parting:
    removed = error.asked == "the end of the workflow without it"
    return _parting(
        history,
        "removed" if removed else "changed",
        key=error.key,
        recorded=error.recorded,
        asked=error.asked,
        source=error.source,
    )


def _judge_rest(history: History, execution: RunExecution) -> Parting | None:
    """All branches stand still before something that is not recorded, or in a wait."""
    run = history.run
    if execution.unread:
        key = first_unread(execution)
        place = _nearest(execution, key)
        return _parting(
            history,
            "removed",
            key=key,
            recorded=describe(execution, key),
            asked=f"{place.last_key!r} before it",
            source=find_source(place),
        )
    if run.status is RunStatus.COMPLETED or (run.status is RunStatus.FAILED and not _was_stopped(history)):
        place = _nearest(execution, "")
        return _parting(
            history,
            "added",
            key=place.last_key,
            recorded=f"the end of the run as {run.status}",
            asked=f"{place.last_key!r}",
            source=find_source(place),
        )
    return None


def _judge_continuing(history: History, execution: RunExecution) -> Parting | None:
    """The code continues as a new run: one that had ended must have done so too."""
    run = history.run
    if run.terminal_reason == "continued" or run.status in ACTIVE_STATUSES or _was_cut_short(history):
        return None
    return _parting(
        history,
        "outcome",
        recorded=f"the end of the run as {run.status}: {run.terminal_reason}",
        asked="to continue as a new run",
        source=source_of(execution.workflow.function),
    )


def _judge_completion(history: History, execution: RunExecution) -> Parting | None:
    if history.run.terminal_reason == "continued":
        return _parting(
            history,
            "outcome",
            recorded="that it continued as a new run",
            asked="the end of the run as completed",
            source=source_of(execution.workflow.function),
        )
    if history.run.status is not RunStatus.FAILED or _was_stopped(history):
        return None
    return _parting(
        history,
        "outcome",
        recorded=f"the failure {read_failure(cast('Json', history.run.error)).summary}",
        asked="the end of the run as completed",
        source=source_of(execution.workflow.function),
    )


def _judge_failure(history: History, execution: RunExecution, error: Json | None) -> Parting | None:
    failure = read_failure(Json(b"null") if error is None else error)
    status = history.run.status
    unusable = failure.code in _UNUSABLE and status in ACTIVE_STATUSES
    if not (execution.unread or unusable or status is RunStatus.COMPLETED):
        return None
    key = first_unread(execution) if execution.unread else ""
    recorded = describe(execution, key) if key else f"a run that is {status}"
    return _parting(
        history,
        "outcome",
        key=key,
        recorded=recorded,
        asked=f"a failure: {failure.summary}",
        source=source_of(execution.workflow.function),
    )


def _was_stopped(history: History) -> bool:
    if history.run.error is None:
        return True
    failure = read_failure(history.run.error)
    # A failed compensation names the error that it followed as its cause.
    return any(each is not None and each.code in _STOPPED for each in (failure, failure.cause))


def _was_cut_short(history: History) -> bool:
    """Whether somebody ended the run, not its body: what that would have done next is not recorded."""
    return history.run.status is not RunStatus.COMPLETED and _was_stopped(history)


def _nearest(execution: RunExecution, key: str) -> RunBranch:
    """The branch that stands where the key would come: the innermost whose scope it has."""
    branches = list(execution.branches.values())
    around = {id(branch.parent) for branch in branches}
    still = [branch for branch in branches if id(branch) not in around] or branches
    return max(still, key=lambda branch: len(branch.scope) if key.startswith(branch.scope) else -1)


def _parting(history: History, kind: str, *, recorded: str, asked: str, source: str | None, key: str = "") -> Parting:
    run = history.run
    return Parting(
        run_id=run.id,
        workflow=run.workflow,
        kind=kind,
        key=key,
        recorded=recorded,
        asked=asked,
        source=source,
    )
