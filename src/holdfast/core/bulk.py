"""Bulk jobs: their stored form, and the ids that make a repeated batch do nothing."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from msgspec import structs

from holdfast.core.attributes import plain_attributes, read_attributes
from holdfast.core.ids import derive_id
from holdfast.model.bulk import Action
from holdfast.model.ids import RunId
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, RunOrder, WaitingOn
from holdfast.model.status import RunStatus

_actions: Final = msgspec.json.Decoder(Action)


def encode_action(action: Action) -> str:
    """An action as it is stored."""
    return msgspec.json.encode(action).decode()


def decode_action(text: str) -> Action:
    """Read back what ``encode_action`` made. Raises ValueError."""
    action: Action = _actions.decode(text)
    return action


def word_of(action: Action) -> str:
    """The action's word, as on the command line."""
    return str(action.__struct_config__.tag)


def command_id(job_id: RunId, run_id: RunId) -> RunId:
    """The id of what a job does to a run: done again, it does nothing."""
    return RunId(derive_id("bulk", job_id, run_id))


def encode_filter(where: RunFilter) -> str:
    """A filter as it is stored."""
    plain: dict[str, Any] = msgspec.to_builtins(structs.replace(where, attributes={}, ranges=()))
    plain["attributes"] = plain_attributes(where.attributes)
    plain["ranges"] = [[one.name, one.operator, plain_attributes({"value": one.value})] for one in where.ranges]
    return msgspec.json.encode(plain).decode()


def decode_filter(text: str) -> RunFilter:
    """Read back what ``encode_filter`` made. Raises ValueError."""
    plain: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    waiting = cast("dict[str, Any] | None", plain["waiting_on"])
    given: dict[str, Any] = {
        **plain,
        "statuses": frozenset(RunStatus(one) for one in plain["statuses"]),
        "order": RunOrder(plain["order"]),
        "waiting_on": None if waiting is None else WaitingOn(**waiting),
        "attributes": read_attributes(plain["attributes"]),
        "ranges": tuple(
            AttributeRange(name, operator, read_attributes(value)["value"]) for name, operator, value in plain["ranges"]
        ),
    }
    return RunFilter(**given)
