"""What is known of each step of a graph's run: the one place that answers it, from the run's own record.

The record is the run's row, its definition, its journal and its waits. There is no second table of steps that could
say something else: a step is completed because its outcome is journaled, and its result is the journaled one. Names
are the keys of the definition's outermost nodes. Every read is of one tenant.

A loop, map, route, subgraph or graft has rows for its parts alone: it is completed once what follows it has begun, or
the run has completed. All other kinds are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from holdfast.core.codec import Codec
from holdfast.errors import Conflict, DefinitionNotFound, LeaseLost, NotFound, UsageError
from holdfast.model.commit import RunCommit
from holdfast.model.definition import ApproveNode, ChildNode, Definition, Node, ParallelNode, SignalNode, SleepNode
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import ClaimedRun, Entry, Run, RunDetail, Wait
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store.catalog import Catalog
from holdfast.store.port import Store

DefinitionOf = Callable[[Run], Definition | None]
"""How the definition that a run executes is found."""

_WAITED: Final = (SleepNode, SignalNode, ApproveNode)


class StepNotFound(NotFound):
    """The run's graph has no step of that name."""

    code = "step_not_found"
    template = "the graph of run {run_id} has no step {step!r}"


class NoResult(NotFound):
    """The step has stored no result: it has not completed yet, or it never will."""

    code = "no_result"
    template = "step {step!r} of run {run_id} has stored no result (it is {state})"


class NotADependency(UsageError):
    """A step asked for the result of one that it does not follow."""

    code = "not_a_dependency"
    template = "step {step!r} may not read the result of {of!r}, which it does not follow; add an edge between them"


class AlreadyStored(Conflict):
    """The journal holds another outcome of the step: it is written once."""

    code = "already_stored"
    template = "step {step!r} of run {run_id} has a recorded outcome already: {why}"


class StepState(StrEnum):
    """Where a step is."""

    BLOCKED = "blocked"
    """Something that it follows is not decided yet, or it is about to begin."""
    RUNNING = "running"
    """It has begun, as far as the record tells: an attempt failed, or a part of it is recorded."""
    WAITING = "waiting"
    """It waits durably: for a time, a signal, a person, a child, or its next attempt."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The run ended before it did."""


class StepRow(Struct, frozen=True, kw_only=True):
    """A step, and where it is."""

    name: str
    state: StepState | None
    """None if it is purged: it waits for a child whose run is not stored any more."""
    attempted_ms: UnixMs | None = None
    """When its last recorded attempt began; None before the first ended."""
    dependencies: tuple[str, ...] = ()
    """What it follows."""


