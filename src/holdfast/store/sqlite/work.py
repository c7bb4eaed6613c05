"""Handing out runs and taking them back: claims, due timers, lost and retired workers.

Each function takes an open transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from holdfast.model.ids import RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import Agenda, Claim, ClaimedRun, WorkerInfo
from holdfast.store.port import CLAIM_LOOK, CLAIM_ROUNDS, UNASKED_MAX, WORKER_KEPT_MS
from holdfast.store.sqlite.ending import Change, end_waits, wake
from holdfast.store.sqlite.rows import (
    ATTEMPTS,
    BARS,
    BREAKER_WAITS,
    CLAIMED,
    ENTRIES,
    JUDGED,
    MARKED,
    PLACES,
    ROOMS,
    TEXTS,
    WAITS,
    attempt_from,
    claimed_from,
    entry_from,
    refuse_nul,
    wait_from,
)
from holdfast.store.sqlite.statements import Value, as_json, decode, read_json, read_row, run

Place = tuple[int, UnixMs, RunId, int]
"""Where a claimable run stands: its priority, since when, its id, and 1 if it is a suspect."""


class Claimant(NamedTuple):
    """Who claims, and from which lines."""

    worker: WorkerId
    queues: Sequence[str]
    codes: Sequence[str]


FEW_LINES: Final = 6
"""Up to so many (queue, workflow) pairs, each is read as far as the claim could go: that is quicker than a merge."""


def register(change: Change, worker: WorkerInfo, *, lease_ms: int) -> None:
    """Announce a worker and open its lease. Raises ValueError if a text cannot be stored."""
    refuse_nul(
        worker.id,
        worker.host,
        worker.version,
        *worker.queues,
        *worker.codes,
        *worker.lacks,
        *chain.from_iterable(worker.lacks.values()),
    )
    run(
        change.connection,
        "register_worker",
        id=worker.id,
        queues=as_json(worker.queues),
        codes=as_json(worker.codes),
        lacks=as_json(worker.lacks),
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        now_ms=change.now_ms,
        lease_ms=lease_ms,
    )


def claim(
    change: Change, worker: WorkerId, *, queues: Sequence[str], codes: Sequence[str], limit: int, suspects: int
) -> Claim:
    """Take the first runs of all lines that the worker serves, past those that are barred."""
    rules = read_row(change.connection, "claim_runs_rules") or (0, 0)
    if rules[1] == 1:
        _readmit(change, queues)
        rules = read_row(change.connection, "claim_runs_rules") or (0, 0)
    claimed = _Rounds(change, Claimant(worker, queues, codes), max(limit, 0), suspects, judges=rules[0] == 1)
    blocked = claimed.look(claimed.room)
    is_short, more = claimed.room > 0, False
    for _ in range(CLAIM_ROUNDS):
        if not (claimed.room and blocked) or claimed.blocked.issuperset(queues):
            break
        blocked = claimed.look(claimed.room)
    barred = rules[1] == 1 or bool(claimed.blocked)
    if is_short and claimed.blocked:
        claimed.blocked.clear()
        more = claimed.look(CLAIM_LOOK) and claimed.room > 0
    return Claim(change.now_ms, _read_claimed(change, claimed.taken, claimed.counted), more=more, barred=barred)


class _Rounds:
    """The rounds of one claim, each of which looks where the ones before met nothing that is barred."""

    def __init__(self, change: Change, claimant: Claimant, room: int, suspects: int, *, judges: bool) -> None:
        self._change = change
        self._claimant = claimant
        self._suspects = suspects
        self._judges = judges
        self.taken: list[Place] = []
        self.counted: set[RunId] = set()
        self.room = room
        self.blocked: set[str] = set()
        """Queues in which barred runs were met."""

    def look(self, look: int) -> bool:
        """Look at so many runs: take those that may be claimed, and bar the others. Whether there were such."""
        change, claimant = self._change, self._claimant
        mine = claimant._replace(queues=[queue for queue in claimant.queues if queue not in self.blocked])
        places = _first_places(change, mine, look, self._suspects - sum(place[3] for place in self.taken))
        bars = _judge(change, places, self.counted) if self._judges and places else {}
        for bar in sorted({bar for bar, _ in bars.values()}):
            ids = as_json([run_id for run_id, (found, _) in bars.items() if found == bar])
            run(change.connection, "claim_runs_bar", run_ids=ids, bar=bar)
        self.blocked.update(queue for _, queue in bars.values())
        free = [place for place in places if place[2] not in bars][: self.room]
        if free:
            ids = as_json([place[2] for place in free])
            run(change.connection, "claim_runs", run_ids=ids, worker=claimant.worker, now_ms=change.now_ms)
            self.taken += free
            self.room -= len(free)
        return bool(bars)


def _first_places(change: Change, claimant: Claimant, limit: int, suspects: int) -> list[Place]:
    name = "claim_runs_pick" if len(claimant.queues) * len(claimant.codes) <= FEW_LINES else "claim_runs_merge"
    sound, marked = read_row(
        change.connection,
        name,
        queues=as_json(claimant.queues),
        codes=as_json(claimant.codes),
        worker=claimant.worker,
        now_ms=change.now_ms,
        limit=limit,
        suspects=min(limit, max(suspects, 0)),
    ) or (None, None)
    places = _in_order(decode(PLACES, sound, name), 0)
    suspected = _in_order(decode(PLACES, marked, name), 1)[: max(suspects, 0)]
    return sorted([*places, *suspected], key=_by_service)[:limit] if suspected else places[:limit]


def _judge(change: Change, places: list[Place], counted: set[RunId]) -> dict[RunId, tuple[str, str]]:
    """Which of these runs are barred, by what, and in which queue: paused ones, and those beyond their queue's limit or
    their tenant's quota.

    Adds to ``counted`` those that such a limit counts.
    """
    ids = as_json([place[2] for place in places])
    judged = {row[0]: row for row in read_json(change.connection, "claim_runs_judge", JUDGED, run_ids=ids)}
    lines = sorted({(tenant, queue) for _, tenant, queue, pause in judged.values() if pause is None})
    rooms: dict[tuple[str, str], int | None] = {}
    for tenant, queue, all_of_it, this_queue in read_json(
        change.connection, "claim_runs_rooms", ROOMS, lines=as_json(lines)
    ):
        rooms[tenant, ""], rooms[tenant, queue] = all_of_it, this_queue
    bars: dict[RunId, tuple[str, str]] = {}
    for place in places:
        run_id, tenant, queue, pause = judged[place[2]]
        if pause is not None:
            bars[run_id] = pause, queue
        elif not _has_room(rooms, (tenant, queue)):
            bars[run_id] = f"limit:{queue}", queue
        elif not _has_room(rooms, (tenant, "")):
            bars[run_id] = f"quota:{queue}", queue
        if pause is None and not rooms[tenant, ""] is rooms[tenant, queue] is None:
            counted.add(run_id)
    return bars


def _has_room(rooms: dict[tuple[str, str], int | None], place: tuple[str, str]) -> bool:
    """Whether one more may be claimed there; if so, there is room for one less."""
    room = rooms[place]
    if room is not None and room > 0:
        rooms[place] = room - 1
    return room is None or room > 0


def _readmit(change: Change, queues: Sequence[str]) -> None:
    """Put barred runs back into the line whose pause is over, or whose tenant may run more again."""
    found = read_json(change.connection, "claim_runs_open", BARS, queues=as_json(queues), most=CLAIM_LOOK)
    for tenant, bar, room in found:
        run(change.connection, "claim_runs_readmit", tenant=tenant, bar=bar, room=room)


def _read_claimed(change: Change, places: list[Place], counted: set[RunId]) -> list[ClaimedRun]:
    if not places:
        return []
    ids = as_json([place[2] for place in sorted(places, key=_by_service)])
    rows = read_json(change.connection, "claim_runs_read", CLAIMED, run_ids=ids)
    runs = [claimed_from(row, counted=row[0] in counted) for row in rows]
    # An epoch of 1 is the first claim: there can be no history.
    resumed = {run.id: run for run in runs if run.epoch > 1}
    if resumed:
        _add_history(change.connection, resumed)
    return runs


def _in_order(lines: list[list[tuple[int, UnixMs, RunId]]], suspect: int) -> list[Place]:
    """Lines, each in the order of service, as one."""
    places = [(*place, suspect) for place in chain.from_iterable(lines)]
    return places if len(lines) == 1 else sorted(places, key=_by_service)


def _by_service(place: Place) -> tuple[int, UnixMs, RunId]:
    return (-place[0], place[1], place[2])


def _add_history(connection: sqlite3.Connection, resumed: dict[RunId, ClaimedRun]) -> None:
    name = "claim_runs_history"
    journal, waits, attempts = read_row(connection, name, run_ids=as_json(list(resumed))) or (None, None, None)
    for run_id, entry in decode(ENTRIES, journal, name):
        resumed[run_id].journal.append(entry_from(entry))
    for run_id, wait in decode(WAITS, waits, name):
        resumed[run_id].waits.append(wait_from(wait))
    for run_id, attempt in decode(ATTEMPTS, attempts, name):
        resumed[run_id].attempts.append(attempt_from(attempt))
    for claimed in resumed.values():
        claimed.journal.sort(key=lambda entry: entry.seq)
        claimed.waits.sort(key=lambda wait: (wait.seq, wait.key))
        claimed.attempts.sort(key=lambda attempt: (attempt.key, attempt.attempt))


def retire(change: Change, worker: WorkerId, *, limit: int) -> int:
    """End a worker's lease and put up to ``limit`` of its runs into the line; how many it still holds."""
    run(change.connection, "retire_worker", worker=worker, now_ms=change.now_ms)
    count = run(change.connection, "retire_worker_runs", worker=worker, limit=max(limit, 0), now_ms=change.now_ms)
    change.work = count > 0
    row = read_row(change.connection, "retire_worker_held", worker=worker)
    return row[0] if row is not None and isinstance(row[0], int) else 0


