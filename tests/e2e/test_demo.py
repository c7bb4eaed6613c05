"""The orders demonstration, in short; and that its audit would notice what it says it notices."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs

from examples.orders.audit import Ended, Evidence, judge
from examples.orders.ledger import Line
from examples.orders.make_orders import make_orders
from examples.orders.model import Case, Item, Order, OrderBook, write_orders
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import Entry, Run, RunDetail, Wait
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 100


def start_demo(folder: Path, *, orders: int, kills: int) -> subprocess.Popen[str]:
    file = folder / "orders.json"
    write_orders(make_orders(orders, seed=3), file)
    command = [sys.executable, "-u", "-m", "examples.orders.demo", "--orders", str(file), "--folder", str(folder)]
    return subprocess.Popen(
        [*command, "--kills", str(kills), "--lease", "2", "--approve-within", "5", "--seed", "4"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids_in(printed: str) -> set[int]:
    """The workers' process ids, killed and started."""
    return {int(pid) for pid in re.findall(r"worker (\d+)", printed)}


@pytest.mark.requirement(
    "promise-1", "promise-2", "promise-4", "promise-7", "promise-8", "S-05", "S-09", "S-15", "S-52", "S-54", "S-57"
)
def test_workers_that_are_killed_leave_every_order_shipped_or_undone(tmp_path: Path) -> None:
    with start_demo(tmp_path, orders=40, kills=2) as demo:
        printed = demo.communicate(timeout=LIMIT_S)[0]

    assert demo.returncode == 0, printed
    assert "everything held" in printed
    assert printed.count("ok  ") == 9
    assert len(re.findall(r"^kill \d: .* taken over after", printed, re.MULTILINE)) == 2
    assert not [pid for pid in pids_in(printed) if is_alive(pid)]


def test_an_interrupted_demonstration_ends_its_processes(tmp_path: Path) -> None:
    with start_demo(tmp_path, orders=40, kills=2) as demo:
        assert demo.stdout is not None
        printed = ""
        for line in demo.stdout:
            printed += line
            if "killed worker" in line:
                break
        demo.send_signal(signal.SIGINT)
        printed += demo.communicate(timeout=LIMIT_S)[0]

    assert demo.returncode == 130, printed
    assert len(pids_in(printed)) == 2
    assert not [pid for pid in pids_in(printed) if is_alive(pid)]


# The audit: one completed and one failed order, as they should be, and then with one thing wrong.

RUN: Final = Run(
    id=RunId("00000000-0000-7000-8000-000000000001"), tenant=Tenant("t"), workflow="fulfil", queue="q",
    status=RunStatus.COMPLETED, status_reason="completed", terminal_reason="completed", input=Json(b""), result=None,
    error=None, key=None, priority=0, version=None, definition_hash=None,
    root_id=RunId("00000000-0000-7000-8000-000000000001"), retry_of_id=None, attempt=1, parent_id=None,
    parent_key=None, attributes={}, worker=None, epoch=1, crashes=0, cancel_requested=False, created_ms=UnixMs(0),
    updated_ms=UnixMs(0), ready_ms=None, wake_ms=None, deadline_ms=None, started_ms=None, finalized_ms=UnixMs(9),
)  # fmt: skip
APPROVED: Final = Wait(
    key="signal", seq=5, kind=WaitKind.SIGNAL, opened_ms=UnixMs(1), closed_ms=UnixMs(2), outcome=WaitOutcome.SIGNALLED
)


def entry(name: str, kind: EntryKind = EntryKind.STEP) -> Entry:
    return Entry(
        key=f"{name}{kind}", seq=1, kind=kind, name=name, status=EntryStatus.COMPLETED, epoch=1,
        started_ms=UnixMs(0), completed_ms=UnixMs(1),
    )  # fmt: skip


def line(action: str, order: str, subject: str, **more: object) -> dict[str, object]:
    return {"action": action, "order": order, "subject": subject, "key": f"{order}/{action}", "outcome": "made", **more}


PIECES: Final = {"pieces": {"cup": 2}}
MONEY: Final = {"amount": 20, "currency": "EUR"}
GOOD: Final = (
    line("charge", "shipped", "charge-1", **MONEY), line("reserve", "shipped", "reservation-1", **PIECES),
    line("pack", "shipped", "parcel-1"), line("ship", "shipped", "tracking-1"),
    line("charge", "refused", "charge-2", **MONEY), line("reserve", "refused", "reservation-2", **PIECES),
    line("pack", "refused", "parcel-2"), line("unpack", "refused", "parcel-2"),
    line("release", "refused", "reservation-2", **PIECES), line("refund", "refused", "charge-2", **MONEY),
)  # fmt: skip


def evidence(lines: list[dict[str, object]]) -> Evidence:
    def case(id_: str, decision: str) -> Case:
        order = Order(id_, "Ann", "tok_visa", "EUR", [Item(f"{id_}-1", "cup", 2, 10)])
        return Case(order, "late" if decision == "late" else "refused")

    def ended(case: Case, run: Run, journal: list[Entry], failure: str) -> Ended:
        detail = RunDetail(
            now_ms=UnixMs(9),
            run=run,
            journal=journal,
            waits=[APPROVED],
            attempts=[],
            transitions=[],
            workers=[],
            ahead=0,
        )
        return Ended(case, detail, failure)

    shipped, refused = case("shipped", "late"), case("refused", "refused")
    forward = [entry("charge"), entry("reserve"), entry("pack")]
    undone = [entry(name, EntryKind.COMPENSATION) for name in ("pack", "reserve", "charge")]
    failed = structs.replace(RUN, status=RunStatus.FAILED, terminal_reason="compensated")
    numbered = [{"number": number, "at_ms": number, **one} for number, one in enumerate(lines)]
    return Evidence(
        OrderBook({"cup": 5}, [], [shipped, refused]),
        [
            ended(shipped, RUN, [*forward, entry("ship")], ""),
            ended(refused, failed, [*forward, *undone], "OrderRefused"),
        ],
        [Line(**one) for one in numbered],  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        [],
        0,
    )


def problems(lines: list[dict[str, object]]) -> list[str]:
    return [problem for verdict in judge(evidence(lines)) for problem in verdict.problems]


def test_the_audit_finds_nothing_where_nothing_is_wrong() -> None:
    assert problems(list(GOOD)) == []


@pytest.mark.parametrize(
    ("forged", "found"),
    [
        (line("charge", "shipped", "charge-9", **MONEY, key="other"), "shipped was charged 2 times"),
        (line("charge", "shipped", "charge-9", **MONEY), "key shipped/charge took effect 2 times"),
        (line("refund", "shipped", "charge-1", **MONEY), "shipped completed, yet it was refunded"),
        (line("reserve", "refused", "reservation-9", **PIECES), "refused keeps {'cup': 2} of the stock"),
        (line("reserve", "shipped", "reservation-9", pieces={"cup": 9}), "shipped reserved more of cup than there was"),
        (line("ship", "refused", "tracking-9"), "refused has 1 shipments"),
        (line("pack", "refused", "parcel-9"), "refused has 1 parcels"),
        (line("charge", "stranger", "charge-9", **MONEY), "the ledger knows stranger"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_audit_names_the_order_that_something_is_wrong_with(forged: dict[str, object], found: str) -> None:
    assert any(problem.startswith(found) for problem in problems([*GOOD, forged]))


@pytest.mark.parametrize("missing", range(len(GOOD)))
def test_the_audit_notices_each_effect_that_is_missing(missing: int) -> None:
    assert problems([one for number, one in enumerate(GOOD) if number != missing])
