"""Runs, journals and workers as tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.cli.output import clean
from holdfast.cli.shapes import plain_call, plain_payload
from holdfast.core.failure import read_failure
from holdfast.errors import StoreCorrupt
from holdfast.model.ids import DEFAULT_QUEUE, Json, UnixMs
from holdfast.model.run import Approval, Attempt, Entry, Run, RunDetail, Transition, Wait, WorkerRow
from holdfast.model.search import RunGroup
from holdfast.model.status import ACTIVE_STATUSES, EntryStatus, RunStatus

STYLES: Final[dict[RunStatus, str]] = {
    RunStatus.QUEUED: "bright_blue",
    RunStatus.RUNNING: "bold blue",
    RunStatus.WAITING: "cyan",
    RunStatus.PAUSED: "yellow",
    RunStatus.COMPENSATING: "magenta",
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "yellow",
    RunStatus.STUCK: "bold red",
}

PAYLOAD_CHARACTERS_MAX: Final = 2000
"""A longer payload is cut here; ``--json`` shows all of it."""

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


# Words


def show_span(milliseconds: float) -> str:
    """A duration: 17 ms, 1.24 s, 3.5 min."""
    for size, unit in _UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{max(milliseconds, 0):.0f} ms"


def show_ago(now_ms: int, moment_ms: int | None) -> str:
    """A moment in the past, or to come, in whole units."""
    if moment_ms is None:
        return ""
    away = abs(now_ms - moment_ms)
    unit = next((each for each in _UNITS if away >= each[0]), None)
    if unit is None:
        return "now"
    size, name = unit
    return f"{away // size} {name} ago" if moment_ms <= now_ms else f"in {round(away / size)} {name}"


def show_status(status: RunStatus, reason: str | None = None) -> Text:
    """A status in its colour, with its reason where that says more."""
    text = Text(status.value, STYLES[status])
    if reason and reason not in {status.value, "parked"}:
        text.append(f" ({reason})", "dim")
    return text


def show_payload(payload: Json | None, *, characters: int = PAYLOAD_CHARACTERS_MAX) -> str:
    """A payload as JSON on one line."""
    return "" if payload is None else shorten(json.dumps(plain_payload(payload), ensure_ascii=False), characters)


def show_call(payload: Json) -> str:
    """A call's arguments, as they would be typed."""
    call = plain_call(payload)
    if call is None:
        return show_payload(payload)
    args, kwargs = call
    parts = [json.dumps(each, ensure_ascii=False) for each in args]
    parts += [f"{name}={json.dumps(each, ensure_ascii=False)}" for name, each in kwargs.items()]
    return shorten(f"({', '.join(parts)})", PAYLOAD_CHARACTERS_MAX)


def show_error(payload: Json | None, *, characters: int = PAYLOAD_CHARACTERS_MAX) -> str:
    """A stored error's type and message."""
    if payload is None:
        return ""
    try:
        return shorten(read_failure(payload).summary, characters)
    except StoreCorrupt as error:
        return str(error)


def shorten(text: str, characters: int) -> str:
    """The text, printable and not longer than that."""
    text = clean(text)
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


# Tables


