"""What must hold of the rows that a crowd leaves behind, and that everything which can go on does so to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import func, select

from holdfast.errors import CommandRefused, RunFinished
from holdfast.model.closing import EVERY
from holdfast.model.command import Cancel, Order, Resume
from holdfast.model.commit import Finish, Move, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant, WorkerId
from holdfast.model.run import ClaimedRun, Run, RunDetail, RunFilter, Wait, WorkerInfo
from holdfast.model.status import TERMINAL_STATUSES, ParentPolicy, RunStatus, WaitKind, WaitOutcome
from holdfast.store.outbox import Outbox
from holdfast.store.port import Store
from holdfast.store.tables import OUTBOX, RECEIPTS, RUNS, SIGNALS
from holdfast.store.tables import QUEUES as LIMITS
from holdfast.store.tenancy import delete_pause, list_pauses
from tests.contract.crowd import CODES, EVERYTHING, OTHER_MAX, QUEUES, SLOW_MAX, Log, SharedClock
from tests.contract.scene import ERROR, OTHER_TENANT, RESULT, check_history, run_id

READER: Final = "@crowd"
ROUNDS_MAX: Final = 60
Details = Mapping[RunId, RunDetail]


def subscribe(store: Store) -> None:
    """Have the ends of all runs told to somebody."""
    Outbox(store).subscribe(None, READER, [EVERY])


def check_limits(store: Store) -> Iterator[str]:
    """No more runs are held than may be, if there are limits. One statement: what it sees is one moment."""
    r, q = RUNS.c, LIMITS.c
    if not store.transact(None, lambda statements: statements.rows(select(q.queue).limit(1)), read_only=True):
        return
    held = select(r.tenant, r.queue, func.count()).where(r.worker.is_not(None)).group_by(r.tenant, r.queue)
    rows = store.transact(None, lambda statements: statements.rows(held), read_only=True)
    slow = sum(count for tenant, queue, count in rows if (tenant, queue) == (DEFAULT_TENANT, "slow"))
    other = sum(count for tenant, _, count in rows if tenant == OTHER_TENANT)
    if slow > SLOW_MAX:
        yield f"{slow} runs of the queue slow were held, {SLOW_MAX} may be"
    if other > OTHER_MAX:
        yield f"{other} runs of the tenant other were held, {OTHER_MAX} may be"


def read_all(store: Store) -> dict[RunId, RunDetail]:
    """Every run with its records."""
    return {run.id: store.read_detail(run.tenant, run.id) for run in all_runs(store)}


def all_runs(store: Store) -> Iterator[Run]:
    """Every run's row."""
    for tenant in (DEFAULT_TENANT, OTHER_TENANT):
        after = None
        while True:
            page = store.list_runs(tenant, RunFilter(), limit=EVERYTHING, after=after)
            yield from page.runs
            after = page.next
            if after is None:
                break


def settle(store: Store) -> None:
    """Deliver what is under way."""
    while store.sweep_signals(limit=EVERYTHING).more:
        pass


def check_rows(store: Store, log: Log) -> Iterator[str]:
    """What is wrong with the rows, when nobody is at work any more and everything is delivered."""
    details = read_all(store)
    for one in {*log.started, *log.begun} - set(details) - log.deleted:
        yield f"run {one} was started, and is gone"
    for one, detail in details.items():
        for problem in check_run(log, detail, details):
            yield f"run {one}: {problem}"
    yield from _check_signals(store, log, details)
    yield from _check_told(store, details)


def check_run(log: Log, detail: RunDetail, details: Details) -> Iterator[str]:
    """What is wrong with one run."""
    try:
        check_history(detail)
    except AssertionError as error:
        yield f"its history is none: {error}; {[(one.seq, one.reason) for one in detail.transitions]}"
    ends = [one for one in detail.transitions if one.to_status in TERMINAL_STATUSES - {RunStatus.STUCK}]
    if len(ends) > 1:
        yield f"it ended {len(ends)} times"
    yield from _check_records(log.accepted.get(detail.run.id, []), detail)
    yield from _check_wake_up(log.accepted.get(detail.run.id, []), detail)
    yield from _check_family(detail, details, log)
    obeyed = Counter(one.command_id for one in detail.transitions if one.command_id is not None)
    if obeyed and max(obeyed.values()) > 1:
        yield "it obeyed a command twice"


def _check_records(commits: list[RunCommit], detail: RunDetail) -> Iterator[str]:
    """In the records is what was accepted, and nothing else."""
    entries = {one.seq: (one.epoch, one.status, one.result) for commit in commits for one in commit.entries}
    found = {one.seq: (one.epoch, one.status, one.result) for one in detail.journal if one.epoch and not one.settled_by}
    if entries != found:
        yield f"accepted were {sorted(entries.items())}, and in the journal is {sorted(found.items())}"
    waits = sorted(one.seq for commit in commits for one in commit.waits)
    copied = {one.reason for one in detail.transitions[:1]} & {"retried", "forked"}
    opened = sorted(one.seq for one in detail.waits if not copied or one.seq in waits)
    if waits != opened:
        yield f"the waits {waits} were opened, and there are {opened}"


