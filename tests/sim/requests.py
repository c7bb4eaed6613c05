"""What clients ask for in a campaign, and what must come of it: the reference, which knows nothing of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from holdfast.core.codec import Codec
from holdfast.core.failure import read_failure
from holdfast.model.run import RunDetail
from holdfast.model.status import EntryKind, RunStatus
from holdfast.workflow.workflow import Workflow
from tests.sim import workloads
from tests.sim.orders import Order
from tests.sim.workloads import is_hopeless

C, F, X, S = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.STUCK


@dataclass(frozen=True)
class Ending:
    """One way in which a run may end. ``result`` is looked at for completed ones only."""

    status: RunStatus
    reason: str
    """The terminal reason; any, if empty."""
    result: Any = None


@dataclass
class Request:
    """One thing that a client wants, and all that may come of it."""

    number: int
    workflow: Workflow[..., Any]
    args: tuple[Any, ...]
    endings: list[Ending]
    at_s: float
    keyed: bool
    takes_s: float
    """How long it takes if all goes well."""
    delay_s: float = 0.0
    timeout_s: float | None = None
    signals: list[str] = field(default_factory=list[str])
    signal_gap_s: float = 1.0
    emits: list[int] | None = None
    """What its stream holds in the end."""
    approves: bool = False
    """Whether a person answers what it asks."""
    orders: list[Order] = field(default_factory=list[Order])
    """What operators do to it meanwhile."""
    fork_endings: list[Ending] = field(default_factory=list[Ending])
    cancel_after_s: float | None = None
    cancel_after_kill: bool = False
    """Whether to wait for the death of some worker first."""

    @property
    def name(self) -> str:
        """For messages and as a search attribute."""
        return f"request-{self.number}"

    @property
    def needs_its_client(self) -> bool:
        """Whether it ends only if its client knows of its start: by signals, an answer, or a cancel."""
        return bool(self.signals) or self.approves or all(ending.status is X for ending in self.endings)


_codec = Codec()


def judge(request: Request, detail: RunDetail) -> str | None:
    """What is wrong with how a run, or one that began with its records, ended; None if nothing is."""
    run = detail.run
    endings = request.fork_endings if run.forked_from_id is not None else request.endings
    result = None
    if run.result is not None:
        result = _codec.decoder(Any)(run.result, "the result")
    emitted = [entry.result for entry in detail.journal if entry.kind is EntryKind.EMITTED]
    if request.emits is not None and emitted != [_codec.encode(number, "") for number in request.emits]:
        return f"{request.name} emitted {emitted}, not {request.emits}"
    for ending in endings:
        if run.status is not ending.status or (ending.reason and run.terminal_reason != ending.reason):
            continue
        if ending.status is not C or result == ending.result:
            return None
    error = "none" if run.error is None else read_failure(run.error).summary
    return (
        f"{request.name} {request.workflow.name}{request.args} ended {run.status} ({run.terminal_reason}) "
        f"with {result!r} and error {error}; expected one of {endings}"
    )


def done(result: Any) -> list[Ending]:
    """It completes."""
    return [Ending(C, "completed", result)]


def draw_requests(random: Random, *, count: int, kind: str, poison: bool) -> list[Request]:
    """A seed's requests, on a store of some kind."""
    requests = [_draw(random, number, kind) for number in range(count)]
    if poison:
        requests.append(_poison(random, len(requests)))
    return requests


def _draw(random: Random, number: int, kind: str) -> Request:
    make = random.choice(_KINDS)
    request = make(random, number, kind)
    request.at_s = random.random() * 30
    request.keyed = random.random() < 0.6
    if random.random() < 0.15:
        request.delay_s = round(5 * random.random(), 3)
    return request


def _request(
    number: int, workflow: Workflow[..., Any], args: tuple[Any, ...], endings: list[Ending], takes_s: float
) -> Request:
    return Request(number, workflow, args, endings, at_s=0.0, keyed=True, takes_s=takes_s)


def _three(random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.three, (n,), done(n + 111), 3)
    if random.random() < 0.3:
        request.timeout_s = round(0.02 + random.random(), 3)
        request.endings.append(Ending(F, "deadline_exceeded"))
    return request


def _saga(random: Random, n: int, _kind: str) -> Request:
    width, fails = random.randrange(1, 5), random.random() < 0.8
    return _request(n, workloads.saga, (n, width, fails), _undone(n, range(width)) if fails else done(width), 12)


def _undone(n: int, items: Any) -> list[Ending]:
    hopeless = any(is_hopeless(n, item) for item in items)
    return [Ending(F, "compensation_failed" if hopeless else "compensated")]


