"""Search attributes: what values they may have, and their stored forms.

A value is a text, a number, a truth or a moment; each kind compares with its own kind alone. In the run's row they
are one JSON object, in which a moment is ``{"at_ms": 1700000000000}``; in the search index a value is a row of kind,
text and number, so that one index serves equality and ranges of every kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.search import AttributeValue

INT_MAX: Final = 2**53
"""Beyond it not every whole number is a double, and equality would lie."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = "at_ms"

IndexRow = tuple[str, str, float]
"""Kind, text and number of a value."""


def check_attributes(given: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Attributes as they are stored: moments in UTC, to the millisecond. Raises UsageError for what cannot be one."""
    return {check_name("attribute", name): check_value(name, value) for name, value in given.items()}


def check_value(name: str, value: Any) -> AttributeValue:
    """One value as it is stored. Raises UsageError."""
    match value:
        case bool():
            return value
        case str():
            return check_name(f"value of attribute {name!r}", value)
        case int() if abs(value) <= INT_MAX:
            return value
        case float() if math.isfinite(value):
            return value
        case datetime():
            if value.tzinfo is None:
                raise UsageError(f"attribute {name!r}: {value.isoformat()} has no time zone")
            return _moment((value - _EPOCH) // timedelta(milliseconds=1))
        case int() | float():
            raise UsageError(f"attribute {name!r}: {value!r} is no number up to 2**53 in size")
        case _:
            raise UsageError(
                f"attribute {name!r} is a text, a number, True or False, or a datetime, not {type(value).__name__}"
            )


def plain_attributes(attributes: Mapping[str, AttributeValue | None]) -> dict[str, Any]:
    """The JSON object of a run's row; None stays None."""
    return {
        name: {_MOMENT: _at_ms(value)} if isinstance(value, datetime) else value for name, value in attributes.items()
    }


def read_attributes(plain: object) -> dict[str, AttributeValue]:
    """Attributes of a stored JSON object. Raises ValueError for anything else."""
    if not isinstance(plain, dict):
        raise ValueError("attributes are no object")  # noqa: TRY004 - data, not a caller's mistake
    return {name: _read(value) for name, value in cast("dict[str, Any]", plain).items()}


def index_row(value: AttributeValue) -> IndexRow:
    """Kind, text and number of a value."""
    match value:
        case bool():
            return "bool", "", float(value)
        case str():
            return "text", value, 0.0
        case datetime():
            return "time", "", float(_at_ms(value))
        case _:
            return "number", "", float(value)


def _read(value: Any) -> AttributeValue:
    match value:
        case bool() | str() | float():
            return value
        case int():
            # A database may write a large float without its point.
            return value if abs(value) <= INT_MAX else float(value)
        case {"at_ms": int(at_ms)}:
            return _moment(at_ms)
        case _:
            raise ValueError(f"{value!r} is no attribute value")


def _moment(at_ms: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError as error:
        raise ValueError(f"{at_ms} ms is no moment") from error


def _at_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
