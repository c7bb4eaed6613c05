from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.core.bulk import command_id, decode_action, decode_filter, encode_action, encode_filter
from holdfast.errors import BulkJobNotFound, RunNotFound, StoreUnavailable
from holdfast.model.bulk import Action, BulkJob, BulkStatus, Delete, NewBulkJob, Retry, SendSignal
from holdfast.model.command import Cancel, Change, CloseStuck, Pause, ReleaseStuck, Resume, Terminate
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.search import AttributeRange, WaitingOn
from holdfast.model.status import RunStatus
from holdfast.model.tenant import Chosen, Everything
from holdfast.runtime import bulk
from holdfast.runtime.bulk import work_once
from holdfast.store.bulk import HELD_MS, find_job, insert_job, list_errors, list_jobs, record_batch, stop_job, take_job
from tests.contract.scene import ERROR, OTHER_TENANT, PAYLOAD, Scene, child_wait, new_run, run_id, signal_wait

JOB = run_id(5_000_000)


def ask(scene: Scene, action: Action, *, number: int = 0, tenant: Tenant = DEFAULT_TENANT, **given: Any) -> BulkJob:
    rate: int | None = given.pop("rate", None)
    new = NewBulkJob(
        id=RunId(run_id(5_000_000 + number)),
        tenant=tenant,
        action=action,
        where=RunFilter(**given),
        query="some",
        expected=0,
        rate=rate,
        actor="ann",
        note="tidy up",
    )
    return scene.store.transact(tenant, lambda statements: insert_job(statements, new))


def job(scene: Scene, job_id: RunId = JOB) -> BulkJob:
    return scene.store.transact(DEFAULT_TENANT, lambda statements: find_job(statements, DEFAULT_TENANT, job_id))


def errors(scene: Scene) -> list[tuple[str, str]]:
    found = scene.store.transact(
        DEFAULT_TENANT, lambda statements: list_errors(statements, DEFAULT_TENANT, JOB, limit=1000, after=None)
    )
    return [(error.run_id, error.code) for error in found]


def work(scene: Scene, holder: str = "alice") -> BulkJob:
    """Until there is nothing more to do now."""
    while work_once(scene.store, holder) == 0:
        pass
    return job(scene)


def test_each_run_that_matches_obeys_once_with_who_asked_and_why(scene: Scene) -> None:
    scene.store.start_runs([new_run(number, workflow="order" if number % 3 else "ship") for number in range(130)])
    asked = ask(scene, Cancel(), workflow="order")

    done = work(scene)

    assert asked.status is BulkStatus.RUNNING
    assert (done.status, done.done, done.failed) == (BulkStatus.DONE, 86, 0)
    assert done.ended_ms is not None
    for number in range(130):
        history = scene.detail(run_id(number)).transitions
        assert len(history) == (2 if number % 3 else 1)
    last = scene.detail(run_id(1)).transitions[-1]
    assert (last.actor, last.command_id) == ("ann", command_id(JOB, run_id(1)))
    assert last.note == f"tidy up (bulk job {JOB})"


def test_runs_that_are_started_after_the_job_are_left_alone(scene: Scene) -> None:
    scene.start(1)
    ask(scene, Cancel())
    scene.clock.advance(1)
    scene.start(2)

    assert work(scene).done == 1
    assert scene.run(run_id(2)).status is RunStatus.QUEUED


def test_what_cannot_obey_is_an_error_of_the_job_and_stops_nothing(scene: Scene) -> None:
    ended = scene.held(1)
    scene.accept(ended, move=Finish(RunStatus.COMPLETED, "completed"))
    scene.start(2)
    scene.parked(3, signal_wait("w", 1))
    ask(scene, Resume())

    done = work(scene)

    assert (done.status, done.done, done.failed) == (BulkStatus.DONE, 0, 3)
    assert errors(scene) == [
        (run_id(1), "run_finished"),
        (run_id(2), "command_refused"),
        (run_id(3), "command_refused"),
    ]


@pytest.mark.parametrize("dies_at", [0, 1, 30, 49])
def test_who_takes_over_from_a_worker_that_died_in_a_batch_counts_each_run_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    scene.store.start_runs([new_run(number) for number in range(120)])
    ask(scene, Cancel(), statuses=frozenset({RunStatus.QUEUED}))
    work_once(scene.store, "alice")
    obeyed: list[RunId] = []
    command = scene.store.command

    def die(tenant: Tenant, of: RunId, order: Any) -> Any:
        if len(obeyed) == dies_at:
            raise StoreUnavailable(url="x", why="the worker is gone")
        obeyed.append(of)
        return command(tenant, of, order)

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "command", die)
        with pytest.raises(StoreUnavailable):
            work_once(scene.store, "alice")

    assert work_once(scene.store, "bob") not in (0, None)
    scene.clock.advance(HELD_MS)
    done = work(scene, "bob")

    assert (done.status, done.done, done.failed) == (BulkStatus.DONE, 120, 0)
    assert all(len(scene.detail(run_id(number)).transitions) == 2 for number in range(120))