def release_unknown(change: Change, worker: WorkerId, *, known: Sequence[RunId]) -> int:
    """Put into the line what the worker holds without knowing it; how many runs."""
    count = run(change.connection, "release_unknown", worker=worker, known=as_json(list(known)), now_ms=change.now_ms)
    change.work = count > 0
    return count


def wake_due(change: Change, *, limit: int) -> int:
    """Put up to ``limit`` due runs into the line, closing their due waits; how many."""
    connection, now_ms = change.connection, change.now_ms
    due = read_json(connection, "wake_due_pick", MARKED, now_ms=now_ms, limit=max(limit, 0))
    if not due:
        return 0
    run(connection, "wake_due_waits", run_ids=as_json([run_id for run_id, _ in due]), now_ms=now_ms)
    for mark, reason in ((0, "timer_elapsed"), (1, "deadline_exceeded")):
        ids = [run_id for run_id, is_deadline in due if is_deadline == mark]
        if ids:
            run(connection, "wake_due", run_ids=as_json(ids), reason=reason, now_ms=now_ms)
    change.work = True
    return len(due)


def end_breaker_waits(change: Change, tenant: Tenant, breaker: str, *, after: RunId | None, limit: int) -> list[RunId]:
    """Close up to ``limit`` open waits for a breaker of runs behind one; whose."""
    which: dict[str, Value] = {"tenant": tenant, "name": breaker, "after": after or "", "limit": max(limit, 0)}
    waits = read_json(change.connection, "breaker_waiters", BREAKER_WAITS, **which)
    if waits:
        rows = as_json([(run_id, key) for run_id, key, _, _ in waits])
        run(change.connection, "breaker_pass", rows=rows, now_ms=change.now_ms)
        wake(change, waits, reason="breaker_passed")
    return [run_id for run_id, *_ in waits]


