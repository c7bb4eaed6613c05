"""What one run wants recorded and the database does not have yet."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from holdfast.model.commit import Move, NewWait, RunCommit
from holdfast.model.ids import RunId
from holdfast.model.run import Attempt, Entry, NewRun, Signal
from holdfast.model.search import AttributeValue


class Staged:
    """Records in the order in which they were made, until a commit takes them; and who waits for it.

    Three counters tell how far they are: ``count`` were made, ``taken`` of these went into a commit, ``durable`` of
    these are in the database. At most one commit of a run is under way at a time.
    """

    __slots__ = (
        "attempts",
        "attributes",
        "barriers",
        "cancelled",
        "children",
        "count",
        "durable",
        "elapsed",
        "entries",
        "move",
        "signals",
        "taken",
        "waits",
    )

    def __init__(self) -> None:
        self.count = self.taken = self.durable = 0
        self.barriers: list[tuple[int, asyncio.Future[None]]] = []
        self.clear()

    def clear(self) -> None:
        """Forget what was not taken."""
        self.entries: list[Entry] = []
        self.attempts: list[Attempt] = []
        self.waits: list[NewWait] = []
        self.children: list[NewRun] = []
        self.signals: list[Signal] = []
        self.elapsed: list[str] = []
        self.cancelled: list[str] = []
        self.attributes: dict[str, AttributeValue | None] = {}
        self.move: Move | None = None

    def add_move(self, move: Move) -> None:
        """The run's next move."""
        self.move = move
        self.count += 1

    def take(self, run_id: RunId, epoch: int, *, counted: bool) -> RunCommit:
        """All that is staged, for the commit that begins now."""
        # An empty list stays ours: what is staged from now on must not slip into a commit that is under way.
        commit = RunCommit(
            run_id=run_id,
            epoch=epoch,
            entries=self.entries or _NONE,
            attempts=self.attempts or _NONE,
            waits=self.waits or _NONE,
            children=self.children or _NONE,
            signals=self.signals or _NONE,
            elapsed=self.elapsed or _NONE,
            cancelled=self.cancelled or _NONE,
            attributes=self.attributes or _NO_NAMES,
            move=self.move,
            counted=counted,
        )
        if self.entries:
            self.entries = []
        if self.attempts:
            self.attempts = []
        if self.waits:
            self.waits = []
        if self.children:
            self.children = []
        if self.signals:
            self.signals = []
        if self.elapsed:
            self.elapsed = []
        if self.cancelled:
            self.cancelled = []
        if self.attributes:
            self.attributes = {}
        self.move = None
        self.taken = self.count
        return commit

    def open_barriers(self) -> bool:
        """Let those go on whose records are durable. Returns whether somebody waits for more."""
        kept: list[tuple[int, asyncio.Future[None]]] = []
        for target, barrier in self.barriers:
            if target > self.durable:
                kept.append((target, barrier))
            elif not barrier.done():
                barrier.set_result(None)
        self.barriers = kept
        return bool(kept)

    def take_barriers(self) -> list[asyncio.Future[None]]:
        """Those who wait, who are to be told something else now."""
        barriers = [barrier for _, barrier in self.barriers if not barrier.done()]
        self.barriers = []
        return barriers


_NO_NAMES: Final[dict[str, Any]] = {}
_NONE: Final[list[Any]] = []
"""Shared by all commits, and never written to."""
