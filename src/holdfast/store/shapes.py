"""The shape of a filter: what decides the text of a statement, apart from the values that are its parameters.

Building and compiling a listing's statement takes longer than executing it, so it is done once per shape. Nothing that
a client gives gets into the text: its values are parameters, named here and bound in ``search``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from holdfast.core.attributes import index_row
from holdfast.model.ids import Tenant
from holdfast.model.run import RunFilter
from holdfast.model.search import RunOrder
from holdfast.model.status import ACTIVE_STATUSES, RunStatus
from holdfast.store.paging import PageCursor

LIKE_ESCAPE = "/"

_PLAIN = (
    "workflow",
    "version",
    "queue",
    "key",
    "parent_id",
    "root_id",
    "forked_from_id",
    "error_type",
    "fingerprint",
    "text",
)
_TIMES = tuple(f"{stem}_{end}_ms" for stem in ("created", "updated", "finalized") for end in ("from", "before"))


class Lead(StrEnum):
    """The index by which the keys of a page are found, in order. It serves a part of the filter."""

    GATHERED = "gathered"
    """By a key, a root or a wait that few have: all of them are read, looked at and sorted."""
    PARENT = "parent_id"
    FORKED = "forked_from_id"
    ATTRIBUTE = "attribute"
    """By the first of the attributes."""
    FINGERPRINT = "fingerprint"
    ERROR_TYPE = "error_type"
    ENDED = "ended"
    STATUS = "status"
    """By status, and workflow if one is asked for: one look per status, merged."""


SERVED: Final[dict[Lead, frozenset[str]]] = {
    Lead.PARENT: frozenset({"parent_id", "created"}),
    Lead.FORKED: frozenset({"forked_from_id", "created"}),
    Lead.ATTRIBUTE: frozenset({"attribute_0", "created"}),
    Lead.FINGERPRINT: frozenset({"fingerprint", "created"}),
    Lead.ERROR_TYPE: frozenset({"error_type", "created"}),
    Lead.ENDED: frozenset({"finalized"}),
    Lead.STATUS: frozenset({"workflow", "statuses", "created"}),
}
"""Which conditions the index of a lead serves; gathering looks at all of them."""


class Shape(Struct, frozen=True):
    """What is asked for, without the values."""

    given: frozenset[str]
    """The names of the plain fields and times that are given."""
    statuses: frozenset[RunStatus]
    """The statuses that a run may have."""
    order: RunOrder
    waiting: str | None
    """Whether an open wait is asked for: ``kind``, or with its name: ``signal``, ``child``. For what runs of the line
    wait for: that word, with ``=`` behind it if it is named."""
    attributes: int
    """How many attributes have to be equal."""
    ranges: tuple[tuple[str, bool], ...]
    """Of each range the operator, and whether it compares texts."""

    @property
    def asked(self) -> frozenset[str]:
        """The names of the conditions that runs have to meet."""
        moments = {name for name in _TIMES if name in self.given}
        names = {*self.given.difference(moments), *(name.partition("_")[0] for name in moments)}
        names |= {f"attribute_{number}" for number in range(self.attributes)}
        names |= {f"range_{number}" for number in range(len(self.ranges))}
        if self.statuses != frozenset(RunStatus):
            names.add("statuses")
        return frozenset(names if self.waiting is None else {*names, "waiting"})

    def lead(self, *, few_wait: bool) -> Lead:
        """The index to go by; ``few_wait`` says that few runs have the wait that is asked for by its name."""
        if few_wait or not self.given.isdisjoint({"key", "root_id"}):
            return Lead.GATHERED
        if self.order is RunOrder.ENDED:
            return Lead.ENDED
        if "parent_id" in self.given:
            return Lead.PARENT
        if "forked_from_id" in self.given:
            return Lead.FORKED
        if self.attributes:
            return Lead.ATTRIBUTE
        by_error = (lead for lead in (Lead.FINGERPRINT, Lead.ERROR_TYPE) if lead.value in self.given)
        return next(by_error, Lead.STATUS)


def shape_of(where: RunFilter) -> Shape:
    """The shape of a filter."""
    waiting = None
    if where.waiting_on is not None:
        waiting = "kind"
        if where.waiting_on.name is not None:
            waiting = "child" if where.waiting_on.kind == "child" else "signal"
        if where.waiting_on.in_line:
            waiting = where.waiting_on.kind + ("" if where.waiting_on.name is None else "=")
    return Shape(
        given=frozenset(name for name in (*_PLAIN, *_TIMES) if getattr(where, name) is not None),
        statuses=_statuses_of(where),
        order=where.order,
        waiting=waiting,
        attributes=len(where.attributes),
        ranges=tuple((one.operator, index_row(one.value)[0] == "text") for one in where.ranges),
    )


def values_of(tenant: Tenant, where: RunFilter, *, after: PageCursor | None = None) -> dict[str, Any]:
    """The values of a statement's parameters, by name; more than any one statement has."""
    values: dict[str, Any] = {name: getattr(where, name) for name in (*_PLAIN, *_TIMES)}
    values["tenant"] = tenant
    if where.text is not None:
        needle = where.text.lower()
        for special in (LIKE_ESCAPE, "%", "_"):
            needle = needle.replace(special, LIKE_ESCAPE + special)
        values["text"] = needle
    if where.waiting_on is not None:
        values |= {"wait_kind": where.waiting_on.kind, "wait_name": where.waiting_on.name}
    for number, (name, value) in enumerate(where.attributes.items()):
        values |= _valued(f"attribute_{number}", name, value)
    for number, one in enumerate(where.ranges):
        values |= _valued(f"range_{number}", one.name, one.value)
    if after is not None:
        values |= {"after_ms": after.created_ms, "after_id": after.id}
    return values


def _valued(prefix: str, name: str, value: Any) -> dict[str, Any]:
    kind, text, number = index_row(value)
    return {f"{prefix}_name": name, f"{prefix}_kind": kind, f"{prefix}_text": text, f"{prefix}_number": number}


def _statuses_of(where: RunFilter) -> frozenset[RunStatus]:
    """Only an active run waits."""
    wanted = where.statuses or frozenset(RunStatus)
    return wanted if where.waiting_on is None else wanted & ACTIVE_STATUSES
