"""Bugs to plant: each puts one mistake into the running engine or store, for as long as its block lasts.

They are the mistakes that engines like this one have made, this one among them. A campaign that does not notice them
proves nothing by being green.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from holdfast.client.client import Client
from holdfast.core.control import Effect, Situation
from holdfast.core.control import decide as decide_command
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.command import Order
from holdfast.model.commit import Finish, Park, RunCommit
from holdfast.model.ids import RunId, UnixMs, WorkerId
from holdfast.model.run import Entry, Run, Signal, Wait
from holdfast.model.status import EntryKind, EntryStatus, RunStatus
from holdfast.runtime import attempts, compensation
from holdfast.runtime import branch as runtime_branch
from holdfast.runtime.branch import RunBranch
from holdfast.runtime.claimer import Claimer
from holdfast.runtime.committer import Committer
from holdfast.runtime.execution import RunExecution, Stop
from holdfast.runtime.heartbeat import Heartbeat
from holdfast.runtime.services import Services
from holdfast.runtime.worker import Worker
from holdfast.store.memory import adapter as memory
from holdfast.store.memory import claiming, messages
from holdfast.store.memory import commit as memory_commit
from holdfast.store.memory.adapter import MemoryStore
from holdfast.store.memory.tables import Record, StoredSignal, Tables
from holdfast.store.memory.unit import Unit
from holdfast.store.sqlite import statements
from holdfast.testing.sim.loop import PROCESS
from holdfast.testing.sim.observe import replaced
from holdfast.workflow.context import CURRENT, StepInfo
from holdfast.workflow.step import Step
from holdfast.workflow.workflow import Workflow
from tests.sim import workloads

Planting = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the kind of store on which to look for it."""

    name: str
    plant: Planting
    kind: str
    swept: tuple[Workflow[..., Any], tuple[Any, ...]] | None
    """The run in which single faults find it; None if a campaign does."""

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


MUTANTS: list[Mutant] = []


def _nothing(_self: object) -> None:
    return None


def _yes(_self: object) -> bool:
    return True


def mutant(
    name: str, *, kind: str = "memory", swept: tuple[Workflow[..., Any], tuple[Any, ...]] | None = None
) -> Callable[[Planting], Planting]:
    """Add a mistake to the list."""

    def add(plant: Planting) -> Planting:
        MUTANTS.append(Mutant(name, plant, kind, swept))
        return plant

    return add


# The store


@mutant("journal without epoch check")
def no_epoch() -> AbstractContextManager[None]:
    def find_refusal(tables: Tables, commit: RunCommit) -> str | None:
        run = tables.records[commit.run_id].run
        return None if run.status in (RunStatus.RUNNING, RunStatus.COMPENSATING) else "not held"

    return replaced(memory, "find_refusal", find_refusal)


@mutant("finish without compare-and-set")
def no_guard_of_the_end() -> AbstractContextManager[None]:
    original = memory_commit.find_refusal

    def find_refusal(tables: Tables, commit: RunCommit) -> str | None:
        return None if isinstance(commit.move, Finish) else original(tables, commit)

    return replaced(memory, "find_refusal", find_refusal)


@mutant("lease by the worker's clock")
def lease_by_the_workers_clock() -> AbstractContextManager[None]:
    original = MemoryStore.heartbeat

    def heartbeat(self: MemoryStore, worker: WorkerId, *, lease_ms: int) -> UnixMs:
        now_ms = original(self, worker, lease_ms=lease_ms)
        until_ms = UnixMs(int(PROCESS.get().wall_s() * 1000) + lease_ms)
        self._tables.workers[worker] = structs.replace(self._tables.workers[worker], lease_until_ms=until_ms)
        return now_ms

    return replaced(MemoryStore, "heartbeat", heartbeat)


@mutant("wake-up lost while parking")
def wake_up_lost() -> AbstractContextManager[None]:
    original = memory_commit._park

    def park(unit: Unit, record: Record, _move: Park) -> None:
        original(unit, record, Park(open_waits=0))

    return replaced(memory_commit, "_park", park)


