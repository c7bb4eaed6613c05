"""``holdfast events`` and ``holdfast runs events``: what happened, and what happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.durations import parse_duration
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain
from holdfast.client.events import EventOptions
from holdfast.errors import UsageError
from holdfast.model.event import Event, EventKind
from holdfast.model.ids import DEFAULT_TENANT

SINCE: Final = timedelta(hours=1)
"""How much of the history of all runs is told if nothing else is asked for."""

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens.", show_default=False)]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="Go on behind the event with this cursor.", show_default=False),
]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="WORD", help="With this reason, e.g. claimed. Repeatable.", show_default=False),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="WORD", help="Without this reason. Repeatable.", show_default=False),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Transitions to this status. Repeatable.", show_default=False),
]
StepKey = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="About this step or wait.", show_default=False)
]
Since = Annotated[
    timedelta | None,
    typer.Option("--since", metavar="DURATION", parser=parse_duration, help="Begin this long ago.", show_default=False),
]


def run_events(
    run_id: options.RunIdText,
    *,
    follow: Follow = False,
    after: After = None,
    records: Annotated[
        bool, typer.Option("--records", help="Tell the outcomes of its steps, too.", show_default=False)
    ] = False,
    reason: Reasons = None,
    without: Without = None,
    status: Statuses = None,
    key: StepKey = None,
    since: Since = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="TIMES",
            help="Play it at its original pace, this many times as fast; 1 is as it was.",
            show_default=False,
        ),
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Tell what happened to a run from its start on; with --follow also what happens, until it has ended.

    With --json each event is a document on a line of its own. Its `cursor` is what --after takes.
    """
    kinds = [EventKind.TRANSITION, *([EventKind.RECORD] if records else [])]
    wanted = _options(reason, without, status, since)
    _print(
        {**wanted, "kinds": kinds, "key": key},
        run_id=run_id,
        after=after,
        follow=follow,
        speed=speed,
        database=database,
        tenant=tenant,
        as_json=as_json,
    )


def events(
    *,
    follow: Follow = False,
    after: After = None,
    workflow: options.WorkflowFilter = None,
    reason: Reasons = None,
    without: Without = None,
    status: Statuses = None,
    since: Since = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Tell what happened to all runs, in the last hour unless told otherwise; with --follow also what happens.

    With --json each event is a document on a line of its own. Its `cursor` is what --after takes, however much later:
    nothing between is missed or told twice. An event of kind `gap` says that runs were deleted before they were read.
    """
    wanted = _options(reason, without, status, since or (None if after is not None else SINCE))
    _print(
        {**wanted, "workflow": workflow},
        run_id=None,
        after=after,
        follow=follow,
        database=database,
        tenant=tenant,
        as_json=as_json,
    )


def _options(
    reason: list[str] | None, without: list[str] | None, status: list[str] | None, since: timedelta | None
) -> EventOptions:
    try:
        begin = None if since is None else datetime.now(UTC) - since
    except OverflowError as error:
        raise UsageError("--since reaches back beyond the calendar") from error
    return EventOptions(
        reasons=reason or [],
        without=without or [],
        statuses=[one for each in status or [] for one in each.split(",") if one],
        since=begin,
    )


def _print(
    wanted: EventOptions,
    *,
    run_id: str | None,
    after: str | None,
    follow: bool,
    speed: float | None = None,
    database: str | None,
    tenant: str,
    as_json: bool,
) -> None:
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        told = 0
        for event in session.client.events(run_id, after=after, follow=follow, speed=speed, **wanted):
            told += 1
            if as_json:
                output.record(plain(event))
            else:
                output.say(_line(event, of_one=run_id is not None))
        if not told and not as_json:
            output.say("no such events")


def _line(event: Event, *, of_one: bool) -> str:
    at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    if event.kind is EventKind.GAP:
        return f"{at}  gap: runs were deleted whose events had not been read"
    whose = "" if of_one else f"{event.run_id}  {event.workflow}  "
    if event.kind is EventKind.RECORD:
        what = f"{event.reason} {event.key} {event.outcome}"
        if event.attempts is not None and event.attempts > 1:
            what += f" after {event.attempts} attempts"
    else:
        what = f"{event.status}  {event.reason}" + (f" {event.key}" if event.key else "")
    by = f"  by {event.actor}" if event.actor else ""
    why = f": {event.note}" if event.note else ""
    return f"{at}  {whose}{what}{by}{why}"


def register(runs: typer.Typer) -> None:
    """Add the command for one run to ``holdfast runs``."""
    runs.command("events", short_help="Tell what happened to a run, and what happens.")(run_events)
