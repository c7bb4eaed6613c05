"""The functions that a graph's nodes call, and the names under which a program finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from holdfast.core.definitions import Problem
from holdfast.core.names import check_name
from holdfast.errors import UsageError, WorkflowNotRegistered
from holdfast.workflow.graph_options import Handler, is_step
from holdfast.workflow.step import Step
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from holdfast.workflow.registry import Registry


class HandlerNames(Struct, frozen=True):
    """Of a handler and what undoes it."""

    handler: str
    compensate: str | None = None


class GraphHandlers:
    """Registers what one graph calls and is no registered step, and collects what is wrong with it.

    A name is given by the place: ``graph.key`` for a node's handler, ``graph.key/branch`` for a branch's, and
    ``graph.key~part`` for what else belongs to a node. No key holds ``/`` or ``~``, so places cannot be confused.
    """

    def __init__(self, graph: str, registry: Registry, problems: list[Problem]) -> None:
        self._graph = graph
        self._registry = registry
        self._problems = problems
        self._own: set[str] = set()

    def note(self, key: str, code: str, reason: str) -> None:
        """Remember a problem for ``build`` to report."""
        self._problems.append(Problem(str(key), code, reason))

    def of_node(self, key: str, handler: Handler, *, compensate: Handler | None = None) -> HandlerNames:
        """The names of a node's handler and compensation."""
        return self._pair(key, f"{self._graph}.{key}", handler, compensate)

    def of_branch(self, key: str, branch: str, handler: Handler, *, compensate: Handler | None) -> HandlerNames:
        """The names of a branch's handler and compensation."""
        return self._pair(key, f"{self._graph}.{key}/{branch}", handler, compensate)

    def of_part(self, key: str, part: str, handler: Handler) -> HandlerNames:
        """The name of a handler that answers a value, such as a loop's ``until``."""
        return self._pair(key, f"{self._graph}.{key}~{part}", handler, None)

    def workflow(self, key: str, workflow: Workflow[Any, Any] | str | Callable[..., Any]) -> str:
        """The name of a child's workflow."""
        if isinstance(workflow, str):
            return workflow
        place = f"{self._graph}.{key}"
        try:
            if isinstance(workflow, Workflow):
                place = workflow.name
                self._registry.find_workflow(place)
            else:
                self._registry.workflow(name=place)(workflow)
        except WorkflowNotRegistered as error:
            self.note(key, "unknown_workflow", str(error))
        except UsageError as error:
            self.note(key, "duplicate_handler", str(error))
        return place

    def _pair(self, key: str, place: str, handler: Handler, compensate: Handler | None) -> HandlerNames:
        if compensate is None:
            step = self._registered(key, place, handler)
            return HandlerNames(place if step is None else step.name)
        # The engine finds a compensation by the step it undoes, so this pair gets a step of its own.
        undo = self._registered(key, f"{place}~compensate", compensate)
        step = self._new_step(key, place, handler)
        if step is None or undo is None:
            return HandlerNames(place)
        retry = undo.options.retry if isinstance(compensate, Step) else None
        step.compensate_with(retry=retry, timeout=undo.options.timeout, breaker=undo.options.breaker)(undo.function)
        return HandlerNames(place, undo.name)

    def _registered(self, key: str, place: str, handler: Handler) -> Step[Any, Any] | None:
        if not is_step(handler):
            return self._new_step(key, place, handler)
        known = self._registry.find_step(handler.name)
        if known is None or known.function is not handler.function:
            self.note(key, "unknown_handler", f"the step {handler.name!r} is not registered in this app")
        return handler

    def _new_step(self, key: str, place: str, handler: Handler) -> Step[Any, Any] | None:
        try:
            check_name("key", key)
            check_name("step", place)
        except (UsageError, TypeError, AttributeError):
            return None  # a key that cannot be one: validation reports it
        if self._registry.find_step(place) is not None:
            if place not in self._own:  # if it is, two nodes have this key: validation reports that
                self.note(key, "duplicate_handler", f"a step named {place!r} is registered already")
            return None
        self._own.add(place)
        return _register(self._registry, place, handler)


def _register(registry: Registry, name: str, handler: Handler) -> Step[Any, Any]:
    if not isinstance(handler, Step):
        return registry.step(name=name)(handler)
    made: Step[Any, Any]
    if handler.wants is None:
        made = registry.step(name=name)(handler.function)
    else:
        made = registry.transaction(name=name)(handler.function)
    made.options = handler.options
    return made
