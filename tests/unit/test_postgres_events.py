"""A tenant's events on PostgreSQL, where transactions become visible in another order than they began."""

from __future__ import annotations

import random
import threading
from collections.abc import Generator

import psycopg
import pytest

from holdfast.client.events import PAGE
from holdfast.core.events import TenantPlace
from holdfast.errors import StoreMisconfigured
from holdfast.model.command import Change, Order
from holdfast.model.event import EventFilter
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.store.events import window_of
from holdfast.store.migrations import migrate
from holdfast.store.port import Hint
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.statements import literal
from holdfast.store.rendering import render
from tests.contract.scene import new_run, run_id
from tests.contract.test_events import settled
from tests.postgres_stage import migrated_database, open_scene


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


WRITERS, STARTS, RUNS = 4, 25, 6


@pytest.mark.requirement("R-20", "R-55")
def test_a_reader_misses_nothing_of_writers_that_commit_in_any_order(url: str) -> None:
    store = PostgresStore(url)
    shared = [run_id(number) for number in range(RUNS)]
    store.start_runs([new_run(number) for number in range(RUNS)])
    done = threading.Event()
    told: list[tuple[RunId | None, int]] = []

    def write(writer: int) -> None:
        dice = random.Random(writer)
        for number in range(STARTS):
            with psycopg.connect(url) as connection:
                store.start_runs_in(connection, [new_run(1000 * (writer + 1) + number)])
                # Meets the others in the same runs, in a transaction that began before some of theirs.
                of = dice.choice(shared)
                order = Order(id=run_id(10_000_000 + 1000 * writer + number), command=Change(priority=number))
                store.command(DEFAULT_TENANT, of, order)
                done.wait(dice.random() * 0.004)

    def read() -> None:
        after = None
        while True:
            was_done = done.is_set()
            page = store.read_events(DEFAULT_TENANT, EventFilter(), after=after, limit=7)
            told.extend((event.run_id, event.seq) for event in page.events)
            after = page.next
            if was_done and not page.more and not page.settling:
                return

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    store.close()

    assert len(told) == len(set(told)) == RUNS + 2 * WRITERS * STARTS
    for of in shared:
        numbers = [seq for run, seq in told if run == of]
        assert numbers == list(range(1, len(numbers) + 1))


def test_of_two_transactions_that_met_in_a_run_the_later_move_is_told_later(url: str) -> None:
    with open_scene(url) as scene, psycopg.connect(url) as early:
        scene.start(1)
        early.execute("select pg_current_xact_id()")
        scene.order(run_id(1), Change(priority=1))
        early.execute("update holdfast.runs set transition_seq = transition_seq + 1, priority = 2")
        early.execute(
            "insert into holdfast.transitions (shard, run_id, seq, from_status, to_status, reason, epoch, at_ms)"
            " values (0, %s, 3, 'queued', 'queued', 'changed', 0, 0)",
            [run_id(1)],
        )
        early.commit()

        told = settled(scene, limit=1)
        numbers = [one.seq for one in told.events]
        while told.more:
            told = settled(scene, told.next, limit=1)
            numbers += [one.seq for one in told.events]

    assert numbers == [1, 2, 3]


def test_another_process_hears_of_the_run_that_it_watches_and_of_no_other(url: str) -> None:
    other, heard, changed = PostgresStore(url), [Hint()], threading.Condition()

    def listen(hint: Hint) -> None:
        with changed:
            heard.append(hint)
            changed.notify_all()

    with open_scene(url) as scene:
        run, quiet = scene.held(1), scene.held(2)
        listening = threading.Event()
        # The store that writes has to listen to hear what others watch; a worker's always does.
        scene.store.hints.subscribe(lambda hint: listening.set() if hint.watch == (run.id,) else None)
        other.hints.subscribe(listen)
        stop = other.hints.watch(run.id)
        while not listening.wait(0.1):
            stop()
            stop = other.hints.watch(run.id)

        scene.accept(quiet)
        scene.accept(run)
        with changed:
            assert changed.wait_for(lambda: any(hint.moved == (run.id,) for hint in heard), timeout=30)
        assert not any(hint.moved is not None and quiet.id in hint.moved for hint in heard)
        stop()
    other.close()


def test_a_page_of_a_tenants_events_is_read_in_the_order_of_the_index(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into holdfast.transitions (shard, run_id, seq, to_status, reason, epoch, at_ms, position)"
            " select 0, gen_random_uuid(), 1, 'queued', 'started', 0, 0, 1000 + n / 3"
            "   from generate_series(1, 20000) n"
        )
        connection.execute("analyze holdfast.transitions")
        text, params = render(window_of(DEFAULT_TENANT, TenantPlace(position=2000), 100_000, PAGE), "postgresql")
        plan = "\n".join(
            row[0]
            for row in psycopg.ClientCursor(connection).execute(literal(f"explain analyze {text}"), params).fetchall()
        )

    assert "transitions_position" in plan
    assert "Seq Scan on transitions" not in plan
    scanned = next(line for line in plan.splitlines() if "transitions_position" in line)
    assert float(scanned.split("rows=")[-1].split()[0]) <= 1.2 * PAGE


def test_a_restored_copy_tells_its_events_once_it_was_migrated(url: str) -> None:
    with open_scene(url) as scene:
        scene.start(1)
        before = settled(scene)
        with psycopg.connect(url) as connection:
            # As after a restore: the rows come from a cluster whose transactions had higher numbers.
            connection.execute("alter table holdfast.transitions disable trigger all")
            connection.execute("update holdfast.transitions set position = position + 1000000")
            connection.execute("alter table holdfast.transitions enable trigger all")
        with pytest.raises(StoreMisconfigured, match="holdfast migrate"):
            scene.store.read_events(DEFAULT_TENANT, EventFilter(), after=None, limit=10)

        migrate(url)
        scene.start(2)

        told = settled(scene).events
        assert [one.run_id for one in told] == [run_id(1), run_id(2)]
        assert [one.run_id for one in settled(scene, told[0].cursor).events] == [run_id(2)]
        assert [one.run_id for one in settled(scene, before.next).events] == [run_id(1), run_id(2)]
