"""What a statement decides from its snapshot while others move the rows: in slow motion, on two connections.

After it has waited for a row, PostgreSQL looks again at the conditions on that row alone, and only if the row satisfied
them before, too. What was read of other rows stays as it was when the statement began.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString, TypeVar

import psycopg
import pytest
from msgspec import structs
from psycopg import errors
from psycopg.sql import SQL, Identifier
from sqlalchemy.sql.base import Executable

from holdfast.core.breakers import Breaker, Ticket
from holdfast.core.ids import successor_id
from holdfast.model.command import RunCopy
from holdfast.model.commit import Continue, Finish, NewWait, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant, UnixMs
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause
from holdfast.model.run import ClaimedRun, NewRun, RunFilter, Started
from holdfast.model.schedule import Every, ScheduleRow, ScheduleSpec
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from holdfast.model.tenant import Chosen, Everything
from holdfast.store.breakers import Asked, Told, find_breaker, let_through, list_due, settle
from holdfast.store.port import Statements
from holdfast.store.postgres.connection import Connection
from holdfast.store.queues import list_limits, write_limit
from holdfast.store.schedules import put_schedule
from holdfast.store.tenancy import list_pauses, write_pause
from tests.contract.scene import ALICE, BOB, ERROR, INPUT, Scene, message, new_run, run_id, signal_wait, timer
from tests.postgres_stage import (
    Background,
    execute,
    execute_commit,
    migrated_database,
    open_scene,
    transaction,
    wait_for_lock,
)

T = TypeVar("T")
NEXT = Json(b'{"value":2}')


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url


@pytest.fixture
def scene(url: str) -> Generator[Scene, None, None]:
    with open_scene(url) as scene:
        yield scene
        scene.check_histories()


def family(scene: Scene) -> tuple[ClaimedRun, ClaimedRun]:
    """A parked parent and its child, which Bob holds."""
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, workflow="ship", parent_id=parent.id, parent_key="ship")])
    [child] = scene.claim(BOB)
    scene.park(parent, signal_wait("never", 1, "never"))
    return parent, child


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_parks_while_its_parent_is_cancelled_is_cancelled_too(scene: Scene, url: str) -> None:
    parent, child = family(scene)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(child.id, child.epoch, waits=[timer("nap", 1, 99)], move=Park(1)))
        cancelling = Background(partial(scene.cancel, parent.id))
        wait_for_lock(url)
        other.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(child.id).cancel_requested
    assert scene.place(child.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_is_claimed_while_its_parent_is_cancelled_is_cancelled_too(scene: Scene, url: str) -> None:
    parent, child = family(scene)
    scene.store.retire_worker(BOB, limit=10)
    scene.register(ALICE)
    with transaction(url) as other:
        line = {"worker": ALICE, "queues": ["default"], "codes": ["ship"], "limit": 2, "suspects": 1, "look": 2}
        [claimed] = execute(other, "claim_runs", scene, **line)
        assert claimed[1] == child.id
        cancelling = Background(partial(scene.cancel, parent.id))
        wait_for_lock(url)
        other.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(child.id).cancel_requested


@pytest.mark.requirement("promise-5", "fault-49")
def test_a_child_that_continues_behind_its_parent_is_cancelled_with_the_parents_successor(
    scene: Scene, url: str
) -> None:
    """The child waits for its parent, becomes the successor's, and must then hold the successor."""
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, workflow="ship", parent_id=parent.id, parent_key="ship")])
    [child] = scene.claim(BOB)
    with transaction(url) as first, transaction(url) as second:
        execute_commit(first, scene, RunCommit(parent.id, parent.epoch, move=Continue(successor_id(parent.id), NEXT)))
        goes_on = RunCommit(child.id, child.epoch, move=Continue(successor_id(child.id), NEXT))
        continuing = Background(partial(execute_commit, second, scene, goes_on))
        wait_for_lock(url)
        first.execute("commit")
        continuing.result()
        cancelling = Background(partial(scene.cancel, successor_id(parent.id)))
        wait_for_lock(url)
        second.execute("commit")

    assert cancelling.result().status is RunStatus.CANCELLED
    assert scene.run(successor_id(child.id)).parent_id == successor_id(parent.id)
    assert scene.run(successor_id(child.id)).cancel_requested


