"""What a command does to a run, decided from the run as it is: a pure function, the same for every store.

A store reads the run under its lock, asks ``decide``, and writes the effect guarded by the status, epoch and holder
that the decision saw. So the table of legal moves is kept in one place, and a race has one winner.
"""

from __future__ import annotations

from typing import Any, assert_never

from msgspec import Struct, structs

from holdfast.core.approvals import decide_for_others
from holdfast.core.definitions.moving import MovePlan, Recorded, plan_move
from holdfast.errors import CommandRefused, MoveRefused, RunFinished, RunHeld
from holdfast.model.command import (
    Cancel,
    Change,
    CloseStuck,
    Command,
    HandBack,
    MoveTo,
    Order,
    Pause,
    ReleaseStuck,
    Resume,
    RunCopy,
    Settle,
    Terminate,
    allowed_from,
    word_of,
)
from holdfast.model.ids import Json, UnixMs
from holdfast.model.run import Attempt, Entry, Run, Transition, VersionMove, Wait
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome

_S = RunStatus
COMPENSATION_SUFFIX = "~compensate"


class Situation(Struct, frozen=True, kw_only=True):
    """A run under its lock. All but the run is read only for the commands in ``LOOKS``."""

    now_ms: UnixMs
    run: Run
    journal: list[Entry] = []
    waits: list[Wait] = []
    attempts: list[Attempt] = []
    transitions: list[Transition] = []


LOOKS = (Settle, Change, ReleaseStuck, MoveTo)
"""The commands whose effect depends on more than the run's row."""


class Closing(Struct, frozen=True, kw_only=True):
    """An open wait that gets its outcome."""

    key: str
    outcome: WaitOutcome
    result: Json | None = None
    error: Json | None = None
    child_status: RunStatus | None = None


class Effect(Struct, frozen=True, kw_only=True):
    """What is to be written."""

    after: Run
    """The run's row, but for its transition's number."""
    key: str | None = None
    """The step or wait that it is about."""
    closings: list[Closing] = []
    entry: Entry | None = None
    renamed: dict[str, str] = {}
    """Journal keys that get another name, wherever they stand."""
    moved: VersionMove | None = None
    seen_seq: int | None = None
    """The run's last transition that the decision saw, if it depends on there being no later one."""

    def ends(self, before: Run) -> bool:
        """Whether it ends the run, so that its waits are closed and its parent and children hear of it."""
        return self.after.status in TERMINAL_STATUSES and before.status is not self.after.status

    def tells_holder(self, before: Run) -> bool:
        """Whether a worker holds the run that should hear of it."""
        return before.worker is not None

    def makes_work(self, before: Run) -> bool:
        """Whether a run may be claimed now that could not before: this one, or another in the place that it leaves."""
        return self.after.ready_ms is not None or (before.worker is not None and self.after.worker is None)


def decide(situation: Situation, order: Order) -> Effect | None:
    """What the command does; None if it is done already. Raises RunFinished, CommandRefused."""
    match order.command:
        case Cancel() as command:
            return _cancel(situation, command)
        case Terminate():
            return _terminate(situation)
        case Pause():
            return _pause(situation)
        case Resume():
            return _resume(situation)
        case ReleaseStuck():
            return _release(situation)
        case CloseStuck():
            return _close(situation)
        case Settle() as command:
            return _settle(situation, command, order.actor)
        case Change() as command:
            return _change(situation, command)
        case MoveTo() as command:
            return _move(situation, command)
        case HandBack() as command:
            return _hand_back(situation, command)
        case _:
            assert_never(order.command)


_HELD = "a worker holds it: pause it first"


def is_for_newest(run: Run, command: Command) -> bool:
    """Whether a command to this run is for the last link of its chain: all that name none of its records."""
    return run.continued_as_id is not None and not isinstance(command, Settle | MoveTo | HandBack)


def _refuse(run: Run, command: Command, why: str = "") -> CommandRefused | RunFinished:
    if run.status in TERMINAL_STATUSES and run.status is not _S.STUCK:
        return RunFinished(run_id=run.id, status=run.status, continued_as_id=run.continued_as_id)
    word = word_of(command)
    state = "held by a worker" if run.worker is not None and run.status is not _S.RUNNING else run.status
    allowed = [each for each in allowed_from(run.status) if each != word]
    reason = why or f"it is {state}"
    refusal = RunHeld if why == _HELD else CommandRefused
    return refusal(run_id=run.id, status=run.status, command=word, allowed=", ".join(allowed), why=reason)


def _moved(situation: Situation, to: RunStatus, reason: str, **changes: Any) -> Run:
    run = situation.run
    return structs.replace(run, status=to, status_reason=reason, updated_ms=situation.now_ms, **changes)


