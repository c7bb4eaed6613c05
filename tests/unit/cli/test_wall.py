"""The wall between tenants from the command line."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from holdfast.cli.main import run
from holdfast.store.postgres.wall import lower_wall
from tests.postgres_server import as_role, make_login
from tests.postgres_stage import migrated_database


@pytest.fixture
def url(postgres_server_url: str, postgres_template: str) -> Generator[str, None, None]:
    with migrated_database(postgres_server_url, postgres_template) as url:
        yield url
        lower_wall(url)


class Terminal:
    """Runs commands; the exit status, and the document on stdout."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str, database: str) -> tuple[int, dict[str, Any]]:
        code = run([*words, "--json", "--database", database])
        return code, json.loads(self._capfd.readouterr().out)

    def text(self, *words: str, database: str) -> tuple[int, str]:
        """The same for people."""
        code = run([*words, "--database", database])
        return code, self._capfd.readouterr().out


@pytest.fixture
def terminal(capfd: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capfd)


@pytest.mark.requirement("promise-10")
def test_the_wall_is_raised_checked_and_taken_down(terminal: Terminal, url: str) -> None:
    before, nothing = terminal("tenants", "wall", "check", database=url)
    raised, standing = terminal("tenants", "wall", "on", "--now", database=url)
    again, _ = terminal("tenants", "wall", "on", "--now", database=url)
    by_owner, passes = terminal("tenants", "wall", "check", database=url)
    make_login(url, "holdfast_test_client", "holdfast_client")
    by_client, stopped = terminal("tenants", "wall", "check", database=as_role(url, "holdfast_test_client"))
    shown, words = terminal.text("tenants", "wall", "check", database=as_role(url, "holdfast_test_client"))
    lowered, down = terminal("tenants", "wall", "off", database=url)
    after, _ = terminal("tenants", "wall", "check", database=url)

    assert (before, nothing["stands"], nothing["closed"]) == (1, False, [])
    assert (raised, again) == (0, 0)
    assert standing["stands"]
    assert {"runs", "journal", "queues", "tenants"} <= set(standing["closed"])
    assert (standing["open"], standing["announced"]) == ([], True)
    assert (by_owner, passes["stands"], passes["bypass"]) == (1, True, "it is a superuser")
    assert (by_client, stopped["bypass"], stopped["serves"]) == (0, None, "one")
    assert shown == 0
    assert "tables are behind the wall; role holdfast_test_client acts for one tenant at a time" in words
    assert (lowered, down["stands"], down["closed"], after) == (0, False, [], 1)


def test_there_is_no_wall_in_sqlite(terminal: Terminal, tmp_path: Any) -> None:
    for word in ("on", "off", "check"):
        code, document = terminal("tenants", "wall", word, database=f"sqlite:///{tmp_path}/holdfast.db")

        assert code == 2
        assert "only PostgreSQL" in document["error"]["message"]
