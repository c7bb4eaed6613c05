"""``holdfast definitions`` and ``holdfast runs draw``, on a SQLite file."""

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
from holdfast.core.definitions import content_hash, from_json, from_yaml, json_schema
from holdfast.model.definition import Definition, Edge, StepNode
from holdfast.model.ids import Json, RunId
from holdfast.model.run import NewRun
from tests.contract.scene import new_run

Ask = Callable[..., Any]


def chain(*keys: str) -> Definition:
    """Steps one after the other."""
    nodes = tuple(StepNode(key=key, handler=f"signup.{key}") for key in keys)
    edges = tuple(Edge(source=a, target=b) for a, b in zip(keys, keys[1:], strict=False))  # noqa: RUF007 - both bounds
    return Definition(workflow="signup", nodes=nodes, edges=edges)


def start_stored(database: str, new: NewRun) -> RunId:
    """Start a run as it is given."""
    with contextlib.closing(open_store(database)) as store:
        return store.start_runs([new])[0].run_id


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with two versions of one workflow."""
    url = f"sqlite:///{tmp_path / 'holdfast.db'}"
    with connect_sync(url) as client:
        client.definitions.put(chain("account", "mail"))
        client.definitions.put(chain("account", "letter"), created_by="ann")
    return url


@pytest.fixture
def ask(database: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command prints, as text or, with ``--json``, as values."""

    def ask(*words: str, code: Exit = Exit.OK) -> Any:
        assert run([*words, "--database", database]) == code
        text = capsys.readouterr().out
        return json.loads(text) if "--json" in words else text

    return ask


def test_versions_and_workflows_are_listed(ask: Ask) -> None:
    listed = ask("definitions", "list", "signup", "--json")["versions"]

    assert [(one["number"], one["created_by"]) for one in listed] == [(2, "ann"), (1, "")]
    assert ask("definitions", "list", "--json")["workflows"] == [
        {"workflow": "signup", "versions": 2, "newest": 2, "releases": {}}
    ]
    assert ask("definitions", "list", "signup", "--limit", "1", "--after", "2", "--json")["versions"] == listed[1:]
    assert "signup" in ask("definitions", "list")
    assert listed[0]["hash"][:12] in ask("definitions", "list", "signup")
    assert ask("definitions", "list", "nothing") == "nothing is stored\n"


@pytest.mark.requirement("L-26")
def test_a_version_is_shown_by_number_hash_or_release(ask: Ask) -> None:
    digest = content_hash(chain("account", "letter"))

    by_number = ask("definitions", "show", "signup", "2", "--json")
    by_hash = ask("definitions", "show", "signup", digest[:12], "--json")

    assert by_number == by_hash
    assert by_number["version"]["hash"] == digest
    assert from_json(json.dumps(by_number["definition"])) == from_json(json.dumps(by_hash["definition"]))
    assert ask("definitions", "show", "signup", "9", "--json", code=Exit.NOT_FOUND)["error"]["code"] == (
        "definition_not_found"
    )
    shown = ask("definitions", "show", "signup", "1")
    assert shown.index("account") < shown.index("mail")


def test_a_difference_names_nodes_by_their_keys(ask: Ask) -> None:
    assert ask("definitions", "diff", "signup", "1", "2").splitlines() == [
        "+ node letter",
        "- node mail",
        "+ edge account -> letter",
        "- edge account -> mail",
    ]
    assert ask("definitions", "diff", "signup", "1", "2", "--json")["nodes_added"] == ["letter"]
    assert ask("definitions", "diff", "signup", "1", "1") == "they have the same content\n"


