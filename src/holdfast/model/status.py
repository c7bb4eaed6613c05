"""The life of a run, as one table.

A run moves only along ``TRANSITIONS``: every status has a row, a terminal one an empty row. SQL guards
(`status` and `epoch` in the same statement) enforce it; the CHECK constraints list the same words, and a test
compares them. ``compensating`` keeps its name while no worker holds the run: whether a run can be claimed is a
matter of ``ready_at``, not of its status.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STUCK = "stuck"


class RunEvent(StrEnum):
    """What moves a run."""

    CLAIM = "claim"
    PARK = "park"
    WAKE = "wake"
    RELEASE = "release"
    LOSE = "lose"
    SET_ASIDE = "set_aside"
    COMPENSATE = "compensate"
    COMPLETE = "complete"
    CONTINUE = "continue"
    """It ends, and its successor is started in the same transaction."""
    FAIL = "fail"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    TERMINATE = "terminate"
    ASK = "ask"
    """Somebody wants it cancelled or paused: noted, and its worker acts on it."""
    CHANGE = "change"
    """Its place in the line or its deadline was set by hand."""
    SETTLE = "settle"
    """A step or wait of it was given its outcome by hand."""
    MOVE = "move"
    """It goes on with another version of its graph."""
    RELEASE_STUCK = "release_stuck"
    RELEASE_UNDOING = "release_undoing"
    """It was set aside while it compensated, and goes on with that."""
    CLOSE_STUCK = "close_stuck"


_S, _E = RunStatus, RunEvent

TRANSITIONS: Final[dict[RunStatus, dict[RunEvent, RunStatus]]] = {
    _S.QUEUED: {
        _E.CLAIM: _S.RUNNING,
        _E.WAKE: _S.QUEUED,  # a delayed start whose time has come
        _E.CANCEL: _S.CANCELLED,
        _E.PAUSE: _S.PAUSED,
        _E.TERMINATE: _S.CANCELLED,
        _E.ASK: _S.QUEUED,
        _E.CHANGE: _S.QUEUED,
        _E.SETTLE: _S.QUEUED,
        _E.MOVE: _S.QUEUED,
    },
    _S.RUNNING: {
        _E.PARK: _S.WAITING,
        _E.RELEASE: _S.QUEUED,
        _E.LOSE: _S.QUEUED,
        _E.SET_ASIDE: _S.STUCK,
        _E.COMPENSATE: _S.COMPENSATING,
        _E.COMPLETE: _S.COMPLETED,
        _E.CONTINUE: _S.COMPLETED,
        _E.FAIL: _S.FAILED,
        _E.CANCEL: _S.CANCELLED,
        _E.PAUSE: _S.PAUSED,
        _E.TERMINATE: _S.CANCELLED,
        _E.ASK: _S.RUNNING,
    },
    _S.WAITING: {
        _E.WAKE: _S.QUEUED,
        _E.CANCEL: _S.CANCELLED,
        _E.PAUSE: _S.PAUSED,
        _E.TERMINATE: _S.CANCELLED,
        _E.CHANGE: _S.WAITING,
        _E.SETTLE: _S.QUEUED,
        _E.MOVE: _S.QUEUED,
    },
    _S.PAUSED: {
        _E.RESUME: _S.QUEUED,
        _E.CANCEL: _S.CANCELLED,
        _E.TERMINATE: _S.CANCELLED,
        _E.CHANGE: _S.PAUSED,
        _E.SETTLE: _S.PAUSED,
        _E.MOVE: _S.PAUSED,
    },
    _S.COMPENSATING: {
        _E.CLAIM: _S.COMPENSATING,
        _E.PARK: _S.COMPENSATING,
        _E.WAKE: _S.COMPENSATING,
        _E.RELEASE: _S.COMPENSATING,
        _E.LOSE: _S.COMPENSATING,
        _E.SET_ASIDE: _S.STUCK,
        _E.FAIL: _S.FAILED,
        _E.CANCEL: _S.CANCELLED,
        _E.TERMINATE: _S.CANCELLED,
        _E.ASK: _S.COMPENSATING,
        _E.CHANGE: _S.COMPENSATING,
        _E.SETTLE: _S.COMPENSATING,
    },
    _S.COMPLETED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
    _S.STUCK: {
        _E.RELEASE_STUCK: _S.QUEUED,
        _E.RELEASE_UNDOING: _S.COMPENSATING,
        _E.CLOSE_STUCK: _S.FAILED,
        _E.SETTLE: _S.STUCK,
        _E.MOVE: _S.STUCK,
    },
}

TERMINAL_STATUSES: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.STUCK})
"""No longer active: nothing moves these by itself (R-12). A stuck one is moved by a person alone."""

ACTIVE_STATUSES: Final = frozenset(TRANSITIONS) - TERMINAL_STATUSES
"""Still to be finished (R-11)."""

HELD_STATUSES: Final = frozenset({RunStatus.RUNNING, RunStatus.COMPENSATING})
"""The statuses in which a worker may hold a lease and write."""


class WaitKind(StrEnum):
    """What a wait waits for."""

    TIMER = "timer"
    SIGNAL = "signal"
    CHILD = "child"
    RETRY = "retry"
    APPROVAL = "approval"
    BREAKER = "breaker"
    """For calls that name a circuit breaker to be made again; ``signal`` is its name."""


OF_STEPS: Final = frozenset({WaitKind.RETRY, WaitKind.BREAKER})
"""Waits before an attempt of a step: the engine's own, which no workflow asks for."""


class WaitOutcome(StrEnum):
    """How a wait was closed; written once."""

    ELAPSED = "elapsed"
    SIGNALLED = "signalled"
    CHILD_ENDED = "child_ended"
    ANSWERED = "answered"
    CANCELLED = "cancelled"


class ParentPolicy(StrEnum):
    """What becomes of a child whose parent is cancelled or terminated before it has ended."""

    CANCEL = "cancel"
    """It is cancelled as its parent was: with its compensations if those were asked for."""
    REQUEST = "request"
    """It is asked to undo what it did, and is cancelled after that, however its parent was."""
    ABANDON = "abandon"
    """It goes on."""


class EntryKind(StrEnum):
    """What a journal entry records."""

    STEP = "step"
    VALUE = "value"
    CHILD = "child"
    COMPENSATION = "compensation"
    PATCH = "patch"
    SIGNAL = "signal"
    """A signal that the run sent."""
    PUBLISHED = "published"
    """A value of the run that others read."""
    EMITTED = "emitted"
    """An item of one of the run's streams."""
    REPLY = "reply"
    """The answer to an update."""


class EntryStatus(StrEnum):
    """How a journaled operation ended."""

    COMPLETED = "completed"
    FAILED = "failed"


class StepState(StrEnum):
    """Where a run is with a node of its graph."""

    BLOCKED = "blocked"
    """Something that it follows is not decided yet."""
    READY = "ready"
    """It has been released, and nothing of it is recorded yet: it begins as soon as a worker is at the run, or has."""
    RUNNING = "running"
    """A part of it is recorded, or a failed attempt, and it does not wait durably."""
    WAITING = "waiting"
    """It waits durably: for a time, a signal, a person, a child, or its next attempt."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It is passed over: by its condition, by the edges that lead to it, or because the run ends without it."""
