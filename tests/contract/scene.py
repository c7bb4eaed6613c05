"""Short ways to bring a store's runs where a test wants them. Ids are plain numbers in the form of a UUID."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select

from holdfast.model.command import Cancel, Command, Order
from holdfast.model.commit import CommitAnswer, NewWait, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import (
    Attempt,
    Claim,
    ClaimedRun,
    Entry,
    NewRun,
    Run,
    RunDetail,
    RunFilter,
    Signal,
    Transition,
    Wait,
    WorkerInfo,
)
from holdfast.model.status import TERMINAL_STATUSES, TRANSITIONS, EntryKind, EntryStatus, RunStatus, WaitKind
from holdfast.store import tables
from holdfast.store.listings import TRANSITION_COLUMNS
from holdfast.store.port import Statements
from holdfast.store.records import transition_from
from tests.contract.stores import OpenStore

LEASE_MS = 10_000
MANY = 100
"""The histories of more runs than this are read together."""
INPUT = Json(b'{"value":1}')
RESULT = Json(b'{"value":{"paid":true}}')
ERROR = Json(b'{"type":"Refused","message":"no"}')
PAYLOAD = Json(b'{"value":{"by":"ann"}}')
ALICE, BOB = WorkerId("worker-alice"), WorkerId("worker-bob")
OTHER_TENANT = Tenant("other")
WORKFLOWS = ("order", "ship")


def run_id(number: int) -> RunId:
    """The id with this number; a higher number is a higher id."""
    return RunId(f"00000000-0000-7000-8000-{number:012x}")


def new_run(number: int, **given: Any) -> NewRun:
    """A run to be started, of workflow ``order`` unless told otherwise."""
    base: dict[str, Any] = {"id": run_id(number), "workflow": "order", "input": INPUT}
    return NewRun(**{**base, **given})


def entry(run: ClaimedRun, key: str, seq: int, **given: Any) -> Entry:
    """A completed step of a held run."""
    base: dict[str, Any] = {
        "key": key,
        "seq": seq,
        "kind": EntryKind.STEP,
        "name": key,
        "status": EntryStatus.COMPLETED,
        "result": RESULT,
        "epoch": run.epoch,
        "started_ms": UnixMs(1),
        "completed_ms": UnixMs(2),
    }
    return Entry(**{**base, **given})


def attempt(key: str, number: int) -> Attempt:
    """A failed attempt of a step."""
    return Attempt(key=key, attempt=number, error=ERROR, started_ms=UnixMs(number), ended_ms=UnixMs(number + 1))


def timer(key: str, seq: int, delay_ms: int | None) -> NewWait:
    """A wait for a time."""
    return NewWait(key=key, seq=seq, kind=WaitKind.TIMER, delay_ms=delay_ms)


def signal_wait(key: str, seq: int, name: str = "approved", **given: Any) -> NewWait:
    """A wait for a signal."""
    return NewWait(key=key, seq=seq, kind=WaitKind.SIGNAL, signal=name, **given)


def child_wait(key: str, seq: int, child: RunId) -> NewWait:
    """A wait for the end of a child."""
    return NewWait(key=key, seq=seq, kind=WaitKind.CHILD, child_id=child)


def message(number: int, to: RunId | None, name: str = "approved", **given: Any) -> Signal:
    """A signal with the id of this number, to one run or to all who wait."""
    base: dict[str, Any] = {"tenant": DEFAULT_TENANT, "payload": PAYLOAD}
    return Signal(id=run_id(1_000_000 + number), name=name, run_id=to, **{**base, **given})


class Scene:
    """A store with a clock to move, and two workers to call up."""

    def __init__(self, opened: OpenStore) -> None:
        self.opened = opened
        self.store = opened.store
        self.clock = opened.clock
        self.orders = 0

    def start(self, number: int, **given: Any) -> RunId:
        """Start a run."""
        [started] = self.store.start_runs([new_run(number, **given)])
        assert started.created
        return started.run_id

    def register(self, worker: WorkerId = ALICE, *, lease_ms: int = LEASE_MS, **given: Any) -> WorkerId:
        """Announce a worker that knows every workflow of these tests."""
        info: dict[str, Any] = {"queues": ["default"], "codes": list(WORKFLOWS), **given}
        self.store.register_worker(WorkerInfo(id=worker, **info), lease_ms=lease_ms)
        return worker

    def claim(
        self,
        worker: WorkerId = ALICE,
        *,
        queues: Sequence[str] = ("default",),
        codes: Sequence[str] = WORKFLOWS,
        limit: int = 100,
        suspects: int = 100,
    ) -> list[ClaimedRun]:
        """Register the worker, or extend its lease, and let it claim."""
        self.register(worker)
        return self.claim_only(worker, queues=queues, codes=codes, limit=limit, suspects=suspects).runs

    def claim_only(self, worker: WorkerId, **given: Any) -> Claim:
        """Claim with the worker's lease as it is."""
        wanted: dict[str, Any] = {
            "queues": ("default",),
            "codes": WORKFLOWS,
            "limit": 100,
            "suspects": 100,
            **given,
        }
        return self.store.claim_runs(worker, **wanted)

    def held(self, number: int, worker: WorkerId = ALICE, **given: Any) -> ClaimedRun:
        """Start a run and let the worker claim it."""
        started = self.start(number, **given)
        [run] = [run for run in self.claim(worker) if run.id == started]
        return run

    def commit(self, run: ClaimedRun, **parts: Any) -> CommitAnswer:
        """Commit for one run at the epoch at which it was claimed."""
        return self.store.commit([RunCommit(run_id=run.id, epoch=run.epoch, **parts)])

    def accept(self, run: ClaimedRun, **parts: Any) -> CommitAnswer:
        """Commit for one run and see it accepted."""
        answer = self.commit(run, **parts)
        assert (answer.refused, answer.broken) == ({}, {})
        return answer

    def park(self, run: ClaimedRun, *waits: NewWait) -> CommitAnswer:
        """Open these waits and give the lease back."""
        return self.accept(run, waits=list(waits), move=Park(open_waits=len(waits)))

    def parked(self, number: int, *waits: NewWait, worker: WorkerId = ALICE, **given: Any) -> ClaimedRun:
        """Start a run, claim it and park it on these waits."""
        run = self.held(number, worker, **given)
        self.park(run, *waits)
        return run

    def lose(self, run: ClaimedRun, *, crashes_max: int = 100) -> bool:
        """Let the lease of the run's worker run out and the run be taken from it; whether it is set aside."""
        self.clock.advance(LEASE_MS + 1)
        return self.store.requeue_lost(limit=100, crashes_max=crashes_max)[run.id]

    def order(self, of: RunId, command: Command, *, tenant: Tenant = DEFAULT_TENANT, **given: Any) -> Run:
        """Give a command under an id of its own; the run as it is then."""
        self.orders += 1
        id_ = given.pop("id", run_id(2_000_000 + self.orders))
        return self.store.command(tenant, of, Order(id=id_, command=command, **given))

    def cancel(self, of: RunId, *, compensate: bool = False, **given: Any) -> Run:
        """Ask for a run to be cancelled."""
        return self.order(of, Cancel(compensate=compensate), **given)

    def run(self, of: RunId, tenant: Tenant = DEFAULT_TENANT) -> Run:
        """The run's row."""
        return self.store.get_run(tenant, of)

    def detail(self, of: RunId, tenant: Tenant = DEFAULT_TENANT) -> RunDetail:
        """The run with all that belongs to it."""
        return self.store.read_detail(tenant, of)

    def wait(self, of: RunId, key: str) -> Wait:
        """One wait of the run."""
        [found] = [wait for wait in self.detail(of).waits if wait.key == key]
        return found

    def place(self, of: RunId) -> tuple[RunStatus, bool]:
        """The run's status and whether it can be claimed."""
        run = self.run(of)
        return run.status, run.ready_ms is not None

    def check_histories(self) -> None:
        """Every run's transitions are numbered without a gap, chained, and in the table of legal moves."""
        for tenant in (DEFAULT_TENANT, OTHER_TENANT):
            runs = list(all_runs(self.opened, tenant, limit=1_000))
            if self.opened.kind != "memory" and len(runs) > MANY:
                for first in range(0, len(runs), 500):
                    self._check_many(tenant, runs[first : first + 500])
                continue
            for run in runs:
                check_history(self.store.read_detail(tenant, run.id))

    def _check_many(self, tenant: Tenant, runs: list[Run]) -> None:
        """The same for runs of a database, each of whose tables is read once."""
        ids = [run.id for run in runs]
        moves: dict[str, list[Transition]] = {}
        with_open_wait: set[str] = set()

        def read(statements: Statements) -> None:
            columns, waits = tables.TRANSITIONS.c, tables.WAITS.c
            query = select(columns.run_id, *TRANSITION_COLUMNS).where(columns.run_id.in_(ids))
            for row in statements.rows(query.order_by(columns.run_id, columns.seq)):
                moves.setdefault(str(row[0]), []).append(transition_from(row[1:]))
            rows = statements.rows(select(waits.run_id).where(waits.run_id.in_(ids), waits.outcome.is_(None)))
            with_open_wait.update(str(row[0]) for row in rows)

        self.store.transact(tenant, read, read_only=True)
        for run in runs:
            check_moves(run, moves[run.id], is_settled=run.id not in with_open_wait)


