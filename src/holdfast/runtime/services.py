"""What every run of a worker shares: registry, codec, clock estimate, committer."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.core.annotations import type_hints
from holdfast.core.codec import Codec
from holdfast.core.failure import Failure, read_failure, rebuild, record_failure
from holdfast.errors import PASSING, StoreBusy, StoreUnavailable
from holdfast.model.ids import Json, Tenant, UnixMs
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.codes import Codes
from holdfast.runtime.graph_program import GraphProgram, program_of
from holdfast.runtime.pins import Pin, Pins
from holdfast.workflow.graph import stored_graph
from holdfast.workflow.graph_calls import step_signature

if TYPE_CHECKING:
    from holdfast.model.commit import RunCommit
    from holdfast.model.definition import Definition
    from holdfast.model.run import ClaimedRun
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.breakers import Breakers
    from holdfast.runtime.committer import Committer
    from holdfast.runtime.execution import RunExecution
    from holdfast.runtime.host import Host
    from holdfast.store.port import Store
    from holdfast.workflow.registry import Registry
    from holdfast.workflow.step import Step
    from holdfast.workflow.workflow import Workflow

logger = logging.getLogger("holdfast.worker")

PROGRAMS_MAX = 256
"""How many definitions are kept ready at once."""

T = TypeVar("T")
Decode = Callable[[Json, str], Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
DecodeArguments = Callable[[Json, str], Arguments]
ReadArguments = Callable[[dict[str, Any]], Arguments]


class Services:
    """See the module's docstring."""

    committer: Committer
    breakers: Breakers
    listen: Callable[[RunExecution], None]
    ended: Callable[[RunExecution], None]
    has_room: Callable[[], bool]
    expect: Callable[[UnixMs], None]
    walk: Callable[[RunBranch, Any], Coroutine[Any, Any, dict[str, Any]]]

    def __init__(self, registry: Registry, store: Store, host: Host, codec: Codec) -> None:
        self.registry = registry
        self.store = store
        self.host = host
        self.codec = codec
        self.codes = Codes(registry)
        self.pins = Pins(store)
        self.loop = asyncio.get_running_loop()
        self._offset_ms = 0.0
        self._step_results: dict[str, Decode] = {}
        self._readers: dict[Callable[..., Any], ReadArguments] = {}
        self._workflow_arguments: dict[Callable[..., Any], DecodeArguments] = {}
        self._monotonic_ms = host.monotonic_ms
        self.plain = codec.decoder(Any)
        """Reads a result as expressions see it."""
        self._programs: dict[tuple[str, str | None], GraphProgram] = {}

    # Time

    def now_ms(self) -> UnixMs:
        """The database's time, as far as we know: never ahead of it but for the drift since its last answer."""
        return UnixMs(int(self._monotonic_ms() + self._offset_ms))

    def learn_time(self, now_ms: UnixMs) -> None:
        """The database said what time it is."""
        self._offset_ms = now_ms - self._monotonic_ms()

    # Types

    def check_types(self) -> None:
        """Look at every registered function's annotations now, rather than in the middle of a run.

        Raises:
            UsageError: one cannot be resolved, or no value of that type can be stored.
        """
        for workflow in map(self.registry.find_workflow, self.registry.workflow_names):
            self.arguments_of(workflow)
            self.result_of(workflow)
        for name in self.registry.step_names:
            step = self.registry.find_step(name)
            assert step is not None
            self.step_result_of(step)
            if step.compensation is not None:
                self.step_arguments_of(step)

    def arguments_of(self, workflow: Workflow[Any, Any]) -> DecodeArguments:
        """Decodes a workflow's input."""
        decode = self._workflow_arguments.get(workflow.function)
        if decode is None:
            decode = self._workflow_arguments[workflow.function] = self.codec.arguments_decoder(workflow.function)
        return decode

    def result_of(self, workflow: Workflow[Any, Any]) -> Decode:
        """Decodes a workflow's result."""
        return self.codec.decoder(workflow.result_type)

    def step_result_of(self, step: Step[Any, Any]) -> Decode:
        """Decodes a step's result."""
        decode = self._step_results.get(step.name)
        if decode is None:
            hints = type_hints(step.function)
            decode = self._step_results[step.name] = self.codec.decoder(hints.get("return", Any))
        return decode

    def step_arguments_of(self, step: Step[Any, Any]) -> DecodeArguments:
        """Decodes a step's recorded arguments."""
        return self.codec.arguments_decoder(self.call_signature_of(step))

    def call_signature_of(self, step: Step[Any, Any]) -> Callable[..., Any]:
        """A function with the parameters that callers of the step pass: without a transactional step's connection."""
        if step.wants is None:
            return step.function
        signature = inspect.signature(step.function)
        parameters = list(signature.parameters.values())[1:]
        hints = type_hints(step.function)

        def call(*args: Any, **kwargs: Any) -> None:
            """Only its signature is used."""

        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as inspect documents
        call.__annotations__ = {p.name: hints[p.name] for p in parameters if p.name in hints}
        return call

    def scalars_kept_by(self, step: Step[Any, Any]) -> frozenset[type]:
        """The types of the step's results that are the same as plain JSON."""
        return self.codec.scalars_kept(type_hints(step.function).get("return", Any))

    def arguments_reader_of(self, step: Step[Any, Any]) -> ReadArguments:
        """Reads JSON values by parameter as the step's function declares them. It raises DecodeError."""
        known = self._readers.get(step.function)
        if known is not None:
            return known
        read = self.codec.arguments_reader(self.call_signature_of(step))
        where = f"the arguments of step {step.name!r}"
        if self._positional_of(step):
            reader: ReadArguments = lambda arguments: read(*self.split_arguments(step, arguments), where)  # noqa: E731
        else:
            reader = lambda arguments: read((), arguments, where)  # noqa: E731
        self._readers[step.function] = reader
        return reader

    def split_arguments(
        self, step: Step[Any, Any], arguments: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments by parameter, as a call: those that cannot be passed by name come first."""
        names = self._positional_of(step)
        args = tuple(arguments[name] for name in names if name in arguments)
        return args, {name: value for name, value in arguments.items() if name not in names}

    def _positional_of(self, step: Step[Any, Any]) -> tuple[str, ...]:
        return tuple(one.name for one in step_signature(step).parameters if one.positional)

    # Graphs

    def definition_of(self, run: ClaimedRun) -> Definition:
        """The definition that a run follows to its end. Raises WorkflowNotRegistered, DefinitionNotFound."""
        return self.codes.definition_of(run)

    def workflow_of(self, run: ClaimedRun) -> Workflow[Any, Any]:
        """What executes a run. Raises as ``definition_of``."""
        if run.definition_hash is None:
            return self.registry.find_workflow(run.workflow)
        return stored_graph(run.workflow, self.definition_of(run).options)

    async def pin_of_child(self, tenant: Tenant, name: str) -> Pin | None:
        """The version that a child is to follow, None for a function workflow: see ``runtime.pins``.

        Raises: ReleaseNotFound if this program does not know the name, and no stored version of it is live.
        """
        graph = self.registry.find_graph(name)
        if graph is not None:
            definition = graph.build()
            known = self.pins.remembered(tenant, definition)
            return known or await self.until_repeated(lambda: self.host.call("keep", self.pins.own, tenant, definition))
        if self.registry.knows_workflow(name):
            return None
        return await self.until_available(lambda: self.host.call("keep", self.pins.named, tenant, name))

    def program_of(self, run: ClaimedRun) -> GraphProgram:
        """The definition that a run follows, made ready."""
        key = (run.workflow, run.definition_hash)
        known = self._programs.get(key)
        if known is None:
            if len(self._programs) >= PROGRAMS_MAX:
                del self._programs[next(iter(self._programs))]
            known = self._programs[key] = program_of(self.definition_of(run), self.registry)
        return known

    # Errors

    def record_failure(self, error: BaseException, *, retryable: bool) -> Json:
        """The stored form of an error."""
        return record_failure(error, retryable=retryable)

    def read_failure(self, stored: Json | None) -> Failure:
        """The stored error."""
        return read_failure(Json(b"null") if stored is None else stored)

    def rebuild(self, failure: Failure, *, step: str | None = None) -> Exception:
        """The exception that a stored error stands for; ``step`` marks it as a step's failure."""
        error = rebuild(failure, self.registry.errors)
        if step is not None:
            # An exception class with slots takes no mark; the run's terminal reason is then the general one.
            with contextlib.suppress(AttributeError):
                error.__holdfast_step__ = step  # type: ignore[attr-defined]  # a mark on a foreign object
        return error

    # The database, when it does not answer

    async def until_available(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call that may be repeated until the database answers."""
        backoff = Backoff(self.host.random)
        while True:
            try:
                return await call()
            except (StoreUnavailable, StoreBusy) as error:
                logger.warning("%s; trying again", error)
                await asyncio.sleep(backoff.next_s())

    async def until_repeated(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until it is known to have been done; only for one that does nothing the second time."""
        backoff = Backoff(self.host.random)
        while True:
            try:
                return await call()
            except PASSING as error:
                logger.warning("%s; trying again", error)
                await asyncio.sleep(backoff.next_s())

    async def has_rows(self, execution: RunExecution, commit: RunCommit) -> bool:
        """Whether an unknown commit recorded its entries and waits.

        The order of events alone does not tell: a transactional step in another branch takes part in it.
        """
        run = execution.run
        detail = await self.until_available(lambda: self.host.call("keep", self.store.read_detail, run.tenant, run.id))
        entries = {entry.key for entry in detail.journal if entry.epoch == execution.epoch}
        waits = {wait.key for wait in detail.waits}
        return all(entry.key in entries for entry in commit.entries) and all(wait.key in waits for wait in commit.waits)

    def hand_back(self, execution: RunExecution) -> None:
        """Let go of a run that the engine itself failed to execute."""
        self.committer.release(execution)
