"""``holdfast runs``: look at runs; ``control`` adds the commands that change them."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct
from rich.console import RenderableType
from rich.live import Live

from holdfast.cli import options
from holdfast.cli.database import Session, open_session
from holdfast.cli.definitions import Picture
from holdfast.cli.exits import Exit
from holdfast.cli.histories import find_version, read_run_histories
from holdfast.cli.output import Output
from holdfast.cli.progress import Progress, news, progress_of, progress_view
from holdfast.cli.shapes import plain, plain_listed, plain_run
from holdfast.cli.tables import count_line, detail_view, group_table, run_table, show_ago
from holdfast.cli.values import parse_attributes
from holdfast.client.filters import Filters
from holdfast.core.definitions import draw_mermaid, draw_svg
from holdfast.core.history import encode_history
from holdfast.core.history import redact as without_payloads
from holdfast.errors import UsageError
from holdfast.model.definition import Definition
from holdfast.model.ids import DEFAULT_TENANT, UnixMs
from holdfast.model.run import Run, RunDetail, RunPage
from holdfast.model.search import GroupBy
from holdfast.model.status import ACTIVE_STATUSES, RunStatus

WATCH_INTERVAL_S: Final = 0.5
"""How often ``watch`` looks."""

REST: Final = 5
"""But a run is left alone this many times as long as it took to read."""

PROGRESS_INTERVAL_S: Final = 2.0
"""How often ``watch`` says how far a run is where nothing shows it all the time."""

ROWS_MAX: Final = 200
"""A longer record is shown by how far each node is, and not row by row."""

PAGE: Final = 1000
"""Runs that an export reads at once."""

commands = typer.Typer(no_args_is_help=False)


class Filter(Struct, frozen=True, kw_only=True):
    """Which runs: the filters that ``list``, ``count`` and ``watch`` share."""

    query: str | None
    keywords: Filters

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return self.query is None and not self.keywords

    def read(self, session: Session, *, limit: int, after: str | None = None) -> RunPage:
        """A page of them."""
        return session.client.list(self.query, limit=limit, after=after, **self.keywords)


@commands.command("list")
def list_runs(
    terms: options.FilterTerms = None,
    *,
    status: options.StatusFilter = None,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    key: options.KeyFilter = None,
    attribute: options.AttributeFilter = None,
    waiting_on: options.WaitingFilter = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Runs on a page, 1 to 1000.")] = 20,
    after: options.Cursor = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List runs, newest first, page by page.

    A filter is made of terms: status:failed workflow:NAME version:3 queue:NAME key:KEY parent:ID root:ID forked:ID
    waiting:signal:NAME error:TYPE fingerprint:HEX created>2h ended<2026-01-31 attr.NAME=VALUE attr.NAME>=10
    order:oldest|ended, and words that are part of key, workflow or error message.
    """
    output = Output(as_json=as_json)
    wanted = _filter(
        terms, status=status, workflow=workflow, queue=queue, key=key, attribute=attribute, waiting_on=waiting_on
    )
    with open_session(database, tenant) as session:
        page = wanted.read(session, limit=limit, after=after)
        if as_json:
            runs = [plain_listed(run) for run in page.runs]
            output.document({"runs": runs, "broken": plain(page.broken), "next": page.next})
            return
        for one in page.broken:
            output.say(f"{one.id}  cannot be read: {one.why}")
        if page.runs:
            output.show(run_table(page.runs, session.store.read_clock()))
        elif not page.broken and page.next is None:
            output.say("no such runs" if after is None else "no more runs")
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
    """Show a run with its journal, waits, failed attempts and transitions; a long record by how far each node is.

    With --json all of it, however long it is.
    """
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        detail = session.client.detail(run_id)
        if as_json:
            output.document({**plain(detail), "run": plain_run(detail.run)})
        elif len(detail.journal) + len(detail.waits) <= ROWS_MAX:
            output.show(detail_view(detail))
        else:
            output.show(progress_view(detail, progress_of(detail, _definition_of(session, detail.run, {}))))


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


@commands.command("draw")
def draw_run(
    run_id: options.RunIdText,
    *,
    form: Annotated[Picture, typer.Option("--format", help="How it is drawn.")] = Picture.MERMAID,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
) -> None:
    """Draw the version that a run follows, each node in the colour of how far the run has come with it."""
    with open_session(database, tenant) as session:
        run = session.client.get(run_id)
        if run.version is None:
            raise UsageError(f"run {run_id} of workflow {run.workflow!r} follows no stored definition")
        dag = session.client.dag(run_id)
    definition, states = dag.definition, dag.node_states()
    sys.stdout.write(draw_svg(definition, states) if form is Picture.SVG else draw_mermaid(definition, states))


