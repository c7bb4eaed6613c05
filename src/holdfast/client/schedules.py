"""Schedules as programs ask for them: what starts runs by the clock."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.client.requests import Requests
from holdfast.core.ids import run_id_for_key
from holdfast.core.names import check_name
from holdfast.core.schedules import check_schedule_name, moment_of, run_key
from holdfast.core.slots import next_slot, slots_from
from holdfast.errors import UsageError, WorkflowNotRegistered
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import NewRun, Started
from holdfast.model.schedule import ScheduleRow, ScheduleSpec, TickCause, TickRow
from holdfast.runtime.scheduler import new_run, pin_of
from holdfast.store.port import Statements, Store
from holdfast.workflow.duration import unix_milliseconds
from holdfast.workflow.graph import Graph
from holdfast.workflow.schedule import Schedule, as_schedule, check_call
from holdfast.workflow.workflow import Workflow

if TYPE_CHECKING:
    from holdfast.core.codec import Codec
    from holdfast.runtime.host import Host
    from holdfast.runtime.pins import Pins
    from holdfast.workflow.registry import Registry

T = TypeVar("T")

PAGE_MAX: Final = 1_000
REQUEST_MAX: Final = 64
"""The most characters of a request id: with the name of the schedule it is the key of a run."""

BACKFILL_MAX: Final = 1_000
"""The most slots of one backfill."""

BACKFILL_BATCH: Final = 100
"""How many of them are started in one transaction."""


# What stands in ``store.schedules`` is imported late: SQLAlchemy comes with it, and most programs have no use for it.


class Schedules(Requests):
    """``client.schedules``: what starts runs by the database's clock, of this tenant.

    Workers start them, whatever they can execute themselves; each slot starts one run, however many workers there are.
    A run carries the attributes ``schedule``, the name, and ``slot``, the moment that it is for.
    """

    def __init__(
        self, store: Store, host: Host, *, tenant: Tenant, codec: Codec, pins: Pins, registry: Registry | None
    ) -> None:
        super().__init__(store, host, tenant=tenant)
        self._codec = codec
        self._pins = pins
        self._registry = registry

    async def put(
        self,
        name: str,
        schedule: Schedule | str | timedelta,
        workflow: Workflow[..., Any] | str,
        /,
        *args: Any,
        actor: str = "",
    ) -> ScheduleRow:
        """Store a schedule, or change the one of that name. Repeatable.

        Its first slot is the first after now. If only something else than its time is changed, its next slot stays.

        Args:
            name: up to 100 characters; the tenant's only one.
            schedule: a ``Schedule``; or a cron expression in UTC, or a timedelta as the interval.
            workflow: the workflow, or its name. A graph of this program is followed in this program's version; one
                that is named, in the version that is live at each slot.
            args: what it is started with.
            actor: who says so.

        Raises:
            UsageError: an argument is malformed, or does not fit the workflow.
            WorkflowNotRegistered: this App has no such workflow, and none of that name is stored.
            EncodeError, PayloadTooLarge: an argument cannot be stored.
        """
        return await self._put(name, as_schedule(schedule), workflow, args, actor, must_be_new=False)

    async def create(
        self,
        name: str,
        schedule: Schedule | str | timedelta,
        workflow: Workflow[..., Any] | str,
        /,
        *args: Any,
        actor: str = "",
    ) -> ScheduleRow:
        """As ``put``, for a new one. Raises ScheduleExists if there is another one of that name."""
        return await self._put(name, as_schedule(schedule), workflow, args, actor, must_be_new=True)

    async def get(self, name: str) -> ScheduleRow:
        """The schedule. Raises ScheduleNotFound."""
        from holdfast.store.schedules import find_schedule

        return await self._transact(lambda s: find_schedule(s, self.tenant, name), read_only=True)

    async def list(self, *, limit: int = 100, after: str = "") -> builtins.list[ScheduleRow]:
        """The tenant's schedules by name; those behind ``after``."""
        from holdfast.store.schedules import list_schedules

        _check_limit(limit)
        return await self._transact(lambda s: list_schedules(s, self.tenant, limit=limit, after=after), read_only=True)

    async def ticks(self, name: str, *, limit: int = 50, before: int | None = None) -> builtins.list[TickRow]:
        """What came of its slots, newest first; those before the entry of that number. Raises ScheduleNotFound.

        The newest 1,000 entries are kept.
        """
        from holdfast.store.schedules import list_ticks

        _check_limit(limit)
        return await self._transact(
            lambda s: list_ticks(s, self.tenant, name, limit=limit, before=before), read_only=True
        )

    async def next(self, name: str, *, count: int = 10) -> builtins.list[datetime]:
        """Its next slots, in UTC; none while it is paused. Raises ScheduleNotFound."""
        _check_limit(count)
        row = await self.get(name)
        slots = slots_from(row.spec.timing, row.next_ms, UnixMs(2**62))
        return [moment_of(slot_ms) for slot_ms in islice(slots, count)]

    async def pause(self, name: str, *, actor: str = "", reason: str = "") -> ScheduleRow:
        """Let it start nothing until it is resumed; its runs go on. Repeatable. Raises ScheduleNotFound."""
        from holdfast.store.schedules import pause_schedule

        return await self._transact(lambda s: pause_schedule(s, self.tenant, name, actor=actor, note=reason))

    async def resume(self, name: str, *, actor: str = "") -> ScheduleRow:
        """Go on with the first slot after now. Repeatable. Raises ScheduleNotFound."""
        from holdfast.store.schedules import resume_schedule

        return await self._transact(lambda s: resume_schedule(s, self.tenant, name, actor=actor))

    async def delete(self, name: str) -> bool:
        """Delete it with its history; its runs stay. Whether there was one."""
        from holdfast.store.schedules import delete_schedule

        return await self._transact(lambda s: delete_schedule(s, self.tenant, name))

    async def trigger(self, name: str, *, request_id: str | None = None) -> RunId:
        """Start a run of it now, paused or not, whatever else is under way; its slots stay as they are.

        Args:
            name: the schedule.
            request_id: any text that names the request: the same one starts one run, however often it is sent.

        Raises:
            ScheduleNotFound, QuotaExceeded; DefinitionNotFound, ReleaseNotFound for a graph that is not stored.
        """
        from holdfast.store.schedules import start_aside

        asked = self._host.new_id() if request_id is None else check_name("request", request_id)
        if len(asked) > REQUEST_MAX:
            raise UsageError(f"a request id has up to {REQUEST_MAX} characters, not {len(asked)}")

        def start(statements: Statements, row: ScheduleRow, make: Make) -> builtins.list[Started]:
            slot_ms = statements.now_ms
            runs = {slot_ms: make(slot_ms, TickCause.TRIGGER, asked)}
            return start_aside(statements, self.tenant, row.name, runs, TickCause.TRIGGER)

        [started] = await self._send(self._start_by, name, start)
        return started.run_id

    async def backfill(self, name: str, first: datetime, last: datetime) -> builtins.list[RunId]:
        """Start the runs of the slots from one moment to another, both included, that have none yet.

        They are started at once, whatever else is under way, 100 in a transaction. Repeatable: a slot has one run.

        Returns:
            the runs that this call started.

        Raises:
            ScheduleNotFound, QuotaExceeded; UsageError for moments without a zone, or more than 1,000 slots.
        """
        from holdfast.store.schedules import start_aside

        if first.tzinfo is None or last.tzinfo is None:
            raise UsageError("a backfill needs moments with a time zone")
        row = await self.get(name)
        begin_ms, end_ms = UnixMs(unix_milliseconds(first)), UnixMs(unix_milliseconds(last))
        found = slots_from(row.spec.timing, next_slot(row.spec.timing, UnixMs(begin_ms - 1)), end_ms)
        slots = list(islice(found, BACKFILL_MAX + 1))
        if len(slots) > BACKFILL_MAX:
            raise UsageError(f"a backfill is for up to {BACKFILL_MAX} slots: choose a shorter time")
        done: builtins.list[RunId] = []
        for place in range(0, len(slots), BACKFILL_BATCH):
            batch = slots[place : place + BACKFILL_BATCH]

            def start(
                statements: Statements, row: ScheduleRow, make: Make, batch: builtins.list[UnixMs] = batch
            ) -> builtins.list[Started]:
                runs = {slot_ms: make(slot_ms, TickCause.BACKFILL, "") for slot_ms in batch}
                return start_aside(statements, self.tenant, row.name, runs, TickCause.BACKFILL)

            started: builtins.list[Started] = await self._send(self._start_by, name, start)
            done += [one.run_id for one in started if one.created]
        return done

    def run_of(self, row: ScheduleRow, slot: datetime) -> RunId:
        """The id that the run of a slot has, or would have."""
        key = run_key(row.name, TickCause.SLOT, UnixMs(unix_milliseconds(slot)))
        return run_id_for_key(self.tenant, row.spec.workflow, key)

    def _start_by(
        self, name: str, start: Callable[[Statements, ScheduleRow, Make], builtins.list[Started]]
    ) -> builtins.list[Started]:
        from holdfast.store.schedules import find_schedule

        row = self.store.transact(self.tenant, lambda s: find_schedule(s, self.tenant, name), read_only=True)
        pin = pin_of(self._pins, row)

        def make(slot_ms: UnixMs, cause: TickCause, request_id: str) -> NewRun:
            return new_run(row, pin, slot_ms, cause=cause, request_id=request_id)

        return self.store.transact(self.tenant, lambda statements: start(statements, row, make))

    async def _put(
        self,
        name: str,
        schedule: Schedule,
        workflow: Workflow[..., Any] | str,
        args: tuple[Any, ...],
        actor: str,
        *,
        must_be_new: bool,
    ) -> ScheduleRow:
        from holdfast.store.schedules import put_schedule

        check_schedule_name(name)
        payload = self._codec.encode_arguments(args, {}, f"the arguments of schedule {name!r}")
        spec = await self._send(self._spec, schedule, workflow, args)
        return await self._transact(
            lambda s: put_schedule(s, self.tenant, name, spec, payload=payload, actor=actor, must_be_new=must_be_new)
        )

    def _spec(self, schedule: Schedule, workflow: Workflow[..., Any] | str, args: tuple[Any, ...]) -> ScheduleSpec:
        """What is stored. It blocks: the version of a graph is looked up."""
        known = self._find(workflow)
        if isinstance(known, str):
            # A typing error would be found only at the first slot: with an App in hand it is found here.
            if self._pins.named(self.tenant, known, version=schedule.version) is None and self._registry is not None:
                self._registry.find_workflow(known)
            return schedule.spec(known)
        check_call(known, args)
        version = schedule.version
        if isinstance(known, Graph) and version is None:
            version = self._pins.own(self.tenant, known.build()).version
        elif version is not None:
            self._pins.named(self.tenant, known.name, version=version)
        return schedule.spec(known.name, known.options, version=version)

    def _find(self, workflow: Workflow[..., Any] | str) -> Workflow[..., Any] | str:
        if not isinstance(workflow, str):
            return workflow
        if self._registry is None:
            return check_name("workflow", workflow)
        try:
            found = self._registry.find_workflow(workflow)
        except WorkflowNotRegistered:
            return check_name("workflow", workflow)
        # A graph that is named is followed in the version that is live.
        return workflow if found.is_graph else found

    async def _transact(self, work: Callable[[Statements], T], *, read_only: bool = False) -> T:
        return await self._send(self.store.transact, self.tenant, work, read_only=read_only)


Make = Callable[[UnixMs, TickCause, str], NewRun]


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise UsageError(f"limit must be between 1 and {PAGE_MAX}, not {limit}")
