"""A batch of commits as statements, and their rows as the answer. No I/O: who runs the statements does not matter.

Most batches hold journal entries, or those and ends of runs. Each statement is there only if the batch has something
for it, and each of them fences its rows by the lease again. The first one locks the runs; whatever must see what
others committed before that lock (signals, ends of children, waits closed meanwhile) is a statement after it, because
under READ COMMITTED each statement sees what was committed before it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal, assert_never

from msgspec import Raw, Struct, json, structs

from holdfast.core.attributes import plain_attributes
from holdfast.core.fingerprint import error_facts
from holdfast.core.matching import Heard, Listening, match
from holdfast.model.commit import CommitAnswer, Compensate, Continue, Finish, NewWait, Park, Release, RunCommit
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.status import TERMINAL_STATUSES, TRANSITIONS, RunStatus, WaitKind
from holdfast.store.port import Hint
from holdfast.store.postgres.connection import Row
from holdfast.store.postgres.rows import (
    EntryRow,
    Lease,
    NoteRow,
    PairRow,
    StartRow,
    document,
    entry_row,
    id_array,
    raw,
    start_row,
    waits_by_run,
)
from holdfast.store.postgres.statements import Step

_WHILE_RUNNING: Final = frozenset(TRANSITIONS[RunStatus.RUNNING].values()) & TERMINAL_STATUSES
_WHILE_COMPENSATING: Final = frozenset(TRANSITIONS[RunStatus.COMPENSATING].values()) & TERMINAL_STATUSES


_NO_ERROR: Final = (None, None, None)


class _AttemptRow(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    key: str
    attempt: int
    error: Raw
    started_ms: int
    ended_ms: int


class _WaitRow(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    key: str
    seq: int
    kind: str
    signal: str | None
    child_id: RunId | None
    delay_ms: int | None
    due_ms: int | None
    request: Raw | None


class _SendRow(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    signal_id: RunId
    name: str
    run_id: RunId | None
    keep_ms: int | None
    payload: Raw


class _Closing(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    key: str
    outcome: Literal["elapsed", "cancelled"]


class _Parking(Struct, gc=False):
    id: RunId
    epoch: int
    open_waits: int


class _Releasing(Struct, gc=False):
    id: RunId
    epoch: int
    reason: str


class _Compensation(Struct, gc=False):
    id: RunId
    epoch: int
    reason: str
    error: Raw | None


class _Finishing(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    status: str
    reason: str
    result: Raw | None
    error: Raw | None
    error_type: str | None
    error_message: str | None
    error_fingerprint: str | None


class _Continuing(Struct, gc=False):
    id: RunId
    epoch: int
    successor_id: RunId
    input: Raw


class _Naming(Struct, gc=False):
    id: RunId
    epoch: int
    running: bool
    attributes: dict[str, Any]


class _Touched(Struct, gc=False):
    id: RunId
    key: str


@dataclass
class Outcome:
    """What came of a batch: the answer, the hint to publish, and whether runs of it had parents."""

    answer: CommitAnswer
    hint: Hint
    has_families: bool = False


@dataclass
class CommitPlan:
    """The statements of one batch, to be executed in order in one transaction."""

    shard: int
    now_ms: UnixMs | None
    leases: list[Lease] = field(default_factory=list[Lease])
    entries: list[EntryRow] = field(default_factory=list[EntryRow])
    attempts: list[_AttemptRow] = field(default_factory=list[_AttemptRow])
    children: list[StartRow] = field(default_factory=list[StartRow])
    waits: list[_WaitRow] = field(default_factory=list[_WaitRow])
    sends: list[_SendRow] = field(default_factory=list[_SendRow])
    closings: list[_Closing] = field(default_factory=list[_Closing])
    namings: list[_Naming] = field(default_factory=list[_Naming])
    parks: list[_Parking] = field(default_factory=list[_Parking])
    releases: list[_Releasing] = field(default_factory=list[_Releasing])
    compensations: list[_Compensation] = field(default_factory=list[_Compensation])
    endings: list[_Finishing] = field(default_factory=list[_Finishing])
    """Ends of runs that record nothing but entries with it."""
    finishes: list[_Finishing] = field(default_factory=list[_Finishing])
    """The other ends."""
    continues: list[_Continuing] = field(default_factory=list[_Continuing])
    """Ends of runs that continue as others."""
    followed: list[RunId] = field(default_factory=list[RunId])
    """Runs as which children, for which waits are opened, were found to have continued."""
    awaited: list[RunId] = field(default_factory=list[RunId])
    """Those of the runs to be ended whose end others may wait for."""
    freed: list[RunId] = field(default_factory=list[RunId])
    """Those of the runs that leave their worker and whose place was counted."""
    refused: dict[RunId, str] = field(default_factory=dict[RunId, str])
    """Commits that no status allows."""

    def add(self, commit: RunCommit) -> None:
        """Take in what one run wants recorded."""
        run_id, epoch, move = commit.run_id, commit.epoch, commit.move
        running = False
        if isinstance(move, Finish):
            running = move.status not in _WHILE_COMPENSATING
            if running and move.status not in _WHILE_RUNNING:
                self.refused[run_id] = f"a run cannot end as {move.status}"
                return
        elif isinstance(move, Compensate | Continue):
            running = True
        lease = Lease(run_id, epoch, running)
        self.leases.append(lease)
        for entry in commit.entries:
            self.entries.append(entry_row(run_id, entry))
        has_more = bool(
            commit.attempts or commit.children or commit.waits or commit.elapsed or commit.cancelled or commit.signals
        )
        if has_more:
            self._add_rest(commit, lease)
        if commit.attributes:
            has_more = True
            self.namings.append(_Naming(run_id, epoch, running, plain_attributes(commit.attributes)))
        if isinstance(move, Finish):
            self._add_finish(move, lease, self.finishes if has_more else self.endings)
        elif move is not None:
            self._add_move(move, lease)
        if commit.frees_place:
            self.freed.append(run_id)

    def _add_rest(self, commit: RunCommit, lease: Lease) -> None:
        id_, epoch, running = lease.id, lease.epoch, lease.running
        for one in commit.attempts:
            row = _AttemptRow(id_, epoch, running, one.key, one.attempt, Raw(one.error), one.started_ms, one.ended_ms)
            self.attempts.append(row)
        self.children += [start_row(child, lease) for child in commit.children]
        self.waits += [_wait_row(lease, wait) for wait in commit.waits]
        self.sends += [
            _SendRow(id_, epoch, running, to.id, to.name, to.run_id, to.keep_ms, Raw(to.payload))
            for to in commit.signals
        ]
        self.closings += [_Closing(id_, epoch, running, key, "elapsed") for key in commit.elapsed]
        self.closings += [_Closing(id_, epoch, running, key, "cancelled") for key in commit.cancelled]

    def _add_finish(self, move: Finish, lease: Lease, ends: list[_Finishing]) -> None:
        facts = _NO_ERROR if move.error is None else structs.astuple(error_facts(move.error))
        ending = (lease.running, move.status, move.reason, raw(move.result), raw(move.error), *facts)
        ends.append(_Finishing(lease.id, lease.epoch, *ending))
        if move.awaited:
            self.awaited.append(lease.id)

    def _add_move(self, move: Park | Release | Compensate | Continue, lease: Lease) -> None:
        id_, epoch = lease.id, lease.epoch
        match move:
            case Park(open_waits=open_waits):
                self.parks.append(_Parking(id_, epoch, open_waits))
            case Release(reason=reason):
                self.releases.append(_Releasing(id_, epoch, reason))
            case Compensate(error=error, reason=reason):
                self.compensations.append(_Compensation(id_, epoch, reason, raw(error)))
            case Continue(successor_id=successor_id, input=given):
                self.continues.append(_Continuing(id_, epoch, successor_id, Raw(given)))
            case _:
                assert_never(move)

    def fence(self) -> Step:
        """The fence alone: it tells which runs are refused, and writes nothing."""
        params = {"leases": document(self.leases), "entries": document([])}
        return "commit_entries", {"shard": self.shard, "now_ms": self.now_ms, **params}

    def steps(self, *, families: bool, follows: bool = False) -> list[Step]:
        """The statements.

        ``families``: lock parents and children in order, because there are likely to be some. ``follows``: children
        that are waited for may have continued as other runs, and ``after`` is asked.
        """
        opened = [wait.child_id for wait in self.waits if wait.child_id is not None]
        found: list[Step] = []

        def add(name: str, **params: Any) -> None:
            found.append((name, {"shard": self.shard, "now_ms": self.now_ms, **params}))

        leases = document(self.leases)
        if opened or (families and self.awaited):
            add("commit_lock", leases=leases, children=id_array(opened))
        self._add_parents(add)
        if self.endings:
            add("commit_end", leases=leases, entries=document(self.entries), finishes=document(self.endings))
        else:
            add("commit_entries", leases=leases, entries=document(self.entries))
        # A parent that continued while it was waited for has handed its children over: the successor is locked too.
        self._add_parents(add)
        if self.attempts:
            add("commit_attempts", attempts=document(self.attempts))
        if self.children:
            add("start_runs", runs=document(self.children))
        if self.waits:
            add("commit_waits", waits=document(self.waits))
            self._add_signals(add)
        if self.sends:
            add("commit_sends", signals=document(self.sends))
        if opened:
            add("lock_children", ids=id_array(opened), follows=follows)
            found += [self._follow()] if follows else []
            add("close_child_waits", ids=id_array(opened))
        if self.namings:
            add("commit_attributes", attributes=document(self.namings))
        if self.closings:
            add("commit_close", closings=document(self.closings))
        self._add_moves(add)
        self._add_ends(add)
        if self.waits or self.closings:
            touched = [_Touched(row.id, row.key) for row in chain[_WaitRow | _Closing](self.waits, self.closings)]
            add("commit_read_waits", touched=document(list({(one.id, one.key): one for one in touched}.values())))
        return found

    def _add_signals(self, add: Any) -> None:
        """Whose waits have filters is decided outside of SQL, for all signal waits that such a run opens."""
        asked = [wait for wait in self.waits if wait.kind == WaitKind.SIGNAL]
        if not asked:
            return
        add("commit_signal_gate", waits=document(asked))
        choosy = self.choosy_runs()
        plain = [wait for wait in asked if wait.id not in choosy]
        if plain:
            add("commit_signals", waits=document(plain))
        if choosy:
            add("commit_kept", waits=document([wait for wait in asked if wait.id in choosy]))

    def choosy_runs(self) -> set[RunId]:
        """The runs that open signal waits with filters."""
        return {wait.id for wait in self.waits if wait.kind == WaitKind.SIGNAL and wait.request is not None}

    def _follow(self) -> Step:
        waits = [_Touched(wait.id, wait.key) for wait in self.waits if wait.child_id is not None]
        return "follow_children", {"shard": self.shard, "now_ms": self.now_ms, "waits": document(waits)}

    def _after_following(self, rows: Sequence[Row]) -> list[Step]:
        """Lock the runs that were followed to, and look again; when all are locked, look whether they have ended."""
        self.followed += [row[0] for row in rows]
        which = {"shard": self.shard, "now_ms": self.now_ms, "ids": id_array(self.followed)}
        if rows:
            return [("lock_children", {**which, "follows": True}), self._follow()]
        return [("close_child_waits", which)] if self.followed else []

    def after(self, name: str, rows: Sequence[Row]) -> list[Step]:
        """What is to be executed next because of the rows of a statement: the matches of waits with filters."""
        if name == "follow_children":
            return self._after_following(rows)
        if name != "commit_kept" or not rows:
            return []
        shared = {"shard": self.shard, "now_ms": self.now_ms}
        notes: list[NoteRow] = []
        pairs: list[PairRow] = []
        for run_id in dict.fromkeys(row[0] for row in rows):
            mine = [row for row in rows if row[0] == run_id]
            opened = sorted((wait for wait in self.waits if wait.id == run_id), key=lambda wait: (wait.seq, wait.key))
            found = match(
                [
                    Listening(wait.key, wait.signal or "", None if wait.request is None else Json(bytes(wait.request)))
                    for wait in opened
                    if wait.kind == WaitKind.SIGNAL
                ],
                list({row[3]: Heard(row[3], row[4], row[5]) for row in mine}.values()),
            )
            pairs += [PairRow(run_id, key, mine[0][2], signal_id) for key, signal_id in found.pairs]
            notes += [NoteRow(run_id, key, note) for key, note in found.notes.items()]
        steps: list[Step] = [("signal_note", {**shared, "notes": document(notes)})] if notes else []
        return [*steps, ("signal_close", {**shared, "pairs": document(pairs)})] if pairs else steps

    def _add_parents(self, add: Any) -> None:
        if self.continues:
            add("commit_continue_lock", ids=id_array([row.id for row in self.continues]))

    def _add_moves(self, add: Any) -> None:
        if self.compensations:
            add("commit_compensate", compensations=document(self.compensations))
        if self.parks:
            add("commit_park", parks=document(self.parks))
        if self.releases:
            add("commit_release", releases=document(self.releases))
        if self.finishes:
            add("commit_finish", finishes=document(self.finishes))
        if self.continues:
            add("commit_continue", continues=document(self.continues))
            add("commit_continue_families", ids=id_array([row.id for row in self.continues]))

    def _add_ends(self, add: Any) -> None:
        """What parents and children have to hear."""
        if self.awaited:
            add("lock_waiters", ids=id_array(self.awaited))
            add("close_child_waits", ids=id_array(self.awaited))
        cancelled = [row.id for row in self._ended() if row.status == RunStatus.CANCELLED]
        cancelled += [row.id for row in self.compensations if row.reason == "cancelled"]
        if cancelled:
            add("cancel_children_lock", ids=id_array(cancelled))
            add("cancel_children", ids=id_array(cancelled))

    def _ended(self) -> list[_Finishing]:
        return [*self.endings, *self.finishes]

    def outcome(self, steps: Sequence[Step], results: Sequence[list[Row]]) -> Outcome:
        """What the statements' rows say. ``steps`` are those that ``steps()`` made, ``results`` the rows of each."""
        rows: dict[str, list[Row]] = {}
        for (name, _), found in zip(steps, results, strict=True):
            rows.setdefault(name, []).extend(found)
        now_ms, refused_json, cancel_json = rows["commit_end" if "commit_end" in rows else "commit_entries"][0]
        refused = self.refused
        if refused_json is not None:
            refused = {**refused, **json.decode(refused_json, type=dict[RunId, str])}
        cancels = [] if cancel_json is None else json.decode(cancel_json, type=list[RunId])
        waits = waits_by_run(rows.get("commit_read_waits", []))
        answer = CommitAnswer(
            now_ms,
            refused=refused,
            waits={run_id: found for run_id, found in waits.items() if run_id not in refused},
            cancel_requested=cancels,
        )
        return Outcome(answer, self._hint(rows, refused), self._has_families(rows))

    def _hint(self, rows: dict[str, list[Row]], refused: dict[RunId, str]) -> Hint:
        told = rows.get("close_child_waits", [])
        children = rows.get("cancel_children", [])
        ours = {lease.id for lease in self.leases} if told or children else set[RunId]()
        work = (
            any(ready for _, ready in told)
            or any(ready for _, ready, _ in children)
            or any(row[1] for row in rows.get("start_runs", []))
            or any(ready for (ready,) in rows.get("commit_park", []))
            or any(ready for (ready,) in rows.get("commit_release", []))
            or any(ready for (ready,) in rows.get("commit_continue", []))
            or any(run_id not in refused for run_id in self.freed)
        )
        ended = [row.id for row in chain[_Finishing | _Continuing](self._ended(), self.continues)]
        return Hint(
            work=work,
            ended=tuple([run_id for run_id in ended if run_id not in refused]),
            signals=bool(self.sends),
            live=(
                *[run_id for run_id, ready in told if not ready and run_id not in ours],
                *[run_id for run_id, _, held in children if held],
            ),
        )

    def _has_families(self, rows: dict[str, list[Row]]) -> bool:
        return bool(rows.get("lock_waiters", [(0,)])[0][0])


