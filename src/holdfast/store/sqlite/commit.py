"""Recording a batch of commits: as few statements as there are kinds of rows, whatever the number of runs.

Every statement carries the fence itself and is counted: a count that falls short means that some run was refused.
That is rare, so nothing is spent on it beforehand: the batch is rolled back, the runs that the fence refuses are looked
up, and the others are tried again; if a row cannot be taken, or the runs of the batch touch each other, one by one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from holdfast.core.attributes import plain_attributes
from holdfast.core.fingerprint import error_facts
from holdfast.core.matching import Heard, Listening, match
from holdfast.core.quotas import check_quotas
from holdfast.model.commit import CommitAnswer, Compensate, Continue, Finish, Move, NewWait, Park, Release, RunCommit
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started, Wait
from holdfast.model.status import HELD_STATUSES, TERMINAL_STATUSES, TRANSITIONS, RunStatus, WaitKind
from holdfast.model.tenant import TenantPolicy
from holdfast.store.sqlite.continuing import continue_runs
from holdfast.store.sqlite.ending import Change, Entangled, cancel_children, end_waits
from holdfast.store.sqlite.failures import DATA_ERRORS
from holdfast.store.sqlite.rows import (
    FENCES,
    IDS,
    KEPT,
    QUOTAS,
    WAITS,
    attribute_rows,
    attribute_texts,
    entry_values,
    exact,
    refuse_nul,
    run_values,
    sorted_waits,
    text_of,
    wait_from,
)
from holdfast.store.sqlite.signals import Pair, close_matched
from holdfast.store.sqlite.statements import ROWS_MAX, Value, as_json, read_json, read_row, run, run_rows

_NO_ERROR: Final = (None, None, None)
_Fence = tuple[RunId, str, int, int]

_SAVE: Final = "savepoint one_run"
_UNDO: Final = "rollback to one_run"
_KEEP: Final = "release one_run"


class Refused(Exception):
    """The fence let fewer rows through than it was given."""


def is_plain(batch: Sequence[RunCommit]) -> bool:
    """Whether the batch is nothing but journal entries, few enough for one statement: then it needs no transaction."""
    entries = 0
    for commit in batch:
        if (
            not commit.entries
            or commit.move is not None
            or commit.waits
            or commit.attempts
            or commit.elapsed
            or commit.cancelled
            or commit.children
            or commit.attributes
            or commit.signals
        ):
            return False
        entries += len(commit.entries)
    return 0 < entries <= ROWS_MAX


def commit_plain(connection: sqlite3.Connection, batch: Sequence[RunCommit], now_ms: UnixMs) -> CommitAnswer:
    """Record a plain batch in the one transaction of its one statement. Raises DATA_ERRORS, having done nothing."""
    rows = [entry_values(commit.run_id, commit.epoch, entry) for commit in batch for entry in commit.entries]
    refused: dict[RunId, str] = {}
    if run_rows(connection, "commit_entries", rows) < len(rows):
        # What the fence refused is what is absent under the commit's epoch: the key itself may have been journaled by
        # the run's next holder. A key that was there before would have raised.
        keys = as_json([(commit.run_id, commit.entries[0].key, commit.epoch) for commit in batch])
        found = read_json(connection, "commit_entries_absent", IDS, rows=keys)
        absent = frozenset(found)
        refused = explain(connection, [commit.run_id for commit in batch if commit.run_id in absent])
    return CommitAnswer(now_ms, refused, cancel_requested=_cancels(connection, batch, refused))


def commit_all(change: Change, batch: Sequence[RunCommit]) -> CommitAnswer:
    """Record a batch in the open transaction. Raises Refused, Entangled or DATA_ERRORS: then roll it back."""
    cancels = _cancels(change.connection, batch, ())
    waits = _record(change, batch)
    return CommitAnswer(change.now_ms, waits=waits, cancel_requested=cancels)


def commit_each(change: Change, batch: Sequence[RunCommit]) -> CommitAnswer:
    """Record a batch in the open transaction as far as it can be: what ``commit_all`` could not is answered."""
    connection = change.connection
    refused = find_refused(connection, batch)
    accepted = [commit for commit in batch if commit.run_id not in refused]
    broken: dict[RunId, str] = {}
    waits: dict[RunId, list[Wait]] = {}
    cancels = _cancels(connection, accepted, ())
    if not accepted or _attempt(change, accepted, waits) is not None:
        for commit in accepted:
            match _attempt(change, [commit], waits):
                case None:
                    pass
                case Refused():
                    refused |= find_refused(connection, [commit]) or explain(connection, [commit.run_id])
                case error:
                    broken[commit.run_id] = str(error)
    cancels = [run_id for run_id in cancels if run_id not in refused and run_id not in broken]
    return CommitAnswer(change.now_ms, refused, broken, waits, cancels)


def start_runs(change: Change, runs: Sequence[NewRun]) -> list[Started]:
    """Record new runs, unless a quota would be exceeded. Raises QuotaExceeded, DATA_ERRORS."""
    quotas = _read_quotas(change.connection, {new.tenant for new in runs})
    if quotas:
        ids = as_json([new.id for new in runs])
        found = read_json(change.connection, "start_runs_known", IDS, run_ids=ids)
        known = set(found)
        for policy, queued, stored in quotas:
            fresh = {new.id: len(new.input) for new in runs if new.tenant == policy.tenant and new.id not in known}
            check_quotas(policy, list(fresh.values()), queued=queued, stored=stored)
    return insert_runs(change, runs)


def check_start(connection: sqlite3.Connection, tenant: Tenant, size: int) -> None:
    """Raise QuotaExceeded if the tenant may not start one more run, with a payload of that size."""
    for policy, queued, stored in _read_quotas(connection, {tenant}):
        check_quotas(policy, [size], queued=queued, stored=stored)


def _read_quotas(connection: sqlite3.Connection, tenants: set[Tenant]) -> list[tuple[TenantPolicy, int, int]]:
    """The limits of those of these tenants that have some, with their queued runs and their stored bytes."""
    found = read_json(connection, "start_runs_quotas", QUOTAS, tenants=as_json(sorted(tenants)))
    return [
        (
            TenantPolicy(
                tenant=tenant, queued_max=queued_max, payload_bytes_max=bytes_max, stored_bytes_max=stored_max
            ),
            queued,
            stored,
        )
        for tenant, queued_max, bytes_max, stored_max, stored, queued in found
    ]


def insert_runs(change: Change, runs: Sequence[NewRun]) -> list[Started]:
    """Record new runs as far as their ids are new. Raises DATA_ERRORS."""
    ids = as_json([new.id for new in runs])
    found = read_json(change.connection, "start_runs_known", IDS, run_ids=ids)
    known = set(found)
    fresh: list[NewRun] = []
    started: list[Started] = []
    for new in runs:
        started.append(Started(new.id, new.id not in known))
        if new.id not in known:
            known.add(new.id)
            fresh.append(new)
    if fresh:
        run_rows(change.connection, "start_runs", [run_values(new, change.now_ms) for new in fresh])
        change.work |= any(new.delay_ms <= 0 for new in fresh)
    attributes = [row for new in fresh for row in attribute_rows(new.id, new.attributes)]
    if attributes:
        run(change.connection, "start_runs_attributes", rows=as_json(attributes))
    return started


def _attempt(change: Change, batch: Sequence[RunCommit], waits: dict[RunId, list[Wait]]) -> Exception | None:
    """Record these commits behind a savepoint, all or none; why not, or None."""
    trial = Change(change.connection, change.now_ms)
    change.connection.execute(_SAVE)
    try:
        waits |= _record(trial, batch)
    except (Refused, Entangled, *DATA_ERRORS) as error:
        change.connection.execute(_UNDO)
        change.connection.execute(_KEEP)
        return error
    change.connection.execute(_KEEP)
    change.work |= trial.work
    change.ended += trial.ended
    change.live += trial.live
    change.signals |= trial.signals
    return None


def find_refused(connection: sqlite3.Connection, batch: Sequence[RunCommit]) -> dict[RunId, str]:
    """Those of the batch that are not held at their epoch, or may not make their move from where they are: why."""
    found = {row[0]: row for row in _fences(connection, [commit.run_id for commit in batch])}
    refused: dict[RunId, str] = {}
    for commit in batch:
        row = found.get(commit.run_id)
        if row is None or not row[3] or row[1] not in HELD_STATUSES or row[2] != commit.epoch:
            refused[commit.run_id] = _why(row)
        elif not _is_legal(RunStatus(row[1]), commit.move):
            refused[commit.run_id] = f"a run that is {row[1]} cannot make this move"
    return refused


def _is_legal(status: RunStatus, move: Move | None) -> bool:
    """Whether a held run in this status may make this move."""
    match move:
        case Finish(status=to):
            return to in TERMINAL_STATUSES and to in TRANSITIONS[status].values()
        case Compensate() | Continue():
            return status is RunStatus.RUNNING
        case None | Park() | Release():
            return True


def explain(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> dict[RunId, str]:
    """Why the fence refused these runs."""
    found = {row[0]: row for row in _fences(connection, run_ids)}
    return {run_id: _why(found.get(run_id)) for run_id in run_ids}


def _fences(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> list[_Fence]:
    return read_json(connection, "commit_fence", FENCES, run_ids=as_json(run_ids))


def _why(row: _Fence | None) -> str:
    if row is None:
        return "there is no such run"
    return f"the run is {row[1]} at epoch {row[2]}, {'held' if row[3] else 'held by nobody'}"


def _cancels(
    connection: sqlite3.Connection, batch: Sequence[RunCommit], without: dict[RunId, str] | tuple[()]
) -> list[RunId]:
    found = read_json(connection, "commit_cancels", IDS)
    if not found:
        return []
    wanted = frozenset(found)
    return [commit.run_id for commit in batch if commit.run_id in wanted and commit.run_id not in without]


def _record(change: Change, batch: Sequence[RunCommit]) -> dict[RunId, list[Wait]]:
    """Write everything, in the order of the engine's contract, and read back the waits that were touched."""
    connection = change.connection
    _entries(connection, batch)
    _attempts(connection, batch)
    children = [child for commit in batch for child in commit.children]
    if children:
        insert_runs(change, children)
    _waits(change, batch)
    _attributes(connection, batch)
    _sends(change, batch)
    _close(change, "commit_elapsed", [(c.run_id, c.epoch, key) for c in batch for key in c.elapsed])
    _close(change, "commit_cancelled", [(c.run_id, c.epoch, key) for c in batch for key in c.cancelled])
    silent = [c for c in batch if c.move is None and not (c.entries or c.attempts or c.waits)]
    if silent:
        held = read_row(connection, "commit_held", rows=as_json([(c.run_id, c.epoch) for c in silent]))
        if held != (len(silent),):
            raise Refused
    _moves(change, batch)
    touched = [
        (commit.run_id, key)
        for commit in batch
        if commit.waits or commit.elapsed or commit.cancelled
        for key in dict.fromkeys([*(new.key for new in commit.waits), *commit.elapsed, *commit.cancelled])
    ]
    waits: dict[RunId, list[Wait]] = {}
    if touched:
        for run_id, row in read_json(connection, "commit_waits_read", WAITS, rows=as_json(touched)):
            waits.setdefault(run_id, []).append(wait_from(row))
    return {run_id: sorted_waits(found) for run_id, found in waits.items()}


