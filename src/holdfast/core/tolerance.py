"""How many items of a map may fail."""

from __future__ import annotations

from holdfast.errors import UsageError


def failures_allowed(tolerate: float | None, *, items: int) -> int:
    """The number of failures that ``tolerate`` allows: a share of the items if below 1, else a number.

    Raises:
        UsageError: it is negative or not a number.
    """
    if tolerate is None:
        return 0
    if not tolerate >= 0:
        raise UsageError(f"tolerate must be 0 or more, not {tolerate!r}")
    return int(tolerate * items) if tolerate < 1 else int(min(tolerate, items))
