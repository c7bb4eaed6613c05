from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from holdfast.errors import SchemaTooNew, SchemaTooOld
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store import postgres
from holdfast.store.postgres import PostgresStore
from holdfast.store.tables import METADATA
from tests.postgres_server import fresh_database
from tests.postgres_stage import migrated_database


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.mark.requirement("S-10", "C-20")
@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("runs_status", RunStatus),
        ("transitions_from", RunStatus),
        ("transitions_to", RunStatus),
        ("journal_kind", EntryKind),
        ("journal_status", EntryStatus),
        ("waits_kind", WaitKind),
        ("waits_outcome", WaitOutcome),
    ],
)
def test_the_database_lists_the_words_that_the_model_lists(
    url: str, constraint: str, words: type[RunStatus | EntryKind | EntryStatus | WaitKind | WaitOutcome]
) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [constraint]
        ).fetchone()

    assert found is not None
    assert set(re.findall(r"'(\w+)'", found[0])) == {word.value for word in words}


def test_no_table_is_unknown_to_erasure_and_export(url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute("select relname from pg_stat_user_tables where schemaname = 'holdfast'").fetchall()

    assert {row[0] for row in found} == {table.name for table in METADATA.sorted_tables}


def test_every_hot_table_begins_its_key_with_the_shard(url: str) -> None:
    with psycopg.connect(url) as connection:
        first = connection.execute(
            """
            select c.relname, a.attname
              from pg_index i
              join pg_class c on c.oid = i.indrelid
              join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
             where i.indisprimary and c.relnamespace = 'holdfast'::regnamespace
            """
        ).fetchall()

    editor = {"projects", "members", "workflows", "drafts", "triggers", "audit"}
    others = {
        "workers",
        "definitions",
        "releases",
        "tenants",
        "prunings",
        "subscriptions",
        "bulk_jobs",
        "bulk_errors",
        "schedules",
        "schedule_ticks",
        "pauses",
        "breakers",
        "queues",
        "byte_accounts",
        *editor,
    }
    assert {table for table, column in first if column != "shard"} == others
    assert len(first) == 29


@pytest.mark.parametrize(
    "change",
    [
        "set ready_ms = 1",
        "set worker = null",
        "set status = 'waiting'",
        "set status = 'done'",
        "set finalized_ms = 1",
        "set status = 'completed', worker = null",
        "set wake_ms = 1",
    ],
)
def test_a_row_that_contradicts_itself_is_refused(url: str, change: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            insert into holdfast.runs (
                   shard, id, tenant, workflow, queue, status, status_reason, input, root_id, worker, epoch, created_ms,
                   updated_ms)
            values (0, gen_random_uuid(), 't', 'w', 'q', 'running', 'claimed', '{}', gen_random_uuid(), 'me', 1, 1, 1)
            """
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(b"update holdfast.runs " + change.encode())


def test_a_database_without_tables_is_too_old(postgres_server_url: str) -> None:
    with fresh_database(postgres_server_url, "holdfast_postgres_empty") as url:
        store = PostgresStore(url)

        with pytest.raises(SchemaTooOld):
            store.check_schema()

        store.close()


def test_a_database_of_a_later_version_is_too_new(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("update holdfast_version set version_num = '9999'")
    store = PostgresStore(url)

    with pytest.raises(SchemaTooNew):
        store.check_schema()

    store.close()


def test_a_migrated_database_fits(url: str) -> None:
    store = PostgresStore(url)

    store.check_schema()

    store.close()


@pytest.mark.requirement("B-54")
def test_every_statement_that_may_end_a_run_tells_those_who_are_subscribed() -> None:
    queries = Path(postgres.__file__).with_name("queries").glob("*.sql")
    texts = {query.name: query.read_text() for query in queries}

    ending = {name for name, text in texts.items() if re.search(r"finalized_ms = (?!null)", text)}

    assert {"commit_end.sql", "commit_finish.sql", "command_move.sql", "requeue_lost.sql"} <= ending
    # What goes on in another run has not ended: its last run tells.
    assert [name for name in sorted(ending) if "holdfast.tell_end(" not in texts[name]] == ["commit_continue.sql"]