def _entries(connection: sqlite3.Connection, batch: Sequence[RunCommit]) -> None:
    rows = [entry_values(commit.run_id, commit.epoch, entry) for commit in batch for entry in commit.entries]
    if rows and run_rows(connection, "commit_entries", rows) < len(rows):
        raise Refused


def _attempts(connection: sqlite3.Connection, batch: Sequence[RunCommit]) -> None:
    rows = [
        (c.run_id, c.epoch, one.key, one.attempt, one.error.decode(), one.started_ms, one.ended_ms)
        for c in batch
        for one in c.attempts
    ]
    if rows:
        refuse_nul(*(row[2] for row in rows))
        _counted(run(connection, "commit_attempts", rows=as_json(rows)), rows)


def _attributes(connection: sqlite3.Connection, batch: Sequence[RunCommit]) -> None:
    named = [commit for commit in batch if commit.attributes]
    if not named:
        return
    for commit in named:
        refuse_nul(*attribute_texts(commit.attributes))
    rows = [(commit.run_id, commit.epoch, plain_attributes(commit.attributes)) for commit in named]
    _counted(run(connection, "commit_attributes", rows=as_json(rows)), rows)
    for commit in named:
        for name, value in commit.attributes.items():
            if value is None:
                run(connection, "commit_attributes_dropped", run_id=commit.run_id, name=name)
    found = [row for commit in named for row in attribute_rows(commit.run_id, commit.attributes)]
    if found:
        run(connection, "start_runs_attributes", rows=as_json(found))


