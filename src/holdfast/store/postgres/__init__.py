"""The store on PostgreSQL 14 or later, by psycopg 3."""

from holdfast.store.postgres.adapter import PostgresStore

__all__ = ["PostgresStore"]
