"""Signals as workflows hear and send them, and what a run lets others read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, overload

from msgspec import Struct

from holdfast.core.expressions import ExpressionError, parse
from holdfast.core.ids import check_run_id
from holdfast.core.matching import SignalFilter
from holdfast.core.names import check_name
from holdfast.errors import NotInWorkflow, UsageError
from holdfast.model.status import EntryKind
from holdfast.workflow.context import Branch, require_branch
from holdfast.workflow.duration import optional_seconds

T = TypeVar("T")

UPDATE_PREFIX: Final = "update:"
"""The name of the signal that carries an update is this and the update's name."""


@overload
async def wait_for_signal(
    name: str,
    *,
    where: str | None = None,
    values: Mapping[str, Any] = {},
    timeout: timedelta | float | None = None,
    key: str | None = None,
) -> Any: ...
@overload
async def wait_for_signal(
    name: str,
    type_: type[T],
    *,
    where: str | None = None,
    values: Mapping[str, Any] = {},
    timeout: timedelta | float | None = None,
    key: str | None = None,
) -> T: ...
async def wait_for_signal(
    name: str,
    type_: Any = Any,
    *,
    where: str | None = None,
    values: Mapping[str, Any] = {},
    timeout: timedelta | float | None = None,
    key: str | None = None,
) -> Any:
    """Wait for a signal of that name and return its payload.

    A signal sent to this run before the wait was opened is kept and consumed by it, oldest first; so is one that was
    sent to all and is still kept.

    Args:
        name: the signal's name.
        type_: the payload's type; plain JSON values by default.
        where: only a signal for which this expression is true, such as ``"payload.order == input.id"``. It may read
            ``payload``, ``input`` (the run's only argument, or its arguments by name) and the names of ``values``.
        values: more values for the filter: plain JSON.
        timeout: a timedelta, or seconds; no limit by default.
        key: an explicit key in the run's journal.

    Raises:
        SignalTimeout: none came in time.
        DecodeError: the payload does not fit the type.
        UsageError: the filter is no expression, or reads something else.
        NotInWorkflow: outside a run.
    """
    check_name("signal", name)
    limit = optional_seconds(timeout, "the timeout of hf.wait_for_signal()")
    wanted = None if where is None else _filter(where, values)
    branch = _branch("hf.wait_for_signal()")
    return await branch.wait_for_signal(name, timeout=limit, type_=type_, key=key, where=wanted)


def _filter(where: str, values: Mapping[str, Any]) -> SignalFilter:
    try:
        expression = parse(where)
    except ExpressionError as error:
        raise UsageError(f"the filter {where!r} is no expression: {error}") from error
    unknown = expression.variables - {"payload", "input", *values}
    if unknown:
        raise UsageError(f"the filter {where!r} reads {sorted(unknown)}: pass them with values=")
    return SignalFilter(where=where, values=dict(values))


async def signal(
    name: str,
    payload: Any = None,
    *,
    run_id: str | None = None,
    keep: timedelta | float | None = None,
    key: str | None = None,
) -> None:
    """Send a signal from this run: to one run, or to all of the tenant that wait for it. Journaled, so sent once.

    It is accepted together with the run's next records, and delivered soon after. One to a run that has ended by then
    is dropped.

    Args:
        name: the signal's name.
        payload: any value that can be stored.
        run_id: the run; all that wait for it, if None.
        keep: a timedelta, or seconds: how long it is kept for waits to come. Without it one to a single run is kept
            until it is consumed, and one to all not at all.
        key: an explicit key in the run's journal.

    Raises:
        NotInWorkflow: outside a run.
    """
    check_name("signal", name)
    kept = optional_seconds(keep, "keep of hf.signal()")
    receiver = None if run_id is None else check_run_id(run_id)
    await _branch("hf.signal()").send_signal(name, payload, run_id=receiver, keep=kept, key=key)


async def publish(name: str, value: Any) -> None:
    """Let others read a value of this run, under a name: ``client.read``. The last one published counts.

    Recorded with the run's next records. Raises NotInWorkflow outside a run.
    """
    await _branch("hf.publish()").record_output(EntryKind.PUBLISHED, check_name("value", name), value, key=None)


async def emit(stream: str, value: Any) -> None:
    """Append a value to one of this run's streams: ``client.stream`` reads it from any place, again and again.

    Recorded with the run's next records. Raises NotInWorkflow outside a run.
    """
    await _branch("hf.emit()").record_output(EntryKind.EMITTED, check_name("stream", stream), value, key=None)


class UpdateRequest(Struct, frozen=True):
    """What ``client.update`` sends: the id that its reply is found by, and the value."""

    id: str
    value: Any = None


class UpdateReply(Struct, frozen=True, omit_defaults=True):
    """The recorded reply to an update."""

    value: Any = None
    refused: str | None = None


class Update(Generic[T]):
    """A request to change something in a running workflow; it is to be answered or refused, once."""

    def __init__(self, request_id: str, value: T) -> None:
        self.id = request_id
        self.value = value

    async def answer(self, value: Any = None) -> None:
        """Answer it: ``client.update`` returns this value. Recorded with the run's next records, once."""
        await self._reply(UpdateReply(value))

    async def refuse(self, why: str) -> None:
        """Refuse it: ``client.update`` raises UpdateRefused with these words."""
        await self._reply(UpdateReply(refused=why))

    async def _reply(self, reply: UpdateReply) -> None:
        branch = _branch("update.answer()")
        await branch.record_output(EntryKind.REPLY, self.id, reply, key=f"reply:{self.id}")


async def updates(
    name: str,
    type_: type[T] = object,  # type: ignore[assignment]  # the default is any JSON value
    *,
    check: Callable[[T], str | None] | None = None,
) -> AsyncGenerator[Update[T]]:
    """The updates that are sent to this run under a name, as they come: ``async for update in hf.updates("price")``.

    Args:
        name: the update's name.
        type_: the type of its value; plain JSON by default. What does not fit is refused.
        check: says why a value is refused, or None if it is welcome. Depends on nothing but the value and the run's own
            state.
    """
    check_name("update", name)
    branch = _branch("hf.updates()")
    while True:
        request = await branch.wait_for_signal(f"{UPDATE_PREFIX}{name}", timeout=None, type_=UpdateRequest, key=None)
        try:
            value = branch.read_value(request.value, type_, f"the value of update {name!r}")
        except UsageError as error:
            await Update(request.id, None).refuse(str(error))
            continue
        update: Update[Any] = Update(request.id, value)
        why = None if check is None else check(value)
        if why is None:
            yield update
        else:
            await update.refuse(why)


def _branch(operation: str) -> Branch:
    branch = require_branch(operation)
    if branch is None:
        raise NotInWorkflow(operation=operation)
    return branch
