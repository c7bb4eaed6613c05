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


class Claimed(NamedTuple):
    """What the rounds of one claim have taken."""

    now_ms: UnixMs
    rows: list[Row]
    """In the order of service."""
    more: bool
    barred: bool
    """Whether runs are barred now."""


def claim_rounds(session: Session, params: Params, *, barred: bool) -> Claimed:
    """Claim; ``barred`` says whether runs are barred as far as is known, and are to be looked at first.

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
        now_ms, newly, before = found[0][0], found[0][-2], found[0][-1]
        taken = [row for row in found if row[1] is not None]
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
            return Claimed(now_ms, rows, more, bool(before or newly))


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
