"""Where a run is with each node of its graph: the interpreter, walked over what the run has recorded.

The same interpreter that decides what a run does next is told the recorded outcomes, and nothing else; so what is said
of a node here is what a worker that claims the run will find. No handler is called: what has no record is under way.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from holdfast.core.approvals import read_verdict
from holdfast.core.definitions import GraphError, validate_part
from holdfast.core.expressions import ExpressionTypeError
from holdfast.core.expressions.errors import Site
from holdfast.core.graphs.interpreter import Cancelled, Completed, Failed, Interpreter, Outcome, TimedOut
from holdfast.core.graphs.journal_keys import DONE, branch_key, item_key, iteration_key, part_key
from holdfast.core.graphs.plan import NodePlan, Plan
from holdfast.core.tolerance import failures_allowed
from holdfast.errors import (
    ApprovalTimeout,
    LoopNotDone,
    RunCancelled,
    RunFailed,
    RunStuck,
    SignalTimeout,
    UnknownBranch,
    UsageError,
)
from holdfast.model.definition import (
    ApproveNode,
    CallNode,
    ChildNode,
    Computed,
    Grafted,
    GraftNode,
    LoopNode,
    MapNode,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
    SubgraphNode,
)
from holdfast.model.ids import Json, RunId
from holdfast.model.run import Entry, Run, RunDetail, Wait
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, StepState, WaitOutcome

_NOTHING: Final[dict[str, Any]] = {}


class Standing(Struct, frozen=True):
    """Where a run is with a node."""

    state: StepState | None
    """None if it is purged: it waits for a child whose run is not stored any more."""
    outcome: Outcome | None = None
    """How it ended; None for one that has not, or was passed over."""


class Reader(Struct, frozen=True):
    """How stored payloads become what the interpreter is told."""

    decode: Callable[[Json, str], Any]
    rebuild: Callable[[Json | None], Exception]
    """An exception from its stored form."""


class Record:
    """What a run has recorded, by key."""

    def __init__(self, detail: RunDetail, *, purged: Iterable[RunId] = ()) -> None:
        self.run: Run = detail.run
        self.entries = {entry.key: entry for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION}
        self.waits = {wait.key: wait for wait in detail.waits}
        keys = (*self.entries, *self.waits, *(one.key for one in detail.attempts))
        self.begun = {path for key in keys for path in _paths(key)}
        """The nodes that left a trace, by path (``outer/inner``)."""
        self.open: dict[str, list[Wait]] = {}
        for wait in detail.waits:
            if wait.outcome is None:
                for path in _paths(wait.key):
                    self.open.setdefault(path, []).append(wait)
        self.purged = frozenset(purged)

    def step(self, key: str) -> Entry | None:
        """The row of a step's outcome."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.kind is EntryKind.STEP else None


_PART: Final = re.compile(r"(?<=.)[~#\[]")
"""What follows in a journal key is a part of the node: an iteration, an item, a handler that answers a value."""


def _paths(key: str) -> Iterator[str]:
    """The nodes that a journal key may be about, outermost first."""
    path = ""
    for place in key.split("/"):
        name = _PART.split(place, maxsplit=1)[0]
        path = f"{path}/{name}" if path else name
        yield path
        if name != place:
            return


def standings(plan: Plan, record: Record, reader: Reader, given: Any) -> dict[str, Standing]:
    """Where the run is with each node, by path: ``outer/inner`` in subgraphs and grafts. ``given`` is its input."""
    run = record.run
    facts = {"id": run.id, "workflow": run.workflow, "tenant": run.tenant, "key": run.key, "attempt": run.attempt}
    walk = _Walk(record, reader, Interpreter(plan, input=given, run=facts), "")
    walk.go()
    return dict(_level(walk, record, stopping=False))


def _level(walk: _Walk, record: Record, *, stopping: bool) -> Iterator[tuple[str, Standing]]:
    """Of one level and those below it; ``stopping`` says that a failure further out ends the run."""
    stopping = stopping or walk.interpreter.failed is not None
    for node in walk.interpreter.plan.nodes:
        path = walk.scope + node.key
        standing = _standing(walk, record, node.key, path, stopping=stopping)
        yield path, standing
        if node.key in walk.below:
            yield from _level(walk.below[node.key], record, stopping=stopping)
        elif node.key in walk.interpreter.plan.subplans:
            state = StepState.BLOCKED if standing.state is StepState.BLOCKED else StepState.SKIPPED
            yield from _not_come_to(walk.interpreter.plan.subplans[node.key], f"{path}/", Standing(state))


