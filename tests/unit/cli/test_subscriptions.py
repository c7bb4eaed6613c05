"""``holdfast subscriptions``, on a SQLite file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.app import connect_sync, open_store
from holdfast.cli.exits import Exit
from holdfast.cli.main import run
from holdfast.store.outbox import Outbox

Ask = Callable[..., Any]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with a reader of two workflows, one end that it has not heard of, and a handler."""
    url = f"sqlite:///{tmp_path / 'holdfast.db'}"
    with connect_sync(url) as client:
        client.closings.subscribe("audit", "order", "ship")
        client.cancel(client.start("order").id)
    with contextlib.closing(open_store(url)) as store:
        Outbox(store).subscribe(None, "@tell", ["ship"])
    return url


@pytest.fixture
def ask(database: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command prints, as text or, with ``--json``, as values."""

    def ask(*words: str, code: Exit = Exit.OK) -> Any:
        assert run(["subscriptions", *words, "--database", database]) == code
        text = capsys.readouterr().out
        return json.loads(text) if "--json" in words else text

    return ask


def test_readers_and_handlers_are_listed_with_what_waits_for_them(ask: Ask) -> None:
    found = ask("list", "--json")["subscriptions"]

    assert [(one["name"], one["workflow"], one["undelivered"]) for one in found] == [
        ("audit", "order", 1),
        ("audit", "ship", 1),
        ("@tell", "ship", 0),
    ]
    assert [line.split() for line in ask("list").splitlines()] == [
        ["name", "workflow", "undelivered"],
        ["audit", "order", "1"],
        ["audit", "ship", "1"],
        ["@tell", "ship", "0"],
    ]
    assert "nobody" not in ask("list", "--tenant", "other")


def test_a_reader_and_a_handler_are_removed(ask: Ask) -> None:
    assert "no more of ship" in ask("remove", "audit", "--workflow", "ship")
    assert ask("remove", "audit", "--json") == {"removed": "audit", "workflow": None}
    assert "no more" in ask("remove", "@tell")
    assert "nobody" in ask("list")
    ask("remove", "audit", code=Exit.NOT_FOUND)
