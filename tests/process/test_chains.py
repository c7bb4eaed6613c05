"""A run that begins anew again and again, while the workers that it comes to are killed."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from holdfast.client.sync import SyncClient
from holdfast.model.run import RunDetail
from tests.process import program
from tests.process.harness import QUICKLY, Stage, check_ended_once, eventually, times_lost

ITEMS = 30
KILLS = 5


@contextmanager
def table(stage: Stage) -> Generator[None, None, None]:
    """The program's own table."""
    execute(stage, "create table tallied (item integer not null)")
    try:
        yield
    finally:
        # Nobody may hold the table any more.
        stage.close()
        execute(stage, "drop table tallied")


def execute(stage: Stage, statement: str) -> list[tuple[Any, ...]]:
    """A statement of the test's."""
    if stage.is_sqlite:
        with contextlib.closing(sqlite3.connect(stage.folder / "holdfast.db", timeout=30)) as file, file:
            return file.execute(statement).fetchall()
    with psycopg.connect(stage.url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def links(client: SyncClient, first: str) -> list[RunDetail]:
    """Every link of a chain."""
    found = [client.detail(first)]
    while found[-1].run.continued_as_id is not None:
        found.append(client.detail(found[-1].run.continued_as_id))
    return found


@pytest.mark.requirement("promise-3", "promise-5", "promise-7", "fault-1", "fault-2", "S-57")
def test_a_chain_counts_every_item_once_while_its_workers_are_killed(stage: Stage) -> None:
    chance = random.Random(7)
    settings = replace(QUICKLY, crashes_max=50)
    with table(stage), stage.client() as client:
        run = client.start(program.tally, 0, ITEMS)
        workers = [stage.worker(settings=settings) for _ in range(2)]
        kills = sorted(chance.sample(range(1, ITEMS - 1), KILLS))
        for item in range(ITEMS):
            run.signal("item", item)
            if item in kills:
                eventually(lambda item=item: len(stage.effects) >= item, f"item {item}")  # type: ignore[misc]
                workers.pop(chance.randrange(2)).kill()
                workers.append(stage.worker(settings=settings, is_ready=False))
        for worker in workers:
            # The last items come to new ones.
            worker.kill()
        stage.worker(settings=settings)

        assert run.result(30) == ITEMS
        chain = links(client, run.id)
        assert [row[0] for row in execute(stage, "select item from tallied order by item")] == list(range(ITEMS))
    assert len(chain) == ITEMS // program.TALLIED_AT_ONCE
    for detail in chain:
        check_ended_once(detail)
        assert len(detail.journal) == program.TALLIED_AT_ONCE
    # A handler may have been called more often than it committed, but only where a worker was lost.
    assert ITEMS <= len(stage.effects) <= ITEMS + sum(times_lost(detail) for detail in chain)