def test_who_lost_the_job_cannot_report(scene: Scene) -> None:
    scene.store.start_runs([new_run(number) for number in range(3)])
    ask(scene, Cancel())
    work_once(scene.store, "alice")
    late = scene.store.transact(None, lambda statements: take_job(statements, "alice", of=None))
    assert late is not None
    scene.clock.advance(HELD_MS)
    work(scene, "bob")

    goes_on = scene.store.transact(
        DEFAULT_TENANT,
        lambda s: record_batch(s, late, errors=[], following=late.run_ids, cursor=None, next_ms=s.now_ms),
    )

    assert not goes_on
    assert (job(scene).status, job(scene).done) == (BulkStatus.DONE, 3)


def test_a_job_of_a_worker_whose_lease_is_over_is_free_at_once(scene: Scene) -> None:
    if scene.opened.kind == "memory":
        return  # its workers are not where its jobs are
    alice = scene.register()
    scene.start(1)
    ask(scene, Cancel())
    scene.store.transact(None, lambda statements: take_job(statements, alice, of=None))
    assert work_once(scene.store, "bob") not in (0, None)

    scene.clock.advance(10_001)

    assert work(scene, "bob").done == 1


def test_a_rate_bounds_the_runs_of_each_second(scene: Scene) -> None:
    scene.store.start_runs([new_run(number) for number in range(10)])
    ask(scene, Cancel(), rate=4)
    done: list[int] = []

    for _ in range(8):
        while work_once(scene.store, "alice") == 0:
            pass
        done.append(job(scene).done)
        scene.clock.advance(500)

    assert done == [4, 4, 8, 8, 10, 10, 10, 10]
    assert job(scene).status is BulkStatus.DONE


def test_a_stopped_job_does_no_further_batch(scene: Scene) -> None:
    scene.store.start_runs([new_run(number) for number in range(120)])
    ask(scene, Cancel())
    work_once(scene.store, "alice")
    work_once(scene.store, "alice")

    stopped = scene.store.transact(DEFAULT_TENANT, lambda statements: stop_job(statements, DEFAULT_TENANT, JOB, "bob"))
    work(scene)
    again = scene.store.transact(DEFAULT_TENANT, lambda statements: stop_job(statements, DEFAULT_TENANT, JOB, "eve"))

    assert (stopped.status, stopped.done, stopped.stopped_by) == (BulkStatus.STOPPED, 50, "bob")
    assert again == stopped


def test_the_agenda_names_a_job_that_is_due(scene: Scene) -> None:
    def due() -> bool:
        return scene.store.read_agenda(queues=["default"], codes=["order"]).bulk_due

    assert not due()
    scene.store.start_runs([new_run(1), new_run(2)])
    ask(scene, Cancel(), rate=1)
    assert due()
    work(scene)
    assert not due()
    scene.clock.advance(1_000)
    assert due()
    work(scene)
    assert not due()


@pytest.mark.parametrize(
    ("action", "status", "after"),
    [
        (Cancel(compensate=False), "waiting", "cancelled"),
        (Terminate(), "running", "cancelled"),
        (Pause(), "waiting", "paused"),
        (Resume(), "paused", "queued"),
        (ReleaseStuck(), "stuck", "queued"),
        (CloseStuck(), "stuck", "failed"),
        (SendSignal(name="approved", payload=PAYLOAD), "waiting", "queued"),
        (Retry(), "failed", "failed"),
        (Delete(), "failed", None),
    ],
)
def test_every_action_is_the_command_as_by_hand(scene: Scene, action: Action, status: str, after: str | None) -> None:
    run = scene.held(1)
    match status:
        case "waiting":
            scene.park(run, signal_wait("w", 1))
        case "paused":
            scene.park(run, signal_wait("w", 1))
            scene.order(run.id, Pause())
        case "failed" | "stuck":
            scene.accept(run, move=Finish(RunStatus(status), "error", error=ERROR))
        case _:
            pass
    ask(scene, action, statuses=frozenset({RunStatus(status)}))

    done = work(scene)

    assert (done.done, done.failed) == (1, 0), errors(scene)
    if after is None:
        with pytest.raises(RunNotFound):
            scene.run(run.id)
    else:
        assert scene.run(run.id).status == after
    if isinstance(action, Retry):
        [again] = scene.store.list_runs(DEFAULT_TENANT, RunFilter(root_id=run.id), limit=9, after=None).runs[:1]
        assert (again.retry_of_id, again.attempt) == (run.id, 2)


