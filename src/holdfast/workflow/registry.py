"""The registry: what one program's workflows and steps are called.

``holdfast.App`` is this registry together with the database that its runs live in.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from holdfast.core.breakers import Breaker
from holdfast.core.definitions import DefinitionError, GraphError, Problem
from holdfast.core.expressions import ExpressionError
from holdfast.core.failure import ErrorRegistry
from holdfast.core.names import check_name
from holdfast.core.retry import Retry
from holdfast.core.schedules import check_schedule_name
from holdfast.errors import DuplicateName, UsageError, WorkflowNotRegistered
from holdfast.model.definition import Options
from holdfast.model.ids import DEFAULT_QUEUE
from holdfast.workflow.duration import milliseconds, optional_seconds, seconds
from holdfast.workflow.graph import Graph
from holdfast.workflow.queued_step import QUEUED_STEP, queued_step
from holdfast.workflow.schedule import Declared, Schedule, as_schedule, check_call
from holdfast.workflow.step import (
    AsyncStep,
    AsyncTransaction,
    PlainStep,
    PlainTransaction,
    Step,
    StepOptions,
    connection_class,
)
from holdfast.workflow.workflow import AsyncWorkflow, PlainWorkflow, Workflow, WorkflowOptions

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
E = TypeVar("E", bound=type[Exception])


class StepDecorator(Protocol):
    """What ``@app.step(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncStep[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> PlainStep[P, R]: ...


class TransactionDecorator(Protocol):
    """What ``@app.transaction(...)`` returns."""

    @overload
    def __call__(self, function: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /) -> AsyncTransaction[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[Concatenate[C, P], R], /) -> PlainTransaction[P, R]: ...


class WorkflowDecorator(Protocol):
    """What ``@app.workflow(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncWorkflow[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> PlainWorkflow[P, R]: ...


class Registry:
    """Workflows, steps and error types by name."""

    def __init__(self, name: str) -> None:
        self.name = check_name("app", name)
        self.errors = ErrorRegistry()
        own: list[type[Exception]] = [GraphError, DefinitionError, ExpressionError, *ExpressionError.__subclasses__()]
        for error in own:
            self.errors.register(error)
        self._workflows: dict[str, Workflow[Any, Any]] = {}
        self._steps: dict[str, Step[Any, Any]] = {}
        self._graphs: dict[str, Graph] = {}
        self._queued_steps: dict[str, Workflow[Any, Any]] = {}
        self._end_handlers: dict[str, tuple[str, ...]] = {}
        self._schedules: dict[str, Declared] = {}
        self._breakers: dict[str, Breaker] = {}

    @overload
    def step(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncStep[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def step(self, function: Callable[P, R], /) -> PlainStep[P, R]: ...
    @overload
    def step(
        self,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        breaker: Breaker | None = None,
    ) -> StepDecorator: ...
    def step(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        breaker: Breaker | None = None,
    ) -> Any:
        """Register a step: a function whose outcome is journaled, so that it never runs again once recorded.

        Args:
            function: an ``async def``, which runs on the worker's loop, or a ``def``, which runs in a thread.
            name: what the journal calls it; the function's name by default.
            retry: which failures are tried again; ``Retry()`` by default: three attempts, 1 s, 2 s apart.
            timeout: how long one attempt may take; a timedelta, or seconds; no limit by default.
            breaker: the circuit breaker of the service that it calls: while that is down, no attempt is made.

        Raises:
            DuplicateName: a step of this name is registered.
            UsageError: another step declares the breaker of this name otherwise.
        """
        options = StepOptions(
            retry=retry or Retry(),
            timeout=optional_seconds(timeout, "a step's timeout"),
            breaker=None if breaker is None else self.declare_breaker(breaker),
        )

        def register(function: Callable[..., Any]) -> Step[Any, Any]:
            kind = AsyncStep[Any, Any] if inspect.iscoroutinefunction(function) else PlainStep[Any, Any]
            named = name or function.__name__
            return self._add_step(kind(function, name=named, options=options, declare=self.declare_breaker))

        return register if function is None else register(function)

    def declare_breaker(self, breaker: Breaker) -> Breaker:
        """Make a breaker known by its name; a step that names it does so by itself.

        Raises:
            UsageError: this program declares the one of this name otherwise.
        """
        known = self._breakers.setdefault(breaker.name, breaker)
        if known != breaker:
            raise UsageError(
                f"breaker {breaker.name!r} is declared twice, and differently: {known}, and {breaker}; "
                "declare it once, in a variable that all its steps name"
            )
        return known

    @property
    def breakers(self) -> Mapping[str, Breaker]:
        """The circuit breakers that this program declares, by name."""
        return self._breakers

    @overload
    def transaction(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTransaction[P, R]: ...
    @overload
    def transaction(self, function: Callable[Concatenate[C, P], R], /) -> PlainTransaction[P, R]: ...
    @overload
    def transaction(
        self, /, *, name: str | None = None, retry: Retry | None = None, breaker: Breaker | None = None
    ) -> TransactionDecorator: ...
    def transaction(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
    ) -> Any:
        """Register a transactional step: its own SQL commits together with its journal row, exactly once.

        The function's first parameter is the connection, of the class it is annotated with: ``psycopg.Connection``,
        ``psycopg.AsyncConnection``, ``sqlite3.Connection``, ``sqlalchemy.Connection`` or ``sqlalchemy.orm.Session``;
        callers leave it out. The engine commits; the function must not.

        Raises:
            DuplicateName: a step of this name is registered.
            UsageError: the first parameter has no such annotation, or the breaker is declared otherwise elsewhere.
        """
        known = None if breaker is None else self.declare_breaker(breaker)
        options = StepOptions(retry=retry or Retry(), breaker=known)

        def register(function: Callable[..., Any]) -> Step[Any, Any]:
            is_async = inspect.iscoroutinefunction(function)
            kind = AsyncTransaction[Any, Any] if is_async else PlainTransaction[Any, Any]
            named = name or function.__name__
            made = kind(function, name=named, options=options, declare=self.declare_breaker)
            made.wants = connection_class(function)
            return self._add_step(made)

        return register if function is None else register(function)

    @overload
    def workflow(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncWorkflow[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def workflow(self, function: Callable[P, R], /) -> PlainWorkflow[P, R]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        timeout: timedelta | float | None = None,
        schedule: Schedule | str | timedelta | None = None,
    ) -> WorkflowDecorator: ...
    def workflow(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        timeout: timedelta | float | None = None,
        schedule: Schedule | str | timedelta | None = None,
    ) -> Any:
        """Register a workflow.

        Args:
            function: an ``async def``, or a ``def``, which a worker executes in a thread.
            name: what runs call it; the function's name by default. Renaming orphans live runs.
            queue: the line its runs stand in.
            timeout: a run's deadline, counted from its start; a timedelta, or seconds; none by default.
            schedule: when it is started by the clock, without arguments, by a schedule of the workflow's name: see
                ``schedule()``.

        Raises:
            DuplicateName: a workflow of this name is registered.
            UsageError: there can be no such schedule, or the workflow cannot be called without arguments.
        """
        options = WorkflowOptions(
            queue=check_name("queue", queue), timeout=optional_seconds(timeout, "a workflow's timeout")
        )

        def register(function: Callable[..., Any]) -> Workflow[Any, Any]:
            kind = AsyncWorkflow[Any, Any] if inspect.iscoroutinefunction(function) else PlainWorkflow[Any, Any]
            made = kind(function, name=name or function.__name__, options=options)
            if made.name in self._workflows or made.name in self._graphs:
                raise DuplicateName(kind="workflow", name=made.name)
            self._workflows[made.name] = made
            if schedule is not None:
                self.schedule(made.name, schedule, made)
            return made

        return register if function is None else register(function)

    def schedule(
        self, name: str, schedule: Schedule | str | timedelta, workflow: Workflow[..., Any], /, *args: Any
    ) -> None:
        """Declare a schedule of the default tenant: each worker of this program stores it as it starts.

        What a newer program declares otherwise takes the older one's place. A schedule that this App declares no more
        is paused by the first worker that starts without it.

        Args:
            name: what it is called; its runs carry it as the attribute ``schedule``.
            schedule: a Schedule, a cron expression in UTC, or a timedelta as the interval.
            workflow: the workflow or graph.
            args: what it is started with.

        Raises:
            DuplicateName: this program declares one of this name.
            UsageError: there can be no such schedule, or the workflow cannot be called with these arguments.
        """
        if check_schedule_name(name) in self._schedules:
            raise DuplicateName(kind="schedule", name=name)
        check_call(workflow, args)
        self._schedules[name] = Declared(schedule=as_schedule(schedule), workflow=workflow, args=args)

    @property
    def schedules(self) -> Mapping[str, Declared]:
        """The schedules that this program declares, by name."""
        return self._schedules

    def on_end(
        self,
        *workflows: Workflow[..., Any] | str,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        timeout: timedelta | float | None = None,
    ) -> WorkflowDecorator:
        """Register a workflow that is run once for every end of a run of these workflows, however it ended.

        It is started with the ``Closing``, in the tenant of the run that ended, for runs that end after the first
        worker of this program has started. The row that starts it is written together with the end: none is lost.

        Args:
            workflows: workflows, graphs, or their names.
            name: what its runs call it; the function's name by default.
            queue: the line its runs stand in.
            timeout: its runs' deadline, counted from their start; a timedelta, or seconds; none by default.

        Raises:
            DuplicateName: a workflow of this name is registered.
            UsageError: no workflow is named, or the ends of its own runs would start it again.
        """
        told_of = tuple(one.name if isinstance(one, Workflow) else check_name("workflow", one) for one in workflows)
        if not told_of:
            raise UsageError("on_end() needs the workflows whose ends it is for")
        as_workflow = self.workflow(name=name, queue=queue, timeout=timeout)

        def register(function: Callable[..., Any]) -> Workflow[Any, Any]:
            self._refuse_circle(name or function.__name__, told_of)
            made: Workflow[Any, Any] = as_workflow(function)
            self._end_handlers[made.name] = told_of
            return made

        return cast("WorkflowDecorator", register)

    def _refuse_circle(self, handler: str, told_of: tuple[str, ...]) -> None:
        causes = list(told_of)
        seen: set[str] = set()
        while causes:
            cause = causes.pop()
            if cause == handler:
                raise UsageError(f"the ends of {handler!r} would start {handler!r} again, without an end")
            if cause not in seen:
                seen.add(cause)
                causes += self._end_handlers.get(cause, ())

    @property
    def end_handlers(self) -> Mapping[str, tuple[str, ...]]:
        """The workflows of ``on_end``, by name, with those whose ends they are started for."""
        return self._end_handlers

    def graph(
        self,
        name: str,
        *,
        queue: str | None = None,
        timeout: timedelta | float | None = None,
        ignore_failed: bool = False,
        ignore_cancelled: bool = False,
    ) -> Graph:
        """A new graph, empty: a workflow that is written as data, node by node.

        Args:
            name: what runs call it; graphs and function workflows share one set of names.
            queue: the line its runs stand in.
            timeout: a run's deadline, counted from its start; a timedelta, or seconds; none by default.
            ignore_failed: whether a node that failed counts as done for those that follow it.
            ignore_cancelled: whether a node that was cancelled counts as done for those that follow it.

        Raises:
            DuplicateName: a workflow of this name is registered.
        """
        if check_name("workflow", name) in self._workflows or name in self._graphs:
            raise DuplicateName(kind="workflow", name=name)
        options = Options(
            queue=None if queue is None else check_name("queue", queue),
            timeout_ms=None if timeout is None else milliseconds(seconds(timeout, "a graph's timeout")),
            ignore_failed=ignore_failed,
            ignore_cancelled=ignore_cancelled,
        )
        made = self._graphs[name] = Graph(name, self, options=options)
        return made

    def error(self, cls: E) -> E:
        """Register an exception type, so that a step's recorded failure is raised as itself.

        Exception types that are visible in the module of a registered step or workflow need no registration.
        """
        self.errors.register(cls)
        return cls

    def find_workflow(self, name: str) -> Workflow[Any, Any]:
        """The workflow of that name. Raises WorkflowNotRegistered, which lists the known ones."""
        try:
            return self._workflows.get(name) or self._graphs.get(name) or self._queued_steps[name]
        except KeyError:
            pass
        step = self._steps.get(name.removeprefix(QUEUED_STEP)) if name.startswith(QUEUED_STEP) else None
        if step is None:
            raise WorkflowNotRegistered(workflow=name, known=", ".join(self.workflow_names) or "none")
        made = self._queued_steps[name] = queued_step(step)
        return made

    def knows_workflow(self, name: str) -> bool:
        """Whether ``find_workflow`` has one of that name."""
        try:
            self.find_workflow(name)
        except WorkflowNotRegistered:
            return False
        return True

    def find_step(self, name: str) -> Step[Any, Any] | None:
        """The step of that name, if registered."""
        return self._steps.get(name)

    def find_graph(self, name: str) -> Graph | None:
        """The graph of that name, if there is one."""
        return self._graphs.get(name)

    @property
    def workflow_names(self) -> list[str]:
        """What a worker can execute: workflows, graphs, and steps that graphs put into lines of their own; sorted."""
        queued = (graph.queued_steps for graph in self._graphs.values())
        return sorted({*self._workflows, *self._graphs, *itertools.chain.from_iterable(queued)})

    def check_graphs(self) -> None:
        """Build every graph. Raises GraphError, with the problems of all of them."""
        problems: list[Problem] = []
        failed: list[str] = []
        for name, graph in sorted(self._graphs.items()):
            try:
                graph.build()
            except GraphError as error:
                failed.append(name)
                problems += error.problems
        if failed:
            raise GraphError.of(", ".join(failed), problems)

    @property
    def graph_names(self) -> list[str]:
        """The graphs' names, sorted."""
        return sorted(self._graphs)

    @property
    def step_names(self) -> list[str]:
        """The registered steps' names, sorted."""
        return sorted(self._steps)

    def learn_errors(self) -> None:
        """Register the exception types that the functions' modules name; a worker calls this as it starts."""
        for function in self._functions():
            self.errors.register_module_of(function)

    def _functions(self) -> Iterator[Callable[..., Any]]:
        for step in self._steps.values():
            yield step.function
            if step.compensation is not None:
                yield step.compensation
        for workflow in self._workflows.values():
            yield workflow.function

    def _add_step(self, step: Step[Any, Any]) -> Step[Any, Any]:
        if step.name in self._steps:
            raise DuplicateName(kind="step", name=step.name)
        self._steps[step.name] = step
        return step
