"""A group of commands of which only the one that is called is imported: nobody waits for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

PLAIN: Final[dict[str, Any]] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}
"""How every ``typer.Typer`` is made: what goes wrong is told by ``main`` and not by Typer."""


@dataclass(frozen=True)
class Late:
    """A command or a group of commands that is not imported yet."""

    module: str
    """Below ``holdfast.cli``."""
    attribute: str
    """Its function, or its ``typer.Typer``."""
    help: str
    """One line for the list of commands; of a group it is all that its own page says."""


LateCommands = dict[str, Late]


def late_group(commands: LateCommands) -> type[TyperGroup]:
    """The class of a group of these commands, in this order."""

    class LateGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            # What is not loaded has a name at least: a mistyped one is compared with all.
            self.commands = {name: TyperCommand(name=name) for name in commands}
            self._loaded: dict[str, TyperCommand | TyperGroup] = {}

        def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:  # noqa: ARG002
            if cmd_name in commands and cmd_name not in self._loaded:
                self._loaded[cmd_name] = load(cmd_name, commands[cmd_name])
            return self._loaded.get(cmd_name)

        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base's signature
            with formatter.section("Commands"):
                formatter.write_dl([(name, late.help) for name, late in commands.items()])

    return LateGroup


def load(name: str, late: Late) -> TyperCommand | TyperGroup:
    """Import a command."""
    found: typer.Typer | Callable[..., None] = getattr(import_module(f"holdfast.cli.{late.module}"), late.attribute)
    holder = typer.Typer(**PLAIN)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, help=late.help)
    else:
        holder.command(name, short_help=late.help)(found)
    command: TyperCommand | TyperGroup = typer.main.get_group(holder).commands[name]  # type: ignore[assignment]  # it is one of both
    return command
