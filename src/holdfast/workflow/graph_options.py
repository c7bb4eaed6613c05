"""What the nodes of a graph may be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypedDict, TypeGuard

from holdfast.core.breakers import Breaker
from holdfast.core.retry import Retry
from holdfast.workflow.step import Step

Handler = Callable[..., Any] | Step[Any, Any]
"""A plain function, or a registered step."""


def is_step(handler: Handler) -> TypeGuard[Step[Any, Any]]:
    """Whether it is a registered step."""
    return isinstance(handler, Step)


Duration = timedelta | float
"""A timedelta, or seconds."""


class NodeOptions(TypedDict, total=False):
    """What every node may be told."""

    after: str | Iterable[str]
    """Keys of the nodes it follows; empty to begin with the run. By default, the node that was added before it."""
    when: str
    """An expression; if it is false the node is passed over."""
    ignore_failed: bool
    """Whether nodes it follows that failed count as done; what the graph says by default."""
    ignore_cancelled: bool
    """Whether nodes it follows that were cancelled count as done; what the graph says by default."""


class CallOptions(NodeOptions, total=False):
    """What a node that calls a handler may be told as well."""

    input: Mapping[str, str]
    """The handler's parameters by name, each an expression."""
    retry: Retry
    """Instead of the step's own."""
    timeout: Duration
    """For one attempt, instead of the step's own."""
    breaker: Breaker
    """Instead of the step's own."""
    queue: str
    """Run it as a run of its own, in this line."""


class With:
    """A handler of one branch with options of its own: ``{"mail": With(create_mailbox, retry=Retry.never())}``."""

    def __init__(
        self,
        handler: Handler,
        *,
        compensate: Handler | None = None,
        input: Mapping[str, str] | None = None,  # noqa: A002 - the document's word
        retry: Retry | None = None,
        timeout: Duration | None = None,
        breaker: Breaker | None = None,
        queue: str | None = None,
    ) -> None:
        self.handler = handler
        self.compensate = compensate
        self.input = dict(input or {})
        self.retry = retry
        self.timeout = timeout
        self.breaker = breaker
        self.queue = queue
