"""Steps: the functions whose outcome is journaled.

A step is called as the function it is. Inside a run the call is journaled; outside, and inside another step's
handler, it just runs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, get_type_hints

from holdfast.core.breakers import Breaker
from holdfast.core.names import check_name
from holdfast.core.retry import Retry
from holdfast.errors import UsageError
from holdfast.workflow.context import CURRENT, Branch
from holdfast.workflow.duration import optional_seconds

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is executed."""

    retry: Retry = field(default_factory=Retry)
    """Which failures are tried again, how often and when."""
    timeout: timedelta | None = None
    """How long one attempt may take; None for no limit."""
    breaker: Breaker | None = None
    """The circuit breaker of the service that it calls."""
    key: str | None = None
    """An explicit key in the run's journal, instead of the step's name numbered in call order."""


def _same(breaker: Breaker) -> Breaker:
    return breaker


class Step(Generic[P, R_co]):
    """A registered step; use ``AsyncStep`` and ``PlainStep``."""

    is_async: bool = False
    wants: type[Any] | None = None
    """The class of database connection that a transactional step is handed; None for all others."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        options: StepOptions,
        declare: Callable[[Breaker], Breaker] = _same,
    ) -> None:
        self.declare = declare
        """Makes a breaker known to the App, which refuses another one of the same name."""
        self.function = function
        self.name = check_name("step", name)
        self.options = options
        self.compensation: Callable[..., Any] | None = None
        self.compensation_options = StepOptions()
        update_wrapper(cast("Callable[..., Any]", self), function)

    def with_options(
        self,
        *,
        key: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        breaker: Breaker | None = None,
    ) -> Self:
        """The same step with other options for the calls made through the returned object.

        Args:
            key: the step's key in the journal; must be unique in the run. Raises DuplicateStepKey at the call if not.
            retry: instead of the step's own.
            timeout: for one attempt, instead of the step's own; a timedelta, or seconds.
            breaker: instead of the step's own.

        Raises:
            UsageError: the App declares the breaker of this name otherwise.
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.options = replace(
            self.options,
            key=self.options.key if key is None else check_name("key", key),
            retry=retry or self.options.retry,
            timeout=optional_seconds(timeout, "a step's timeout") or self.options.timeout,
            breaker=self.options.breaker if breaker is None else self.declare(breaker),
        )
        return twin

    def compensate(self, function: F) -> F:
        """Register what undoes this step if the run fails later: called with the step's arguments, then its result.

        It is journaled and retried as a step, on ``Retry(max_attempts=10)`` unless ``compensate_with`` says otherwise.
        """
        return self.compensate_with(retry=Retry(max_attempts=10))(function)

    def compensate_with(
        self,
        *,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        breaker: Breaker | None = None,
    ) -> Callable[[F], F]:
        """As ``compensate``, with options of its own. It has no breaker unless one is given.

        Raises:
            UsageError: it has a compensation, or the App declares the breaker of this name otherwise.
        """

        def register(function: F) -> F:
            if self.compensation is not None:
                raise UsageError(f"step {self.name!r} has a compensation already")
            self.compensation = function
            self.compensation_options = StepOptions(
                retry=retry or Retry(max_attempts=10),
                timeout=optional_seconds(timeout, "a compensation's timeout"),
                breaker=None if breaker is None else self.declare(breaker),
            )
            return function

        return register

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class AsyncStep(Step[P, R_co]):
    """A step that is an ``async def`` function.

    Calls are typed ``Coroutine[object, None, R]``: an ``Any`` there would make every overload of ``hf.gather`` match.
    """

    is_async = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R_co]:
        """Call the step: journaled inside a run, plain outside."""
        place = CURRENT.get()
        if isinstance(place, Branch):
            return place.call_step(self, args, kwargs)
        return cast("Coroutine[object, None, R_co]", self.function(*args, **kwargs))

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the step from a plain workflow (a ``def``), which runs in a thread; outside a run, on its own loop."""
        place = CURRENT.get()
        if isinstance(place, Branch):
            return cast("R_co", place.run_blocking(lambda branch: branch.call_step(self, args, kwargs)))
        return cast("R_co", asyncio.run(self.function(*args, **kwargs)))


class PlainStep(Step[P, R_co]):
    """A step that is a ``def`` function; inside a run it executes in a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the step from a plain workflow, or outside a run.

        Raises:
            UsageError: called in an async workflow, whose loop it would block: ``await step.aio(...)`` there.
        """
        place = CURRENT.get()
        if isinstance(place, Branch):
            return cast("R_co", place.run_blocking(lambda branch: branch.call_step(self, args, kwargs)))
        return cast("R_co", self.function(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, R_co]:
        """Call the step from an async workflow: it executes in a thread. Outside a run as well."""
        place = CURRENT.get()
        if isinstance(place, Branch):
            return place.call_step(self, args, kwargs)
        return asyncio.to_thread(self.function, *args, **kwargs)


class AsyncTransaction(AsyncStep[P, R_co]):
    """A transactional step that is an ``async def`` function: its first parameter is the connection."""


class PlainTransaction(PlainStep[P, R_co]):
    """A transactional step that is a ``def`` function: its first parameter is the connection."""


def connection_class(function: Callable[..., Any]) -> type[Any]:
    """The class that a transactional step's first parameter is annotated with.

    Raises:
        UsageError: there is no such parameter or annotation.
    """
    parameters = list(inspect.signature(function).parameters)
    hints = get_type_hints(function)
    wanted = hints.get(parameters[0]) if parameters else None
    if not isinstance(wanted, type):
        name = getattr(function, "__qualname__", repr(function))
        raise UsageError(
            f"transactional step {name} must annotate its first parameter with the connection it wants: "
            "psycopg.Connection, psycopg.AsyncConnection, sqlite3.Connection, sqlalchemy.Connection or "
            "sqlalchemy.orm.Session"
        )
    return wanted


TransactionFunction = Callable[Concatenate[C, P], R]
