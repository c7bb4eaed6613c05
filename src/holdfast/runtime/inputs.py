"""What goes into a run's waits and signals, and what comes out of an approval."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.approvals import read_verdict
from holdfast.core.codec import Codec
from holdfast.core.expressions import Kind, parse
from holdfast.core.ids import derive_id
from holdfast.core.matching import SignalFilter
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import Signal
from holdfast.workflow.approval import Decision
from holdfast.workflow.duration import milliseconds

if TYPE_CHECKING:
    from holdfast.runtime.execution import RunExecution


class _Call(msgspec.Struct, frozen=True):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class _Stored(msgspec.Struct, frozen=True):
    value: _Call


def input_value(function: Callable[..., Any], stored: Json) -> Any:
    """The only argument itself; of several, a mapping by the names of the parameters."""
    call = msgspec.json.decode(stored, type=_Stored).value
    if len(call.args) == 1 and not call.kwargs:
        return call.args[0]
    names = [parameter.name for parameter in inspect.signature(function).parameters.values()]
    return {**dict(zip(names, call.args, strict=False)), **call.kwargs}


def stored_filter(execution: RunExecution, where: SignalFilter, key: str) -> Json:
    """A filter as its wait stores it, with the run's input if it asks for that.

    Raises ExpressionError for one that could never work, PayloadTooLarge.
    """
    expression = parse(where.where)
    values = dict(where.values)
    if "input" in expression.variables and "input" not in values:
        values["input"] = input_value(execution.workflow.function, execution.run.input)
    expression.check(dict.fromkeys([*values, "payload"], Kind.DYN))
    stored = Json(msgspec.json.encode(SignalFilter(where=where.where, values=values)))
    execution.services.codec.check_size(stored, f"the filter of wait {key!r} of run {execution.run.id}")
    return stored


def new_signal(
    execution: RunExecution, key: str, name: str, payload: Any, *, run_id: RunId | None, keep: timedelta | None
) -> Signal:
    """A signal that the run sends under a journal key: always the same one. Raises EncodeError, PayloadTooLarge."""
    return Signal(
        id=RunId(derive_id("signal", execution.run.id, key)),
        tenant=execution.run.tenant,
        name=name,
        payload=execution.services.codec.encode(payload, f"the payload of signal {name!r}"),
        run_id=run_id,
        keep_ms=None if keep is None else milliseconds(keep),
    )


def decision_of(codec: Codec, result: Json, closed_ms: UnixMs, type_: Any, where: str) -> Decision[Any]:
    """What somebody answered, with the data of the form as its type. Raises DecodeError."""
    verdict = read_verdict(result)
    data = bytes(verdict.data)
    return Decision(
        approved=verdict.approved,
        by=verdict.by,
        at=datetime.fromtimestamp(closed_ms / 1000, UTC),
        data=None if data == b"null" else codec.decoder(type_)(codec.wrap(data), where),
        comment=verdict.comment,
    )
