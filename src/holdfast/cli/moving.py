"""``holdfast runs move`` and ``append``: runs that go on with another version of their graph."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from holdfast.cli import options
from holdfast.cli.control import act
from holdfast.cli.database import open_session
from holdfast.cli.definitions import Format, read_document
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output, clean
from holdfast.cli.shapes import plain
from holdfast.cli.values import name_of_user
from holdfast.client.moving import WAIT
from holdfast.core.definitions.documents import part_from_json, part_from_yaml
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT

WAIT_S: Final = WAIT.total_seconds()
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="How long a worker may take to give the run back.")
]


def move(
    run_id: options.RunIdText,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="VERSION", help="A version's number, its content hash or a release.", show_default=False
        ),
    ],
    renamed: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="A node that has another key in that version (outer/inner). Repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do, and change nothing.", show_default=False)
    ] = False,
    wait: Wait = WAIT_S,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Move a live run to another version of its graph: what is recorded stays, what is to come is the new version's.

    Refused if the record disagrees: a node that has run is gone, is of another kind, calls another step or comes after
    another decision. A worker that holds the run gives it back first, when its handlers have ended, and the run goes on
    at once, moved or not. With --dry-run exit status 1 says it is refused.
    """
    mapping = dict(map(_pair, renamed or []))
    if not dry_run:
        act(
            lambda session: session.client.move(
                run_id, to, mapping, wait=wait, actor=name_of_user(actor), reason=reason
            ),
            database=database,
            tenant=tenant,
            as_json=as_json,
            say=lambda run: f"run {run.id} is {run.status.value} and follows version {run.version}",
        )
        return
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        plan = session.client.plan_move(run_id, to, mapping)
    if as_json:
        output.document({"plan": {"allowed": plan.allowed, **plain(plan)}})
    else:
        for line in plan.lines():
            output.say(clean(line))
        output.say(f"run {run_id} {'can' if plan.allowed else 'cannot'} be moved to version {clean(to)}")
    if not plan.allowed:
        raise typer.Exit(Exit.FAILED)


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign and new):
        raise UsageError(f"--map takes OLD=NEW, not {text!r}")
    return old, new


def append(
    run_id: options.RunIdText,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A .yaml or .json document of nodes and edges; - for standard input.",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How it is written. Default: as the file's name says.", show_default=False),
    ] = None,
    wait: Wait = WAIT_S,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Append nodes to the graph that a live run follows, and to no other run's.

    The document holds `nodes`, as definitions do, and the `edges` that lead into them. A node without an edge begins at
    once. They are stored as a version whose source names the run, and the run is moved to it, after a
    worker that holds it has given it back. Repeatable.
    """
    text = read_document(file)
    if form is None:
        form = Format.JSON if file.endswith(".json") else Format.YAML
    part = part_from_json(text) if form is Format.JSON else part_from_yaml(text)
    act(
        lambda session: session.client.append(
            run_id, *part.nodes, edges=part.edges, wait=wait, actor=name_of_user(actor), reason=reason
        ),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is {run.status.value} and follows version {run.version}",
    )


def register(runs: typer.Typer) -> None:
    """Add these commands to ``holdfast runs``."""
    runs.command("move", short_help="Move a run to another version of its graph.")(move)
    runs.command("append", short_help="Append nodes to a run's graph.")(append)
