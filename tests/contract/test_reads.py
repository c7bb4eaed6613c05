from __future__ import annotations

import pytest

from holdfast.errors import RunNotFound, UsageError
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, RunId, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.status import RunStatus
from holdfast.store.port import count_runs
from tests.contract.scene import (
    ALICE,
    BOB,
    LEASE_MS,
    OTHER_TENANT,
    Scene,
    all_runs,
    attempt,
    entry,
    new_run,
    run_id,
    signal_wait,
    timer,
)


def _listed(scene: Scene, **where: object) -> list[RunId]:
    page = scene.store.list_runs(DEFAULT_TENANT, RunFilter(**where), limit=100, after=None)  # type: ignore[arg-type]
    counted = count_runs(scene.store, DEFAULT_TENANT, RunFilter(**where))  # type: ignore[arg-type]
    assert sum(counted.values()) == len(page.runs)
    return [run.id for run in page.runs]


def _ids(*numbers: int) -> list[RunId]:
    return [run_id(number) for number in numbers]


@pytest.mark.requirement("S-02", "promise-10")
def test_a_run_is_found_by_its_own_tenant_alone(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, tenant=OTHER_TENANT)

    assert scene.run(run_id(1)).id == run_id(1)
    for absent in (run_id(2), run_id(3)):
        with pytest.raises(RunNotFound) as caught:
            scene.run(absent)
        assert caught.value.run_id == absent
        with pytest.raises(RunNotFound):
            scene.detail(absent)
    assert [run.id for run in scene.store.get_runs(DEFAULT_TENANT, _ids(1, 2, 3))] == _ids(1)
    assert scene.store.get_runs(DEFAULT_TENANT, []) == []


@pytest.mark.requirement("promise-10")
def test_listings_and_counts_hold_one_tenants_runs(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, tenant=OTHER_TENANT)

    assert [run.id for run in all_runs(scene.opened, DEFAULT_TENANT)] == _ids(1)
    assert [run.id for run in all_runs(scene.opened, OTHER_TENANT)] == _ids(2)
    assert count_runs(scene.store, OTHER_TENANT, RunFilter()) == {"queued": 1}


@pytest.mark.requirement("S-59")
def test_runs_are_listed_newest_first_and_by_id_within_a_millisecond(scene: Scene) -> None:
    scene.start(5)
    scene.clock.advance(1)
    scene.store.start_runs([new_run(3), new_run(1), new_run(2)])
    scene.clock.advance(1)
    scene.start(4)

    assert _listed(scene) == _ids(4, 3, 2, 1, 5)


@pytest.mark.requirement("S-59")
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_hold_every_run_once(scene: Scene, limit: int) -> None:
    for number in range(1, 8):
        scene.start(number)
        scene.clock.advance(number % 2)

    assert [run.id for run in all_runs(scene.opened, DEFAULT_TENANT, limit=limit)] == _listed(scene)
    assert len(_listed(scene)) == 7


def test_a_page_that_holds_the_rest_names_no_next(scene: Scene) -> None:
    for number in (1, 2):
        scene.start(number)

    assert scene.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=None).next is None
    assert scene.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=1, after=None).next is not None


def test_pages_stay_in_step_while_runs_come_in(scene: Scene) -> None:
    for number in (1, 2, 3):
        scene.start(number)
        scene.clock.advance(1)
    first = scene.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=None)
    scene.start(4)

    second = scene.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=first.next)

    assert [run.id for run in (*first.runs, *second.runs)] == _ids(3, 2, 1)


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "MTo1", "MTotMTphYmM", "é", "MTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk6YQ"])
def test_a_cursor_that_no_listing_gave_out_is_a_usage_error(scene: Scene, cursor: str) -> None:
    scene.start(1)

    with pytest.raises(UsageError):
        scene.store.list_runs(DEFAULT_TENANT, RunFilter(), limit=2, after=cursor)


@pytest.mark.requirement("S-59")
def test_runs_are_filtered_by_what_they_were_started_with(scene: Scene) -> None:
    scene.start(1, workflow="ship", queue="slow", key="a")
    scene.start(2, key="b", attributes={"customer": "ann", "region": "eu"})
    scene.start(3, parent_id=run_id(1), parent_key="x", root_id=run_id(1), attributes={"customer": "ann"})
    scene.start(4, tenant=OTHER_TENANT, workflow="ship", key="a", attributes={"customer": "ann"})

    assert _listed(scene, workflow="ship") == _ids(1)
    assert _listed(scene, queue="slow") == _ids(1)
    assert _listed(scene, key="b") == _ids(2)
    assert _listed(scene, parent_id=run_id(1)) == _ids(3)
    assert _listed(scene, root_id=run_id(1)) == _ids(3, 1)
    assert _listed(scene, attributes={"customer": "ann"}) == _ids(3, 2)
    assert _listed(scene, attributes={"customer": "ann", "region": "eu"}) == _ids(2)
    assert _listed(scene, attributes={"customer": "bob"}) == []
    assert _listed(scene, workflow="order", attributes={"customer": "ann"}, key="b") == _ids(2)


