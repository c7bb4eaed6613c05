from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import psycopg
import pytest

from holdfast.model.commit import Finish
from holdfast.model.ids import RunId
from holdfast.model.status import RunStatus
from holdfast.store.port import Hint
from holdfast.store.postgres import PostgresStore
from holdfast.store.postgres.notify import PAYLOAD_BYTES_MAX, decode_notice, encode_notice, join_hints
from tests.contract.scene import new_run, run_id
from tests.postgres_stage import migrated_database, open_scene

EVERYTHING = Hint(work=True, ended=None, live=None, moved=None)


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


class Ear:
    """Remembers what it heard, and waits for what it has yet to hear."""

    def __init__(self, store: PostgresStore) -> None:
        self._condition = threading.Condition()
        self.heard: list[Hint] = []
        store.hints.subscribe(self._listen)
        # The listener says "anything may have happened" when it has begun to listen.
        self.wait_for(lambda hint: hint == EVERYTHING)
        self.heard.clear()

    def _listen(self, hint: Hint) -> None:
        with self._condition:
            self.heard.append(hint)
            self._condition.notify_all()

    def wait_for(self, wanted: Callable[[Hint], bool]) -> Hint:
        with self._condition:
            assert self._condition.wait_for(lambda: any(map(wanted, self.heard)), timeout=30)
            return next(filter(wanted, self.heard))


def ended(of: RunId) -> Callable[[Hint], bool]:
    return lambda hint: hint.ended is not None and of in hint.ended


def test_another_store_hears_of_work_and_of_ends(url: str) -> None:
    other = PostgresStore(url)
    ear = Ear(other)

    with open_scene(url) as scene:
        run = scene.held(1)
        scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))

        ear.wait_for(lambda hint: hint.work)
        assert ear.wait_for(ended(run.id)).live == ()
    other.close()


def test_own_hints_come_at_once_and_only_once(url: str) -> None:
    other, store = PostgresStore(url), PostgresStore(url)
    far, near = Ear(other), Ear(store)

    store.hints.publish(Hint(ended=(run_id(1),)))
    assert near.heard == [Hint(ended=(run_id(1),))]
    far.wait_for(ended(run_id(1)))
    # What comes from the far side over the channel comes after whatever the own notification would have brought.
    other.hints.publish(Hint(ended=(run_id(2),)))
    near.wait_for(ended(run_id(2)))

    assert near.heard == [Hint(ended=(run_id(1),)), Hint(ended=(run_id(2),))]
    other.close()
    store.close()


def test_the_end_of_a_run_is_heard_of_once(url: str) -> None:
    other = PostgresStore(url)
    ear = Ear(other)

    with open_scene(url) as scene:
        run = scene.held(1)
        scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))
        ear.wait_for(ended(run.id))
        scene.store.hints.publish(Hint(ended=(run_id(9),)))
        ear.wait_for(ended(run_id(9)))

    assert [hint for hint in ear.heard if ended(run.id)(hint)] == [Hint(ended=(run.id,))]
    other.close()


def test_runs_started_in_a_callers_transaction_are_heard_of_with_its_commit(url: str) -> None:
    store = PostgresStore(url)
    ear = Ear(store)

    with psycopg.connect(url) as connection:
        store.start_runs_in(connection, [new_run(1)])
        assert ear.heard == []

    ear.wait_for(lambda hint: hint.work)
    store.close()


def test_a_listener_that_lost_its_connection_listens_again(url: str) -> None:
    store = PostgresStore(url, jitter=lambda: 0.0)
    ear = Ear(store)

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen holdfast'")
    ear.wait_for(lambda hint: hint == EVERYTHING)
    other = PostgresStore(url)
    other.hints.publish(Hint(ended=(run_id(3),)))

    ear.wait_for(ended(run_id(3)))
    other.close()
    store.close()


def test_publishing_neither_blocks_nor_fails_without_a_database() -> None:
    store = PostgresStore("postgresql://nobody@127.0.0.1:1/nowhere")

    for number in range(100):
        store.hints.publish(Hint(ended=(run_id(number),)))

    store.close()


def test_closing_ends_both_threads(url: str) -> None:
    before = set(threading.enumerate())
    store = PostgresStore(url)
    Ear(store)
    store.hints.publish(Hint(work=True))
    started = set(threading.enumerate()) - before

    store.close()
    store.close()

    assert {thread.name for thread in started} == {"holdfast-notify", "holdfast-listen"}
    assert not [thread for thread in started if thread.is_alive()]


@pytest.mark.requirement("fault-73")
@pytest.mark.parametrize("count", [0, 1, 150, 250, 10_000])
def test_a_notification_fits_and_says_no_less_than_the_hint(count: int) -> None:
    ids = tuple(run_id(number) for number in range(count))

    for hint in (Hint(ended=ids), Hint(live=ids, work=True), Hint(ended=ids, live=ids)):
        payload = encode_notice("sender", hint)
        sender, told = decode_notice(payload)

        assert len(payload.encode()) <= PAYLOAD_BYTES_MAX
        assert sender == "sender"
        assert told.work == hint.work
        assert told.ended is None or told.ended == hint.ended
        assert told.live is None or told.live == hint.live


def test_a_hint_goes_out_on_the_connection_that_was_just_used(url: str) -> None:
    other, store = PostgresStore(url), PostgresStore(url)
    far = Ear(other)
    before = set(threading.enumerate())

    store.start_runs([new_run(1)])
    far.wait_for(lambda hint: hint.work)

    assert not {thread.name for thread in set(threading.enumerate()) - before} & {"holdfast-notify"}
    other.close()
    store.close()


def test_hints_in_quick_succession_are_all_heard(url: str) -> None:
    other, store = PostgresStore(url), PostgresStore(url)
    far = Ear(other)

    for number in range(1, 30):
        store.read_clock()
        store.hints.publish(Hint(ended=(run_id(number),)))

    for number in range(1, 30):
        far.wait_for(ended(run_id(number)))
    other.close()
    store.close()


def test_a_payload_that_cannot_be_read_means_that_anything_may_have_happened() -> None:
    assert decode_notice("hello") == ("", EVERYTHING)


def test_joined_hints_say_what_all_of_them_say() -> None:
    hints = [Hint(work=True), Hint(ended=(run_id(1),)), Hint(ended=(run_id(2),), live=None)]

    assert join_hints(hints) == Hint(work=True, ended=(run_id(1), run_id(2)), live=None)