@mutant("signal consumed twice")
def signal_consumed_twice() -> AbstractContextManager[None]:
    original = messages.take_signals

    def take(unit: Unit, record: Record, waits: Sequence[Wait], heard: Sequence[StoredSignal]) -> list[str]:
        before = dict(unit.tables.signals)
        keys = original(unit, record, waits, heard)
        unit.tables.signals.update(before)
        return keys

    return replaced(memory_commit, "take_signals", take)


@mutant("signal for all consumed twice by one run")
def signal_for_all_consumed_twice() -> AbstractContextManager[None]:
    original = StoredSignal.is_for

    def is_for(self: StoredSignal, run: Run, now_ms: UnixMs) -> bool:
        return original(structs.replace(self, received=frozenset()), run, now_ms)

    return replaced(StoredSignal, "is_for", is_for)


@mutant("signal of a run forgotten")
def signal_of_a_run_forgotten() -> AbstractContextManager[None]:
    def accept(_unit: Unit, _signal: Signal) -> None:
        return None

    return replaced(memory_commit, "accept", accept)


@mutant("signals taken newest first")
def signals_taken_newest_first() -> AbstractContextManager[None]:
    original = messages.take_signals

    def take(unit: Unit, record: Record, waits: Sequence[Wait], heard: Sequence[StoredSignal]) -> list[str]:
        return original(unit, record, waits, list(reversed(heard)))

    return replaced(memory_commit, "take_signals", take)


@mutant("timer fired early")
def timer_fired_early() -> AbstractContextManager[None]:
    original = MemoryStore.wake_due

    def wake_due(self: MemoryStore, *, limit: int) -> int:
        clock = self._clock
        with replaced(self, "_clock", lambda: UnixMs(clock() + 700)):
            return original(self, limit=limit)

    return replaced(MemoryStore, "wake_due", wake_due)


@mutant("parent not woken by its child")
def parent_not_woken() -> AbstractContextManager[None]:
    original = Unit.tell

    def tell(self: Unit, record: Record, *, reason: str, key: str) -> None:
        if reason != "child_ended":
            original(self, record, reason=reason, key=key)

    return replaced(Unit, "tell", tell)


@mutant("claim without a new epoch")
def claim_keeps_the_epoch() -> AbstractContextManager[None]:
    original = claiming.take

    def claim(unit: Unit, record: Record, worker: WorkerId) -> None:
        epoch = record.run.epoch
        original(unit, record, worker)
        record.run = structs.replace(record.run, epoch=max(epoch, 1))

    return replaced(claiming, "take", claim)


@mutant("crashes not counted")
def crashes_not_counted() -> AbstractContextManager[None]:
    original = memory._take_over

    def take_over(unit: Unit, record: Record, crashes_max: int) -> bool:
        record.run = structs.replace(record.run, crashes=0)
        return original(unit, record, crashes_max)

    return replaced(memory, "_take_over", take_over)


@mutant("take-over without regard to the lease")
def take_over_of_the_living() -> AbstractContextManager[None]:
    def has_lease(self: Tables, worker: WorkerId, now_ms: UnixMs) -> bool:
        row = self.workers.get(worker)
        return row is not None and row.lease_until_ms - 3500 > now_ms

    return replaced(Tables, "has_lease", has_lease)


@contextmanager
def sql(name: str, old: str, new: str) -> Generator[None]:
    """Change the text of one SQLite statement."""
    original = statements.sql
    assert old in original(name), f"{name}.sql does not hold {old!r}"

    def planted(wanted: str) -> str:
        return original(wanted).replace(old, new) if wanted == name else original(wanted)

    statements._sql_for_rows.cache_clear()
    try:
        with replaced(statements, "sql", planted):
            yield
    finally:
        statements._sql_for_rows.cache_clear()


@mutant("journal without epoch check", kind="sqlite")
def sqlite_no_epoch() -> AbstractContextManager[None]:
    return sql("commit_entries", "and r.epoch = b.column2", "")


