"""``holdfast subscriptions``: who is told of the ends of runs, and how many ends nobody has acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.tables import make_table
from holdfast.core.closings import HANDLER
from holdfast.errors import NotFound
from holdfast.model.ids import DEFAULT_TENANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from holdfast.model.closing import Subscription

commands = typer.Typer(no_args_is_help=False)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The reader's name; @NAME is a program's handler.", show_default=False)
]
Workflow = Annotated[
    str | None, typer.Option("--workflow", metavar="WORKFLOW", help="Only of this workflow.", show_default=False)
]


class SubscriptionNotFound(NotFound):
    """Nobody of that name is told of ends."""

    code = "subscription_not_found"
    template = "there is no subscription {name!r}{of}; `holdfast subscriptions list` shows those that there are"


@commands.command("list")
def list_all(
    *, database: options.Database = None, tenant: options.TenantName = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """List the tenant's readers, and the handlers of programs, which serve every tenant."""
    from holdfast.store.outbox import Outbox

    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found = [*session.client.closings.list(), *Outbox(session.store).subscriptions(None)]
    if as_json:
        output.document({"subscriptions": [plain(one) for one in found]})
    elif found:
        output.show(_table(found))
    else:
        output.say("nobody is told of the ends of runs")


@commands.command("remove")
def remove(
    name: Name,
    *,
    workflow: Workflow = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Tell a reader or a handler no more. With its last subscription goes what it has not acknowledged.

    A handler that its program still has comes back when a worker of the program starts.
    """
    from holdfast.store.outbox import Outbox

    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        if name.startswith(HANDLER):
            removed = Outbox(session.store).unsubscribe(None, name, workflow)
        else:
            removed = session.client.closings.unsubscribe(name, workflow)
    if not removed:
        raise SubscriptionNotFound(name=name, of="" if workflow is None else f" to {workflow!r}")
    if as_json:
        output.document({"removed": name, "workflow": workflow})
    else:
        output.say(f"{name} is told no more" if workflow is None else f"{name} is told no more of {workflow}")


def _table(found: Sequence[Subscription]) -> Table:
    table = make_table(None, "*name", "*workflow", "undelivered")
    for one in found:
        table.add_row(clean(one.name), clean(one.workflow or "every"), str(one.undelivered))
    return table
