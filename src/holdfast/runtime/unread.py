"""What earlier leases recorded of a run, and its code has not asked for yet.

It tells two things. A body that ends without asking for all of it has parted from its journal. And a place of the body
that has any of it still before it is one that the run has passed before: ``hf.patched`` answers by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from holdfast.model.run import ClaimedRun
from holdfast.model.status import OF_STEPS, EntryKind

if TYPE_CHECKING:
    from holdfast.runtime.branch import RunBranch
    from holdfast.runtime.execution import RunExecution

COMPENSATED: Final = "~compensate"
"""The end of a compensation's key."""

_NOT_ASKED_FOR: Final = frozenset({EntryKind.COMPENSATION, EntryKind.PATCH})
"""Compensations are no part of the body; a patch that the body does not ask for any more changes nothing."""


def keys_to_read(run: ClaimedRun) -> set[str]:
    """The keys that the body of a claimed run has to ask for."""
    keys = {entry.key for entry in run.journal if entry.kind not in _NOT_ASKED_FOR}
    # The wait before an attempt belongs to its step, whose failed attempts have the step's key.
    keys.update(wait.key for wait in run.waits if wait.kind not in OF_STEPS)
    keys.update(attempt.key for attempt in run.attempts if not attempt.key.endswith(COMPENSATED))
    return keys


def without_prefix(keys: Iterable[str], prefix: str) -> set[str]:
    """The keys but for those of the branches of a join that is given up."""
    return {key for key in keys if not key.startswith(prefix)}


def is_passed(branch: RunBranch) -> bool:
    """Whether an earlier lease recorded anything that comes after the place where the branch is now.

    What its siblings recorded tells nothing of that: they run side by side with it.
    """
    unread = branch.execution.unread
    if not unread:
        return False
    joins: list[tuple[str, str]] = []
    place: RunBranch | None = branch
    while place is not None and place.join is not None:
        joins.append((f"{place.join}[", place.scope))
        place = place.parent
    return any(all(not key.startswith(join) or key.startswith(scope) for join, scope in joins) for key in unread)


def first_unread(execution: RunExecution) -> str:
    """The key that was recorded first of those that nobody asked for."""

    def seq(key: str) -> int:
        record = execution.journal.get(key) or execution.waits.get(key)
        return execution.seq + 1 if record is None else record.seq

    return min(execution.unread, key=lambda key: (seq(key), key))


def describe(execution: RunExecution, key: str) -> str:
    """What is recorded under a key, in words."""
    entry = execution.journal.get(key)
    if entry is not None:
        return f"{entry.kind} {entry.name!r}"
    wait = execution.waits.get(key)
    if wait is not None:
        return f"a wait for a {wait.kind}" + (f" {wait.signal!r}" if wait.signal else "")
    return "failed attempts of a step"
