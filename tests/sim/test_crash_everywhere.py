"""``crash_everywhere``, as the user of a workflow calls it."""

from __future__ import annotations

from datetime import timedelta

import pytest

import holdfast as hf
from holdfast.testing import CrashFound, CrashPoint, Fault, SimulationError, crash_everywhere
from holdfast.workflow.workflow import AsyncWorkflow


class Shop:
    """An outside world that counts what was asked of it, once per idempotency key or each time."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.emails = 0

    def clear(self) -> None:
        self.charges.clear()
        self.emails = 0

    def charge(self, key: str, amount: int) -> str:
        self.charges.setdefault(key, amount)
        return f"receipt-{amount}"


def make_app(shop: Shop) -> tuple[hf.App, AsyncWorkflow[[str, int], str]]:
    app = hf.App("shop")

    @app.step
    async def charge(order: str, amount: int) -> str:
        info = hf.current()
        assert isinstance(info, hf.StepInfo)
        return shop.charge(info.idempotency_key, amount)

    @app.step
    async def send_email(receipt: str) -> None:
        shop.emails += 1

    @app.workflow
    async def order(name: str, amount: int) -> str:
        receipt = await charge(name, amount)
        approved = await hf.wait_for_signal("approved", bool)
        await hf.sleep(60)
        if approved:
            await send_email(receipt)
        return receipt

    return app, order


@pytest.mark.requirement("promise-2", "S-05")
def test_a_workflow_keeps_its_result_and_effects_wherever_its_worker_dies() -> None:
    shop = Shop()
    app, order = make_app(shop)

    def charged_once(outcome: object) -> None:
        assert list(shop.charges.values()) == [40]
        assert 1 <= shop.emails <= 2

    report = crash_everywhere(
        order, "A-1", 40, app=app, signals=[("approved", True)], reset=shop.clear, check=charged_once
    )

    assert report.outcome.result == "receipt-40"
    assert report.outcome.journal == {"charge": "completed", "send_email": "completed"}
    assert len(report.points) == 2 * report.calls


def test_a_workflow_that_counts_on_an_effect_being_done_once_is_found_out() -> None:
    shop = Shop()
    app, order = make_app(shop)

    def emailed_once(outcome: object) -> None:
        assert shop.emails == 1, f"{shop.emails} emails were sent"

    repeatable = r"(?s)2 emails were sent.*repeat it with only=CrashPoint\(\d+, Fault"
    with pytest.raises(CrashFound, match=repeatable) as found:
        crash_everywhere(order, "A-1", 40, app=app, signals=[("approved", True)], reset=shop.clear, check=emailed_once)

    assert "crash_before" in str(found.value)


def test_a_found_crash_is_repeated_by_its_point() -> None:
    shop = Shop()
    app, order = make_app(shop)

    report = crash_everywhere(
        order, "A-1", 40, app=app, signals=[("approved", True)], reset=shop.clear, only=CrashPoint(3, Fault.CRASH_AFTER)
    )

    assert report.points == [CrashPoint(3, Fault.CRASH_AFTER)]


def flawed(hidden: list[int]) -> tuple[hf.App, AsyncWorkflow[[], int]]:
    app = hf.App("flawed")

    @app.step
    async def count() -> int:
        return 1

    @app.workflow
    async def run_twice() -> int:
        hidden.append(1)
        return await count() + len(hidden)

    return app, run_twice


def test_a_workflow_whose_result_depends_on_how_often_it_was_executed_is_found_out() -> None:
    hidden: list[int] = []
    app, run_twice = flawed(hidden)

    with pytest.raises(CrashFound, match="the run's result was 2, and now is 3"):
        crash_everywhere(run_twice, app=app, reset=hidden.clear)


def test_a_run_that_waits_for_a_signal_that_nobody_sends_is_said_not_to_end() -> None:
    app, order = make_app(Shop())

    with pytest.raises(SimulationError, match="has not ended after 0:00:30: it is waiting"):
        crash_everywhere(order, "A-1", 40, app=app, within=timedelta(seconds=30))
