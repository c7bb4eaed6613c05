"""``replay``: recorded histories against the workflows of a program, in its own test suite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from holdfast.core.history import History, decode_history, history_of
from holdfast.model.run import RunDetail
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.replay import ReplayReport, replay_all
from holdfast.workflow.registry import Registry

SHOWN_MAX = 20
"""How many partings the error of a replay names."""


class HistoriesParted(AssertionError):
    """Code and recorded histories part; ``report.partings`` says where."""

    def __init__(self, report: ReplayReport) -> None:
        shown = [str(parting) for parting in report.partings[:SHOWN_MAX]]
        more = len(report.partings) - len(shown)
        lines = [f"{len(report.partings)} of {report.replayed} histories part from the code:", *shown]
        super().__init__("\n  ".join([*lines, f"and {more} more"] if more else lines))
        self.report = report


def replay(
    app: Registry,
    histories: str | Path | Iterable[History | RunDetail],
    *,
    workflow: str | None = None,
    check: bool = True,
) -> ReplayReport:
    """Re-execute recorded histories against the workflows of an App: no handler runs, and nothing is written.

    Args:
        app: the program as it is now.
        histories: a file that ``holdfast runs export-history`` wrote, or what ``client.detail`` returned.
        workflow: only runs of this one.
        check: raise if any parts; otherwise look at the report's ``partings``.

    Returns:
        how many were replayed, where they part, and which were skipped because the App does not know their workflow.

    Raises:
        HistoriesParted: the code asks for something else than some history holds.
        HistoryUnreadable: a line of the file is no history, or is redacted.
    """
    found = read_histories(Path(histories)) if isinstance(histories, str | Path) else map(_history, histories)
    wanted = (history for history in found if workflow is None or history.run.workflow == workflow)
    with contextlib.closing(ProcessHost()) as host:
        report = replay_all(app, wanted, host.run_thread)
    if check and report.partings:
        raise HistoriesParted(report)
    return report


def read_histories(path: Path) -> Iterator[History]:
    """The histories of a file, one by one. Raises HistoryUnreadable, which names file and line."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield decode_history(line, f"line {number} of {path}")


def _history(given: History | RunDetail) -> History:
    return history_of(given) if isinstance(given, RunDetail) else given
