"""Circuit breakers: what a call, its outcome, the time and a person make of one. Pure: from a row to the next one.

A breaker is a row that all workers share (``model.breaker``). A call asks first, and is answered with a ``Ticket`` or
has to wait. What came of it is told with the ticket, and counts only in the term that the ticket is of: a success of an
attempt that began before the breaker opened closes nothing, and a failure of one opens nothing anew.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Final

from msgspec import Struct, structs

from holdfast.core.names import check_name
from holdfast.core.retry import DELAY_MS_MAX, Retry, is_retryable
from holdfast.errors import UsageError
from holdfast.model.breaker import BreakerRow, BreakerState
from holdfast.model.ids import RunId, UnixMs

FAILURES_MAX: Final = 1_000
"""The most failures that a breaker counts: each one's moment is kept."""

RATE_MAX: Final = 10_000

PROBER_MS: Final = 5_000
"""A run that was woken to try has so long to come and do it, before another one is woken."""

SECOND_MS: Final = 1_000

TICK_MS: Final = 200
"""How often waits are ended once it is more than a few per second."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Stops the calls of an outside service that is down, for all runs and workers together.

    Steps that name the same breaker share it, in each tenant for itself. After ``failures`` failures within ``within``
    it opens: no step that names it is called any more. Runs that come to such a step wait, parked, and use up no
    attempt. After ``open_for`` one of them tries. If it succeeds the breaker closes, and the runs that wait go on, few
    at first; if it fails, the breaker stays open, for longer each time. Times are timedeltas or seconds.

    Raises: UsageError if a field makes no sense.
    """

    name: str
    """What it is called, in the database too: usually the name of the service."""
    _: KW_ONLY
    failures: int = 5
    """So many failures open it; 1 to 1,000."""
    within: timedelta | float = timedelta(seconds=60)
    """If they happen within this time of each other, whatever succeeds in between."""
    open_for: timedelta | float = timedelta(seconds=30)
    """How long after that the first call is let through, to see whether it succeeds."""
    factor: float = 2.0
    """How much longer it is after each such call that fails; 1 for as long each time."""
    max_open: timedelta | float = timedelta(seconds=300)
    """But no longer than this, or than ``open_for`` if that is longer."""
    probe_limit: timedelta | float = timedelta(seconds=60)
    """How long such a call may take until another one is let through: its worker may have died."""
    rate: int = 100
    """How many of the runs that wait go on per second, at most, once it has closed: one in the first second, twice as
    many in each further one."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """Which errors are failures of the service. Those that the step's Retry calls final never are."""

    def __post_init__(self) -> None:
        check_name("breaker", self.name)
        for field in ("within", "open_for", "max_open", "probe_limit"):
            object.__setattr__(self, field, self._duration(field))
        if not 1 <= self.failures <= FAILURES_MAX:
            raise self._refuse("failures", f"a number from 1 to {FAILURES_MAX}")
        if not 1 <= self.rate <= RATE_MAX:
            raise self._refuse("rate", f"a number of runs per second from 1 to {RATE_MAX}")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise self._refuse("factor", "a finite number, at least 1")
        if not self.on or not all(map(_is_error_type, self.on)):
            raise self._refuse("on", "a tuple of exception types")

    def _duration(self, field: str) -> timedelta:
        given = getattr(self, field)
        seconds = given.total_seconds() if isinstance(given, timedelta) else given
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds * 1000 <= DELAY_MS_MAX:
            raise self._refuse(field, "a timedelta or seconds, more than 0 and at most a year")
        return timedelta(seconds=seconds)

    def _refuse(self, field: str, wanted: str) -> UsageError:
        return UsageError(f"Breaker({self.name!r}, {field}={getattr(self, field)!r}): {wanted}")

    def counts(self, error: BaseException, retry: Retry) -> bool:
        """Whether the service failed, and not the call: an error of these types that another attempt could cure."""
        return isinstance(error, self.on) and is_retryable(retry, error)

    def open_ms(self, trips: int) -> int:
        """How long it stays open, when it has opened so many times since it was closed."""
        first, most = _ms(self.open_for), max(_ms(self.max_open), _ms(self.open_for))
        try:
            return int(min(first * self.factor ** (trips - 1), most))
        except OverflowError:
            return most


