"""``holdfast breakers list``, ``show``, ``open`` and ``close``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.table import Table

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.durations import parse_duration
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.tables import make_table, show_span
from holdfast.cli.values import name_of_user
from holdfast.model.breaker import BreakerStanding
from holdfast.model.ids import DEFAULT_TENANT, UnixMs

commands: Final = typer.Typer(no_args_is_help=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The breaker's name.", show_default=False)]
UntilAfter = Annotated[
    timedelta | None,
    typer.Option(
        "--for",
        metavar="DURATION",
        parser=parse_duration,
        help="After so long a call is let through, to see whether it succeeds. Without: not until it is closed.",
        show_default=False,
    ),
]


@commands.command("list")
def list_breakers(
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List the breakers that have had a failure or were opened by hand, and how many runs wait for each."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found = session.client.breakers.list()
        if as_json:
            output.document({"breakers": plain(found)})
        elif found:
            output.show(_table(found, session.store.read_clock()))
        else:
            output.say("no breaker has had a failure, or was opened by hand")


@commands.command("show")
def show_breaker(
    name: Name,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show one breaker."""
    with open_session(database, tenant) as session:
        _show(Output(as_json=as_json), session.client.breakers.get(name), session.store.read_clock())


@commands.command("open")
def open_breaker(
    name: Name,
    *,
    until_after: UntilAfter = None,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Call no step that names this breaker any more: runs that come to one wait, parked, and use up no attempt."""
    with open_session(database, tenant) as session:
        found = session.client.breakers.open(name, until_after=until_after, actor=name_of_user(actor), reason=reason)
        _show(Output(as_json=as_json), found, session.store.read_clock())


@commands.command("close")
def close_breaker(
    name: Name,
    *,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Call steps that name this breaker again: runs that wait for it go on, few at first."""
    with open_session(database, tenant) as session:
        found = session.client.breakers.close(name, actor=name_of_user(actor), reason=reason)
        _show(Output(as_json=as_json), found, session.store.read_clock())


def _show(output: Output, found: BreakerStanding, now_ms: UnixMs) -> None:
    if output.as_json:
        output.document(plain(found))
    else:
        output.show(_table([found], now_ms))


def _table(found: list[BreakerStanding], now_ms: UnixMs) -> Table:
    table = make_table(None, "breaker", "state", "failures", "open for", "tries in", "waiting", "changed by", "*why")
    for one in found:
        table.add_row(
            clean(one.name),
            one.state.value,
            str(one.failures),
            "" if one.since_ms is None else show_span(now_ms - one.since_ms),
            "" if one.retry_ms is None else show_span(max(one.retry_ms - now_ms, 0)),
            str(one.waiting),
            clean(one.actor),
            clean(one.note),
        )
    return table
