"""Where in the user's code a run is: the line to look at when code and journal part.

Looked up only then, so that it costs a run that goes well nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.runtime.branch import RunBranch

_OURS: Final = str(Path(__file__).parents[1]) + os.sep
_STANDARD: Final = sysconfig.get_path("stdlib") + os.sep
_INSTALLED: Final = sysconfig.get_path("purelib") + os.sep
"""Installed packages may lie below the standard library, and a user's program may be one of them."""

_TASKS: Final = {"_body", "_live"}
"""Our functions that a branch's task begins with: what called these is the event loop, and whoever started that."""


def find_source(branch: RunBranch) -> str | None:
    """The line of the user's code that the branch is at, as ``file:line``; else that of the code that started it."""
    place: RunBranch | None = branch
    while place is not None:
        frame = _find_frame(place)
        if frame is not None:
            return f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno}"
        place = place.parent
    return None


def source_of(function: Callable[..., Any]) -> str | None:
    """Where a function of the user's begins, as ``file:line``."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or is_ours(code.co_filename):
        return None
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}"


def is_ours(path: str) -> bool:
    """Whether a file is one of holdfast's own, such as that of the function that walks graphs."""
    return path.startswith(_OURS)


def short_path(path: str) -> str:
    """A file's path as people call it: from the current folder, else from the folder that Python imports it from."""
    folders = [str(Path.cwd()), *sorted(sys.path, key=len, reverse=True)]
    for folder in folders:
        if folder and path.startswith(start := folder.rstrip(os.sep) + os.sep):
            return path[len(start) :]
    return path


def _find_frame(branch: RunBranch) -> FrameType | None:
    if branch.plain is not None and branch.plain.caller is not None:
        return _first_of_users(branch.plain.caller)
    task = branch.task
    if task is None:
        return None
    if asyncio.current_task(branch.loop) is task:
        return _first_of_users(inspect.currentframe())
    return _last_of_users(task.get_coro())


def _first_of_users(frame: FrameType | None) -> FrameType | None:
    """From the innermost frame outwards."""
    while frame is not None:
        if _is_users(frame):
            return frame
        if frame.f_code.co_name in _TASKS and frame.f_code.co_filename.startswith(_OURS):
            return None
        frame = frame.f_back
    return None


def _last_of_users(awaited: Any) -> FrameType | None:
    """From the outermost coroutine of a task that stands still inwards."""
    found = None
    while awaited is not None:
        frame: FrameType | None = None
        following = None
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            if hasattr(awaited, inner):
                frame, following = getattr(awaited, f"{prefix}_frame"), getattr(awaited, inner)
        if frame is not None and _is_users(frame):
            found = frame
        awaited = following
    return found


def _is_users(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    if path.startswith((_OURS, "<frozen")):
        return False
    return not path.startswith(_STANDARD) or path.startswith(_INSTALLED)
