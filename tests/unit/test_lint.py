"""The lint of workflow bodies: what it finds, and what it leaves alone."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

import holdfast as hf
from holdfast.cli.exits import Exit
from holdfast.cli.main import run
from holdfast.core.lint import Finding, lint_source
from holdfast.testing import lint

HEAD = """\
import asyncio, datetime as dt, os, random, subprocess, threading, time, uuid
from datetime import datetime
from pathlib import Path
import httpx, requests
import holdfast as hf
app = hf.App("lint")
seen = []
LIMITS = {"a": 1}
"""


def find(body: str, *, before: str = "") -> list[Finding]:
    """What is found in the body of a workflow."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return lint_source(
        f"{HEAD}{textwrap.dedent(before)}\n@app.workflow\nasync def order(name):\n{lines}\n", "orders.py"
    )


@pytest.mark.requirement("promise-9", "fault-55")
@pytest.mark.parametrize(
    ("line", "rule", "name"),
    [
        ("time.time()", "clock", "time.time()"),
        ("datetime.now()", "clock", "datetime.datetime.now()"),
        ("dt.date.today()", "clock", "datetime.date.today()"),
        ("random.random()", "random", "random.random()"),
        ("random.Random()", "random", "random.Random()"),
        ("uuid.uuid4()", "random", "uuid.uuid4()"),
        ("hash(name)", "random", "hash()"),
        ("time.sleep(1)", "sleep", "time.sleep()"),
        ("await asyncio.sleep(1)", "sleep", "asyncio.sleep()"),
        ("open(name)", "io", "open()"),
        ("requests.get(name)", "io", "requests.get()"),
        ("httpx.AsyncClient().get(name)", "io", "httpx.AsyncClient.get()"),
        ("subprocess.run([name])", "io", "subprocess.run()"),
        ("Path(name).read_text()", "io", "pathlib.Path.read_text()"),
        ("os.environ['HOME']", "environment", "os.environ"),
        ("os.getenv('HOME')", "environment", "os.getenv()"),
        ("await asyncio.gather(one(), two())", "task", "asyncio.gather()"),
        ("asyncio.create_task(one())", "task", "asyncio.create_task()"),
        ("threading.Thread(target=one)", "task", "threading.Thread()"),
        ("for each in {1, 2}: pass", "unordered", "iteration over a set"),
        ("[each for each in set(name)]", "unordered", "iteration over a set"),
        ("list({1} | {2})", "unordered", "list() of a set"),
        ("[x for x in LIMITS.keys() & name.keys()]", "unordered", "iteration over a set"),
        ("await hf.map(one, {1, 2})", "unordered", "holdfast.map() of a set"),
        ("await hf.gather(*{one()})", "unordered", "the items of a set as arguments"),
        ("seen.append(name)", "global", "seen"),
    ],
)
def test_what_may_differ_in_the_next_execution_is_found(line: str, rule: str, name: str) -> None:
    [*found] = find(line)

    assert (rule, name) in {(finding.rule, finding.name) for finding in found}
    assert {finding.line for finding in found} == {12}
    assert all(finding.instead and finding.workflow == "order" for finding in found)


@pytest.mark.parametrize(
    "body",
    [
        "hf.now(); hf.random(); hf.uuid4(); await hf.sleep(1)",
        "for each in sorted({1, 2}): pass",
        "return len({1, 2}), max({1, 2}), 1 in {1, 2}",
        "for key in LIMITS: pass",
        "for key in {'a': 1}.keys(): pass",
        "random.Random(7)",
        "time = name\nreturn time.time()",
        "datetime(2026, 1, 1); dt.timedelta(days=1)",
        "id = name\nreturn id",
        "seen = []\nseen.append(1)",
        "def open(path): ...\nopen(name)",
        "return LIMITS['a']",
    ],
)
def test_what_is_the_same_each_time_is_left_alone(body: str) -> None:
    assert find(body) == []


def test_steps_may_do_anything_and_functions_that_workflows_use_may_not() -> None:
    before = """
    @app.step(retry=None)
    async def step(name):
        return time.time(), open(name), requests.get(name)

    @step.compensate
    def undo(name, result):
        seen.append(random.random())

    @app.transaction
    def write(connection, name):
        return datetime.now()

    def helper(name):
        return deeper(name)

    def deeper(name):
        return time.time()

    def elsewhere():
        return time.time()
    """
    found = find("await step(name)\nawait write(name)\nawait hf.map(helper, [1])", before=before)

    assert [(finding.workflow, finding.rule) for finding in found] == [("deeper", "clock")]


@pytest.mark.parametrize(
    "body",
    [
        "time.time()  # holdfast: allow[clock]",
        "# holdfast: allow[clock] only logged\ntime.time()",
        "time.time(), open(name)  # holdfast: allow[clock, io]",
    ],
)
def test_a_comment_allows_what_is_meant(body: str) -> None:
    assert find(body) == []


def test_a_comment_allows_nothing_else_and_names_rules_that_exist() -> None:
    [found] = find("time.time()  # holdfast: allow[io]")
    assert found.rule == "clock"

    [found] = find("name  # holdfast: allow[clocks]")
    assert (found.rule, found.name) == ("allow", "allow[clocks]")
    assert "clock, environment, global, io" in found.instead


def test_a_changed_global_is_found_where_a_workflow_reads_it() -> None:
    [found] = find("return seen[0]", before="def note(x):\n    seen.append(x)\n")

    assert (found.rule, found.line) == ("global", 14)


clean = hf.App("clean")


@clean.workflow
async def tidy() -> None:
    await hf.sleep(1)


def untidy() -> float:
    import time

    return time.time()


def test_an_app_is_looked_through_however_its_workflows_were_registered() -> None:
    app = hf.App("dirty")
    app.workflow(untidy)

    assert lint(clean) == []
    [found] = lint(app)
    assert found.file.endswith("test_lint.py")
    assert found.line == untidy.__code__.co_firstlineno + 3


def test_the_command_reads_a_module_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    source = "raise SystemExit\nimport time\n@app.workflow\ndef order():\n    return time.time()\n"
    (tmp_path / "lint_target.py").write_text(source, "utf-8")
    (tmp_path / "lint_clean.py").write_text("x = 1\n", "utf-8")

    assert run(["lint", "lint_target"]) == Exit.FAILED
    assert "lint_target.py:5: clock: time.time() in 'order': use hf.now()" in capsys.readouterr().out
    assert run(["lint", "lint_target", "--json"]) == Exit.FAILED
    assert '"rule": "clock"' in capsys.readouterr().out
    assert run(["lint", "lint_clean"]) == Exit.OK
    assert run(["lint", "lint_missing"]) == Exit.USAGE


def test_the_examples_of_this_project_pass() -> None:
    folder = Path(__file__).parents[2] / "examples"
    files = sorted(folder.rglob("*.py"))

    assert files
    assert [finding for file in files for finding in lint_source(file.read_text("utf-8"), file.name)] == []


@pytest.mark.parametrize(
    ("clause", "found"),
    [
        ("except BaseException: pass", True),
        ("except: pass", True),
        ("except BaseException: raise", False),
        ("except Exception: pass", False),
        ("finally: name.close()", False),
    ],
)
def test_a_clause_that_swallows_the_end_of_a_run_that_continues_is_found(clause: str, found: bool) -> None:
    body = f"""
        try:
            hf.continue_as_new(name)
        {clause}
    """

    assert [(one.rule, one.line) for one in find(body)] == ([("swallowed", 14)] if found else [])
