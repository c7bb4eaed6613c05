"""``holdfast runs``: look at runs, change nothing."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from msgspec import Struct
from rich.console import RenderableType
from rich.live import Live

from holdfast.cli import options
from holdfast.cli.database import Session, open_session
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain, plain_listed, plain_run
from holdfast.cli.tables import count_line, detail_view, run_table, show_ago
from holdfast.cli.values import parse_attributes
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import Run, RunDetail, RunPage
from holdfast.model.status import ACTIVE_STATUSES, RunStatus

WATCH_INTERVAL_S: Final = 0.5
"""How often ``watch`` looks."""

commands = typer.Typer(name="runs", help="Look at runs.", no_args_is_help=False)


class Filter(Struct, frozen=True, kw_only=True):
    """Which runs: the filters that ``list`` and ``watch`` share."""

    status: list[str]
    workflow: str | None
    queue: str | None
    key: str | None
    attributes: dict[str, str]

    def read(self, session: Session, *, limit: int, after: str | None = None) -> RunPage:
        """A page of them."""
        return session.client.list(
            status=self.status or None,
            workflow=self.workflow,
            queue=self.queue,
            key=self.key,
            attributes=self.attributes,
            limit=limit,
            after=after,
        )


@commands.command("list")
def list_runs(
    *,
    status: options.StatusFilter = None,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    key: options.KeyFilter = None,
    attribute: options.AttributeFilter = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Runs on a page, 1 to 1000.")] = 20,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="CURSOR", help="The `next` of the page before.", show_default=False),
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List runs, newest first, page by page."""
    output = Output(as_json=as_json)
    wanted = _filter(status, workflow, queue, key, attribute)
    with open_session(database, tenant) as session:
        page = wanted.read(session, limit=limit, after=after)
        if as_json:
            runs = [plain_listed(run) for run in page.runs]
            output.document({"runs": runs, "broken": plain(page.broken), "next": page.next})
            return
        for one in page.broken:
            output.say(f"{one.id}  cannot be read: {one.why}")
        if not page.runs and not page.broken:
            output.say("no such runs" if after is None else "no more runs")
            return
        if page.runs:
            output.show(run_table(page.runs, session.store.read_clock()))
        if page.next is not None:
            output.say(f"more: --after {page.next}")


@commands.command("show")
def show_run(
    run_id: options.RunIdText,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show a run with its journal, waits, failed attempts and transitions."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        detail = session.client.detail(run_id)
        if as_json:
            output.document({**plain(detail), "run": plain_run(detail.run)})
        else:
            output.show(detail_view(detail))


@commands.command("explain")
def explain_run(
    run_id: options.RunIdText,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Say why a run is where it is, and what would move it."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        explanation = session.client.explain(run_id)
        if as_json:
            output.document(plain(explanation))
        else:
            output.say(str(explanation))


@commands.command("count")
def count_runs(
    *,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Count runs by status."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        counts = session.client.count(workflow=workflow, queue=queue)
    if as_json:
        by_status = {status.value: counts.get(status.value, 0) for status in RunStatus}
        output.document({"counts": by_status, "total": sum(counts.values())})
    else:
        output.show(count_line(counts))


@commands.command("watch")
def watch_runs(
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One run, until it ends.", show_default=False)
    ] = None,
    *,
    status: options.StatusFilter = None,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    key: options.KeyFilter = None,
    attribute: options.AttributeFilter = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The newest so many runs.")] = 20,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per change, each on a line.", show_default=False)
    ] = False,
) -> None:
    """Watch one run until it ends, or the newest runs until Ctrl-C."""
    output = Output(as_json=as_json)
    wanted = _filter(status, workflow, queue, key, attribute)
    if run_id is not None and (wanted.status or wanted.workflow or wanted.queue or wanted.key or wanted.attributes):
        raise UsageError("watch takes a run's id or filters, not both")
    with open_session(database, tenant) as session:
        if run_id is None:
            _watch_many(session, output, wanted, limit)
        elif _watch_one(session, output, run_id).status is not RunStatus.COMPLETED:
            raise typer.Exit(Exit.FAILED)


def _watch_one(session: Session, output: Output, run_id: str) -> Run:
    """Show the run as it changes; on a terminal as a table, otherwise a line per transition."""
    seen = 0
    with _screen(output) as live:
        while True:
            detail = session.client.detail(run_id)
            if live is not None:
                live.update(detail_view(detail, with_transitions=False), refresh=True)
            else:
                seen = _print_transitions(output, detail, seen)
            if detail.run.status not in ACTIVE_STATUSES:
                break
            time.sleep(WATCH_INTERVAL_S)
    if output.as_json:
        output.record({"run": plain_run(detail.run)})
    elif live is None:
        output.show(detail_view(detail, with_transitions=False))
    return detail.run


def _print_transitions(output: Output, detail: RunDetail, seen: int) -> int:
    for transition in detail.transitions:
        if transition.seq <= seen:
            continue
        if output.as_json:
            output.record({"run_id": detail.run.id, "transition": plain(transition)})
        else:
            when = show_ago(detail.now_ms, transition.at_ms)
            output.say(f"{detail.run.id}  {transition.to_status.value}  {transition.reason}  {when}")
    return max([seen, *(transition.seq for transition in detail.transitions)])


def _watch_many(session: Session, output: Output, wanted: Filter, limit: int) -> None:
    """Show the newest runs again and again; without a terminal, each one that is new or has changed."""
    seen: dict[str, tuple[str, int]] = {}
    with _screen(output) as live:
        while True:
            runs = wanted.read(session, limit=limit).runs
            now_ms = session.store.read_clock()
            if live is not None:
                live.update(run_table(runs, now_ms) if runs else "no such runs yet; Ctrl-C ends", refresh=True)
            else:
                seen = _print_changes(output, runs, seen, now_ms)
            time.sleep(WATCH_INTERVAL_S)


def _print_changes(
    output: Output, runs: list[Run], seen: dict[str, tuple[str, int]], now_ms: UnixMs
) -> dict[str, tuple[str, int]]:
    states: dict[str, tuple[str, int]] = {run.id: (run.status.value, run.updated_ms) for run in runs}
    for run in reversed(runs):
        if seen.get(run.id) == states[run.id]:
            continue
        if output.as_json:
            output.record({"run": plain_listed(run)})
        else:
            created = show_ago(now_ms, run.created_ms)
            output.say(f"{run.id}  {run.workflow}  {run.status.value}  {run.status_reason}  created {created}")
    return states


@contextmanager
def _screen(output: Output) -> Generator[Live | None]:
    """A live picture on a terminal, None elsewhere."""
    if output.as_json or not output.console.is_terminal:
        yield None
        return
    nothing: RenderableType = ""
    with Live(nothing, console=output.console, auto_refresh=False, vertical_overflow="crop") as live:
        yield live


def _filter(
    status: list[str] | None,
    workflow: str | None,
    queue: str | None,
    key: str | None,
    attribute: list[str] | None,
) -> Filter:
    statuses: list[Any] = [one for each in status or [] for one in each.split(",") if one]
    return Filter(
        status=statuses, workflow=workflow, queue=queue, key=key, attributes=parse_attributes(attribute or [])
    )
