"""A definition made ready for this worker: its plans, and the steps that its nodes call with the options they give.

Programs are shared by all runs of a definition and never changed, but for what is looked up when it is first needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.core.graphs import Given, Place, Plan, places_of, resolve_calls
from holdfast.core.graphs.conventions import INPUT
from holdfast.core.retry import Retry
from holdfast.errors import UsageError
from holdfast.model.definition import CallPolicy, Definition, Edge, Grafted, Node, RetryPolicy
from holdfast.workflow.graph_calls import find_signature

if TYPE_CHECKING:
    from holdfast.core.graphs.plan import Formula
    from holdfast.runtime.services import ReadArguments
    from holdfast.workflow.registry import Registry
    from holdfast.workflow.step import Step


NO_POLICY: Final = CallPolicy()


class PreparedCall:
    """A handler with the options of the place that calls it, and what its parameters get."""

    __slots__ = ("given", "kept", "place", "plain", "read", "step")

    def __init__(
        self, place: Place, step: Step[Any, Any], given: list[Given] | None, plain: PlainArguments | None
    ) -> None:
        self.place = place
        self.step = step
        self.given = given
        """None if the document says it."""
        self.plain = plain
        self.read: ReadArguments | None = None
        """Reads the arguments as the handler declares them; made when it is first needed."""
        self.kept: frozenset[type] | None = None
        """The types of the handler's results that are the same as plain JSON; found out with ``read``."""


PlainArguments = tuple[tuple[str, str | None], ...]
"""Parameters that get a node's whole result, or the run's input (None)."""


class GraphProgram:
    """One level of a definition: the graph, a subgraph, or what a graft was filled in with."""

    def __init__(self, plan: Plan, registry: Registry) -> None:
        self.plan = plan
        self._registry = registry
        self._resolved = resolve_calls(plan, lambda place: find_signature(registry, place))
        self._calls: dict[tuple[str, str], PreparedCall] = {}
        self._below: dict[str, GraphProgram] = {}

    def call(self, node: str, place: str = "") -> PreparedCall:
        """What a node calls at a place. Raises UsageError if this program cannot call it."""
        prepared = self._calls.get((node, place))
        if prepared is None:
            prepared = self._calls[node, place] = self._prepare(node, place)
        return prepared

    def given(self, node: str, place: str = "") -> list[Given] | None:
        """What the parameters at a place get; None if the document says it, or if it is unknown here."""
        given = self._resolved.get((node, place))
        if isinstance(given, UsageError):
            raise UsageError(f"node {node!r}: {given}")
        return given

    def below(self, node: str) -> GraphProgram:
        """A subgraph's."""
        program = self._below.get(node)
        if program is None:
            program = self._below[node] = GraphProgram(self.plan.subplans[node], self._registry)
        return program

    def _prepare(self, node: str, name: str) -> PreparedCall:
        place = next(place for place in places_of(self.plan[node]) if place.name == name)
        step = self._registry.find_step(place.handler)
        if step is None:
            known = ", ".join(self._registry.step_names)
            raise UsageError(f"node {node!r} calls step {place.handler!r}, which this App does not register: {known}")
        step = with_policy(step, self._registry, place.policy)
        undo = None if place.compensate is None else self._registry.find_step(place.compensate)
        if undo is not None and step.compensation is None:
            step = _twin(step)
            step.compensation = undo.function
        given = self.given(node, name)
        mapping = self.plan[node].mappings.get(name, {}) if given is None else {}
        return PreparedCall(place, step, given, _plain_given(given) if given is not None else _plain_mapping(mapping))


def _plain_given(given: Sequence[Given]) -> PlainArguments | None:
    if any(one.variable not in (None, INPUT) for one in given):
        return None
    return tuple((one.parameter.name, one.node) for one in given)


def _plain_mapping(mapping: Mapping[str, Formula]) -> PlainArguments | None:
    """None, too, for a place that has no mapping of its own."""
    whole = {name: formula for name, formula in mapping.items() if not formula.below}
    plain = [(name, one.result_of) for name, one in whole.items() if one.result_of or one.fields == (INPUT,)]
    return tuple(plain) if plain and len(plain) == len(mapping) else None


def program_of(definition: Definition, registry: Registry) -> GraphProgram:
    """The program of a whole graph."""
    return GraphProgram(Plan(definition.nodes, definition.edges, definition.options), registry)


def program_of_graft(nodes: Sequence[Node], edges: Sequence[Edge], registry: Registry) -> GraphProgram:
    """The program of what a graft was filled in with."""
    return GraphProgram(Plan(nodes, edges), registry)


def read_graft(key: str, answer: Any) -> Grafted:
    """What a graft's handler answered. Raises UsageError."""
    try:
        return msgspec.convert(answer, Grafted)
    except msgspec.ValidationError as error:
        raise UsageError(f"the graft {key!r} must answer nodes and edges: {error}") from None


def with_policy(step: Step[Any, Any], registry: Registry, policy: CallPolicy) -> Step[Any, Any]:
    """The step with a document's options instead of its own.

    Raises: UsageError if the document names a circuit breaker that this App does not declare.
    """
    if policy == NO_POLICY:
        return step
    breaker = step.options.breaker
    if policy.breaker is not None:
        breaker = registry.breakers.get(policy.breaker)
        if breaker is None:
            known = ", ".join(registry.breakers) or "none"
            raise UsageError(f"breaker {policy.breaker!r} of step {step.name!r} is not declared by this App: {known}")
    twin = _twin(step)
    twin.options = replace(
        step.options,
        retry=step.options.retry if policy.retry is None else _read_policy(policy.retry, registry),
        timeout=step.options.timeout if policy.timeout_ms is None else timedelta(milliseconds=policy.timeout_ms),
        breaker=breaker,
    )
    return twin


def _twin(step: Step[Any, Any]) -> Step[Any, Any]:
    twin: Step[Any, Any] = object.__new__(type(step))
    twin.__dict__.update(step.__dict__)
    return twin


def _read_policy(policy: RetryPolicy, registry: Registry) -> Retry:
    # A type that is unknown here cannot be raised here.
    found = [registry.errors.find(name) for name in policy.non_retryable]
    return Retry(
        max_attempts=policy.max_attempts,
        initial=timedelta(milliseconds=policy.initial_ms),
        factor=policy.factor,
        max_delay=timedelta(milliseconds=policy.max_delay_ms),
        jitter=policy.jitter,
        non_retryable=tuple(kind for kind in found if kind is not None),
    )
