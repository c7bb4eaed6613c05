"""Several workers and clients at once, each with connections of its own, on one database: random, but not in turns.

Each actor knows only what the store has answered it, as a worker does. What the answers were is written down in a
``Log``, and what is wrong with them while they come; ``crowd_check`` compares the rows with it afterwards.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from msgspec import structs

from holdfast.core.ids import successor_id
from holdfast.errors import HoldfastError, StoreUnavailable
from holdfast.model.catalog import code_name
from holdfast.model.command import (
    Cancel,
    Change,
    CloseStuck,
    Command,
    Order,
    Pause,
    ReleaseStuck,
    Resume,
    RunCopy,
    Terminate,
)
from holdfast.model.commit import Compensate, Continue, Finish, Move, NewWait, Park, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause as Bar
from holdfast.model.pause import PauseKind
from holdfast.model.run import ClaimedRun, NewRun, RunDetail, Signal, Wait, WorkerInfo
from holdfast.model.status import ParentPolicy, RunStatus, WaitKind
from holdfast.model.tenant import Chosen, TenantPolicy
from holdfast.store.port import Store
from holdfast.store.queues import write_limit
from holdfast.store.tenancy import delete_pause, write_pause, write_policy
from tests.contract.commands import HASHES, draw_move
from tests.contract.crowd_meetings import meet
from tests.contract.scene import ERROR, OTHER_TENANT, RESULT, entry, new_run, run_id
from tests.contract.stores import ManualClock

TENANTS: Final = (DEFAULT_TENANT, DEFAULT_TENANT, DEFAULT_TENANT, OTHER_TENANT)
WORKFLOWS: Final = ("order", "ship")
QUEUES: Final = ("default", "slow", "other")
CODES: Final = (*WORKFLOWS, *(code_name(name, each) for name in WORKFLOWS for each in HASHES))
SIGNALS: Final = ("approved", "paid")
LEASE_MS: Final = 1_500
SLOW_MAX, OTHER_MAX = 2, 3
"""How many runs of the queue ``slow``, and of the other tenant, workers may hold."""
EVERYTHING: Final = 1_000


class SharedClock(ManualClock):
    """A clock that several threads move on."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def advance(self, ms: int) -> UnixMs:
        with self._lock:
            return super().advance(ms)


@dataclass
class Barred:
    """For how long something was paused, as far as that can be told from outside."""

    bar: Bar
    since_s: float
    """It was paused by then."""
    until_s: float | None = None
    """It was paused until then."""

    def stops(self, run: ClaimedRun, begun_s: float, ended_s: float) -> bool:
        """Whether a claim that was made in that time had to pass over the run."""
        names = {"queue": run.queue, "workflow": run.workflow, "tenant": run.tenant}
        if run.tenant != self.bar.tenant or names[self.bar.kind] != self.bar.name:
            return False
        return self.since_s < begun_s and (self.until_s is None or self.until_s > ended_s)


