"""The promises, checked on what a simulation left behind: whatever the workflows were, these hold for every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from holdfast.model.ids import RunId
from holdfast.model.run import Entry, Run, RunDetail, Wait
from holdfast.model.status import (
    TERMINAL_STATUSES,
    TRANSITIONS,
    EntryKind,
    EntryStatus,
    RunStatus,
    WaitKind,
    WaitOutcome,
)
from holdfast.testing.sim.history import History


def check_runs(history: History, details: Mapping[RunId, RunDetail]) -> Iterator[str]:
    """What is wrong with the database's rows, given what its answers were."""
    for run_id in history.started:
        if run_id not in details:
            yield f"run {run_id} was started, and is gone"
    for run_id, detail in details.items():
        for problem in check_run(history, detail, details):
            yield f"run {run_id} ({detail.run.workflow}): {problem}"


def check_run(history: History, detail: RunDetail, details: Mapping[RunId, RunDetail]) -> Iterator[str]:
    """The problems of one run."""
    source = details.get(detail.run.retry_of_id or detail.run.forked_from_id or detail.run.id, detail)
    yield from _check_transitions(detail)
    yield from _check_commands(detail)
    yield from _check_journal(history, detail, source)
    yield from _check_attempts(history, detail)
    for wait in detail.waits:
        yield from _check_wait(wait, details)
    yield from _check_waits_as_opened(history, detail, source)
    yield from _check_links(detail.run, details)
    if detail.run.status in TERMINAL_STATUSES:
        yield from _check_end(detail)
        yield from _check_compensations(history, detail)


def _check_transitions(detail: RunDetail) -> Iterator[str]:
    status: RunStatus | None = None
    for number, transition in enumerate(detail.transitions, 1):
        if transition.seq != number:
            yield f"transition {number} has number {transition.seq}"
        if transition.from_status is not status:
            yield f"transition {number} begins at {transition.from_status}, but the run was {status}"
        status = transition.to_status
        if not _is_legal(transition.from_status, status):
            yield f"transition {number} from {transition.from_status} to {status} ({transition.reason}) is not legal"
    if status is not detail.run.status:
        yield f"it is {detail.run.status}, but its last transition says {status}"
    if len([one for one in detail.transitions if one.to_status in TERMINAL_STATUSES - {RunStatus.STUCK}]) > 1:
        yield "it ended more than once"


def _is_legal(before: RunStatus | None, after: RunStatus) -> bool:
    if before is None:
        return after is RunStatus.QUEUED
    # A delayed start that becomes due stays queued.
    return after in TRANSITIONS[before].values() or (before is after is RunStatus.QUEUED)


def _check_commands(detail: RunDetail) -> Iterator[str]:
    ids = [one.command_id for one in detail.transitions if one.command_id is not None]
    for command_id in sorted({one for one in ids if ids.count(one) > 1}):
        yield f"it obeyed command {command_id} {ids.count(command_id)} times"


def _is_copied(entry: Entry, source: RunDetail) -> bool:
    """Whether a run began with this outcome of another; results may have been replaced by hand."""
    origin = {one.key: one for one in source.journal}.get(entry.key)
    if entry.epoch != 0 or origin is None:
        return False
    return entry.settled_by is not None or (entry.status, entry.result) == (origin.status, origin.result)


def _check_journal(history: History, detail: RunDetail, source: RunDetail) -> Iterator[str]:
    accepted = {entry.key: entry for one in history.accepted.get(detail.run.id, ()) for entry in one.commit.entries}
    journal = {entry.key: entry for entry in detail.journal}
    for key in [*accepted, *(key for key in journal if key not in accepted)]:
        if key not in journal:
            yield f"{key!r} was journaled, and is gone"
        elif key not in accepted and journal[key].settled_by is None and not _is_copied(journal[key], source):
            yield f"{key!r} is in the journal, and nobody wrote it"
        elif key in accepted and journal[key] != accepted[key]:
            yield f"{key!r} was journaled as {accepted[key]}, and is now {journal[key]}"
    seqs = sorted([entry.seq for entry in detail.journal] + [wait.seq for wait in detail.waits])
    if len(set(seqs)) < len(seqs):
        yield f"the order of its journal and waits has doubles: {seqs}"


def _check_attempts(history: History, detail: RunDetail) -> Iterator[str]:
    accepted = [
        (attempt.key, attempt.attempt)
        for one in history.accepted.get(detail.run.id, ())
        for attempt in one.commit.attempts
    ]
    recorded = [(attempt.key, attempt.attempt) for attempt in detail.attempts]
    if sorted(accepted) != sorted(recorded):
        yield f"the failed attempts {sorted(accepted)} were recorded, and are now {sorted(recorded)}"
    for entry in detail.journal:
        numbers = [attempt for key, attempt in recorded if key == entry.key]
        if entry.epoch and sorted(numbers) != list(range(1, entry.attempts)):
            yield f"{entry.key!r} took {entry.attempts} attempts, and the failed ones are {sorted(numbers)}"


