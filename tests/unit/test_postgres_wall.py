"""The wall between tenants: what a statement that names no tenant, or another one, can see and do behind it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import func, insert, select

from holdfast.errors import RunNotFound, StoreMisconfigured
from holdfast.model.command import Order, Terminate
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.model.run import RunFilter
from holdfast.model.status import RunStatus
from holdfast.store.migrations import migrate
from holdfast.store.outbox import Outbox
from holdfast.store.port import Statements
from holdfast.store.postgres import scope as scopes
from holdfast.store.postgres.adapter import PostgresStore
from holdfast.store.postgres.wall import inspect_wall, lower_wall, raise_wall
from holdfast.store.tables import ATTRIBUTES, RUNS
from tests.contract.scene import (
    INPUT,
    OTHER_TENANT,
    RESULT,
    Scene,
    attempt,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
)
from tests.contract.stores import ManualClock, OpenStore
from tests.postgres_server import as_role, make_login
from tests.postgres_stage import migrated_database, open_inside

MINE, THEIRS = DEFAULT_TENANT, OTHER_TENANT


@contextmanager
def opened(url: str, **given: Any) -> Generator[PostgresStore, None, None]:
    store = PostgresStore(url, clock=ManualClock(), **given)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def acting(url: str, tenant: str = "", *, everyone: bool = False) -> Generator[psycopg.Connection[Any], None, None]:
    """A transaction in a tenant's name, of somebody who forgets it in his statements; rolled back."""
    with psycopg.connect(url) as connection:
        connection.execute("select set_config('holdfast.tenant', %s, true)", [tenant])
        connection.execute("select set_config('holdfast.all_tenants', %s, true)", ["on" if everyone else ""])
        yield connection
        connection.rollback()


def fill(scene: Scene) -> None:
    """Rows of two tenants in the tables of the engine."""
    for tenant, first in ((MINE, 1), (THEIRS, 11)):
        run = scene.held(first, tenant=tenant, attributes={"x": first})
        scene.accept(run, entries=[entry(run, "a", 1)], attempts=[attempt("b", 1)], waits=[signal_wait("w", 2)])
        scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
        scene.start(first + 1, tenant=tenant)
        scene.store.send_signal(message(first, run_id(first + 1), tenant=tenant))


@pytest.fixture
def filled(walled_url: str, walled_admin_url: str) -> Generator[str, None, None]:
    with opened(walled_url) as store:
        fill(Scene(OpenStore("postgres", store, ManualClock(), {})))
        yield walled_admin_url


def count(connection: psycopg.Connection[Any], table: str) -> int:
    found = connection.execute(sql.SQL("select count(*) from holdfast.{}").format(sql.Identifier(table))).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.requirement("promise-10")
def test_a_transaction_in_nobodys_name_sees_no_row(filled: str, walled_url: str, walled_client_url: str) -> None:
    for url in (walled_url, walled_client_url):
        with acting(url) as connection:
            seen = {table: count(connection, table) for table in inspect_wall(url).closed}

        assert seen == dict.fromkeys(inspect_wall(filled).closed, 0)


@pytest.mark.requirement("promise-10")
def test_a_statement_that_forgets_its_tenant_sees_that_tenants_rows_alone(filled: str, walled_client_url: str) -> None:
    tables = inspect_wall(filled).closed
    with acting(walled_client_url, MINE) as connection:
        mine = {table: count(connection, table) for table in tables}
        owners = connection.execute("select distinct tenant from holdfast.runs").fetchall()
    with acting(walled_client_url, THEIRS) as connection:
        theirs = {table: count(connection, table) for table in tables}
    with psycopg.connect(filled) as connection:
        every = {table: count(connection, table) for table in tables}

    assert owners == [(MINE,)]
    assert {table: mine[table] + theirs[table] for table in tables} == every
    assert {"runs", "journal", "waits", "attempts", "transitions", "signals", "attributes"} <= {
        table for table in tables if mine[table] and theirs[table]
    }


