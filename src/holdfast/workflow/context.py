"""Where a call finds the run it belongs to.

A context variable holds the *place* of the code that runs now: a ``Branch`` inside a workflow's body, a ``StepInfo``
inside a step's handler, nothing outside a run. Durable operations ask the Branch; the runtime implements it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from holdfast.errors import NotInWorkflow
from holdfast.model.ids import Json, RunId, Tenant
from holdfast.model.status import ParentPolicy

if TYPE_CHECKING:
    from holdfast.core.matching import SignalFilter
    from holdfast.model.definition import CallPolicy
    from holdfast.model.run import Question
    from holdfast.model.search import AttributeValue
    from holdfast.model.status import EntryKind
    from holdfast.workflow.approval import Decision
    from holdfast.workflow.step import Step
    from holdfast.workflow.workflow import Workflow


class RunInfo(Struct, frozen=True, kw_only=True):
    """What ``hf.current()`` answers inside a workflow's body."""

    run_id: RunId
    tenant: Tenant
    workflow: str
    key: str | None
    """The key the run was started with, if any."""
    attempt: int
    """Which run of its lineage this is: 1 unless it was retried."""
    deadline: datetime | None


class StepInfo(Struct, frozen=True, kw_only=True):
    """What ``hf.current()`` answers inside a step's handler."""

    run_id: RunId
    tenant: Tenant
    workflow: str
    step: str
    key: str
    """The step's key, unique in its run."""
    attempt: int
    """1 for the first try."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step, and for no other: hand it to the outside service."""
        return f"{self.run_id}/{self.key}"


class Branch(ABC):
    """One line of execution of a workflow's body: the body itself, or one branch of a gather or map.

    Only the task that runs the branch may use it.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def info(self) -> RunInfo:
        """The run."""

    @abstractmethod
    def call_step(
        self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Give the call its key now; the coroutine executes it, or returns what the journal holds."""

    @abstractmethod
    def record_value(self, name: str, make: Callable[[], Any], type_: Any) -> Any:
        """A value that is made once and recorded with the next commit."""

    @abstractmethod
    def patched(self, name: str) -> bool:
        """Whether the run takes the new path at a change of the body."""

    @abstractmethod
    def set_attributes(self, attributes: dict[str, AttributeValue | None]) -> None:
        """Set search attributes of the run, with the next commit."""

    @abstractmethod
    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Json:
        """The arguments of a successor as they are stored. Raises CannotContinue where the run cannot end."""

    @abstractmethod
    def sleep(self, *, delay: timedelta | None, until: datetime | None, key: str | None) -> Coroutine[Any, Any, None]:
        """Wait for a time."""

    @abstractmethod
    def wait_for_signal(
        self,
        name: str,
        *,
        timeout: timedelta | None,
        type_: Any,
        key: str | None,
        where: SignalFilter | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a signal that passes the filter; SignalTimeout if it does not come in time."""

    @abstractmethod
    def send_signal(
        self, name: str, payload: Any, *, run_id: RunId | None, keep: timedelta | None, key: str | None
    ) -> Coroutine[Any, Any, None]:
        """Send a signal to another run, or to all that wait for it, with the next commit."""

    @abstractmethod
    def read_value(self, value: Any, type_: Any, where: str) -> Any:
        """A plain JSON value as that type. Raises DecodeError."""

    @abstractmethod
    def record_output(self, kind: EntryKind, name: str, value: Any, *, key: str | None) -> Coroutine[Any, Any, None]:
        """Record what others may read: a published value, an item of a stream, a reply."""

    @abstractmethod
    def wait_for_approval(
        self, question: Question, *, timeout: timedelta | None, type_: Any, key: str | None
    ) -> Coroutine[Any, Any, Decision[Any]]:
        """Ask people and wait for the answer of one; ApprovalTimeout if none comes in time."""

    @abstractmethod
    def start_child(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        options: ChildOptions,
    ) -> Coroutine[Any, Any, RunId]:
        """Start a child run, durably, and return its id."""

    @abstractmethod
    def wait_for_child(self, workflow: Workflow[Any, Any], child: RunId) -> Coroutine[Any, Any, Any]:
        """Wait for a child's end and return its result, or raise its error."""

    @abstractmethod
    def run_child(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        options: ChildOptions,
    ) -> Coroutine[Any, Any, Any]:
        """Start a child and wait for it, in one commit."""

    @abstractmethod
    def gather(
        self, awaitables: Iterable[Awaitable[Any]], *, return_exceptions: bool
    ) -> Coroutine[Any, Any, list[Any]]:
        """Run awaitables side by side, each in a branch of its own."""

    @abstractmethod
    def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        concurrency: int,
        tolerate: float | None,
        key: Callable[[Any], str] | None,
    ) -> Coroutine[Any, Any, list[Any]]:
        """Call a function for each item, each in a branch of its own, at most ``concurrency`` at a time."""

    @abstractmethod
    def walk(self, input: Any) -> Coroutine[Any, Any, dict[str, Any]]:  # noqa: A002 - the document's word
        """Do what the run's graph says; the results of the nodes that nothing follows."""

    @abstractmethod
    def run_step(self, name: str, arguments: dict[str, Any], policy: CallPolicy) -> Coroutine[Any, Any, Any]:
        """Execute the step of that name with these JSON values, with a graph's options instead of its own."""

    @abstractmethod
    def run_blocking(self, operation: Callable[[Branch], Coroutine[Any, Any, Any]]) -> Any:
        """From the thread of a plain workflow: run an operation on the loop and wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """How a child is started."""

    key: str | None = None
    queue: str | None = None
    priority: int | None = None
    timeout: timedelta | None = None
    policy: ParentPolicy = ParentPolicy.CANCEL


CURRENT: ContextVar[Branch | StepInfo | None] = ContextVar("holdfast_current", default=None)
"""The place of the code that runs now."""


def current() -> RunInfo | StepInfo:
    """The run (in a workflow's body) or the step and its attempt (in a handler) that this code is part of.

    Raises:
        NotInWorkflow: outside of both.
    """
    place = CURRENT.get()
    if place is None:
        raise NotInWorkflow(operation="hf.current()")
    return place.info if isinstance(place, Branch) else place


def current_step() -> StepInfo:
    """The step and attempt whose handler this code is part of: its idempotency key, say.

    Raises:
        NotInWorkflow: it is not part of a handler that a worker executes.
    """
    place = CURRENT.get()
    if not isinstance(place, StepInfo):
        raise NotInWorkflow(operation="hf.current_step()", where="in the handler of a step")
    return place


def require_branch(operation: str) -> Branch | None:
    """The branch that a durable operation belongs to; None outside a run, where operations just run.

    Raises:
        NotInWorkflow: inside a step's handler, where nothing can be journaled.
    """
    place = CURRENT.get()
    if place is None or isinstance(place, Branch):
        return place
    raise NotInWorkflow(operation=f"{operation}, called in the handler of step {place.step!r}, ")
