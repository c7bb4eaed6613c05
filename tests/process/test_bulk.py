"""A bulk job whose workers are killed in the middle of it."""

from __future__ import annotations

from collections import Counter

import pytest

import holdfast as hf
from holdfast.model.bulk import BulkStatus
from tests.process.harness import Stage, eventually

MANY = 1_200


@pytest.mark.requirement("O-09", "L-33")
def test_a_bulk_job_survives_who_asked_for_it_and_the_workers_that_are_killed_in_it(stage: Stage) -> None:
    with stage.client() as client:
        runs = [
            run.id for run in client.start_many(hf.Start(workflow="three", args=("g",), queue="q") for _ in range(MANY))
        ]
        job_id = client.bulk.start("cancel", "queue:q status:queued", reason="wrong import", rate=1_000).id
    victims = [stage.worker() for _ in range(2)]
    with stage.client() as client:
        for threshold in (100, 500):
            _wait_for_so_many(client, job_id, threshold)
            victims.pop().kill()
            stage.worker()

        job = client.bulk.wait(job_id, timeout=60)

        ends = Counter(event.run_id for event in client.events(statuses=["cancelled"]))
    assert (job.status, job.expected, job.done, job.failed) == (BulkStatus.DONE, MANY, MANY, 0)
    assert ends == Counter(runs)


def _wait_for_so_many(client: hf.SyncClient, job_id: str, least: int) -> None:
    eventually(lambda: client.bulk.get(job_id).done >= least, f"{least} runs of the job have obeyed")
