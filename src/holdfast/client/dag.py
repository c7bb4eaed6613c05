"""What is known of each step of a graph's run: the one place that answers it, from the run's own record.

The record is the run's row, its definition, its journal and its waits. There is no second table of steps that could
say something else: the interpreter that decides what the run does next is walked over what is recorded
(``core/graphs/standing.py``), and a result is the journaled one. Names are the keys of the definition's outermost
nodes. Every read is of one tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from holdfast.core.closings import step_of
from holdfast.core.codec import Codec
from holdfast.core.failure import ErrorRegistry, read_failure, rebuild
from holdfast.core.graphs import Completed, Plan
from holdfast.core.graphs.standing import Reader, Record, Standing, standings
from holdfast.errors import (
    AlreadyStored,
    DefinitionNotFound,
    LeaseLost,
    NoResult,
    NotADependency,
    StepNotFound,
)
from holdfast.model.commit import RunCommit
from holdfast.model.definition import Definition, StepNode
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import ClaimedRun, Entry, Run, RunDetail
from holdfast.model.status import EntryKind, EntryStatus, StepState
from holdfast.store.port import Store

DefinitionOf = Callable[[Run], Definition | None]
"""How the definition that a run executes is found."""


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
    """The steps of one run as they stood when it was read. Nothing here asks the database again."""

    def __init__(
        self, detail: RunDetail, definition: Definition, reader: Reader, purged: set[RunId], given: Any
    ) -> None:
        self.run = detail.run
        """The run, at that moment."""
        self.definition = definition
        """The graph that it follows."""
        self._reader = reader
        plan = Plan(definition.nodes, definition.edges, definition.options)
        self._record = Record(detail, purged=purged)
        self._sources = {
            node.key: tuple(sorted(plan.nodes[index].key for index in node.sources)) for node in plan.nodes
        }
        self._standings = standings(plan, self._record, reader, given)
        self._leaves = {node.key for node in definition.nodes if isinstance(node, StepNode)}
        self._attempted: dict[str, UnixMs] = {}
        tries = [(one.key, one.started_ms) for one in detail.attempts]
        for key, started_ms in (*tries, *((one.key, one.started_ms) for one in self._record.entries.values())):
            step = step_of(key)
            self._attempted[step] = max(started_ms, self._attempted.get(step, started_ms))

    def completed_step_names(self) -> list[str]:
        """The steps that have completed, by name."""
        return [row.name for row in self.step_states() if row.state is StepState.COMPLETED]

    def step_states(self) -> list[StepRow]:
        """Every step with its state, by name; a purged one is there, with None."""
        return [
            StepRow(
                name=name,
                state=self._standing(name).state,
                attempted_ms=self._attempted.get(name),
                dependencies=self._sources[name],
            )
            for name in sorted(self._sources)
        ]

    def node_states(self) -> dict[str, StepState]:
        """The state of every node, by path: ``outer/inner`` for those of subgraphs, and of grafts that were filled in.

        One that is purged is left out.
        """
        found = {path: standing.state for path, standing in self._standings.items()}
        found |= {name: self._standing(name).state for name in self._sources}
        return {path: state for path, state in found.items() if state is not None}

    def dependency_states(self, names: Sequence[str]) -> list[StepRow]:
        """These steps with their states, by name. One that is purged does not vanish: its state is None.

        Names that are no steps of the run are left out.
        """
        wanted = set(names)
        return [row for row in self.step_states() if row.name in wanted]

    def find_step(self, name: str) -> StepRow | None:
        """The step of that name, or None."""
        return next(iter(self.dependency_states([name])), None)

    def own_result(self, step: str) -> Any:
        """What the step stored on an earlier attempt; a recorded null is a result.

        Raises: NoResult, also if the run has no such step: nothing is recorded, so the step has to be done.
        """
        return self._result(step)

    def result_for(self, step: str) -> Any:
        """The step's result. Raises StepNotFound if there is no such step, NoResult if it has not stored one yet."""
        self._check(step)
        return self._result(step)

    def results_for(self, steps: Sequence[str]) -> dict[str, Any]:
        """The results of these steps, by name; those that have stored none are left out."""
        found = {step: self._outcome(step) for step in steps}
        return {step: outcome.result for step, outcome in found.items() if outcome is not None}

    def read_result(self, step: str, *, of: str) -> Any:
        """A dependency's result, for the step that follows it, and for no other.

        Raises:
            NotADependency: the step does not follow ``of`` directly.
            StepNotFound: there is no step of either name.
            NoResult: it has not stored one yet.
        """
        self._check(step)
        self._check(of)
        if of not in self._sources[step]:
            raise NotADependency(node=step, asked=of, why="no edge leads there; add one")
        return self._result(of)

    def waiting_dependents(self, done: str) -> list[StepRow]:
        """The steps that follow ``done`` and have not begun, with all that they follow: released already, or not."""
        not_begun = (StepState.BLOCKED, StepState.READY)
        return [row for row in self.step_states() if done in row.dependencies and row.state in not_begun]

    def _check(self, step: str) -> None:
        if step not in self._sources:
            raise StepNotFound(run_id=self.run.id, step=step)

    def _standing(self, step: str) -> Standing:
        standing = self._standings[step]
        if standing.outcome is None:
            # A row is the truth about its step, also of one that was stored before what it follows.
            entry = self._record.step(step)
            if entry is not None and entry.status is EntryStatus.FAILED:
                return Standing(StepState.FAILED)
            stored = self._stored(step)
            if stored is not None:
                return Standing(StepState.COMPLETED, stored)
        return standing

    def _stored(self, step: str) -> Completed | None:
        entry = self._record.step(step)
        if entry is None or entry.result is None or step not in self._leaves:
            return None
        return Completed(self._reader.decode(entry.result, f"the result of step {step!r}"))

    def _outcome(self, step: str) -> Completed | None:
        outcome = self._standing(step).outcome if step in self._sources else None
        return outcome if isinstance(outcome, Completed) else None

    def _result(self, step: str) -> Any:
        outcome = self._outcome(step)
        if outcome is None:
            state = self._standing(step).state if step in self._sources else None
            raise NoResult(run_id=self.run.id, step=step, state=state or "not there")
        return outcome.result


