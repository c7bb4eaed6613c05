"""The house's own rules: layers, budgets, where clocks and randomness come from, SQL, and text that must not be here.

A budget is changed only by a commit that says why. A failing rule lists every place as ``file:line``.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast import errors
from tools.requirements_table import find_proofs, read_requirements

ROOT: Final = Path(__file__).resolve().parents[2]
SRC: Final = ROOT / "src" / "holdfast"
STORE: Final = SRC / "store"
PYTHON_TREES: Final = ("src", "tests", "tools", "examples", "benchmarks")
NOT_OURS: Final = {"__pycache__", "build", "dist", "node_modules"}

FUNCTION_LINES_MAX: Final = 60
MODULE_LINES_MAX: Final = 600
NESTING_MAX: Final = 4
POSITIONAL_PARAMETERS_MAX: Final = 6
STORE_PORT_METHODS_MAX: Final = 35
JUNK_DRAWERS: Final = {"utils", "util", "helpers", "helper", "common", "misc"}

CORE_IMPORTS_NONE_OF: Final = {"asyncio", "time", "random", "os", "sqlite3", "threading", "socket", "subprocess"}
"""A decision needs none of these."""

LATE_IMPORTS: Final = {"holdfast", "psycopg", "psycopg_pool", "pydantic", "sqlalchemy", "uvloop"}
"""May be imported inside a function: what only an extra brings, what few programs need, and our own that need those."""

SOURCES: Final = {
    "asyncio.create_subprocess_exec",
    "asyncio.create_subprocess_shell",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.ThreadPoolExecutor",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "multiprocessing",
    "os.fork",
    "os.getrandom",
    "os.urandom",
    "random",
    "secrets",
    "subprocess",
    "threading.Thread",
    "threading.Timer",
    "time",
    "uuid.getnode",
    "uuid.uuid1",
    "uuid.uuid4",
}
"""Clocks, ids, randomness, threads and processes. A module's name stands for all that is in it."""

SQL_STATEMENT: Final = re.compile(
    r"\b(select\b.+\bfrom|insert\s+into|update\s+\w+\s+set|delete\s+from|(create|drop|alter)\s+(table|index))\b",
    re.IGNORECASE | re.DOTALL,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


# What is looked at


def files(*suffixes: str) -> Iterator[Path]:
    """The project's files, without what tools made. Hidden folders belong to tools too, all but ``.ci``.

    A checkout beside another one has a file ``.git`` that names the other.
    """
    for folder, names, children in os.walk(ROOT):
        names[:] = sorted(
            name
            for name in names
            if name not in NOT_OURS and not name.endswith(".egg-info") and (name == ".ci" or not name.startswith("."))
        )
        for child in sorted(children):
            if child != ".git" and (not suffixes or Path(child).suffix in suffixes):
                yield Path(folder, child)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def nodes_of(tree: ast.AST) -> tuple[ast.AST, ...]:
    """The nodes of a module or function. It takes longer to walk through it than to look at each."""
    return tuple(ast.walk(tree))


@cache
def modules(*trees: str) -> dict[Path, ast.Module]:
    """The Python files below these folders, parsed."""
    return {path: parsed(path) for path in files(".py") if path.relative_to(ROOT).parts[0] in (trees or PYTHON_TREES)}


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def at(path: Path, node: ast.AST | int) -> str:
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(ROOT)}:{line}"


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in nodes_of(tree) if isinstance(node, Function))


def report(violations: list[str]) -> None:
    """Fail with every violation, so that one run shows all of them."""
    if violations:
        pytest.fail("\n" + "\n".join(violations), pytrace=False)


# Layers


@pytest.mark.requirement("B-01")
def test_imports_point_only_down_the_layers() -> None:
    lint = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_core_imports_nothing_that_acts() -> None:
    report(
        [
            f"{at(path, node)} core imports {name}"
            for path, tree in modules("src").items()
            if path.is_relative_to(SRC / "core")
            for node in nodes_of(tree)
            for name in imported(node)
            if name.split(".")[0] in CORE_IMPORTS_NONE_OF
        ]
    )


