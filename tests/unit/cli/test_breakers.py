"""``holdfast breakers``."""

from __future__ import annotations

import pytest

from tests.unit.cli.test_main import Command, ask, command, start

__all__ = ["command"]

pytestmark = pytest.mark.requirement("S-37")


def test_a_breaker_is_opened_listed_shown_and_closed(command: Command) -> None:
    none = ask(command, "breakers", "list")
    opened = ask(command, "breakers", "open", "stripe", "--for", "1h", "--actor", "ann", "--reason", "they move house")
    listed = ask(command, "breakers", "list")
    shown = ask(command, "breakers", "show", "stripe")
    closed = ask(command, "breakers", "close", "stripe", "--actor", "bob")

    assert none["breakers"] == []
    assert listed["breakers"] == [shown] == [opened]
    assert (opened["state"], opened["actor"], opened["note"]) == ("open", "ann", "they move house")
    assert opened["retry_ms"] - opened["since_ms"] == 3_600_000
    assert (opened["waiting"], opened["failures"]) == (0, 0)
    assert (closed["state"], closed["actor"], closed["retry_ms"]) == ("closed", "bob", None)


def test_breakers_are_shown_to_people(command: Command) -> None:
    start(command)
    _, nothing, _ = command("breakers", "list")
    command("breakers", "open", "stripe", "--reason", "they move house")
    _, listed, _ = command("breakers", "list")
    _, closed, _ = command("breakers", "close", "stripe")
    code, _, why = command("breakers", "open", "stripe", "--for", "soon")

    assert "no breaker has had a failure" in nothing
    assert "stripe" in listed
    assert "they move" in listed
    assert "closed" in closed
    assert code == 2
    assert "soon" in why