@pytest.mark.requirement("L-56")
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_exported_is_found_again_when_it_is_imported(ask: Ask, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"signup.{form}"
    ask("definitions", "export", "signup", "2", "--format", form, "--output", str(file))

    again = ask("definitions", "import", str(file), "--json")
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    with connect_sync(elsewhere) as client:
        put = client.definitions.import_text(file.read_bytes(), form="json" if form == "json" else "yaml")

    assert (again["version"]["number"], again["created"]) == (2, False)
    assert put.created
    assert put.version.hash == again["version"]["hash"]
    read = from_json if form == "json" else from_yaml
    assert content_hash(read(file.read_text("utf-8"))) == put.version.hash


def test_an_import_under_a_taken_number_is_a_conflict(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "signup.yaml"
    file.write_text(ask("definitions", "export", "signup", "1").replace("mail", "post"), "utf-8")

    answer = ask("definitions", "import", str(file), "--version", "1", "--json", code=Exit.CONFLICT)

    assert answer["error"]["code"] == "definition_version_conflict"
    assert ask("definitions", "import", str(file), "--json")["version"]["number"] == 3
    assert ask("definitions", "import", "absent.yaml", "--json", code=Exit.USAGE)["error"]["code"] == "usage_error"


@pytest.mark.requirement("L-27")
def test_a_release_is_promoted_restored_and_has_a_history(ask: Ask) -> None:
    ask("definitions", "promote", "signup", "1", "--by", "ann")
    ask("definitions", "promote", "signup", "2")
    back = ask("definitions", "restore", "signup", "--json")["move"]

    assert (back["version"], back["kind"], back["number"]) == (1, "restore", 3)
    moves = ask("definitions", "history", "signup", "--json")["moves"]
    assert [(move["version"], move["moved_by"]) for move in moves] == [(1, ""), (2, ""), (1, "ann")]
    assert "go_live" in ask("definitions", "history", "signup")
    assert ask("definitions", "show", "signup", "live", "--json")["version"]["number"] == 1
    assert ask("definitions", "restore", "signup", "--release", "x", "--json", code=Exit.NOT_FOUND)["error"][
        "code"
    ] == ("release_not_found")


def test_a_version_is_drawn_as_mermaid_and_as_svg(ask: Ask) -> None:
    assert ask("definitions", "draw", "signup", "2").startswith("flowchart TD\n")
    assert ask("definitions", "draw", "signup", "2", "--format", "svg").startswith("<svg ")


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["definitions", "schema"]) == Exit.OK

    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_run_is_drawn_with_the_states_of_its_nodes(ask: Ask, database: str) -> None:
    with connect_sync(database) as client:
        version = client.definitions.newest("signup").version
        client.definitions.promote("signup", version.number)
        given = Json(b'{"value":{"args":[]}}')
        started = new_run(1, workflow="signup", version=version.number, definition_hash=version.hash, input=given)
        client.cancel(start_stored(database, started))
        plain = client.start("not_a_graph")

    assert ":::skipped" in ask("runs", "draw", started.id)
    assert 'stroke-dasharray="4 3"' in ask("runs", "draw", started.id, "--format", "svg")
    assert run(["runs", "draw", plain.id, "--database", database]) == Exit.USAGE


# Moving and appending


def started(database: str) -> RunId:
    """A run of version 1 that nobody holds."""
    new = new_run(1, workflow="signup", version=1, definition_hash=content_hash(chain("account", "mail")))
    return start_stored(database, new)


@pytest.mark.requirement("promise-9")
def test_a_run_is_moved_to_a_release_and_its_log_says_so(ask: Ask, database: str) -> None:
    run_id = started(database)
    ask("definitions", "promote", "signup", "2")

    plan = ask("runs", "move", run_id, "--to", "live", "--dry-run", "--json")["plan"]
    before = ask("runs", "show", run_id, "--json")["run"]["version"]
    said = ask("runs", "move", run_id, "--to", "live", "--actor", "ann", "--reason", "letters")

    assert (plan["allowed"], plan["problems"], before) == (True, [], 1)
    assert said == f"run {run_id} is queued and follows version 2\n"
    assert "moved 1 to 2" in ask("runs", "show", run_id)


def test_a_dry_run_says_for_each_node_why_a_run_cannot_be_moved(ask: Ask, database: str) -> None:
    run_id = started(database)

    text = ask("runs", "move", run_id, "--to", "2", "--map", "mail=post", "--dry-run", code=Exit.FAILED)
    ask("runs", "move", run_id, "--to", "2", "--map", "mail=post", code=Exit.CONFLICT)
    ask("runs", "move", run_id, "--to", "2", "--map", "mail", code=Exit.USAGE)
    ask("runs", "move", run_id, "--to", "7", code=Exit.NOT_FOUND)

    assert "refused: mail: the new version has no node 'post'" in text
    assert text.endswith("cannot be moved to version 2\n")
    assert ask("runs", "show", run_id, "--json")["run"]["version"] == 1


@pytest.mark.requirement("O-02")
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_nodes_of_a_file_are_appended_to_a_run(ask: Ask, database: str, tmp_path: Path, form: str) -> None:
    run_id = started(database)
    file = tmp_path / f"more.{form}"
    file.write_text(
        '{"nodes": [{"kind": "step", "key": "stamp", "handler": "signup.stamp"}], '
        '"edges": [{"source": "mail", "target": "stamp"}]}'
    )

    first = ask("runs", "append", run_id, str(file), "--json")["run"]
    again = ask("runs", "append", run_id, str(file), "--json")["run"]
    stored = ask("definitions", "show", "signup", "3", "--json")

    assert (first["version"], again["version"]) == (3, 3)
    assert stored["version"]["source"] == f"append:{run_id}"
    assert [node["key"] for node in stored["definition"]["nodes"]] == ["account", "mail", "stamp"]
