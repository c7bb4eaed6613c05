"""Approvals from the question to the decision, over each store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

import holdfast as hf
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


@dataclass
class Terms:
    """What the board has to enter."""

    days: int
    note: str = ""


async def until_asked(engine: Engine, *names: str) -> hf.Approval:
    """The one approval in the inbox, as soon as it is there."""
    while not (page := await engine.client.approvals(names)).approvals:
        await asyncio.sleep(0.01)
    [approval] = page.approvals
    return approval


@pytest.mark.requirement("promise-7", "C-51")
async def test_a_person_approves_once_and_the_workflow_gets_who_when_and_what(engine: Engine) -> None:
    @engine.app.workflow
    async def ship(order: str) -> tuple[bool, str, int, str | None]:
        decision = await hf.wait_for_approval("ship", form=Terms, title=f"Ship {order}?", by=("ann", "board"))
        assert decision.data is not None
        assert decision.at.tzinfo is not None
        return decision.approved, decision.by, decision.data.days, decision.comment

    async with engine.worker():
        run = await engine.client.start(ship, "o-1")
        asked = await until_asked(engine, "board")
        assert (asked.run_id, asked.key, asked.workflow, asked.question.title) == (run.id, "ship", "ship", "Ship o-1?")
        with pytest.raises(hf.errors.FormMismatch, match="days"):
            await engine.client.approve(run.id, "ship", by="ann", data={"days": "soon"})
        with pytest.raises(hf.errors.NotAnApprover):
            await engine.client.approve(run.id, "ship", by="zoe", data=Terms(3))

        await engine.client.approve(run.id, "ship", by="zoe", groups=["board"], data=Terms(3), comment="in time")

        assert await run.result(60) == (True, "zoe", 3, "in time")
        with pytest.raises(hf.errors.ApprovalClosed):
            await engine.client.reject(run.id, "ship", by="ann")
        assert (await engine.client.approvals()).approvals == []


async def test_a_rejection_is_an_answer_and_needs_no_form(engine: Engine) -> None:
    @engine.app.workflow
    async def ship() -> list[object]:
        decision = await hf.wait_for_approval(form=Terms, by=("ann",))
        return [decision.approved, decision.by, decision.data]

    async with engine.worker():
        run = await engine.client.start(ship)
        await until_asked(engine)
        await engine.client.reject(run.id, by="ann")
        assert await run.result(60) == [False, "ann", None]


async def test_an_approval_that_nobody_gives_times_out(engine: Engine) -> None:
    @engine.app.workflow
    async def ship(seconds: float) -> str:
        try:
            await hf.wait_for_approval(timeout=seconds)
        except hf.errors.ApprovalTimeout as error:
            return f"{error.code} {error.key}"
        return "answered"

    async with engine.worker():
        for seconds in (0.01, LONG_S):
            assert await (await engine.client.start(ship, seconds)).result(60) == "approval_timeout approval"


@pytest.mark.requirement("C-54")
async def test_explain_says_who_may_answer_now_and_who_later(engine: Engine) -> None:
    @engine.app.workflow
    async def ship() -> bool:
        decision = await hf.wait_for_approval(
            title="Ship it?", by=("ann", "bob"), escalate_after=3600, escalate_to=("chief",)
        )
        return decision.approved

    async with engine.worker():
        run = await engine.client.start(ship)
        await until_asked(engine)
        explained = await run.explain()

    [reason] = [one for one in explained.reasons if one.kind == "approval"]
    assert reason.approvers == ["ann", "bob"]
    assert reason.text.startswith("approval: it waits for approval by ann or bob (Ship it?), in ")
    assert "also by chief, without a time limit" in reason.text


async def test_a_plain_workflow_asks_people_too(engine: Engine) -> None:
    @engine.app.workflow
    def ship() -> bool:
        return hf.blocking.wait_for_approval(by=("ann",)).approved

    async with engine.worker():
        run = await engine.client.start(ship)
        await until_asked(engine)
        await engine.client.approve(run.id, by="ann")
        assert await run.result(60) is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "ann"}, "several names"),
        ({"by": ("ann",), "escalate_after": 1}, "together"),
        ({"escalate_after": 1, "escalate_to": ("chief",)}, "nobody to escalate to"),
        ({"form": {"minContains": 1}}, "not supported"),
        ({"form": object}, "neither a JSON Schema nor a type"),
    ],
)
async def test_a_question_that_cannot_be_asked_says_what_to_change(options: dict[str, object], words: str) -> None:
    with pytest.raises(hf.errors.UsageError, match=words):
        await hf.wait_for_approval(**options)  # type: ignore[call-overload]
