"""The handlers that a graph's nodes call, each with what its parameters get.

Found for a whole level at once, so that asking who comes after whom costs one pass over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from holdfast.core.definitions.structure import not_before, shape_of
from holdfast.core.graphs.conventions import INPUT, Given, Parameter, resolve_parameters
from holdfast.core.graphs.plan import NodePlan, Plan
from holdfast.errors import UsageError
from holdfast.model.definition import (
    Branch,
    CallNode,
    CallPolicy,
    ChildNode,
    Computed,
    GraftNode,
    LoopNode,
    MapNode,
    ParallelNode,
    RouteNode,
    SignalNode,
    SleepNode,
)

HANDLER: Final = ""
"""The place of a node's own handler, or of its child's workflow."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a node calls something: its own handler, a branch's (by the branch's name), or a part's (``~until``)."""

    node: str
    name: str = HANDLER
    handler: str
    mapping: tuple[str, ...] | None = None
    """The parameters that the document names; None for what handlers get by default."""
    variables: tuple[str, ...] = (INPUT,)
    subject: str | None = None
    policy: CallPolicy = CallPolicy()
    queue: str | None = None
    compensate: str | None = None
    is_workflow: bool = False


class Signature(Struct, frozen=True):
    """What a handler takes."""

    parameters: tuple[Parameter, ...]
    takes_any_name: bool = False


FindSignature = Callable[[Place], Signature | None]
"""The signature of what stands at a place; None if it is unknown here."""

Calls = dict[tuple[str, str], list[Given] | UsageError | None]
"""By node and place: what the parameters get, None if the document says it, or why it cannot be."""


def places_of(plan: NodePlan) -> Iterator[Place]:
    """All places of a node."""
    node, key = plan.node, plan.key
    subject = None if plan.incoming else INPUT
    match node:
        case LoopNode():
            seen = (INPUT, "iteration", "result")
            own = seen if node.feedback else seen[:2]
            yield _call(node, own, "result" if node.feedback else subject)
            for part, computed in (("~until", node.until), ("~condition", node.condition)):
                yield from _part(key, part, computed, seen, "result")
        case MapNode():
            yield _call(node, (INPUT, "item", "index"), "item")
        case GraftNode():
            yield _call(node, (INPUT,), subject)
        case CallNode():
            yield _call(node, (INPUT,), subject)
        case RouteNode():
            mapping = tuple(node.input) or None
            yield from _part(key, "~selector", node.selector, (INPUT,), subject, mapping)
            yield from _branches(key, node.branches, subject)
        case ParallelNode():
            yield from _branches(key, node.branches, subject)
        case SleepNode():
            yield from _part(key, "~duration", node.duration_ms, (INPUT,), subject)
        case SignalNode():
            yield from _part(key, "~signal", node.signal, (INPUT,), subject)
        case ChildNode():
            mapping = tuple(node.input) or None
            yield Place(node=key, handler=node.workflow, mapping=mapping, subject=subject, is_workflow=True)
        case _:
            pass


def _call(node: CallNode, variables: tuple[str, ...], subject: str | None) -> Place:
    return Place(
        node=node.key,
        handler=node.handler,
        mapping=tuple(node.input) or None,
        variables=variables,
        subject=subject,
        policy=CallPolicy(retry=node.retry, timeout_ms=node.timeout_ms, breaker=node.breaker),
        queue=node.queue,
        compensate=node.compensate,
    )


def _part(
    key: str,
    name: str,
    value: object,
    variables: tuple[str, ...],
    subject: str | None,
    mapping: tuple[str, ...] | None = None,
) -> Iterator[Place]:
    if isinstance(value, Computed) and value.handler is not None:
        yield Place(node=key, name=name, handler=value.handler, mapping=mapping, variables=variables, subject=subject)


def _branches(key: str, branches: dict[str, Branch], subject: str | None) -> Iterator[Place]:
    for name, branch in branches.items():
        yield Place(
            node=key,
            name=name,
            handler=branch.handler,
            mapping=tuple(branch.input) or None,
            subject=subject,
            policy=CallPolicy(retry=branch.retry, timeout_ms=branch.timeout_ms, breaker=branch.breaker),
            queue=branch.queue,
            compensate=branch.compensate,
        )


def resolve_calls(plan: Plan, signature_of: FindSignature) -> Calls:
    """What the parameters of everything that a level calls get. What is unknown here is left out."""
    # Many nodes may call the same handler, and to look at a function takes its time.
    known: dict[tuple[str, bool], Signature | None] = {}
    found: list[tuple[NodePlan, Place, Signature]] = []
    for node in plan.nodes:
        for place in places_of(node):
            handler = (place.handler, place.is_workflow)
            if handler not in known:
                known[handler] = signature_of(place)
            signature = known[handler]
            if signature is not None:
                found.append((node, place, signature))
    refused = _not_before(plan, found)
    calls: Calls = {}
    for node, place, signature in found:
        try:
            calls[place.node, place.name] = _resolve(plan, node, place, signature, refused)
        except UsageError as error:
            calls[place.node, place.name] = error
    return calls


def _resolve(
    plan: Plan, node: NodePlan, place: Place, signature: Signature, refused: set[tuple[int, int]]
) -> list[Given] | None:
    if place.mapping is not None:
        _check_mapping(place.mapping, signature)
        return None

    def follows(name: str) -> bool:
        other = plan.number.get(name)
        return other is not None and other != node.index and (node.index, other) not in refused

    return resolve_parameters(signature.parameters, variables=place.variables, subject=place.subject, follows=follows)


def _check_mapping(mapping: Sequence[str], signature: Signature) -> None:
    names = {parameter.name for parameter in signature.parameters if not parameter.positional}
    unknown = [name for name in mapping if name not in names]
    if unknown and not signature.takes_any_name:
        raise UsageError(f"its input names {unknown[0]!r}, which is no parameter of its handler")
    missing = [one.name for one in signature.parameters if one.required and one.name not in mapping]
    if missing:
        raise UsageError(f"its input does not say what its handler's parameter {missing[0]!r} gets")


def _not_before(plan: Plan, found: Sequence[tuple[NodePlan, Place, Signature]]) -> set[tuple[int, int]]:
    """Of the parameters named like nodes, (node, other) where the other is none that the node follows."""
    asked: set[tuple[int, int]] = set()
    for node, place, signature in found:
        if place.mapping is None:
            names = (plan.number.get(parameter.name) for parameter in signature.parameters)
            asked.update((node.index, other) for other in names if other is not None)
    asked = {(index, other) for index, other in asked if other not in plan.nodes[index].sources}
    if not asked:
        return set()
    edges = [(plan.nodes[edge.source].key, plan.nodes[edge.target].key) for one in plan.nodes for edge in one.outgoing]
    shape = shape_of(plan.number, edges)
    number = shape.number()
    back: dict[int, Any] = {number[key]: index for key, index in plan.number.items()}
    questions = [(number[plan.nodes[index].key], number[plan.nodes[other].key]) for index, other in sorted(asked)]
    return {(back[node], back[other]) for node, other in not_before(shape, questions)}