@dataclass
class Log:
    """What the store has answered to all of them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    bars_lock: threading.Lock = field(default_factory=threading.Lock)
    started: dict[RunId, NewRun] = field(default_factory=dict[RunId, NewRun])
    begun: set[RunId] = field(default_factory=set[RunId])
    """Runs that copies and continuing made."""
    claims: dict[tuple[RunId, int], str] = field(default_factory=dict[tuple[RunId, int], str])
    accepted: dict[RunId, list[RunCommit]] = field(default_factory=dict[RunId, list[RunCommit]])
    signals: dict[RunId, Signal] = field(default_factory=dict[RunId, Signal])
    bars: list[Barred] = field(default_factory=list[Barred])
    listening: list[tuple[Tenant, RunId, str]] = field(default_factory=list[tuple[Tenant, RunId, str]])
    """Who opened a wait for which signal."""
    hot: deque[RunId] = field(default_factory=lambda: deque[RunId](maxlen=6))
    """Runs that are being written to just now, and children that are about to be waited for: a good place to meet."""
    epochs: dict[RunId, int] = field(default_factory=dict[RunId, int])
    """The highest epoch at which each run was claimed."""
    deleted: set[RunId] = field(default_factory=set[RunId])
    done: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])

    def violation(self, what: str) -> None:
        """A promise was broken."""
        with self.lock:
            self.violations.append(what)

    def take_claim(self, who: str, runs: Sequence[ClaimedRun]) -> None:
        """These runs were claimed; what is known of them must be in their records."""
        with self.lock:
            for run in runs:
                other = self.claims.setdefault((run.id, run.epoch), who)
                if other != who:
                    self.violations.append(f"run {run.id} was claimed at epoch {run.epoch} by {other} and by {who}")
                self.epochs[run.id] = max(run.epoch, self.epochs.get(run.id, 0))
                found = {one.seq for one in run.journal}
                for commit in self.accepted.get(run.id, []):
                    missing = {one.seq for one in commit.entries} - found
                    if commit.epoch < run.epoch and missing:
                        self.violations.append(f"run {run.id} was claimed without its records {sorted(missing)}")

    def take_commits(self, batch: Sequence[RunCommit], epochs: Mapping[RunId, int]) -> None:
        """These were accepted; by then the runs had been claimed at ``epochs``."""
        with self.lock:
            for commit in batch:
                if commit.epoch < epochs.get(commit.run_id, 0):
                    self.violations.append(
                        f"run {commit.run_id} was written to at {commit.epoch}, {epochs} was claimed"
                    )
                self.accepted.setdefault(commit.run_id, []).append(commit)
                self.started |= {child.id: child for child in commit.children}
                self.signals |= {sent.id: sent for sent in commit.signals}
                if isinstance(commit.move, Continue):
                    self.begun.add(commit.move.successor_id)

    def hot_ones(self) -> list[RunId]:
        """Where others are just now."""
        with self.lock:
            return list(self.hot)

    def known(self) -> list[RunId]:
        """The runs that there are, as far as anybody knows."""
        with self.lock:
            return [*self.started, *self.begun]


@dataclass
class Lease:
    """A run that an actor holds, as it knows it."""

    run: ClaimedRun
    seq: int
    open: dict[str, Wait]
    cancelled: bool
    children: list[RunId] = field(default_factory=list[RunId])
    """Those that it has started and not waited for."""


class Actor:
    """A worker and a client in one, in a thread of its own."""

    def __init__(self, number: int, seed: int, store: Store, clock: SharedClock, log: Log, *, bars: bool) -> None:
        self.name = f"worker-{number}"
        self.worker = WorkerId(self.name)
        self.pick = random.Random(f"{seed}/{number}")
        self.store = store
        self.clock = clock
        self.log = log
        self.held: dict[RunId, Lease] = {}
        self.number = number * 10_000
        self.choices: list[tuple[int, Callable[[], str]]] = [
            (9, self.start),
            (10, self.claim),
            (26, self.commit),
            (7, self.commit_batch),
            (6, self.signal),
            (3, self.broadcast),
            (4, self.sweep),
            (4, self.wake_due),
            (3, self.requeue_lost),
            (7, self.command),
            (5, self.shift),
            (6, self.meet),
            (3, self.copy),
            (2, self.move),
            (2 if bars else 0, self.bar),
            (2 if bars else 0, self.lift),
            (1, self.retire),
            (1, self.release_unknown),
            (1, self.delete),
        ]

    def run(self, operations: int) -> None:
        """So many operations, and what is wrong with their answers."""
        self.register()
        weights = [weight for weight, _ in self.choices]
        for _ in range(operations):
            [(_, act)] = self.pick.choices(self.choices, weights)
            self.clock.advance(self.pick.choice((0, 1, 5, 20, 60)))
            self.log.done[self._do(act)] += 1

    def _do(self, act: Callable[[], str]) -> str:
        """What came of it, in a word or two."""
        try:
            return act() or act.__name__
        except StoreUnavailable as error:
            self.log.violation(f"{act.__name__}: {error}")
        except HoldfastError as error:
            return f"{act.__name__}: {type(error).__name__}"
        except Exception as error:  # noqa: BLE001 - no caller should ever see one
            self.log.violation(f"{act.__name__}: {error!r}")
        return f"{act.__name__}: failed"

    # Starting

    def chance(self, likelihood: float) -> bool:
        return self.pick.random() < likelihood

    def next_id(self) -> RunId:
        self.number += 1
        return run_id(self.number)

    def new_run(self, **given: Any) -> NewRun:
        base: dict[str, Any] = {
            "tenant": self.pick.choice(TENANTS),
            "workflow": self.pick.choice(WORKFLOWS),
            "queue": self.pick.choice((*QUEUES, "default")),
            "priority": self.pick.choice((0, 0, 1)),
            "delay_ms": self.pick.choice((0, 0, 0, 80)),
            **({"version": 2, "definition_hash": HASHES[0]} if self.chance(0.3) else {}),
        }
        self.number += 1
        return new_run(self.number, **{**base, **given})

    def start(self) -> str:
        return self.start_these([self.new_run() for _ in range(self.pick.choice((1, 1, 2, 3)))])

    def start_these(self, runs: Sequence[NewRun]) -> str:
        answers = self.store.start_runs(runs)
        with self.log.lock:
            self.log.started |= {run.id: run for run, one in zip(runs, answers, strict=True) if one.created}
        return ""

    # Working

    def register(self) -> None:
        info = WorkerInfo(id=self.worker, queues=list(QUEUES), codes=list(CODES))
        self.store.register_worker(info, lease_ms=LEASE_MS)

    def claim(self) -> str:
        queues = [self.pick.choice(QUEUES)] if self.chance(0.4) else QUEUES
        codes = [name for name in CODES if self.chance(0.85)] or CODES
        return self.claim_from(queues, codes, self.pick.choice((1, 2, 4, 30)), self.pick.choice((0, 1, 9)))

    def claim_all(self) -> str:
        return self.claim_from(QUEUES)

    def claim_from(
        self, queues: Sequence[str], codes: Sequence[str] = CODES, limit: int = 30, suspects: int = 9
    ) -> str:
        self.store.heartbeat(self.worker, lease_ms=LEASE_MS)
        begun_s = time.monotonic()
        runs = self.store.claim_runs(self.worker, queues=queues, codes=codes, limit=limit, suspects=suspects).runs
        ended_s = time.monotonic()
        self.log.take_claim(self.name, runs)
        with self.log.lock:
            bars = list(self.log.bars)
        if len(runs) > limit or sum(run.crashes >= 2 for run in runs) > suspects:
            self.log.violation(f"a claim of {limit} runs and {suspects} suspects got {runs}")
        for run in runs:
            if run.queue not in queues or code_name(run.workflow, run.definition_hash) not in codes:
                self.log.violation(f"run {run.id} of {run.queue}, {run.workflow}, {run.version} was no run of the line")
            for one in bars:
                if one.stops(run, begun_s, ended_s):
                    self.log.violation(f"run {run.id} was claimed while {one.bar.kind} {one.bar.name} was paused")
            last = max([one.seq for one in run.journal] + [one.seq for one in run.waits], default=0)
            waits = {wait.key: wait for wait in run.waits if wait.outcome is None}
            self.held[run.id] = Lease(run, last, waits, run.cancel_requested)
        return "" if runs else "claim: nothing"

    def commit(self) -> str:
        if not self.held:
            return self.claim()
        hot = [self.held[one] for one in self.log.hot_ones() if one in self.held]
        return self.record([self.pick.choice(hot if hot and self.chance(0.7) else list(self.held.values()))])

    def commit_batch(self) -> str:
        if len(self.held) < 2:
            return self.claim()
        return self.record(self.pick.sample(list(self.held.values()), min(len(self.held), 3)))

    def record(self, leases: Sequence[Lease], batch: Sequence[RunCommit] = ()) -> str:
        """Commit what is given for these leases, or something."""
        batch = batch or [self.draw_commit(lease) for lease in leases]
        with self.log.lock:
            epochs = {commit.run_id: self.log.epochs.get(commit.run_id, 0) for commit in batch}
            # Before it is done, so that others meet it.
            self.log.hot += [*epochs, *(wait.child_id for one in batch for wait in one.waits if wait.child_id)]
            self.log.listening += [
                (lease.run.tenant, lease.run.id, wait.signal)
                for lease, commit in zip(leases, batch, strict=True)
                for wait in commit.waits
                if wait.signal is not None
            ]
        answer = self.store.commit(batch)
        refused = {*answer.refused, *answer.broken}
        self.log.take_commits([commit for commit in batch if commit.run_id not in refused], epochs)
        for reason in answer.broken.values():
            self.log.violation(f"a commit was broken: {reason}")
        for lease, commit in zip(leases, batch, strict=True):
            if lease.run.id in refused or isinstance(commit.move, Park | Release | Finish | Continue):
                del self.held[lease.run.id]
                continue
            lease.cancelled = lease.cancelled or lease.run.id in answer.cancel_requested
            for wait in answer.waits.get(lease.run.id, []):
                lease.open[wait.key] = wait
            lease.open = {key: wait for key, wait in lease.open.items() if wait.outcome is None}
        return "commit: refused" if refused else f"commit: {type(batch[0].move).__name__}"

    def draw_commit(self, lease: Lease) -> RunCommit:
        """Something that the holder of this run might want recorded."""
        run = lease.run

        def key(letter: str) -> tuple[str, int]:
            lease.seq += 1
            return f"{letter}{self.number}.{run.epoch}.{lease.seq}", lease.seq

        entries = [entry(run, *key("s")) for _ in range(self.pick.choice((0, 1, 1, 2)))]
        children = [self.draw_child(run, key("c")[0]) for _ in range(self.pick.choice((0, 0, 0, 1, 2)))]
        lease.children += [child.id for child in children]
        awaited = [child for child in lease.children if self.chance(0.5)]
        lease.children = [child for child in lease.children if child not in awaited]
        waits = [
            NewWait(key=name, seq=seq, kind=WaitKind.CHILD, child_id=child)
            for child in awaited
            for name, seq in [key("w")]
        ]
        if self.chance(0.5):
            waits.append(self.draw_wait(*key("w")))
        closing = [one for one, wait in lease.open.items() if wait.kind is WaitKind.TIMER and self.chance(0.5)]
        cancelled = [one for one in closing if self.chance(0.5)]
        return RunCommit(
            run.id,
            run.epoch,
            entries=entries,
            children=children,
            waits=waits,
            signals=[self.draw_signal(run.tenant)] if self.chance(0.15) else [],
            elapsed=[one for one in closing if one not in cancelled],
            cancelled=cancelled,
            move=self.draw_move(lease, len(lease.open) + len(waits) - len(cancelled)),
            counted=run.counted,
        )

    def draw_child(self, run: ClaimedRun, key: str) -> NewRun:
        policy = self.pick.choice(
            (ParentPolicy.CANCEL, ParentPolicy.CANCEL, ParentPolicy.REQUEST, ParentPolicy.ABANDON)
        )
        place: dict[str, Any] = {"parent_id": run.id, "parent_key": key, "parent_policy": policy}
        return self.new_run(tenant=run.tenant, **place)

    def draw_wait(self, key: str, seq: int) -> NewWait:
        if self.chance(0.7):
            return NewWait(key=key, seq=seq, kind=WaitKind.SIGNAL, signal=self.pick.choice(SIGNALS))
        return NewWait(key=key, seq=seq, kind=WaitKind.TIMER, delay_ms=self.pick.choice((0, 50, 300)))

    def draw_move(self, lease: Lease, open_waits: int) -> Move | None:
        if lease.run.status is RunStatus.COMPENSATING or lease.cancelled:
            status = RunStatus.FAILED if lease.run.status is RunStatus.COMPENSATING else RunStatus.CANCELLED
            if self.chance(0.6):
                return Finish(status, "compensated", error=ERROR)
        roll = self.pick.random()
        if lease.run.parent_id is not None and lease.run.id in self.log.hot_ones():
            # Its parent may be about to wait for it.
            roll = self.pick.uniform(0.68, 1)
        if roll < 0.2:
            return None
        if roll < 0.6:
            return Park(open_waits) if open_waits else Release()
        if roll < 0.68:
            return Release()
        if lease.run.status is RunStatus.COMPENSATING:
            return Finish(RunStatus.STUCK, "non_determinism", error=ERROR)
        if roll < 0.78:
            return Continue(successor_id(lease.run.id), RESULT)
        if roll < 0.8:
            return Compensate(ERROR, "retries_exhausted")
        if roll < 0.92:
            return Finish(RunStatus.COMPLETED, "completed", result=RESULT)
        if roll < 0.97:
            return Finish(RunStatus.FAILED, "error", error=ERROR)
        return Finish(RunStatus.STUCK, "non_determinism", error=ERROR)

    def retire(self) -> str:
        while self.store.retire_worker(self.worker, limit=2):
            pass
        if self.chance(0.5):
            # Else it does not know, and goes on.
            self.held.clear()
        self.register()
        return ""

    def release_unknown(self) -> str:
        self.held = {run_id: lease for run_id, lease in self.held.items() if self.chance(0.8)}
        self.store.release_unknown(self.worker, known=list(self.held))
        return ""

    # Housekeeping

    def wake_due(self) -> str:
        return "" if self.store.wake_due(limit=self.pick.choice((1, EVERYTHING))) else "wake_due: nothing"

    def requeue_lost(self) -> str:
        taken = self.store.requeue_lost(limit=EVERYTHING, crashes_max=self.pick.choice((2, 4, 9)))
        return "" if taken else "requeue_lost: nothing"

    def sweep(self) -> str:
        return "" if self.store.sweep_signals(limit=self.pick.choice((1, EVERYTHING))).woken else "sweep: nobody"

    def delete(self) -> str:
        tenant, some = self.some_run()
        if not self.store.prune(Chosen(tenant, [some]), limit=1):
            return "delete: nothing"
        with self.log.lock:
            self.log.deleted.add(some)
        return ""

    # Clients

    def some_run(self) -> tuple[Tenant, RunId]:
        known = self.log.known()
        if not known:
            return DEFAULT_TENANT, run_id(999_999)
        hot = self.log.hot_ones()
        one = self.pick.choice(hot if hot and self.chance(0.5) else known[-30:])
        started = self.log.started.get(one)
        return (DEFAULT_TENANT if started is None else started.tenant), one

    def draw_signal(self, tenant: Tenant, to: RunId | None = None) -> Signal:
        if to is None and self.chance(0.6):
            tenant_of, some = self.some_run()
            to = some if tenant_of == tenant else None
        one = self.next_id()
        payload = Json(b'{"value":%d}' % self.number)
        keep_ms = None if to is not None else self.pick.choice((None, 1_000_000))
        name = self.pick.choice(SIGNALS)
        return Signal(id=one, tenant=tenant, name=name, payload=payload, run_id=to, keep_ms=keep_ms)

    def signal(self) -> str:
        with self.log.lock:
            listening = self.log.listening[-12:]
        if not listening or self.chance(0.2):
            return self.send(self.draw_signal(*self.some_run()))
        tenant, some, name = self.pick.choice(listening)
        return self.send(structs.replace(self.draw_signal(tenant, some), name=name))

    def broadcast(self) -> str:
        tenant, _ = self.some_run()
        one = self.next_id()
        payload = Json(b'{"value":%d}' % self.number)
        keep_ms = self.pick.choice((None, 1_000_000))
        name = self.pick.choice(SIGNALS)
        return self.send(Signal(id=one, tenant=tenant, name=name, payload=payload, keep_ms=keep_ms))

    def send(self, signal: Signal) -> str:
        self.store.send_signal(signal, limit=self.pick.choice((1, 3, EVERYTHING)))
        with self.log.lock:
            self.log.signals[signal.id] = signal
        return ""

    def command(self) -> str:
        tenant, some = self.some_run()
        command: Command = self.pick.choice(
            (
                Cancel(),
                Cancel(compensate=True),
                Terminate(),
                Pause(),
                Pause(),
                Resume(),
                Resume(),
                Resume(),
                ReleaseStuck(),
                CloseStuck(),
                Change(priority=2),
                Change(queue="other"),
                Change(queue="default"),
                Change(wake=True),
            )
        )
        order = Order(id=self.next_id(), command=command, actor="ann")
        self.store.command(tenant, some, order)
        self.store.command(tenant, some, order)
        return f"command: {type(command).__name__}"

    def meet(self) -> str:
        return meet(self)

    def shift(self) -> str:
        """Take a run that is probably in the line to another one."""
        with self.log.lock:
            fresh = list(self.log.started.values())[-8:]
        if not fresh:
            return self.start()
        run = self.pick.choice(fresh)
        command = Change(queue=self.pick.choice(("default", "other")))
        self.store.command(run.tenant, run.id, Order(id=self.next_id(), command=command, actor="ann"))
        return ""

    def move(self) -> str:
        tenant, some = self.some_run()
        detail = self.store.read_detail(tenant, some)
        if detail.run.worker is not None or detail.run.definition_hash is None:
            return "move: nothing"
        order = Order(id=self.next_id(), command=draw_move(self.pick, detail, unseen=f"u{self.number}"), actor="ann")
        self.store.command(tenant, some, order)
        return ""

    def copy(self) -> str:
        tenant, some = self.some_run()
        detail: RunDetail = self.store.read_detail(tenant, some)
        copy = RunCopy(
            id=self.next_id(),
            source_id=some,
            retry=detail.run.status in (RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.STUCK),
            journal=[one.key for one in detail.journal],
            waits=[one.key for one in detail.waits if one.outcome is not None],
            definition_hash=detail.run.definition_hash,
        )
        self.store.start_copy(tenant, copy)
        with self.log.lock:
            self.log.begun.add(copy.id)
        return ""

    def bar(self) -> str:
        tenant = self.pick.choice(TENANTS)
        kind: PauseKind = self.pick.choice(("queue", "workflow"))
        name = self.pick.choice(QUEUES if kind == "queue" else WORKFLOWS)
        bar = Bar(tenant=tenant, kind=kind, name=name, recalls=False, since_ms=UnixMs(0))
        with self.log.bars_lock:
            self.store.transact(None, lambda statements: write_pause(statements, bar))
            with self.log.lock:
                self.log.bars.append(Barred(bar, time.monotonic()))
        return ""

    def lift(self) -> str:
        """Resume all that is paused."""
        with self.log.bars_lock:
            lifted = [one for one in self.log.bars if one.until_s is None]
            for one in lifted:
                one.until_s = time.monotonic()
            for bar in {one.bar for one in lifted}:
                self.store.transact(None, partial(delete_pause, tenant=bar.tenant, kind=bar.kind, name=bar.name))
        return ""


def set_limits(store: Store) -> None:
    """The limits that hold from the beginning."""
    slow = QueueLimit(tenant=DEFAULT_TENANT, queue="slow", running_max=SLOW_MAX, set_ms=UnixMs(0))
    other = TenantPolicy(tenant=OTHER_TENANT, running_max=OTHER_MAX)
    store.transact(None, lambda statements: write_limit(statements, slow))
    store.transact(None, lambda statements: write_policy(statements, other))
