"""Telling what went wrong: a line on stderr, and with ``--json`` a document on stdout too."""

from __future__ import annotations

import re
from typing import Any, Final

import typer
from typer.core import TyperGroup, TyperOption

from holdfast.cli.exits import Exit, exit_of, way_out
from holdfast.cli.output import print_error, print_error_document
from holdfast.cli.shapes import plain_facts
from holdfast.errors import HoldfastError

DEBUG: Final = "--debug"

_EXTRA: Final = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)
_EVERYWHERE: Final = {"--database", "--tenant", "--json", "--help"}
"""Options that most commands have: not those that somebody forgot to name."""


def report(error: Exception, *, as_json: bool) -> int:
    """Tell it, and return the exit code."""
    facts: dict[str, Any] = {}
    match error:
        case HoldfastError():
            exit_code, code, message, advice = exit_of(error), error.code, str(error), way_out(error)
            facts = plain_facts(error)
        case typer.TyperException():
            exit_code, code = Exit.USAGE, "usage_error"
            message, advice = describe_usage(error)
        case _:
            exit_code, code = Exit.FAULT, "fault"
            message = f"{type(error).__name__}: {error}"
            advice = f"nobody foresaw this; {DEBUG} shows where it comes from"
    print_error(message, advice)
    if as_json:
        print_error_document(code, message, advice, facts)
    return exit_code


def describe_usage(error: typer.TyperException) -> tuple[str, str]:
    """What is wrong with the words of a command, and how it is used."""
    message = _say_number(error) or error.format_message()
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return message, ""
    path, command = context.command_path, context.command
    more = f"`{path} --help` shows how it is used"
    option: str = getattr(error, "option_name", "")
    if isinstance(command, TyperGroup):
        if option:
            return message, f"options stand behind the command: `{path} COMMAND {option}`; {more}"
        if message.startswith("Missing command"):
            return f"`{path}` needs a command", f"one of {', '.join(command.list_commands(context))}; {more}"
        return message, more
    pieces = (piece.strip("{}") for piece in command.collect_usage_pieces(context))
    usage = " ".join([path, *(piece for piece in pieces if piece != "[OPTIONS]")])
    if option.lstrip("-")[:1].isdigit():
        return message, f"write -- before it if it is an argument: `{usage} -- {option}`; {more}"
    extra = _EXTRA.fullmatch(error.format_message())
    if extra is not None:
        named = ", ".join(_named_options(command))
        by_name = f", and its options by name: {named}" if named else ""
        return f"{extra[1]!r} is too much", f"it is used as `{usage}`{by_name}; {more}"
    return message, f"it is used as `{usage}`; {more}"


def _named_options(command: Any) -> list[str]:
    """The options that are a command's own, with what follows each."""
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    own = [one for one in options if one.opts[0] not in _EVERYWHERE]
    return [one.opts[0] if one.is_flag else f"{one.opts[0]} {one.metavar or 'VALUE'}" for one in own]


def _say_number(error: typer.TyperException) -> str | None:
    """What is wrong with a number, without the words of the library that read it; None if it is no such thing."""
    none: list[Any] = []
    reasons: Any = getattr(error.__cause__, "errors", lambda: none)
    hint = error.format_message().partition(": ")[0]
    for reason in reasons():
        given, bounds = reason["input"], reason.get("ctx", {})
        match reason["type"]:
            case "int_parsing":
                return f"{hint}: {given!r} is no whole number"
            case "greater_than_equal":
                return f"{hint}: {given} is less than {bounds['ge']}"
            case "less_than_equal":
                return f"{hint}: {given} is more than {bounds['le']}"
            case _:
                pass
    return None
