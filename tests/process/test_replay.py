"""``holdfast replay`` and ``holdfast runs export-history``, as a CI job starts them."""

from __future__ import annotations

import json

import pytest

from tests.process.test_cli import Shell, shell

__all__ = ["shell"]


def change(shell: Shell) -> int:
    """Let the program pass other arguments; returns the line where it does."""
    path = shell.folder / "orders.py"
    text = path.read_text("utf-8").replace("return await charge(order)", 'return await charge("a " + order)', 1)
    path.write_text(text, "utf-8")
    return next(number for number, line in enumerate(text.splitlines(), start=1) if '"a " + order' in line)


@pytest.mark.requirement("promise-9", "fault-56")
def test_live_and_ended_runs_are_held_against_the_code_before_it_is_deployed(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "fulfil", '"order-1"', "--wait")
        started = shell.ask("start", "approve", '"order-2"')["run"]["id"]
        while shell.ask("runs", "show", started)["run"]["status"] != "waiting":
            pass  # each look takes its time

    live = shell.ask("replay", "orders:app")
    ended = shell.ask("replay", "orders:app", "--status", "completed")
    one = shell.ask("replay", "orders:app", started)
    line = change(shell)
    parted = shell.ask("replay", "orders:app", "--status", "completed", status=1)
    again = shell.run("replay", "orders:app", "--status", "completed,waiting")

    assert live == one == {"replayed": 1, "partings": [], "skipped": {}}
    assert ended["replayed"] == 1
    [parting] = parted["partings"]
    assert (parting["workflow"], parting["key"], parting["kind"]) == ("fulfil", "charge", "changed")
    assert parting["source"] == f"orders.py:{line}"
    assert again.returncode == 1
    assert again.stdout.startswith(f"orders.py:{line}: run ")
    assert "2 histories replayed: 1 part from the code" in again.stdout


def test_histories_in_a_file_are_shared_among_processes(shell: Shell) -> None:
    with shell.worker():
        shell.run("start", "fulfil", '"order-1"', "--wait")
        shell.run("start", "refuse", '"order-2"', "--wait")
    written = shell.ask("runs", "export-history", "few.jsonl")
    redacted = shell.ask("runs", "export-history", "bare.jsonl", "--redact", "--workflow", "fulfil")
    few = (shell.folder / "few.jsonl").read_bytes()
    (shell.folder / "many.jsonl").write_bytes(few * 600)

    report = shell.ask("replay", "orders:app", "many.jsonl", "--processes", "2")
    fulfilled = shell.ask("replay", "orders:app", "few.jsonl", "--workflow", "fulfil")
    refused = shell.run("replay", "orders:app", "bare.jsonl")

    assert written == {"file": "few.jsonl", "written": 2, "redacted": False}
    assert redacted["written"] == 1
    assert report == {"replayed": 1200, "partings": [], "skipped": {}}
    assert fulfilled["replayed"] == 1
    assert (refused.returncode, "redacted" in refused.stderr) == (2, True)
    assert b"order-1" in few
    assert b"order-1" not in (shell.folder / "bare.jsonl").read_bytes()
    assert [json.loads(line)["run"]["status"] for line in few.splitlines()] == ["failed", "completed"]


def test_what_cannot_be_replayed_is_said(shell: Shell) -> None:
    (shell.folder / "bad.jsonl").write_text("{}\n", "utf-8")

    missing = shell.run("replay", "orders:app", "missing.jsonl")
    broken = shell.run("replay", "orders:app", "bad.jsonl")
    unknown = shell.run("replay", "orders:app", "00000000-0000-7000-8000-000000000000")

    assert (missing.returncode, "no file 'missing.jsonl'" in missing.stderr) == (2, True)
    assert (broken.returncode, "line 1 of bad.jsonl" in broken.stderr) == (2, True)
    assert unknown.returncode == 3