def _not_come_to(plan: Plan, scope: str, standing: Standing) -> Iterator[tuple[str, Standing]]:
    for node in plan.nodes:
        yield scope + node.key, standing
        if node.key in plan.subplans:
            yield from _not_come_to(plan.subplans[node.key], f"{scope}{node.key}/", standing)


def _standing(walk: _Walk, record: Record, key: str, path: str, *, stopping: bool) -> Standing:
    interpreter = walk.interpreter
    if key in walk.outcomes:
        outcome = walk.outcomes[key]
        return Standing(StepState.COMPLETED if isinstance(outcome, Completed) else StepState.FAILED, outcome)
    if key in interpreter.failures:
        return Standing(StepState.FAILED, interpreter.failures[key])
    if key in interpreter.skipped or key in interpreter.results:
        return Standing(StepState.SKIPPED)
    run = record.run
    over = run.status in TERMINAL_STATUSES and run.status is not RunStatus.STUCK
    waits = record.open.get(path, [])
    if not over and any(wait.child_id in record.purged for wait in waits):
        return Standing(None)
    if over or run.status is RunStatus.COMPENSATING:
        return Standing(StepState.SKIPPED)
    if key not in walk.under_way:
        return Standing(StepState.SKIPPED if stopping else StepState.BLOCKED)
    if waits:
        return Standing(StepState.WAITING)
    if path in record.begun:
        return Standing(StepState.RUNNING)
    return Standing(StepState.SKIPPED if stopping else StepState.READY)


class _UnderWay(Exception):
    """Something that a node does has no outcome yet."""