def requeue_lost(change: Change, *, limit: int, crashes_max: int) -> dict[RunId, bool]:
    """Take up to ``limit`` runs from workers whose lease has run out, True for those set aside; forget old workers."""
    connection, now_ms = change.connection, change.now_ms
    lost = read_json(connection, "requeue_lost_pick", MARKED, now_ms=now_ms, limit=max(limit, 0))
    again = [row for row in lost if row[1] < crashes_max]
    change.work = change.work or bool(lost)
    if again:
        run(connection, "requeue_lost", rows=as_json(again), now_ms=now_ms)
    stuck = [row for row in lost if row[1] >= crashes_max]
    for run_id, crashes in stuck:
        end_run(change, run_id, status="stuck", reason="worker_crashes", terminal_reason="worker_crashes", lost=crashes)
    run(connection, "requeue_lost_forget", before_ms=now_ms - WORKER_KEPT_MS)
    return {run_id: crashes >= crashes_max for run_id, crashes in lost}


def end_run(
    change: Change, run_id: RunId, *, status: str, reason: str, terminal_reason: str, lost: int | None = None
) -> None:
    """End a run that no worker is to move any more. ``lost`` is its number of crashes if it is taken from a worker."""
    run(
        change.connection,
        "end_run",
        run_id=run_id,
        status=status,
        reason=reason,
        terminal_reason=terminal_reason,
        epoch_step=0 if lost is None else 1,
        crashes=lost,
        now_ms=change.now_ms,
    )
    end_waits(change, [run_id])


def read_agenda(
    connection: sqlite3.Connection,
    now_ms: UnixMs,
    *,
    queues: Sequence[str],
    codes: Sequence[str],
    unwanted: Sequence[str],
) -> Agenda:
    """What there is to do."""
    row = read_row(
        connection,
        "read_agenda",
        queues=as_json(queues),
        codes=as_json(codes),
        unwanted=as_json(unwanted),
        unasked_max=UNASKED_MAX,
        now_ms=now_ms,
        before_ms=now_ms - WORKER_KEPT_MS,
    )
    claimable, wake_ms, lost, unasked, signals, barred, bulk, tick_ms, breaker_ms = row or (
        0,
        None,
        0,
        None,
        0,
        0,
        0,
        None,
        None,
    )
    if barred == 1 and claimable != 1:
        # The next claim would put it back into the line.
        claimable = int(bool(read_json(connection, "claim_runs_open", BARS, queues=as_json(queues), most=1)))
    return Agenda(
        now_ms=now_ms,
        claimable=claimable == 1,
        next_wake_ms=UnixMs(wake_ms) if isinstance(wake_ms, int) else None,
        workers_lost=lost == 1,
        unasked=decode(TEXTS, unasked, "read_agenda"),
        signals_due=signals == 1,
        bulk_due=bulk == 1,
        next_tick_ms=UnixMs(tick_ms) if isinstance(tick_ms, int) else None,
        next_breaker_ms=UnixMs(breaker_ms) if isinstance(breaker_ms, int) else None,
    )
