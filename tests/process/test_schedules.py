"""Schedules whose workers are killed at any moment."""

from __future__ import annotations

import pytest

import holdfast as hf
from holdfast.core.slots import slots_from
from holdfast.model.ids import UnixMs
from tests.process.harness import Stage, eventually

EACH = hf.Schedule(every=1, overlap="allow", catch_up="all")


@pytest.mark.requirement("S-37", "promise-6", "fault-1", "fault-68")
def test_no_slot_is_lost_or_started_twice_while_workers_are_killed(stage: Stage) -> None:
    with stage.client() as client:
        put = client.schedules.put("beat", EACH, "short")
        workers = [stage.worker() for _ in range(3)]
        for count in range(1, 4):
            eventually(lambda: _decided(client, count), f"{count} slots have come")  # noqa: B023 - called at once
            workers.pop(0).kill()
            workers.append(stage.worker())
        decided = eventually(lambda: _decided(client, 6), "six slots have come")

        ticks = client.schedules.ticks("beat", limit=1_000)[::-1]

    assert put.next_ms is not None
    slots = [tick.slot_ms for tick in ticks]
    assert slots == list(slots_from(EACH.timing, put.next_ms, UnixMs(slots[-1])))
    assert {tick.outcome.value for tick in ticks} == {"started"}
    assert len({tick.run_id for tick in ticks}) == len(ticks) >= decided


def _decided(client: hf.SyncClient, least: int) -> int | None:
    count = len(client.schedules.ticks("beat", limit=1_000))
    runs = client.list("attr.schedule=beat", limit=1_000).runs
    return count if count >= least and len(runs) >= count else None
