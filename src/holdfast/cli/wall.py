"""``holdfast tenants wall``: PostgreSQL's row-level security as a second wall between tenants, on and off."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from holdfast.cli import options
from holdfast.cli.database import choose_url, find_database, sqlite_file
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.store.postgres.wall import WallReport

commands = typer.Typer(name="wall", help="A second wall between tenants, by PostgreSQL.")

SERVES: Final = {"all": "acts for all tenants", "one": "acts for one tenant at a time", "none": "acts for no tenant"}
"""What a role may do, by what the report calls it."""


@commands.command("on")
def switch_on(
    *,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="Do not wait until all processes have noticed: none is running.", show_default=False
        ),
    ] = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Let PostgreSQL itself keep tenants apart. Safe while workers run; what later migrations bring too."""
    from holdfast.store.postgres.wall import SETTLE_S, raise_wall

    output = Output(as_json=as_json)
    url = _postgres_url(database)
    raise_wall(url, settle_s=0 if now else SETTLE_S)
    _show(url, output)


@commands.command("off")
def switch_off(*, database: options.Database = None, as_json: options.AsJson = False) -> None:
    """Take the wall down again. Safe while workers run."""
    from holdfast.store.postgres.wall import lower_wall

    output = Output(as_json=as_json)
    url = _postgres_url(database)
    lower_wall(url)
    _show(url, output)


@commands.command("check")
def check(*, database: options.Database = None, as_json: options.AsJson = False) -> None:
    """Say what stands, and whether it stops the role of the URL. Exit status 1 unless every table is behind it."""
    report = _show(_postgres_url(database), Output(as_json=as_json))
    if not report.stands or report.bypass is not None:
        raise typer.Exit(Exit.FAILED)


def describe(report: WallReport) -> str:
    """The report as a sentence."""
    who = f"role {report.role} {SERVES[report.serves]}"
    if report.bypass is not None:
        who = f"role {report.role} is not stopped by it: {report.bypass}"
    if not report.closed:
        return "there is no wall: every statement names its tenant, and that is all"
    if report.open:
        return f"these tables are not behind the wall: {', '.join(report.open)}; {who}"
    return f"{len(report.closed)} tables are behind the wall; {who}"


def _show(url: str, output: Output) -> WallReport:
    from holdfast.store.postgres.wall import inspect_wall

    report = inspect_wall(url)
    if output.as_json:
        output.document({"stands": report.stands, **asdict(report)})
    else:
        output.say(describe(report))
    return report


def _postgres_url(database: str | None) -> str:
    url = choose_url(database, None)
    if sqlite_file(url) is not None:
        raise UsageError("only PostgreSQL can keep tenants apart by itself; in SQLite every statement names its tenant")
    with contextlib.closing(find_database(url)) as store:
        store.check_schema()
    return url
