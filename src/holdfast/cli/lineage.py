"""``holdfast runs retry``, ``fork`` and ``lineage``: new runs from the records of others, and which came from which."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from holdfast.cli import options
from holdfast.cli.control import act
from holdfast.cli.database import open_session
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain
from holdfast.cli.values import name_of_user, parse_json
from holdfast.errors import UsageError
from holdfast.model.ids import DEFAULT_TENANT


def retry(
    run_id: options.RunIdText,
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Take over nothing that it recorded.", show_default=False)
    ] = False,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Retry a run that failed, was cancelled or is stuck: a new run of the same lineage goes on from the failed step.

    What was recorded before is copied and not executed again. If steps were compensated, everything from the first of
    them on is made again. Asked twice, the same new run is the answer.
    """
    act(
        lambda session: session.client.retry(run_id, from_start=from_start, actor=name_of_user(actor), reason=reason),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is attempt {run.attempt} of {run.root_id}",
    )


def fork(
    run_id: options.RunIdText,
    *,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="KEY", help="Make this step or wait, and all later, again.", show_default=False
        ),
    ] = None,
    arguments: Annotated[
        str | None,
        typer.Option("--args", metavar="JSON", help="Other arguments, as a JSON list.", show_default=False),
    ] = None,
    result: Annotated[
        list[str] | None,
        typer.Option(
            "--result", metavar="KEY=JSON", help="Another result of a recorded step. Repeatable.", show_default=False
        ),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="TEXT", help="The same one starts one fork.", show_default=False),
    ] = None,
    actor: options.Actor = None,
    reason: options.Reason = "",
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Start a new run from what another one has recorded before a step; that one stays as it is.

    Without --before and --result nothing is taken over but the input. With --result alone, everything up to the last of
    these steps is.
    """
    args = None if arguments is None else _list(parse_json(arguments, "the arguments"))
    act(
        lambda session: session.client.fork(
            run_id,
            before=before,
            args=args,
            results=_results(result or []),
            request_id=request_id,
            actor=name_of_user(actor),
            reason=reason,
        ),
        database=database,
        tenant=tenant,
        as_json=as_json,
        say=lambda run: f"run {run.id} is forked from {run.forked_from_id}",
    )


def lineage(
    run_id: options.RunIdText,
    *,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="How many runs are shown.")] = 200,
    database: options.Database = None,
    tenant: options.TenantName = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show the tree of runs in which a run stands: retries, forks, links of a chain, children, and theirs.

    Of one run up to 20 links, forks and children are shown; `...` stands where there are others.
    """
    # Only here: no other command draws a tree.
    from holdfast.cli.trees import lineage_lines

    output = Output(as_json=as_json)
    with open_session(database, tenant) as session:
        found = session.client.lineage(run_id, most=most)
        if as_json:
            output.document(plain(found))
        else:
            for line in lineage_lines(found, session.store.read_clock()):
                output.console.print(line, soft_wrap=True)


def _list(value: Any) -> list[Any]:
    """The list that a value is. Raises UsageError."""
    try:
        return msgspec.convert(value, list[Any])
    except msgspec.ValidationError as error:
        raise UsageError("--args takes a JSON list, such as [7, true]") from error


def _results(given: list[str]) -> dict[str, Any]:
    """The value of each key. Raises UsageError."""
    results: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals:
            raise UsageError(f"--result takes KEY=JSON, not {one!r}")
        results[key] = parse_json(text, f"the result of {key}")
    return results


def register(runs: typer.Typer) -> None:
    """Add these commands to ``holdfast runs``."""
    runs.command("retry", short_help="Start the next attempt of a run that failed.")(retry)
    runs.command("lineage", short_help="Show which runs came from which.")(lineage)
    runs.command("fork", short_help="Start a new run from a step of another.")(fork)