def _waits(change: Change, batch: Sequence[RunCommit]) -> None:
    opened = [(commit, new) for commit in batch for new in commit.waits]
    if not opened:
        return
    connection, now_ms = change.connection, change.now_ms
    rows = [(c.run_id, c.epoch, *_wait_values(new)) for c, new in opened]
    _counted(run(connection, "commit_waits", rows=as_json(rows), now_ms=now_ms), rows)
    for_children = [(c.run_id, new.key) for c, new in opened if new.kind is WaitKind.CHILD]
    if for_children:
        started = {child.id for commit in batch for child in commit.children}
        known = [(c.run_id, new.key) for c, new in opened if new.kind is WaitKind.CHILD and new.child_id not in started]
        if known:
            run(connection, "commit_waits_followed", rows=as_json(known))
        run(connection, "commit_waits_ended_children", rows=as_json(for_children), now_ms=now_ms)
    opened_here = [(c.run_id, new) for c, new in opened if new.kind is WaitKind.SIGNAL]
    if opened_here:
        _take_kept(change, opened_here)


def _sends(change: Change, batch: Sequence[RunCommit]) -> None:
    rows = [
        (c.run_id, c.epoch, one.id, one.name, one.run_id, one.keep_ms, one.payload.decode())
        for c in batch
        for one in c.signals
    ]
    if rows:
        refuse_nul(*(row[3] for row in rows))
        run(change.connection, "commit_sends", rows=as_json(rows), now_ms=change.now_ms)
        change.signals = True


