"""``holdfast runs pause`` and the other commands that operate a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from holdfast.cli import options
from holdfast.cli.database import Session, open_session
from holdfast.cli.durations import parse_duration
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain_run
from holdfast.cli.values import name_of_user, parse_json
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import Run
from holdfast.model.status import RunStatus

Compensate = Annotated[
    bool,
    typer.Option("--compensate", help="Undo its completed steps first, last one first.", show_default=False),
]


def act(
    command: Callable[[Session], Run], *, database: str | None, tenant: str, as_json: bool, say: Callable[[Run], str]
) -> None:
    """Give a command and show what came of it."""
    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        run = command(session)
    if as_json:
        output.document({"run": plain_run(run)})
    else:
        output.say(say(run))


def cancel(
    run_id: options.RunIdText,
    *,
    compensate: Compensate = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Cancel a run: at once if no worker holds it, else as soon as its worker notices. Its children follow. Repeatable.

    A waiting run ends at once, an async step is interrupted, and a plain step is let finish. Children that were started
    with the policy `abandon` go on. A run that compensates already undoes what it did to the end, and ends as failed.
    """

    def say(run: Run) -> str:
        if run.status is RunStatus.CANCELLED:
            return f"run {run.id} is cancelled"
        if run.worker is None:
            return f"run {run.id} is {run.status.value}: it is cancelled by the next worker that takes it"
        return f"run {run.id} is {run.status.value}: it is cancelled as soon as its worker notices"

    act(
        lambda session: session.client.cancel(run_id, compensate=compensate, actor=name_of_user(actor), reason=reason),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=say,
    )


def terminate(
    run_id: options.RunIdText,
    *,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """End a run now, whatever it does: nothing is undone, and what its worker still records is refused.

    It ends as cancelled with the reason `terminated`. Its children are cancelled by their policies.
    """
    act(
        lambda session: session.client.terminate(run_id, actor=name_of_user(actor), reason=reason),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is {run.status.value}: {run.terminal_reason}",
    )


def pause(
    run_id: options.RunIdText,
    *,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Pause a run: at once if no worker holds it, else when the steps it executes now have ended. Repeatable.

    Signals and ends of children still reach it, and its timers run on; it finds them when it is resumed. A run that
    compensates is not paused.
    """

    def say(run: Run) -> str:
        if run.status is RunStatus.PAUSED:
            return f"run {run.id} is paused; `holdfast runs resume {run.id}` lets it go on"
        return f"run {run.id} is {run.status.value}: it is paused as soon as its steps under way have ended"

    act(
        lambda session: session.client.pause(run_id, actor=name_of_user(actor), reason=reason),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=say,
    )


def resume(
    run_id: options.RunIdText,
    *,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Let a paused run go on: it can be claimed at once, a delayed one when its time has come."""
    act(
        lambda session: session.client.resume(run_id, actor=name_of_user(actor), reason=reason),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is {run.status.value} again",
    )


def release(
    run_id: options.RunIdText,
    *,
    close: Annotated[
        bool, typer.Option("--close", help="End it as failed instead, with the reason closed.", show_default=False)
    ] = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Put a stuck run back into the line, its crashes forgotten; it goes on from its journal. Or close it for good."""

    def command(session: Session) -> Run:
        one = session.client.close_stuck if close else session.client.release
        return one(run_id, actor=name_of_user(actor), reason=reason)

    act(
        command,
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is {run.status.value}",
    )


def settle(
    run_id: options.RunIdText,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The step's or wait's key, as `runs explain` shows it.")],
    *,
    result: Annotated[
        str | None,
        typer.Option("--result", metavar="JSON", help="What it answers. Default: null.", show_default=False),
    ] = None,
    error: Annotated[
        str | None, typer.Option("--error", metavar="TEXT", help="What it fails with instead.", show_default=False)
    ] = None,
    step: Annotated[
        str, typer.Option("--step", metavar="NAME", help="The step's name, if its key was given.", show_default=False)
    ] = "",
    unseen: Annotated[
        bool, typer.Option("--unseen", help="The step has not failed yet: it left no trace.", show_default=False)
    ] = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Give a failing step, or a wait, its outcome by hand: it is journaled with your name, and the run goes on from it.

    A step that is to be tried again is tried no more. A sleep ends, a wait for a signal takes the result as its
    payload, a wait for a child as the child's result. The run must not be held by a worker: pause it first.
    """
    if result is not None and error is not None:
        raise UsageError("a step has a result or an error, not both")
    value = None if result is None else parse_json(result, "the result")
    act(
        lambda session: session.client.settle(
            run_id,
            key,
            result=value,
            error=error,
            step=step,
            unseen=unseen,
            actor=name_of_user(actor),
            reason=reason,
        ),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"{key} of run {run.id} is settled; the run is {run.status.value}",
    )


def change(
    run_id: options.RunIdText,
    *,
    priority: Annotated[
        int | None,
        typer.Option("--priority", metavar="N", help="-1000 to 1000; higher is claimed first.", show_default=False),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", metavar="NAME", help="Another line to stand in.", show_default=False)
    ] = None,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            parser=parse_duration,
            help="A new deadline, this long from now.",
            show_default=False,
        ),
    ] = None,
    drop_deadline: Annotated[
        bool, typer.Option("--no-deadline", help="No deadline any more.", show_default=False)
    ] = False,
    wake: Annotated[
        bool, typer.Option("--wake", help="Claimable now, whatever it waits for.", show_default=False)
    ] = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Change priority, queue or deadline of a run that no worker holds, or wake it.

    A delayed run that is woken starts now. A parked one looks again and goes back to its wait: `runs settle` ends it.
    """
    act(
        lambda session: session.client.change(
            run_id,
            priority=priority,
            queue=queue,
            timeout=timeout,
            drop_deadline=drop_deadline,
            wake=wake,
            actor=name_of_user(actor),
            reason=reason,
        ),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is {run.status.value} in queue {run.queue} with priority {run.priority}",
    )


def register(runs: typer.Typer) -> None:
    """Add these commands to ``holdfast runs``."""
    runs.command("cancel", short_help="Cancel a run.")(cancel)
    runs.command("terminate", short_help="End a run now, whatever it does.")(terminate)
    runs.command("pause", short_help="Hold a run until it is resumed.")(pause)
    runs.command("resume", short_help="Let a paused run go on.")(resume)
    runs.command("release", short_help="Put a stuck run back into the line, or close it.")(release)
    runs.command("settle", short_help="Give a step or a wait its outcome by hand.")(settle)
    runs.command("set", short_help="Change priority, queue or deadline, or wake a run.")(change)
