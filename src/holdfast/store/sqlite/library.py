"""What the SQLite library at hand can and cannot do."""

from __future__ import annotations

from typing import Final

from holdfast.errors import StoreMisconfigured

Version = tuple[int, int, int]

OLDEST: Final[Version] = (3, 38, 0)
"""The first with all that the statements use (``->>`` came last)."""


def has_wal_reset_bug(version: Version) -> bool:
    """Whether this library can corrupt a file when a checkpoint races another connection's commit that resets the WAL.

    https://sqlite.org/wal.html#walresetbug: 3.7.0 to 3.51.2, but for the backports 3.44.6 and 3.50.7.
    """
    backported = (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0)
    return (3, 7, 0) <= version < (3, 51, 3) and not backported


def check_library(url: str, version: Version) -> None:
    """Raises StoreMisconfigured if the library is too old for the statements."""
    if version < OLDEST:
        found, needed = (".".join(map(str, each)) for each in (version, OLDEST))
        raise StoreMisconfigured(url=url, why=f"the SQLite library is {found}, and {needed} or later is needed")
