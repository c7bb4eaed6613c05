"""What the names of those mean who are told of the ends of runs, and of the steps that they hear of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holdfast.core.names import check_name
from holdfast.errors import UsageError

HANDLER: Final = "@"
"""Begins the names of the subscriptions that are handlers of programs: ``@`` and the handler's workflow."""


def check_subscription(name: str) -> str:
    """The name itself, if a reader may have it. Raises UsageError."""
    if check_name("subscription", name).startswith(HANDLER):
        raise UsageError(f"a subscription's name must not begin with {HANDLER!r}, which handlers' names do: {name!r}")
    return name


def handler_subscription(workflow: str) -> str:
    """The name of the subscription of a handler."""
    return HANDLER + workflow


def step_of(journal_key: str) -> str:
    """The outermost node of a graph that a key of the journal or of a wait belongs to; of a function, the step."""
    places = [place for place in (journal_key.find(mark) for mark in "/#~[") if place > 0]
    return journal_key[: min(places)] if places else journal_key


def failed_steps(journal_keys: Iterable[str]) -> list[str]:
    """The steps that these keys belong to, each once, in order."""
    return sorted({step_of(key) for key in journal_keys})
