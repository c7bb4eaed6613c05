"""One operation of a random sequence, and how its answers are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.model.commit import CommitAnswer
from holdfast.model.run import Claim
from tests.contract.stores import OpenStore


@dataclass(frozen=True)
class Failure:
    """A typed error as an answer."""

    kind: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Step:
    """One operation: what it is called, how it is done, and whether an answer shows that it did something."""

    kinds: tuple[str, ...]
    act: Callable[[OpenStore], Any]
    worked: Callable[[Any], bool] = lambda _: True


def perform(step: Step, opened: OpenStore) -> Any:
    """The step's answer at this store, in a form that can be compared."""
    try:
        answer = step.act(opened)
    except HoldfastError as error:
        facts = {name: str(error.facts[name]) for name in ("run_id", "status") if name in error.facts}
        return Failure(type(error).__name__, tuple(facts.items()))
    if isinstance(answer, CommitAnswer):
        # The words of a refusal are for people; each store has its own.
        return CommitAnswer(
            answer.now_ms,
            dict.fromkeys(sorted(answer.refused), ""),
            dict.fromkeys(sorted(answer.broken), ""),
            answer.waits,
            sorted(answer.cancel_requested),
        )
    return answer


def accepted(answer: Any) -> bool:
    """Whether a commit was accepted."""
    return isinstance(answer, CommitAnswer) and not answer.refused and not answer.broken


def claimed(answer: Any) -> bool:
    """Whether a claim got something."""
    return isinstance(answer, Claim) and bool(answer.runs)
