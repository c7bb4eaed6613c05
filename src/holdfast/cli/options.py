"""The options that commands share."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from holdfast.app import DATABASE_VARIABLE, DEFAULT_DATABASE
from holdfast.cli.durations import parse_duration, parse_patience

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help=f"sqlite:///FILE or postgresql://USER@HOST/NAME. Default: {DATABASE_VARIABLE}, else {DEFAULT_DATABASE}.",
        show_default=False,
    ),
]
TenantName = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.", show_default=False)]
Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who asks. Default: this user's name.", show_default=False),
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the run's transitions.", show_default=False)
]
Cursor = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="The `next` of the page before.", show_default=False),
]
RunIdText = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]
WorkflowFilter = Annotated[
    str | None, typer.Option("--workflow", metavar="NAME", help="Runs of this workflow.", show_default=False)
]
QueueFilter = Annotated[
    str | None, typer.Option("--queue", metavar="NAME", help="Runs of this queue.", show_default=False)
]
KeyFilter = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Runs with this idempotency key.", show_default=False)
]
FilterTerms = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER", help="Terms of the filter language: status:failed attr.customer=42", show_default=False
    ),
]
WaitingFilter = Annotated[
    str | None,
    typer.Option(
        "--waiting-on",
        metavar="WAIT",
        help=(
            "Runs that wait: signal:NAME, timer, child:ID, retry, breaker:NAME; "
            "queue:NAME, workflow:NAME, tenant: paused; quota, limit:QUEUE."
        ),
        show_default=False,
    ),
]
StatusFilter = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Runs in this status. Repeatable.", show_default=False),
]
AttributeFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute", metavar="NAME=VALUE", help="Runs with this search attribute. Repeatable.", show_default=False
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:APP",
        help="Where the App is: orders:app is `app` in orders.py. The current folder is searched too.",
        show_default=False,
    ),
]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", metavar="NAME", help="A queue to serve. Repeatable. Default: default.", show_default=False),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", min=1, help="Runs held at once. Default: 1000.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, help="Plain (def) steps executed at once. Default: 64.", show_default=False
    ),
]
Lease = Annotated[
    timedelta | None,
    typer.Option(
        "--lease",
        metavar="DURATION",
        parser=parse_duration,
        help="How long after its last sign of life a dead worker's runs are taken over. Default: 10s.",
        show_default=False,
    ),
]
Grace = Annotated[
    timedelta | None,
    typer.Option(
        "--grace",
        metavar="DURATION",
        parser=parse_duration,
        help="How long running steps may take to finish once the worker is told to stop. Default: 25s.",
        show_default=False,
    ),
]

# Of start

WorkflowName = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARG",
        help="Its arguments, each one a JSON value: 7, true, null, '\"text\"', '{\"id\": 7}'. Write -- before -7.",
        show_default=False,
    ),
]
CheckedApp = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="MODULE:APP",
        help="Check name and arguments against this App, and take its defaults and database.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="An idempotency key: the same one never starts a second run of this workflow.",
        show_default=False,
    ),
]
Delay = Annotated[
    timedelta | None,
    typer.Option(
        "--delay",
        metavar="DURATION",
        parser=parse_duration,
        help="Start it not before this long from now: 90, 90s, 15m, 2h, 1d.",
        show_default=False,
    ),
]
Priority = Annotated[int, typer.Option("--priority", metavar="N", help="-1000 to 1000; higher is claimed first.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=parse_duration,
        help="The run's deadline, from now. Default: the workflow's own.",
        show_default=False,
    ),
]
Queue = Annotated[
    str | None,
    typer.Option(
        "--queue", metavar="NAME", help="The line it stands in. Default: the workflow's own.", show_default=False
    ),
]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attribute", metavar="NAME=VALUE", help="A search attribute. Repeatable.", show_default=False),
]
Wait = Annotated[
    timedelta | None,
    typer.Option(
        "--wait",
        metavar="[DURATION]",
        parser=parse_patience,
        help="Wait until the run ends, at most this long if a duration follows.",
        show_default=False,
    ),
]