class _Walk:
    """One level of the graph."""

    def __init__(self, record: Record, reader: Reader, interpreter: Interpreter, scope: str) -> None:
        self.record = record
        self.reader = reader
        self.interpreter = interpreter
        self.scope = scope
        self.outcomes: dict[str, Outcome] = {}
        self.below: dict[str, _Walk] = {}
        """What was walked inside of nodes, by their keys."""
        self.under_way: set[str] = set()

    def go(self) -> None:
        """Tell the interpreter all that is recorded. Failures that end the level come last: others were at work."""
        begun = deque(self.interpreter.begin())
        ending: list[tuple[str, Failed]] = []
        while begun:
            node = begun.popleft()
            outcome = self._outcome(node)
            if outcome is None:
                self.under_way.add(node.key)
                continue
            self.outcomes[node.key] = outcome
            if isinstance(outcome, Failed) and not _goes_on(node, outcome):
                ending.append((node.key, outcome))
            else:
                begun += self.interpreter.ended(node.key, outcome)
        for key, failure in ending:
            self.interpreter.ended(key, failure)

    def _outcome(self, plan: NodePlan) -> Outcome | None:
        try:
            return Completed(self._result(plan, self.scope + plan.key))
        except _UnderWay:
            return None
        except SignalTimeout as error:
            return TimedOut(error) if isinstance(plan.node, SignalNode) else Failed(error)
        except RunCancelled as error:
            return Cancelled(error)
        except Exception as error:  # noqa: BLE001 - whatever is recorded, or an expression raises, ended the node
            return Failed(error)

    def _result(self, plan: NodePlan, key: str) -> Any:
        match plan.node:
            case ParallelNode(branches=branches):
                return self._parallel(plan, key, list(branches))
            case RouteNode() as node:
                return self._route(plan, key, node)
            case LoopNode() as node:
                return self._loop(plan, key, node)
            case MapNode() as node:
                return self._map(plan, key, node)
            case SleepNode(duration_ms=duration):
                return self._sleep(plan, key, duration)
            case SignalNode() as node:
                return self._signal(plan, key, node)
            case ChildNode():
                if key not in self.record.waits:
                    self.interpreter.mapping(plan)
                return self._ended_child(key)
            case SubgraphNode():
                given = self.interpreter.mapping(plan)
                return self._below(
                    key, self.interpreter.plan.subplans[plan.key], self.interpreter.input if given is None else given
                )
            case GraftNode():
                return self._graft(plan, key)
            case ApproveNode():
                return self._approve(key)
            case node:
                return self._call(plan, key, queue=node.queue, undoable=node.compensate is not None)

    # Calls of handlers

    def _call(
        self,
        plan: NodePlan,
        key: str,
        *,
        queue: str | None,
        undoable: bool,
        extra: Mapping[str, Any] = _NOTHING,
        branch: str = "",
    ) -> Any:
        """What a handler answered. Raises its failure, or _UnderWay."""
        entry = self.record.step(key) or (self.record.step(key + DONE) if queue is not None else None)
        if entry is not None:
            return self._recorded(entry)
        if queue is None:
            raise _UnderWay
        if key not in self.record.waits or undoable:
            self.interpreter.mapping(plan, branch, extra)
        try:
            return self._ended_child(key)
        except RunFailed as error:
            # The step's own failure is the run's that it stands in.
            raise (error.__cause__ or error) from error

    def _recorded(self, entry: Entry) -> Any:
        if entry.status is EntryStatus.COMPLETED and entry.result is not None:
            return self.reader.decode(entry.result, f"the result of {entry.key!r}")
        raise self.reader.rebuild(entry.error)

    def _computed(
        self, plan: NodePlan, key: str, what: str, value: Computed, extra: Mapping[str, Any] = _NOTHING
    ) -> Any:
        if value.expression is not None:
            return self.interpreter.value(plan, what, extra)
        return self._call(plan, part_key(key, what), queue=None, undoable=False)

    def _all(self, calls: Iterable[Callable[[], Any]], *, tolerant: bool = False) -> list[Any]:
        """The answers, failures among them as exceptions. Raises the first failure unless tolerant, or _UnderWay."""
        answers: list[Any] = []
        missing = False
        for call in calls:
            try:
                answers.append(call())
            except _UnderWay:
                missing = True
            except Exception as error:  # noqa: BLE001 - a recorded failure
                answers.append(_Failure(error))
        failures = [answer for answer in answers if isinstance(answer, _Failure)]
        if failures and not tolerant:
            # The others are stopped, and what they do is waited for no more.
            raise failures[0].error
        if missing:
            raise _UnderWay
        return answers

    # Kinds

    def _parallel(self, plan: NodePlan, key: str, names: list[str]) -> dict[str, Any]:
        def call(name: str) -> Callable[[], Any]:
            return lambda: self._branch(plan, key, name)

        return dict(zip(names, self._all([call(name) for name in names]), strict=True))

    def _branch(self, plan: NodePlan, key: str, name: str) -> Any:
        node = plan.node
        assert isinstance(node, ParallelNode | RouteNode)
        branch = node.branches[name]
        undoable = branch.compensate is not None
        return self._call(plan, branch_key(key, name), queue=branch.queue, undoable=undoable, branch=name)

    def _route(self, plan: NodePlan, key: str, node: RouteNode) -> dict[str, Any]:
        entry = self.record.entries.get(key)
        if entry is not None and entry.kind is EntryKind.VALUE and entry.result is not None:
            choice = self.reader.decode(entry.result, f"the choice of {key!r}")
        else:
            answer = self._computed(plan, key, "selector", node.selector)
            choice = answer if isinstance(answer, str) and answer in node.branches else node.default
            if choice is None:
                raise UnknownBranch(node=key, answer=repr(answer)[:80], known=", ".join(node.branches))
        return {"branch": choice, "result": self._branch(plan, key, choice)}

    def _loop(self, plan: NodePlan, key: str, node: LoopNode) -> list[Any]:
        results: list[Any] = []
        seen: dict[str, Any] = {"iteration": 1, "result": None}
        undoable = node.compensate is not None
        for number in range(1, node.max_iterations + 2):
            seen["iteration"] = number
            if node.condition is not None and not self._check(plan, key, "condition", seen):
                return results
            if number > node.max_iterations:
                break
            at = iteration_key(key, number)
            results.append(self._call(plan, at, queue=node.queue, undoable=undoable, extra=seen))
            seen = {"iteration": number, "result": results[-1]}
            if node.until is not None and self._check(plan, key, "until", seen):
                return results
        raise LoopNotDone(node=key, iterations=node.max_iterations)

    def _check(self, plan: NodePlan, key: str, what: str, seen: Mapping[str, Any]) -> bool:
        if what in plan.formulas:
            return self.interpreter.truth(plan, what, seen)
        answer = self._call(plan, iteration_key(part_key(key, what), seen["iteration"]), queue=None, undoable=False)
        if not isinstance(answer, bool):
            raise UsageError(f"the {what} of loop {key!r} must answer true or false, not a {type(answer).__name__}")
        return answer

    def _map(self, plan: NodePlan, key: str, node: MapNode) -> list[Any]:
        items: list[Any] = self.interpreter.value(plan, "over")
        if type(items) is not list:
            site = Site(plan.formulas["over"].expression.source, 0)
            raise site.error(ExpressionTypeError, "what a map goes over must be a list")

        def call(index: int, item: Any) -> Callable[[], Any]:
            at, undoable = item_key(key, index), node.compensate is not None
            extra = {"item": item, "index": index}
            return lambda: self._call(plan, at, queue=node.queue, undoable=undoable, extra=extra)

        calls = [call(index, item) for index, item in enumerate(items)]
        answers = self._all(calls, tolerant=node.tolerate is not None)
        failures = [answer for answer in answers if isinstance(answer, _Failure)]
        if len(failures) > failures_allowed(node.tolerate, items=len(answers)):
            raise failures[0].error
        return [None if isinstance(answer, _Failure) else answer for answer in answers]

    def _sleep(self, plan: NodePlan, key: str, duration: int | Computed) -> None:
        if isinstance(duration, Computed):
            answer = self._computed(plan, key, "duration", duration)
            if isinstance(answer, bool) or not isinstance(answer, int | float) or answer < 0:
                raise UsageError(f"the duration of {key!r} must be a number of seconds, not a {type(answer).__name__}")
        self._closed(key)

    def _signal(self, plan: NodePlan, key: str, node: SignalNode) -> Any:
        name = node.signal
        if isinstance(name, Computed):
            name = self._computed(plan, key, "signal", name)
            if not isinstance(name, str):
                raise UsageError(f"the signal of {key!r} must be a name, not a {type(name).__name__}")
        wait = self._closed(key)
        if wait.outcome is WaitOutcome.SIGNALLED and wait.result is not None:
            return self.reader.decode(wait.result, f"the payload of {key!r}")
        raise SignalTimeout(signal=name, timeout_s=None if node.timeout_ms is None else node.timeout_ms / 1000)

    def _approve(self, key: str) -> dict[str, Any]:
        wait = self._closed(key)
        if wait.outcome is not WaitOutcome.ANSWERED or wait.result is None:
            raise ApprovalTimeout(key=key, timeout_s=None)
        verdict = read_verdict(wait.result)
        data = msgspec.json.decode(verdict.data)
        return {"approved": verdict.approved, "by": verdict.by, "data": data, "comment": verdict.comment}

    def _closed(self, key: str) -> Wait:
        """A wait that is closed for a reason of its own. Raises _UnderWay."""
        wait = self.record.waits.get(key)
        if wait is None or wait.outcome in (None, WaitOutcome.CANCELLED):
            raise _UnderWay
        return wait

    def _ended_child(self, key: str) -> Any:
        wait = self._closed(key)
        child = wait.child_id
        match wait.child_status:
            case RunStatus.COMPLETED if wait.result is not None:
                return self.reader.decode(wait.result, f"the result of {key!r}")
            case RunStatus.CANCELLED:
                raise RunCancelled(run_id=child)
            case RunStatus.STUCK:
                raise RunStuck(run_id=child, reason="worker_crashes")
            case _:
                cause = self.reader.rebuild(wait.error)
                raise RunFailed(run_id=child, reason="failed", error=str(cause)) from cause

    # Graphs in graphs

    def _graft(self, plan: NodePlan, key: str) -> dict[str, Any]:
        node = plan.node
        assert isinstance(node, CallNode)
        answer = self._call(plan, key, queue=node.queue, undoable=node.compensate is not None)
        try:
            graft = msgspec.convert(answer, Grafted)
        except msgspec.ValidationError as error:
            raise UsageError(f"the graft {key!r} must answer nodes and edges: {error}") from None
        problems = validate_part(tuple(key.split("/")), graft.nodes, graft.edges)
        if problems:
            raise GraphError.of(key, problems)
        return self._below(key, Plan(graft.nodes, graft.edges), self.interpreter.input)

    def _below(self, key: str, plan: Plan, given: Any) -> dict[str, Any]:
        interpreter = Interpreter(plan, input=given, run=self.interpreter.run)
        walk = self.below[key.removeprefix(self.scope)] = _Walk(self.record, self.reader, interpreter, f"{key}/")
        walk.go()
        if interpreter.failed is not None:
            raise interpreter.failures[interpreter.failed].error
        if walk.under_way:
            raise _UnderWay
        return interpreter.all_results()


class _Failure(Struct, frozen=True):
    """A failure among answers."""

    error: Exception


def _goes_on(node: NodePlan, failure: Failed) -> bool:
    match failure:
        case TimedOut():
            return node.settles_timeout
        case Cancelled():
            return node.settles_cancelled
        case _:
            return node.settles_failed
