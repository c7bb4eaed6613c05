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

    One statement, unless it meets runs that are paused or beyond a quota: these are barred by it, and the next round
    looks further.
    """
    rows: list[Row] = []
    limit, suspects = params["limit"], params["suspects"]
    readmit = barred
    look = limit
    number = 0
    while True:
        asked = {**params, "limit": limit - len(rows), "suspects": suspects, "look": look}
        found = _round(session, asked, readmit=readmit, taken=bool(rows))
        now_ms, (newly, before, restricted) = found[0][0], found[0][-3:]
        taken = _taken(found)
        rows += taken
        suspects -= sum(1 for row in taken if row[12] >= _SUSPECT_CRASHES)
        # Others have barred runs since this store looked last: they may be free again.
        missed = number == 0 and before and not readmit
        more = (newly > 0 or missed) and len(rows) < limit
        readmit = missed
        look = CLAIM_LOOK if newly else look
        number += 1
        if not more or number == CLAIM_ROUNDS:
            rows.sort(key=lambda row: (-row[_PRIORITY], row[_READY], row[1]))
            few = not restricted and len(rows) < limit
            return Claimed(now_ms, rows, more, bool(before or newly), few)


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