def make_table(title: str | None, *columns: str) -> Table:
    """An empty table of the house's look; a column named ``*name`` may be wrapped, and takes the room that is left."""
    table = Table(
        box=None,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        wraps = column.startswith("*")
        table.add_column(column.removeprefix("*"), no_wrap=not wraps, overflow="fold")
    return table


def fact_table(facts: Mapping[str, RenderableType | None]) -> Table:
    """Names and values, those without value left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, value)
    return table


def run_table(runs: Sequence[Run], now_ms: UnixMs) -> Table:
    """A listing. Queue and key have a column only if some run has one worth showing."""
    with_queue = any(run.queue != DEFAULT_QUEUE for run in runs)
    with_key = any(run.key is not None for run in runs)
    columns = ["run", "workflow", "status", "created", *["queue"] * with_queue, *["*key"] * with_key]
    table = make_table(None, *columns)
    table.columns[0].min_width = 36
    for run in runs:
        reason = run.terminal_reason if run.status not in ACTIVE_STATUSES else None
        cells: list[RenderableType] = [
            run.id,
            clean(run.workflow),
            show_status(run.status, reason),
            show_ago(now_ms, run.created_ms),
        ]
        table.add_row(*cells, *[clean(run.queue)] * with_queue, *[clean(run.key or "")] * with_key)
    return table


def show_chain(run: Run) -> str | None:
    """Where the run stands in its chain; None if it is in none."""
    if run.chain_id is None:
        return None
    parts = [f"link {run.link} of the chain of {run.chain_id}"]
    if run.continued_from_id is not None:
        parts.append(f"after {run.continued_from_id}")
    if run.continued_as_id is not None:
        parts.append(f"continued as {run.continued_as_id}")
    return ", ".join(parts)


def run_facts(run: Run, now_ms: UnixMs) -> Table:
    """What a run is, without its record."""
    took = None
    if run.finalized_ms is not None:
        took = f"{show_ago(now_ms, run.finalized_ms)}, after {show_span(run.finalized_ms - run.created_ms)}"
    lineage = f"attempt {run.attempt} of {run.root_id}" if run.attempt > 1 else None
    return fact_table(
        {
            "run": Text(run.id, "bold"),
            "workflow": clean(run.workflow),
            "status": show_status(run.status, run.terminal_reason or run.status_reason),
            "input": show_call(run.input),
            "result": show_payload(run.result),
            "error": Text(show_error(run.error), "red"),
            "queue": clean(run.queue),
            "priority": str(run.priority) if run.priority else None,
            "key": clean(run.key or ""),
            "attributes": ", ".join(clean(f"{name}={value}") for name, value in sorted(run.attributes.items())),
            "parent": f"{run.parent_id} at {clean(run.parent_key or '')}" if run.parent_id else None,
            "lineage": lineage,
            "chain": show_chain(run),
            "tenant": clean(run.tenant),
            "worker": run.worker,
            "crashes": str(run.crashes) if run.crashes else None,
            "cancel": "requested" if run.cancel_requested and run.status in ACTIVE_STATUSES else None,
            "created": show_ago(now_ms, run.created_ms),
            "started": show_ago(now_ms, run.started_ms),
            "wakes": show_ago(now_ms, run.wake_ms),
            "deadline": show_ago(now_ms, run.deadline_ms) if run.status in ACTIVE_STATUSES else None,
            "ended": took,
        }
    )


def journal_table(entries: Sequence[Entry]) -> Table:
    """What the run has recorded."""
    table = make_table("Journal", "seq", "key", "kind", "status", "tries", "took", "*result")
    for entry in entries:
        failed = entry.status is EntryStatus.FAILED
        table.add_row(
            str(entry.seq),
            clean(entry.key),
            entry.kind.value,
            Text(entry.status.value, "red" if failed else "green"),
            str(entry.attempts),
            show_span(entry.completed_ms - entry.started_ms),
            show_error(entry.error, characters=200) or show_payload(entry.result, characters=200),
        )
    return table


def wait_table(waits: Sequence[Wait], now_ms: UnixMs) -> Table:
    """What the run waits for, and has waited for."""
    table = make_table("Waits", "key", "kind", "*for", "opened", "until", "outcome")
    for wait in waits:
        table.add_row(
            clean(wait.key),
            wait.kind.value,
            clean(wait.signal or wait.child_id or ""),
            show_ago(now_ms, wait.opened_ms),
            show_ago(now_ms, wait.due_ms) if wait.outcome is None else "",
            Text("open", "cyan")
            if wait.outcome is None
            else f"{wait.outcome.value} {show_ago(now_ms, wait.closed_ms)}",
        )
    return table


def approval_table(approvals: Sequence[Approval], now_ms: UnixMs) -> Table:
    """The inbox."""
    table = make_table(None, "run", "key", "workflow", "*asks", "*of", "asked", "until")
    table.columns[0].min_width = 36
    for one in approvals:
        question = one.question
        names = [*question.by, *(question.escalate_to if one.escalated else [])]
        table.add_row(
            one.run_id,
            clean(one.key),
            clean(one.workflow),
            clean(question.title or ""),
            clean(", ".join(names) or "anyone"),
            show_ago(now_ms, one.opened_ms),
            show_ago(now_ms, one.due_ms),
        )
    return table


def attempt_table(attempts: Sequence[Attempt], now_ms: UnixMs) -> Table:
    """Attempts that failed and were, or are, to be tried again."""
    table = make_table("Failed attempts", "key", "attempt", "ended", "took", "*error")
    for attempt in attempts:
        table.add_row(
            clean(attempt.key),
            str(attempt.attempt),
            show_ago(now_ms, attempt.ended_ms),
            show_span(attempt.ended_ms - attempt.started_ms),
            show_error(attempt.error, characters=200),
        )
    return table


def transition_table(transitions: Sequence[Transition], now_ms: UnixMs) -> Table:
    """How the run came to where it is."""
    table = make_table("Transitions", "seq", "at", "to", "reason", "epoch", "worker")
    for one in transitions:
        table.add_row(
            str(one.seq),
            show_ago(now_ms, one.at_ms),
            show_status(one.to_status),
            clean(one.reason) + ("" if one.moved is None else f" {one.moved.from_version} to {one.moved.to_version}"),
            str(one.epoch),
            one.worker or "",
        )
    return table


def detail_view(detail: RunDetail, *, with_transitions: bool = True) -> Group:
    """Everything about a run; tables without rows are left out."""
    parts: list[RenderableType] = [run_facts(detail.run, detail.now_ms)]
    if detail.journal:
        parts += ["", journal_table(detail.journal)]
    if detail.waits:
        parts += ["", wait_table(detail.waits, detail.now_ms)]
    if detail.attempts:
        parts += ["", attempt_table(detail.attempts, detail.now_ms)]
    if detail.transitions and with_transitions:
        parts += ["", transition_table(detail.transitions, detail.now_ms)]
    return Group(*parts)


def count_line(counts: Mapping[str, int], *, most: int | None = None) -> Text:
    """Runs by status, in the order of their life. Of each no more than ``most`` were counted."""
    shown = [(status, counts[status.value]) for status in RunStatus if counts.get(status.value)]
    if not shown:
        return Text("no runs", "dim")
    numbers = [(status, f"{number}{'+' * (number == most)}") for status, number in shown]
    return Text("  ").join(Text(f"{number} {status.value}", STYLES[status]) for status, number in numbers)


def group_table(groups: Sequence[RunGroup], now_ms: UnixMs) -> Table:
    """Runs that have something in common, the largest group first."""
    with_label = any(group.label is not None for group in groups)
    table = make_table(None, "runs", "value", *["*error"] * with_label, "last", "one of them")
    for group in groups:
        label = [clean(group.label or "")] * with_label
        table.add_row(
            str(group.count), clean(group.value), *label, show_ago(now_ms, group.last_ms), group.sample_id or ""
        )
    return table


def worker_table(workers: Sequence[WorkerRow], now_ms: UnixMs) -> Table:
    """The workers that are alive."""
    table = make_table(None, "worker", "process", "queues", "*codes", "started", "last sign")
    table.columns[0].min_width = 36
    for worker in workers:
        table.add_row(
            worker.id,
            clean(f"{worker.pid} on {worker.host}"),
            clean(", ".join(worker.queues)),
            clean(", ".join(worker.codes)),
            show_ago(now_ms, worker.started_ms),
            show_ago(now_ms, worker.heartbeat_ms),
        )
    return table
