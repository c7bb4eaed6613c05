"""Records as plain JSON values, for ``--json``.

Field names are those of the records; payloads are decoded; times stay integer milliseconds since 1970.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

import msgspec

from holdfast.cli.output import one_line
from holdfast.errors import HoldfastError
from holdfast.model.ids import Json
from holdfast.model.run import Run

Plain = dict[str, Any]

_PRIVATE_FACTS = {"message", "failure"}


def plain_payload(payload: Json | None) -> Any:
    """The value that a payload holds. One that is no JSON becomes ``{"unreadable": why}``, and hides nothing else."""
    if payload is None:
        return None
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return {"unreadable": str(error)}
    if isinstance(document, dict) and list(cast("Plain", document)) == ["value"]:
        return cast("Plain", document)["value"]
    return cast("Any", document)


def plain_call(payload: Json) -> tuple[list[Any], Plain] | None:
    """The arguments that a run's input holds, None if it holds something else."""
    call = plain_payload(payload)
    if not isinstance(call, dict) or not set(cast("Plain", call)) <= {"args", "kwargs"}:
        return None
    parts = cast("Plain", call)
    return parts.get("args", []), parts.get("kwargs", {})


def plain(value: Any) -> Any:
    """A record, or a list of records, as plain values."""
    if isinstance(value, bytes):
        return plain_payload(Json(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in cast("Plain", value).items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def plain_run(run: Run) -> Plain:
    """A run with its payloads; its input as ``args`` and ``kwargs``."""
    shape = cast("Plain", plain(run))
    call = plain_call(run.input)
    if call is not None:
        shape["input"] = {"args": call[0], "kwargs": call[1]}
    return shape


def plain_listed(run: Run) -> Plain:
    """A run of a listing: without input and result, and of its error only type and message."""
    shape = {name: plain(getattr(run, name)) for name in run.__struct_fields__ if name not in {"input", "result"}}
    error: Any = shape["error"]
    if isinstance(error, dict):
        known = cast("Plain", error)
        shape["error"] = {name: known.get(name) for name in ("type", "message")}
    return shape


def plain_facts(error: HoldfastError) -> Plain:
    """What the error knows, as far as it is plain."""
    facts: Plain = error.facts
    return {
        name: one_line(value) if isinstance(value, str) else value
        for name, value in facts.items()
        if name not in _PRIVATE_FACTS and (value is None or isinstance(value, str | int | float))
    }
