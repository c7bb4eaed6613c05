"""Workflows: the functions that are re-executed against their journal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from holdfast.core.annotations import type_hints
from holdfast.core.names import check_name
from holdfast.model.ids import DEFAULT_QUEUE
from holdfast.model.search import AttributeValue
from holdfast.model.status import ParentPolicy
from holdfast.workflow.context import ChildOptions
from holdfast.workflow.duration import optional_seconds

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOptions:
    """How runs of a workflow are started and ended, unless the start says otherwise."""

    queue: str = DEFAULT_QUEUE
    """The line its runs stand in."""
    timeout: timedelta | None = None
    """The deadline of a run, counted from its start; None for none."""
    attributes: dict[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])
    """Search attributes of every run."""


class Workflow(Generic[P, R_co]):
    """A registered workflow; use ``AsyncWorkflow`` and ``PlainWorkflow``."""

    is_async: bool = False
    is_graph: bool = False
    """Whether its runs follow a definition."""

    def __init__(self, function: Callable[..., Any], *, name: str, options: WorkflowOptions) -> None:
        self.function = function
        self.name = check_name("workflow", name)
        self.options = options
        self.child_options = ChildOptions()
        update_wrapper(cast("Callable[..., Any]", self), function)

    def with_options(
        self,
        *,
        key: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        timeout: timedelta | float | None = None,
        policy: ParentPolicy | str = ParentPolicy.CANCEL,
    ) -> Self:
        """The same workflow, started with these options by ``hf.run_child`` and ``hf.start_child``.

        Args:
            key: the child's key in its parent's journal; must be unique in the parent.
            queue: the line the child stands in.
            priority: higher is claimed first; the parent's by default.
            timeout: the child's deadline, counted from its start; a timedelta, or seconds.
            policy: what becomes of it when its parent is cancelled or terminated: ``cancel`` (it is cancelled as its
                parent is), ``request`` (it undoes what it did first) or ``abandon`` (it goes on).
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.child_options = ChildOptions(
            key=key if key is None else check_name("key", key),
            queue=queue if queue is None else check_name("queue", queue),
            priority=priority,
            timeout=optional_seconds(timeout, "a child's timeout"),
            policy=ParentPolicy(policy),
        )
        return twin

    @property
    def result_type(self) -> Any:
        """The annotated type of the result; Any without an annotation."""
        return type_hints(self.function).get("return", Any)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class AsyncWorkflow(Workflow[P, R_co]):
    """A workflow that is an ``async def`` function."""

    is_async = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function itself, without an engine."""
        return cast("Coroutine[Any, Any, R_co]", self.function(*args, **kwargs))


class PlainWorkflow(Workflow[P, R_co]):
    """A workflow that is a ``def`` function; a worker executes it in a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function itself, without an engine."""
        return cast("R_co", self.function(*args, **kwargs))
