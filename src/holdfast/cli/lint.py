"""``holdfast lint``: what in workflow bodies may differ from one execution to the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import options
from holdfast.cli.exits import Exit
from holdfast.cli.output import Output
from holdfast.cli.shapes import plain
from holdfast.cli.target import load_app
from holdfast.core.lint import Finding, lint_source
from holdfast.errors import UsageError
from holdfast.runtime.lint import lint_workflows
from holdfast.runtime.source import short_path


def lint(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE[:APP]",
            help="A module or package, read and not imported; or an App, all of whose workflows are looked at.",
            show_default=False,
        ),
    ],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Find clocks, randomness, I/O, tasks, unordered iteration and mutable globals in workflow bodies.

    Steps may do anything. `# holdfast: allow[RULE]` on a line, or alone on the line above it, says that it is meant.
    Exit status 1 if anything is found.
    """
    output = Output(as_json=as_json)
    findings = lint_workflows(load_app(target)) if ":" in target else _lint_files(target)
    if as_json:
        output.document({"findings": plain(findings)})
    else:
        for finding in findings:
            output.say(str(finding))
        output.say(f"{len(findings)} found" if findings else "nothing found")
    if findings:
        raise typer.Exit(Exit.FAILED)


def _lint_files(name: str) -> list[Finding]:
    findings: list[Finding] = []
    for file in _files_of(name):
        try:
            findings += lint_source(file.read_text("utf-8"), short_path(str(file)))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} is no Python module: {error}") from error
    return findings


def _files_of(name: str) -> Iterator[Path]:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(f"there is no module {name!r} in {folder} or among the installed packages")
    origin = Path(spec.origin)
    yield from sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
