"""The second wall between tenants: PostgreSQL's row-level security, switched on and off by an operator.

The first wall is that every statement names its tenant. Behind the second one, a statement that forgets to sees the
rows of its transaction's tenant all the same, and none if the transaction named nobody (``scope.py``).

A table is behind the wall if its rows have a tenant or a run. Those with a tenant are compared with the transaction's;
those that only have a run are seen by way of it. Members of ``holdfast_worker`` may act for all tenants, and must say
so; members of ``holdfast_client`` act for one. Superusers, roles with BYPASSRLS, and whoever can switch it off again
are not stopped: programs must not connect as one of these.

It is built in two steps, and taken down in the opposite order: first the policies, which do nothing by themselves but
tell running processes to name their tenants; then, when all of these have looked, it is enabled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from holdfast.errors import StoreMisconfigured, StoreUnavailable
from holdfast.store.postgres.connection import Address
from holdfast.store.postgres.scope import LOOK_S
from holdfast.store.postgres.sqlstate import Meaning, meaning_of
from holdfast.store.postgres.statements import literal
from holdfast.store.urls import one_line

SETTLE_S: Final = 2 * LOOK_S
"""How long it takes until every running process has noticed."""

_LOCK_ATTEMPTS: Final = 30
_LOCK_TIMEOUT: Final = "set local lock_timeout = '1s'"

_FOR_ALL: Final = """
create policy all_tenants on {table} to holdfast_worker
 using ((select current_setting('holdfast.all_tenants', true)) = 'on')
"""
_BY_TENANT: Final = """
create policy one_tenant on {table} using (tenant = (select nullif(current_setting('holdfast.tenant', true), '')))
"""
# What programs subscribed to for all tenants: the end of a run must find it, whoever ends the run.
_FOR_EVERY_TENANT: Final = """
create policy every_tenant on {table} for select
 using (tenant = '' and (select current_setting('holdfast.tenant', true)) <> '')
"""
# With an offset the planner does not think of reading all runs first.
_BY_RUN: Final = """
create policy one_tenant on {table}
 using (exists (select from holdfast.runs r where r.shard = {table}.shard and r.id = {table}.run_id offset 0))
  with check (holdfast.is_ours(shard, run_id))
"""
_NO_POLICIES: Final = (
    "drop policy if exists all_tenants on {table}",
    "drop policy if exists one_tenant on {table}",
    "drop policy if exists every_tenant on {table}",
)
_CLOSE: Final = ("alter table {table} enable row level security, force row level security",)
_OPEN: Final = ("alter table {table} no force row level security, disable row level security",)

_FUNCTION: Final = """
create or replace function holdfast.is_ours(given_shard smallint, given_run uuid) returns boolean
language plpgsql volatile as $$
begin
    return exists (select from holdfast.runs r where r.shard = given_shard and r.id = given_run);
end $$;
comment on function holdfast.is_ours is
    'Whether whoever asks sees this run, also one that the same statement has recorded (hence volatile).';
"""

_ROLES: Final = """
do $$ begin
    if to_regrole('holdfast_client') is null then create role holdfast_client nologin; end if;
    if to_regrole('holdfast_worker') is null then create role holdfast_worker nologin; end if;
exception when duplicate_object or unique_violation then null;  -- another database of this server was quicker
end $$;
"""

_GRANTS: Final = """
do $$
declare
    owner regrole := (select c.relowner::regrole from pg_class c where c.oid = 'holdfast.runs'::regclass);
begin  -- who migrates must see what there is
    if not pg_has_role(owner, 'holdfast_worker', 'usage') then
        execute format('grant holdfast_worker to %s', owner);
    end if;
end $$;
grant usage on schema holdfast to holdfast_client, holdfast_worker;
grant select, insert, update, delete on all tables in schema holdfast to holdfast_client, holdfast_worker;
grant execute on all functions in schema holdfast to holdfast_client, holdfast_worker;
grant select on holdfast_version to holdfast_client, holdfast_worker;
"""

_GRANT: Final = "grant select, insert, update, delete on {table} to holdfast_client, holdfast_worker"

_TABLES: Final = """
select c.relname, bool_or(a.attname = 'tenant'), c.relrowsecurity and c.relforcerowsecurity,
       (select count(*) from pg_policy p where p.polrelid = c.oid and p.polname in ('all_tenants', 'one_tenant')) = 2
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attname in ('tenant', 'run_id') and not a.attisdropped
 where c.relnamespace = to_regnamespace('holdfast') and c.relkind in ('r', 'p')
 group by c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity
 order by c.relname = 'runs', c.relname
"""

_ROLE: Final = """
select current_user, me.rolsuper, me.rolbypassrls,
       exists (select from pg_class c
                where c.oid = to_regclass('holdfast.runs') and pg_has_role(c.relowner, 'usage')) as owns,
       coalesce(pg_has_role(to_regrole('holdfast_client'), 'usage'), false),
       coalesce(pg_has_role(to_regrole('holdfast_worker'), 'usage'), false)
  from pg_roles me
 where me.rolname = current_user
