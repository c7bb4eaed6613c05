"""Starts the runs of schedules whose time has come.

Every worker does this for all schedules of all tenants, whatever it can execute itself; ``store.schedules`` lets one of
those that look at the same slot start it. So it needs no leader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from holdfast.core.attributes import read_attributes
from holdfast.core.ids import run_id_for_key
from holdfast.core.schedules import Plan, fill_slot, plan, run_attributes, run_key
from holdfast.errors import PASSING, HoldfastError
from holdfast.model.ids import DEFAULT_QUEUE, DEFAULT_TENANT, Json, Tenant, UnixMs
from holdfast.model.run import NewRun
from holdfast.model.schedule import Overlap, ScheduleRow, ScheduleSpec, TickCause, TickOutcome
from holdfast.model.status import TERMINAL_STATUSES
from holdfast.store.port import Statements, Store
from holdfast.workflow.graph import Graph

if TYPE_CHECKING:
    from holdfast.runtime.pins import Pin, Pins
    from holdfast.runtime.services import Services
    from holdfast.store.schedules import Unreadable
    from holdfast.workflow.schedule import Declared

logger = logging.getLogger("holdfast.scheduler")

LANE: Final = "schedules"

RETRY_MS: Final = 10_000
"""When to look again at a schedule whose slot could not be started."""

NO_LONGER: Final = "no longer declared by app {}"
"""Why a schedule was paused that a program does not declare any more."""

PROBLEM_MAX: Final = 500
"""The most characters of a problem that are kept."""


def tick_once(store: Store, pins: Pins, *, random: Callable[[], float]) -> bool:
    """Look at schedules that are due; whether there may be more. ``random`` spreads several workers over them."""
    # Most workers never see a schedule, and it brings SQLAlchemy along.
    from holdfast.store.schedules import DUE_MAX, Unreadable, list_due

    def look(statements: Statements) -> tuple[list[ScheduleRow | Unreadable], UnixMs]:
        return list_due(statements), statements.now_ms

    due, now_ms = store.transact(None, look, read_only=True)
    # What has ended stays so, and who starts another run of a schedule voids its row: looking beforehand is enough.
    asked = [run_id for row in due if not isinstance(row, Unreadable) and _asks(row) for run_id in row.recent]
    known = store.read_progress(asked) if asked else {}
    live = {run_id for run_id, progress in known.items() if progress.status not in TERMINAL_STATUSES}
    once = Once(pins)
    for row in sorted(due, key=lambda _: random()):
        try:
            if isinstance(row, Unreadable):
                raise row.error
            _tick(store, once, row, now_ms, under_way=not live.isdisjoint(row.recent))
        except PASSING:
            raise
        except HoldfastError as error:
            _postpone(store, row, now_ms, error)
    return len(due) == DUE_MAX


def _asks(row: ScheduleRow) -> bool:
    """Whether it matters if a run of it is under way."""
    return row.spec.overlap is not Overlap.ALLOW or row.queued_ms is not None


class Once:
    """Asks once for each workflow what its runs follow: many schedules are due at midnight."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._known: dict[tuple[Tenant, str, int | None], Pin | None] = {}

    def of(self, row: ScheduleRow) -> Pin | None:
        """As ``pin_of``."""
        place = row.tenant, row.spec.workflow, row.spec.version
        if place not in self._known:
            self._known[place] = pin_of(self._pins, row)
        return self._known[place]


def _tick(store: Store, pins: Once, row: ScheduleRow, now_ms: UnixMs, *, under_way: bool) -> None:
    from holdfast.store.schedules import record_plan

    decided = plan(row, now_ms, under_way=under_way)
    slots = [tick.slot_ms for tick in decided.ticks if tick.outcome is TickOutcome.STARTED]
    pin = pins.of(row) if slots else None
    runs = [new_run(row, pin, slot_ms) for slot_ms in slots]
    started = store.transact(row.tenant, lambda statements: record_plan(statements, row, decided, runs))
    if started is not None:
        _tell(row, decided)


def _tell(row: ScheduleRow, decided: Plan) -> None:
    for tick in decided.ticks:
        if tick.outcome is TickOutcome.MISSED:
            count = "many" if tick.slots is None else tick.slots
            logger.warning("schedule %s of tenant %s: %s slot(s) were missed", row.name, row.tenant, count)