@commands.command("export-history")
def export_history(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write, a line per run; - for stdout.", show_default=False)
    ],
    run_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="These runs. Default: all that the filters let by.", show_default=False
        ),
    ] = None,
    *,
    redact: Annotated[
        bool,
        typer.Option("--redact", help="Without payloads, errors, keys and attributes: not to be replayed."),
    ] = False,
    status: options.StatusFilter = None,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    key: options.KeyFilter = None,
    attribute: options.AttributeFilter = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Write what runs recorded to a file, for `holdfast replay` and for tests. It holds their payloads."""
    output = Output(as_json=as_json)
    wanted = _filter(None, status=status, workflow=workflow, queue=queue, key=key, attribute=attribute)
    with open_session(database, tenant) as session:
        found = iter(run_ids) if run_ids else (run.id for run in _read_all(session, wanted))
        histories = read_run_histories(session, found)
        lines = (encode_history(without_payloads(each) if redact else each) + b"\n" for each in histories)
        if file == "-":
            sys.stdout.buffer.writelines(lines)
            return
        written = 0
        with Path(file).open("wb") as target:
            for line in lines:
                target.write(line)
                written += 1
    if as_json:
        output.document({"file": file, "written": written, "redacted": redact})
    else:
        output.say(f"{written} histories written to {file}")


def _read_all(session: Session, wanted: Filter) -> Iterator[Run]:
    after: str | None = None
    while True:
        page = wanted.read(session, limit=PAGE, after=after)
        yield from page.runs
        after = page.next
        if after is None:
            return


@commands.command("count")
def count_runs(
    terms: options.FilterTerms = None,
    *,
    by: Annotated[
        str, typer.Option("--by", metavar="FIELD", help="What runs are counted by: status, workflow, queue or error.")
    ] = GroupBy.STATUS.value,
    workflow: options.WorkflowFilter = None,
    queue: options.QueueFilter = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The most groups, 1 to 1000.")] = 100,
    most: Annotated[
        int | None,
        typer.Option("--most", metavar="N", min=1, help="Count no more of each status, by an index alone."),
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Count runs by status, workflow, queue, or by the error that they ended with.

    Among millions of runs --most is quick: of each status no more are read, and N+ says that there may be others.
    """
    output = Output(as_json=as_json)
    wanted = _filter(terms, workflow=workflow, queue=queue)
    with open_session(database, tenant) as session:
        if by != GroupBy.STATUS:
            if most is not None:
                raise UsageError("--most goes with counts by status")
            groups = session.client.group(by, wanted.query, limit=limit, **wanted.keywords)
            if as_json:
                output.document({"groups": plain(groups)})
            elif groups:
                output.show(group_table(groups, session.store.read_clock()))
            else:
                output.say("no such runs")
            return
        counts = session.client.count(wanted.query, most=most, **wanted.keywords)
    if as_json:
        by_status = {status.value: counts.get(status.value, 0) for status in RunStatus}
        beside = {} if most is None else {"most": most}
        output.document({"counts": by_status, "total": sum(counts.values()), **beside})
    else:
        output.show(count_line(counts, most=most))


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
    wanted = _filter(None, status=status, workflow=workflow, queue=queue, key=key, attribute=attribute)
    if run_id is not None and not wanted.is_empty:
        raise UsageError("watch takes a run's id or filters, not both")
    with open_session(database, tenant) as session:
        if run_id is None:
            _watch_many(session, output, wanted, limit)
        elif _watch_one(session, output, run_id).status is not RunStatus.COMPLETED:
            raise typer.Exit(Exit.FAILED)


def _watch_one(session: Session, output: Output, run_id: str) -> Run:
    """Show the run as it changes; on a terminal as a table, otherwise a line per transition, and now and then one of
    how far it is.
    """
    seen, told, told_s = 0, dict[str, str](), time.monotonic()
    definitions: dict[str, Definition | None] = {}
    with _screen(output) as live:
        while True:
            began_s = time.monotonic()
            detail = session.client.detail(run_id)
            progress = progress_of(detail, _definition_of(session, detail.run, definitions))
            if live is not None:
                live.update(progress_view(detail, progress), refresh=True)
            else:
                seen = _print_transitions(output, detail, seen)
                if not output.as_json and time.monotonic() - told_s >= PROGRESS_INTERVAL_S:
                    told, told_s = _print_progress(output, detail.run, progress, told), time.monotonic()
            if detail.run.status not in ACTIVE_STATUSES:
                break
            time.sleep(max(WATCH_INTERVAL_S, REST * (time.monotonic() - began_s)))
    if output.as_json:
        output.record({"run": plain_run(detail.run)})
    elif live is None:
        output.show(progress_view(detail, progress))
    return detail.run


def _definition_of(session: Session, run: Run, known: dict[str, Definition | None]) -> Definition | None:
    """The version that the run follows now; None for a function's."""
    if run.definition_hash is None:
        return None
    if run.definition_hash not in known:
        known[run.definition_hash] = find_version(session, run.workflow, run.definition_hash)
    return known[run.definition_hash]


def _print_progress(output: Output, run: Run, progress: list[Progress], told: dict[str, str]) -> dict[str, str]:
    changed = news(progress, told)
    if changed:
        output.say(f"{run.id}  {run.status.value}  {'; '.join(changed)}")
    return {one.name: str(one) for one in progress}


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
    terms: list[str] | None,
    *,
    status: list[str] | None = None,
    workflow: str | None = None,
    queue: str | None = None,
    key: str | None = None,
    attribute: list[str] | None = None,
    waiting_on: str | None = None,
) -> Filter:
    keywords = Filters()
    statuses = [one for each in status or [] for one in each.split(",") if one]
    if statuses:
        keywords["status"] = statuses
    if workflow is not None:
        keywords["workflow"] = workflow
    if queue is not None:
        keywords["queue"] = queue
    if key is not None:
        keywords["key"] = key
    if attribute:
        keywords["attributes"] = parse_attributes(attribute)
    if waiting_on is not None:
        keywords["waiting_on"] = waiting_on
    return Filter(query=" ".join(terms) if terms else None, keywords=keywords)
