"""The entry point: commands, errors, exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer

from holdfast.cli import (
    approvals,
    bulk,
    commands,
    control,
    definitions,
    doctor,
    events,
    lineage,
    lint,
    moving,
    pauses,
    queues,
    replay,
    runs,
    schedules,
    subscriptions,
    tenants,
    wall,
    work,
)
from holdfast.cli.exits import Exit, exit_of, way_out
from holdfast.cli.output import print_error, print_error_document
from holdfast.cli.shapes import plain_facts
from holdfast.cli.values import FOREVER, is_duration
from holdfast.errors import HoldfastError

DEBUG: Final = "--debug"
JSON: Final = "--json"
WAIT: Final = "--wait"

cli = typer.Typer(
    name="holdfast",
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@cli.callback()
def root(
    *,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where an error came from. May stand anywhere.", show_default=False)
    ] = False,
) -> None:
    """Durable workflows: programs that finish what they start."""


cli.command("dev", short_help="Everything in one process, for development.")(work.dev)
cli.command("worker", short_help="Execute runs until SIGTERM or Ctrl-C.")(work.worker)
cli.command("start")(commands.start)
control.register(runs.commands)
lineage.register(runs.commands)
events.register(runs.commands)
moving.register(runs.commands)
cli.add_typer(runs.commands)
cli.command("events", short_help="Tell what happened to all runs, and what happens.")(events.events)
cli.add_typer(bulk.commands)
cli.add_typer(schedules.commands)
cli.add_typer(definitions.commands)
cli.command("signal")(commands.signal)
cli.add_typer(approvals.commands)
cli.command("cancel", short_help="Cancel a run.")(control.cancel)
cli.command("replay", short_help="Hold recorded runs against the code at hand.")(replay.replay)
cli.command("lint", short_help="Find what workflow bodies must not do.")(lint.lint)
cli.add_typer(subscriptions.commands)
cli.command("workers")(commands.workers)
tenants.commands.add_typer(wall.commands)
pauses.register(tenants.commands)
queues.register(pauses.queues)
cli.add_typer(tenants.commands)
cli.add_typer(pauses.queues)
cli.add_typer(pauses.workflows)
cli.add_typer(pauses.pauses)
cli.add_typer(tenants.retention)
cli.command("migrate", short_help="Bring the tables to this version's revision.")(commands.migrate)
cli.command("doctor", short_help="Check the installation, and say what to do.")(doctor.doctor)


@cli.command("version")
def show_version() -> None:
    """Print the version."""
    sys.stdout.write(f"{version('holdfast')}\n")


def main() -> None:
    """Run the command that the process was started with, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command; errors become a line on stderr, and with ``--json`` a document on stdout too."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = list(arguments)
    options = words[: words.index("--")] if "--" in words else words
    as_json, debug = JSON in options, DEBUG in options
    if debug:
        words.remove(DEBUG)
    try:
        code: Any = cli(_complete_wait(words) or ["--help"], prog_name="holdfast", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough; what is left in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the top of the program
        if debug:
            traceback.print_exc()
        return _report(error, as_json=as_json)
    return code if isinstance(code, int) else Exit.OK


def _report(error: Exception, *, as_json: bool) -> int:
    facts: dict[str, Any] = {}
    match error:
        case HoldfastError():
            exit_code, code, message, advice = exit_of(error), error.code, str(error), way_out(error)
            facts = plain_facts(error)
        case typer.TyperException():
            exit_code, code, message = Exit.USAGE, "usage_error", error.format_message()
            context: Any = getattr(error, "ctx", None)
            advice = f"`{context.command_path} --help` shows how it is used" if context is not None else ""
        case _:
            exit_code, code = Exit.FAULT, "fault"
            message = f"{type(error).__name__}: {error}"
            advice = f"nobody foresaw this; {DEBUG} shows where it comes from"
    print_error(message, advice)
    if as_json:
        print_error_document(code, message, advice, facts)
    return exit_code


def _complete_wait(words: list[str]) -> list[str]:
    """``--wait`` may stand without its duration, which the parser knows nothing of."""
    completed: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            return [*completed, *words[index:]]
        completed.append(word)
        if word == WAIT and not (words[index + 1 :] and is_duration(words[index + 1])):
            completed.append(FOREVER)
    return completed


if __name__ == "__main__":
    main()
