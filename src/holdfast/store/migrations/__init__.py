"""The tables and how they come to be: Alembic revisions, run by ``migrate`` and never edited once released.

A revision executes its dialect's DDL file, ``NNNN_sqlite.sql`` or ``NNNN_postgresql.sql``, in one transaction together
with the change of the version table, so that a migration is done as a whole or not at all.
"""

from holdfast.store.migrations.migrate import current_revision, migrate
from holdfast.store.schema import HEAD, REVISIONS

__all__ = ["HEAD", "REVISIONS", "current_revision", "migrate"]