def _postpone(store: Store, row: ScheduleRow | Unreadable, now_ms: UnixMs, error: HoldfastError) -> None:
    """One schedule that cannot start its run is not in the way of others."""
    from holdfast.store.schedules import postpone

    problem, due_ms = str(error)[:PROBLEM_MAX], UnixMs(now_ms + RETRY_MS)
    logger.warning("schedule %s of tenant %s cannot start its run: %s; trying again", row.name, row.tenant, problem)
    store.transact(row.tenant, lambda statements: postpone(statements, row, problem=problem, due_ms=due_ms))


def pin_of(pins: Pins, row: ScheduleRow) -> Pin | None:
    """The version that its runs follow; None for a function workflow. Raises DefinitionNotFound, ReleaseNotFound."""
    return pins.named(row.tenant, row.spec.workflow, version=row.spec.version)


def new_run(
    row: ScheduleRow, pin: Pin | None, slot_ms: UnixMs, *, cause: TickCause = TickCause.SLOT, request_id: str = ""
) -> NewRun:
    """The run of a slot. The same slot makes the same run."""
    spec = row.spec
    key = run_key(row.name, cause, slot_ms, request_id)
    timeout_ms, queue = spec.timeout_ms, spec.queue
    if pin is not None:
        timeout_ms = pin.options.timeout_ms if timeout_ms is None else timeout_ms
        queue = queue or pin.options.queue
    return NewRun(
        id=run_id_for_key(row.tenant, spec.workflow, key),
        tenant=row.tenant,
        workflow=spec.workflow,
        version=None if pin is None else pin.version,
        definition_hash=None if pin is None else pin.definition_hash,
        input=fill_slot(row.input, slot_ms),
        queue=queue or DEFAULT_QUEUE,
        key=key,
        priority=spec.priority,
        timeout_ms=timeout_ms,
        attributes={**read_attributes(spec.attributes), **run_attributes(row.name, slot_ms)},
    )


def declare(services: Services) -> None:
    """Store what the program declares, and pause what it declares no more. It blocks, and may be repeated.

    Raises UsageError for arguments that cannot be stored.
    """
    registry = services.registry
    specs = {name: _declared(services, name, one) for name, one in registry.schedules.items()}

    from holdfast.store.schedules import list_declared, pause_schedule, put_schedule, resume_schedule

    actor, note = f"app {registry.name}", NO_LONGER.format(registry.name)

    def write(statements: Statements) -> None:
        for name, (spec, payload) in specs.items():
            row = put_schedule(
                statements,
                DEFAULT_TENANT,
                name,
                spec,
                payload=payload,
                declared_by=registry.name,
                actor=actor,
            )
            if row.paused_ms is not None and row.note == note:
                resume_schedule(statements, DEFAULT_TENANT, name, actor=actor)
        for row in list_declared(statements, DEFAULT_TENANT, registry.name):
            if row.name not in specs:
                pause_schedule(statements, DEFAULT_TENANT, row.name, actor=actor, note=note)

    services.store.transact(DEFAULT_TENANT, write)


def _declared(services: Services, name: str, declared: Declared) -> tuple[ScheduleSpec, Json]:
    workflow = declared.workflow
    version = None
    if isinstance(workflow, Graph):
        # The version of this program, as a client with this program would start it.
        version = services.pins.own(DEFAULT_TENANT, workflow.build()).version
    spec = declared.schedule.spec(workflow.name, workflow.options, version=version)
    return spec, services.codec.encode_arguments(declared.args, {}, f"the arguments of schedule {name!r}")


class Scheduler:
    """A worker's part in it: idle until the agenda names a schedule that is due."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._wake = asyncio.Event()
        self._has_declared = False

    async def declare(self) -> None:
        """Store the schedules that the program declares; done by itself before the first look, if nobody asks."""
        services = self._services
        await services.until_repeated(lambda: services.host.call(LANE, declare, services))
        self._has_declared = True

    def look(self) -> None:
        """A schedule is due."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            services = self._services
            if not self._has_declared:
                await self.declare()
            try:
                # What is due after this is named by the next agenda.
                while await services.host.call(
                    LANE, tick_once, services.store, services.pins, random=services.host.random
                ):
                    pass
            except PASSING as error:
                logger.warning("schedules could not be looked at: %s; trying again", error)