def _ended(situation: Situation, to: RunStatus, terminal_reason: str, **changes: Any) -> Effect:
    after = _moved(
        situation,
        to,
        to.value,
        terminal_reason=terminal_reason,
        worker=None,
        ready_ms=None,
        wake_ms=None,
        kept_wake_ms=None,
        pause_requested=False,
        finalized_ms=situation.now_ms,
        **changes,
    )
    return Effect(after=after)


def _in_line(situation: Situation, to: RunStatus, reason: str, **changes: Any) -> Run:
    ready_ms = situation.now_ms if situation.run.ready_ms is None else situation.run.ready_ms
    return _moved(situation, to, reason, ready_ms=ready_ms, wake_ms=None, kept_wake_ms=None, **changes)


def _cancel(situation: Situation, command: Cancel) -> Effect | None:
    run = situation.run
    if run.status is _S.CANCELLED:
        return None
    if run.status in TERMINAL_STATUSES:
        raise _refuse(run, command)
    compensates = command.compensate and run.status is not _S.COMPENSATING
    is_workers = run.worker is not None or run.status is _S.COMPENSATING
    if run.cancel_requested and (run.cancel_compensates or (is_workers and not compensates)):
        return None
    asked = {"cancel_requested": True, "cancel_compensates": run.cancel_compensates or compensates}
    if is_workers:
        return Effect(after=_moved(situation, run.status, "cancel_requested", pause_requested=False, **asked))
    if compensates and run.started_ms is not None:
        return Effect(after=_in_line(situation, _S.QUEUED, "cancel_requested", pause_requested=False, **asked))
    return _ended(situation, _S.CANCELLED, "cancelled")


def _terminate(situation: Situation) -> Effect | None:
    run = situation.run
    if run.status is _S.CANCELLED:
        return None
    if run.status in TERMINAL_STATUSES:
        raise _refuse(run, Terminate())
    return _ended(situation, _S.CANCELLED, "terminated", epoch=run.epoch + 1)


def _pause(situation: Situation) -> Effect | None:
    run = situation.run
    if run.status is _S.PAUSED or run.pause_requested:
        return None
    if run.status in TERMINAL_STATUSES or run.status is _S.COMPENSATING:
        raise _refuse(run, Pause())
    if run.cancel_requested:
        raise _refuse(run, Pause(), "it is to be cancelled")
    if run.worker is not None:
        return Effect(after=_moved(situation, run.status, "pause_requested", pause_requested=True))
    # A delayed start keeps its moment; a parked run's timers keep theirs in its waits.
    kept_ms = run.wake_ms if run.status is _S.QUEUED else None
    return Effect(after=_moved(situation, _S.PAUSED, "paused", ready_ms=None, wake_ms=None, kept_wake_ms=kept_ms))


def _resume(situation: Situation) -> Effect:
    run = situation.run
    if run.pause_requested and run.status not in TERMINAL_STATUSES:
        return Effect(after=_moved(situation, run.status, "resumed", pause_requested=False))
    if run.status is not _S.PAUSED:
        raise _refuse(run, Resume())
    if run.kept_wake_ms is not None and run.kept_wake_ms > situation.now_ms:
        after = _moved(situation, _S.QUEUED, "resumed", wake_ms=run.kept_wake_ms, kept_wake_ms=None)
        return Effect(after=after)
    return Effect(after=_in_line(situation, _S.QUEUED, "resumed"))


def _release(situation: Situation) -> Effect:
    run = situation.run
    if run.status is not _S.STUCK:
        raise _refuse(run, ReleaseStuck())
    aside = next(one for one in reversed(situation.transitions) if one.from_status is not _S.STUCK)
    undoes = aside.from_status is _S.COMPENSATING
    after = _in_line(
        situation,
        _S.COMPENSATING if undoes else _S.QUEUED,
        "released",
        terminal_reason=None,
        finalized_ms=None,
        crashes=0,
        pause_requested=False,
        error=run.error if undoes else None,
    )
    return Effect(after=after)


def _close(situation: Situation) -> Effect:
    if situation.run.status is not _S.STUCK:
        raise _refuse(situation.run, CloseStuck())
    return _ended(situation, _S.FAILED, "closed")


