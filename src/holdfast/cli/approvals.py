"""``holdfast approvals``: what runs ask of people, and the answers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli import options
from holdfast.cli.database import open_session
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain
from holdfast.cli.tables import approval_table
from holdfast.cli.values import parse_json
from holdfast.model.ids import DEFAULT_TENANT

commands = typer.Typer(no_args_is_help=False)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The approval's key in the run's journal.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who answers; recorded.", show_default=False)]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="A group that NAME belongs to. Repeatable.", show_default=False),
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="JSON", help="What is entered into the form.", show_default=False)
]
Comment = Annotated[str | None, typer.Option("--comment", metavar="TEXT", help="Why.", show_default=False)]


@commands.command("list")
def list_approvals(
    *,
    names: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="NAME", help="What NAME may answer now. Repeatable.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Approvals on a page, 1 to 1000.")] = 20,
    after: options.Cursor = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List open approvals, oldest first, page by page."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        page = session.client.approvals(names or (), limit=limit, after=after)
        if as_json:
            output.document({"approvals": plain(page.approvals), "next": page.next})
            return
        if not page.approvals:
            output.say("no open approvals" if after is None else "no more approvals")
            return
        output.show(approval_table(page.approvals, session.store.read_clock()))
        if page.next is not None:
            output.say(f"more: --after {page.next}")


@commands.command("approve")
def approve(
    run_id: options.RunIdText,
    key: Key = "approval",
    *,
    by: By,
    group: Groups = None,
    data: Data = None,
    comment: Comment = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Approve what a run asks, once."""
    value = None if data is None else parse_json(data, "the data")
    with open_session(database, tenant) as session:
        session.client.approve(run_id, key, by=by, groups=group or (), data=value, comment=comment)
    _say(Output(as_json=as_json), run_id, key, by, "approved")


@commands.command("reject")
def reject(
    run_id: options.RunIdText,
    key: Key = "approval",
    *,
    by: By,
    group: Groups = None,
    data: Data = None,
    comment: Comment = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Reject what a run asks, once."""
    value = None if data is None else parse_json(data, "the data")
    with open_session(database, tenant) as session:
        session.client.reject(run_id, key, by=by, groups=group or (), data=value, comment=comment)
    _say(Output(as_json=as_json), run_id, key, by, "rejected")


def _say(output: Output, run_id: str, key: str, by: str, word: str) -> None:
    if output.as_json:
        facts: dict[str, Any] = {"run_id": run_id, "key": key, "by": by, "answer": word}
        output.document(facts)
    else:
        output.say(f"{key} of run {run_id} is {word} by {by}")
