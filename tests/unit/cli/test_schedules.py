"""Schedules from the command line."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.test_main import Command, ask, command

__all__ = ["command"]

pytestmark = pytest.mark.requirement("S-37")

NIGHTLY = ("schedules", "create", "nightly", "fulfil", '"o-1"', "--cron", "30 2 * * *", "--timezone", "Europe/Berlin")


def test_a_schedule_is_created_listed_shown_paused_resumed_triggered_and_deleted(command: Command) -> None:
    made = ask(command, *NIGHTLY, "--overlap", "queue", "--attribute", "region=eu", "--actor", "ann")
    listed = ask(command, "schedules", "list")
    slots = ask(command, "schedules", "next", "nightly", "-n", "3")
    paused = ask(command, "schedules", "pause", "nightly", "--actor", "ann", "--reason", "holidays")
    nothing = ask(command, "schedules", "next", "nightly")
    resumed = ask(command, "schedules", "resume", "nightly")
    run_id = ask(command, "schedules", "trigger", "nightly", "--request-id", "a")["run_id"]
    again = ask(command, "schedules", "trigger", "nightly", "--request-id", "a")["run_id"]
    filled = ask(command, "schedules", "backfill", "nightly", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00")
    shown = ask(command, "schedules", "show", "nightly")
    run = ask(command, "runs", "show", run_id)["run"]
    deleted = ask(command, "schedules", "delete", "nightly")

    schedule = made["schedule"]
    assert schedule["input"] == {"args": ["o-1"], "kwargs": {}}
    assert schedule["spec"]["timing"] == {"kind": "cron", "expression": "30 2 * * *", "timezone": "Europe/Berlin"}
    assert (schedule["spec"]["overlap"], schedule["spec"]["attributes"]) == ("queue", {"region": "eu"})
    assert [one["name"] for one in listed["schedules"]] == ["nightly"]
    assert slots["slots"] == made["next"][:3]
    assert (paused["note"], paused["next_ms"], nothing["slots"]) == ("holidays", None, [])
    assert resumed["next_ms"] == schedule["next_ms"]
    assert run_id == again
    assert (run["attributes"]["schedule"], run["attributes"]["region"]) == ("nightly", "eu")
    assert len(filled["run_ids"]) == 3
    assert [one["cause"] for one in shown["ticks"]] == ["backfill"] * 3 + ["trigger"]
    assert deleted == {"deleted": "nightly"}
    assert ask(command, "schedules", "list")["schedules"] == []


def test_people_read_tables(command: Command) -> None:
    ask(command, *NIGHTLY)
    ask(command, "schedules", "create", "often", "fulfil", "--every", "90s", "--jitter", "5s")
    ask(command, "schedules", "trigger", "nightly")

    _, listed, _ = command("schedules", "list")
    _, shown, _ = command("schedules", "show", "nightly")
    _, following, _ = command("schedules", "next", "nightly")
    _, paused, _ = command("schedules", "pause", "often")
    _, nothing, _ = command("schedules", "next", "often")
    _, resumed, _ = command("schedules", "resume", "often")

    assert "30 2 * * * (Europe/Berlin)" in listed
    assert "every 1.5 min" in listed
    assert "trigger" in shown
    assert "02:30" in shown
    assert following.count("02:30") == 10
    assert "is paused" in paused
    assert "is paused" in nothing
    assert "goes on" in resumed


def test_what_is_wrong_has_a_code_and_a_way_out(command: Command) -> None:
    ask(command, *NIGHTLY)
    taken, out, _ = command("schedules", "create", "nightly", "fulfil", '"o-2"', "--every", "1h", "--json")
    replaced = ask(command, *NIGHTLY[:4], '"o-2"', "--every", "1h", "--replace")
    unknown, _, _ = command("schedules", "show", "weekly")
    gone, _, _ = command("schedules", "delete", "weekly")
    wrong, _, why = command("schedules", "create", "bad", "fulfil", "--cron", "61 * * * *")
    moment, _, no_moment = command("schedules", "backfill", "nightly", "yesterday", "today")

    assert taken == 4
    assert json.loads(out)["error"]["code"] == "schedule_exists"
    assert replaced["schedule"]["spec"]["timing"] == {"kind": "every", "every_ms": 3_600_000}
    assert (unknown, gone, wrong, moment) == (3, 3, 2, 2)
    assert "Bad minute" in why
    assert "no moment" in no_moment


def test_nothing_is_said_of_schedules_where_there_are_none(command: Command) -> None:
    ask(command, "tenants", "list")
    code, out, _ = command("schedules", "list")

    assert (code, out.strip()) == (0, "there are no schedules")
