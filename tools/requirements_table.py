"""Print which tests prove which requirement: ``python tools/requirements_table.py [--json]``.

Reads the marks ``@pytest.mark.requirement("S-05", ...)`` from the source of the tests, without importing them, and the
ids from ``tests/requirements.toml``. Exit status 1 if a required id has no test, or a test names an unknown id.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The ids: those that this release must prove, and those that tests may name as well. Each with its meaning."""

    required: dict[str, str]
    named: dict[str, str]

    @property
    def known(self) -> dict[str, str]:
        """Every id that a test may name."""
        return self.required | self.named


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One id named by one mark. ``test`` is a pytest node id; a whole module if the mark stands at its top."""

    id: str
    test: str
    line: int


def read_requirements(root: Path = ROOT) -> Requirements:
    data = tomllib.loads((root / "tests" / "requirements.toml").read_text("utf-8"))
    return Requirements(required=data["required"], named=data["named"])


def find_proofs(root: Path = ROOT) -> list[Proof]:
    """Every mark in every test module, in the order of the files."""
    proofs: list[Proof] = []
    for path in sorted((root / "tests").rglob("*.py")):
        reader = _MarkReader(path.relative_to(root).as_posix())
        reader.visit(ast.parse(path.read_text("utf-8"), str(path)))
        proofs += reader.proofs
    return proofs


class _MarkReader(ast.NodeVisitor):
    def __init__(self, path: str) -> None:
        self.proofs: list[Proof] = []
        self._where = [path]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._enter(node)

    def _enter(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._where.append(node.name)
        self.generic_visit(node)
        self._where.pop()

    def visit_Call(self, node: ast.Call) -> None:
        if _is_requirement(node.func):
            for argument in node.args:
                value = argument.value if isinstance(argument, ast.Constant) else None
                id_ = value if isinstance(value, str) else f"<not a literal: {ast.unparse(argument)}>"
                self.proofs.append(Proof(id=id_, test="::".join(self._where), line=argument.lineno))
        self.generic_visit(node)


def _is_requirement(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(attr="requirement", value=ast.Attribute(attr="mark")) | ast.Name(id="requirement"):
            return True
        case _:
            return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Which tests prove which requirement.")
    parser.add_argument("--json", action="store_true", help="print one JSON object: id -> tests")
    options = parser.parse_args(arguments)

    requirements = read_requirements()
    tests: dict[str, list[str]] = defaultdict(list)
    for proof in find_proofs():
        if proof.test not in tests[proof.id]:
            tests[proof.id].append(proof.test)
    unknown = sorted(tests.keys() - requirements.known.keys())
    unproven = [id_ for id_ in requirements.required if not tests[id_]]
    if options.json:
        print(json.dumps({id_: tests[id_] for id_ in requirements.known if tests[id_]}, indent=2))
    else:
        for id_, meaning in requirements.known.items():
            if id_ in requirements.required or tests[id_]:
                print(f"{id_:<12}{meaning}")
                print("".join(f"{'':<12}  {test}\n" for test in tests[id_]) or f"{'':<12}  NO TEST\n", end="")
        proven = len(requirements.required) - len(unproven)
        print(f"\n{proven} of {len(requirements.required)} required ids are named by tests.")
    for id_ in unknown:
        print(f"unknown id {id_!r}, named by {', '.join(tests[id_])}", file=sys.stderr)
    return 1 if unknown or unproven else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
