"""What must hold at the end, by the journal and by the payment service's ledger. Pure: evidence in, verdicts out.

The two sources know nothing of each other: the journal says what the engine recorded, the ledger what the outside
world was asked to do, every repeated request included.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from examples.orders.killer import Kill, takeover_of
from examples.orders.ledger import Action, Line
from examples.orders.model import Case, Decision, OrderBook
from holdfast.model.run import Entry, RunDetail
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome


class Ended(Struct, frozen=True):
    """An order's run as the journal has it at the end."""

    case: Case
    detail: RunDetail
    failure: str
    """The type of the error that ended it; empty if none did."""


class Evidence(Struct, frozen=True):
    """All that there is to judge by."""

    book: OrderBook
    orders: list[Ended]
    ledger: list[Line]
    kills: list[Kill]
    kills_wanted: int


class Verdict(Struct, frozen=True):
    """One thing that must hold."""

    title: str
    facts: str
    problems: list[str]
    """Each names an order, or a worker."""


def judge(evidence: Evidence) -> list[Verdict]:
    """Every verdict, in the order in which people ask."""
    checks: list[Callable[[Evidence], Verdict]] = [
        _every_order_ended, _ends_fit_the_orders, _charged_once, _refunded, _stock_adds_up, _shipped_once,
        _journal_agrees, _approvals, _taken_over,
    ]  # fmt: skip
    return [check(evidence) for check in checks]


def money(evidence: Evidence) -> dict[str, tuple[int, int]]:
    """By currency: what was charged and what was refunded, in minor units, by the ledger."""
    sums: dict[str, tuple[int, int]] = {}
    for line in evidence.ledger:
        if line.outcome == "made" and line.action in ("charge", "refund"):
            charged, refunded = sums.get(line.currency, (0, 0))
            is_charge = line.action == "charge"
            sums[line.currency] = (charged + line.amount * is_charge, refunded + line.amount * (not is_charge))
    return dict(sorted(sums.items()))


def _every_order_ended(evidence: Evidence) -> Verdict:
    counts = Counter(order.detail.run.status for order in evidence.orders)
    facts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    open_ = [
        f"{_id(order)} is {order.detail.run.status}"
        for order in evidence.orders
        if order.detail.run.status not in TERMINAL_STATUSES
    ]
    missing = len(evidence.book.cases) - len(evidence.orders)
    return Verdict("every order ended", facts, open_ + ([f"{missing} orders were never started"] if missing else []))


EXPECTED_FAILURE: dict[Decision, str] = {"refused": "OrderRefused", "never": "SignalTimeout"}


