"""Which revisions of the tables there are, and which of them this version works with.

``store.migrations`` brings a database to ``HEAD``; an adapter's ``check_schema`` only looks, with ``check_revision``.
"""

from __future__ import annotations

from typing import Final

from holdfast.errors import SchemaTooNew, SchemaTooOld

VERSION_TABLE: Final = "holdfast_version"
"""Alembic's version table: one row, one column ``version_num``."""

REVISIONS: Final = ("0001",)
"""Every revision this version knows, oldest first."""

HEAD: Final = REVISIONS[-1]
"""The revision that ``migrate`` brings a database to."""


def check_revision(url: str, found: str | None) -> None:
    """Return if ``found``, the database's revision (None for no tables at all), is the one this version needs.

    Raises:
        SchemaTooOld: there are no tables, or an older revision's.
        SchemaTooNew: the revision is unknown here, so a newer version of holdfast made it.
    """
    if found == HEAD:
        return
    if found is None or found in REVISIONS:
        raise SchemaTooOld(url=url, found=found or "none", needed=HEAD)
    raise SchemaTooNew(url=url, found=found)
