"""What commands print: JSON for programs, tables for people, and no control character that somebody else wrote."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.text import Text

_WIDTH_ELSEWHERE: Final = 160
"""Columns where nobody's terminal sets the width, so that pipes get whole lines."""

_ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")

_PASSWORD: Final = re.compile(r"(://[^\s:/@]*:)[^\s/@]*@")


def clean(text: str, *, lines: bool = False) -> str:
    r"""Text that cannot move a terminal's cursor or turn its letters around.

    Colour codes go; what else is not printable becomes ``\x07`` and the like. ``lines`` keeps line ends.
    """
    plain = _ANSI.sub("", text)
    if plain.isprintable():
        return plain
    return "".join(
        letter if letter.isprintable() or (lines and letter == "\n") else ascii(letter)[1:-1] for letter in plain
    )


def one_line(text: str) -> str:
    """An error's text on one line, without the password of any URL in it."""
    return clean(_PASSWORD.sub(r"\1***@", " ".join(text.split())))


class _PatientConsole(Console):
    """A console whose reader may leave early, as ``head`` does."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def open_console(*, stderr: bool = False) -> Console:
    """A console on a standard stream, colourful only on a terminal and if NO_COLOR is not set."""
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_ELSEWHERE
    return _PatientConsole(stderr=stderr, width=wide, markup=False, highlight=False, emoji=False, soft_wrap=False)


class Output:
    """Where one command's answer goes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = open_console()

    def document(self, value: Any) -> None:
        """The one JSON document of a command. ASCII only, so that no terminal or pipe can choke on it."""
        sys.stdout.write(json.dumps(value, indent=2) + "\n")

    def record(self, value: Any) -> None:
        """One of many JSON documents, on a line of its own and at once."""
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    def show(self, *parts: RenderableType) -> None:
        """Tables and prepared text."""
        for part in parts:
            self.console.print(part)

    def say(self, text: str) -> None:
        """A line for people, which may hold names and values of others."""
        self.console.print(Text(clean(text, lines=True)), soft_wrap=True)


def print_error(message: str, way_out: str) -> None:
    """What went wrong in one clear line on stderr, and what to do about it in another."""
    text = Text.assemble(("error: ", "bold red"), one_line(message))
    if way_out:
        text.append(f"\n  {clean(way_out)}")
    open_console(stderr=True).print(text, soft_wrap=True)


def print_error_document(code: str, message: str, way_out: str, facts: dict[str, Any]) -> None:
    """The error as the JSON document of a command, on one line, in place of the answer."""
    error = {"code": code, "message": one_line(message), "way_out": way_out or None, **facts}
    sys.stdout.write(json.dumps({"error": error}) + "\n")