@pytest.mark.requirement("promise-7", "fault-46")
def test_a_kept_signal_that_a_run_sent_reaches_who_was_opening_a_wait(scene: Scene, url: str) -> None:
    sender, run = scene.held(1), scene.held(2)
    with transaction(url) as other:
        execute_commit(other, scene, RunCommit(run.id, run.epoch, waits=[signal_wait("approval", 1)], move=Park(1)))
        scene.accept(sender, signals=[message(1, None, keep_ms=60_000)])
        sweeping = Background(partial(scene.store.sweep_signals, limit=10))
        wait_for_lock(url)
        other.execute("commit")

    sweeping.result()
    assert scene.wait(run.id, "approval").outcome is WaitOutcome.SIGNALLED
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-7")
def test_a_signal_for_all_goes_on_behind_a_run_that_was_deleted_meanwhile(scene: Scene, url: str) -> None:
    ids = [scene.parked(number, signal_wait("approval", 1)).id for number in (1, 2)]
    with transaction(url) as other:
        other.execute("delete from holdfast.runs where id = %s", [ids[0]])
        sending = Background(partial(scene.store.send_signal, message(1, None), limit=1))
        wait_for_lock(url)
        other.execute("commit")

    sending.result()
    while scene.store.sweep_signals(limit=1).more:
        pass
    assert scene.wait(ids[1], "approval").outcome is WaitOutcome.SIGNALLED


def retry_of(run: ClaimedRun, number: int) -> RunCopy:
    """A retry of a run that has failed."""
    return RunCopy(id=run_id(number), source_id=run.id, retry=True, journal=[], waits=[])


def failed(scene: Scene, number: int) -> ClaimedRun:
    """A run that has failed."""
    run = scene.held(number)
    scene.accept(run, move=Finish(RunStatus.FAILED, "error", error=ERROR))
    return run


@contextmanager
def stopped_inserts(url: str) -> Generator[Connection, None, None]:
    """Whoever inserts a run stops there until this transaction commits."""
    with transaction(url) as gate, transaction(url) as other:
        other.execute(
            """
            create function stop() returns trigger language plpgsql as $$
            begin
                perform pg_advisory_xact_lock_shared(1);
                return new;
            end $$;
            create trigger stop before insert on holdfast.runs for each row execute function stop();
            """
        )
        other.execute("commit")
        gate.execute("select pg_advisory_xact_lock(1)")
        yield gate


@pytest.mark.requirement("fault-63")
@pytest.mark.parametrize("again", [False, True], ids=["the run itself", "the first of its lineage"])
def test_a_run_is_not_deleted_while_it_is_retried(scene: Scene, url: str, again: bool) -> None:
    first = failed(scene, 1)
    source = first
    if again:
        scene.store.start_copy(DEFAULT_TENANT, retry_of(first, 2))
        [source] = scene.claim()
        scene.accept(source, move=Finish(RunStatus.FAILED, "error", error=ERROR))
    with stopped_inserts(url) as gate:
        retrying = Background(partial(scene.store.start_copy, DEFAULT_TENANT, retry_of(source, 3)))
        wait_for_lock(url)
        pruning = Background(partial(scene.store.prune, Chosen(DEFAULT_TENANT, [first.id]), limit=10))
        wait_for_lock(url, waiters=2)
        gate.execute("commit")

    assert retrying.result().created
    assert pruning.result() == 0
    assert scene.run(first.id).status is RunStatus.FAILED


@pytest.mark.requirement("fault-63")
def test_a_run_that_is_started_while_its_tenant_is_erased_is_whole(scene: Scene, url: str) -> None:
    scene.start(1)
    with transaction(url) as other:
        other.execute("select id from holdfast.runs for update")
        erasing = Background(partial(scene.store.prune, Everything(DEFAULT_TENANT), limit=10))
        wait_for_lock(url)
        scene.start(2, attributes={"color": "blue"}, queue="new")
        [run] = scene.claim(queues=["new"])
        scene.park(run, signal_wait("approval", 1))
        other.execute("commit")

    assert erasing.result() == 1
    scene.store.send_signal(message(1, run.id))
    assert scene.place(run.id) == (RunStatus.QUEUED, True)
    found = scene.store.list_runs(DEFAULT_TENANT, RunFilter(attributes={"color": "blue"}), limit=5, after=None)
    assert [one.id for one in found.runs] == [run.id]


