"""A caller's transaction on the reference store: starts that count only if it is left without an exception."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.run import NewRun, Signal


class MemoryTransaction:
    """What ``MemoryStore.transaction`` opens and ``commit_with`` hands to its handler, in place of a connection.

    It holds back what ``start_runs_in`` was asked to start until the transaction is committed.
    """

    def __init__(self) -> None:
        self._starts: list[NewRun] = []
        self._signals: list[Signal] = []

    @property
    def starts(self) -> Sequence[NewRun]:
        """The runs to be started by the commit, in the order of their starts."""
        return tuple(self._starts)

    @property
    def signals(self) -> Sequence[Signal]:
        """The signals to be accepted by the commit."""
        return tuple(self._signals)

    def add_signal(self, signal: Signal) -> None:
        """Accept this signal with the commit."""
        self._signals.append(signal)

    def add_starts(self, runs: Sequence[NewRun]) -> None:
        """Start these runs with the commit."""
        self._starts.extend(runs)