def test_runs_are_filtered_by_the_time_they_were_created(scene: Scene) -> None:
    scene.start(1)
    start = scene.clock.now_ms
    scene.clock.advance(10)
    scene.start(2)
    scene.clock.advance(10)
    scene.start(3)

    assert _listed(scene, created_from_ms=UnixMs(start + 10)) == _ids(3, 2)
    assert _listed(scene, created_before_ms=UnixMs(start + 10)) == _ids(1)
    assert _listed(scene, created_from_ms=UnixMs(start + 1), created_before_ms=UnixMs(start + 11)) == _ids(2)


@pytest.mark.requirement("R-11", "R-12")
def test_runs_are_filtered_and_counted_by_status(scene: Scene) -> None:
    ended = scene.held(1)
    scene.accept(ended, move=Finish(RunStatus.COMPLETED, "completed"))
    scene.held(2)
    scene.start(3)
    scene.start(4)

    both = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
    assert _listed(scene, statuses=frozenset({RunStatus.QUEUED})) == _ids(4, 3)
    assert _listed(scene, statuses=both) == _ids(4, 3, 2)
    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {"completed": 1, "running": 1, "queued": 2}
    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter(statuses=both)) == {"running": 1, "queued": 2}


def test_a_filtered_listing_pages_within_its_filter(scene: Scene) -> None:
    for number in range(1, 7):
        scene.start(number, queue="slow" if number % 2 else "fast")
    where = RunFilter(queue="slow")

    first = scene.store.list_runs(DEFAULT_TENANT, where, limit=2, after=None)
    second = scene.store.list_runs(DEFAULT_TENANT, where, limit=2, after=first.next)

    assert [run.id for run in (*first.runs, *second.runs)] == _ids(5, 3, 1)
    assert second.next is None


@pytest.mark.requirement("C-11", "C-54", "C-29")
def test_the_detail_of_a_run_explains_it(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(
        run,
        entries=[entry(run, "b", 2), entry(run, "a", 1)],
        attempts=[attempt("c", 1)],
        waits=[signal_wait("late", 4), timer("early", 3, 10)],
    )

    detail = scene.detail(run.id)

    assert detail.now_ms == scene.clock.now_ms
    assert detail.run == scene.run(run.id)
    assert [one.key for one in detail.journal] == ["a", "b"]
    assert [one.key for one in detail.waits] == ["early", "late"]
    assert detail.attempts == [attempt("c", 1)]
    assert [one.reason for one in detail.transitions] == ["started", "claimed"]
    assert detail.ahead == 0


@pytest.mark.requirement("promise-12")
def test_the_detail_names_the_workers_that_could_take_the_run(scene: Scene) -> None:
    scene.start(1)
    scene.register(ALICE)
    scene.register(BOB, queues=["slow"])
    assert [row.id for row in scene.detail(run_id(1)).workers] == [ALICE]

    scene.register(BOB, codes=["unknown"])
    assert [row.id for row in scene.detail(run_id(1)).workers] == [ALICE]

    scene.register(BOB)
    assert sorted(row.id for row in scene.detail(run_id(1)).workers) == [ALICE, BOB]


def test_the_detail_names_the_holder_even_if_it_is_lost(scene: Scene) -> None:
    run = scene.held(1)
    scene.register(BOB)
    scene.clock.advance(LEASE_MS + 1)

    assert [row.id for row in scene.detail(run.id).workers] == [ALICE]


def test_the_detail_counts_the_runs_that_come_before_it_in_its_queue(scene: Scene) -> None:
    scene.start(1, queue="slow")
    scene.start(2)
    scene.start(3, priority=1)
    scene.start(4)
    scene.start(5, delay_ms=10)

    assert [scene.detail(run_id(number)).ahead for number in range(1, 6)] == [0, 1, 0, 2, 0]


def test_runs_of_every_code_and_priority_come_before_a_run(scene: Scene) -> None:
    for number in range(1, 10):
        scene.start(number, workflow=f"code-{number % 3}", priority=1 if number in {4, 9} else 0)
        scene.clock.advance(1)
    scene.start(10, workflow="code-0", queue="slow", priority=5)

    line = sorted(range(1, 10), key=lambda number: (number not in {4, 9}, number))

    assert [scene.detail(run_id(number)).ahead for number in line] == list(range(9))


def test_an_unclaimable_runs_rows_can_be_read(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 10))

    assert scene.detail(run.id).ahead == 0
    assert scene.detail(run.id).run.status is RunStatus.WAITING