@mutant("finish without compare-and-set", kind="sqlite", swept=(workloads.rest, (1, 1.0)))
def sqlite_no_guard_of_the_end() -> AbstractContextManager[None]:
    name = "commit_finish"
    key = "where runs.shard = 0 and runs.id = b.column1"
    guard = statements.sql(name).partition(key)[2]
    return sql(name, key + guard, key)


@mutant("park ignores the waits that were closed", kind="sqlite")
def sqlite_wake_up_lost() -> AbstractContextManager[None]:
    return sql("commit_park", "b.open < b.believed", "b.open < 0")


@mutant("signal consumed twice", kind="sqlite")
def sqlite_signal_consumed_twice() -> AbstractContextManager[None]:
    return sql("signal_consumed", "set consumed_ms = :now_ms, wait_key", "set consumed_ms = null, wait_key")


@mutant("take-over without a new epoch", kind="sqlite")
def sqlite_take_over_keeps_the_epoch() -> AbstractContextManager[None]:
    return sql("requeue_lost", "epoch = epoch + 1", "epoch = epoch")


@mutant("timer fired early", kind="sqlite")
def sqlite_timer_fired_early() -> AbstractContextManager[None]:
    @contextmanager
    def plant() -> Generator[None]:
        with sql("wake_due_pick", ":now_ms", ":now_ms + 700"), sql("wake_due_waits", ":now_ms", "(:now_ms + 700)"):
            yield

    return plant()


@mutant("stale write answered as done", kind="sqlite")
def sqlite_stale_write_answered_as_done() -> AbstractContextManager[None]:
    return sql("commit_entries_absent", "and j.epoch = b.value ->> 2", "")


@mutant("claims without a lease", kind="sqlite")
def sqlite_claims_without_a_lease() -> AbstractContextManager[None]:
    guard = "k.id = :worker and k.lease_until_ms > :now_ms"

    @contextmanager
    def plant() -> Generator[None]:
        # The worker asks in vain, and does not even ask: both have to be gone.
        with (
            sql("claim_runs_pick", guard, "k.id = :worker"),
            sql("claim_runs_merge", guard, "k.id = :worker"),
            replaced(Heartbeat, "holds_lease", property(_yes)),
        ):
            yield

    return plant()


@mutant("command obeyed again under its id", kind="sqlite")
def sqlite_command_obeyed_again() -> AbstractContextManager[None]:
    return sql("command_seen", "t.command_id = :command_id", "t.command_id = :command_id || 'x'")


@mutant("pause that loses a wake", kind="sqlite")
def sqlite_pause_loses_a_wake() -> AbstractContextManager[None]:
    return sql("command_move", "ready_ms = :ready_ms", "ready_ms = iif(:status_reason = 'resumed', null, :ready_ms)")


@mutant("cancel that loses against a park", kind="sqlite")
def sqlite_cancel_loses_against_park() -> AbstractContextManager[None]:
    return sql("commit_park", "worker = null,", "worker = null, cancel_requested = 0,")


@mutant("command that does not look at the status")
def command_without_a_look() -> AbstractContextManager[None]:
    def decide(situation: Situation, order: Order) -> Effect | None:
        run = situation.run
        if run.status is RunStatus.COMPLETED:
            run = structs.replace(run, status=RunStatus.QUEUED)
        return decide_command(structs.replace(situation, run=run), order)

    return replaced(memory, "decide", decide)


# The runtime