class Dags:
    """The steps of a tenant's runs. Blocking; a ``read`` is one read of the run's record.

    Args:
        store: the database.
        tenant: whose runs.
        codec: how payloads are stored.
        errors: the exception types that recorded failures may become.
        definition_of: how a run's definition is found; by default the stored version that the run is pinned to.
    """

    def __init__(
        self,
        store: Store,
        tenant: Tenant,
        *,
        codec: Codec | None = None,
        errors: ErrorRegistry | None = None,
        definition_of: DefinitionOf | None = None,
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._codec = codec or Codec()
        self._errors = errors or ErrorRegistry()
        self._definition_of = definition_of or self._stored

    def read(self, run_id: RunId) -> Dag:
        """The steps of a run. Raises RunNotFound; DefinitionNotFound if it follows no definition that is stored."""
        detail = self._store.read_detail(self._tenant, run_id)
        definition = self._definition_of(detail.run)
        if definition is None:
            raise DefinitionNotFound(workflow=detail.run.workflow, version=detail.run.definition_hash)
        children = sorted({wait.child_id for wait in detail.waits if wait.child_id is not None and not wait.outcome})
        known = {run.id for run in self._store.get_runs(self._tenant, children)} if children else set[RunId]()
        args, kwargs = self._codec.arguments_decoder(_graph)(detail.run.input, f"the input of run {run_id}")
        reader = Reader(self._codec.decoder(Any), self._rebuild)
        return Dag(
            detail, definition, reader, {child for child in children if child not in known}, _graph(*args, **kwargs)
        )

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

    def _rebuild(self, error: Json | None) -> Exception:
        return rebuild(read_failure(Json(b"null") if error is None else error), self._errors)

    def _stored(self, run: Run) -> Definition | None:
        if run.definition_hash is None:
            return None
        from holdfast.store.catalog import Catalog

        found = Catalog(self._store).find(self._tenant, run.workflow, digest=run.definition_hash)
        return None if found is None else found.definition


def _graph(input: Any = None) -> Any:  # noqa: A002 - the document's word
    """What a graph is called with: its input."""
    return input