def plan_commit(batch: Sequence[RunCommit], *, shard: int, now_ms: UnixMs | None) -> CommitPlan:
    """The plan of a batch."""
    plan = CommitPlan(shard, now_ms)
    for commit in batch:
        plan.add(commit)
    return plan


def merge(first: Outcome, second: Outcome) -> Outcome:
    """The outcome of two halves of a batch, the first committed before the second."""
    one, two = first.answer, second.answer
    answer = CommitAnswer(
        two.now_ms,
        refused={**one.refused, **two.refused},
        broken={**one.broken, **two.broken},
        waits={**one.waits, **two.waits},
        cancel_requested=[*one.cancel_requested, *two.cancel_requested],
    )
    hint = Hint(
        work=first.hint.work or second.hint.work,
        signals=first.hint.signals or second.hint.signals,
        ended=(*(first.hint.ended or ()), *(second.hint.ended or ())),
        live=(*(first.hint.live or ()), *(second.hint.live or ())),
    )
    return Outcome(answer, hint, first.has_families or second.has_families)


def _wait_row(lease: Lease, wait: NewWait) -> _WaitRow:
    return _WaitRow(
        lease.id,
        lease.epoch,
        lease.running,
        wait.key,
        wait.seq,
        wait.kind,
        wait.signal,
        wait.child_id,
        wait.delay_ms,
        wait.due_ms,
        raw(wait.request),
    )
