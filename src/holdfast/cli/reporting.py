"""Telling what went wrong: a line on stderr, and with ``--json`` a document on stdout too."""

from __future__ import annotations

from typing import Any, Final

import typer

from holdfast.cli.exits import Exit, exit_of, way_out
from holdfast.cli.output import print_error, print_error_document
from holdfast.cli.shapes import plain_facts
from holdfast.errors import HoldfastError

DEBUG: Final = "--debug"


def report(error: Exception, *, as_json: bool) -> int:
    """Tell it, and return the exit code."""
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
