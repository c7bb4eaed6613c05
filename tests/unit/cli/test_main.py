"""Commands in this process: what they refuse, and what they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import errors
from holdfast.cli.exits import MEANINGS, Exit, exit_of
from holdfast.cli.main import run
from holdfast.errors import HoldfastError
from holdfast.store.migrations import migrate

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in a folder with a program and a migrated database: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "sqlite:///holdfast.db")
    program = (
        "import holdfast\napp = holdfast.App('unit')\nother = 7\n@app.workflow\nasync def fulfil(order: str): ...\n"
    )
    Path("cli_program.py").write_text(program, "utf-8")
    migrate("sqlite:///holdfast.db")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("cli_programm:app", "no module 'cli_programm'"),
        ("cli_program.py:app", "a module's name has no path and no .py: cli_program:app"),
        ("cli_program:ap", "no attribute 'ap'; did you mean cli_program:app?"),
        ("cli_program:other", "is not a holdfast.App but of type int"),
        ("cli_program", "module:attribute"),
        (":app", "module:attribute"),
        ("json:loads", "it holds no holdfast.App at all"),
    ],
)
def test_a_program_that_cannot_be_loaded_is_described(command: Command, target: str, why: str) -> None:
    code, out, err = command("start", "fulfil", "--app", target)

    assert (code, out) == (Exit.USAGE, "")
    assert why in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["fulfil", "--app", "cli_program:app"], "parameter 'order'"),
        (["fulfil", '"a"', "2", "--app", "cli_program:app"], "takes 1 arguments"),
        (["fulfil", "NaN"], "argument 1 is not JSON"),
        (["fulfil", "1", '{"a":'], "argument 2 is not JSON"),
        (["fulfil", "[" * 100_000], "argument 1 is nested too deep"),
        (["fulfil", "--delay", "soon"], "write 90, 90s, 500ms, 15m, 2h or 1d"),
        (["fulfil", "--wait", "5", "--wait=soon"], "no duration"),
        (["fulfil", "--attribute", "Rome"], "--attribute name=value"),
        (["fulfil", "--priority", "1001"], "between -1000 and 1000"),
        (["fulfil", "--tenant", "a\nb"], "printable"),
        (["ful\x1bfil"], "printable"),
        (["fulfil", "--kye", "k"], "--kye"),
        ([], "start --help"),
    ],
)
def test_what_a_start_cannot_mean_is_refused(command: Command, arguments: list[str], why: str) -> None:
    code, out, err = command("start", *arguments)

    assert (code, out) == (Exit.USAGE, "")
    assert err.startswith("error: ")
    assert why in err
    assert json.loads(command("runs", "count", "--json")[1])["total"] == 0


def test_an_error_in_json_has_code_message_and_facts(command: Command) -> None:
    code, out, err = command("start", "fulfill", "--app", "cli_program:app", "--json")

    assert code == Exit.USAGE
    assert json.loads(out)["error"]["code"] == "workflow_not_registered"
    assert json.loads(out)["error"]["known"] == "fulfil"
    assert "no workflow named 'fulfill'" in err


def test_names_that_others_chose_cannot_act_on_the_terminal(command: Command) -> None:
    command("start", "fulfil", '"\\u001b]0;title\\u0007\\u202e"', "--key", "k")
    run_id = json.loads(command("runs", "list", "--json")[1])["runs"][0]["id"]

    shown = command("runs", "show", run_id)[1]
    listed = command("runs", "show", run_id, "--json")[1]

    assert shown.replace("\n", "").isprintable()
    assert "\\u202e" in shown
    assert listed.isascii()
    assert json.loads(listed)["run"]["input"]["args"] == ["\x1b]0;title\x07\u202e"]


def test_one_tenant_does_not_see_the_runs_of_another(command: Command) -> None:
    started = json.loads(command("start", "fulfil", "--tenant", "acme", "--json")[1])

    assert command("runs", "list")[1] == "no such runs\n"
    assert command("runs", "show", started["run"]["id"])[0] == Exit.NOT_FOUND
    assert command("runs", "show", started["run"]["id"], "--tenant", "acme")[0] == Exit.OK


def test_a_signal_before_the_wait_is_kept_and_a_broadcast_reaches_nobody(command: Command) -> None:
    run_id = start(command)

    assert ask(command, "signal", "approved", "--run", run_id) == {"reached": [], "kept": True}
    assert command("signal", "approved", "7", "--all")[1] == "0 run(s) waited for 'approved' and have it now\n"
    assert command("signal", "approved")[0] == Exit.USAGE
    assert "the payload is not JSON" in command("signal", "approved", "yes", "--all")[2]


def test_a_cancelled_run_stays_cancelled_and_takes_no_signal(command: Command) -> None:
    run_id = start(command, "--delay", "1h")

    assert command("cancel", run_id, "--reason", "not wanted")[1] == f"run {run_id} is cancelled\n"
    assert ask(command, "cancel", run_id)["run"]["status"] == "cancelled"
    assert command("signal", "approved", "--run", run_id)[0] == Exit.CONFLICT


def test_waiting_ends_with_its_own_status_and_the_run_goes_on(command: Command) -> None:
    code, out, _ = command("start", "fulfil", "--wait", "50ms", "--json")
    error = json.loads(out)["error"]

    assert (code, error["code"]) == (Exit.TIMEOUT, "result_timeout")
    assert ask(command, "runs", "show", error["run_id"])["run"]["status"] == "queued"


def test_a_workflow_that_no_worker_knows_is_started_and_said_to_stay_in_line(command: Command) -> None:
    code, out, _ = command("start", "fulfill")
    checks = {check["name"]: check for check in ask(command, "doctor")["checks"]}

    assert code == Exit.OK
    assert "no live worker knows workflow 'fulfill'" in out
    assert checks["unknown"]["verdict"] == checks["workers"]["verdict"] == "warn"
    assert "1 of 'fulfill'" in checks["unknown"]["finding"]


def test_a_database_without_tables_is_migrated_once(command: Command) -> None:
    empty = ("--database", "sqlite:///empty.db")

    assert command("migrate", "--check", *empty)[0] == Exit.FAILED
    assert not Path("empty.db").exists()
    assert ask(command, "migrate", *empty)["migrated"]
    assert "nothing to do" in command("migrate", *empty)[1]
    assert command("migrate", "--check", *empty)[0] == Exit.OK
    assert ask(command, "doctor", *empty)["ok"]


def test_a_mistyped_database_is_an_error_and_not_an_empty_one(command: Command) -> None:
    code, _, err = command("runs", "list", "--database", "sqlite:///holfast.db")
    odd = json.loads(command("runs", "list", "--database", "mysql://host/orders", "--json")[1])

    assert code == Exit.DATABASE
    assert "there is no file" in err
    assert not Path("holfast.db").exists()
    assert command("doctor", "--database", "sqlite:///holfast.db")[0] == Exit.FAILED
    assert command("start", "fulfil", "--database", "sqlite:///no/such/folder.db")[0] == Exit.DATABASE
    assert odd["error"]["code"] == "store_misconfigured"


def test_a_listing_for_people_fits_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    run_id = start(command, "--key", "k" * 150, "--queue", "heavy", "--attribute", "city=Rome")

    table = command("runs", "list", "--status", "queued,running", "--attribute", "city=Rome")[1]

    assert run_id in table
    assert max(map(len, table.splitlines())) <= 100
    assert "no such runs" in command("runs", "list", "--status", "failed")[1]
    assert command("runs", "list", "--status", "done")[0] == Exit.USAGE


def start(command: Command, *options: str) -> str:
    """The id of a new run."""
    run_id: str = ask(command, "start", "fulfil", '"o-1"', *options)["run"]["id"]
    return run_id


def ask(command: Command, *arguments: str) -> Any:
    """The JSON document that a command prints."""
    return json.loads(command(*arguments, "--json")[1])


def test_help_is_shown_without_a_command_and_for_each_one(command: Command) -> None:
    assert "Usage: holdfast" in command()[1]
    assert "--processes N" in command("worker", "--help")[1]


def test_every_error_has_its_exit_code_and_every_code_its_meaning() -> None:
    made = {
        name: exit_of(cls(message="m"))
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, HoldfastError)
    }

    assert made["StoreUnavailable"] == made["SchemaTooOld"] == made["CommitUnknown"] == Exit.DATABASE
    assert made["NonDeterminismError"] == made["WorkflowNotRegistered"] == Exit.USAGE
    assert (made["RunNotFound"], made["RunFinished"], made["RunFailed"]) == (
        Exit.NOT_FOUND,
        Exit.CONFLICT,
        Exit.FAILED,
    )
    assert set(MEANINGS) == set(Exit)