def _ends_fit_the_orders(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    reasons: Counter[str] = Counter()
    for order in evidence.orders:
        wrong = _misfit(order, evidence.book)
        if wrong:
            problems.append(f"{_id(order)} {wrong}")
        if order.failure:
            reasons[order.failure] += 1
    facts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return Verdict("each ended as its card, its items and its approval say", facts, problems)


def _misfit(order: Ended, book: OrderBook) -> str:
    """What is wrong with how an order ended; empty if nothing is."""
    case, failure = order.case, order.failure
    allowed: set[str] = set()
    if case.order.card in ("tok_declined", "tok_insufficient_funds"):
        allowed = {"CardDeclined"}
    elif _cannot_be_supplied(case, book):
        allowed = {"CannotSupply"}
    else:
        allowed = {EXPECTED_FAILURE.get(case.decision, "")}
        if any(_is_scarce(sku, book) for sku in case.order.demand):
            # Who comes first gets the last ones.
            allowed.add("CannotSupply")
    if failure in allowed:
        return ""
    return f"ended with {failure or 'a shipment'}, not with {' or '.join(sorted(allowed)) or 'a shipment'}"


def _cannot_be_supplied(case: Case, book: OrderBook) -> bool:
    sold_out = any(book.stock[sku] == 0 for sku in case.order.demand)
    return sold_out or any(item.serial in book.damaged for item in case.order.items)


def _is_scarce(sku: str, book: OrderBook) -> bool:
    return book.stock[sku] < sum(case.order.demand.get(sku, 0) for case in book.cases)


def _charged_once(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    made = _made(evidence, "charge")
    for order in evidence.orders:
        charges = made[_id(order)]
        if len(charges) > 1:
            problems.append(f"{_id(order)} was charged {len(charges)} times: {', '.join(c.subject for c in charges)}")
        if charges and (charges[0].amount, charges[0].currency) != (order.case.order.total, order.case.order.currency):
            problems.append(f"{_id(order)} was charged {charges[0].amount} {charges[0].currency}")
        if order.detail.run.status is RunStatus.COMPLETED and not charges:
            problems.append(f"{_id(order)} was shipped without a charge")
    keys = Counter(line.key for line in evidence.ledger if line.outcome == "made")
    problems += [f"key {key} took effect {count} times" for key, count in keys.items() if count > 1]
    outcomes = Counter(line.outcome for line in evidence.ledger)
    charges_repeated = sum(line.action == "charge" for line in evidence.ledger if line.outcome == "repeated")
    facts = (
        f"{sum(map(len, made.values()))} charges; of {len(evidence.ledger)} requests {outcomes['repeated']} were "
        f"repetitions, {charges_repeated} of charges, all absorbed by their key; {outcomes['failed']} got an error"
    )
    return Verdict("no charge was made twice", facts, problems)


def _refunded(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    charges, refunds = _made(evidence, "charge"), _made(evidence, "refund")
    for order in evidence.orders:
        id_ = _id(order)
        charged = [(line.subject, line.amount, line.currency) for line in charges[id_]]
        refunded = [(line.subject, line.amount, line.currency) for line in refunds[id_]]
        if order.detail.run.status is RunStatus.COMPLETED:
            if refunded:
                problems.append(f"{id_} completed, yet it was refunded")
        elif charged != refunded:
            problems.append(f"{id_} failed: charged {charged}, refunded {refunded}")
    return Verdict(
        "every failed order that was charged was refunded, no other",
        f"{sum(map(len, refunds.values()))} refunds",
        problems,
    )


def _stock_adds_up(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    stock = dict(evidence.book.stock)
    kept: dict[str, Counter[str]] = defaultdict(Counter)
    for line in evidence.ledger:
        if line.outcome != "made" or line.action not in ("reserve", "release"):
            continue
        sign = 1 if line.action == "reserve" else -1
        for sku, quantity in line.pieces.items():
            stock[sku] -= sign * quantity
            kept[line.order][sku] += sign * quantity
            if stock[sku] < 0:
                problems.append(f"{line.order} reserved more of {sku} than there was")
    for order in evidence.orders:
        done = order.detail.run.status is RunStatus.COMPLETED
        expected = order.case.order.demand if done else {}
        actual = {sku: quantity for sku, quantity in kept[_id(order)].items() if quantity}
        if actual != expected:
            problems.append(f"{_id(order)} keeps {actual} of the stock instead of {expected}")
    sold = sum(evidence.book.stock.values()) - sum(stock.values())
    return Verdict("the stock adds up", f"{sold} pieces sold, {sum(stock.values())} left", problems)


def _shipped_once(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    shipments, packed, unpacked = _made(evidence, "ship"), _made(evidence, "pack"), _made(evidence, "unpack")
    for order in evidence.orders:
        id_ = _id(order)
        done = order.detail.run.status is RunStatus.COMPLETED
        if len(shipments[id_]) != int(done):
            problems.append(f"{id_} has {len(shipments[id_])} shipments")
        parcels = Counter(line.subject for line in packed[id_]) - Counter(line.subject for line in unpacked[id_])
        if parcels.total() != (len(order.case.order.items) if done else 0):
            problems.append(f"{id_} has {parcels.total()} parcels for {len(order.case.order.items)} items")
    facts = f"{sum(map(len, shipments.values()))} shipments, {sum(map(len, packed.values()))} parcels"
    return Verdict("completed orders were shipped once, with all their items, and no others", facts, problems)


def _journal_agrees(evidence: Evidence) -> Verdict:
    """What the journal records as done is what took effect: the same steps, the same compensations."""
    problems: list[str] = []
    effects: dict[str, Counter[str]] = defaultdict(Counter)
    for line in evidence.ledger:
        if line.outcome == "made":
            effects[line.order][line.action] += 1
    entries = 0
    for order in evidence.orders:
        recorded = Counter(effect for effect in map(_effect_of, order.detail.journal) if effect)
        entries += len(order.detail.journal)
        if recorded != effects[_id(order)]:
            problems.append(f"{_id(order)}: journal {dict(recorded)}, ledger {dict(effects[_id(order)])}")
        if order.failure and recorded["charge"] and order.detail.run.terminal_reason != "compensated":
            problems.append(f"{_id(order)} ended as {order.detail.run.terminal_reason}, not as compensated")
    unknown = set(effects) - {_id(order) for order in evidence.orders}
    problems += [f"the ledger knows {id_}, the journal does not" for id_ in sorted(unknown)]
    attempts = sum(entry.attempts - 1 for order in evidence.orders for entry in order.detail.journal)
    return Verdict("journal and ledger agree", f"{entries} journal entries, {attempts} retries", problems)


UNDO: dict[str, Action] = {"charge": "refund", "reserve": "release", "pack": "unpack"}


def _effect_of(entry: Entry) -> str:
    """The ledger's word for what a journal entry did; empty if it did nothing."""
    if entry.status is not EntryStatus.COMPLETED or entry.kind not in (EntryKind.STEP, EntryKind.COMPENSATION):
        return ""
    return UNDO[entry.name] if entry.kind is EntryKind.COMPENSATION else entry.name


def _approvals(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    before = after = 0
    for order in evidence.orders:
        waits = [wait for wait in order.detail.waits if wait.kind is WaitKind.SIGNAL]
        taken = [wait for wait in waits if wait.outcome is WaitOutcome.SIGNALLED]
        before += sum(wait.closed_ms == wait.opened_ms for wait in taken)
        after += sum(wait.closed_ms != wait.opened_ms for wait in taken)
        if order.detail.run.status is RunStatus.COMPLETED and len(taken) != 1:
            problems.append(f"{_id(order)} completed after {len(taken)} approvals")
    facts = f"{before} came before their order asked, {after} after"
    return Verdict("each approval was taken once", facts, problems)


def _taken_over(evidence: Evidence) -> Verdict:
    problems: list[str] = []
    details = {order.detail.run.id: order.detail for order in evidence.orders}
    if len(evidence.kills) < evidence.kills_wanted:
        problems.append(f"only {len(evidence.kills)} of {evidence.kills_wanted} workers were killed")
    held = sum(len(kill.held) for kill in evidence.kills)
    problems += [
        f"nobody took over from worker {kill.pid}" for kill in evidence.kills if takeover_of(kill, details) is None
    ]
    return Verdict(
        "what killed workers held went on", f"{len(evidence.kills)} kills, {held} orders taken over", problems
    )


def _made(evidence: Evidence, action: Action) -> dict[str, list[Line]]:
    return _by_order(line for line in evidence.ledger if line.outcome == "made" and line.action == action)


def _by_order(lines: Iterable[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.order].append(line)
    return found


def _id(order: Ended) -> str:
    return order.case.order.id
