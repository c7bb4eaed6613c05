"""What somebody is told who types a command wrong: which word is wrong, and how the command is used."""

from __future__ import annotations

import shlex
from importlib.metadata import version

import pytest
import typer.main
from typer.core import TyperGroup

from holdfast.cli.exits import Exit
from holdfast.cli.main import COMMANDS, cli, run


@pytest.mark.parametrize(
    ("line", "wrong", "way_out"),
    [
        (
            "queues limit default 2",
            "'2' is too much",
            "queues limit QUEUE`, and its options by name: --running N",
        ),
        ("definitions promote a 1 c d", "'c d' is too much", "`holdfast definitions promote WORKFLOW VERSION`"),
        ("version 3", "'3' is too much", "it is used as `holdfast version`;"),
        ("queues limit", "Missing argument 'QUEUE'", "it is used as `holdfast queues limit QUEUE`"),
        ("definitions diff a", "Missing argument 'BEFORE'", "`holdfast definitions diff WORKFLOW BEFORE AFTER`"),
        ("queues", "`holdfast queues` needs a command", "one of pause, resume, list, limit;"),
        ("bulk", "`holdfast bulk` needs a command", "cancel, terminate,"),
        ("tenants wall", "`holdfast tenants wall` needs a command", "one of on, off, check;"),
        ("runs lst", "No such command 'lst'. Did you mean 'list'", "`holdfast runs --help`"),
        ("run list", "No such command 'run'. Did you mean 'runs'?", "`holdfast --help`"),
        ("--tenant acme runs list", "No such option: --tenant", "options stand behind the command"),
        ("runs --tenant acme list", "No such option: --tenant", "`holdfast runs COMMAND --tenant`"),
        ("runs list --databse x", "No such option: --databse", "`holdfast runs list --help`"),
        ("start fulfil -7", "No such option: -7", "`holdfast start WORKFLOW [ARG]... -- -7`"),
        ("start fulfil --priority high", "'--priority': 'high' is no whole number", "`holdfast start --help`"),
        ("worker a:b --concurrency 0", "'--concurrency': 0 is less than 1", "`holdfast worker MODULE:APP`"),
        ("schedules create nightly fulfil", "say when, in one of two ways", "--every 15m"),
    ],
)
def test_a_command_that_is_typed_wrong_is_told_what_to_type(
    line: str, wrong: str, way_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(shlex.split(line))

    printed = capsys.readouterr()
    assert (code, printed.out) == (Exit.USAGE, "")
    assert wrong in printed.err
    assert way_out in printed.err


def test_options_that_nobody_should_give_are_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(["worker", "orders:app", "extra"])

    told = capsys.readouterr().err
    assert "--processes N" in told
    assert "--fleet-member" not in told


@pytest.mark.parametrize("words", [["version"], ["--version"]], ids=" ".join)
def test_the_version_is_told_both_ways(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == Exit.OK
    assert capsys.readouterr().out.strip() == version("holdfast")


def test_every_command_that_is_listed_can_be_loaded_and_says_what_it_does() -> None:
    group = typer.main.get_command(cli)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group)

    for name, late in COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str(200) == late.help
