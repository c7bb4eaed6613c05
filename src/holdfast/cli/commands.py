"""The commands that start and change runs, and those about the installation."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli import options
from holdfast.cli.database import Session, choose_url, find_database, open_session, sqlite_file, upgrade
from holdfast.cli.durations import parse_duration
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain, plain_run
from holdfast.cli.tables import run_facts, worker_table
from holdfast.cli.target import load_app
from holdfast.cli.values import parse_attributes, parse_json
from holdfast.core.codec import Codec
from holdfast.errors import SchemaTooOld, StoreMisconfigured, UsageError
from holdfast.model.ids import DEFAULT_QUEUE, DEFAULT_TENANT
from holdfast.model.run import Run
from holdfast.model.status import ACTIVE_STATUSES, RunStatus
from holdfast.store.schema import HEAD


def start(
    workflow: options.WorkflowName,
    arguments: options.Arguments = None,
    *,
    app: options.CheckedApp = None,
    key: options.Key = None,
    delay: options.Delay = None,
    priority: options.Priority = 0,
    timeout: options.Timeout = None,
    queue: options.Queue = None,
    attribute: options.Attributes = None,
    wait: options.Wait = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Start a run. Once this returns, the run is never lost."""
    output = Output(as_json=as_json)
    values = [parse_json(text, f"argument {number}") for number, text in enumerate(arguments or [], start=1)]
    attributes = parse_attributes(attribute or [])
    loaded = None if app is None else load_app(app)
    if loaded is not None:
        _check_call(loaded, workflow, values)
    with open_session(database, tenant, app=loaded, make_tables=True) as session:
        handle = session.client.start(
            workflow,
            *values,
            key=key,
            delay=delay or 0,
            priority=priority,
            timeout=timeout,
            queue=queue,
            attributes=attributes,
        )
        if wait is None:
            run = handle.get()
        else:
            run = session.client.wait_for_end(handle.id, timeout=None if wait == timedelta.max else wait)
        _show_started(session, output, run, created=handle.created)
    if wait is not None and run.status is not RunStatus.COMPLETED:
        raise typer.Exit(Exit.FAILED)


def _check_call(app: App, workflow: str, arguments: Sequence[Any]) -> None:
    """Raise WorkflowNotRegistered, EncodeError or DecodeError before anything is started."""
    codec = Codec()
    stored = codec.encode_arguments(tuple(arguments), {}, f"the input of workflow {workflow!r}")
    codec.arguments_decoder(app.find_workflow(workflow).function)(stored, f"the input of workflow {workflow!r}")


def _show_started(session: Session, output: Output, run: Run, *, created: bool) -> None:
    if output.as_json:
        output.document({"run": plain_run(run), "created": created})
        return
    output.say(f"started run {run.id}" if created else f"run {run.id} was started with this key before")
    if run.status not in ACTIVE_STATUSES:
        output.show(run_facts(run, session.store.read_clock()))
        return
    workers = session.client.workers()
    if not any(run.code in worker.codes and run.queue in worker.queues for worker in workers):
        where = "" if run.queue == DEFAULT_QUEUE else f" on queue {run.queue!r}"
        output.say(f"no live worker knows workflow {run.workflow!r}{where}: the run stays queued until one does")
    output.say(f"follow it with: holdfast runs watch {run.id}")


def signal(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    payload: Annotated[
        str | None, typer.Argument(metavar="PAYLOAD", help="A JSON value. Default: null.", show_default=False)
    ] = None,
    *,
    run_id: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="To this run; kept until it waits for it.", show_default=False),
    ] = None,
    to_all: Annotated[
        bool, typer.Option("--all", help="To every run of the tenant that waits for it.", show_default=False)
    ] = False,
    keep: Annotated[
        timedelta | None,
        typer.Option(
            "--keep",
            metavar="DURATION",
            parser=parse_duration,
            help="Keep it so long for waits to come.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="The same key is delivered once.", show_default=False),
    ] = None,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Send a signal to one run, or to all that wait for it. Repeatable with --key."""
    output = Output(as_json=as_json)
    if (run_id is None) != to_all:
        raise UsageError("say whom the signal is for: --run RUN for one run, --all for all that wait for it now")
    value = None if payload is None else parse_json(payload, "the payload")
    with open_session(database, tenant) as session:
        reached = session.client.signal(name, value, run_id=run_id, keep=keep, key=key)
    if as_json:
        output.document({"reached": reached, "kept": (run_id is not None and not reached) or keep is not None})
    elif run_id is None:
        output.say(f"{len(reached)} run(s) waited for {name!r} and have it now")
    elif reached:
        output.say(f"run {run_id} waited for {name!r} and has it now")
    else:
        output.say(f"run {run_id} does not wait for {name!r} now: it is kept until it does")


def workers(
    *,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """List the workers that are alive. They serve every tenant."""
    output = Output(as_json=as_json)
    with open_session(database, DEFAULT_TENANT) as session:
        rows = session.client.workers()
        if as_json:
            output.document({"workers": plain(rows)})
        elif rows:
            output.show(worker_table(rows, session.store.read_clock()))
        else:
            output.say("no worker is alive; `holdfast worker MODULE:APP` starts one")


def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit status 1 if there is something to do.")
    ] = False,
    database: options.Database = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring the database's tables to this version's revision. Safe while workers run, and when several try."""
    output = Output(as_json=as_json)
    url = choose_url(database, None)
    found = _read_revision(url, make=not check)
    if found != HEAD and not check:
        with contextlib.closing(find_database(url)) as store:
            upgrade(store, url)
    if as_json:
        output.document({"found": found, "needed": HEAD, "migrated": found != HEAD and not check})
    elif found == HEAD:
        output.say(f"the tables are at revision {HEAD}: nothing to do")
    elif check:
        output.say(f"the tables are at revision {found or 'none'}, this version needs {HEAD}: run `holdfast migrate`")
    else:
        output.say(f"migrated from revision {found or 'none'} to {HEAD}")
    if found != HEAD and check:
        raise typer.Exit(Exit.FAILED)


def _read_revision(url: str, *, make: bool) -> str | None:
    """The revision, None without tables. Raises SchemaTooNew, StoreUnavailable, StoreMisconfigured."""
    from holdfast.store.migrations import current_revision

    file = sqlite_file(url)
    if file is not None and not file.exists():
        if not file.absolute().parent.is_dir():
            raise StoreMisconfigured(url=url, why=f"there is no folder {file.absolute().parent}")
        return current_revision(url) if make else None
    with contextlib.closing(find_database(url)) as store:
        try:
            store.check_schema()
        except SchemaTooOld as error:
            found: str = error.found
            return None if found == "none" else found
    return HEAD
