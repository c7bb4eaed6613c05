"""``holdfast schedules``: what starts runs by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from holdfast.cli import options
from holdfast.cli.database import Session, open_session
from holdfast.cli.durations import parse_duration
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain, plain_call
from holdfast.cli.tables import fact_table, make_table, show_ago, show_call, show_span
from holdfast.cli.target import load_app
from holdfast.cli.values import name_of_user, parse_attributes, parse_json
from holdfast.core.schedules import slot_text
from holdfast.errors import ScheduleNotFound, UsageError
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.schedule import CatchUp, Cron, Overlap, ScheduleRow, TickRow, Timing
from holdfast.workflow.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

commands = typer.Typer(no_args_is_help=False)

SHOWN_SLOTS = 5
SHOWN_TICKS = 10

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)]
CronText = Annotated[
    str | None,
    typer.Option("--cron", metavar="EXPRESSION", help="Five fields, as in '30 2 * * MON-FRI'.", show_default=False),
]
Interval = Annotated[
    timedelta | None,
    typer.Option("--every", metavar="DURATION", parser=parse_duration, help="An interval.", show_default=False),
]
Zone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="By whose clocks: Europe/Berlin.")]
OverlapPolicy = Annotated[Overlap, typer.Option("--overlap", help="While a run of it is under way.")]
CatchUpPolicy = Annotated[CatchUp, typer.Option("--catch-up", help="Of slots that came while no worker ran.")]
Window = Annotated[
    timedelta | None,
    typer.Option(
        "--window", metavar="DURATION", parser=parse_duration, help="So far back. Default: 1d.", show_default=False
    ),
]
Jitter = Annotated[
    timedelta | None,
    typer.Option(
        "--jitter", metavar="DURATION", parser=parse_duration, help="Start so much later.", show_default=False
    ),
]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The graph's version; what is live.", show_default=False)
]
Replace = Annotated[bool, typer.Option("--replace", help="Change the one of that name.", show_default=False)]
Count = Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=1_000, help="How many slots.")]
Ticks = Annotated[int, typer.Option("--ticks", metavar="N", min=1, max=1_000, help="How many entries of its history.")]
RequestId = Annotated[
    str | None,
    typer.Option("--request-id", metavar="TEXT", help="The same one starts one run.", show_default=False),
]


@commands.command("list")
def list_schedules(
    *, database: options.Database = None, tenant: options.TenantName = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """List the tenant's schedules, with their next slots."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found: list[ScheduleRow] = []
        while page := session.client.schedules.list(limit=1_000, after=found[-1].name if found else ""):
            found += page
        if as_json:
            output.document({"schedules": [shape(row) for row in found]})
        elif found:
            output.show(_table(found, session.store.read_clock()))
        else:
            output.say("there are no schedules")