@pytest.mark.requirement("promise-10")
@pytest.mark.parametrize("table", ["journal", "waits", "attempts", "transitions", "signals", "attributes", "runs"])
def test_another_tenants_row_is_neither_changed_nor_deleted_nor_written(
    filled: str, walled_client_url: str, table: str
) -> None:
    named = sql.Identifier(table)
    with psycopg.connect(filled) as connection:
        copied = "r.id" if table == "runs" else "r.run_id"
        row = connection.execute(
            sql.SQL("select to_jsonb(r) from holdfast.{} r where {} in ({}, {})").format(
                named, sql.SQL(copied), run_id(11), run_id(12)
            )
        ).fetchone()
        before = count(connection, table)
    assert row is not None
    with acting(walled_client_url, MINE) as connection:
        gone = connection.execute(sql.SQL("delete from holdfast.{}").format(named)) if table != "transitions" else None
    columns = sql.SQL(", ").join(
        sql.Identifier(name) for name in row[0] if (table, name) not in {("runs", "code"), ("signals", "number")}
    )
    copy = sql.SQL("insert into holdfast.{0} ({1}) select {1} from jsonb_populate_record(null::holdfast.{0}, %s)")
    with acting(walled_client_url, MINE) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(copy.format(named, columns), [Jsonb(row[0])])

    with psycopg.connect(filled) as connection:
        assert count(connection, table) == before
    assert gone is None or gone.rowcount < before


@pytest.mark.requirement("promise-10")
def test_only_a_worker_may_act_for_all_tenants(filled: str, walled_url: str, walled_client_url: str) -> None:
    with acting(walled_client_url, everyone=True) as connection:
        assert count(connection, "runs") == 0
    with acting(walled_url, everyone=True) as connection:
        assert count(connection, "runs") == 4
    with opened(walled_client_url) as client, pytest.raises(StoreMisconfigured, match="holdfast_worker"):
        client.wake_due(limit=1)
    assert inspect_wall(filled).bypass == "it is a superuser"


@pytest.mark.requirement("promise-10")
def test_a_client_of_one_tenant_works_behind_the_wall(walled_client_url: str, walled_url: str) -> None:
    def forgets(statements: Statements) -> list[Any]:
        return statements.rows(select(RUNS.c.tenant, func.count()).group_by(RUNS.c.tenant))

    def writes(statements: Statements) -> None:
        row = {"shard": 0, "run_id": run_id(1), "name": "x", "tenant": THEIRS, "kind": "text", "created_ms": 1}
        statements.changed(insert(ATTRIBUTES).values({**row, "text": "", "number": 0}))

    with opened(walled_client_url) as client, opened(walled_url) as worker:
        client.start_runs([new_run(1), new_run(2)])
        client.start_runs([new_run(3, tenant=THEIRS)])

        assert client.transact(MINE, forgets) == [(MINE, 2)]
        assert sorted(worker.transact(None, forgets)) == [(MINE, 2), (THEIRS, 1)]
        with pytest.raises(StoreMisconfigured, match="row-level security"):
            client.transact(MINE, writes)


@pytest.mark.requirement("promise-10")
def test_an_end_that_a_client_brings_about_is_told_to_the_handlers_of_programs(
    walled_client_url: str, walled_url: str
) -> None:
    with opened(walled_client_url) as client, opened(walled_url) as worker:
        Outbox(worker).subscribe(None, "@tell", ["order"])
        client.start_runs([new_run(1)])

        client.command(MINE, run_id(1), Order(id=run_id(90), command=Terminate(), actor="ann"))

        [told] = Outbox(worker).claim(None, ["@tell"], limit=10, lease_ms=1)
        with acting(walled_client_url) as connection:
            assert count(connection, "subscriptions") == 0
    assert told.run_id == run_id(1)


@pytest.mark.requirement("promise-10")
@pytest.mark.parametrize("prepare", [True, False])
def test_two_tenants_that_alternate_on_one_connection_see_their_own(walled_url: str, prepare: bool) -> None:
    with opened(walled_url, connections_max=1, prepare=prepare) as store:
        for number, tenant in enumerate([MINE, THEIRS] * 3, start=1):
            store.start_runs([new_run(number, tenant=tenant)])
            page = store.list_runs(tenant, RunFilter(), limit=10, after=None)

            assert {run.tenant for run in page.runs} == {tenant}


@pytest.mark.requirement("promise-10")
@pytest.mark.parametrize("prepare", [True, False])
def test_what_a_transaction_said_ends_with_it(walled_url: str, prepare: bool) -> None:
    asked = "select current_setting('holdfast.tenant', true), current_setting('holdfast.all_tenants', true)"
    with open_inside(walled_url, size_max=1, prepare=prepare) as inside:
        mine, everyone = inside.session.within(MINE), inside.session.within(None)
        answers = [one.query(asked, {}) for one in (mine, inside.session, everyone, inside.session)]

        with pytest.raises(RunNotFound):
            mine.transaction(("get_run", {"shard": 0, "id": run_id(1), "tenant": MINE}), _refuse)

        assert answers == [[(MINE, "")], [("", "")], [("", "on")], [("", "")]]
        assert inside.session.query(asked, {}) == [("", "")]