"""


@dataclass(frozen=True, kw_only=True)
class WallReport:
    """What stands, and whom it stops."""

    closed: tuple[str, ...]
    """Tables behind the wall."""
    open: tuple[str, ...]
    """Tables with rows of tenants that are not behind it."""
    announced: bool
    """Whether processes name their tenants: the wall stands, or is about to."""
    role: str
    """Who looked."""
    bypass: str | None
    """Why this role is not stopped; None if it is."""
    serves: str
    """For whom this role may act: ``all`` tenants, ``one`` at a time, or ``none``."""

    @property
    def stands(self) -> bool:
        """Whether every table is behind it."""
        return bool(self.closed) and not self.open


@dataclass(frozen=True)
class _Place:
    name: str
    has_tenant: bool
    is_closed: bool
    has_policies: bool


def inspect_wall(url: str) -> WallReport:
    """Look, and change nothing. Raises StoreMisconfigured, StoreUnavailable."""
    with _connection(url) as connection:
        places = _places(connection)
        found = connection.execute(_ROLE.encode()).fetchone()
    assert found is not None
    role, is_super, bypasses, owns, is_client, is_worker = found
    reasons = {"it is a superuser": is_super, "it has BYPASSRLS": bypasses, "it owns the tables": owns}
    return WallReport(
        closed=tuple(place.name for place in places if place.is_closed and place.has_policies),
        open=tuple(place.name for place in places if not (place.is_closed and place.has_policies)),
        announced=any(place.has_policies for place in places if place.name == "runs"),
        role=role,
        bypass=next((reason for reason, holds in reasons.items() if holds), None),
        serves="all" if is_worker or is_super or bypasses else "one" if is_client else "none",
    )


def raise_wall(url: str, *, settle_s: float = SETTLE_S, sleep: Callable[[float], None] = time.sleep) -> None:
    """Put every table behind the wall, while processes run. Repeatable. Later migrations extend it by their tables.

    Takes ``settle_s`` seconds, in which nothing is locked: until all processes name their tenants. Each table is locked
    for a moment. Needs the tables' owner, and for the first time one who may create roles.
    Raises: StoreMisconfigured if it may not; StoreUnavailable if a table stayed in use.
    """
    with _connection(url) as connection:
        known = any(place.name == "runs" and place.has_policies for place in _places(connection))
        connection.execute(_ROLES.encode())
        connection.execute(_FUNCTION.encode())
        connection.execute(_GRANTS.encode())
        for place in _places(connection):  # runs last: they are what processes look at
            _alter(connection, place, _policies(place))
        if not known:
            sleep(settle_s)
        for place in _places(connection):
            if not place.is_closed:
                _alter(connection, place, _CLOSE if place.has_policies else (*_policies(place), *_CLOSE))


def extend_wall(connection: psycopg.Connection[Any]) -> list[str]:
    """Within the transaction of a migration: put the tables that it made behind the wall, if one stands; their names.

    Nobody else has seen them yet, so nobody is waited for, and nobody ever sees them open.
    """
    places = _places(connection)
    if not any(place.name == "runs" and place.is_closed for place in places):
        return []
    fresh = [place for place in places if not (place.is_closed and place.has_policies)]
    for place in fresh:
        table = sql.Identifier("holdfast", place.name)
        for text in (*_policies(place), _GRANT, *_CLOSE):
            connection.execute(sql.SQL(literal(text)).format(table=table))
    return [place.name for place in fresh]


def lower_wall(url: str) -> None:
    """Take the wall down, while processes run; the roles and what they were granted stay. Repeatable.

    Raises as ``raise_wall``.
    """
    with _connection(url) as connection:
        places = _places(connection)
        for place in places:
            _alter(connection, place, _OPEN)
        # Whoever believes that it stands goes on to say so, which does no harm.
        for place in reversed(places):
            _alter(connection, place, _NO_POLICIES)


def _policies(place: _Place) -> list[str]:
    usual = [*_NO_POLICIES, _FOR_ALL, _BY_TENANT if place.has_tenant else _BY_RUN]
    return [*usual, _FOR_EVERY_TENANT] if place.name == "subscriptions" else usual


def _alter(connection: psycopg.Connection[Any], place: _Place, statements: Sequence[str]) -> None:
    """Execute statements about a table in one transaction, giving way to those who use it."""
    table = sql.Identifier("holdfast", place.name)
    composed = [sql.SQL(literal(text)).format(table=table) for text in statements]
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(_LOCK_TIMEOUT)
                for one in composed:
                    connection.execute(one)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == _LOCK_ATTEMPTS - 1:
                raise
        else:
            return


def _places(connection: psycopg.Connection[Any]) -> list[_Place]:
    return [_Place(*row) for row in connection.execute(_TABLES.encode()).fetchall()]


@contextmanager
def _connection(url: str) -> Generator[psycopg.Connection[Any], None, None]:
    address = Address(url, prepare=False)
    connection = address.connect_plain()
    try:
        yield connection
    except psycopg.Error as error:
        match meaning_of(error):
            case Meaning.LOST | Meaning.AWAY | Meaning.CONFLICT:
                raise StoreUnavailable(url=address.shown, why=one_line(error)) from error
            case Meaning.MISCONFIGURED:
                raise StoreMisconfigured(url=address.shown, why=one_line(error)) from error
            case Meaning.DATA | Meaning.CONTINUED | Meaning.OTHER:
                raise
    finally:
        connection.close()
