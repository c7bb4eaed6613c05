"""Chains of runs on the command line: each link names its neighbours, and what is asked of one reaches the last."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import run
from holdfast.core.ids import successor_id
from holdfast.model.commit import Continue, RunCommit
from holdfast.model.ids import DEFAULT_QUEUE, Json, RunId, UnixMs, WorkerId
from holdfast.model.run import WorkerInfo
from holdfast.store.migrations import migrate
from holdfast.store.sqlite.adapter import SqliteStore

Command = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in a folder with a migrated database; what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "sqlite:///holdfast.db")
    migrate("sqlite:///holdfast.db")

    def call(*arguments: str) -> str:
        assert run(arguments) == Exit.OK
        return capsys.readouterr().out

    return call


@pytest.fixture
def links(command: Command) -> list[str]:
    """A chain of three links, the last one in the line."""
    first = json.loads(command("start", "loop", "1", "--key", "loop", "--json"))["run"]["id"]
    store = SqliteStore("holdfast.db", clock=lambda: UnixMs(2_000_000_000_000))
    worker = WorkerId("worker-1")
    store.register_worker(WorkerInfo(id=worker, queues=[DEFAULT_QUEUE], codes=["loop"]), lease_ms=60_000)
    found = [RunId(first)]
    for _ in range(2):
        [held] = store.claim_runs(worker, queues=[DEFAULT_QUEUE], codes=["loop"], limit=1, suspects=0).runs
        move = Continue(successor_id(held.id), Json(b'{"args":[2],"kwargs":{}}'))
        store.commit([RunCommit(run_id=held.id, epoch=held.epoch, move=move)])
        found.append(move.successor_id)
    store.close()
    return list(found)


def test_a_link_names_its_place_and_its_neighbours(command: Command, links: list[str]) -> None:
    first, second, third = links

    shown = command("runs", "show", second).replace("\n", " ")
    row = json.loads(command("runs", "show", second, "--json"))["run"]

    assert "(continued)" in shown
    for part in ("link 2 of the chain of", first, third):
        assert part in shown
    assert (row["chain_id"], row["link"]) == (first, 2)
    assert (row["continued_from_id"], row["continued_as_id"]) == (first, third)


def test_the_links_of_a_chain_are_listed_and_explained(command: Command, links: list[str]) -> None:
    first, second, third = links

    listed = command("runs", "list", f"root:{first}")
    told = command("runs", "explain", second)

    assert [one for one in links if one in listed] == links
    assert listed.count("(continued)") == 2
    assert f"as run {third}" in told.replace("\n", " ")


def test_what_is_asked_of_a_link_reaches_the_last_one(command: Command, links: list[str]) -> None:
    first, second, third = links

    command("signal", "mail", '"hello"', "--run", second)
    command("runs", "cancel", first)
    again = json.loads(command("start", "loop", "1", "--key", "loop", "--json"))["run"]

    assert json.loads(command("runs", "show", third, "--json"))["run"]["status"] == "cancelled"
    assert again["id"] == third


@pytest.mark.requirement("R-09", "L-30")
def test_a_lineage_is_drawn_as_a_tree_in_which_the_run_is_marked(command: Command, links: list[str]) -> None:
    first, second, third = links

    lines = command("runs", "lineage", second).splitlines()

    assert [line.partition("loop")[0].strip() for line in lines] == [
        first,
        f"├── link 2: {second}",
        f"└── link 3: {third}",
    ]
    assert [line.endswith("<- this run") for line in lines] == [False, True, False]
    shown = json.loads(command("runs", "lineage", third, "--json"))
    assert (shown["asked_id"], shown["origin"]["id"]) == (third, first)
    assert [(one["kinship"], one["id"], one["link"]) for one in shown["origin"]["relatives"]] == [
        ("continued", second, 2),
        ("continued", third, 3),
    ]
    assert command("runs", "lineage", third, "--most", "1").splitlines()[-1].strip() == "└── ..."
