from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import holdfast as hf
from holdfast.errors import UsageError
from tests.engine.conftest import LONG_S, Engine

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("L-33")
async def test_a_workflow_sets_attributes_once_and_a_replay_sets_them_not_again(engine: Engine) -> None:
    due = datetime(2026, 1, 31, tzinfo=UTC)

    @engine.app.workflow
    async def order() -> None:
        hf.set_attributes(stage="paid", total=12.5, due=due)
        await hf.sleep(LONG_S)
        hf.set_attributes(stage="sent", total=None)

    async with engine.worker():
        run = await engine.client.start(order, attributes={"stage": "new", "vip": True})
        while not (parked := await engine.client.list(attributes={"stage": "paid"})).runs:
            pass
        await run.result(timeout=60)

    assert [one.id for one in parked.runs] == [run.id]
    assert (await run.get()).attributes == {"stage": "sent", "vip": True, "due": due}
    assert [one.id for one in (await engine.client.list("attr.due<=2026-01-31 attr.vip=true")).runs] == [run.id]
    assert not (await engine.client.list('attr.stage="paid"')).runs


def test_a_plain_workflow_sets_attributes_and_outside_a_run_nothing_happens() -> None:
    hf.set_attributes(stage="paid")

    for value in (float("nan"), 2**60, "", b"x", datetime(2026, 1, 1)):  # noqa: DTZ001 - without a zone on purpose
        with pytest.raises(UsageError):
            hf.set_attributes(stage=value)  # type: ignore[arg-type]


@pytest.mark.requirement("L-33")
async def test_failed_runs_are_grouped_by_their_error(engine: Engine) -> None:
    @engine.app.workflow
    async def order(number: int) -> None:
        raise ValueError(f"order {number} is refused")

    async with engine.worker():
        for number in (17, 18):
            run = await engine.client.start(order, number)
            await engine.client.wait_for_end(run.id, timeout=timedelta(seconds=10))
        [group] = await engine.client.group("error")

    assert group.count == 2
    assert group.label is not None
    assert group.label.startswith("ValueError: order 1")
    assert len((await engine.client.list(f"fingerprint:{group.value}")).runs) == 2