def _check_wake_up(commits: list[RunCommit], detail: RunDetail) -> Iterator[str]:
    """Who is parked still waits for all that it parked on, and for something that has not come."""
    run = detail.run
    is_open = [wait for wait in detail.waits if wait.outcome is None]
    if run.status is RunStatus.QUEUED and run.ready_ms is None and run.wake_ms is None:
        yield "it is queued, and nothing will bring it into the line"
    if run.status is not RunStatus.WAITING and not _is_parked(run):
        return
    for commit in commits:
        if commit.epoch == run.epoch and isinstance(commit.move, Park) and commit.move.open_waits > len(is_open):
            yield f"it parked on {commit.move.open_waits} waits, has {len(is_open)} open ones and was not woken"
    due = [wait.due_ms for wait in is_open if wait.due_ms is not None]
    if due and (run.wake_ms is None or run.wake_ms > min(due)):
        yield f"its timer is due at {min(due)}, and it is to be woken at {run.wake_ms}"
    if run.status is RunStatus.WAITING and run.cancel_requested:
        yield "it is to be cancelled, and is parked"


def _is_parked(run: Run) -> bool:
    return run.status is RunStatus.COMPENSATING and run.worker is None and run.ready_ms is None


def _check_family(detail: RunDetail, details: Details, log: Log) -> Iterator[str]:
    run = detail.run
    for wait in detail.waits:
        if wait.outcome is None and wait.child_id is not None and run.status is not RunStatus.STUCK:
            child = details.get(wait.child_id)
            if child is None and wait.child_id not in log.deleted:
                yield f"it waits for {wait.child_id}, which is not there"
            elif child is not None and child.run.status in TERMINAL_STATUSES:
                yield f"it waits for {wait.child_id}, which is {child.run.status}"
    parent = None if run.parent_id is None else details.get(run.parent_id)
    if parent is None or run.status in TERMINAL_STATUSES:
        return
    if parent.run.continued_as_id is not None:
        yield f"its parent {parent.run.id} has continued, and it did not follow"
    was_stuck = any(one.to_status is RunStatus.STUCK for one in detail.transitions)
    is_doomed = parent.run.status is RunStatus.CANCELLED and run.parent_policy is not ParentPolicy.ABANDON
    if is_doomed and not run.cancel_requested and not was_stuck:
        yield f"its parent {parent.run.id} was cancelled, and it was not asked to be"


def _check_signals(store: Store, log: Log, details: Details) -> Iterator[str]:
    """A signal was consumed once by each run that it reached, and waits for nobody who waits for it."""
    s = SIGNALS.c
    columns = (s.id, s.tenant, s.name, s.run_id, s.consumed_ms, s.passed, s.expires_ms)
    rows = store.transact(None, lambda given: given.rows(select(*columns)), read_only=True)
    c = RECEIPTS.c
    receipts = {
        (str(one), str(to))
        for one, to in store.transact(None, lambda given: given.rows(select(c.signal_id, c.run_id)), read_only=True)
    }
    heard = _heard(log, details)
    known: set[str] = set()
    for id_, tenant, name, to, consumed_ms, passed, expires_ms in rows:
        signal = log.signals.get(RunId(str(id_)))
        known.add(str(id_))
        receiver = None if to is None else RunId(str(to))
        if passed is not None:
            yield f"signal {id_} is under way for ever"
        if signal is None:
            yield f"signal {id_} was accepted from nobody"
            continue
        hearers = heard.get(signal.payload, [])
        chains = Counter(one.run.chain_id or one.run.id for one, _ in hearers)
        if (chains and max(chains.values()) > 1) or (receiver is not None and len(hearers) > 1):
            yield f"signal {id_} was consumed more than once: {chains}"
        if any((one.run.tenant, wait.signal) != (tenant, name) for one, wait in hearers):
            heard_by = [(one.run.id, one.run.tenant, wait.key, wait.signal) for one, wait in hearers]
            yield f"signal {id_}, {name} of {tenant} to {receiver}, was consumed by {heard_by}"
        if receiver is not None and receiver in details and bool(hearers) != (consumed_ms is not None):
            yield f"signal {id_} is consumed: {consumed_ms}, and was heard by {[one.run.id for one, _ in hearers]}"
        if consumed_ms is None and (receiver is not None or expires_ms is not None):
            for detail in details.values() if receiver is None else [details[receiver]] if receiver in details else []:
                if _waits_for(detail, tenant, name) and (str(id_), detail.run.id) not in receipts:
                    yield f"signal {id_} is kept, and run {detail.run.id} waits for it"
    for one, signal in log.signals.items():
        to = None if signal.run_id is None else details.get(signal.run_id)
        if one not in known and to is not None and to.run.continued_as_id is None:
            yield f"signal {one} was accepted, and is gone"


