"""Claims of the reference store: which runs of the line a worker may have, and which are barred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from holdfast.model.breaker import BreakerRow
from holdfast.model.ids import RunId, Tenant, WorkerId
from holdfast.model.pause import bar_of
from holdfast.model.run import Claim, ClaimedRun, Holder, Run, Standing, WorkerRow
from holdfast.model.status import HELD_STATUSES, RunStatus
from holdfast.store.memory.rules import Rules
from holdfast.store.memory.tables import SUSPECT_CRASHES, Record, Tables, place_of
from holdfast.store.memory.unit import Unit
from holdfast.store.port import CLAIM_LOOK, CLAIM_ROUNDS

QUOTA, LIMIT = "quota:", "limit:"
HOLDERS_MAX = 10
HELD_LOOK = 200
AHEAD_MAX = 1_000


class Claiming:
    """One claim from some lines, at the moment of a unit."""

    def __init__(self, unit: Unit, rules: Rules, queues: Sequence[str], codes: Sequence[str]) -> None:
        self._unit = unit
        self._tables = unit.tables
        self._rules = rules
        self._queues = queues
        self._codes = codes
        self._counted: set[RunId] = set()
        self._taken: list[tuple[tuple[int, int, str], RunId]] = []
        self._blocked: set[str] = set()
        """Queues in which barred runs were met."""
        self._room_left = self._suspects = 0

    def claim(self, worker: WorkerId, *, limit: int, suspects: int) -> Claim:
        """Take the first runs, past those that are barred; in rounds, as the other stores do, each of which bars."""
        self._readmit()
        self._room_left, self._suspects = limit, suspects
        blocked = self._tables.has_lease(worker, self._unit.now_ms) and self._look(worker, limit)
        is_short, more = self._room_left > 0, False
        for _ in range(CLAIM_ROUNDS):
            if not (self._room_left and blocked) or self._blocked.issuperset(self._queues):
                break
            blocked = self._look(worker, self._room_left)
        if is_short and self._blocked:
            self._blocked.clear()
            more = self._look(worker, CLAIM_LOOK) and self._room_left > 0
        found = (self._tables.records[run_id] for _, run_id in sorted(self._taken))
        runs = [claimed_run(record, counted=record.run.id in self._counted) for record in found]
        return Claim(self._unit.now_ms, runs, more=more, barred=bool(self._tables.barred()))

    def _look(self, worker: WorkerId, look: int) -> bool:
        """Look at so many runs where no barred ones were met: take those that may be claimed, and bar the others.

        Whether there were such.
        """
        heads = self._heads(look)
        self._bar(heads)
        blocked = {record.run.queue for record in heads if record.barred_by is not None}
        self._blocked |= blocked
        for record in [record for record in heads if record.barred_by is None][: self._room_left]:
            self._taken.append((place_of(record.run), record.run.id))
            self._suspects -= record.run.crashes >= SUSPECT_CRASHES
            self._room_left -= 1
            take(self._unit, record, worker)
        return bool(blocked)

    def _heads(self, look: int) -> list[Record]:
        """The first runs of the lines that are looked at."""
        heads: list[Record] = []
        suspects = self._suspects
        for record in self._tables.line():
            run = record.run
            mine = run.queue in self._queues and run.queue not in self._blocked and run.code in self._codes
            is_suspect = run.crashes >= SUSPECT_CRASHES
            if mine and record.barred_by is None and len(heads) < look and (not is_suspect or suspects > 0):
                suspects -= is_suspect
                heads.append(record)
        return heads

    def _bar(self, heads: Sequence[Record]) -> None:
        """Bar the paused ones of these runs, and those beyond their queues' limits or their tenants' quotas."""
        places: Counter[tuple[Tenant, str | None]] = Counter()
        for record in heads:
            run = record.run
            pause = next(iter(self._rules.pauses_of(run)), None)
            if pause is not None:
                record.barred_by = bar_of(pause.kind, pause.name)
                continue
            for bar, place in ((LIMIT, (run.tenant, run.queue)), (QUOTA, (run.tenant, None))):
                room = self._room(*place)
                if room is None:
                    continue
                self._counted.add(run.id)
                if places[place] >= room:
                    record.barred_by = bar + run.queue
                    break
                places[place] += 1

    def _room(self, tenant: Tenant, queue: str | None) -> int | None:
        """How many more of the tenant's runs may be claimed, in one queue or in all; None if there is no limit."""
        most = self._rules.running_max(tenant, queue)
        return None if most is None else most - self._tables.count_held(tenant, queue)

    def find_open(self) -> list[Record]:
        """The barred runs that may go on."""
        found: list[Record] = []
        for (tenant, bar), records in self._tables.barred().items():
            rooms = [0 if self._rules.holds(tenant, bar) else len(records)]
            if bar.startswith((QUOTA, LIMIT)):
                queue = bar.partition(":")[2]
                limits = (self._room(tenant, None), self._room(tenant, queue))
                rooms += [room for room in limits if room is not None] if queue in self._queues else [0]
            found += records[: max(min(rooms), 0)]
        return found

    def _readmit(self) -> None:
        for record in self.find_open():
            record.barred_by = None