def _retries(random: Random, n: int, _kind: str) -> Request:
    failures = random.randrange(6)
    endings = done(failures + 1) if failures < 4 else [Ending(F, "retries_exhausted")]
    return _request(n, workloads.retries, (n, failures), endings, 6)


def _fan(random: Random, n: int, _kind: str) -> Request:
    width = random.randrange(2, 7)
    bad = random.randrange(-1, width)
    if bad < 0:
        return _request(n, workloads.fan, (n, width, bad), done([f"{n}-{item}" for item in range(width)]), 12)
    # Which of the others had begun when the bad one failed is the schedule's; so is whether there is anything to undo.
    endings = [Ending(F, "retries_exhausted"), Ending(F, "compensated"), Ending(F, "compensation_failed")]
    return _request(n, workloads.fan, (n, width, bad), endings if is_hopeless(n, 2) else endings[:2], 15)


def _tolerant(random: Random, n: int, _kind: str) -> Request:
    width = random.randrange(2, 6)
    bad = random.randrange(-1, width)
    result = ["-" if item == bad else f"{n}-{item}" for item in range(width)]
    return _request(n, workloads.tolerant, (n, width, bad), done(result), 6)


def _branches(_random: Random, n: int, _kind: str) -> Request:
    return _request(n, workloads.branches, (n,), done((n + 1) + (n + 2) + (n + 1) + 2), 6)


def _nap(random: Random, n: int, _kind: str) -> Request:
    seconds = round(random.choice((0.1, 0.6, 3.0, 12.0)) * random.random(), 3)
    return _request(n, workloads.nap, (n, seconds), done(n + 11), seconds + 3)


def _rest(random: Random, n: int, _kind: str) -> Request:
    seconds = round(0.3 * random.random(), 3)
    return _request(n, workloads.rest, (n, seconds), done(n + 1), 3)


def _mail(random: Random, n: int, _kind: str) -> Request:
    count = random.randrange(1, 4)
    request = _request(n, workloads.mail, (n, count), [], 4)
    request.signals = [f"{n}/{number}" for number in range(count)]
    request.signal_gap_s = random.choice((0.0, 0.05, 0.5, 4.0))
    request.endings = done(list(request.signals))
    return request


def _news(random: Random, n: int, _kind: str) -> Request:
    width = random.randrange(1, 4)
    return _request(n, workloads.news, (n, width), done([["a", "b"]] * width), 25)


def _letters(_random: Random, n: int, _kind: str) -> Request:
    return _request(n, workloads.letters, (n,), done(["a", "b"]), 20)


def _says(random: Random, n: int, _kind: str) -> Request:
    count = random.randrange(1, 6)
    request = _request(n, workloads.says, (n, count), done(n), 8)
    request.emits = list(range(count))
    return request


def _asks(_random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.asks, (n,), done("ann True"), 10)
    request.approves = True
    return request


def _mail_in_time(random: Random, n: int, _kind: str) -> Request:
    seconds = round(4 * random.random(), 3)
    request = _request(n, workloads.mail_in_time, (n, seconds), [*done("none")], 8)
    if random.random() < 0.8:
        request.signals = [f"{n}/only"]
        request.signal_gap_s = max(0.0, seconds + random.uniform(-2, 2))
        request.endings += done(f"{n}/only")
    return request


def _family(random: Random, n: int, _kind: str) -> Request:
    width = random.randrange(1, 5)
    result = [n + 111, *(n + number + 11 for number in range(width)), -1]
    return _request(n, workloads.family, (n, width), done(result), 25)


def _hurry(_random: Random, n: int, _kind: str) -> Request:
    return _request(n, workloads.hurry, (n,), [Ending(F, "compensated"), Ending(F, "deadline_exceeded")], 10)


def _cancelled(random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.nap, (n, 3.0), [*done(n + 11), Ending(X, "")], 6)
    request.cancel_after_s = 6 * random.random()
    return request


def _cancelled_at_work(random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.busy, (n, 6.0), [*done(n + 1), Ending(X, "")], 9)
    request.cancel_after_s = 0.5 + random.random()
    request.cancel_after_kill = True
    return request


def _cancelled_saga(random: Random, n: int, _kind: str) -> Request:
    request = _saga(random, n, _kind)
    request.endings += [Ending(X, "")]
    request.cancel_after_s = 2 * random.random()
    return request