def _refuse(_cursor: Any, _rows: list[Any]) -> None:
    raise RunNotFound(run_id=run_id(1))


@pytest.mark.requirement("promise-10")
def test_a_callers_transaction_gets_its_name_back(filled: str, walled_client_url: str) -> None:
    with opened(walled_client_url) as client, acting(walled_client_url, THEIRS) as connection:
        client.start_runs_in(connection, [new_run(3)])
        client.send_signal_in(connection, message(7, run_id(2)))
        found = connection.execute("select distinct tenant from holdfast.runs").fetchall()

    assert found == [(THEIRS,)]


@pytest.fixture
def admin_url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.mark.requirement("promise-10", "promise-11")
def test_the_wall_is_built_and_taken_down_under_running_processes(
    admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time passes at once: every statement looks anew, as all will have by the time that the wall is closed.
    monkeypatch.setattr(scopes, "LOOK_S", 0.0)
    raise_wall(admin_url, settle_s=0)
    lower_wall(admin_url)
    make_login(admin_url, "holdfast_test_worker", "holdfast_worker")
    url = as_role(admin_url, "holdfast_test_worker")
    numbers = iter(range(1, 100))

    with opened(url) as store:
        scene = Scene(OpenStore("postgres", store, ManualClock(), {}))

        def works() -> None:
            run = scene.held(next(numbers))
            scene.accept(run, entries=[entry(run, "a", 1)], move=Finish(RunStatus.COMPLETED, "completed", RESULT))
            assert store.get_run(MINE, run.id).status is RunStatus.COMPLETED

        works()
        raise_wall(admin_url, settle_s=1, sleep=lambda _: works())
        assert inspect_wall(url).stands
        works()
        lower_wall(admin_url)
        works()

    assert inspect_wall(url).closed == ()
    assert not inspect_wall(url).announced


@pytest.mark.requirement("promise-10")
def test_a_table_that_came_later_is_told_of_and_put_behind_the_wall(admin_url: str) -> None:
    raise_wall(admin_url, settle_s=0)
    with psycopg.connect(admin_url) as connection:
        connection.execute("create table holdfast.novelties (tenant text not null)")

    assert inspect_wall(admin_url).open == ("novelties",)
    assert not inspect_wall(admin_url).stands

    raise_wall(admin_url, settle_s=0)

    assert inspect_wall(admin_url).stands


def test_what_is_believed_of_the_wall_is_looked_up_again_after_a_while() -> None:
    now_s = 10.0
    watch = scopes.Watch(lambda: now_s)
    sight = scopes.Sight(stands=True, serves_all=True)

    assert watch.known() is None
    watch.learn(watch.now_s(), sight)
    assert watch.known() == sight
    now_s += scopes.LOOK_S
    assert watch.known() is None


def test_a_tenant_may_have_any_name(walled_client_url: str) -> None:
    odd = Tenant("on' or '1'='1 *")
    with opened(walled_client_url) as client:
        client.start_runs([new_run(1, tenant=odd, input=INPUT)])

        assert client.get_run(odd, run_id(1)).tenant == odd


@pytest.mark.requirement("promise-10")
def test_what_a_migration_makes_stands_behind_the_wall_from_its_first_moment(
    postgres_server_url: str, postgres_template: str
) -> None:
    with migrated_database(postgres_server_url, postgres_template) as url:
        make = (
            "create table holdfast.extras (tenant text primary key); insert into holdfast.extras values ('acme'), ('b')"
        )
        with psycopg.connect(url) as connection:
            connection.execute(make)
        migrate(url)
        assert "extras" in inspect_wall(url).open
        raise_wall(url, settle_s=0)
        with psycopg.connect(url) as connection:
            connection.execute("create table holdfast.more (shard smallint, run_id uuid)")
            connection.execute("grant select on holdfast.more to public")
        assert inspect_wall(url).open == ("more",)

        migrate(url)

        assert inspect_wall(url).stands
        make_login(url, "holdfast_test_client", "holdfast_client")
        with acting(as_role(url, "holdfast_test_client"), "acme") as connection:
            assert connection.execute("select tenant from holdfast.extras").fetchall() == [("acme",)]
            assert connection.execute("select count(*) from holdfast.more").fetchall() == [(0,)]
        lower_wall(url)
        migrate(url)
        assert inspect_wall(url).closed == ()
