"""What the functions take that a graph's nodes call, and whether they get it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from holdfast.core.definitions import Problem
from holdfast.core.graphs import Parameter, Place, Plan, Signature, places_of, resolve_calls
from holdfast.core.names import NAME_CHARACTERS_MAX
from holdfast.errors import UsageError, WorkflowNotRegistered
from holdfast.model.definition import GraftNode
from holdfast.workflow.queued_step import QUEUED_STEP
from holdfast.workflow.step import Step

if TYPE_CHECKING:
    from holdfast.workflow.registry import Registry

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def signature_of(function: Callable[..., Any], *, leave_out: int = 0) -> Signature:
    """What a function takes, without its first ``leave_out`` parameters."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[leave_out:]
    except ValueError:  # written in C, without a signature
        return Signature((), takes_any_name=True)
    named = [one for one in parameters if one.kind in _NAMED or one.kind is inspect.Parameter.POSITIONAL_ONLY]
    return Signature(
        tuple(
            Parameter(
                one.name,
                required=one.default is inspect.Parameter.empty,
                positional=one.kind is inspect.Parameter.POSITIONAL_ONLY,
            )
            for one in named
        ),
        takes_any_name=any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters),
    )


def step_signature(step: Step[Any, Any]) -> Signature:
    """What callers pass to a step: a transactional one gets its connection from the engine."""
    return signature_of(step.function, leave_out=0 if step.wants is None else 1)


def find_signature(registry: Registry, place: Place) -> Signature | None:
    """The signature of what stands at a place; None if this program does not know it."""
    if place.is_workflow:
        try:
            return signature_of(registry.find_workflow(place.handler).function)
        except WorkflowNotRegistered:
            return None
    step = registry.find_step(place.handler)
    return None if step is None else step_signature(step)


def check_calls(plan: Plan, registry: Registry, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """What is wrong with the handlers of a graph: unknown ones, and those whose parameters get nothing."""
    calls = resolve_calls(plan, lambda place: find_signature(registry, place))
    for node in plan.nodes:
        at = "/".join((*path, node.key))
        for place in places_of(node):
            what = "" if not place.name else f"{place.name.removeprefix('~')}: "
            call = calls.get((place.node, place.name))
            if isinstance(call, UsageError):
                yield Problem(at, "bad_call", f"{what}{call}")
            if not place.is_workflow and registry.find_step(place.handler) is None:
                yield Problem(at, "unknown_handler", f"{what}no step named {place.handler!r} is registered")
            if place.queue is not None:
                yield from _check_queued(at, what, place, is_graft=isinstance(node.node, GraftNode))
            if place.compensate is not None and registry.find_step(place.compensate) is None:
                yield Problem(at, "unknown_handler", f"{what}no step named {place.compensate!r} is registered")
    for key, subplan in plan.subplans.items():
        yield from check_calls(subplan, registry, (*path, key))


def _check_queued(at: str, what: str, place: Place, *, is_graft: bool) -> Iterator[Problem]:
    if is_graft:
        yield Problem(at, "bad_queue", "a graft is filled in by the run itself: it has no line of its own")
    if len(QUEUED_STEP + place.handler) > NAME_CHARACTERS_MAX:
        yield Problem(at, "bad_name", f"{what}the handler's name is too long for a step in a line of its own")