@dataclass
class Meddled:
    """Statements, after the first of which somebody else does something."""

    statements: Statements
    meddle: Callable[[], object]
    done: bool = False

    def __post_init__(self) -> None:
        self.now_ms = self.statements.now_ms

    def rows(self, statement: Executable) -> list[Any]:
        return self._then(self.statements.rows(statement))

    def changed(self, statement: Executable) -> int:
        return self._then(self.statements.changed(statement))

    def start_runs(self, runs: Sequence[NewRun]) -> list[Started]:
        return self.statements.start_runs(runs)

    def end_waits(self, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
        return self.statements.end_waits(tenant, breaker, after=after, limit=limit)

    def _then(self, answer: T) -> T:
        if not self.done:
            self.done = True
            self.meddle()
        return answer


def deleting(url: str, table: LiteralString) -> None:
    """Delete all rows of a table, as somebody else, unless somebody has locked one."""
    with psycopg.connect(url) as other, suppress(errors.LockNotAvailable):
        other.execute("set lock_timeout = '100ms'")
        other.execute(SQL("delete from {}").format(Identifier("holdfast", table)))


def meddled(scene: Scene, work: Callable[[Statements], T], meddle: Callable[[], object]) -> T:
    """A transaction of such statements."""
    return scene.store.transact(None, lambda statements: work(Meddled(statements, meddle)))


def test_a_pause_is_set_while_somebody_else_lifts_it(scene: Scene, url: str) -> None:
    pause = Pause(tenant=DEFAULT_TENANT, kind="queue", name="slow", recalls=False, since_ms=UnixMs(0))
    again = structs.replace(pause, recalls=True)
    scene.store.transact(None, lambda statements: write_pause(statements, pause))

    is_set = meddled(scene, lambda statements: write_pause(statements, again), partial(deleting, url, "pauses"))

    assert is_set.recalls
    assert scene.store.transact(None, lambda statements: list_pauses(statements, None)) == [is_set]


def test_a_limit_is_set_while_somebody_else_lifts_it(scene: Scene, url: str) -> None:
    limit = QueueLimit(tenant=DEFAULT_TENANT, queue="slow", running_max=1, set_ms=UnixMs(0))
    again = structs.replace(limit, running_max=2)
    scene.store.transact(None, lambda statements: write_limit(statements, limit))

    is_set = meddled(scene, lambda statements: write_limit(statements, again), partial(deleting, url, "queues"))

    assert is_set.running_max == 2
    assert scene.store.transact(None, lambda statements: list_limits(statements, None)) == [is_set]


def test_a_schedule_is_put_while_somebody_else_deletes_it(scene: Scene, url: str) -> None:
    def put(statements: Statements, payload: Json) -> ScheduleRow:
        spec = ScheduleSpec(workflow="order", timing=Every(every_ms=60_000))
        return put_schedule(statements, DEFAULT_TENANT, "hourly", spec, payload=payload)

    scene.store.transact(None, lambda statements: put(statements, INPUT))

    row = meddled(scene, lambda statements: put(statements, NEXT), partial(deleting, url, "schedules"))

    assert (row.input, row.revision) == (NEXT, 0)


@pytest.mark.requirement("S-37")
def test_a_breaker_is_tried_by_one_though_another_one_reads_it_before_that(scene: Scene) -> None:
    bank = Breaker("bank", failures=1, open_for=1)
    scene.store.transact(None, lambda statements: settle(statements, [Told(DEFAULT_TENANT, bank, Ticket(0), True)]))
    scene.clock.advance(1000)

    def ask(prober: str) -> Callable[[Statements], Ticket | None]:
        return lambda statements: settle(statements, [Asked(DEFAULT_TENANT, bank, prober)])[0].ticket

    late = meddled(scene, ask("late"), lambda: scene.store.transact(None, ask("quick")))

    assert late is None
    assert scene.store.transact(None, lambda s: find_breaker(s, DEFAULT_TENANT, "bank")).prober == "quick"


@pytest.mark.requirement("S-37")
def test_a_failure_is_told_while_somebody_else_erases_the_breaker(scene: Scene, url: str) -> None:
    bank = Breaker("bank")

    def tell(statements: Statements) -> object:
        return settle(statements, [Told(DEFAULT_TENANT, bank, Ticket(0), True)])

    scene.store.transact(None, tell)
    meddled(scene, tell, partial(deleting, url, "breakers"))

    assert len(scene.store.transact(None, lambda s: find_breaker(s, DEFAULT_TENANT, "bank")).failures) == 1


@pytest.mark.requirement("S-37", "fault-46")
@pytest.mark.parametrize("is_deleted", [False, True], ids=["is cancelled", "is deleted"])
def test_the_next_run_tries_if_the_first_one_that_waits_goes_away_meanwhile(
    scene: Scene, url: str, is_deleted: bool
) -> None:
    bank = Breaker("bank", failures=1, open_for=1)
    scene.store.transact(None, lambda statements: settle(statements, [Told(DEFAULT_TENANT, bank, Ticket(0), True)]))
    wait = NewWait(key="charge~breaker1", seq=1, kind=WaitKind.BREAKER, signal="bank")
    first, second = (scene.parked(number, wait) for number in (1, 2))
    scene.clock.advance(1000)
    [due] = scene.store.transact(None, list_due, read_only=True)
    with transaction(url) as other:
        other.execute("select from holdfast.runs where id = %s for update", [first.id])
        trying = Background(lambda: scene.store.transact(None, lambda statements: let_through(statements, due)))
        wait_for_lock(url)
        if is_deleted:
            other.execute("delete from holdfast.runs where id = %s", [first.id])
        else:
            other.execute(
                "update holdfast.waits set outcome = 'cancelled', closed_ms = 1 where run_id = %s", [first.id]
            )
        other.execute("commit")

    assert trying.result() == [second.id]