def _held_up(random: Random, n: int, kind: str) -> Request:
    """Pauses, and other places in the line, change nothing of how a run ends."""
    make = random.choice((_three, _saga, _retries, _nap, _rest, _mail, _mail, _mail, _mail_in_time, _family))
    request = make(random, n, kind)
    # A deadline goes on while a run is paused.
    request.timeout_s = None
    if request.signals:
        # At about the moment when it is woken.
        request.orders = [Order(request.signal_gap_s + 0.1 * random.random(), "pause"), Order(0.3, "resume")]
    for _ in range(random.randrange(1, 3)):
        held_s = 3 * random.random() ** 2
        request.orders += [Order(4 * random.random() ** 2, "pause"), Order(held_s, "resume")]
        request.takes_s += held_s + 4
    request.orders.append(Order(random.random(), random.choice(("priority", "wake")), random.randrange(-2, 3)))
    request.orders.append(Order(0.5, "resume"))
    return request


def _terminated(random: Random, n: int, kind: str) -> Request:
    request = random.choice((_nap, _saga, _family, _branches, _three))(random, n, kind)
    request.endings = [*request.endings, Ending(X, "terminated")]
    request.orders = [Order(3 * random.random(), "terminate"), Order(0.0, "terminate")]
    return request


def _undone_by_hand(random: Random, n: int, kind: str) -> Request:
    request = _saga(random, n, kind)
    request.endings = [*request.endings, Ending(X, ""), *_undone(n, range(request.args[1]))]
    request.orders = [Order(3 * random.random(), "undo"), Order(random.random(), "undo")]
    return request


def _settled(random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.retries, (n, 9), [*done(77), Ending(F, "retries_exhausted")], 8)
    request.orders = [Order(1.5 * random.random(), "settle", ("flaky", 77))]
    return request


def _stays(random: Random, n: int, _kind: str) -> Request:
    """It waits for what never comes, until it is cancelled: a cancel that is lost is seen."""
    request = _request(n, workloads.stays, (n,), [Ending(X, "cancelled")], 3)
    request.cancel_after_s = random.choice((0.0, 0.05, 0.3, 2.0)) * random.random()
    return request


def _retried(random: Random, n: int, kind: str) -> Request:
    if random.random() < 0.5:
        request = _saga(random, n, kind)
    else:
        request = _request(n, workloads.retries, (n, 9), [Ending(F, "retries_exhausted")], 6)
    request.takes_s *= 2
    request.orders = [Order(6 + 6 * random.random(), "retry")]
    return request


def _forked(random: Random, n: int, _kind: str) -> Request:
    request = _request(n, workloads.three, (n,), done(n + 111), 6)
    request.orders = [Order(2 * random.random(), "fork", {"add": 5})]
    request.fork_endings = done(115)
    return request


def _asked(random: Random, n: int, _kind: str) -> Request:
    """Each update is applied once, and the run may be held up between them."""
    bids = [random.randrange(1, 50) for _ in range(random.randrange(1, 4))]
    request = _request(n, workloads.hears, (n,), done([*bids, 0]), 12)
    request.orders = [Order(2 * random.random() ** 2, "update", bid) for bid in [*bids, 0]]
    return request


def _values(_random: Random, n: int, _kind: str) -> Request:
    return _request(n, workloads.values, (n,), done(True), 4)


def _plain(_random: Random, n: int, _kind: str) -> Request:
    return _request(n, workloads.plain, (n,), done(2 * (2 * n + 1) + 2 * n), 4)


def _booking(_random: Random, n: int, kind: str) -> Request:
    return _request(n, workloads.booking, (n, kind), done(n + 2), 6)


def _bookings(_random: Random, n: int, kind: str) -> Request:
    return _request(n, workloads.bookings, (n, kind), done(n + (n + 6) + 6), 8)


def _poison(random: Random, n: int) -> Request:
    request = _request(n, workloads.poison, (n,), [Ending(S, "worker_crashes")], 40)
    request.at_s = 5 * random.random()
    return request


_KINDS: list[Callable[[Random, int, str], Request]] = [
    _three,
    _saga,
    _saga,
    _retries,
    _fan,
    _tolerant,
    _branches,
    _nap,
    _nap,
    _rest,
    _mail,
    _mail,
    _mail_in_time,
    _news,
    _letters,
    _says,
    _asks,
    _family,
    _hurry,
    _cancelled,
    _cancelled_saga,
    _cancelled_at_work,
    _cancelled_at_work,
    *[_held_up] * 4,
    _terminated,
    _undone_by_hand,
    _settled,
    _stays,
    _stays,
    _retried,
    _forked,
    _asked,
    _values,
    _plain,
    _booking,
    _bookings,
]