@mutant("journal before the effect")
def journal_before_the_effect() -> AbstractContextManager[None]:
    original = attempts.execute_step

    async def execute_step(
        planned: RunBranch, step: Step[Any, Any], key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        execution = planned.execution
        if step.name != "add" or key in execution.journal:
            return await original(planned, step, key, args, kwargs)
        branch, services = planned.enter(), execution.services
        now_ms, result = services.now_ms(), services.codec.encode(sum(args), "the result")
        entry = Entry(
            key=key,
            seq=execution.next_seq(),
            kind=EntryKind.STEP,
            name="add",
            status=EntryStatus.COMPLETED,
            result=result,
            epoch=execution.epoch,
            started_ms=now_ms,
            completed_ms=now_ms,
        )
        execution.stage_entry(entry)
        await execution.saved()
        run = execution.run
        info = StepInfo(run_id=run.id, tenant=run.tenant, workflow=run.workflow, step="add", key=key, attempt=1)
        token, branch.in_handler = CURRENT.set(info), True
        try:
            return await step.function(*args, **kwargs)
        finally:
            branch.in_handler = False
            CURRENT.reset(token)

    return replaced(runtime_branch, "execute_step", execute_step)


@mutant("start repeated under a new id")
def start_repeated_under_a_new_id() -> AbstractContextManager[None]:
    original = Client._send

    async def send(self: Client, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(method, "method", "") != "start_runs":
            return await original(self, method, *args, **kwargs)
        while True:
            try:
                return await self._host.call("client", method, *args, **kwargs)
            except (CommitUnknown, StoreUnavailable):
                await asyncio.sleep(0.1)
                args = ([structs.replace(new, id=RunId(self._host.new_id())) for new in args[0]],)

    return replaced(Client, "_send", send)


@mutant("compensations in forward order")
def compensations_forward() -> AbstractContextManager[None]:
    original = compensation.to_compensate

    def to_compensate(journal: Any) -> list[Entry]:
        return original(journal)[::-1]

    return replaced(compensation, "to_compensate", to_compensate)


@mutant("attempts not durable")
def attempts_not_durable() -> AbstractContextManager[None]:
    original = RunExecution._load

    def load(self: RunExecution, run: Any) -> None:
        original(self, run)
        self.failed_attempts.clear()

    return replaced(RunExecution, "_load", load)


@mutant("handlers start before earlier results are durable")
def no_barrier() -> AbstractContextManager[None]:
    original = RunExecution.saved

    async def saved(self: RunExecution) -> None:
        if self.staged.move is not None:
            await original(self)
        else:
            self.services.committer.submit(self)
            self.staged.durable = self.staged.count

    return replaced(RunExecution, "saved", saved)


@mutant("unknown commit sent again without a look")
def unknown_commit_sent_again() -> AbstractContextManager[None]:
    async def which_were_done(self: Committer, _batch: Any, _commits: Sequence[RunCommit]) -> set[RunId]:
        return set()

    return replaced(Committer, "_which_were_done", which_were_done)


@mutant("unknown commit taken for done")
def unknown_commit_taken_for_done() -> AbstractContextManager[None]:
    async def which_were_done(self: Committer, _batch: Any, commits: Sequence[RunCommit]) -> set[RunId]:
        return {commit.run_id for commit in commits}

    return replaced(Committer, "_which_were_done", which_were_done)


@mutant("late commit taken for a defect")
def late_commit_taken_for_a_defect() -> AbstractContextManager[None]:
    async def which_came_late(self: Committer, *_args: Any) -> set[RunId]:
        return set()

    return replaced(Committer, "_which_came_late", which_came_late)


@mutant("unknown commit judged by the order of events alone", swept=(workloads.bookings, (1, "memory")))
def unknown_commit_judged_by_order() -> AbstractContextManager[None]:
    async def has_rows(self: Services, _execution: Any, _commit: RunCommit) -> bool:
        return True

    return replaced(Services, "has_rows", has_rows)


@mutant("cancelled before its first step")
def cancelled_before_its_first_step() -> AbstractContextManager[None]:
    original = Worker.begin_execution

    def begin(execution: RunExecution) -> None:
        original(execution)
        if execution.stop is not None:
            execution.stop = None
            execution.request_stop(Stop.CANCEL)

    return replaced(Worker, "begin_execution", staticmethod(begin))


@mutant("result left out of a compensation's place")
def result_in_the_place_of_a_default() -> AbstractContextManager[None]:
    return replaced(inspect.BoundArguments, "apply_defaults", _nothing)


@mutant("claim whose answer was lost is forgotten")
def lost_claim_forgotten() -> AbstractContextManager[None]:
    async def release_unknown(self: Claimer) -> None:
        return None

    return replaced(Claimer, "_release_unknown", release_unknown)
