"""Tenants and searches from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.test_main import Command, ask, command, start

__all__ = ["command"]


def _lines(command: Command, *arguments: str) -> list[Any]:
    code, out, _ = command(*arguments)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.requirement("C-56", "L-33")
def test_a_tenant_is_limited_exported_and_erased(command: Command) -> None:
    start(command)
    quota = ask(command, "tenants", "quota", "default", "--queued", "1", "--payload-bytes", "1000")
    code, out, _ = command("start", "fulfil", '"o-2"', "--json")
    listed = ask(command, "tenants", "list")
    tables = {line["table"] for line in _lines(command, "tenants", "export", "default")}
    refused, _, why = command("tenants", "erase", "default")
    erased = ask(command, "tenants", "erase", "default", "--yes")
    again = ask(command, "tenants", "erase", "default", "--yes")

    assert (quota["queued_max"], quota["running_max"], quota["payload_bytes_max"]) == (1, None, 1000)
    assert code == 4
    assert json.loads(out)["error"]["code"] == "quota_exceeded"
    assert [(one["tenant"], one["runs"]) for one in listed["tenants"]] == [("default", {"queued": 1})]
    assert {"runs", "transitions", "tenants"} <= tables
    assert refused == 2
    assert "--yes" in why
    assert (erased["runs_deleted"], erased["rows_left"]) == (1, {})
    assert (again["runs_deleted"], again["rows_left"]) == (0, {})
    assert ask(command, "tenants", "list")["tenants"] == []


@pytest.mark.requirement("C-56")
def test_what_a_tenant_stores_is_counted_when_its_quota_is_set(command: Command) -> None:
    run = start(command)
    quota = ask(command, "tenants", "quota", "default", "--stored-bytes", "5")
    listed = ask(command, "tenants", "list")["tenants"][0]
    refused, out, _ = command("start", "fulfil", '"o-2"', "--json")
    no_signal, why, _ = command("signal", "news", "1", "--run", run, "--json")
    lifted = ask(command, "tenants", "quota", "default", "--stored-bytes", "none")

    assert quota["stored_bytes_max"] == 5
    assert listed["stored_bytes"] > 5
    assert (refused, no_signal) == (4, 4)
    assert json.loads(out)["error"]["code"] == json.loads(why)["error"]["code"] == "quota_exceeded"
    assert lifted["stored_bytes_max"] is None
    assert start(command, "--key", "o-3") != run


@pytest.mark.requirement("L-33")
def test_retention_is_set_and_run(command: Command) -> None:
    run = start(command)
    ask(command, "cancel", run)

    kept = ask(command, "retention", "set", "default", "30d")
    nothing = ask(command, "retention", "run")
    ended = ask(command, "retention", "run", "--tenant", "default", "--older-than", "0s")
    forever = ask(command, "retention", "set", "default", "none")
    code, _, _ = command("retention", "run", "--tenant", "default")

    assert kept["retention_ms"] == 30 * 86_400_000
    assert (nothing["runs_deleted"], ended["runs_deleted"]) in {(0, 1), (0, 0)}
    assert forever["retention_ms"] is None
    assert code == 2


@pytest.mark.requirement("L-33", "C-11")
def test_runs_are_searched_counted_and_explained_from_the_command_line(command: Command) -> None:
    run = start(command, "--attribute", "customer=42")

    found = ask(command, "runs", "list", "status:queued", "attr.customer=42", "created>1h")
    none = ask(command, "runs", "list", "--waiting-on", "signal:order.approved")
    by_workflow = ask(command, "runs", "count", "--by", "workflow", "attr.customer=42")
    counted = ask(command, "runs", "count", "attr.customer>42")
    code, _, why = command("runs", "list", "colour:red")

    assert [one["id"] for one in found["runs"]] == [run]
    assert found["runs"][0]["attributes"] == {"customer": 42}
    assert none["runs"] == []
    assert [(one["value"], one["count"]) for one in by_workflow["groups"]] == [("fulfil", 1)]
    assert counted["total"] == 0
    assert code == 2
    assert "there is no field 'colour'" in why


@pytest.mark.requirement("O-09")
@pytest.mark.parametrize(
    ("kind", "name"), [("queue", "default"), ("workflow", "fulfil"), ("tenant", "default")], ids=str
)
def test_queues_workflows_and_tenants_are_paused_listed_and_resumed(command: Command, kind: str, name: str) -> None:
    run = start(command)
    paused = ask(command, f"{kind}s", "pause", name, "--actor", "ann", "--reason", "stocktaking", "--recall")
    listed = ask(command, "pauses", "list")
    waiting = ask(command, "runs", "list", "--waiting-on", f"{kind}:{name}")
    why = ask(command, "runs", "explain", run)
    resumed = ask(command, f"{kind}s", "resume", name)
    again = ask(command, f"{kind}s", "resume", name)

    assert listed["pauses"] == [paused]
    assert (paused["kind"], paused["name"], paused["actor"], paused["recalls"]) == (kind, name, "ann", True)
    assert [one["id"] for one in waiting["runs"]] == [run]
    [reason] = [one for one in why["reasons"] if one["kind"] == f"paused_{kind}"]
    assert (reason["name"], reason["actor"], reason["note"]) == (name, "ann", "stocktaking")
    assert (resumed["was_paused"], again["was_paused"]) == (True, False)
    assert ask(command, "pauses", "list")["pauses"] == []


@pytest.mark.requirement("fault-62", "C-11")
def test_a_queue_is_limited_listed_and_explained(command: Command) -> None:
    run = start(command)
    limited = ask(command, "queues", "limit", "default", "--running", "0", "--actor", "ann", "--reason", "moving house")
    shown = ask(command, "queues", "limit", "default")
    listed = ask(command, "queues", "list")
    why = ask(command, "runs", "explain", run)
    code, _, words = command("queues", "limit", "default", "--running", "many")
    lifted = ask(command, "queues", "limit", "default", "--running", "none")

    assert limited["limit"]["running_max"] == 0
    assert (limited["limit"]["actor"], limited["limit"]["note"]) == ("ann", "moving house")
    assert listed["queues"] == [shown] == [limited]
    assert (shown["queue"], shown["queued"], shown["running"], shown["pause"]) == ("default", 1, 0, None)
    assert why["status"] == "queued"
    assert code == 2
    assert "is no number of runs" in words
    assert lifted["limit"] is None
