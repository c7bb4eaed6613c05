"""Every hot statement of the PostgreSQL store, with parameters as the store would send them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.model.commit import Compensate, Continue, Finish, Move, NewWait, Park, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import Attempt, Entry, NewRun, Signal
from holdfast.model.search import AttributeValue
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind
from holdfast.store.postgres.commit import plan_commit
from holdfast.store.postgres.messages import signal_params
from holdfast.store.postgres.rows import NoteRow, PairRow, WaitKeyRow, document, id_array, start_row
from holdfast.store.postgres.statements import Params, Step
from tests.contract.scene import ERROR, INPUT, RESULT, run_id
from tests.unit.postgres_rows import SIZE

MOVED: Params = {
    "status": "paused",
    "status_reason": "paused",
    "terminal_reason": None,
    "keeps_error": False,
    "queue": "default",
    "priority": 0,
    "worker": None,
    "epoch": 1,
    "crashes": 0,
    "cancel_requested": False,
    "cancel_compensates": False,
    "pause_requested": False,
    "ready_ms": None,
    "wake_ms": None,
    "kept_wake_ms": None,
    "aside_until_ms": None,
    "deadline_ms": None,
    "finalized_ms": None,
    "updated_ms": 1,
    "from_status": "queued",
    "from_epoch": 1,
    "from_worker": None,
    "from_hash": None,
    "seen_seq": None,
    "version": None,
    "definition_hash": None,
    "moved": None,
    "ends": True,
    "key": None,
    "actor": "ann",
    "note": "",
    "command_id": run_id(3),
}
SETTLED: Params = {
    "seq": 9,
    "key": "charge",
    "kind": "step",
    "name": "charge",
    "entry_status": "completed",
    "result": None,
    "error": None,
    "attempts": 1,
    "settled_by": "ann",
}
COPIED: Params = {
    "bytes": 0,
    "from_hash": None,
    "copy_id": run_id(8_000_000),
    "retry": True,
    "journal": ["k"],
    "waits": ["w"],
    "input": None,
    "replaced": "[]",
    "changed": False,
    "actor": "ann",
    "note": "",
}
WORKER: Params = {
    "worker": "newcomer",
    "queues": ["default"],
    "codes": ["order"],
    "lacks": "{}",
    "host": "box",
    "pid": 1,
    "version": "",
    "lease_ms": 1,
}
NOW_MS = 5_000_000


def batch() -> Iterator[RunCommit]:
    """One of everything that a worker may commit."""
    entry = Entry(
        key="charge",
        seq=2,
        kind=EntryKind.STEP,
        name="charge",
        status=EntryStatus.COMPLETED,
        result=RESULT,
        epoch=1,
        started_ms=UnixMs(1),
        completed_ms=UnixMs(2),
    )
    attempt = Attempt(key="pack", attempt=1, error=ERROR, started_ms=UnixMs(1), ended_ms=UnixMs(2))
    waits = [
        NewWait(key="a", seq=3, kind=WaitKind.SIGNAL, signal="approved"),
        NewWait(key="b", seq=4, kind=WaitKind.CHILD, child_id=run_id(507)),
    ]
    moves: list[Move] = [Park(2), Release(), Compensate(ERROR, "failed"), Continue(run_id(SIZE + 2), INPUT)]
    sent = Signal(id=run_id(9), tenant=DEFAULT_TENANT, name="s1", payload=INPUT)
    child = NewRun(id=run_id(SIZE + 1), workflow="order", input=INPUT, parent_id=run_id(2), parent_key="ship")
    named: dict[str, AttributeValue | None] = {"customer": 3, "city": None}
    yield RunCommit(run_id(2), 1, [entry], [attempt], waits, [child], [sent], ["w"], ["w"], attributes=named)
    for number, move in enumerate(moves):
        yield RunCommit(run_id(12 + 10 * number), 1, [entry], move=move)
    end = Finish(RunStatus.COMPLETED, "completed", RESULT)
    yield RunCommit(run_id(62), 1, [entry], elapsed=["w"], move=end)


def commands(one: Params, ids: Params) -> list[Step]:
    """The statements of commands."""
    return [
        ("start_copy", {**one, **COPIED}),
        ("start_copy_place", {"root_id": run_id(1), "attempt": 2}),
        ("start_copy_root", {"root_id": run_id(1)}),
        ("command_seen", {**one, **MOVED}),
        ("command_settle", {**one, **MOVED, **SETTLED}),
        ("command_lock", one),
        ("command_move", {**one, **MOVED}),
        ("command_rename", {**one, "renamed": document({"charge": "pay"})}),
        ("command_waits", {**one, "closings": document([]), "updated_ms": 1}),
        ("cancel_children_lock", ids),
        ("cancel_children", ids),
    ]


def rare(one: Params, signal: Params, ids: Params) -> list[Step]:
    """The statements of workers that come and go, of explanations, and others that are not for each run."""
    return [
        ("signal_gate", signal),
        ("signal_gate_pass", signal),
        ("signal_receiver", one),
        ("commit_kept", {"waits": document([])}),
        ("register_worker", WORKER),
        ("heartbeat", {"worker": "worker-1", "lease_ms": 1}),
        ("retire_worker", {"worker": "worker-1"}),
        ("list_workers", {}),
        # The first of its queue: all others come behind it.
        ("read_detail", {**one, "id": run_id(10), "limit": 1_000}),
        ("read_detail_workers", {"worker": "worker-1", "queue": "default", "code": "order"}),
        ("read_transitions", one),
        ("lock_children", {**ids, "follows": True}),
        *chains(signal),
    ]


def chains(signal: Params) -> list[Step]:
    """The statements that look for the last link of a chain."""
    touched = [{"id": run_id(number), "key": "w"} for number in range(1, 50)]
    return [
        ("find_newest", {"chain_id": run_id(100)}),
        ("command_seen_in_chain", {"chain_id": run_id(100), "command_id": run_id(3)}),
        ("signal_forward", {**signal, "signal_ids": None}),
        ("follow_children", {"waits": document(touched)}),
    ]


def steps() -> dict[str, Params]:
    """Every hot statement with parameters."""
    shared: Params = {"shard": 0, "now_ms": NOW_MS}
    line = {"queues": ["default", "slow"], "codes": ["order", "ship"]}
    one = {"tenant": "default", "id": run_id(1)}
    ids = {"ids": id_array(run_id(number) for number in range(1, 50))}
    sent = Signal(id=run_id(9), tenant=DEFAULT_TENANT, name="s1", payload=INPUT, run_id=run_id(1))
    signal = signal_params({}, sent)
    answer = {**one, "key": "w", "names": ["ann"], "answer_id": run_id(9), "verdict": "{}"}
    hot: list[Step] = [
        ("claim_runs", {"worker": "claimant", **line, "limit": 50, "suspects": 1, "look": 50}),
        ("claim_runs_few", {"worker": "claimant", **line, "limit": 50, "suspects": 1}),
        ("claim_runs_readmit", {**line, "look": 50}),
        ("read_agenda", {**line, "kept_ms": 1, "unwanted": ["x"], "unasked_max": 100}),
        ("forget_workers", {"kept_ms": 1}),
        ("wake_due_lock", {"limit": 50}),
        ("wake_due", ids),
        ("requeue_lost_lock", {"limit": 50}),
        ("requeue_lost", {**ids, "crashes_max": 3}),
        ("retire_worker_runs", {"worker": "worker-1", "limit": 50}),
        ("release_unknown", {"worker": "worker-1", "known": id_array([run_id(2)])}),
        ("start_runs", {"runs": document([start_row(NewRun(id=run_id(9), workflow="order", input=INPUT))])}),
        ("read_journal", ids),
        ("read_waits", {**ids, "closed": False}),
        ("read_attempts", ids),
        ("read_progress", ids),
        ("read_live", {**ids, "worker": "worker-1"}),
        ("read_live_waits", {**ids, "keys": ["approval"] * 49}),
        ("get_run", one),
        ("lock_waiters", ids),
        ("close_child_waits", ids),
        ("send_signal_lock", one),
        ("send_signal_seen", signal),
        ("signal_accept", signal),
        ("signal_waiters", {**signal, "passed": run_id(0), "limit": 50}),
        ("breaker_waiters", {**signal, "after": run_id(0), "limit": 50}),
        ("breaker_pass", {"pairs": document([WaitKeyRow(run_id(1), "w")])}),
        ("signal_listening", {**signal, **ids}),
        ("signal_heard", {**signal, **ids}),
        ("signal_receipts", {**signal, **ids}),
        ("signal_note", {"notes": document([NoteRow(run_id(1), "w", "no")])}),
        ("signal_close", {"pairs": document([PairRow(run_id(1), "w", "default", run_id(1))])}),
        ("signal_passed", {**signal, "passed": None}),
        ("signal_lock", signal),
        ("sweep_signals_pick", {}),
        ("sweep_signals_alike", {**signal, "limit": 50}),
        ("sweep_signals_lock", {**signal, **ids}),
        ("sweep_signals_expired", {"limit": 50}),
        ("send_answer_find", answer),
        ("send_answer", answer),
        *commands(one, ids),
        *rare(one, signal, ids),
    ]
    commit = plan_commit(list(batch()), shard=0, now_ms=UnixMs(NOW_MS)).steps(families=True)
    alone = RunCommit(run_id(72), 1, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    ends = plan_commit([alone], shard=0, now_ms=UnixMs(NOW_MS)).steps(families=False)
    return {name: {**shared, **params} for name, params in [*hot, *commit, *ends]}


STEPS = steps()
WITHOUT_ROWS = {
    *("notify", "notify_start", "read_clock", "read_revision", "read_revision_table", "commit_signal_gate"),
    *("enter_tenant", "read_wall"),
}
"""Those that read none of the tables that grow."""
