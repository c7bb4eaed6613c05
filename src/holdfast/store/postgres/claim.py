"""Claims, in as many rounds as it takes to get past the runs that are barred."""

from __future__ import annotations

from typing import Final, NamedTuple

from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.ids import UnixMs
from holdfast.store.port import CLAIM_LOOK, CLAIM_ROUNDS
from holdfast.store.postgres.connection import Row
from holdfast.store.postgres.session import Session
from holdfast.store.postgres.statements import Params

_PRIORITY: Final = 16
_READY: Final = 22
_LAST: Final = -1


class Claimed(NamedTuple):
    """What the rounds of one claim have taken."""

    now_ms: UnixMs
    rows: list[Row]
    """In the order of service."""
    more: bool
    barred: bool
    """Whether runs are barred now."""
    few: bool
    """Whether the next claim is likely to meet few runs, and nothing that can bar them."""


def claim_runs(session: Session, params: Params, *, few: bool, barred: bool) -> Claimed:
    """Claim. ``few`` and ``barred`` say what is likely after the last one: they save a statement, and may be wrong."""
    if few:
        found = session.write("claim_runs_few", params)
        if not found[0][_LAST]:
            return Claimed(found[0][0], _taken(found), more=False, barred=False, few=True)
    return _claim_rounds(session, params, barred=barred)


def _claim_rounds(session: Session, params: Params, *, barred: bool) -> Claimed:
    """Claim where runs may be barred; with ``barred``, those that are barred are looked at first.

    One statement, unless it meets runs that are paused or beyond a quota or limit: these are barred by it. The next
    rounds look in other queues, so that none waits behind a long line of such runs; the last one bars more of them.
    """
    rounds = _Rounds(session, params)
    found = rounds.look(rounds.room, readmit=barred)
    # Others have barred runs since this store looked last: they may be free again.
    readmit = found.before and not barred
    is_short, more = rounds.room > 0, False
    for _ in range(CLAIM_ROUNDS):
        if not (rounds.room and (found.barred or readmit) and rounds.open_queues()):
            break
        found = rounds.look(rounds.room, readmit=readmit)
        readmit = False
    if is_short and rounds.blocked:
        rounds.blocked.clear()
        found = rounds.look(CLAIM_LOOK, readmit=readmit)
        more = bool(found.barred) and rounds.room > 0
    rounds.rows.sort(key=lambda row: (-row[_PRIORITY], row[_READY], row[1]))
    few = not found.restricted and rounds.room > 0
    return Claimed(found.now_ms, rounds.rows, more, bool(found.before or rounds.has_barred), few)


class _Found(NamedTuple):
    """What one round met."""

    now_ms: UnixMs
    barred: list[str]
    """The queues of the runs that it barred."""
    before: bool
    """Whether runs were barred before it."""
    restricted: bool
    """Whether anything can bar runs."""


class _Rounds:
    """The rounds of one claim, each of which looks where the ones before met nothing that is barred."""

    def __init__(self, session: Session, params: Params) -> None:
        self._session = session
        self._params = params
        self._suspects: int = params["suspects"]
        self.rows: list[Row] = []
        self.room: int = params["limit"]
        self.blocked: set[str] = set()
        """Queues in which barred runs were met."""
        self.has_barred = False

    def open_queues(self) -> list[str]:
        """The queues in which no barred runs were met."""
        return [queue for queue in self._params["queues"] if queue not in self.blocked]

    def look(self, look: int, *, readmit: bool) -> _Found:
        """Look at so many runs: take those that may be claimed, and bar the others."""
        mine = {"queues": self.open_queues(), "limit": self.room, "suspects": self._suspects, "look": look}
        rows = _round(self._session, {**self._params, **mine}, readmit=readmit, taken=bool(self.rows))
        now_ms, (barred, before, restricted) = rows[0][0], rows[0][-3:]
        taken = _taken(rows)
        self.rows += taken
        self.room -= len(taken)
        self._suspects -= sum(1 for row in taken if row[12] >= _SUSPECT_CRASHES)
        self.blocked.update(barred or ())
        self.has_barred = self.has_barred or bool(barred)
        return _Found(now_ms, barred or [], before, restricted)


def _taken(found: list[Row]) -> list[Row]:
    return [row for row in found if row[1] is not None]


def _round(session: Session, params: Params, *, readmit: bool, taken: bool) -> list[Row]:
    try:
        if not readmit:
            return session.write("claim_runs", params)
        return session.pipeline([("claim_runs_readmit", {**params, "look": CLAIM_LOOK}), ("claim_runs", params)])[1]
    except StoreUnavailable as error:
        if not taken:
            raise
        raise CommitUnknown(why=f"a part of the claim was done, then: {error}") from error


_SUSPECT_CRASHES: Final = 2
