"""``pause`` and ``resume`` of queues, workflows and tenants."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.table import Table

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.tables import make_table, show_span
from holdfast.cli.values import name_of_user
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.pause import Pause

Recall = Annotated[
    bool,
    typer.Option(
        "--recall",
        help="Workers give back the runs that they hold, as soon as the handlers under way have ended.",
        show_default=False,
    ),
]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]

queues: Final = typer.Typer(no_args_is_help=False)
workflows: Final = typer.Typer(no_args_is_help=False)
pauses: Final = typer.Typer(no_args_is_help=False)


@queues.command("pause")
def pause_queue(
    queue: QueueName,
    *,
    recall: Recall = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Claim no more runs of a queue: they keep their places in the line."""
    with open_session(database, tenant) as session:
        found = session.client.pauses.pause(queue=queue, recall=recall, actor=name_of_user(actor), reason=reason)
    _say_paused(Output(as_json=as_json), found)


@queues.command("resume")
def resume_queue(
    queue: QueueName,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Claim runs of a queue again, at once."""
    with open_session(database, tenant) as session:
        was_paused = session.client.pauses.resume(queue=queue)
    _say_resumed(Output(as_json=as_json), "queue", queue, was_paused=was_paused)


@workflows.command("pause")
def pause_workflow(
    workflow: options.WorkflowName,
    *,
    recall: Recall = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Claim no more runs of a workflow, in any queue."""
    with open_session(database, tenant) as session:
        found = session.client.pauses.pause(workflow=workflow, recall=recall, actor=name_of_user(actor), reason=reason)
    _say_paused(Output(as_json=as_json), found)


@workflows.command("resume")
def resume_workflow(
    workflow: options.WorkflowName,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Claim runs of a workflow again, at once."""
    with open_session(database, tenant) as session:
        was_paused = session.client.pauses.resume(workflow=workflow)
    _say_resumed(Output(as_json=as_json), "workflow", workflow, was_paused=was_paused)


def register(tenants: typer.Typer) -> None:
    """Add the commands of a tenant to those that there are."""
    tenants.command("pause")(pause_tenant)
    tenants.command("resume")(resume_tenant)


def pause_tenant(
    tenant: TenantArgument,
    *,
    recall: Recall = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Claim no more runs of a tenant."""
    with open_session(database, tenant) as session:
        found = session.client.pauses.pause(tenant=True, recall=recall, actor=name_of_user(actor), reason=reason)
    _say_paused(Output(as_json=as_json), found)


def resume_tenant(
    tenant: TenantArgument, *, database: options.Database = None, as_json: options.AsJson = False
) -> None:
    """Claim runs of a tenant again, at once."""
    with open_session(database, tenant) as session:
        was_paused = session.client.pauses.resume(tenant=True)
    _say_resumed(Output(as_json=as_json), "tenant", tenant, was_paused=was_paused)


@pauses.command("list")
def list_pauses(
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List what a tenant has paused: queues, workflows, itself."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found = session.client.pauses.list()
        if as_json:
            output.document({"pauses": plain(found)})
        elif found:
            output.show(_table(found, session.store.read_clock()))
        else:
            output.say("nothing is paused")


def _say_paused(output: Output, pause: Pause) -> None:
    if output.as_json:
        output.document(plain(pause))
    else:
        output.say(f"{pause.kind} {pause.name} is paused: `holdfast {pause.kind}s resume {pause.name}` lets it go on")


def _say_resumed(output: Output, kind: str, name: str, *, was_paused: bool) -> None:
    if output.as_json:
        facts: dict[str, Any] = {"kind": kind, "name": name, "was_paused": was_paused}
        output.document(facts)
    else:
        output.say(f"{kind} {name} goes on" if was_paused else f"{kind} {name} was not paused")


def _table(found: list[Pause], now_ms: UnixMs) -> Table:
    table = make_table(None, "kind", "name", "for", "by", "*why", "recalls")
    for one in found:
        since = show_span(now_ms - one.since_ms)
        table.add_row(one.kind, clean(one.name), since, clean(one.actor), clean(one.note), "yes" if one.recalls else "")
    return table
