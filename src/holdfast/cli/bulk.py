"""``holdfast bulk``: one command for every run that a filter names."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from holdfast.cli import options
from holdfast.cli.database import Session, open_session
from holdfast.cli.durations import parse_duration
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain
from holdfast.cli.tables import count_line
from holdfast.cli.values import name_of_user, parse_json
from holdfast.client.bulk import BulkOptions
from holdfast.core.bulk import word_of
from holdfast.errors import UsageError
from holdfast.model.bulk import Action, BulkJob, Retry
from holdfast.model.command import Cancel, Change
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.workflow.duration import milliseconds

commands = typer.Typer()

Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FILTER", help="The same as FILTER. Repeatable.", show_default=False),
]
AllRuns = Annotated[bool, typer.Option("--all", help="All runs are meant: no filter.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count the runs, and do nothing.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.", show_default=False)]
Most = Annotated[
    int | None,
    typer.Option("--most", metavar="N", min=0, help="Refuse if more runs match. Does not ask.", show_default=False),
]
Rate = Annotated[
    int | None,
    typer.Option("--rate", metavar="N", min=1, help="Runs per second at most.", show_default=False),
]
Here = Annotated[
    bool, typer.Option("--here", help="Carry it out in this process: no worker is needed.", show_default=False)
]
WaitFor = Annotated[
    timedelta | None,
    typer.Option(
        "--wait-for", metavar="DURATION", parser=parse_duration, help="Wait for its end, so long.", show_default=False
    ),
]
JobText = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]


CompensateFirst = Annotated[
    bool, typer.Option("--compensate", help="cancel: undo completed steps first.", show_default=False)
]
FromStart = Annotated[bool, typer.Option("--from-start", help="retry: take over nothing.", show_default=False)]
SignalName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="signal: its name.", show_default=False)]
SignalPayload = Annotated[
    str, typer.Option("--payload", metavar="JSON", help="signal: what it carries.", show_default=False)
]
NewPriority = Annotated[
    int | None, typer.Option("--priority", metavar="N", help="set: higher is claimed first.", show_default=False)
]
NewQueue = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="set: another line.", show_default=False)]
NewTimeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=parse_duration,
        help="set: a new deadline, from when each run's turn comes.",
        show_default=False,
    ),
]

WORDS: Final = {
    "cancel": "Cancel runs.",
    "terminate": "End runs now, whatever they do.",
    "pause": "Pause runs.",
    "resume": "Let paused runs go on.",
    "release": "Put stuck runs back into the line.",
    "close": "End stuck runs as failed.",
    "retry": "Start the next attempt of runs that failed.",
    "signal": "Send runs a signal.",
    "set": "Change priority, queue or deadline of runs.",
    "delete": "Delete runs that have ended.",
}
"""The actions, and what they do."""


def start(
    context: typer.Context,
    terms: options.FilterTerms = None,
    *,
    where: Where = None,
    all_runs: AllRuns = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    most: Most = None,
    rate: Rate = None,
    here: Here = False,
    wait_for: WaitFor = None,
    compensate: CompensateFirst = False,
    from_start: FromStart = False,
    name: SignalName = None,
    payload: SignalPayload = "null",
    priority: NewPriority = None,
    queue: NewQueue = None,
    timeout: NewTimeout = None,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> int:
    """Give every run that a filter names this command: counts them, asks, and starts a durable job.

    Workers carry it out in batches of 50, newest runs first. Runs that cannot obey are its errors: see
    `holdfast bulk show`.
    The filter is that of `holdfast runs list`: status:failed workflow:NAME created<7d attr.NAME=VALUE.
    """
    output = Output(as_json=as_json)
    word = str(context.info_name)
    query = " ".join([*(terms or []), *(where or [])]) or None
    change = Change(priority=priority, queue=queue, timeout_ms=None if timeout is None else milliseconds(timeout))
    action = _action(word, compensate=compensate, from_start=from_start, change=change)
    with open_session(database, tenant) as session:
        counts = session.client.bulk.count(query)
        found = sum(counts.values())
        if dry_run:
            _show_counts(output, word, counts)
            return Exit.OK
        if most is None and not yes:
            _confirm(output, word, found)
            most = found
        chosen = BulkOptions(all_runs=all_runs, most=most, rate=rate, actor=name_of_user(actor), reason=reason)
        job = _start(session, action, name, payload, query, chosen)
        if here:
            job = session.client.bulk.work(job.id)
        elif wait_for is not None:
            job = session.client.bulk.wait(job.id, timeout=wait_for)
    _show_job(output, job)
    return Exit.OK


def _start(
    session: Session, action: Action | str, name: str | None, payload: str, query: str | None, chosen: BulkOptions
) -> BulkJob:
    if action != "signal":
        return session.client.bulk.start(action, query, **chosen)
    if name is None:
        raise UsageError("a signal has a name: --name")
    return session.client.bulk.signal(name, parse_json(payload, "the payload"), query, **chosen)


def _action(word: str, *, compensate: bool, from_start: bool, change: Change) -> Action | str:
    """The action that a word and its options mean. Raises UsageError for options of another."""
    given = {"cancel": compensate, "retry": from_start, "set": change != Change()}
    for owner, is_given in given.items():
        if is_given and owner != word:
            raise UsageError(f"`{word}` does not take an option of `{owner}`")
    if word == "set" and change == Change():
        raise UsageError("say what to set: --priority, --queue or --timeout")
    actions: dict[str, Action] = {"cancel": Cancel(compensate=compensate), "retry": Retry(from_start), "set": change}
    return actions.get(word, word)


def _confirm(output: Output, word: str, found: int) -> None:
    if not output.console.is_terminal or output.as_json:
        raise UsageError(f"{found} runs match: say --yes, or --most {found}")
    typer.confirm(f"{word} {found} runs?", abort=True)


def _show_counts(output: Output, word: str, counts: dict[str, int]) -> None:
    if output.as_json:
        output.document({"action": word, "expected": sum(counts.values()), "counts": counts})
    else:
        output.say(f"{word}: {sum(counts.values())} runs match: {count_line(counts) if counts else 'none'}")


def _show_job(output: Output, job: BulkJob) -> None:
    if output.as_json:
        output.document({"job": plain_job(job)})
    else:
        output.say(job_line(job))


def plain_job(job: BulkJob) -> dict[str, Any]:
    """The job for ``--json``; of a signal the payload stays out, as everywhere but with its receiver."""
    shown: dict[str, Any] = plain(job)
    shown["action"] = {"word": word_of(job.action)}
    return shown


def job_line(job: BulkJob) -> str:
    """The job on one line."""
    failed = f", {job.failed} errors" if job.failed else ""
    by = f", stopped by {job.stopped_by}" if job.stopped_by else ""
    return (
        f"{job.id}  {word_of(job.action)}  {job.query}  {job.status.value}: "
        f"{job.done} done{failed}, {job.expected} expected{by}"
    )


for _word, _help in WORDS.items():
    commands.command(_word, short_help=_help)(start)


@commands.command("list")
def list_jobs(
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Jobs, 1 to 1000.")] = 20,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List bulk jobs, newest first."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        jobs = session.client.bulk.list(limit=limit)
    if as_json:
        output.document({"jobs": [plain_job(job) for job in jobs]})
        return
    for job in jobs:
        output.say(job_line(job))
    if not jobs:
        output.say("no bulk jobs")


@commands.command("show")
def show_job(
    job_id: JobText,
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Errors, 1 to 1000.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", metavar="RUN", help="Errors behind this run.", show_default=False)
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show how far a bulk job has come, and which runs did not obey it, and why."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        job = session.client.bulk.get(job_id)
        errors = session.client.bulk.errors(job_id, limit=limit, after=after)
    if as_json:
        output.document({"job": plain_job(job), "errors": [plain(error) for error in errors]})
        return
    output.say(job_line(job))
    for error in errors:
        output.say(f"{error.run_id}  {error.code}  {error.message}")


@commands.command("stop")
def stop_job(
    job_id: JobText,
    *,
    actor: options.Actor = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Stop a bulk job: the batch that it is at is its last one. What was done stays done."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        job = session.client.bulk.stop(job_id, actor=name_of_user(actor))
    _show_job(output, job)


@commands.command("work")
def work_on_job(
    job_id: JobText,
    *,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Carry out a bulk job in this process, where there is no worker that could."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        job = session.client.bulk.work(job_id)
    _show_job(output, job)
