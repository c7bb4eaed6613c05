"""A map over thousands of items that several worker processes share, and one of them is killed in the middle.

HOLDFAST_MAP_ITEMS makes it longer: 10000 is the size that is promised.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from typing import Final

import pytest

from holdfast.cli.main import run as run_command
from holdfast.cli.progress import progress_of
from holdfast.model.status import EntryStatus, RunStatus, WaitOutcome
from tests.process.harness import QUICKLY, Stage, check_ended_once, eventually
from tests.process.program import fan_out

ITEMS: Final = int(os.environ.get("HOLDFAST_MAP_ITEMS", "600"))
WORKERS: Final = 4 if ITEMS >= 5_000 else 3
WITHIN_S: Final = 60 + ITEMS / 20
SHARING: Final = replace(QUICKLY, queues=("default", "items"), concurrency=40)
"""Far fewer at once than the map begins, so that every worker has a part in it."""


def watch(url: str, run_id: str) -> int:
    """``holdfast runs watch``."""
    return run_command(["runs", "watch", run_id, "--database", url])


@pytest.mark.requirement("promise-2", "promise-5", "fault-1", "S-52", "B-22", "O-06")
def test_a_map_is_shared_by_workers_survives_a_kill_and_shows_how_far_it_is(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage.client() as client:
        workers = {worker.pid: worker for worker in (stage.worker(settings=SHARING) for _ in range(WORKERS))}
        run = client.start(fan_out, list(range(ITEMS)))
        watcher = stage.start(watch, stage.url, run.id)
        stage.wait_for_effects("item", ITEMS // 3)

        holders: dict[str, int] = {worker.id: worker.pid for worker in client.workers()}
        holder = eventually(lambda: holders.get(client.get(run.id).worker or ""), "somebody holds the run")
        workers.pop(holder).kill()
        [at_the_kill] = progress_of(client.detail(run.id), fan_out.build())

        assert run.result(WITHIN_S) == {"total": sum(item * item for item in range(ITEMS))}
        detail = client.detail(run.id)
        children = client.count(parent_id=run.id)
    check_ended_once(detail)
    assert any(move.reason == "worker_lost" for move in detail.transitions)
    assert children == {RunStatus.COMPLETED: ITEMS}
    assert [wait.outcome for wait in detail.waits] == [WaitOutcome.CHILD_ENDED] * ITEMS
    assert [(entry.key, entry.status) for entry in detail.journal] == [("total", EntryStatus.COMPLETED)]
    effects = Counter(effect.run for effect in stage.effects_of("item"))
    assert len(effects) == ITEMS
    # Only what the killed worker had in its hands was done twice, and nothing that had ended before.
    assert effects.total() - ITEMS <= SHARING.concurrency
    assert at_the_kill.of == ITEMS
    assert 0 < at_the_kill.done < ITEMS
    assert {effect.pid for effect in stage.effects_of("item")} == {holder, *workers}
    assert watcher.wait() == 0
    told = [int(done) for done in re.findall(rf"squares\[…\] (\d+) of {ITEMS}", watcher.log)]
    assert told == sorted(told)
    assert run_command(["runs", "show", run.id, "--database", stage.url]) == 0
    for shown in (watcher.log, capsys.readouterr().out):
        assert re.search(rf"squares\[…\] +{ITEMS} +{ITEMS} ", shown)