def test_only_extras_are_imported_late() -> None:
    report(
        [
            f"{at(path, node)} {function.name} imports {name}"
            for path, tree in modules("src").items()
            for function in functions(tree)
            for node in nodes_of(function)
            for name in imported(node)
            if name.split(".")[0] not in LATE_IMPORTS
        ]
    )


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports."""
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module)):
            return [module]
        case _:
            return []


# Budgets


def test_no_module_is_a_junk_drawer() -> None:
    report([at(path, 1) for path in modules() if {path.stem, path.parent.name} & JUNK_DRAWERS])


def test_no_module_is_longer_than_its_budget() -> None:
    lengths = {path: path.read_text("utf-8").count("\n") for path in modules()}

    report([f"{at(path, 1)} has {lines} lines" for path, lines in lengths.items() if lines > MODULE_LINES_MAX])


def test_no_function_is_longer_than_its_budget() -> None:
    report(
        [
            f"{at(path, function)} {function.name} has {lines} lines"
            for path, tree in modules().items()
            for function in functions(tree)
            if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
        ]
    )


def test_no_function_is_nested_deeper_than_its_budget() -> None:
    report(
        [
            f"{at(path, function)} {function.name} is nested {deep} deep"
            for path, tree in modules().items()
            for function in functions(tree)
            if (deep := nesting(function.body)) > NESTING_MAX
        ]
    )


def nesting(body: list[ast.stmt]) -> int:
    """How deep the blocks of a function stand in each other. An ``elif`` is as deep as its ``if``; inner functions
    and classes count for themselves.
    """
    return max((block_depth(statement) for statement in body), default=0)


def block_depth(statement: ast.stmt) -> int:
    match statement:
        case ast.If(body=body, orelse=[ast.If() as elif_]):
            return max(1 + nesting(body), block_depth(elif_))
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return 1 + max(nesting(statement.body), nesting(statement.orelse))
        case ast.With() | ast.AsyncWith():
            return 1 + nesting(statement.body)
        case ast.Try() | ast.TryStar():
            handled = [nesting(handler.body) for handler in statement.handlers]
            return 1 + max(nesting(statement.body), nesting(statement.orelse), nesting(statement.finalbody), *handled)
        case ast.Match():
            return 1 + max(nesting(case.body) for case in statement.cases)
        case _:
            return 0


def test_no_function_takes_more_positional_parameters_than_its_budget() -> None:
    report(
        [
            f"{at(path, function)} {function.name} takes {count} positional parameters"
            for path, tree in modules().items()
            for function in functions(tree)
            if (count := count_positional(function)) > POSITIONAL_PARAMETERS_MAX
        ]
    )


def count_positional(function: Function) -> int:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len([name for name in names if name not in {"self", "cls"}])


@pytest.mark.requirement("B-01")
def test_the_store_port_stays_small() -> None:
    port = next(
        node
        for node in modules("src")[STORE / "port.py"].body
        if isinstance(node, ast.ClassDef) and node.name == "Store"
    )

    assert len([node for node in port.body if isinstance(node, Function)]) <= STORE_PORT_METHODS_MAX


# Clocks, ids, randomness, threads and processes


def sources_in(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Where a module imports or names one of SOURCES, under whatever name."""
    dotted: dict[str, str] = {}
    for node in nodes_of(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.split(".")[0]
                    dotted[alias.asname or top] = alias.name if alias.asname else top
                yield from ((node, alias.name) for alias in names if alias.name in SOURCES)
            case ast.ImportFrom(module=str(module), names=names):
                dotted |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
                full = [f"{module}.{alias.name}" for alias in names]
                yield from ((node, name) for name in full if name in SOURCES or module in SOURCES)
            case _:
                pass
    for node in nodes_of(tree):
        if isinstance(node, ast.Attribute) and (name := full_name(node, dotted)) in SOURCES:
            yield node, name


def full_name(node: ast.expr, dotted: dict[str, str]) -> str:
    """``datetime.datetime.now`` for ``datetime.now``, if that is what the module imported; else an empty string."""
    match node:
        case ast.Name(id=name):
            return dotted.get(name, "")
        case ast.Attribute(value=value, attr=attr):
            owner = full_name(value, dotted)
            return f"{owner}.{attr}" if owner else ""
        case _:
            return ""


def test_clocks_ids_randomness_and_threads_are_arguments() -> None:
    allowed = pyproject()["tool"]["house"]["sources"]

    report(
        [
            f"{at(path, node)} names {name}: take it as an argument, or give the file a reason in [tool.house.sources]"
            for path, tree in modules("src").items()
            if not any(fnmatch(path.relative_to(SRC).as_posix(), pattern) for pattern in allowed)
            for node, name in sources_in(tree)
        ]
    )


def test_the_linter_allows_the_same_files_to_name_them() -> None:
    ignores = pyproject()["tool"]["ruff"]["lint"]["per-file-ignores"]
    by_ruff = {name.removeprefix("src/holdfast/") for name, rules in ignores.items() if "TID251" in rules}
    reasons = pyproject()["tool"]["house"]["sources"]
    banned = set(pyproject()["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])

    assert {name for name in by_ruff if not name.startswith("{tests")} == set(reasons)
    assert all(reasons.values())
    assert banned <= SOURCES
    report([at(path, 1) for path in modules("src") if re.search(r"noqa:[^\n]*TID251", path.read_text("utf-8"))])


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "from time import monotonic as ticks",
        "import datetime as dt\nwhen = dt.datetime.now(dt.UTC)",
        "from datetime import datetime\nwhen = datetime.utcnow",
        "import os\nsalt = os.urandom(8)",
        "import uuid\nid_ = uuid.uuid4()",
        "from uuid import uuid1",
        "from random import Random",
        "import threading\nthread = threading.Thread()",
        "from concurrent.futures import ThreadPoolExecutor",
        "import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor()",
        "import asyncio\nchild = asyncio.create_subprocess_exec",
    ],
)
def test_a_planted_source_is_found(planted: str) -> None:
    assert list(sources_in(ast.parse(planted)))


def test_what_only_describes_time_and_ids_is_free() -> None:
    harmless = "import threading, uuid\nfrom datetime import UTC, datetime\nx = threading.Lock(), uuid.uuid5, datetime"

    assert not list(sources_in(ast.parse(harmless)))


# SQL


def test_every_query_file_says_what_it_is_for() -> None:
    report(
        [
            f"{at(path, 1)} does not begin with a comment"
            for path in files(".sql")
            if not path.read_text("utf-8").startswith("-- ")
        ]
    )


def test_every_query_file_is_used() -> None:
    for folder in sorted(STORE.glob("*/queries")):
        code = "\n".join(path.read_text("utf-8") for path in sorted(folder.parent.rglob("*.py")))

        report(
            [f"{at(path, 1)} is not used" for path in folder.glob("*.sql") if not re.search(rf"\b{path.stem}\b", code)]
        )


def test_no_sql_is_built_from_pieces() -> None:
    report(
        [
            f"{at(path, node)} builds SQL from pieces: put it in a .sql file, with parameters"
            for path, tree in modules("src").items()
            for node in nodes_of(tree)
            if SQL_STATEMENT.search(pieces(node))
        ]
    )


def pieces(node: ast.AST) -> str:
    """The literal text of an f-string with a value in it, of ``text.format(...)``, ``text % ...`` or ``text + ...``."""
    match node:
        case ast.JoinedStr(values=values) if any(isinstance(value, ast.FormattedValue) for value in values):
            return "".join(str(value.value) if isinstance(value, ast.Constant) else " x " for value in values)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format" | "format_map")):
            return text
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod() | ast.Add()):
            return text
        case _:
            return ""


