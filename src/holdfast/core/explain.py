"""Why a run is where it is, in words and as data: a pure reading of its record.

One small function per reason reads the record and answers nothing if that reason does not apply; ``READERS`` names
them in the order in which a person wants to hear them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, structs

from holdfast.core.approvals import approvers, is_escalated, read_question
from holdfast.core.failure import Failure, read_failure
from holdfast.core.matching import read_filter
from holdfast.errors import StoreCorrupt
from holdfast.model.breaker import BreakerState
from holdfast.model.catalog import SHORT_HASH_CHARACTERS
from holdfast.model.ids import Json, RunId, UnixMs, WorkerId
from holdfast.model.run import RunDetail, Wait
from holdfast.model.status import TERMINAL_STATUSES, EntryStatus, RunStatus, WaitKind


class Reason(Struct, frozen=True, kw_only=True):
    """One thing that a run waits for, or why it ended."""

    kind: str
    """A stable word: claimable, no_worker, limit, quota, paused_queue, paused_workflow, paused_tenant, delayed, held,
    paused, pausing, timer, signal, child, retry, approval, breaker, cancel, deadline, ended, failed_step, cause,
    link."""
    text: str
    key: str | None = None
    since_ms: UnixMs | None = None
    until_ms: UnixMs | None = None
    signal: str | None = None
    child_id: RunId | None = None
    worker: WorkerId | None = None
    """Who holds the run."""
    ahead: int | None = None
    """How many runs stand before it in its line, counted up to 1,000."""
    attempts: int | None = None
    """How many attempts of a step have failed."""
    continued_as_id: RunId | None = None
    """As which run it continued."""
    child: Explanation | None = None
    """Why the child that it waits for is where it is."""
    holders: list[RunId] | None = None
    """Of a run in the line: some of the tenant's runs that hold the workers, or the places of its queue's limit or its
    tenant's quota, longest first."""
    limit: int | None = None
    """How many runs of the tenant, or of its queue, workers may hold, if that is what it waits for."""
    name: str | None = None
    """What is paused: the queue, the workflow or the tenant; the queue that has reached its limit; or the breaker."""
    actor: str | None = None
    """Who paused it, or opened or closed the breaker."""
    note: str | None = None
    """Why, in the actor's words."""
    approvers: list[str] | None = None
    """Who may answer an approval now; anyone if empty, None if it is no approval."""


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
        for reason in self.reasons:
            lines.append(f"  {reason.text}")
            if reason.child is not None:
                lines += [f"    {line}" for line in str(reason.child).splitlines()]
        if self.error is not None:
            lines.append(f"  error: {self.error}")
        return "\n".join(lines)


Reader = Callable[[RunDetail], list[Reason]]


def explain(detail: RunDetail, children: Mapping[RunId, Explanation] | None = None) -> Explanation:
    """Read a run's record; ``children`` are the explanations of those that it waits for, as far as they were read."""
    run = detail.run
    waiting = _open_waits(detail)
    found = children or {}
    reasons = [reason for read in READERS for reason in read(detail)]
    return Explanation(
        run_id=run.id,
        workflow=run.workflow,
        status=run.status,
        status_reason=run.status_reason,
        terminal_reason=run.terminal_reason,
        current_steps=[wait.key for wait in waiting],
        suspended_until_ms=run.wake_ms,
        pending_signals=[wait.signal for wait in waiting if wait.kind is WaitKind.SIGNAL and wait.signal is not None],
        reasons=[_with_child(reason, found) for reason in reasons],
        error=None if run.error is None else _failure(run.error).summary,
    )


def children_of(detail: RunDetail) -> list[RunId]:
    """The children that the run waits for now, in the order in which it began to."""
    return [wait.child_id for wait in _open_waits(detail) if wait.child_id is not None]


def _open_waits(detail: RunDetail) -> list[Wait]:
    return [wait for wait in detail.waits if wait.outcome is None]


def _with_child(reason: Reason, children: Mapping[RunId, Explanation]) -> Reason:
    child = None if reason.child_id is None else children.get(reason.child_id)
    if child is None:
        return reason
    return structs.replace(reason, child=child)


# --- One function per reason -------------------------------------------------------------------------------------