def _settle(situation: Situation, command: Settle, actor: str) -> Effect:
    run = situation.run
    if run.worker is not None or (run.status in TERMINAL_STATUSES and run.status is not _S.STUCK):
        raise _refuse(run, command, _HELD if run.worker is not None else "")
    wait = next((one for one in situation.waits if one.key == command.key), None)
    entry: Entry | None = None
    if wait is not None:
        closings = [_close_wait(run, wait, command, actor)]
    else:
        entry = _settled_entry(situation, command, actor)
        closings = [
            Closing(key=one.key, outcome=WaitOutcome.CANCELLED)
            for one in situation.waits
            if one.outcome is None and one.key.startswith((f"{command.key}~retry", f"{command.key}~breaker"))
        ]
    # Under its first epoch a claimed run is taken to have no records: it has one now.
    epoch = max(run.epoch, 1)
    if run.status in (_S.WAITING, _S.COMPENSATING):
        to = _S.QUEUED if run.status is _S.WAITING else run.status
        after = _in_line(situation, to, "settled", epoch=epoch)
    else:
        after = _moved(situation, run.status, "settled", epoch=epoch)
    return Effect(after=after, key=command.key, closings=closings, entry=entry)


def _close_wait(run: Run, wait: Wait, command: Settle, actor: str) -> Closing:
    if wait.outcome is not None:
        raise _refuse(run, command, f"the wait {wait.key!r} is closed already: {wait.outcome}")
    if command.error is not None and wait.kind is not WaitKind.CHILD:
        raise _refuse(run, command, f"{wait.key!r} waits for a {wait.kind}, which cannot fail")
    match wait.kind:
        case WaitKind.TIMER | WaitKind.RETRY | WaitKind.BREAKER:
            return Closing(key=wait.key, outcome=WaitOutcome.ELAPSED)
        case WaitKind.SIGNAL:
            return Closing(key=wait.key, outcome=WaitOutcome.SIGNALLED, result=command.result)
        case WaitKind.APPROVAL:
            verdict = decide_for_others(command.result, actor)
            if verdict is None:
                raise _refuse(run, command, f"{wait.key!r} asks people: settle it with true or false")
            return Closing(key=wait.key, outcome=WaitOutcome.ANSWERED, result=verdict)
        case WaitKind.CHILD:
            status = _S.COMPLETED if command.error is None else _S.FAILED
            return Closing(
                key=wait.key,
                outcome=WaitOutcome.CHILD_ENDED,
                result=command.result,
                error=command.error,
                child_status=status,
            )
        case _:
            assert_never(wait.kind)


def _settled_entry(situation: Situation, command: Settle, actor: str) -> Entry:
    run, key = situation.run, command.key
    if any(entry.key == key for entry in situation.journal):
        raise _refuse(run, command, f"step {key!r} is recorded already")
    failed = [one.attempt for one in situation.attempts if one.key == key]
    if not failed and not command.unseen:
        raise _refuse(run, command, f"no step {key!r} of it waits or has failed")
    undoes = key.endswith(COMPENSATION_SUFFIX)
    if undoes is not (run.status is _S.COMPENSATING):
        raise _refuse(run, command, f"step {key!r} is none that it executes now")
    seqs = [entry.seq for entry in situation.journal] + [wait.seq for wait in situation.waits]
    return Entry(
        key=key,
        seq=max(seqs, default=0) + 1,
        kind=EntryKind.COMPENSATION if undoes else EntryKind.STEP,
        name=command.name or _name_in(key.removesuffix(COMPENSATION_SUFFIX)),
        status=EntryStatus.COMPLETED if command.error is None else EntryStatus.FAILED,
        result=command.result,
        error=command.error,
        attempts=len(failed) + 1,
        epoch=run.epoch,
        started_ms=situation.now_ms,
        completed_ms=situation.now_ms,
        settled_by=actor,
    )


def _name_in(key: str) -> str:
    """The step's name, as a key that was not given explicitly ends with it: ``gather[1]/charge#2``."""
    return key.rpartition("/")[2].partition("#")[0]


def _change(situation: Situation, command: Change) -> Effect:
    run, now_ms = situation.run, situation.now_ms
    if run.worker is not None or run.status in TERMINAL_STATUSES:
        raise _refuse(run, command, _HELD if run.worker is not None else "")
    if command.wake and run.status is _S.PAUSED:
        raise _refuse(run, command, "it is paused: resume it")
    deadline_ms = run.deadline_ms
    if command.timeout_ms is not None:
        deadline_ms = UnixMs(now_ms + command.timeout_ms)
    elif command.drop_deadline:
        deadline_ms = None
    changes: dict[str, Any] = {
        "priority": run.priority if command.priority is None else command.priority,
        "queue": run.queue if command.queue is None else command.queue,
        "deadline_ms": deadline_ms,
    }
    if command.wake and run.ready_ms is None:
        to = _S.QUEUED if run.status is _S.WAITING else run.status
        return Effect(after=_in_line(situation, to, "changed", **changes))
    if run.ready_ms is None and run.status is not _S.PAUSED:
        changes["wake_ms"] = _next_wake_ms(situation, deadline_ms)
    elif run.kept_wake_ms is not None:
        changes["kept_wake_ms"] = _delayed_ms(run.kept_wake_ms, run, deadline_ms)
    return Effect(after=_moved(situation, run.status, "changed", **changes))


