"""A service that is down, and a fleet that calls it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from holdfast.model.breaker import BreakerState
from holdfast.model.status import RunStatus
from tests.process.harness import QUICKLY, Stage, check_ended_once, eventually, wait_until_ended
from tests.process.program import SERVICE, call_service

RUNS = 40
CONCURRENCY = 4


@pytest.mark.requirement("S-37", "fault-1", "promise-12")
def test_a_service_that_is_down_gets_few_calls_of_the_whole_fleet_and_all_runs_complete_when_it_is_back(
    postgres_stage: Stage,
) -> None:
    stage, settings = postgres_stage, replace(QUICKLY, concurrency=CONCURRENCY)
    with stage.client() as client:
        workers = [stage.worker(settings=settings) for _ in range(2)]
        began_s = time.monotonic()
        runs = [client.start(call_service, number).id for number in range(RUNS)]

        def all_wait() -> bool:
            found = client.breakers.get(SERVICE.name)
            return found.state is not BreakerState.CLOSED and found.waiting >= RUNS - 1

        eventually(all_wait, "all runs but the one that tries wait")
        # One that waits holds no place, and its worker is not missed.
        workers.pop().kill()
        stage.worker(settings=settings)
        stage.wait_for_effects("tried", len(stage.effects_of("tried")) + 2)
        stage.open_gate("service-is-up")
        open_s = time.monotonic() - began_s
        failed = len(stage.effects_of("tried"))
        ended = wait_until_ended(client, [str(run) for run in runs])
        details = [client.detail(run) for run in runs]
        breaker = client.breakers.get(SERVICE.name)

    # What opened it, what was under way then in either worker, and one that tries in each period; the last one twice,
    # for its worker may have been killed.
    most = SERVICE.failures + 2 * CONCURRENCY + open_s / 0.4 + 2
    assert SERVICE.failures <= failed <= most
    assert {run.status for run in ended} == {RunStatus.COMPLETED}
    assert len(stage.effects_of("answered")) >= RUNS
    assert (breaker.state, breaker.waiting) == (BreakerState.CLOSED, 0)
    for detail in details:
        check_ended_once(detail)
