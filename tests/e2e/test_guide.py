"""Every Python block of the README and the guide runs, so that the words people read first cannot rot."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Coroutine
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import pytest

import holdfast as hf
from holdfast.app import DATABASE_VARIABLE

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
GUIDE: Final = ROOT / "docs" / "guide"
PROGRAM: Final = ROOT / "examples" / "quickstart.py"

COMMANDS: Final = ROOT / "docs" / "cli.md"

PAGES: Final = [README, *sorted(GUIDE.glob("*.md"))]
BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
COMMAND: Final = re.compile(
    r"`holdfast ((?:runs |approvals |tenants |queues |retention |bulk |subscriptions |schedules |breakers )?[a-z-]+)"
)
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The page's blocks in that language, each with the number of its first line."""
    text = page.read_text("utf-8")
    return [
        (text.count("\n", 0, found.start()) + 2, found.group(2))
        for found in BLOCK.finditer(text)
        if found.group(1) == language
    ]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may name."""
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(page.read_text("utf-8"))
    }


def run_block(runner: asyncio.Runner, page: ModuleType, source: str, *, file: str, line: int) -> None:
    """Execute a block as `python -m asyncio` would: with `await` at its top level."""
    code = compile("\n" * (line - 1) + source, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result: object = eval(code, page.__dict__)  # noqa: S307 - our own pages
    if inspect.iscoroutine(result):
        runner.run(cast("Coroutine[Any, Any, None]", result))


def test_the_readme_shows_the_first_program_as_it_is() -> None:
    (line, shown), *_ = blocks(README, "python")

    assert shown == PROGRAM.read_text("utf-8")
    assert line <= 30


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    module = ModuleType(f"guide_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = blocks(page, "python")
    assert found

    with asyncio.Runner() as runner:
        for line, source in found:
            run_block(runner, module, source, file=str(page), line=line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.requirement("S-18")
def test_the_pages_use_public_names_alone(page: Path) -> None:
    trees = [ast.parse(source) for _, source in blocks(page, "python")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hf"
    }

    assert {name for name in modules if name and name.startswith("holdfast")} <= {
        "holdfast",
        "holdfast.studio",
        "holdfast.testing",
    }
    assert names <= set(hf.__all__)


def test_the_readme_names_every_setting_of_a_worker() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", README.read_text("utf-8"), re.MULTILINE))

    assert named == {field.name for field in fields(hf.WorkerSettings)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    known = COMMANDS.read_text("utf-8")
    named = set(COMMAND.findall(page.read_text("utf-8")))

    assert not [command for command in named if f"## holdfast {command}\n" not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        place = (page.parent / target).resolve() if target else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(f"{target}#{anchor}")

    assert not broken
