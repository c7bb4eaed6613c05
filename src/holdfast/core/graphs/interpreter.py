"""What a graph does next: told what ended, it answers what begins. No I/O, no clock, nothing that waits.

It looks at an edge once, when its source has ended, and at a node once, when its last edge is decided: the work of a
whole run is proportional to the nodes, the edges and what their expressions read.

An interpreter is told outcomes in any order, and the same ones give the same graph of decisions; so a run that is
walked again after a crash, with what its journal holds, comes to where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from msgspec import Struct

from holdfast.core.definitions.reading import ERRORS, RESULTS
from holdfast.core.expressions import ExpressionTypeError
from holdfast.core.expressions.errors import Site
from holdfast.core.failure import type_name
from holdfast.core.graphs.conventions import INPUT
from holdfast.core.graphs.plan import EdgePlan, Formula, NodePlan, Plan
from holdfast.errors import StepError
from holdfast.model.definition import ALWAYS, ON_FAILURE, ON_SUCCESS, ON_TIMEOUT


class Completed(Struct, frozen=True):
    """A node has done its work."""

    result: Any


class Failed(Struct, frozen=True):
    """A node failed for good."""

    error: Exception


class TimedOut(Failed, frozen=True):
    """A node waited for a signal that did not come in time."""


class Cancelled(Failed, frozen=True):
    """What a node waited for was cancelled."""


Outcome = Completed | Failed

_NOTHING: Final[dict[str, Any]] = {}


class Interpreter:
    """One walk through one level of a graph."""

    __slots__ = (
        "_begun",
        "_broken",
        "_open",
        "_taken",
        "_waiting",
        "failed",
        "failures",
        "input",
        "plan",
        "results",
        "run",
        "skipped",
    )

    def __init__(self, plan: Plan, *, input: Any, run: Mapping[str, Any] = _NOTHING) -> None:  # noqa: A002 - the word
        self.plan = plan
        self.input = input
        self.run = run
        self.results: dict[str, Any] = {}
        """Of the nodes that completed or were passed over."""
        self.failures: dict[str, Failed] = {}
        self.skipped: set[str] = set()
        self.failed: str | None = None
        """The node whose failure ends the run: nothing begins any more."""
        self._waiting: dict[int, int] = {}
        self._taken: set[int] = set()
        self._broken: dict[int, Exception] = {}
        self._begun: list[NodePlan] = []
        self._open = 0

    @property
    def done(self) -> bool:
        """Whether every node is decided and none is under way."""
        return self._open == 0 and self.failed is None

    def begin(self) -> list[NodePlan]:
        """The nodes that begin with the run."""
        settled: list[NodePlan] = []
        for node in self.plan.roots:
            self._start(node, settled)
        return self._go_on(settled)

    def ended(self, key: str, outcome: Outcome) -> list[NodePlan]:
        """Take note of how a node ended; the nodes that begin now."""
        node = self.plan.nodes[self.plan.number[key]]
        if node.next is not None and self.failed is None and isinstance(outcome, Completed):
            # Most of most graphs: nothing has to be decided.
            self.results[key] = outcome.result
            return [node.next]
        self._open -= 1
        settled: list[NodePlan] = []
        self._settle(node, outcome, settled)
        return self._go_on(settled)

    def final_results(self) -> dict[str, Any]:
        """What a run answers: the results of the nodes that nothing follows."""
        return {key: self.results[key] for key in self.plan.last if key in self.results}

    def all_results(self) -> dict[str, Any]:
        """What a subgraph answers: the results of all its nodes, in the order of the document."""
        return {node.key: self.results[node.key] for node in self.plan.nodes if node.key in self.results}

    # Deciding

    def _go_on(self, settled: list[NodePlan]) -> list[NodePlan]:
        while settled and self.failed is None:
            for edge in settled.pop().outgoing:
                self._decide(edge, settled)
        begun = self._begun if self.failed is None else []
        self._open += len(begun)
        self._begun = []
        return begun

    def _decide(self, edge: EdgePlan, settled: list[NodePlan]) -> None:
        index = edge.target
        target = self.plan.nodes[index]
        try:
            if self._is_taken(edge, target):
                self._taken.add(index)
        except Exception as error:  # noqa: BLE001 - an expression's error, whichever it is, is the target's
            self._broken.setdefault(index, error)
        if len(target.incoming) > 1:
            waiting = self._waiting.get(index, len(target.incoming)) - 1
            self._waiting[index] = waiting
            if waiting:
                return
        if index in self._broken:
            self._settle(target, Failed(self._broken[index]), settled)
        elif index in self._taken:
            self._start(target, settled)
        else:
            self.skipped.add(target.key)
            settled.append(target)

    def _start(self, node: NodePlan, settled: list[NodePlan]) -> None:
        """Begin a node, or pass it over."""
        when = node.formulas.get("when")
        if when is not None:
            try:
                passed = not self._truth(when, node)
            except Exception as error:  # noqa: BLE001 - an expression's error, whichever it is
                self._settle(node, Failed(error), settled)
                return
            if passed:
                self.results[node.key] = None
                settled.append(node)
                return
        self._begun.append(node)

    def _settle(self, node: NodePlan, outcome: Outcome, settled: list[NodePlan]) -> None:
        if isinstance(outcome, Completed):
            self.results[node.key] = outcome.result
        else:
            self.failures[node.key] = outcome
            match outcome:
                case TimedOut():
                    goes_on = node.settles_timeout
                case Cancelled():
                    goes_on = node.settles_cancelled
                case _:
                    goes_on = node.settles_failed
            if not goes_on and self.failed is None:
                self.failed = node.key
        settled.append(node)

    def _is_taken(self, edge: EdgePlan, target: NodePlan) -> bool:
        source = self.plan.nodes[edge.source]
        if edge.after_success and source.key in self.results:
            return True
        if source.key in self.skipped:
            return False
        failure = self.failures.get(source.key)
        if failure is None or _ignores(target, failure):
            if edge.formula is None:
                return edge.condition in (ON_SUCCESS, ALWAYS)
            return self._truth(edge.formula, source, own=True, extra={"result": self.results.get(source.key)})
        if edge.condition == ON_TIMEOUT:
            return isinstance(failure, TimedOut)
        return edge.condition in (ON_FAILURE, ALWAYS)

    # Expressions

    def value(self, node: NodePlan, what: str, extra: Mapping[str, Any] = _NOTHING) -> Any:
        """What a node's expression answers. Raises ExpressionError."""
        formula = node.formulas[what]
        return self._evaluate(formula, node, own=False, extra=extra)

    def truth(self, node: NodePlan, what: str, extra: Mapping[str, Any] = _NOTHING) -> bool:
        """What a node's condition answers. Raises ExpressionError, also if it is not a bool."""
        return self._truth(node.formulas[what], node, extra=extra)

    def mapping(self, node: NodePlan, branch: str = "", extra: Mapping[str, Any] = _NOTHING) -> dict[str, Any] | None:
        """The arguments that the input mapping of a node or of its branch makes; None without a mapping.

        Raises:
            ExpressionError: one of its expressions has no value.
        """
        mapping = node.mappings.get(branch)
        if mapping is None:
            return None
        return {name: self._evaluate(formula, node, own=False, extra=extra) for name, formula in mapping.items()}

    def result_seen_by(self, node: NodePlan, key: str, default: Any) -> Any:
        """The result of a node, as a node that follows it sees it; the default if it has none."""
        if key in self.results:
            return self.results[key]
        failure = self.failures.get(key)
        if failure is not None and _ignores(node, failure) and self.plan.number[key] in node.sources:
            return None
        return default

    def _truth(
        self, formula: Formula, node: NodePlan, *, own: bool = False, extra: Mapping[str, Any] = _NOTHING
    ) -> bool:
        answer = self._evaluate(formula, node, own=own, extra=extra)
        if answer is True or answer is False:
            return answer
        site = Site(formula.expression.source, 0)
        raise site.error(ExpressionTypeError, "a condition must answer true or false")

    def _evaluate(self, formula: Formula, node: NodePlan, *, own: bool, extra: Mapping[str, Any]) -> Any:
        # Nearly all expressions only name what they want, and finding that takes a tenth of an evaluation.
        value: Any
        if formula.result_of is not None:
            value = self.result_seen_by(node, formula.result_of, _MISSING)
        elif formula.fields is not None and formula.fields[0] == INPUT and INPUT not in extra:
            value = self.input
        else:
            value = _MISSING
        for name in formula.below:
            value = cast("dict[str, Any]", value).get(name, _MISSING) if type(value) is dict else _MISSING
        if value is not _MISSING:
            return value
        # So it is something else, or the evaluation is to say what is wrong with it.
        return formula.expression.evaluate(self._variables(formula, node, own=own, extra=extra))

    def _variables(self, formula: Formula, node: NodePlan, *, own: bool, extra: Mapping[str, Any]) -> dict[str, Any]:
        variables: dict[str, Any] = {"input": self.input, "run": self.run, **extra}
        if RESULTS in formula.variables:
            keys = self._keys(formula, node, own=own)
            seen = ((key, self.result_seen_by(node, key, _MISSING)) for key in keys)
            variables[RESULTS] = {key: result for key, result in seen if result is not _MISSING}
        if ERRORS in formula.variables:
            keys = self._keys(formula, node, own=own)
            variables[ERRORS] = {key: describe(self.failures[key]) for key in keys if key in self.failures}
        return variables

    def _keys(self, formula: Formula, node: NodePlan, *, own: bool) -> Iterable[str]:
        if not formula.all_nodes:
            return formula.nodes
        # Only what is certain to be decided: what else happens to be must make no difference.
        before = [self.plan.nodes[index].key for index in sorted(self.plan.ancestors(node))]
        return [*before, node.key] if own else before


_MISSING: Final = object()


def _ignores(target: NodePlan, failure: Failed) -> bool:
    return target.ignores_cancelled if isinstance(failure, Cancelled) else target.ignores_failed


def describe(failure: Failed) -> dict[str, str]:
    """A failure as expressions see it: the same in every program, whether it registers the error's type or not."""
    if isinstance(failure.error, StepError):
        return {"type": failure.error.type, "message": failure.error.message}
    return {"type": type_name(type(failure.error)), "message": str(failure.error)}
