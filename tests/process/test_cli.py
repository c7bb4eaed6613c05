"""The real command, as people and scripts start it, on real databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.app import connect_sync
from holdfast.cli.main import run
from holdfast.store.migrations import migrate
from tests.postgres_server import fresh_database
from tests.process.harness import FORKS

PROGRAM = """
import time
from datetime import timedelta

import holdfast as hf

app = hf.App("orders")
other = 7


@app.step
async def charge(order: str) -> str:
    return "receipt for " + order


@app.step
def pack(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.workflow
async def fulfil(order: str, amount: int = 1) -> str:
    return await charge(order)


@app.workflow
async def approve(order: str) -> dict[str, str]:
    return await hf.wait_for_signal("approved", dict[str, str], timeout=timedelta(days=7))


@app.workflow
async def ask(order: str) -> str:
    decision = await hf.wait_for_approval("ship", title=f"Ship {order}?", by=("ann", "board"))
    return f"{decision.by}: {decision.approved}, {decision.comment}"


@app.workflow
async def refuse(order: str) -> None:
    await charge(order)
    raise hf.NonRetryable("no such \\x1b[31morder")


@app.workflow
async def ship(seconds: float) -> float:
    return await pack.aio(seconds)
"""

DEFECT = """
from holdfast.runtime.claimer import Claimer
from orders import app


async def fail(claimer):
    raise RuntimeError("a planted defect")


Claimer.run_once = fail
"""

COMMAND = [sys.executable, "-m", "holdfast.cli.main"]


def execute(folder: str, environment: dict[str, str], out: str, err: str, arguments: Sequence[str]) -> None:
    """The command, in the process that was forked for it."""
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(run(arguments))


class Shell:
    """A folder with a program in it, and a database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        self.environment = {**os.environ, "HOLDFAST_DATABASE_URL": database, "COLUMNS": "100", "NO_COLOR": "1"}

    def run(self, *arguments: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command in a process of its own, forked from one that has imported everything: it is there in a moment."""
        environment = self.environment if database is None else {**self.environment, "HOLDFAST_DATABASE_URL": database}
        out, err = self.folder / ".stdout", self.folder / ".stderr"
        process = FORKS.Process(target=execute, args=(str(self.folder), environment, str(out), str(err), arguments))
        process.start()
        process.join(120)
        assert process.exitcode is not None, f"{arguments} has not ended:\n{out.read_text()}{err.read_text()}"
        status = process.exitcode
        process.close()
        return subprocess.CompletedProcess(arguments, status, out.read_text("utf-8"), err.read_text("utf-8"))

    def run_anew(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command as a shell starts it."""
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def ask(self, *arguments: str, status: int = 0) -> Any:
        """The JSON document that a command printed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def open(self, *arguments: str) -> Generator[Running, None, None]:
        """A command that goes on."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    @contextmanager
    def worker(self, *arguments: str) -> Generator[Running, None, None]:
        """A worker that is ready."""
        with self.open("worker", "orders:app", "--lease", "30s", *arguments) as running:
            running.log_until(lambda record: "started" in record["message"] and "pid" not in record)
            yield running


class Running:
    """A command that goes on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def log_until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the log up to the first record that is wanted."""
        assert self.process.stderr is not None
        return _until(self.process.stderr, wanted)

    def answers_until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the answers up to the first that is wanted."""
        assert self.process.stdout is not None
        return _until(self.process.stdout, wanted)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(timeout=90)


def _until(lines: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        record: dict[str, Any] = json.loads(line)
        if wanted(record):
            return record
    pytest.fail("it ended after:\n" + "".join(seen))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A program and a migrated SQLite file."""
    (tmp_path / "orders.py").write_text(PROGRAM, "utf-8")
    url = f"sqlite:///{tmp_path / 'holdfast.db'}"
    migrate(url)
    return Shell(tmp_path, url)


@pytest.fixture
def postgres_shell(tmp_path: Path, postgres_server_url: str, postgres_template: str) -> Generator[Shell, None, None]:
    """The same program and a migrated PostgreSQL database."""
    (tmp_path / "orders.py").write_text(PROGRAM, "utf-8")
    with fresh_database(postgres_server_url, f"holdfast_cli_{os.getpid()}", template=postgres_template) as url:
        yield Shell(tmp_path, url)


@pytest.fixture(params=["shell", "postgres_shell"])
def any_shell(request: pytest.FixtureRequest) -> Shell:
    """The program on each database in turn."""
    shell: Shell = request.getfixturevalue(request.param)
    return shell


def assert_error(done: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    """The command failed with this status and one clear line, never with a traceback."""
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


# Runs, from start to end


@pytest.mark.requirement("S-51", "fault-38")
def test_a_run_that_one_process_starts_is_executed_by_another_and_its_end_is_shown(any_shell: Shell) -> None:
    with any_shell.worker():
        answer = any_shell.ask("start", "fulfil", '"o-1"', "--key", "k", "--attribute", "city=Rome", "--wait", "30")
        again = any_shell.ask("start", "fulfil", '"o-1"', "--key", "k", "--wait")
        failed = any_shell.ask("start", "refuse", '"o-2"', "--wait", status=1)
        shown = any_shell.ask("runs", "show", answer["run"]["id"])
        healthy = any_shell.ask("doctor")
        anew = any_shell.run_anew("runs", "show", answer["run"]["id"], "--json")

    assert (anew.returncode, anew.stderr) == (0, "")
    assert json.loads(anew.stdout)["run"] == shown["run"]
    assert answer["created"]
    assert answer["run"]["status"] == "completed"
    assert answer["run"]["result"] == "receipt for o-1"
    assert answer["run"]["input"] == {"args": ["o-1"], "kwargs": {}}
    assert answer["run"]["attributes"] == {"city": "Rome"}
    assert (again["run"]["id"], again["created"]) == (answer["run"]["id"], False)
    assert failed["run"]["error"]["message"] == "no such \\x1b[31morder"
    assert [entry["result"] for entry in shown["journal"]] == ["receipt for o-1"]
    assert [one["to_status"] for one in shown["transitions"]] == ["queued", "running", "completed"]
    assert healthy["ok"]
    assert {check["verdict"] for check in healthy["checks"]} == {"ok"}


def test_a_listing_is_read_page_by_page(any_shell: Shell) -> None:
    with connect_sync(any_shell.database) as client:
        ids = [client.start("nobody_knows", number, attributes={"city": "Rome"}).id for number in range(5)]
        client.start("other")

    first = any_shell.ask("runs", "list", "--workflow", "nobody_knows", "--attribute", "city=Rome", "--limit", "3")
    second = any_shell.ask("runs", "list", "--workflow", "nobody_knows", "--limit", "3", "--after", first["next"])
    counts = any_shell.ask("runs", "count")
    table = any_shell.run("runs", "list", "--status", "queued,running")

    runs = first["runs"] + second["runs"]
    assert sorted(run["id"] for run in runs) == sorted(ids)
    assert runs == sorted(runs, key=lambda run: (run["created_ms"], run["id"]), reverse=True)
    assert len(first["runs"]) == 3
    assert second["next"] is None
    assert counts["total"] == counts["counts"]["queued"] == 6
    assert all(run_id in table.stdout for run_id in ids)
    assert max(map(len, table.stdout.splitlines())) <= 100


@pytest.mark.requirement("C-11")
def test_a_parked_run_is_explained_signalled_and_watched_to_its_end(shell: Shell) -> None:
    with shell.worker():
        run_id = shell.ask("start", "approve", '"o-1"')["run"]["id"]
        with shell.open("runs", "watch", run_id, "--json") as watch:
            watch.answers_until(lambda line: line["transition"]["to_status"] == "waiting")
            explained = shell.ask("runs", "explain", run_id)
            text = shell.run("runs", "explain", run_id)
            reached = shell.ask("signal", "approved", '{"by": "ann"}', "--run", run_id)
            ended = watch.answers_until(lambda line: "run" in line)
            watched = watch.wait()

    assert explained["status"] == "waiting"
    assert explained["pending_signals"] == ["approved"]
    assert "waits for signal 'approved'" in text.stdout
    assert reached == {"reached": [run_id], "kept": False}
    assert ended["run"]["result"] == {"by": "ann"}
    assert watched == 0


@pytest.mark.requirement("C-51")
def test_a_person_finds_a_question_in_the_inbox_and_answers_it_once(shell: Shell) -> None:
    with shell.worker():
        run_id = shell.ask("start", "ask", '"o-1"')["run"]["id"]
        with shell.open("runs", "watch", run_id, "--json") as watch:
            watch.answers_until(lambda line: line["transition"]["to_status"] == "waiting")
            asked = shell.ask("approvals", "list", "--for", "board")
            table = shell.run("approvals", "list", "--for", "ann")
            others = shell.ask("approvals", "list", "--for", "zoe")
            said = shell.ask("approvals", "reject", run_id, "ship", "--by", "ann", "--comment", "too late")
            ended = watch.answers_until(lambda line: "run" in line)
        again = shell.run("approvals", "approve", run_id, "ship", "--by", "ann", "--json")

    [approval] = asked["approvals"]
    assert (approval["run_id"], approval["key"], approval["question"]["title"]) == (run_id, "ship", "Ship o-1?")
    assert (others, asked["next"]) == ({"approvals": [], "next": None}, None)
    assert run_id in table.stdout
    assert said == {"run_id": run_id, "key": "ship", "by": "ann", "answer": "rejected"}
    assert ended["run"]["result"] == "ann: False, too late"
    assert (again.returncode, json.loads(again.stdout)["error"]["code"]) == (4, "approval_closed")


@pytest.mark.requirement("R-21", "O-09")
def test_many_runs_are_counted_cancelled_and_told_of(any_shell: Shell) -> None:
    with connect_sync(any_shell.database) as client:
        ids = {client.start("nobody_knows", number).id for number in range(3)}
        client.start("other")

    counted = any_shell.ask("bulk", "cancel", "--where", "workflow:nobody_knows", "--dry-run")
    unasked = any_shell.run("bulk", "cancel", "workflow:nobody_knows", "--json")
    done = any_shell.ask("bulk", "cancel", "workflow:nobody_knows", "--yes", "--here", "--reason", "oops")
    refused = any_shell.ask("bulk", "resume", "workflow:nobody_knows", "--most", "3", "--here")["job"]
    shown = any_shell.ask("bulk", "show", refused["id"], "--limit", "2")
    jobs = any_shell.ask("bulk", "list")["jobs"]
    waiting = any_shell.ask("bulk", "set", "workflow:other", "--priority", "5", "--yes")["job"]
    stopped = any_shell.ask("bulk", "stop", waiting["id"])["job"]
    told = any_shell.run("events", "--status", "cancelled", "--json")
    events = [json.loads(line) for line in told.stdout.splitlines()]
    rest = any_shell.run("events", "--after", events[0]["cursor"], "--json")
    text = any_shell.run("runs", "events", events[0]["run_id"], "--records")

    assert counted == {"action": "cancel", "expected": 3, "counts": {"queued": 3}}
    assert_error(unasked, 2, "3 runs match", "--yes")
    assert (done["job"]["status"], done["job"]["done"], done["job"]["note"]) == ("done", 3, "oops")
    assert (refused["done"], refused["failed"]) == (0, 3)
    assert [error["code"] for error in shown["errors"]] == ["run_finished", "run_finished"]
    assert [job["action"]["word"] for job in jobs] == ["resume", "cancel"]
    assert (stopped["status"], stopped["done"]) == ("stopped", 0)
    assert {event["run_id"] for event in events} == ids
    assert len(rest.stdout.splitlines()) >= 2
    assert "oops (bulk job" in text.stdout


# What cannot be


@pytest.mark.requirement("S-17")
def test_what_a_start_cannot_mean_is_refused_before_anything_is_started(shell: Shell) -> None:
    assert_error(
        shell.run("start", "fulfill", '"o-1"', "--app", "orders:app"), 2, "known workflows: approve, ask, fulfil"
    )
    assert_error(shell.run("start", "fulfil", "o-1"), 2, "argument 1 is not JSON", "'\"o-1\"'")
    assert shell.ask("runs", "count")["total"] == 0


@pytest.mark.requirement("S-02")
def test_an_unknown_run_is_not_found_and_no_id_is_a_usage_error(shell: Shell) -> None:
    unknown = "0190b5a4-7c2e-7d3a-9f10-2b6c8d4e5f60"

    assert_error(shell.run("runs", "show", "o-1"), 2, "not a run id")
    assert_error(shell.run_anew("runs", "show", "o-1"), 2, "not a run id")
    assert shell.ask("runs", "explain", unknown, status=3)["error"] == {
        "code": "run_not_found",
        "message": f"no run {unknown}",
        "way_out": "`holdfast runs list` shows the runs of this tenant; another tenant's need --tenant",
        "run_id": unknown,
    }


def test_a_program_that_cannot_be_loaded_is_described_with_a_traceback_only_on_demand(shell: Shell) -> None:
    (shell.folder / "torn.py").write_text("import holdfast\n1 / 0\n", "utf-8")

    assert_error(shell.run("worker", "oders:app"), 2, "no module 'oders'")
    assert_error(shell.run("worker", "torn:app"), 2, "ZeroDivisionError", "torn.py, line 2")
    assert "Traceback" in shell.run("--debug", "worker", "torn:app").stderr


# The installation


def test_a_database_without_tables_is_told(shell: Shell) -> None:
    (shell.folder / "empty.db").touch()

    assert_error(shell.run("runs", "list", database="sqlite:///empty.db"), 5, "run `holdfast migrate`")
    sick = shell.ask("doctor", "--database", "sqlite:///empty.db", status=1)
    assert [check["name"] for check in sick["checks"] if check["verdict"] == "fail"] == ["tables"]


def test_a_database_that_does_not_answer_is_told_without_its_password(shell: Shell) -> None:
    nowhere = "postgresql://ann:secret@127.0.0.1:1/orders"

    listed = shell.run("runs", "list", database=nowhere)
    sick = shell.run("doctor", database=nowhere)

    assert_error(listed, 5, "127.0.0.1:1", "does not answer")
    assert sick.returncode == 1
    assert "fail" in sick.stdout
    assert "secret" not in listed.stderr + sick.stdout + sick.stderr


# Workers


def test_a_worker_one_of_whose_loops_dies_ends_with_a_fault(shell: Shell) -> None:
    (shell.folder / "planted.py").write_text(DEFECT, "utf-8")

    with shell.open("worker", "planted:app") as worker:
        death = worker.log_until(lambda record: record["level"] == "critical")

        assert worker.wait() == 70
    assert "a planted defect" in death["exception"]


@pytest.mark.requirement("S-16", "fault-7")
def test_a_worker_that_is_asked_to_end_hands_its_runs_back_and_exits_with_zero(shell: Shell) -> None:
    with shell.worker("--grace", "0s", "--queue", "default", "--queue", "heavy", "--threads", "2") as worker:
        run_id = shell.ask("start", "ship", "60", "--queue", "heavy")["run"]["id"]
        with shell.open("runs", "watch", run_id, "--json") as watch:
            watch.answers_until(lambda line: line["transition"]["reason"] == "claimed")
        worker.send(signal.SIGTERM)
        worker.log_until(lambda record: "has stopped" in record["message"])
        code = worker.wait()
        run = shell.ask("runs", "show", run_id)["run"]

    assert code == 0
    assert (run["status"], run["status_reason"], run["worker"]) == ("queued", "drained", None)


def test_the_second_signal_ends_a_worker_at_once(shell: Shell) -> None:
    with shell.worker() as worker:
        run_id = shell.ask("start", "ship", "60")["run"]["id"]
        with shell.open("runs", "watch", run_id, "--json") as watch:
            watch.answers_until(lambda line: line["transition"]["reason"] == "claimed")
        worker.send(signal.SIGINT)
        worker.log_until(lambda record: "drains" in record["message"])
        worker.send(signal.SIGINT)

        assert worker.wait() == 130


def test_a_worker_process_that_is_killed_is_replaced_and_the_fleet_drains(shell: Shell) -> None:
    with shell.open("worker", "orders:app", "--processes", "2", "--lease", "2s", "--log-format", "json") as fleet:
        first = fleet.log_until(lambda record: record.get("pid") is not None)
        fleet.log_until(lambda record: record.get("pid") is not None)
        os.kill(first["pid"], signal.SIGKILL)
        death = fleet.log_until(lambda record: "ended" in record["message"])
        successor = fleet.log_until(lambda record: record.get("pid") is not None)
        done = shell.ask("start", "fulfil", '"o-1"', "--wait", "30s")
        fleet.send(signal.SIGTERM)

        assert fleet.wait() == 0

    assert (death["number"], death["how"]) == (first["number"], "SIGKILL")
    assert successor["number"] == first["number"]
    assert successor["pid"] != first["pid"]
    assert done["run"]["status"] == "completed"


def test_the_processes_of_a_fleet_drain_when_their_parent_is_killed(shell: Shell) -> None:
    with shell.open("worker", "orders:app", "--processes", "2", "--log-format", "json") as fleet:
        for _ in range(2):
            fleet.log_until(lambda record: record["logger"] == "holdfast.worker" and "started" in record["message"])
        fleet.send(signal.SIGKILL)
        for _ in range(2):
            fleet.log_until(lambda record: "has stopped" in record["message"])

    assert shell.ask("workers") == {"workers": []}


def test_dev_makes_the_tables_executes_runs_and_drains_on_ctrl_c(shell: Shell) -> None:
    shell.database = shell.environment["HOLDFAST_DATABASE_URL"] = "sqlite:///fresh.db"
    with shell.open("dev", "orders:app") as dev:
        assert dev.process.stderr is not None
        assert any("started" in line for line in dev.process.stderr)
        done = shell.ask("start", "fulfil", '"o-1"', "--wait", "30s")
        dev.send(signal.SIGINT)
        code = dev.wait()
        assert dev.process.stdout is not None
        panel = dev.process.stdout.read()

    assert done["run"]["status"] == "completed"
    assert code == 0
    assert "approve, ask, fulfil, refuse, ship" in panel
    assert "holdfast start" in panel


def test_a_reader_who_has_had_enough_is_no_error(shell: Shell) -> None:
    with connect_sync(shell.database) as client:
        for number in range(300):
            client.start("nobody_knows", "x" * 100, key=f"{number:0190}")

    with shell.open("runs", "list", "--limit", "1000") as listing:
        assert listing.process.stdout is not None
        listing.process.stdout.close()
        code = listing.wait()
        assert listing.process.stderr is not None
        assert (code, listing.process.stderr.read()) == (0, "")
        listing.process.stdout = None