class Dag:
    """The steps of a tenant's runs. Blocking; each method is one read, but ``store_result``, which is one commit.

    Args:
        definition_of: how a run's definition is found; by default the stored version that the run is pinned to.
    """

    def __init__(
        self, store: Store, tenant: Tenant, *, codec: Codec | None = None, definition_of: DefinitionOf | None = None
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._codec = codec or Codec()
        self._definition_of = definition_of or self._stored

    def completed_step_names(self, run_id: RunId) -> list[str]:
        """The steps that have completed, by name. Raises RunNotFound, DefinitionNotFound, as all of these."""
        return [row.name for row in self.step_states(run_id) if row.state is StepState.COMPLETED]

    def step_states(self, run_id: RunId) -> list[StepRow]:
        """Every step with its state, by name; a purged one is there, with None."""
        return self._read(run_id).rows()

    def dependency_states(self, run_id: RunId, names: Sequence[str]) -> list[StepRow]:
        """These steps of the run with their states, by name. One that is purged does not vanish: its state is None.

        Names that are no steps of the run are left out.
        """
        wanted = set(names)
        return [row for row in self._read(run_id).rows() if row.name in wanted]

    def find_step(self, run_id: RunId, name: str) -> StepRow | None:
        """The step of that name, or None."""
        return next(iter(self.dependency_states(run_id, [name])), None)

    def own_result(self, run_id: RunId, step: str) -> Any:
        """What the step stored on an earlier attempt; a recorded null is a result.

        Raises: NoResult, also if the run has no such step: nothing is recorded, so the step has to be done.
        """
        record = self._read(run_id)
        return self._result(record, step)

    def result_for(self, run_id: RunId, step: str) -> Any:
        """The step's result. Raises StepNotFound if there is no such step, NoResult if it has not stored one yet."""
        record = self._read(run_id)
        if step not in record.nodes:
            raise StepNotFound(run_id=run_id, step=step)
        return self._result(record, step)

    def results_for(self, run_id: RunId, steps: Sequence[str]) -> dict[str, Any]:
        """The results of these steps, by name; those that have stored none are left out."""
        record = self._read(run_id)
        return {step: self._result(record, step) for step in steps if record.result_of(step) is not None}

    def read_result(self, run_id: RunId, step: str, *, of: str) -> Any:
        """A dependency's result, for the step that follows it, and for no other.

        Raises:
            NotADependency: the step does not follow ``of`` directly.
            StepNotFound: there is no step of either name. NoResult: it has not stored one yet.
        """
        record = self._read(run_id)
        for name in (step, of):
            if name not in record.nodes:
                raise StepNotFound(run_id=run_id, step=name)
        if of not in record.sources[step]:
            raise NotADependency(run_id=run_id, step=step, of=of)
        return self._result(record, of)

    def waiting_dependents(self, run_id: RunId, done: str) -> list[StepRow]:
        """The steps that follow ``done`` and have not begun, with all that they follow."""
        return [row for row in self.step_states(run_id) if done in row.dependencies and row.state is StepState.BLOCKED]

    def store_result(self, run: ClaimedRun, step: str, result: Any, *, started_ms: UnixMs) -> None:
        """Journal a step's result for a run that a worker holds, fenced by its epoch.

        Raises: LeaseLost if the run is held by another; AlreadyStored if the step has an outcome; EncodeError,
        PayloadTooLarge; CommitUnknown if it may have been stored: ``own_result`` tells.
        """
        payload = self._codec.encode(result, f"the result of step {step!r}")
        [progress] = self._store.read_progress([run.id]).values()
        entry = Entry(
            key=step,
            seq=progress.seq + 1,
            kind=EntryKind.STEP,
            name=step,
            status=EntryStatus.COMPLETED,
            result=payload,
            epoch=run.epoch,
            started_ms=started_ms,
            completed_ms=self._store.read_clock(),
        )
        answer = self._store.commit([RunCommit(run_id=run.id, epoch=run.epoch, entries=[entry])])
        if run.id in answer.refused:
            raise LeaseLost(run_id=run.id, epoch=run.epoch)
        if run.id in answer.broken:
            raise AlreadyStored(run_id=run.id, step=step, why=answer.broken[run.id])

    def _result(self, record: _Record, step: str) -> Any:
        entry = record.result_of(step)
        if entry is None or entry.result is None:
            state = record.state(step) if step in record.nodes else None
            raise NoResult(run_id=record.detail.run.id, step=step, state=state or "not there")
        return self._codec.decoder(Any)(entry.result, f"the result of step {step!r}")

    def _read(self, run_id: RunId) -> _Record:
        detail = self._store.read_detail(self._tenant, run_id)
        definition = self._definition_of(detail.run)
        if definition is None:
            raise DefinitionNotFound(workflow=detail.run.workflow, version=detail.run.definition_hash)
        children = sorted({wait.child_id for wait in detail.waits if wait.child_id is not None and not wait.outcome})
        known = {run.id for run in self._store.get_runs(self._tenant, children)} if children else set[RunId]()
        return _Record(detail, definition, {child for child in children if child not in known})

    def _stored(self, run: Run) -> Definition | None:
        if run.definition_hash is None:
            return None
        found = Catalog(self._store).find(self._tenant, run.workflow, digest=run.definition_hash)
        return None if found is None else found.definition


class _Record:
    """A run's record, by step."""

    def __init__(self, detail: RunDetail, definition: Definition, purged: set[RunId]) -> None:
        self.detail = detail
        self.nodes: dict[str, Node] = {node.key: node for node in definition.nodes}
        self.sources: dict[str, list[str]] = {key: [] for key in self.nodes}
        self.targets: dict[str, list[str]] = {key: [] for key in self.nodes}
        for edge in definition.edges:
            if edge.source in self.nodes and edge.target in self.nodes:
                self.sources[edge.target].append(edge.source)
                self.targets[edge.source].append(edge.target)
        self._purged = purged
        self._entries = {entry.key: entry for entry in detail.journal if entry.kind is not EntryKind.COMPENSATION}
        self._waits = {wait.key: wait for wait in detail.waits}
        self._begun = {_step_of(key) for key in (*self._entries, *self._waits, *(one.key for one in detail.attempts))}
        self._open = {_step_of(wait.key): wait for wait in detail.waits if wait.outcome is None}

    def rows(self) -> list[StepRow]:
        """Every step, by name."""
        attempted: dict[str, UnixMs] = {}
        tries = [(one.key, one.started_ms) for one in self.detail.attempts]
        for key, started_ms in (*tries, *((one.key, one.started_ms) for one in self._entries.values())):
            step = _step_of(key)
            attempted[step] = max(started_ms, attempted.get(step, started_ms))
        return [
            StepRow(
                name=name,
                state=self.state(name),
                attempted_ms=attempted.get(name),
                dependencies=tuple(sorted(self.sources[name])),
            )
            for name in sorted(self.nodes)
        ]

    def result_of(self, step: str) -> Entry | None:
        """The row that holds the step's result, if it completed."""
        entry = self._entries.get(step)
        return entry if entry is not None and entry.status is EntryStatus.COMPLETED and self._is_own(step) else None

    def state(self, step: str) -> StepState | None:
        """Where the step is; None if it is purged."""
        entry = self._entries.get(step)
        if entry is not None and self._is_own(step):
            return StepState.COMPLETED if entry.status is EntryStatus.COMPLETED else StepState.FAILED
        wait = self._open.get(step)
        if wait is not None:
            return None if wait.child_id in self._purged else StepState.WAITING
        ended = self._ended(step)
        if ended is not None:
            return ended
        if self.detail.run.status in TERMINAL_STATUSES:
            return StepState.SKIPPED
        return StepState.RUNNING if step in self._begun else StepState.BLOCKED

    def _is_own(self, step: str) -> bool:
        """Whether the row under the step's name is its outcome: of a part of it, such as a choice, it is not."""
        return self._entries[step].kind in (EntryKind.STEP, EntryKind.CHILD)

    def _ended(self, step: str) -> StepState | None:
        """How a step ended that leaves no row of its own: by its wait, by its parts, or because the walk went on."""
        node, wait = self.nodes[step], self._waits.get(step)
        if wait is not None and isinstance(node, (*_WAITED, ChildNode)):
            return _by_wait(node, wait)
        if isinstance(node, ParallelNode):
            parts = [self._entries.get(f"{step}/{branch}") for branch in node.branches]
            if any(part is not None and part.status is EntryStatus.FAILED for part in parts):
                return StepState.FAILED
            return StepState.COMPLETED if all(part is not None for part in parts) else None
        went_on = self.detail.run.status is RunStatus.COMPLETED or any(
            target in self._begun for target in self.targets[step]
        )
        return StepState.COMPLETED if step in self._begun and went_on and not isinstance(node, _WAITED) else None


def _by_wait(node: Node, wait: Wait) -> StepState | None:
    match wait.outcome:
        case WaitOutcome.ELAPSED:
            return (
                StepState.COMPLETED if isinstance(node, SleepNode) and wait.kind is WaitKind.TIMER else StepState.FAILED
            )
        case WaitOutcome.CHILD_ENDED:
            return StepState.COMPLETED if wait.child_status is RunStatus.COMPLETED else StepState.FAILED
        case WaitOutcome.CANCELLED:
            return StepState.FAILED
        case None:
            return None
        case _:
            return StepState.COMPLETED


def _step_of(journal_key: str) -> str:
    """The outermost node that a journal or wait key belongs to."""
    places = [place for place in (journal_key.find(mark) for mark in "/#~[") if place > 0]
    return journal_key[: min(places)] if places else journal_key
