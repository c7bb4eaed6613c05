"""A run's row is its record: one per attempt, with every fact, for as long as the run is kept."""

from __future__ import annotations

import pytest

from holdfast.errors import CommandRefused, UsageError
from holdfast.model.command import RunCopy
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId
from holdfast.model.run import Run, RunFilter
from holdfast.model.status import ACTIVE_STATUSES, TERMINAL_STATUSES, TRANSITIONS, RunStatus
from holdfast.model.tenant import Chosen
from holdfast.store.port import WORKER_KEPT_MS
from tests.contract.scene import ALICE, ERROR, INPUT, RESULT, Scene, child_wait, entry, new_run, run_id, signal_wait

FAIL = Finish(RunStatus.FAILED, "error", error=ERROR)


def retry(scene: Scene, number: int, source: RunId) -> RunId:
    copy = RunCopy(id=run_id(number), source_id=source, retry=True, journal=[], waits=[])
    return scene.store.start_copy(DEFAULT_TENANT, copy).run_id


@pytest.mark.requirement("R-01", "R-53")
def test_there_is_one_record_per_lineage_and_attempt(scene: Scene) -> None:
    first = scene.held(1)
    scene.accept(first, move=FAIL)
    second = retry(scene, 2, first.id)

    with pytest.raises(CommandRefused):
        retry(scene, 3, first.id)

    runs = scene.store.list_runs(DEFAULT_TENANT, RunFilter(root_id=first.id), limit=9, after=None).runs
    lineage = sorted((run.attempt, run.id, run.root_id, run.retry_of_id) for run in runs)
    assert lineage == [(1, first.id, first.id, None), (2, second, first.id, first.id)]


@pytest.mark.requirement("R-02")
def test_the_record_outlives_its_worker_and_whatever_it_refers_to(scene: Scene) -> None:
    parent, child = scene.held(1), run_id(2)
    scene.accept(
        parent,
        waits=[child_wait("c", 1, child)],
        children=[new_run(2, parent_id=parent.id, parent_key="c")],
    )
    [held] = [run for run in scene.claim() if run.id == child]
    scene.accept(held, entries=[entry(held, "s", 1)], move=Finish(RunStatus.COMPLETED, "completed", result=RESULT))
    scene.accept(parent, move=FAIL)
    scene.store.prune(Chosen(DEFAULT_TENANT, [parent.id]), limit=9)
    scene.store.retire_worker(ALICE, limit=9)
    scene.clock.advance(2 * WORKER_KEPT_MS)
    scene.store.requeue_lost(limit=9, crashes_max=3)

    detail = scene.detail(child)

    assert scene.store.list_workers() == []
    assert (detail.run.status, detail.run.result, detail.run.parent_id) == ("completed", RESULT, parent.id)
    assert [one.key for one in detail.journal] == ["s"]
    assert [one.worker for one in detail.transitions] == [None, ALICE, ALICE]


@pytest.mark.requirement("R-03", "R-04", "R-05", "R-06")
@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_a_run_is_queued_then_running_then_ended(scene: Scene, end: RunStatus) -> None:
    queued = scene.start(1)
    seen = [scene.run(queued).status]
    [run] = scene.claim()
    seen.append(scene.run(queued).status)
    scene.accept(run, move=Finish(end, end.value, error=ERROR if end is RunStatus.FAILED else None))
    seen.append(scene.run(queued).status)

    assert seen == ["queued", "running", end]


@pytest.mark.requirement("R-10")
def test_every_fact_of_the_record_is_a_column_of_the_run(scene: Scene) -> None:
    began_ms = scene.clock()
    source = scene.held(1)
    scene.accept(source, move=FAIL)
    retry(scene, 2, source.id)
    scene.clock.advance(5)
    again = next(run for run in scene.claim() if run.id == run_id(2))
    scene.clock.advance(5)
    scene.accept(again, move=FAIL)

    run = scene.run(again.id)

    facts = (run.id, run.workflow, run.attempt, run.retry_of_id, run.root_id, run.status, run.input, run.result)
    assert facts == (run_id(2), "order", 2, source.id, source.id, "failed", INPUT, None)
    assert run.error == ERROR
    times = (run.created_ms, run.started_ms, run.updated_ms, run.finalized_ms)
    assert times == (began_ms, began_ms + 5, began_ms + 10, began_ms + 10)


@pytest.mark.requirement("R-11", "R-12", "S-10")
def test_a_run_is_either_active_or_ended_and_the_database_knows_which(scene: Scene) -> None:
    assert set(RunStatus) == ACTIVE_STATUSES | TERMINAL_STATUSES
    assert not ACTIVE_STATUSES & TERMINAL_STATUSES
    # Only what was set aside for a person may go on.
    assert {status for status in TERMINAL_STATUSES if TRANSITIONS[status]} == {RunStatus.STUCK}
    runs = [scene.held(number) for number in range(4)]
    for run, status in zip(runs, sorted(TERMINAL_STATUSES), strict=True):
        scene.accept(run, move=Finish(status, "error", error=ERROR if status == "failed" else None))
    scene.parked(5, signal_wait("w", 1))
    scene.held(6)
    scene.start(7)

    def ids(statuses: frozenset[RunStatus]) -> set[RunId]:
        return {run.id for run in _list(scene, RunFilter(statuses=statuses))}

    assert ids(TERMINAL_STATUSES) == {run.id for run in runs}
    assert ids(ACTIVE_STATUSES) == {run_id(5), run_id(6), run_id(7)}
    assert all((run.finalized_ms is None) == (run.status in ACTIVE_STATUSES) for run in _list(scene, RunFilter()))


def _list(scene: Scene, where: RunFilter) -> list[Run]:
    return scene.store.list_runs(DEFAULT_TENANT, where, limit=99, after=None).runs


@pytest.mark.requirement("R-50", "promise-1")
def test_without_its_record_there_is_no_run_to_be_claimed(scene: Scene) -> None:
    unstorable = new_run(1, input=Json(b"\xff"))
    with pytest.raises(UsageError):
        scene.store.start_runs([new_run(2), unstorable])

    assert scene.claim() == []
    assert _list(scene, RunFilter()) == []
