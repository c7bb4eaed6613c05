"""Why a run is where it is, in words and as data: a pure reading of its record."""

from __future__ import annotations

from msgspec import Struct

from holdfast.core.failure import read_failure
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import RunDetail, Wait
from holdfast.model.status import TERMINAL_STATUSES, RunStatus, WaitKind


class Reason(Struct, frozen=True, kw_only=True):
    """One thing that a run waits for, or why it ended."""

    kind: str
    """A stable word: claimable, no_worker, delayed, held, timer, signal, child, retry, deadline, ended."""
    text: str
    key: str | None = None
    since_ms: UnixMs | None = None
    until_ms: UnixMs | None = None
    signal: str | None = None
    child_id: RunId | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """The state of a run and what would move it."""

    run_id: RunId
    workflow: str
    status: RunStatus
    status_reason: str
    terminal_reason: str | None
    current_steps: list[str]
    """The keys of the operations it waits in."""
    suspended_until_ms: UnixMs | None
    pending_signals: list[str]
    reasons: list[Reason]
    error: str | None

    def __str__(self) -> str:
        lines = [f"run {self.run_id} ({self.workflow}) is {self.status}"]
        lines += [f"  {reason.text}" for reason in self.reasons]
        if self.error is not None:
            lines.append(f"  error: {self.error}")
        return "\n".join(lines)


def explain(detail: RunDetail) -> Explanation:
    """Read a run's record."""
    run = detail.run
    waiting = [wait for wait in detail.waits if wait.outcome is None]
    reasons = _reasons(detail, waiting)
    error = None
    if run.error is not None:
        error = read_failure(run.error).summary
    return Explanation(
        run_id=run.id,
        workflow=run.workflow,
        status=run.status,
        status_reason=run.status_reason,
        terminal_reason=run.terminal_reason,
        current_steps=[wait.key for wait in waiting],
        suspended_until_ms=run.wake_ms,
        pending_signals=[wait.signal for wait in waiting if wait.signal is not None],
        reasons=reasons,
        error=error,
    )


def _reasons(detail: RunDetail, waiting: list[Wait]) -> list[Reason]:
    run = detail.run
    if run.status in TERMINAL_STATUSES:
        return [
            Reason(
                kind="ended",
                text=f"it ended {_ago(detail, run.finalized_ms)} as {run.status}: {run.terminal_reason}",
                since_ms=run.finalized_ms,
            )
        ]
    reasons: list[Reason] = []
    if run.ready_ms is not None:
        reasons.append(_in_line(detail))
    elif run.worker is not None:
        reasons.append(_held(detail))
    elif run.status is RunStatus.QUEUED:
        reasons.append(
            Reason(kind="delayed", text=f"it starts {_in(detail, run.wake_ms)}, as asked", until_ms=run.wake_ms)
        )
    reasons += [_wait(detail, wait) for wait in waiting]
    if run.cancel_requested:
        reasons.append(Reason(kind="cancel", text="it is to be cancelled as soon as its worker notices"))
    if run.deadline_ms is not None:
        text = f"its deadline is {_in(detail, run.deadline_ms)}"
        reasons.append(Reason(kind="deadline", text=text, until_ms=run.deadline_ms))
    return reasons


def _in_line(detail: RunDetail) -> Reason:
    run = detail.run
    since = _ago(detail, run.ready_ms)
    if not any(run.workflow in worker.workflows and run.queue in worker.queues for worker in detail.workers):
        text = (
            f"it has waited in line since {since}: no live worker knows workflow {run.workflow!r} "
            f"and serves queue {run.queue!r}; start one with that code"
        )
        return Reason(kind="no_worker", text=text, since_ms=run.ready_ms)
    ahead = f"{detail.ahead}+" if detail.ahead >= _AHEAD_MAX else str(detail.ahead)
    text = f"it has been claimable since {since}, with {ahead} run(s) ahead of it in queue {run.queue!r}"
    return Reason(kind="claimable", text=text, since_ms=run.ready_ms)


def _held(detail: RunDetail) -> Reason:
    run = detail.run
    holder = next((worker for worker in detail.workers if worker.id == run.worker), None)
    if holder is None:
        return Reason(kind="held", text=f"worker {run.worker} holds it, but its lease has ended: it is taken over soon")
    text = (
        f"worker {holder.id} (process {holder.pid} on {holder.host}) executes it; "
        f"last sign of life {_ago(detail, holder.heartbeat_ms)}"
    )
    return Reason(kind="held", text=text, since_ms=run.updated_ms)


def _wait(detail: RunDetail, wait: Wait) -> Reason:
    until = "" if wait.due_ms is None else f", {_for(detail, wait.due_ms)}"
    match wait.kind:
        case WaitKind.TIMER:
            text = f"{wait.key}: it sleeps{until}"
        case WaitKind.SIGNAL:
            text = f"{wait.key}: it waits for signal {wait.signal!r}{until or ', without a time limit'}"
        case WaitKind.CHILD:
            text = f"{wait.key}: it waits for child run {wait.child_id}"
        case WaitKind.RETRY:
            text = _retry(detail, wait)
    return Reason(
        kind=wait.kind.value,
        text=text,
        key=wait.key,
        since_ms=wait.opened_ms,
        until_ms=wait.due_ms,
        signal=wait.signal,
        child_id=wait.child_id,
    )


def _retry(detail: RunDetail, wait: Wait) -> str:
    step = wait.key.rpartition("~retry")[0]
    last = max((a for a in detail.attempts if a.key == step), key=lambda a: a.attempt, default=None)
    if last is None:
        return f"{step}: it is tried again {_in(detail, wait.due_ms)}"
    failure = read_failure(last.error)
    return f"{step}: attempt {last.attempt} failed ({failure.summary}); it is tried again {_in(detail, wait.due_ms)}"


_AHEAD_MAX = 1000
"""``RunDetail.ahead`` counts no further."""

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def _span(milliseconds: int) -> str:
    for size, unit in _UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{max(milliseconds, 0)} ms"


def _ago(detail: RunDetail, moment_ms: UnixMs | None) -> str:
    return "at an unknown time" if moment_ms is None else f"{_span(detail.now_ms - moment_ms)} ago"


def _for(detail: RunDetail, moment_ms: UnixMs) -> str:
    return f"for {_span(moment_ms - detail.now_ms)} more" if moment_ms > detail.now_ms else "until now"


def _in(detail: RunDetail, moment_ms: UnixMs | None) -> str:
    if moment_ms is None:
        return "at an unknown time"
    return f"in {_span(moment_ms - detail.now_ms)}" if moment_ms > detail.now_ms else "now"
