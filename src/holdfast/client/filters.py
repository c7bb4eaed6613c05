"""Which runs, as programs say it: the filter language, keywords, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict

from msgspec import structs

from holdfast.core.attributes import check_attributes
from holdfast.core.filters import parse_filter, parse_waiting
from holdfast.core.ids import check_run_id
from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeValue, RunOrder
from holdfast.model.status import RunStatus
from holdfast.workflow.duration import unix_milliseconds


class Filters(TypedDict, total=False):
    """Which runs; every given one must match, and those of a filter text besides."""

    status: RunStatus | str | Iterable[RunStatus | str] | None
    """One status, or several."""
    workflow: str | None
    version: int | None
    """The version of the definition that it was started with."""
    queue: str | None
    key: str | None
    parent_id: str | None
    root_id: str | None
    forked_from_id: str | None
    """Forks of this run."""
    created_from: datetime | None
    created_before: datetime | None
    updated_from: datetime | None
    updated_before: datetime | None
    finalized_from: datetime | None
    finalized_before: datetime | None
    attributes: Mapping[str, AttributeValue]
    """Search attributes with these values; ranges are said in the filter language: ``attr.total>=10``."""
    waiting_on: str | None
    """An open wait: ``signal:order.approved``, ``timer``, ``child``, ``retry``."""
    error_type: str | None
    fingerprint: str | None
    text: str | None
    """Is part of key, workflow or the error's message."""
    order: RunOrder | str
    """newest (the default), oldest, or ended: last ended first."""


def filter_from(query: str | None, given: Filters, *, now_ms: UnixMs) -> RunFilter:
    """The filter of a text in the filter language and of keywords. Raises UsageError."""
    where = RunFilter() if query is None else parse_filter(query, now_ms=now_ms)
    changes: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if name in {"workflow", "version", "queue", "key", "error_type", "fingerprint", "text"} and value is not None
    }
    for name in ("parent_id", "root_id", "forked_from_id"):
        run_id: Any = given.get(name)
        if run_id is not None:
            changes[name] = check_run_id(run_id)
    for name in ("created", "updated", "finalized"):
        for end in ("from", "before"):
            moment: Any = given.get(f"{name}_{end}")
            if moment is not None:
                changes[f"{name}_{end}_ms"] = _moment(moment)
    statuses = _statuses(given.get("status"))
    if statuses:
        changes["statuses"] = statuses
    attributes = given.get("attributes")
    if attributes:
        changes["attributes"] = {**where.attributes, **check_attributes(attributes)}
    waiting_on = given.get("waiting_on")
    if waiting_on is not None:
        changes["waiting_on"] = parse_waiting(waiting_on)
    if "order" in given:
        changes["order"] = _order(given["order"])
    return structs.replace(where, **changes)


def _statuses(status: RunStatus | str | Iterable[RunStatus | str] | None) -> frozenset[RunStatus]:
    wanted = [] if status is None else [status] if isinstance(status, str) else list(status)
    try:
        return frozenset(RunStatus(one) for one in wanted)
    except ValueError as error:
        known = ", ".join(one.value for one in RunStatus)
        raise UsageError(f"{error}; the statuses are {known}") from None


def _order(order: RunOrder | str) -> RunOrder:
    try:
        return RunOrder(order)
    except ValueError as error:
        raise UsageError(f"{error}; the orders are {', '.join(one.value for one in RunOrder)}") from None


def _moment(moment: datetime) -> UnixMs:
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone")
    return UnixMs(unix_milliseconds(moment))