def _ended(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.status not in TERMINAL_STATUSES:
        return []
    text = f"it ended {_ago(detail, run.finalized_ms)} as {run.status}: {run.terminal_reason}"
    if run.continued_as_id is not None:
        text += f" as run {run.continued_as_id}"
    return [Reason(kind="ended", text=text, since_ms=run.finalized_ms, continued_as_id=run.continued_as_id)]


def _link(detail: RunDetail) -> list[Reason]:
    """Where the run stands in a chain of runs, each of which continued as the next."""
    run = detail.run
    if run.continued_from_id is None:
        return []
    text = f"it is link {run.link} of the chain of run {run.chain_id}: run {run.continued_from_id} continued as it"
    return [Reason(kind="link", text=text, since_ms=run.created_ms)]


def _failed_step(detail: RunDetail) -> list[Reason]:
    """The step whose failure is the run's own: the last one to fail with the error that the run ended with."""
    run = detail.run
    if run.error is None:
        return []
    ours = _failure(run.error)
    for entry in reversed(detail.journal):
        if entry.status is not EntryStatus.FAILED or entry.error is None:
            continue
        theirs = _failure(entry.error)
        if any((one.type, one.message) == (theirs.type, theirs.message) for one in _chain(ours)):
            text = f"{entry.key}: it failed for good {_ago(detail, entry.completed_ms)}, at attempt {entry.attempts}"
            return [
                Reason(
                    kind="failed_step",
                    text=text,
                    key=entry.key,
                    since_ms=entry.completed_ms,
                    attempts=entry.attempts,
                )
            ]
    return []


def _causes(detail: RunDetail) -> list[Reason]:
    """What the run's error came from, outermost first."""
    if detail.run.error is None:
        return []
    return [Reason(kind="cause", text=f"caused by {one.summary}") for one in _chain(_failure(detail.run.error))[1:]]


def _chain(failure: Failure) -> list[Failure]:
    """An error and what it came from; of a group, the first of its members."""
    found = [failure]
    while (inner := failure.cause or next(iter(failure.members), None)) is not None:
        found.append(inner)
        failure = inner
    return found


def _in_line(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.ready_ms is None:
        return []
    since = _ago(detail, run.ready_ms)
    if not any(run.code in worker.codes and run.queue in worker.queues for worker in detail.workers):
        text = (
            f"it has waited in line since {since}: no live worker knows {_code_words(detail)} "
            f"and serves queue {run.queue!r}; start one with that code{_lacking(detail)}"
        )
        return [Reason(kind="no_worker", text=text, since_ms=run.ready_ms, ahead=detail.ahead)]
    standing = detail.standing
    count = min(detail.ahead + standing.barred_ahead, _AHEAD_MAX)
    ahead = f"{count}+" if count == _AHEAD_MAX else str(count)
    holders = [one.run_id for one in standing.holders]
    if full := _full(detail, count, f"it has waited in line since {since}, with {ahead} run(s) ahead of it"):
        return full
    if standing.pauses:
        text = f"it has waited in line since {since}, with {ahead} run(s) ahead of it in queue {run.queue!r}"
    else:
        text = f"it has been claimable since {since}, with {ahead} run(s) ahead of it in queue {run.queue!r}"
        text += _holding(detail)
    return [Reason(kind="claimable", text=text, since_ms=run.ready_ms, ahead=count, holders=holders)]


def _full(detail: RunDetail, ahead: int, begin: str) -> list[Reason]:
    """The limits that are reached, the queue's and the tenant's; the first one with the runs that hold its places."""
    run, standing = detail.run, detail.standing
    reached = [
        (kind, most, what, name)
        for kind, most, held, what, name in (
            ("limit", standing.queue_running_max, standing.queue_running, f"of queue {run.queue!r} ", run.queue),
            ("quota", standing.running_max, standing.running, "", None),
        )
        if most is not None and held >= most
    ]
    counts = {"limit": standing.queue_running, "quota": standing.running}
    return [
        Reason(
            kind=kind,
            text=(
                f"{begin} in queue {run.queue!r}: workers may hold {most} run(s) {what}of tenant {run.tenant!r}, "
                f"and hold {counts[kind]}{'' if index else _holding(detail)}"
            ),
            since_ms=run.ready_ms,
            ahead=ahead,
            holders=[] if index else [one.run_id for one in standing.holders],
            limit=most,
            name=name,
        )
        for index, (kind, most, what, name) in enumerate(reached)
    ]


def _holding(detail: RunDetail) -> str:
    """The runs that hold the workers meanwhile, longest first."""
    shown = [
        f"{one.run_id} ({one.workflow}, since {_ago(detail, one.since_ms)})"
        for one in detail.standing.holders[:_HOLDERS_SHOWN]
    ]
    more = len(detail.standing.holders) - len(shown)
    rest = f" and {more} more" if more else ""
    return f"; held meanwhile: {', '.join(shown)}{rest}" if shown else ""


def _paused_lines(detail: RunDetail) -> list[Reason]:
    """What is paused of all that the run belongs to."""
    run = detail.run
    if run.status in TERMINAL_STATUSES:
        return []
    effect = "it is not claimed" if run.ready_ms is not None else "it will not be claimed again"
    return [
        Reason(
            kind=f"paused_{pause.kind}",
            text=(
                f"{pause.kind} {pause.name!r} was paused {_ago(detail, pause.since_ms)}"
                f"{f' by {pause.actor}' if pause.actor else ''}{f' ({pause.note})' if pause.note else ''}: "
                f"{effect} until `holdfast {pause.kind}s resume {pause.name}`"
            ),
            since_ms=pause.since_ms,
            name=pause.name,
            actor=pause.actor,
            note=pause.note,
        )
        for pause in detail.standing.pauses
    ]


def _code_words(detail: RunDetail) -> str:
    run = detail.run
    if run.definition_hash is None:
        return f"workflow {run.workflow!r}"
    return f"version {run.version} of workflow {run.workflow!r} ({run.definition_hash[:SHORT_HASH_CHARACTERS]})"


def _lacking(detail: RunDetail) -> str:
    """What the workers that looked at the run's version do not register."""
    code = detail.run.code
    return "".join(
        f"; worker {worker.id} (process {worker.pid} on {worker.host}) lacks {', '.join(worker.lacks[code])}"
        for worker in detail.workers
        if code in worker.lacks
    )


def _held(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.worker is None:
        return []
    holder = next((worker for worker in detail.workers if worker.id == run.worker), None)
    if holder is None or holder.lease_until_ms <= detail.now_ms:
        text = f"worker {run.worker} holds it, but its lease has ended: it is taken over soon"
        return [Reason(kind="held", text=text, worker=run.worker, since_ms=run.updated_ms)]
    text = (
        f"worker {holder.id} (process {holder.pid} on {holder.host}) executes it; "
        f"last sign of life {_ago(detail, holder.heartbeat_ms)}"
    )
    until_ms = holder.lease_until_ms
    return [Reason(kind="held", text=text, worker=run.worker, since_ms=run.updated_ms, until_ms=until_ms)]


def _delayed(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.status is not RunStatus.QUEUED or run.ready_ms is not None:
        return []
    if run.stands_aside:
        text = f"its worker gave it back to be moved to another version; else it goes on {_in(detail, run.wake_ms)}"
        return [Reason(kind="moving", text=text, until_ms=run.wake_ms)]
    return [Reason(kind="delayed", text=f"it starts {_in(detail, run.wake_ms)}, as asked", until_ms=run.wake_ms)]


def _paused(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.status is not RunStatus.PAUSED:
        if run.worker is None:
            return []
        until_ms = run.aside_until_ms
        if run.pause_requested:
            text = "it is to be paused as soon as its steps under way have ended"
            return [Reason(kind="pausing", text=text)]
        if until_ms is not None and until_ms > detail.now_ms:
            text = "it is to be moved to another version as soon as its steps under way have ended"
            return [Reason(kind="moving", text=text, until_ms=until_ms)]
        return []
    text = f"it was paused {_ago(detail, run.updated_ms)}, and goes on when it is resumed"
    return [Reason(kind="paused", text=text, since_ms=run.updated_ms)]


def _waits(detail: RunDetail) -> list[Reason]:
    return [_wait(detail, wait) for wait in _open_waits(detail)]


def _cancel(detail: RunDetail) -> list[Reason]:
    if not detail.run.cancel_requested or detail.run.status in TERMINAL_STATUSES:
        return []
    undoes = ", after it has undone what it did" if detail.run.cancel_compensates else ""
    return [Reason(kind="cancel", text=f"it is to be cancelled as soon as a worker notices{undoes}")]


def _deadline(detail: RunDetail) -> list[Reason]:
    run = detail.run
    if run.deadline_ms is None or run.status in TERMINAL_STATUSES:
        return []
    return [
        Reason(kind="deadline", text=f"its deadline is {_in(detail, run.deadline_ms)}", until_ms=run.deadline_ms),
    ]


READERS: Final[tuple[Reader, ...]] = (
    _ended,
    _failed_step,
    _causes,
    _paused_lines,
    _in_line,
    _held,
    _delayed,
    _paused,
    _waits,
    _cancel,
    _deadline,
    _link,
)
"""Every reason there is; a new one is a function here."""


def _wait(detail: RunDetail, wait: Wait) -> Reason:
    until = "" if wait.due_ms is None else f", {_for(detail, wait.due_ms)}"
    attempts = None
    match wait.kind:
        case WaitKind.TIMER:
            text = f"{wait.key}: it sleeps{until}"
        case WaitKind.SIGNAL:
            text = f"{wait.key}: it waits for signal {wait.signal!r}{_filter(wait)}{until or ', without a time limit'}"
        case WaitKind.CHILD:
            text = f"{wait.key}: it waits for child run {wait.child_id}"
        case WaitKind.RETRY:
            text, attempts = _retry(detail, wait)
        case WaitKind.BREAKER:
            return _breaker(detail, wait)
        case WaitKind.APPROVAL:
            text = f"{wait.key}: it waits for {_approval(detail, wait)}{until or ', without a time limit'}"
    return Reason(
        kind=wait.kind.value,
        text=text,
        key=wait.key,
        since_ms=wait.opened_ms,
        until_ms=wait.due_ms,
        signal=wait.signal,
        child_id=wait.child_id,
        attempts=attempts,
        approvers=_approvers(detail, wait),
    )


def _breaker(detail: RunDetail, wait: Wait) -> Reason:
    """A call that is not made, because the service that it is for was down."""
    row = next((one for one in detail.standing.breakers if one.name == wait.signal), None)
    step, what = wait.key.rpartition("~breaker")[0], f"the breaker {wait.signal!r}"
    by = "" if row is None or not row.actor else f" by {row.actor}{f' ({row.note})' if row.note else ''}"
    since_ms = wait.opened_ms if row is None or row.opened_ms is None else row.opened_ms
    until_ms = None if row is None or row.state is not BreakerState.OPEN else row.retry_ms
    if row is None or row.state is BreakerState.CLOSED:
        text = f"{what} is closed again{by}, and lets those who wait for it go on one after the other"
    elif row.state is BreakerState.HALF_OPEN:
        text = (
            f"{what} is open since {_ago(detail, since_ms)}, and run {(row.prober or '').partition(' ')[0]} tries now"
        )
    elif until_ms is None:
        text = f"{what} is open since {_ago(detail, since_ms)}{by}, until `holdfast breakers close {wait.signal}`"
    else:
        text = f"{what} is open since {_ago(detail, since_ms)}{by}, it tries again {_in(detail, until_ms)}"
    return Reason(
        kind=wait.kind.value,
        text=f"{step}: {text}",
        key=wait.key,
        since_ms=since_ms,
        until_ms=until_ms,
        name=wait.signal,
        actor=None if row is None or not row.actor else row.actor,
        note=None if row is None or not row.actor else row.note,
    )


def _filter(wait: Wait) -> str:
    if wait.request is None:
        return ""
    note = "" if wait.note is None else f" (the filter failed with the last one: {wait.note})"
    return f" where {read_filter(wait.request).where}{note}"


def _approvers(detail: RunDetail, wait: Wait) -> list[str] | None:
    if wait.kind is not WaitKind.APPROVAL or wait.request is None:
        return None
    return approvers(read_question(wait.request), opened_ms=wait.opened_ms, now_ms=detail.now_ms)


def _approval(detail: RunDetail, wait: Wait) -> str:
    question = read_question(wait.request or Json(b"{}"))
    title = "" if question.title is None else f" ({question.title})"
    allowed = approvers(question, opened_ms=wait.opened_ms, now_ms=detail.now_ms)
    who = f"approval by {' or '.join(allowed)}" if allowed else "approval by anyone"
    if question.escalate_after_ms is None:
        return who + title
    if is_escalated(question, opened_ms=wait.opened_ms, now_ms=detail.now_ms):
        return f"{who}{title}, escalated"
    due_ms = UnixMs(wait.opened_ms + question.escalate_after_ms)
    return f"{who}{title}, {_in(detail, due_ms)} also by {' or '.join(question.escalate_to)}"


def _retry(detail: RunDetail, wait: Wait) -> tuple[str, int | None]:
    step = wait.key.rpartition("~retry")[0]
    last = max((a for a in detail.attempts if a.key == step), key=lambda a: a.attempt, default=None)
    if last is None:
        return f"{step}: it is tried again {_in(detail, wait.due_ms)}", None
    failure = _failure(last.error)
    text = f"{step}: attempt {last.attempt} failed ({failure.summary}); it is tried again {_in(detail, wait.due_ms)}"
    return text, last.attempt


def _failure(stored: Json) -> Failure:
    """A stored error; one that cannot be read says so, and hides nothing else of the run."""
    try:
        return read_failure(stored)
    except StoreCorrupt as error:
        return Failure(type="unreadable", message=str(error), retryable=False)


# --- Times -------------------------------------------------------------------------------------------------------


_AHEAD_MAX = 1000
"""``RunDetail.ahead`` counts no further."""

_HOLDERS_SHOWN = 3

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