def test_priorities_are_set_for_many(scene: Scene) -> None:
    scene.store.start_runs([new_run(number) for number in range(3)])
    ask(scene, Change(priority=7))

    assert work(scene).done == 3
    assert [scene.run(run_id(number)).priority for number in range(3)] == [7, 7, 7]


def test_what_is_under_way_is_not_deleted(scene: Scene) -> None:
    parent = scene.held(1)
    child = run_id(2)
    scene.accept(
        parent,
        waits=[child_wait("c", 1, child)],
        children=[new_run(2, parent_id=parent.id, parent_key="c")],
    )
    [held] = [run for run in scene.claim() if run.id == child]
    scene.accept(held, move=Finish(RunStatus.COMPLETED, "completed"))
    ask(scene, Delete())

    done = work(scene)

    assert (done.done, done.failed) == (0, 2)
    assert errors(scene) == [(parent.id, "command_refused"), (child, "command_refused")]
    assert scene.store.prune(Chosen(OTHER_TENANT, [child]), limit=10) == 0


@pytest.mark.requirement("promise-10")
def test_jobs_and_their_runs_are_their_tenants_alone(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, tenant=OTHER_TENANT)
    ask(scene, Cancel())
    work(scene)

    assert scene.run(run_id(2), OTHER_TENANT).status is RunStatus.QUEUED
    with pytest.raises(BulkJobNotFound):
        scene.store.transact(OTHER_TENANT, lambda s: find_job(s, OTHER_TENANT, JOB))
    with pytest.raises(BulkJobNotFound):
        scene.store.transact(OTHER_TENANT, lambda s: list_errors(s, OTHER_TENANT, JOB, limit=1, after=None))
    with pytest.raises(BulkJobNotFound):
        scene.store.transact(OTHER_TENANT, lambda s: stop_job(s, OTHER_TENANT, JOB, "eve"))
    assert scene.store.transact(OTHER_TENANT, lambda s: list_jobs(s, OTHER_TENANT, limit=9)) == []


def test_a_job_that_is_asked_for_again_is_the_same_one(scene: Scene) -> None:
    scene.start(1)
    ask(scene, Cancel())
    work(scene)

    again = ask(scene, Pause())

    assert (again.status, again.done, again.action) == (BulkStatus.DONE, 1, Cancel())
    assert [
        one.id for one in scene.store.transact(DEFAULT_TENANT, lambda s: list_jobs(s, DEFAULT_TENANT, limit=9))
    ] == [JOB]


def test_erasing_a_tenant_takes_its_jobs_along(scene: Scene) -> None:
    scene.start(1)
    ask(scene, Resume())
    work(scene)

    scene.store.prune(Everything(DEFAULT_TENANT), limit=100)

    with pytest.raises(BulkJobNotFound):
        job(scene)


def test_only_so_many_errors_are_kept_and_all_are_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.store.bulk.ERRORS_MAX", 3)
    scene.store.start_runs([new_run(number) for number in range(60)])
    ask(scene, Resume())

    assert work(scene).failed == 60
    assert len(errors(scene)) == 3
    assert bulk.BATCH == 50


def test_filters_and_actions_are_read_back_as_they_were_stored() -> None:
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    where = RunFilter(
        statuses=frozenset({RunStatus.FAILED, RunStatus.STUCK}),
        workflow="order",
        created_from_ms=UnixMs(7),
        attributes={"customer": 42, "vip": True, "since": moment, "name": "ann"},
        ranges=(AttributeRange("total", ">=", 1.5), AttributeRange("since", "<", moment)),
        waiting_on=WaitingOn("signal", "ok"),
        text="late",
    )
    assert decode_filter(encode_filter(where)) == where
    assert decode_filter(encode_filter(RunFilter())) == RunFilter()
    for action in (Cancel(compensate=True), Change(priority=3), Retry(from_start=True), Delete()):
        assert decode_action(encode_action(action)) == action
    signal = SendSignal(name="go", payload=PAYLOAD)
    assert decode_action(encode_action(signal)) == signal
