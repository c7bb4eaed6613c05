"""Alembic's environment: it runs the revisions on the connection and in the transaction that ``migrate`` opened."""

from alembic import context

from holdfast.store.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
