"""Where the workflows of a program are written."""

from __future__ import annotations

import inspect
import linecache

from holdfast.core.lint import Finding, lint_source
from holdfast.runtime.source import is_ours, short_path
from holdfast.workflow.registry import Registry


def lint_workflows(registry: Registry) -> list[Finding]:
    """Look through every module that holds a registered workflow. See ``holdfast.core.lint``."""
    lines: dict[str, set[int]] = {}
    for name in registry.workflow_names:
        function = inspect.unwrap(registry.find_workflow(name).function)
        code = getattr(function, "__code__", None)
        # A graph has no body, and one that was executed out of some other document has no module to look through.
        if code is not None and code.co_filename.endswith((".py", ">")) and not is_ours(code.co_filename):
            lines.setdefault(code.co_filename, set()).add(code.co_firstlineno)
    findings: list[Finding] = []
    for file, begins in sorted(lines.items()):
        text = read_source(file)
        if text is not None:
            findings += lint_source(text, short_path(file), lines=frozenset(begins))
    return findings


def read_source(file: str) -> str | None:
    """A module's source; None for what was never in a file, such as the input of an interactive session."""
    lines = linecache.getlines(file)
    return "".join(lines) if lines else None