def _next_wake_ms(situation: Situation, deadline_ms: UnixMs | None) -> UnixMs | None:
    run = situation.run
    if run.status is _S.QUEUED:
        return run.wake_ms if run.wake_ms is None else _delayed_ms(run.wake_ms, run, deadline_ms)
    dues = [wait.due_ms for wait in situation.waits if wait.outcome is None and wait.due_ms is not None]
    return min([*dues, *([] if deadline_ms is None else [deadline_ms])], default=None)


def _delayed_ms(wake_ms: UnixMs, run: Run, deadline_ms: UnixMs | None) -> UnixMs:
    """When a delayed start is due: one that its old deadline preceded is due with the new one."""
    if deadline_ms is None:
        return wake_ms
    return deadline_ms if wake_ms == run.deadline_ms else min(wake_ms, deadline_ms)


def check_move(recorded: Recorded, command: MoveTo) -> MovePlan | None:
    """How a run is moved; None if it follows that version already. Raises RunFinished, CommandRefused, MoveRefused."""
    run = recorded.run
    ended = run.status in TERMINAL_STATUSES and run.status is not _S.STUCK
    if ended or run.status is _S.COMPENSATING:
        raise _refuse(run, command)
    if run.version is None:
        raise _refuse(run, command, "it is a function's run, which follows no stored version")
    if run.worker is not None:
        raise _refuse(run, command, "it is to be cancelled" if run.cancel_requested else _HELD)
    if run.definition_hash == command.definition_hash:
        return None
    if run.definition_hash != command.from_hash:
        raise _refuse(run, command, f"it follows version {run.version} by now: plan the move again")
    plan = plan_move(command.before, command.after, recorded, command.mapping)
    if not plan.allowed:
        listing = "\n".join(f"  {problem}" for problem in plan.problems)
        raise MoveRefused(run_id=run.id, version=command.version, problems=plan.problems, listing=listing)
    return plan


def _move(situation: Situation, command: MoveTo) -> Effect | None:
    plan, run = check_move(situation, command), situation.run
    if plan is None or run.version is None:
        return None
    changes: dict[str, Any] = {"version": command.version, "definition_hash": command.definition_hash}
    # A parked run looks again: the new version may have something to begin with at once. One that stood aside for this
    # goes on.
    goes_on = run.stands_aside or run.status is _S.WAITING
    after = (_in_line if goes_on else _moved)(
        situation, _S.QUEUED if goes_on else run.status, "moved", aside_until_ms=None, **changes
    )
    return Effect(
        after=after,
        renamed=plan.renamed,
        moved=VersionMove(from_version=run.version, to_version=command.version, renamed=plan.nodes),
        seen_seq=situation.transitions[-1].seq,
    )


def _hand_back(situation: Situation, command: HandBack) -> Effect | None:
    run, until_ms = situation.run, UnixMs(situation.now_ms + command.within_ms)
    if run.worker is None or run.status is not _S.RUNNING:
        return None
    reason = "move_requested" if command.within_ms else "move_withdrawn"
    return Effect(after=_moved(situation, run.status, reason, aside_until_ms=until_ms))


def check_source(run: Run, copy: RunCopy) -> None:
    """Refuse to copy records by the keys of a version that the run does not follow any more. Raises CommandRefused."""
    if run.definition_hash != copy.definition_hash:
        word = "retry" if copy.retry else "fork"
        why = f"it was moved to version {run.version} meanwhile: ask again"
        raise CommandRefused(run_id=run.id, status=run.status, command=word, allowed=word, why=why)


def check_retry(run: Run, *, again: bool) -> None:
    """Refuse to retry a run that has not failed, or that has been retried before. Raises CommandRefused."""
    why = ""
    if run.status not in (_S.FAILED, _S.CANCELLED, _S.STUCK):
        why = f"it is {run.status}, and only what failed, was cancelled or is stuck is retried"
        if run.continued_as_id is not None:
            why = f"it continued as run {run.continued_as_id}: retry the last run of its chain, if that failed"
    elif again:
        why = "it has been retried already: retry the last attempt of its lineage"
    if why:
        allowed = ", ".join(allowed_from(run.status)) or "fork"
        raise CommandRefused(run_id=run.id, status=run.status, command="retry", allowed=allowed, why=why)