def _is_error_type(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _ms(duration: timedelta | float) -> int:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    return max(1, math.ceil(seconds * 1000))


class Ticket(Struct, frozen=True):
    """Leave to make one call."""

    term: int
    """The term in which it was given."""
    probes: bool = False
    """Whether the call is the one that tries."""


# --- Calls -------------------------------------------------------------------------------------------------------


def ask(
    row: BreakerRow, breaker: Breaker, prober: str, now_ms: UnixMs, *, waits: bool = False
) -> tuple[BreakerRow, Ticket | None]:
    """May ``prober`` (a run and the key of a step) call? Without a ticket it has to wait.

    Whoever ``waits`` already does so until it is its turn: else all branches of a run would go on with the first.
    A prober that asks again has lost its worker: it tries anew, and what the old worker may still say is of no term.
    """
    match row.state:
        case BreakerState.CLOSED:
            return row, None if waits and row.flow else Ticket(row.term)
        case BreakerState.OPEN:
            may = row.retry_ms is not None and row.retry_ms <= now_ms
        case BreakerState.HALF_OPEN:
            may = row.prober == prober or (row.probe_until_ms is not None and row.probe_until_ms <= now_ms)
    if not may:
        return row, None
    until_ms = UnixMs(now_ms + _ms(breaker.probe_limit))
    probed = structs.replace(
        row,
        state=BreakerState.HALF_OPEN,
        term=row.term + 1,
        prober=prober,
        probe_until_ms=until_ms,
        next_ms=until_ms,
        changed_ms=row.changed_ms if row.state is BreakerState.HALF_OPEN else now_ms,
    )
    return probed, Ticket(probed.term, probes=True)


def after_failure(row: BreakerRow, breaker: Breaker, ticket: Ticket, now_ms: UnixMs) -> BreakerRow:
    """The service failed."""
    if ticket.term != row.term:
        return row
    if row.state is BreakerState.HALF_OPEN:
        return _opened(row, breaker, now_ms)
    if row.state is not BreakerState.CLOSED:
        return row
    since_ms = now_ms - _ms(breaker.within)
    failures = [*(moment for moment in row.failures if moment > since_ms), now_ms][-breaker.failures :]
    if len(failures) < breaker.failures:
        return structs.replace(row, failures=failures)
    return _opened(structs.replace(row, failures=failures), breaker, now_ms)


def after_success(row: BreakerRow, ticket: Ticket, now_ms: UnixMs) -> BreakerRow:
    """The service answered: to the one that tries, this closes the breaker."""
    if not ticket.probes or ticket.term != row.term or row.state is not BreakerState.HALF_OPEN:
        return row
    return _closed(row, now_ms, actor="", note="")


def after_nothing(row: BreakerRow, ticket: Ticket, now_ms: UnixMs) -> BreakerRow:
    """The call was stopped before it had an outcome: another one may try at once."""
    if not ticket.probes or ticket.term != row.term or row.state is not BreakerState.HALF_OPEN:
        return row
    return structs.replace(
        row,
        state=BreakerState.OPEN,
        term=row.term + 1,
        retry_ms=now_ms,
        prober=None,
        probe_until_ms=None,
        next_ms=now_ms,
        changed_ms=now_ms,
    )


def _opened(row: BreakerRow, breaker: Breaker, now_ms: UnixMs) -> BreakerRow:
    trips = row.trips + 1
    retry_ms = UnixMs(now_ms + breaker.open_ms(trips))
    return _open(structs.replace(row, trips=trips, rate=breaker.rate), now_ms, retry_ms, actor="", note="")


def _open(row: BreakerRow, now_ms: UnixMs, retry_ms: UnixMs | None, *, actor: str, note: str) -> BreakerRow:
    """A new term, in which nobody calls before ``retry_ms``; None: before it is closed by hand."""
    return structs.replace(
        row,
        state=BreakerState.OPEN,
        term=row.term + 1,
        opened_ms=now_ms if row.opened_ms is None else row.opened_ms,
        retry_ms=retry_ms,
        prober=None,
        probe_until_ms=None,
        flow=0,
        flow_ms=None,
        next_ms=retry_ms,
        changed_ms=now_ms,
        actor=actor,
        note=note,
    )


def _closed(row: BreakerRow, now_ms: UnixMs, *, actor: str, note: str) -> BreakerRow:
    return structs.replace(
        row,
        state=BreakerState.CLOSED,
        term=row.term + 1,
        failures=[],
        trips=0,
        opened_ms=None,
        retry_ms=None,
        prober=None,
        probe_until_ms=None,
        flow=1,
        flow_ms=now_ms,
        next_ms=now_ms,
        changed_ms=now_ms,
        actor=actor,
        note=note,
    )


# --- Time --------------------------------------------------------------------------------------------------------


def waits_to_end(row: BreakerRow, now_ms: UnixMs) -> int:
    """How many waits to end now: of a closed breaker as its flow says, of one that is to be tried a single one."""
    if row.next_ms is None or row.next_ms > now_ms:
        return 0
    if row.state is not BreakerState.CLOSED:
        return 1
    return max(1, row.flow * _tick_ms(row) // SECOND_MS)


def after_look(row: BreakerRow, now_ms: UnixMs, ended: RunId | None) -> BreakerRow:
    """Waits were ended, the last one of run ``ended``; None: nobody waits.

    Then nothing is to be done until a call asks: one that waits from now on has asked after it began to wait. Of a
    closed breaker there is one more look: who asked while the last one was under way was told to wait for its turn.
    """
    if ended is None:
        next_ms = UnixMs(now_ms + SECOND_MS) if row.flow else None
        return structs.replace(row, flow=0, flow_ms=None, passed=None, next_ms=next_ms)
    if row.state is not BreakerState.CLOSED:
        return structs.replace(row, passed=ended, next_ms=UnixMs(now_ms + PROBER_MS))
    next_ms = UnixMs(now_ms + _tick_ms(row))
    row = structs.replace(row, passed=ended, next_ms=next_ms)
    if row.flow_ms is not None and next_ms < row.flow_ms + SECOND_MS:
        return row
    return structs.replace(row, flow=min(max(row.flow * 2, 1), row.rate), flow_ms=next_ms)


def _tick_ms(row: BreakerRow) -> int:
    return TICK_MS if row.flow * TICK_MS >= SECOND_MS else SECOND_MS


# --- People ------------------------------------------------------------------------------------------------------


def open_by_hand(row: BreakerRow, now_ms: UnixMs, *, for_ms: int | None, actor: str, note: str) -> BreakerRow:
    """Make no calls for so long, or until it is closed by hand. Who tries now is not listened to any more."""
    retry_ms = None if for_ms is None else UnixMs(now_ms + for_ms)
    return _open(structs.replace(row, trips=max(row.trips, 1)), now_ms, retry_ms, actor=actor, note=note)


def close_by_hand(row: BreakerRow, now_ms: UnixMs, *, actor: str, note: str) -> BreakerRow:
    """Make calls again: a closed one stays as it is."""
    return row if row.state is BreakerState.CLOSED else _closed(row, now_ms, actor=actor, note=note)