@commands.command("show")
def show(
    name: Name,
    *,
    ticks: Ticks = SHOWN_TICKS,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show a schedule: its policies, its next slots, and what came of the last ones."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        _show(session, output, session.client.schedules.get(name), ticks)


@commands.command("create")
def create(
    name: Name,
    workflow: options.WorkflowName,
    arguments: options.Arguments = None,
    *,
    cron: CronText = None,
    every: Interval = None,
    timezone: Zone = "UTC",
    overlap: OverlapPolicy = Overlap.SKIP,
    catch_up: CatchUpPolicy = CatchUp.ONE,
    window: Window = None,
    jitter: Jitter = None,
    queue: options.Queue = None,
    priority: options.Priority = 0,
    timeout: options.Timeout = None,
    attribute: options.Attributes = None,
    version: Version = None,
    replace: Replace = False,
    app: options.CheckedApp = None,
    actor: options.Actor = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Start a workflow by the clock from now on, with these arguments."""
    output = Output(as_json=as_json)
    if (cron is None) == (every is None):
        raise UsageError("say when, in one of two ways: --cron '0 3 * * *', or --every 15m")
    schedule = Schedule(
        cron=cron,
        every=every,
        timezone=timezone,
        overlap=overlap,
        catch_up=catch_up,
        catch_up_window=timedelta(days=1) if window is None else window,
        jitter=jitter or 0,
        queue=queue,
        priority=priority,
        timeout=timeout,
        attributes=parse_attributes(attribute or []),
        version=version,
    )
    values = [parse_json(text, f"argument {number}") for number, text in enumerate(arguments or [], start=1)]
    loaded = None if app is None else load_app(app)
    with open_session(database, tenant, app=loaded, make_tables=True) as session:
        schedules = session.client.schedules
        put = schedules.put if replace else schedules.create
        _show(session, output, put(name, schedule, workflow, *values, actor=name_of_user(actor)), SHOWN_TICKS)


@commands.command("pause")
def pause(
    name: Name,
    *,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Let a schedule start nothing until it is resumed."""
    with open_session(database, tenant) as session:
        row = session.client.schedules.pause(name, actor=name_of_user(actor), reason=reason)
    _say(Output(as_json=as_json), row, f"schedule {name} is paused: `holdfast schedules resume {name}` lets it go on")


@commands.command("resume")
def resume(
    name: Name,
    *,
    actor: options.Actor = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Let a schedule go on with its first slot after now."""
    with open_session(database, tenant) as session:
        row = session.client.schedules.resume(name, actor=name_of_user(actor))
    following = "never" if row.next_ms is None else slot_text(row.next_ms)
    _say(Output(as_json=as_json), row, f"schedule {name} goes on; next: {following}")


@commands.command("trigger")
def trigger(
    name: Name,
    *,
    request_id: RequestId = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Start a run of a schedule now, paused or not; its slots stay as they are."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        run_id = session.client.schedules.trigger(name, request_id=request_id)
    if as_json:
        output.document({"run_id": run_id})
    else:
        output.say(f"started run {run_id}")


@commands.command("backfill")
def backfill(
    name: Name,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="2026-03-01T00:00:00Z", show_default=False)],
    last: Annotated[str, typer.Argument(metavar="LAST", help="2026-03-31T23:59:59Z", show_default=False)],
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Start the runs of the slots from one moment to another that have none yet; up to 1,000 slots."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        started = session.client.schedules.backfill(name, _moment(first), _moment(last))
    if as_json:
        output.document({"run_ids": started})
    else:
        output.say(f"started {len(started)} run(s)")


@commands.command("delete")
def delete(
    name: Name,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Delete a schedule with its history; its runs stay."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        if not session.client.schedules.delete(name):
            raise ScheduleNotFound(schedule=name)
    if as_json:
        output.document({"deleted": name})
    else:
        output.say(f"schedule {name} is deleted")


@commands.command("next")
def next_slots(
    name: Name,
    *,
    count: Count = 10,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Tell a schedule's next slots."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        row = session.client.schedules.get(name)
        found = session.client.schedules.next(name, count=count)
        if as_json:
            output.document({"slots": plain(found)})
        elif found:
            output.show(_slots(row.spec.timing, found, session.store.read_clock()))
        else:
            output.say(
                f"schedule {name} is paused" if row.paused_ms is not None else f"schedule {name} has no more slots"
            )


def shape(row: ScheduleRow) -> dict[str, Any]:
    """A schedule as ``--json`` prints it."""
    given: dict[str, Any] = plain(row)
    call = plain_call(row.input)
    kind = row.spec.timing.__struct_config__.tag
    return {
        **given,
        "spec": {**given["spec"], "timing": {"kind": kind, **given["spec"]["timing"]}},
        "input": given["input"] if call is None else {"args": call[0], "kwargs": call[1]},
    }


def show_timing(timing: Timing) -> str:
    """When, for people."""
    if isinstance(timing, Cron):
        return f"{timing.expression} ({timing.timezone})"
    return f"every {show_span(timing.every_ms)}"


def _show(session: Session, output: Output, row: ScheduleRow, ticks: int) -> None:
    schedules, now_ms = session.client.schedules, session.store.read_clock()
    history = schedules.ticks(row.name, limit=ticks)
    following = schedules.next(row.name, count=SHOWN_SLOTS)
    if output.as_json:
        output.document({"schedule": shape(row), "next": plain(following), "ticks": plain(history)})
        return
    output.show(_facts(row, now_ms))
    if following:
        output.show(_slots(row.spec.timing, following, now_ms))
    if history:
        output.show(_history(history, now_ms))


def _say(output: Output, row: ScheduleRow, text: str) -> None:
    if output.as_json:
        output.document(shape(row))
    else:
        output.say(text)


def _table(rows: Sequence[ScheduleRow], now_ms: UnixMs) -> Table:
    table = make_table(None, "name", "workflow", "when", "next", "*state")
    for row in rows:
        following = "" if row.next_ms is None else f"in {show_span(max(row.next_ms - now_ms, 0))}"
        table.add_row(
            clean(row.name),
            clean(row.spec.workflow),
            clean(show_timing(row.spec.timing)),
            following,
            clean(_state(row)),
        )
    return table


def _state(row: ScheduleRow) -> str:
    if row.paused_ms is not None:
        return f"paused by {row.actor}: {row.note}" if row.note else "paused"
    if row.problem:
        return f"cannot start its run: {row.problem}"
    return "a slot waits for the end of a run" if row.queued_ms is not None else ""


def _facts(row: ScheduleRow, now_ms: UnixMs) -> Table:
    spec = row.spec
    return fact_table(
        {
            "schedule": clean(row.name),
            "workflow": clean(spec.workflow if spec.version is None else f"{spec.workflow}, version {spec.version}"),
            "input": clean(show_call(row.input)),
            "when": clean(show_timing(spec.timing)),
            "overlap": spec.overlap.value,
            "catch up": f"{spec.catch_up.value}, {show_span(spec.window_ms)} back",
            "jitter": show_span(spec.jitter_ms) if spec.jitter_ms else None,
            "state": clean(_state(row)) or None,
            "waits": None if row.queued_ms is None else slot_text(row.queued_ms),
            "declared by": clean(row.declared_by) or None,
            "changed": show_ago(now_ms, row.changed_ms),
        }
    )


def _slots(timing: Timing, slots: Sequence[datetime], now_ms: UnixMs) -> Table:
    table = make_table("next slots", "slot", "local", "*in")
    zone = timing.timezone if isinstance(timing, Cron) else "UTC"
    for slot in slots:
        at_ms = int(slot.timestamp() * 1000)
        table.add_row(slot_text(UnixMs(at_ms)), _local(slot, zone), show_span(max(at_ms - now_ms, 0)))
    return table


def _local(slot: datetime, zone: str) -> str:
    return f"{slot.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M %Z}"


def _history(ticks: Sequence[TickRow], now_ms: UnixMs) -> Table:
    table = make_table("last slots", "slot", "outcome", "cause", "when", "*run")
    for tick in ticks:
        slots = "many" if tick.slots is None else str(tick.slots)
        outcome = tick.outcome.value if tick.slots == 1 else f"{tick.outcome.value} ({slots})"
        table.add_row(
            slot_text(tick.slot_ms), outcome, tick.cause.value, show_ago(now_ms, tick.at_ms), tick.run_id or ""
        )
    return table


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no moment; write 2026-03-01T00:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
