"""The entry point: commands, errors, exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from holdfast.cli.durations import FOREVER, is_duration
from holdfast.cli.exits import Exit
from holdfast.cli.late import PLAIN, Late, LateCommands, late_group

DEBUG: Final = "--debug"
JSON: Final = "--json"
WAIT: Final = "--wait"

COMMANDS: Final[LateCommands] = {
    "dev": Late("work", "dev", "Everything in one process, for development."),
    "worker": Late("work", "worker", "Execute runs until SIGTERM or Ctrl-C."),
    "start": Late("commands", "start", "Start a run."),
    "events": Late("events", "events", "Tell what happened to all runs, and what happens."),
    "signal": Late("commands", "signal", "Send a signal to one run, or to all that wait for it."),
    "cancel": Late("control", "cancel", "Cancel a run."),
    "replay": Late("replay", "replay", "Hold recorded runs against the code at hand."),
    "lint": Late("lint", "lint", "Find what workflow bodies must not do."),
    "workers": Late("commands", "workers", "List the workers that are alive."),
    "migrate": Late("commands", "migrate", "Bring the tables to this version's revision."),
    "doctor": Late("doctor", "doctor", "Check the installation, and say what to do."),
    "version": Late("version", "show_version", "Print the version."),
    "runs": Late("runs_group", "commands", "Look at runs and operate them."),
    "bulk": Late("bulk", "commands", "Give many runs one command, as a durable job."),
    "schedules": Late("schedules", "commands", "What starts runs by the clock."),
    "definitions": Late("definitions", "commands", "Stored versions of graphs, and their releases."),
    "approvals": Late("approvals", "commands", "See what runs ask of people, and answer."),
    "subscriptions": Late("subscriptions", "commands", "Who is told of the ends of runs."),
    "tenants": Late("tenants_group", "commands", "See and limit tenants, export and erase them."),
    "queues": Late("tenants_group", "queue_commands", "See, limit, pause and resume queues."),
    "breakers": Late("breakers", "commands", "See, open and close circuit breakers of outside services."),
    "workflows": Late("pauses", "workflows", "Pause and resume workflows."),
    "pauses": Late("pauses", "pauses", "See what is paused."),
    "retention": Late("tenants", "retention", "How long ended runs are kept."),
}

cli = typer.Typer(
    name="holdfast",
    cls=late_group(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    **PLAIN,
)


def _show_version(value: bool) -> None:  # noqa: FBT001 - Typer's way to call it
    if value:
        from holdfast.cli.version import show_version

        show_version()
        raise typer.Exit


@cli.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.", show_default=False),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where an error came from. May stand anywhere.", show_default=False)
    ] = False,
) -> None:
    """Durable workflows: programs that finish what they start."""


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
        # Only then: it needs what a table is drawn with.
        from holdfast.cli.reporting import report

        return report(error, as_json=as_json)
    return code if isinstance(code, int) else Exit.OK


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