def find_standing(
    tables: Tables, rules: Rules, run: Run, workers: Sequence[WorkerRow], breakers: list[BreakerRow]
) -> Standing:
    """What keeps a run from being claimed."""
    if run.finalized_ms is not None:
        return Standing()
    pauses = rules.pauses_of(run)
    if run.ready_ms is None:
        return Standing(pauses=pauses, breakers=breakers)
    most, queue_most = rules.running_max(run.tenant), rules.running_max(run.tenant, run.queue)
    running = 0 if most is None else tables.count_held(run.tenant)
    queue_running = 0 if queue_most is None else tables.count_held(run.tenant, run.queue)
    tenant_is_full = most is not None and running >= most
    queue_is_full = queue_most is not None and queue_running >= queue_most
    serving = [row.id for row in workers if run.queue in row.queues and run.code in row.codes]
    rows = (record.run for record in tables.records.values())
    held = [one for one in rows if one.tenant == run.tenant and one.worker is not None]
    if queue_is_full:
        held = [one for one in held if one.queue == run.queue]
    else:
        held.sort(key=lambda one: (one.created_ms, one.id))
        heads = ([one for one in held if one.status is status][:HELD_LOOK] for status in HELD_STATUSES)
        held = [one for head in heads for one in head if tenant_is_full or one.worker in serving]
    holders = sorted((one.updated_ms, one.id, one.workflow, one.worker) for one in held if one.worker is not None)
    return Standing(
        pauses=pauses,
        breakers=breakers,
        barred_ahead=tables.barred_ahead_of(run, limit=AHEAD_MAX),
        running_max=most,
        running=running,
        queue_running_max=queue_most,
        queue_running=queue_running,
        holders=[
            Holder(run_id=run_id, workflow=workflow, worker=worker, since_ms=since_ms)
            for since_ms, run_id, workflow, worker in holders[:HOLDERS_MAX]
        ],
    )


def take(unit: Unit, record: Record, worker: WorkerId) -> None:
    """Give the run to a worker."""
    run = record.run
    unit.move(
        record,
        RunStatus.COMPENSATING if run.status is RunStatus.COMPENSATING else RunStatus.RUNNING,
        reason="claimed",
        worker=worker,
        epoch=run.epoch + 1,
        ready_ms=None,
        wake_ms=None,
        started_ms=unit.now_ms if run.started_ms is None else run.started_ms,
    )


def claimed_run(record: Record, *, counted: bool) -> ClaimedRun:
    """The run as its claim returns it."""
    run = record.run
    return ClaimedRun(
        id=run.id,
        tenant=run.tenant,
        workflow=run.workflow,
        version=run.version,
        definition_hash=run.definition_hash,
        queue=run.queue,
        status=run.status,
        input=run.input,
        error=run.error,
        key=run.key,
        priority=run.priority,
        root_id=run.root_id,
        attempt=run.attempt,
        epoch=run.epoch,
        crashes=run.crashes,
        cancel_requested=run.cancel_requested,
        cancel_compensates=run.cancel_compensates,
        pause_requested=run.pause_requested,
        parent_id=run.parent_id,
        counted=counted,
        created_ms=run.created_ms,
        deadline_ms=run.deadline_ms,
        journal=record.all_entries(),
        waits=record.all_waits(),
        attempts=record.all_attempts(),
    )