def _take_kept(change: Change, opened: Sequence[tuple[RunId, NewWait]]) -> None:
    """Give signal waits that were just opened what was kept for them."""
    rows = as_json([(run_id, new.key) for run_id, new in opened])
    kept = read_json(change.connection, "commit_kept", KEPT, rows=rows, now_ms=change.now_ms)
    pairs: list[Pair] = []
    notes: list[tuple[RunId, str, str]] = []
    for run_id in dict.fromkeys(row[0] for row in kept):
        mine = [row for row in kept if row[0] == run_id]
        waits = sorted((new for owner, new in opened if owner == run_id), key=lambda new: (new.seq, new.key))
        found = match(
            [Listening(new.key, new.signal or "", new.request) for new in waits],
            list({row[3]: Heard(row[3], row[4], Json(row[5].encode())) for row in mine}.values()),
        )
        pairs += [(run_id, key, mine[0][2], signal_id) for key, signal_id in found.pairs]
        notes += [(run_id, key, note) for key, note in found.notes.items()]
    close_matched(change, pairs, notes)


def _wait_values(new: NewWait) -> tuple[Value, ...]:
    refuse_nul(new.key, new.signal, new.child_id)
    return (new.key, new.seq, new.kind, new.signal, new.child_id, new.delay_ms, new.due_ms, text_of(new.request))


def _close(change: Change, name: str, rows: list[tuple[RunId, int, str]]) -> None:
    if rows:
        run(change.connection, name, rows=as_json(rows), now_ms=change.now_ms)


def _moves(change: Change, batch: Sequence[RunCommit]) -> None:
    finished: list[tuple[RunId, int, Finish]] = []
    parked: list[tuple[RunId, int, int]] = []
    released: list[tuple[RunId, int, str]] = []
    turned: list[tuple[RunId, int, str, str | None]] = []
    continued: list[tuple[RunId, int, Continue]] = []
    for commit in batch:
        match commit.move:
            case None:
                pass
            case Finish():
                finished.append((commit.run_id, commit.epoch, commit.move))
            case Park(open_waits=believed):
                parked.append((commit.run_id, commit.epoch, believed))
            case Release(reason=reason):
                refuse_nul(reason)
                released.append((commit.run_id, commit.epoch, reason))
            case Compensate(error=error, reason=reason):
                refuse_nul(reason)
                turned.append((commit.run_id, commit.epoch, reason, text_of(error)))
            case Continue():
                continued.append((commit.run_id, commit.epoch, commit.move))
    if finished:
        _finish(change, finished, batch)
    _counted(continue_runs(change, continued), continued)
    moves: tuple[tuple[str, list[tuple[RunId, int, int]] | list[tuple[RunId, int, str]] | list[_Turned]], ...]
    moves = (("commit_park", parked), ("commit_release", released), ("commit_compensate", turned))
    for name, rows in moves:
        if rows:
            _counted(run(change.connection, name, rows=as_json(rows), now_ms=change.now_ms), rows)
    cancel_children(change, [row[0] for row in turned if row[2] == "cancelled"])
    change.work |= bool(released) or any(commit.frees_place for commit in batch)
    if parked and not change.work:
        ids = as_json([row[0] for row in parked])
        change.work = read_row(change.connection, "commit_park_in_line", run_ids=ids) == (1,)


_Turned = tuple[RunId, int, str, str | None]


def _finish(change: Change, finished: list[tuple[RunId, int, Finish]], batch: Sequence[RunCommit]) -> None:
    rows: list[tuple[Value, ...]] = []
    for run_id, epoch, move in finished:
        if move.status not in TERMINAL_STATUSES:
            raise Refused
        refuse_nul(move.reason)
        result, error = text_of(move.result), text_of(move.error)
        facts = _NO_ERROR if move.error is None else structs.astuple(error_facts(move.error))
        rows.append((run_id, epoch, exact(move.status), move.reason, result, error, change.now_ms, *facts))
    _counted(run_rows(change.connection, "commit_finish", rows), rows)
    others: set[RunId] = set() if len(batch) == 1 else {commit.run_id for commit in batch}
    end_waits(change, [run_id for run_id, _, _ in finished], batch=others)
    cancel_children(change, [run_id for run_id, _, move in finished if move.status is RunStatus.CANCELLED])


def _counted(count: int, rows: Sequence[object]) -> None:
    if count < len(rows):
        raise Refused
