"""Random operations of several workers and clients at once, on one PostgreSQL database and on one SQLite file.

What is planted here are the mistakes in SQL that only show when two meet. ``HOLDFAST_CROWD_SEEDS`` makes it longer.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from holdfast.store.port import Store
from holdfast.store.postgres import PostgresStore
from tests.contract.crowd import Actor, Log, SharedClock, set_limits
from tests.contract.crowd_bugs import BUGS, Bug
from tests.contract.crowd_check import check_limits, check_rows, drain, settle, subscribe
from tests.postgres_stage import migrated_database

SEEDS = int(os.environ.get("HOLDFAST_CROWD_SEEDS", "2"))
FIRST = int(os.environ.get("HOLDFAST_CROWD_FIRST", "1"))
ACTORS = 4
OPERATIONS = 120
BUG_SEEDS = 12
BUGS_IN_SHORT = 2
"""The first of them are found by nearly every seed; ``HOLDFAST_CROWD_BUGS`` looks for all."""
TIMEOUT_S = 120

Opening = Callable[[SharedClock], Store]

PAUSES = """
create function holdfast.crowd_pause() returns trigger language plpgsql as $$
begin
    if random() < 0.1 then
        perform pg_sleep(random() * 0.008);
    end if;
    return null;
end $$;
create trigger crowd_pause before insert or update on holdfast.runs
    for each statement execute function holdfast.crowd_pause();
create trigger crowd_pause before insert or update on holdfast.waits
    for each statement execute function holdfast.crowd_pause();
create trigger crowd_pause before insert or update on holdfast.signals
    for each statement execute function holdfast.crowd_pause();
"""
"""Statements stop for a moment now and then, when they have their snapshot and have changed nothing yet."""


@contextmanager
def postgres(server: str, template: str) -> Generator[tuple[Opening, str], None, None]:
    with migrated_database(server, template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(PAUSES)
        yield lambda clock: PostgresStore(url, clock=clock, connections_max=3, listen=False), url


def run_crowd(opening: Opening, seed: int, operations: int = OPERATIONS) -> Log:
    """One crowd, and everything that was wrong.

    With even seeds nothing is paused or limited: claims are simpler then.
    """
    clock, log = SharedClock(), Log()
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(opening(clock))) for _ in range(ACTORS + 1)]
        quiet = stores.pop()
        bars = seed % 2 == 1
        if bars:
            set_limits(quiet)
        subscribe(quiet)
        actors = [Actor(number, seed, store, clock, log, bars=bars) for number, store in enumerate(stores, 1)]
        threads = [threading.Thread(target=actor.run, args=(operations,)) for actor in actors]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            log.violations += list(check_limits(quiet))
            threads[0].join(0.02)
        for thread in threads:
            thread.join(TIMEOUT_S)
        settle(quiet)
        log.violations += list(check_rows(quiet, log))
        if not log.violations:
            log.violations += list(drain(quiet, clock, log))
    return log


@pytest.mark.requirement("promise-3", "promise-4", "promise-5", "promise-7", "fault-46", "fault-47", "fault-49")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_a_crowd_on_postgres_breaks_no_promise(postgres_server_url: str, postgres_template: str, seed: int) -> None:
    with postgres(postgres_server_url, postgres_template) as (opening, _):
        log = run_crowd(opening, seed)

    assert log.violations == []


@pytest.mark.requirement("promise-3", "promise-4", "promise-5", "promise-7", "fault-36")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_a_crowd_on_one_sqlite_file_breaks_no_promise(sqlite_template: Path, tmp_path: Path, seed: int) -> None:
    from holdfast.store.sqlite.adapter import SqliteStore

    path = tmp_path / "holdfast.db"
    shutil.copyfile(sqlite_template, path)

    log = run_crowd(lambda clock: SqliteStore(str(path), clock=clock), seed)

    assert log.violations == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS[: None if "HOLDFAST_CROWD_BUGS" in os.environ else BUGS_IN_SHORT], ids=str)
def test_a_crowd_finds_a_mistake_in_sql(postgres_server_url: str, postgres_template: str, bug: Bug) -> None:
    found: Counter[int] = Counter()

    for seed in range(1, BUG_SEEDS + 1):
        with postgres(postgres_server_url, postgres_template) as (opening, url), bug.planted(url):
            found[seed] = len(run_crowd(opening, seed).violations)
        if found[seed]:
            break

    assert found.total() > 0, f"nothing was noticed in {BUG_SEEDS} crowds"
