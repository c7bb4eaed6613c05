"""How far a run has come, on one screen: however many items and iterations it has, each node is one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.output import clean
from holdfast.cli.shapes import plain_call, plain_payload
from holdfast.cli.tables import attempt_table, make_table, run_facts, show_ago, show_span, wait_table
from holdfast.core.expressions import ExpressionError, parse
from holdfast.model.definition import Definition, MapNode
from holdfast.model.ids import UnixMs
from holdfast.model.run import Entry, RunDetail, Wait
from holdfast.model.status import OF_STEPS, EntryKind, EntryStatus, RunStatus, WaitOutcome

LINES_MAX: Final = 20
"""Nodes, or names of steps, that are shown: the latest ones."""

OPEN_MAX: Final = 5
"""Open waits, and failed attempts, that are shown one by one."""

_NUMBERED: Final = re.compile(r"(?:\[\d+\]|#\d+)(?=$|/|~)")


class Progress(Struct, kw_only=True):
    """What is recorded under one name: a step, or all items of a map, or all iterations of a loop."""

    name: str
    """The key, with ``[…]`` or ``#…`` for the numbers in it."""
    done: int = 0
    failed: int = 0
    waiting: int = 0
    of: int | None = None
    """How many items there are, where that is known."""
    took_ms: int = 0
    """Of all together."""
    last_ms: UnixMs

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.of}" if self.of is not None else str(self.done)]
        parts += [f"{count} {word}" for count, word in ((self.failed, "failed"), (self.waiting, "waiting")) if count]
        return f"{clean(self.name)} {', '.join(parts)}"


def progress_of(detail: RunDetail, definition: Definition | None) -> list[Progress]:
    """What is recorded, by name, in the order in which it began."""
    found: dict[str, Progress] = {}

    def under(key: str, at_ms: UnixMs) -> Progress:
        name = _NUMBERED.sub(lambda match: f"{match[0][0]}…" + ("]" if match[0][0] == "[" else ""), key)
        progress = found.setdefault(name, Progress(name=name, last_ms=at_ms))
        progress.last_ms = max(progress.last_ms, at_ms)
        return progress

    records: list[Entry | Wait] = [*detail.journal, *(one for one in detail.waits if one.kind not in OF_STEPS)]
    for record in sorted(records, key=lambda one: one.seq):
        if isinstance(record, Entry):
            progress = under(record.key, record.completed_ms)
            progress.took_ms += record.completed_ms - record.started_ms
            failed = record.status is EntryStatus.FAILED
        elif record.outcome is None:
            under(record.key, record.opened_ms).waiting += 1
            continue
        else:
            progress = under(record.key, record.closed_ms or record.opened_ms)
            failed = record.outcome is WaitOutcome.CHILD_ENDED and record.child_status is not RunStatus.COMPLETED
        progress.done += not failed
        progress.failed += failed
    sizes: dict[str, int] = {} if definition is None else map_sizes(detail, definition)
    for key, size in sizes.items():
        if f"{key}[…]" in found:
            found[f"{key}[…]"].of = size
    return list(found.values())


def map_sizes(detail: RunDetail, definition: Definition) -> dict[str, int]:
    """How many items the outermost maps go over, as far as that follows from what is recorded."""
    values: dict[str, Any] = {"input": _input_of(detail), "results": {}, "errors": {}}
    values["run"] = {"id": detail.run.id, "workflow": detail.run.workflow, "key": detail.run.key}
    for entry in detail.journal:
        if entry.kind is EntryKind.STEP and entry.status is EntryStatus.COMPLETED:
            values["results"][entry.key] = plain_payload(entry.result)
    sizes: dict[str, int] = {}
    for node in definition.nodes:
        if isinstance(node, MapNode):
            try:
                items = parse(node.over).evaluate(values)
            except ExpressionError:
                # It reads what is not there yet, or what more than a step has answered.
                continue
            if isinstance(items, list):
                sizes[node.key] = len(items)
    return sizes


def _input_of(detail: RunDetail) -> Any:
    args, kwargs = plain_call(detail.run.input) or ([], {})
    return args[0] if args else kwargs.get("input")


def progress_view(detail: RunDetail, progress: Sequence[Progress]) -> Group:
    """The run, how far each of its nodes is, and what it waits for now."""
    now_ms = detail.now_ms
    parts: list[RenderableType] = [run_facts(detail.run, now_ms)]
    if progress:
        parts += ["", _table(progress[-LINES_MAX:], now_ms)]
        if len(progress) > LINES_MAX:
            parts.append(Text(f"and {len(progress) - LINES_MAX} before these", "dim"))
    waits = [wait for wait in detail.waits if wait.outcome is None]
    if waits:
        parts += ["", wait_table(waits[:OPEN_MAX], now_ms)]
        if len(waits) > OPEN_MAX:
            parts.append(Text(f"and {len(waits) - OPEN_MAX} more", "dim"))
    if detail.attempts:
        parts += ["", attempt_table(detail.attempts[-OPEN_MAX:], now_ms)]
        if len(detail.attempts) > OPEN_MAX:
            parts.append(Text(f"and {len(detail.attempts) - OPEN_MAX} before these", "dim"))
    return Group(*parts)


def _table(progress: Sequence[Progress], now_ms: UnixMs) -> Table:
    table = make_table("Progress", "*step", "done", "of", "failed", "waiting", "each took", "last")
    for one in progress:
        ended = one.done + one.failed
        table.add_row(
            clean(one.name),
            str(one.done),
            "" if one.of is None else str(one.of),
            Text(str(one.failed), "red") if one.failed else "",
            Text(str(one.waiting), "cyan") if one.waiting else "",
            show_span(round(one.took_ms / ended)) if ended and one.took_ms else "",
            show_ago(now_ms, one.last_ms),
        )
    return table


def news(progress: Sequence[Progress], before: Mapping[str, str]) -> list[str]:
    """What has changed since ``before`` (the texts by name), as texts."""
    return [text for one in progress if before.get(one.name) != (text := str(one))]
