"""``holdfast queues list`` and ``limit``; pausing a queue is in ``pauses.py``."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.table import Table

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.output import Output, clean
from holdfast.cli.pauses import QueueName
from holdfast.cli.shapes import plain
from holdfast.cli.tables import make_table, show_span
from holdfast.cli.values import name_of_user
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.limit import QueueRow

NO_LIMIT: Final = "none"


def register(queues: typer.Typer) -> None:
    """Add these commands to those that there are."""
    queues.command("list")(list_queues)
    queues.command("limit")(limit_queue)


def list_queues(
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List queues with their limits and pauses, and their runs that are queued or running."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found = session.client.queues.list()
        if as_json:
            output.document({"queues": plain(found)})
        elif found:
            output.show(_table(found, session.store.read_clock()))
        else:
            output.say("no queues yet")


def limit_queue(
    queue: QueueName,
    *,
    running: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="The most runs that workers hold at a time. `none`: no limit.", show_default=False
        ),
    ] = None,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show or set how many runs of a queue workers hold at a time, all workers together; further ones wait in line."""
    output = Output(as_json=as_json)
    most = None if running in (None, NO_LIMIT) else _number(running)
    with open_session(database, tenant) as session:
        if running is not None:
            session.client.queues.limit(queue, running=most, actor=name_of_user(actor), reason=reason)
        row = session.client.queues.get(queue)
        if as_json:
            output.document(plain(row))
        else:
            output.show(_table([row], session.store.read_clock()))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is no number of runs; write 0, 20 or none")
    return int(text)


def _table(found: list[QueueRow], now_ms: UnixMs) -> Table:
    table = make_table(None, "queue", "queued", "running", "limit", "limited by", "*why", "paused for")
    for row in found:
        limit = row.limit
        table.add_row(
            clean(row.queue),
            str(row.queued),
            str(row.running),
            "-" if limit is None else str(limit.running_max),
            "" if limit is None else clean(limit.actor),
            "" if limit is None else clean(limit.note),
            "" if row.pause is None else show_span(now_ms - row.pause.since_ms),
        )
    return table
