"""Exit codes: one table, for scripts to rely on; and what a person can do about each error."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from holdfast import errors
from holdfast.errors import HoldfastError


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DATABASE = 5
    TIMEOUT = 6
    FAULT = 70
    INTERRUPTED = 130


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "Done; the run completed; every check passed; the worker drained.",
    Exit.FAILED: "The run that was waited for did not complete, or a check failed.",
    Exit.USAGE: "The command, an argument or the program named by `module:attribute` is wrong.",
    Exit.NOT_FOUND: "There is no such thing in this tenant.",
    Exit.CONFLICT: "The state of the thing forbids it, such as a signal to a run that has ended.",
    Exit.DATABASE: "The database does not answer, or its tables do not fit this version.",
    Exit.TIMEOUT: "The time to wait is over; the run goes on.",
    Exit.FAULT: "A fault that nobody foresaw; `--debug` shows where.",
    Exit.INTERRUPTED: "Interrupted: Ctrl-C, or the second signal to a worker.",
}
"""The table: every code with its meaning."""

_BY_ERROR: Final[tuple[tuple[type[HoldfastError], Exit], ...]] = (
    (errors.UsageError, Exit.USAGE),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Conflict, Exit.CONFLICT),
    (errors.RunError, Exit.FAILED),
    (errors.ResultTimeout, Exit.TIMEOUT),
    (errors.StoreError, Exit.DATABASE),
)

_WAYS_OUT: Final[tuple[tuple[type[HoldfastError], str], ...]] = (
    (errors.RunNotFound, "`holdfast runs list` shows the runs of this tenant; another tenant's need --tenant"),
    (errors.RunFinished, "`holdfast runs show` shows how it ended"),
    (errors.ResultTimeout, "`holdfast runs explain` says what it waits for"),
    (
        errors.StoreUnavailable,
        "check that the database runs and that --database is right; `holdfast doctor` tells more",
    ),
    (errors.StoreBusy, "end the program that holds the file, or try again"),
    (errors.CommitUnknown, "look with `holdfast runs list` before you repeat it; a start with --key may be repeated"),
)


def exit_of(error: HoldfastError) -> Exit:
    """The exit code for an error."""
    return next((code for cls, code in _BY_ERROR if isinstance(error, cls)), Exit.FAULT)


def way_out(error: HoldfastError) -> str:
    """What to do about it; empty if the error's own text says so."""
    return next((text for cls, text in _WAYS_OUT if isinstance(error, cls)), "")
