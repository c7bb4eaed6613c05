"""Random sequences of operations, each chosen from what the reference store holds at that moment.

A step's arguments are fixed when it is chosen, so that the same step can be applied to any store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from holdfast.core.ids import successor_id
from holdfast.model.catalog import code_name
from holdfast.model.command import Cancel, Command, Order, word_of
from holdfast.model.commit import Compensate, Continue, Finish, Move, NewWait, Park, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant
from holdfast.model.run import Entry, NewRun, Run, RunDetail, Signal, WorkerInfo
from holdfast.model.status import (
    EntryKind,
    EntryStatus,
    ParentPolicy,
    RunStatus,
)
from holdfast.store.port import WORKER_KEPT_MS, Store, count_runs
from tests.contract.bars import choose_bar
from tests.contract.commands import HASHES, draw_command
from tests.contract.filters import ATTRIBUTES, RENAMED, choose_filter
from tests.contract.inbox import SIGNALS, asked_of, choose_answer, choose_wait, read_inbox
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    OTHER_TENANT,
    PAYLOAD,
    RESULT,
    all_runs,
    attempt,
    new_run,
    run_id,
)
from tests.contract.steps import Step, accepted, claimed
from tests.contract.stores import OpenStore

TENANTS = (DEFAULT_TENANT, OTHER_TENANT)
WORKFLOWS = ("order", "ship")
CODES = (*WORKFLOWS, *(code_name(name, each) for name in WORKFLOWS for each in HASHES))
QUEUES = ("default", "slow")
WORKERS = (ALICE, BOB)
EVERYTHING = 1_000


class Script:
    """Chooses the next step by a seeded generator and the state of the reference."""

    def __init__(self, seed: int, model: OpenStore) -> None:
        self._random = random.Random(seed)
        self._model = model
        self._number = 0
        self._seq = 0
        self._sent: list[Signal] = []
        self._opening: list[Callable[[], Step]] = [self._start, self._register, self._register, self._start]
        self._choices: list[tuple[int, Callable[[], Step]]] = [
            (5, self._advance),
            (2, self._start),
            (1, self._start_again),
            (1, self._start_in),
            (2, self._register),
            (1, self._heartbeat),
            (1, self._retire),
            (9, self._claim),
            (18, self._commit),
            (3, self._commit_batch),
            (2, self._commit_refused),
            (3, self._commit_broken),
            (3, self._commit_with),
            (5, self._bar),
            (5, self._wake_due),
            (5, self._requeue_lost),
            (6, self._signal),
            (3, self._broadcast),
            (1, self._signal_again),
            (4, self._sweep_signals),
            (3, self._answer),
            (2, self._list_approvals),
            (2, self._cancel),
            (5, self._command),
            (1, self._read_progress),
            (3, self._read_live),
            (1, self._read_agenda),
            (1, self._release_unknown),
            (1, self._read_runs),
            (4, self._list_runs),
        ]

    def next(self) -> Step:
        """The next step."""
        if self._opening:
            return self._opening.pop(0)()
        weights = [weight for weight, _ in self._choices]
        [(_, choose)] = self._random.choices(self._choices, weights)
        return choose()

    # What the reference holds

    def _runs(self) -> list[Run]:
        return [run for tenant in TENANTS for run in all_runs(self._model, tenant, limit=EVERYTHING)]

    def _held(self) -> list[Run]:
        return [run for run in self._runs() if run.worker is not None]

    def _detail(self, run: Run) -> RunDetail:
        return self._model.store.read_detail(run.tenant, run.id)

    def _pick_run(self) -> tuple[Tenant, RunId]:
        runs = self._runs()
        if not runs or self._chance(0.05):
            return DEFAULT_TENANT, run_id(999_999)
        run = self._random.choice(runs)
        return (run.tenant if self._chance(0.9) else self._random.choice(TENANTS)), run.id

    def _chance(self, likelihood: float) -> bool:
        return self._random.random() < likelihood

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _new_run(self, **given: Any) -> NewRun:
        self._number += 1
        pick = self._random
        base: dict[str, Any] = {
            "tenant": DEFAULT_TENANT if self._chance(0.85) else OTHER_TENANT,
            "workflow": pick.choice(WORKFLOWS),
            "queue": pick.choice(QUEUES),
            **({"version": 2, "definition_hash": HASHES[0]} if self._chance(0.2) else {}),
            "priority": pick.choice((-1, 0, 0, 1)),
            "delay_ms": pick.choice((0, 0, 0, 0, 150)),
            "timeout_ms": pick.choice((None, None, None, 400, 2_000)),
            "attributes": pick.choice(ATTRIBUTES),
        }
        return new_run(self._number, **{**base, **given})

    # Time and starts

    def _advance(self) -> Step:
        # All stores of a sequence share one clock: it is moved when the step is chosen.
        usual = self._random.choice((0, 1, 10, 50, 100, 300, 1_000))
        self._model.clock.advance(WORKER_KEPT_MS if self._chance(0.03) else usual)
        return Step(("advance",), lambda opened: opened.store.read_clock())

    def _start(self) -> Step:
        runs = [self._new_run() for _ in range(self._random.choice((1, 1, 2, 4)))]
        return Step(("start",), lambda opened: opened.store.start_runs(runs))

    def _start_again(self) -> Step:
        _, known = self._pick_run()
        runs = [self._new_run(), self._new_run(id=known), self._new_run()]
        return Step(("start again",), lambda opened: opened.store.start_runs(runs))

    def _start_in(self) -> Step:
        runs = [self._new_run(), self._new_run()]
        keep = self._chance(0.6)

        def act(opened: OpenStore) -> Any:
            try:
                with opened.transaction() as connection:
                    started = opened.store.start_runs_in(connection, runs)
                    if not keep:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                return "rolled back"
            return started

        return Step(("start in a transaction" if keep else "start rolled back",), act)

    # Workers

    def _register(self) -> Step:
        worker = self._random.choice(WORKERS)
        info = WorkerInfo(
            id=worker,
            queues=list(QUEUES[: self._random.choice((1, 2))]),
            codes=list(CODES),
            host="box",
            pid=self._random.randrange(100),
        )
        lease_ms = self._random.choice((200, 1_000, 5_000))
        return Step(("register",), lambda opened: opened.store.register_worker(info, lease_ms=lease_ms))

    def _heartbeat(self) -> Step:
        worker = self._random.choice(WORKERS)
        return Step(("heartbeat",), lambda opened: opened.store.heartbeat(worker, lease_ms=1_000))

    def _retire(self) -> Step:
        worker = self._random.choice(WORKERS)
        had = any(run.worker == worker for run in self._held())
        return Step(("retire",), lambda opened: opened.store.retire_worker(worker, limit=EVERYTHING), lambda _: had)

    def _bar(self) -> Step:
        return choose_bar(self._random, self._model.store, TENANTS, QUEUES, WORKFLOWS)

    def _claim(self) -> Step:
        worker = self._random.choice(WORKERS)
        queues = QUEUES if self._chance(0.8) else QUEUES[:1]
        codes = CODES if self._chance(0.8) else CODES[1:]
        limit = self._random.choice((1, 2, 5, 20))
        suspects = self._random.choice((0, 1, 20))
        lease_ms = self._random.choice((0, 100, 300, 1_000))

        def act(opened: OpenStore) -> Any:
            if lease_ms:
                opened.store.heartbeat(worker, lease_ms=lease_ms)
            return opened.store.claim_runs(worker, queues=queues, codes=codes, limit=limit, suspects=suspects)

        return Step(("claim",), act, claimed)

    # Commits

    def _commit(self) -> Step:
        held = self._held()
        if not held:
            return self._claim()
        kinds, commit = self._write(self._random.choice(held))
        return Step(tuple(kinds), lambda opened: opened.store.commit([commit]), accepted)

    def _commit_batch(self) -> Step:
        held = self._held()
        chosen: list[Run] = []
        for run in self._random.sample(held, min(4, len(held))):
            # A parent and its child in one batch may be written in either order.
            if not any(run.id == one.parent_id or one.id == run.parent_id for one in chosen):
                chosen.append(run)
        batch = [self._write(run)[1] for run in chosen]
        if batch and self._chance(0.3):
            last = batch.pop()
            batch.append(RunCommit(run_id=last.run_id, epoch=last.epoch + 1, move=last.move))
        return Step(
            ("batch",), lambda opened: opened.store.commit(batch), lambda answer: len(batch) > 1 and not answer.broken
        )

    def _commit_refused(self) -> Step:
        runs = self._runs()
        if not runs:
            return self._start()
        run = self._random.choice(runs)
        # One that is held at another epoch, or not held at all.
        epoch = run.epoch - 1 if run.worker is not None else run.epoch
        _, commit = self._write(run)
        stale = RunCommit(
            run_id=run.id,
            epoch=epoch,
            entries=commit.entries,
            attempts=commit.attempts,
            waits=commit.waits,
            children=commit.children,
            elapsed=commit.elapsed,
            cancelled=commit.cancelled,
            move=commit.move,
        )
        return Step(("refused",), lambda opened: opened.store.commit([stale]), lambda answer: bool(answer.refused))

    def _commit_broken(self) -> Step:
        known = [run for run in self._held() if self._detail(run).journal]
        if not known:
            return self._commit()
        run = self._random.choice(known)
        twice = self._random.choice(self._detail(run).journal)
        _, commit = self._write(run)
        broken = RunCommit(
            run_id=run.id,
            epoch=run.epoch,
            entries=[*commit.entries, twice],
            waits=commit.waits,
            children=commit.children,
            move=commit.move,
        )
        others = [one for one in self._held() if one.id != run.id and run.id not in (one.parent_id, one.id)]
        batch = [broken]
        if others:
            other = self._random.choice(others)
            if other.id != run.parent_id:
                batch.insert(0, self._write(other)[1])
        return Step(("broken",), lambda opened: opened.store.commit(batch), lambda answer: bool(answer.broken))

    def _commit_with(self) -> Step:
        held = self._held()
        if not held:
            return self._claim()
        run = self._random.choice(held)
        _, commit = self._write(run)
        started = [self._new_run()]
        way = self._random.choice(("accepted", "accepted", "refused", "raised"))
        if way == "refused":
            commit = RunCommit(run_id=run.id, epoch=run.epoch + 1, entries=commit.entries)

        def act(opened: OpenStore) -> Any:
            def handle(connection: Any) -> RunCommit:
                opened.store.start_runs_in(connection, started)
                if way == "raised":
                    raise ZeroDivisionError
                return commit

            try:
                return opened.store.commit_with(handle, wants=opened.connection)
            except ZeroDivisionError:
                return way

        return Step((f"commit with: {way}",), act, lambda answer: accepted(answer) == (way == "accepted"))

    def _write(self, run: Run) -> tuple[list[str], RunCommit]:
        """Something that the holder of this run might want recorded, and what to call it."""
        detail = self._detail(run)
        sent = [self._message(run.tenant)] if self._chance(0.2) else []
        opened = [wait for wait in detail.waits if wait.outcome is None]
        entries = [self._entry(run) for _ in range(self._random.choice((0, 0, 1, 2)))]
        attempts = [attempt(f"a{self._next_seq()}", 1) for _ in range(self._random.choice((0, 0, 0, 1)))]
        children = [self._child(run) for _ in range(self._random.choice((0, 0, 0, 1, 2)))]
        waits = [self._wait(detail, children) for _ in range(self._random.choice((0, 0, 1, 1, 2)))]
        closing = [wait.key for wait in opened if self._chance(0.4)]
        cut = self._random.randint(0, len(closing))
        elapsed, cancelled = closing[:cut], closing[cut:]
        move = self._move(run, len(opened) + len(waits) - len(closing))
        kinds = [
            *("entry" for _ in entries),
            *("attempt" for _ in attempts),
            *("child" for _ in children),
            *("send" for _ in sent),
            *(f"wait: {wait.kind}" for wait in waits),
            *("elapsed" for _ in elapsed),
            *("cancelled wait" for _ in cancelled),
            f"{run.status}: {type(move).__name__} {move.status if isinstance(move, Finish) else ''}".strip(),
        ]
        commit = RunCommit(
            run_id=run.id,
            epoch=run.epoch,
            entries=entries,
            attempts=attempts,
            waits=waits,
            children=children,
            signals=sent,
            elapsed=elapsed,
            cancelled=cancelled,
            attributes=self._random.choice(RENAMED),
            move=move,
        )
        return kinds, commit

    def _entry(self, run: Run) -> Entry:
        seq = self._next_seq()
        failed = self._chance(0.2)
        return Entry(
            key=f"s{seq}",
            seq=seq,
            kind=self._random.choice(list(EntryKind)),
            name="step",
            status=EntryStatus.FAILED if failed else EntryStatus.COMPLETED,
            result=None if failed else RESULT,
            error=ERROR if failed else None,
            fingerprint=self._random.choice(("", "abc")),
            input=self._random.choice((None, PAYLOAD)),
            attempts=self._random.choice((1, 3)),
            epoch=run.epoch,
            started_ms=self._model.clock.now_ms,
            completed_ms=self._model.clock.now_ms,
        )

    def _child(self, run: Run) -> NewRun:
        policy = self._random.choice(list(ParentPolicy))
        key = f"c{self._next_seq()}"
        return self._new_run(tenant=run.tenant, parent_id=run.id, parent_key=key, parent_policy=policy)

    def _wait(self, detail: RunDetail, children: Sequence[NewRun]) -> NewWait:
        seq = self._next_seq()
        delay_ms = self._random.choice((None, 0, 40, 200, 900))
        known = [run.id for run in self._runs() if run.parent_id == detail.run.id] + [run.id for run in children]
        return choose_wait(self._random, seq, self._model.clock.now_ms, known, delay_ms)

    def _move(self, run: Run, open_waits: int) -> Move | None:
        roll = self._random.random()
        if run.status is RunStatus.COMPENSATING and self._chance(0.3):
            status = self._random.choice((RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.STUCK))
            return Finish(status, "compensated", error=ERROR)
        if roll < 0.2:
            return None
        if roll < 0.6:
            return Park(open_waits=max(0, open_waits + self._random.choice((-1, 0, 0, 0, 1))))
        if roll < 0.7:
            return Release()
        if roll < 0.76:
            return Compensate(ERROR, "retries_exhausted")
        if roll < 0.83:
            return Continue(successor_id(run.id), RESULT)
        if roll < 0.9:
            return Finish(RunStatus.COMPLETED, "completed", result=RESULT)
        if roll < 0.95:
            return Finish(RunStatus.FAILED, "error", error=ERROR)
        if roll < 0.985:
            return Finish(RunStatus.STUCK, "non_determinism", error=ERROR)
        return Finish(RunStatus.CANCELLED, "cancelled")

    # Housekeeping and clients

    def _wake_due(self) -> Step:
        return Step(("wake due",), lambda opened: opened.store.wake_due(limit=EVERYTHING), lambda answer: answer > 0)

    def _requeue_lost(self) -> Step:
        crashes_max = self._random.choice((1, 2, 4))
        lost = self._model.store.read_agenda(queues=QUEUES, codes=WORKFLOWS).workers_lost
        return Step(
            ("set aside" if crashes_max == 1 else "requeue lost",) if lost else (),
            lambda opened: opened.store.requeue_lost(limit=EVERYTHING, crashes_max=crashes_max),
            bool,
        )

    def _release_unknown(self) -> Step:
        worker = self._random.choice(WORKERS)
        known = [run.id for run in self._held() if self._chance(0.7)]
        return Step(
            ("release unknown",),
            lambda opened: opened.store.release_unknown(worker, known=known),
            lambda answer: answer > 0,
        )

    def _new_signal(self, tenant: Tenant, to: RunId | None, name: str | None = None) -> Signal:
        self._number += 1
        signal = Signal(
            id=run_id(5_000_000 + self._number),
            tenant=tenant,
            name=name or self._random.choice(SIGNALS),
            payload=Json(b'{"value":{"n":%d}}' % self._random.randrange(3)),
            run_id=to,
            keep_ms=self._random.choice((None, None, 50, 1_000)),
        )
        self._sent.append(signal)
        return signal

    def _message(self, tenant: Tenant) -> Signal:
        """A signal to somebody of the tenant, mostly to one who listens."""
        listening = [(run, name) for run, name in self._listening() if run.tenant == tenant]
        run, name = self._random.choice(listening or [(None, None)])
        return self._new_signal(tenant, None if run is None or self._chance(0.3) else run.id, name)

    def _listening(self) -> list[tuple[Run, str]]:
        """The open signal waits: whose, and for what."""
        return [
            (run, wait.signal)
            for run in self._runs()
            for wait in self._detail(run).waits
            if wait.outcome is None and wait.signal is not None
        ]

    def _signal(self) -> Step:
        listening = self._listening()
        if listening and self._chance(0.6):
            run, name = self._random.choice(listening)
            signal = self._new_signal(run.tenant, run.id, name)
        else:
            signal = self._new_signal(*self._pick_run())
        return Step(
            ("signal",), lambda opened: opened.store.send_signal(signal), lambda answer: answer == [signal.run_id]
        )

    def _broadcast(self) -> Step:
        tenants = [run.tenant for run, _ in self._listening()] or TENANTS
        signal = structs.replace(self._message(self._random.choice(tenants)), run_id=None)
        limit = self._random.choice((1, 2, 1_000))
        return Step(
            ("broadcast",),
            lambda opened: sorted(opened.store.send_signal(signal, limit=limit)),
            lambda answer: answer != [],
        )

    def _sweep_signals(self) -> Step:
        limit = self._random.choice((1, 2, EVERYTHING))
        return Step(
            ("sweep signals",), lambda opened: opened.store.sweep_signals(limit=limit), lambda sweep: sweep.woken > 0
        )

    def _signal_again(self) -> Step:
        if not self._sent:
            return self._broadcast()
        signal = self._random.choice(self._sent)
        return Step(("signal again",), lambda opened: sorted(opened.store.send_signal(signal)), lambda a: a == [])

    def _answer(self) -> Step:
        asked = asked_of(detail for run in self._runs() for detail in [self._detail(run)])
        if not asked:
            return self._list_approvals()
        self._number += 1
        answer = choose_answer(self._random, asked, run_id(6_000_000 + self._number), TENANTS)
        return Step(("answer",), lambda opened: opened.store.send_signal(answer), lambda found: isinstance(found, list))

    def _list_approvals(self) -> Step:
        tenant, limit = self._random.choice(TENANTS), self._random.choice((1, 3, EVERYTHING))
        names = self._random.choice((["ann"], ["chief", "bob"], []))
        return Step(("list approvals",), lambda opened: read_inbox(opened, tenant, names, limit), bool)

    def _order(self, command: Command) -> Order:
        self._number += 1
        return Order(id=run_id(7_000_000 + self._number), command=command, actor="ann", note="why not")

    def _command(self) -> Step:
        tenant, run = self._pick_run()
        found = next((one for one in self._runs() if one.id == run), None)
        detail = None if found is None else self._detail(found)
        order = self._order(draw_command(self._random, detail, unseen=f"u{self._next_seq()}"))

        def act(opened: OpenStore) -> Any:
            once = opened.store.command(tenant, run, order)
            assert opened.store.command(tenant, run, order) == once
            return once

        return Step((f"command {word_of(order.command)}",), act, lambda answer: isinstance(answer, Run))

    def _cancel(self) -> Step:
        tenant, run = self._pick_run()
        order = self._order(Cancel(compensate=self._chance(0.3)))
        return Step(
            ("cancel",),
            lambda opened: opened.store.command(tenant, run, order),
            lambda answer: isinstance(answer, Run),
        )

    def _read_progress(self) -> Step:
        ids = [run.id for run in self._runs()] + [run_id(999_999)]
        return Step(("read progress",), lambda opened: opened.store.read_progress(ids), bool)

    def _read_live(self) -> Step:
        choice = self._random.choice
        keys = [None, [], ["sleep"], ["sleep", "none", "signal"]]
        waiting = {run.id: choice(keys) for run in self._runs()}

        def act(opened: OpenStore) -> Any:
            news = [one for worker in WORKERS for one in opened.store.read_live(worker, waiting)]
            return sorted(news, key=lambda one: one.run_id)

        return Step(("read live",), act, bool)

    def _read_agenda(self) -> Step:
        queues = QUEUES if self._chance(0.7) else QUEUES[:1]
        codes = self._random.choice((WORKFLOWS, CODES[1:3], CODES))
        return Step(("read agenda",), lambda opened: opened.store.read_agenda(queues=queues, codes=codes))

    def _read_runs(self) -> Step:
        tenant, one = self._pick_run()
        ids = [run.id for run in self._runs() if self._chance(0.5)]

        def act(opened: OpenStore) -> Any:
            found = sorted(opened.store.get_runs(tenant, ids), key=lambda run: run.id)
            return found, opened.store.list_workers(), opened.store.get_run(tenant, one)

        return Step(("read runs",), act, lambda answer: isinstance(answer, tuple))

    def _list_runs(self) -> Step:
        pick = self._random
        where = choose_filter(pick, self._model.clock.now_ms)
        tenant, limit = pick.choice((DEFAULT_TENANT, *TENANTS)), pick.choice((1, 3, 50))

        def act(opened: OpenStore) -> Any:
            first = opened.store.list_runs(tenant, where, limit=limit, after=None)
            second = None
            if first.next is not None:
                second = opened.store.list_runs(tenant, where, limit=limit, after=first.next).runs
            return first.runs, first.next, second, count_runs(opened.store, tenant, where)

        return Step(("list runs",), act, lambda answer: bool(answer[0]))


def snapshot(store: Store, runs: Sequence[Run]) -> list[RunDetail]:
    """All that the store says of these runs."""
    return [store.read_detail(run.tenant, run.id) for run in runs]


def lines(opened: OpenStore) -> list[Run]:
    """Every run's row, in the order of the listing, tenant by tenant."""
    return [run for tenant in TENANTS for run in all_runs(opened, tenant, limit=EVERYTHING)]
