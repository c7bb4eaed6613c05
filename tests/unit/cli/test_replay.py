"""``holdfast replay`` of runs that are pinned to other versions than the program's own, on a SQLite file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.app import connect_sync
from holdfast.cli.exits import Exit
from holdfast.cli.main import run
from holdfast.core.codec import Codec
from holdfast.core.definitions import content_hash
from tests.contract.scene import new_run
from tests.unit.cli.test_definitions import chain, start_stored

PROGRAM = """
import holdfast as hf

app = hf.App("signup")
app.step(name="signup.account")(lambda: "account")
app.step(name="signup.mail")(lambda: "mail")
app.graph("signup").step("account", app.find_step("signup.account"))
"""


@pytest.mark.requirement("promise-9")
def test_a_database_and_its_export_are_replayed_with_the_versions_that_runs_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pinned_program.py").write_text(PROGRAM)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    url, file = f"sqlite:///{tmp_path / 'holdfast.db'}", str(tmp_path / "runs.jsonl")
    older, unknown = chain("account", "mail"), chain("account", "letter")
    with connect_sync(url) as client:
        for definition in (older, unknown):
            client.definitions.put(definition)
    for number, definition in enumerate((older, older, unknown), start=1):
        pinned = {
            "version": 1 if definition is older else 2,
            "definition_hash": content_hash(definition),
            "input": Codec().encode_arguments((), {}, "nothing"),
        }
        start_stored(url, new_run(number, workflow="signup", **pinned))

    assert run(["runs", "export-history", file, "--database", url]) == Exit.OK
    capsys.readouterr()
    reports: list[Any] = []
    for source in ([], [file]):
        assert run(["replay", "pinned_program:app", *source, "--database", url, "--json"]) == Exit.OK
        reports.append(json.loads(capsys.readouterr().out))

    skipped = {"signup version 2 (lacks step 'signup.letter')": 1}
    expected: dict[str, Any] = {"replayed": 2, "partings": [], "skipped": skipped}
    assert reports == [expected, expected]
