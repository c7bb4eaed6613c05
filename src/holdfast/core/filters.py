"""The filter language: ``status:failed workflow:order attr.customer=42 created>2h "no route"``, as people type it.

Terms stand beside each other and must all hold. A term is a field, an operator and a value; a value with blanks or
quotes in it is written in double quotes, with a backslash before a quote inside. What is no term is free text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdfast.core.attributes import check_value
from holdfast.core.ids import check_run_id
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, AttributeValue, RunOrder, WaitingOn
from holdfast.model.status import RunStatus

_TERM: Final = re.compile(
    r"""(?P<field>attr\.(?:"(?:[^"\\]|\\.)*"|[^\s"=<>]+)|[a-z_]+)(?P<operator><=|>=|[:=<>])(?P<value>"(?:[^"\\]|\\.)*"|\S*)"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>\S+)"""
)
_AGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(s|m|h|d|w)", re.ASCII)
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

FIELDS: Final = (
    "status",
    "workflow",
    "type",
    "version",
    "queue",
    "key",
    "parent",
    "root",
    "waiting",
    "error",
    "fingerprint",
    "created",
    "updated",
    "ended",
    "order",
    "attr.NAME",
)


def parse_filter(text: str, *, now_ms: UnixMs) -> RunFilter:
    """The filter that a text describes. Raises UsageError, which quotes the term that cannot be read."""
    parser = _Parser(now_ms)
    for match in _TERM.finditer(text):
        if match["field"] is None:
            parser.add_word(_unquoted(match["quoted"]) if match["quoted"] is not None else match["word"])
        else:
            parser.add(match["field"], match["operator"], match["value"], term=match[0])
    return parser.filter()


def parse_waiting(text: str) -> WaitingOn:
    """``signal:order.approved``, ``timer``, ``child:ID``, ``queue:mail``: what is waited for, and a name.

    Raises UsageError.
    """
    kind, _, name = text.partition(":")
    if not name:
        return WaitingOn(check_name("wait", kind))
    return WaitingOn(check_name("wait", kind), check_run_id(name) if kind == "child" else check_name("wait", name))


def parse_value(text: str) -> AttributeValue:
    """An attribute's value as it is typed: a number, ``true`` or ``false``, an ISO date or time, else a text.

    In double quotes it is a text whatever it looks like. Raises UsageError.
    """
    if text.startswith('"'):
        return _unquoted(text)
    if text in {"true", "false"}:
        return text == "true"
    if _NUMBER.fullmatch(text):
        number = int(text) if text.lstrip("+-").isdigit() else float(text)
        return number if math.isfinite(number) else text
    if _MOMENT.fullmatch(text):
        return _moment(text)
    return text


class _Parser:
    def __init__(self, now_ms: UnixMs) -> None:
        self._now_ms = now_ms
        self._given: dict[str, Any] = {}
        self._attributes: dict[str, AttributeValue] = {}
        self._ranges: list[AttributeRange] = []
        self._words: list[str] = []

    def add_word(self, word: str) -> None:
        """A piece of free text."""
        self._words.append(word)

    def add(self, field: str, operator: str, value: str, *, term: str) -> None:
        """A term. Raises UsageError."""
        if not value:
            raise UsageError(f"{term!r} has no value")
        if field.startswith("attr."):
            self._add_attribute(_unquoted(field[5:]), operator, value, term)
        elif field in _TIMES:
            self._add_time(field, operator, _unquoted(value), term)
        elif field in _READERS:
            if operator not in ":=":
                raise UsageError(f"{term!r}: {field} is compared with : alone")
            name, read = _READERS[field]
            try:
                self._put(name, read(_unquoted(value)), term)
            except ValueError as error:
                raise UsageError(f"{term!r}: {error}") from error
        else:
            raise UsageError(f"{term!r}: there is no field {field!r}; there are {', '.join(FIELDS)}")

    def filter(self) -> RunFilter:
        """What all terms say together."""
        return RunFilter(
            **self._given,
            attributes=self._attributes,
            ranges=tuple(self._ranges),
            text=" ".join(self._words) or None,
        )

    def _put(self, name: str, value: Any, term: str) -> None:
        if name in self._given:
            raise UsageError(f"{term!r}: it is given twice")
        self._given[name] = value

    def _add_attribute(self, name: str, operator: str, value: str, term: str) -> None:
        check_name("attribute", name)
        read = check_value(name, parse_value(value))
        match operator:
            case ":" | "=":
                if name in self._attributes:
                    raise UsageError(f"{term!r}: it is given twice")
                self._attributes[name] = read
            case "<" | "<=" | ">" | ">=":
                self._ranges.append(AttributeRange(name, operator, read))
            case _:
                raise UsageError(f"{term!r}: an attribute is compared with =, <, <=, > or >=")

    def _add_time(self, field: str, operator: str, value: str, term: str) -> None:
        name = _TIMES[field]
        moment_ms = self._moment_ms(value, term)
        # A range takes in its beginning and not its end; times are whole milliseconds.
        match operator:
            case ">=":
                self._put(f"{name}_from_ms", moment_ms, term)
            case ">":
                self._put(f"{name}_from_ms", moment_ms + 1, term)
            case "<":
                self._put(f"{name}_before_ms", moment_ms, term)
            case "<=":
                self._put(f"{name}_before_ms", moment_ms + 1, term)
            case _:
                raise UsageError(f"{term!r}: a time is compared with <, <=, > or >=: {field}>2h, {field}<2026-01-31")

    def _moment_ms(self, value: str, term: str) -> int:
        """A date or time, or an age: ``2h`` is two hours ago."""
        age = _AGE.fullmatch(value)
        if age is not None:
            return self._now_ms - int(float(age[1]) * _UNIT_MS[age[2]])
        if not _MOMENT.fullmatch(value):
            raise UsageError(f"{term!r}: a time is written 2026-01-31, 2026-01-31T12:00:00Z, or as an age: 90s, 2h, 7d")
        return (_moment(value) - _EPOCH) // timedelta(milliseconds=1)


def _statuses(value: str) -> frozenset[RunStatus]:
    try:
        return frozenset(RunStatus(one) for one in value.split(","))
    except ValueError as error:
        raise ValueError(f"{error}; the statuses are {', '.join(one.value for one in RunStatus)}") from None


def _order(value: str) -> RunOrder:
    try:
        return RunOrder(value)
    except ValueError:
        raise ValueError(f"the orders are {', '.join(one.value for one in RunOrder)}") from None


_READERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "status": ("statuses", _statuses),
    "workflow": ("workflow", str),
    "type": ("workflow", str),
    "version": ("version", int),
    "queue": ("queue", str),
    "key": ("key", str),
    "parent": ("parent_id", check_run_id),
    "root": ("root_id", check_run_id),
    "forked": ("forked_from_id", check_run_id),
    "waiting": ("waiting_on", parse_waiting),
    "error": ("error_type", str),
    "fingerprint": ("fingerprint", str),
    "order": ("order", _order),
}
_TIMES: Final = {"created": "created", "updated": "updated", "ended": "finalized"}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no date or time: {error}") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _unquoted(text: str) -> str:
    if not (text.startswith('"') and text.endswith('"') and len(text) > 1):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])