def all_runs(opened: OpenStore, tenant: Tenant, *, limit: int = 100) -> Iterator[Run]:
    """Every run of the tenant, newest first, page by page."""
    after = None
    while True:
        page = opened.store.list_runs(tenant, RunFilter(), limit=limit, after=after)
        yield from page.runs
        after = page.next
        if after is None:
            return


def check_history(detail: RunDetail) -> None:
    """The run's transitions are numbered without a gap, chained, legal, and end where the run is."""
    check_moves(detail.run, detail.transitions, is_settled=all(wait.outcome is not None for wait in detail.waits))


def check_moves(run: Run, history: Sequence[Transition], *, is_settled: bool) -> None:
    """The same; ``is_settled``: it has no open wait."""
    assert [one.seq for one in history] == list(range(1, len(history) + 1))
    assert (history[0].from_status, history[0].to_status) == (None, RunStatus.QUEUED)
    assert [one.from_status for one in history[1:]] == [one.to_status for one in history[:-1]]
    for one in history[1:]:
        assert one.from_status is not None
        assert one.to_status in TRANSITIONS[one.from_status].values()
    assert history[-1].to_status is run.status
    assert [one.epoch for one in history] == sorted(one.epoch for one in history)
    assert history[-1].epoch == run.epoch
    if run.status in TERMINAL_STATUSES:
        assert (run.worker, run.ready_ms, run.wake_ms) == (None, None, None)
        # What is settled of a run that is set aside moves it nowhere.
        assert run.finalized_ms == [one for one in history if one.from_status is not one.to_status][-1].at_ms
        assert run.status is RunStatus.STUCK or is_settled