def _heard(log: Log, details: Details) -> dict[Json | None, list[tuple[RunDetail, Wait]]]:
    """Who heard which payload, with the waits that they opened themselves: copies begin with those of others."""
    heard: dict[Json | None, list[tuple[RunDetail, Wait]]] = {}
    for one, detail in details.items():
        opened = {wait.seq for commit in log.accepted.get(one, []) for wait in commit.waits}
        for wait in detail.waits:
            if wait.outcome is WaitOutcome.SIGNALLED and wait.seq in opened:
                heard.setdefault(wait.result, []).append((detail, wait))
    return heard


def _waits_for(detail: RunDetail, tenant: Tenant, name: str) -> bool:
    if detail.run.tenant != tenant or detail.run.status in TERMINAL_STATUSES:
        return False
    return any(wait.outcome is None and wait.signal == name for wait in detail.waits)


def _check_told(store: Store, details: Details) -> Iterator[str]:
    """Each end was told once."""
    o = OUTBOX.c
    query = select(o.run_id, o.seq).where(o.subscription == READER)
    rows = store.transact(None, lambda given: given.rows(query), read_only=True)
    told = Counter((RunId(str(one)), seq) for one, seq in rows if RunId(str(one)) in details)
    ends = Counter(
        (detail.run.id, one.seq)
        for detail in details.values()
        for one in detail.transitions
        if one.to_status in TERMINAL_STATUSES and one.from_status is not one.to_status and one.reason != "continued"
    )
    if told != ends:
        yield f"of ends were told too much {told - ends} and not {ends - told}"


# To the end


def drain(store: Store, clock: SharedClock, log: Log) -> Iterator[str]:
    """Let everything go on that can, then cancel what waits for what will not come: nothing may be left."""
    worker = WorkerId("worker-last")
    for pause in store.transact(None, lambda given: list_pauses(given, None), read_only=True):
        store.transact(None, lambda given, one=pause: delete_pause(given, one.tenant, one.kind, one.name))  # type: ignore[misc]
    clock.advance(100_000)
    store.requeue_lost(limit=EVERYTHING, crashes_max=EVERYTHING)
    store.register_worker(WorkerInfo(id=worker, queues=list(QUEUES), codes=list(CODES)), lease_ms=10**9)
    for is_last in (False, True):
        for number, run in enumerate(list(all_runs(store))):
            if run.status is RunStatus.PAUSED or (is_last and run.status not in TERMINAL_STATUSES):
                _order(store, run, Cancel() if is_last else Resume(), number + (500_000 if is_last else 0))
        yield from _work(store, clock, worker, log)
        yield from check_rows(store, log)
        left = [run for run in all_runs(store) if run.status not in TERMINAL_STATUSES]
        for run in left:
            # A pause that was asked for while somebody held the run pauses it only now.
            if is_last or run.status not in (RunStatus.WAITING, RunStatus.COMPENSATING, RunStatus.PAUSED):
                yield f"run {run.id} is left: {run.status}, {run.status_reason}"


def _order(store: Store, run: Run, command: Cancel | Resume, number: int) -> None:
    # Its parent may have been asked before, and it has ended or is as it should be.
    with suppress(RunFinished, CommandRefused):
        store.command(run.tenant, run.id, Order(id=run_id(8_000_000 + number), command=command))


def _work(store: Store, clock: SharedClock, worker: WorkerId, log: Log) -> Iterator[str]:
    """Claim and end runs until there is nothing to claim."""
    for _ in range(ROUNDS_MAX):
        settle(store)
        clock.advance(1_000)
        woken = store.wake_due(limit=EVERYTHING)
        claim = store.claim_runs(worker, queues=QUEUES, codes=CODES, limit=EVERYTHING, suspects=EVERYTHING)
        log.take_claim(worker, claim.runs)
        if not claim.runs and not woken and not claim.more:
            return
        for start in range(0, len(claim.runs), 20):
            batch = [
                RunCommit(run.id, run.epoch, move=_last_move(store, run), counted=run.counted)
                for run in claim.runs[start : start + 20]
            ]
            answer = store.commit(batch)
            for refused in (*answer.refused, *answer.broken):
                yield f"run {refused} could not be ended by its holder: {answer}"
            log.take_commits(batch, {})
    yield f"there is still work after {ROUNDS_MAX} rounds"


def _last_move(store: Store, run: ClaimedRun) -> Move:
    """Wait for children, else end."""
    is_open = [wait for wait in run.waits if wait.outcome is None]
    children = [wait for wait in is_open if wait.kind is WaitKind.CHILD]
    if children and not run.cancel_requested and run.status is RunStatus.RUNNING:
        return Park(len(is_open))
    if run.status is RunStatus.COMPENSATING:
        return Finish(RunStatus.FAILED, "compensated", error=ERROR)
    if run.cancel_requested:
        return Finish(RunStatus.CANCELLED, "cancelled")
    return Finish(RunStatus.COMPLETED, "completed", result=RESULT)