def test_every_migration_speaks_both_dialects() -> None:
    folder = STORE / "migrations"
    scripts = [path.read_text("utf-8") for path in (folder / "versions").glob("*.py")]
    revisions = {
        hit.group(1) for hit in (re.search(r'^revision\b.*"(\w+)"', text, re.MULTILINE) for text in scripts) if hit
    }

    assert revisions
    for dialect in ("sqlite", "postgresql"):
        assert {path.stem.split("_")[0] for path in folder.glob(f"*_{dialect}.sql")} == revisions, dialect


# Text


def test_no_file_names_a_place_on_somebodys_machine_or_a_registry() -> None:
    places = re.compile(
        r"(?<![\w./-])/(home|root|work|Users)/\w"
        r"|\b(pypi|pythonhosted|npmjs|yarnpkg|anaconda)\.(org|com|io)\b"
        r"|^\s*--?(index-url|extra-index-url|find-links|trusted-host|i|f)\s",
        re.MULTILINE,
    )
    found: list[str] = []
    for path in files():
        if path.suffix in {".gz", ".png", ".ico", ".db", ".whl"}:
            continue
        text = path.read_text("utf-8")
        found += [
            f"{at(path, text.count(chr(10), 0, hit.start()) + 1)} {hit.group()!r}" for hit in places.finditer(text)
        ]

    report(found)


def test_every_pinned_package_has_hashes() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"\n(?=[a-z])", "\n" + lock.read_text("utf-8"))[1:]

        assert entries
        report([f"{lock.name}: {entry.split()[0]}" for entry in entries if "--hash=sha256:" not in entry])


def test_no_decision_is_longer_than_a_page() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))

    assert len({page.name[:4] for page in pages}) == len(pages)
    report([at(page, 1) for page in pages if page.read_text("utf-8").count("\n") > 60])


# Proof


def test_every_requirement_that_a_test_names_exists() -> None:
    known = read_requirements().known

    report([f"{proof.test}:{proof.line} names {proof.id}" for proof in find_proofs() if proof.id not in known])


def test_every_required_requirement_is_named_by_a_test() -> None:
    named = {proof.id for proof in find_proofs()}

    report([f"{id_} has no test: {text}" for id_, text in read_requirements().required.items() if id_ not in named])


def test_no_test_is_skipped_or_mocks_our_code() -> None:
    excuses = re.compile(
        r"^\s*@?pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b|\bunittest(\.| import )mock\b", re.MULTILINE
    )

    report(
        [
            f"{at(path, path.read_text('utf-8').count(chr(10), 0, hit.start()) + 1)} {hit.group().strip()}"
            for path in modules("tests")
            for hit in excuses.finditer(path.read_text("utf-8"))
        ]
    )


def test_every_error_stands_in_the_tree_under_a_code_of_its_own() -> None:
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.HoldfastError)]
    codes = Counter(one.code for one in found)

    assert [one.__name__ for one in found if f" {one.__name__}" not in (errors.__doc__ or "")] == []
    assert [code for code, count in codes.items() if count > 1] == []
