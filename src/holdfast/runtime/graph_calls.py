"""One call of a handler by a graph's node: a step of the run, or a run of its own in another line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.graphs import NodePlan
from holdfast.core.graphs.journal_keys import DONE
from holdfast.errors import NodeResultMissing, NotADependency, RunFailed
from holdfast.model.definition import CallPolicy
from holdfast.model.ids import Json
from holdfast.model.run import Entry
from holdfast.model.status import EntryKind, EntryStatus, RunStatus
from holdfast.runtime.attempts import Call, execute_step, recorded_outcome
from holdfast.workflow.context import ChildOptions
from holdfast.workflow.node import NODE, NodeInfo
from holdfast.workflow.queued_step import QUEUED_STEP

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.graph_nodes import Nodes
    from holdfast.runtime.graph_program import PreparedCall

_NOTHING: Final[dict[str, Any]] = {}


class GraphCall:
    """See the module's docstring."""

    __slots__ = ("call", "extra", "key", "mapping", "nodes", "plan")

    def __init__(
        self,
        nodes: Nodes,
        plan: NodePlan,
        call: PreparedCall,
        key: str,
        *,
        mapping: str | None = "",
        extra: Mapping[str, Any] = _NOTHING,
    ) -> None:
        self.nodes = nodes
        self.plan = plan
        self.call = call
        self.key = key
        self.mapping = mapping
        self.extra = extra

    async def run(self, branch: RunBranch) -> Any:
        """The handler's result, as JSON; recorded, or executed now."""
        if self.call.place.queue is not None:
            return await self._run_queued(branch, self.call.place.queue)
        execution, step = branch.execution, self.call.step
        key = branch.next_key(step.name, self.key)
        if execution.replaying:
            branch.enter()
            entry = branch.recorded(key, EntryKind.STEP, step.name)
            if entry is not None:
                return self._outcome_of(branch, entry)
        try:
            args, kwargs = self._typed_arguments(branch)
        except Exception as error:
            self._record_failure(branch, error)
            raise
        token = NODE.set(_Info(self))
        try:
            result = await execute_step(branch, step, key, args, kwargs)
        finally:
            NODE.reset(token)
        kept = self.call.kept
        if kept is None:
            kept = self.call.kept = execution.services.scalars_kept_by(step)
        if type(result) in kept:
            return result
        return self._outcome_of(branch, execution.journal[key])

    def recorded_outcome(self, branch: RunBranch) -> tuple[Any] | BaseException | None:
        """The result in a tuple, or the failure, if it is recorded; None if there is something left to do."""
        execution = branch.execution
        if not execution.replaying:
            return None
        queued = self.call.place.queue is not None
        entry = execution.journal.get(self.key + DONE if queued else self.key)
        wait = execution.waits.get(self.key)
        if entry is None and (not queued or wait is None or wait.child_status is not RunStatus.COMPLETED):
            return None
        if entry is None and self.call.step.compensation is not None:
            return None
        execution.unread -= {self.key, self.key + DONE}
        if entry is None:
            assert wait is not None
            return (self._plain(branch, wait.result),)
        branch.recorded(entry.key, EntryKind.STEP, self.call.step.name)
        try:
            return (self._outcome_of(branch, entry),)
        except Exception as error:  # noqa: BLE001 - the recorded failure
            return error

    # Arguments

    def _arguments(self) -> dict[str, Any]:
        nodes, given = self.nodes, self.call.given
        if self.call.plain is not None and not self.extra:
            results, arguments = nodes.interpreter.results, dict[str, Any]()
            for name, node in self.call.plain:
                if node is None:
                    arguments[name] = nodes.interpreter.input
                elif node in results:
                    arguments[name] = results[node]
                else:
                    break
            else:
                return arguments
        if given is not None:
            return nodes.values_of(self.plan, given, self.extra)
        mapped = None if self.mapping is None else nodes.interpreter.mapping(self.plan, self.mapping, self.extra)
        return mapped or {}

    def _typed_arguments(self, branch: RunBranch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        arguments = self._arguments()
        if not arguments:
            return (), {}
        read = self.call.read
        if read is None:
            read = self.call.read = branch.execution.services.arguments_reader_of(self.call.step)
        return read(arguments)

    def _record_failure(self, branch: RunBranch, error: Exception) -> None:
        """The handler was never called; the journal says why."""
        execution = branch.execution
        stored = execution.services.record_failure(error, retryable=False)
        call = Call(branch, self.call.step, self.key, (), {})
        now_ms = execution.services.now_ms()
        execution.stage_entry(call.entry(EntryStatus.FAILED, attempts=1, started_ms=now_ms, error=stored))

    # Outcomes

    def _outcome_of(self, branch: RunBranch, entry: Entry) -> Any:
        return recorded_outcome(branch.execution.services, entry, branch.execution.services.plain)

    def _plain(self, branch: RunBranch, result: Json | None) -> Any:
        stored = Json(b'{"value":null}') if result is None else result
        return branch.execution.services.plain(stored, f"the result of {self.key!r}")

    # A run of its own

    async def _run_queued(self, branch: RunBranch, queue: str) -> Any:
        execution, step, place = branch.execution, self.call.step, self.call.place
        services = execution.services
        undoable = step.compensation is not None
        done = self.key + DONE
        branch.enter()
        entry = branch.recorded(done, EntryKind.STEP, step.name) if undoable and execution.replaying else None
        if entry is not None:
            execution.unread -= {self.key, done}
            return self._outcome_of(branch, entry)
        arguments = {} if self.key in execution.waits and not undoable else self._arguments()
        workflow = services.registry.find_workflow(QUEUED_STEP + step.name)
        # What it does is known, and can be undone, only when it has ended.
        branch.finishing = undoable
        try:
            result = await branch.run_child(
                workflow,
                (arguments, *_given(place.policy)),
                {},
                options=ChildOptions(key=self.key, queue=queue),
            )
        except RunFailed as error:
            cause = error.__cause__
            raise (cause if isinstance(cause, Exception) else error) from error
        finally:
            branch.finishing = False
        if undoable:
            self._record_done(branch, done, arguments)
        return result

    def _record_done(self, branch: RunBranch, done: str, arguments: dict[str, Any]) -> None:
        execution = branch.execution
        step, services = self.call.step, execution.services
        args, kwargs = services.split_arguments(step, arguments)
        call = Call(branch, step, branch.next_key(step.name, done), args, kwargs)
        call.input = services.codec.encode_arguments(args, kwargs, f"the arguments of step {step.name!r}")
        wait = execution.waits[self.key]
        execution.stage_entry(
            call.entry(EntryStatus.COMPLETED, attempts=1, started_ms=services.now_ms(), result=wait.result)
        )


class _Info(NodeInfo):
    """See NodeInfo."""

    __slots__ = ("_call",)

    def __init__(self, call: GraphCall) -> None:
        self._call = call

    @property
    def key(self) -> str:
        """See NodeInfo."""
        return self._call.nodes.scope + self._call.plan.key

    @property
    def input(self) -> Any:
        """See NodeInfo."""
        return self._call.nodes.interpreter.input

    def result(self, key: str) -> Any:
        """See NodeInfo."""
        self._check(key)
        call, interpreter = self._call, self._call.nodes.interpreter
        result = interpreter.result_seen_by(call.plan, key, _MISSING)
        if result is _MISSING:
            raise NodeResultMissing(node=key, why="failed" if key in interpreter.failures else "was skipped")
        return result

    def error(self, key: str) -> Exception | None:
        """See NodeInfo."""
        self._check(key)
        failure = self._call.nodes.interpreter.failures.get(key)
        return None if failure is None else failure.error

    def _check(self, key: str) -> None:
        call = self._call
        if not call.nodes.interpreter.plan.comes_after(call.plan, key):
            why = "it does not come after it: let it, with after=[...] or an edge"
            raise NotADependency(node=call.plan.key, asked=key, why=why)


_MISSING: Final = object()


def _given(policy: CallPolicy) -> list[Any]:
    """A document's options, as the arguments of a run whose whole work is the step."""
    return [policy.retry, policy.timeout_ms, *([] if policy.breaker is None else [policy.breaker])]