def _check_wait(wait: Wait, details: Mapping[RunId, RunDetail]) -> Iterator[str]:
    match wait.outcome:
        case WaitOutcome.ELAPSED if wait.kind is WaitKind.BREAKER:
            # It has no time of its own: it lasts as long as its breaker is open.
            pass
        case WaitOutcome.ELAPSED if wait.due_ms is None or wait.closed_ms is None or wait.closed_ms < wait.due_ms:
            yield f"the wait {wait.key!r}, due at {wait.due_ms}, fired early, at {wait.closed_ms}"
        case WaitOutcome.SIGNALLED if wait.kind is not WaitKind.SIGNAL or wait.result is None:
            yield f"the wait {wait.key!r} was signalled without a payload"
        case WaitOutcome.CHILD_ENDED:
            child = details.get(wait.child_id) if wait.child_id is not None else None
            if child is None:
                yield f"the wait {wait.key!r} is for a child that does not exist"
            elif (child.run.status, child.run.result) != (wait.child_status, wait.result):
                yield f"the wait {wait.key!r} says that the child ended {wait.child_status}, it is {child.run.status}"
        case _:
            pass


def _check_links(run: Run, details: Mapping[RunId, RunDetail]) -> Iterator[str]:
    """A run that continued and its successor name each other, and there is no other end of that kind."""
    if (run.terminal_reason == "continued") != (run.continued_as_id is not None):
        yield f"it ended {run.terminal_reason}, and continued as {run.continued_as_id}"
    for other_id, place, back in (
        (run.continued_as_id, 1, "continued_from_id"),
        (run.continued_from_id, -1, "continued_as_id"),
    ):
        if other_id is None:
            continue
        other = details[other_id].run if other_id in details else None
        if other is None or getattr(other, back) != run.id:
            yield f"it names run {other_id} as its neighbour in a chain, which does not name it"
        elif (other.chain_id, other.link) != (run.chain_id, (run.link or 0) + place):
            yield f"it is link {run.link} of {run.chain_id}, and run {other_id} is {other.link} of {other.chain_id}"


def _check_waits_as_opened(history: History, detail: RunDetail, source: RunDetail) -> Iterator[str]:
    copied = {wait.key for wait in source.waits if source is not detail}
    mine = {new.key for one in history.accepted.get(detail.run.id, ()) for new in one.commit.waits}
    waits = {wait.key: wait for wait in detail.waits if wait.key in mine or wait.key not in copied}
    opened = {new.key: (one, new) for one in history.accepted.get(detail.run.id, ()) for new in one.commit.waits}
    if opened.keys() != waits.keys():
        yield f"the waits {sorted(opened)} were opened, and there are {sorted(waits)}"
    for key, (one, new) in opened.items():
        wait = waits.get(key)
        if wait is not None and new.delay_ms is not None and wait.due_ms != one.store_ms + new.delay_ms:
            yield f"the wait {key!r} was opened at {one.store_ms} for {new.delay_ms} ms, and is due at {wait.due_ms}"


def _check_end(detail: RunDetail) -> Iterator[str]:
    run = detail.run
    if run.finalized_ms is None or run.worker is not None or run.ready_ms is not None or run.wake_ms is not None:
        yield f"it has ended, but is still held, in line or to be woken: {run}"
    if run.terminal_reason is None:
        yield "it has ended without a reason"
    for wait in detail.waits:
        if wait.outcome is None and run.status is not RunStatus.STUCK:
            yield f"it has ended, and the wait {wait.key!r} is open"


def _check_compensations(history: History, detail: RunDetail) -> Iterator[str]:
    """On a failure exactly the completed steps that can be undone, last first; on a success none.

    A run that is set aside or cancelled while it compensates has undone the first of them.
    """
    undone = [entry for entry in detail.journal if entry.kind is EntryKind.COMPENSATION]
    to_undo = [_compensation_of(entry) for entry in _compensable(detail.journal)]
    expected = to_undo if detail.run.status is RunStatus.FAILED else []
    done = [entry.key for entry in undone]
    if detail.run.status in (RunStatus.STUCK, RunStatus.CANCELLED):
        expected = to_undo[: len(done)]
    if done != expected:
        yield f"it ended {detail.run.status}; to be undone were {expected}, in this order, and undone was {done}"
    calls = [call for call in history.handlers.get(detail.run.id, ()) if call.compensates]
    first_calls = list(dict.fromkeys(call.key for call in calls))
    if detail.run.status is RunStatus.FAILED and first_calls != expected:
        yield f"its compensations were called in the order {first_calls}, not {expected}"
    yield from _check_nothing_forward(history, detail, began_s=min((call.started_s for call in calls), default=None))


def _check_nothing_forward(history: History, detail: RunDetail, *, began_s: float | None) -> Iterator[str]:
    if began_s is None:
        return
    epochs = [call.execution.epoch for call in history.handlers[detail.run.id] if call.compensates and call.execution]
    for call in history.handlers[detail.run.id]:
        if not call.compensates and call.execution and call.started_s > began_s and call.execution.epoch >= min(epochs):
            yield f"{call.key!r} was called after the run had begun to compensate"


def _compensable(journal: list[Entry]) -> list[Entry]:
    done = [
        entry
        for entry in journal
        if entry.kind is EntryKind.STEP and entry.status is EntryStatus.COMPLETED and entry.input is not None
    ]
    return sorted(done, key=lambda entry: entry.seq, reverse=True)


def _compensation_of(entry: Entry) -> str:
    return f"{entry.key}~compensate"


def describe_run(run: Run) -> str:
    """One line for messages."""
    return f"run {run.id} ({run.workflow}): {run.status} since {run.updated_ms}, {run.status_reason}, epoch {run.epoch}"
