"""The first tables. Marked pre: it only adds."""

from alembic import op

from holdfast.store.migrations.script import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables and indexes."""
    run_script(op.get_bind(), revision)
