from __future__ import annotations

import pytest

from holdfast.errors import HoldfastError, RunNotFound
from holdfast.model.ids import DEFAULT_TENANT, Json
from holdfast.model.run import NewRun, RunFilter, Started
from holdfast.model.status import RunStatus
from holdfast.store.port import count_runs
from tests.contract.scene import OTHER_TENANT, Scene, new_run, run_id
from tests.contract.stores import Opening


@pytest.mark.requirement("S-01", "promise-1")
def test_a_started_run_is_recorded_as_it_was_asked_for(scene: Scene) -> None:
    scene.start(1, key="order-1", priority=7, attributes={"customer": "ann"}, timeout_ms=5_000, queue="slow")

    run = scene.run(run_id(1))
    assert (run.status, run.status_reason, run.terminal_reason) == (RunStatus.QUEUED, "started", None)
    assert (run.workflow, run.queue, run.key, run.priority) == ("order", "slow", "order-1", 7)
    assert run.attributes == {"customer": "ann"}
    assert (run.created_ms, run.ready_ms, run.wake_ms) == (scene.clock.now_ms, scene.clock.now_ms, None)
    assert run.deadline_ms == scene.clock.now_ms + 5_000
    assert (run.root_id, run.attempt, run.retry_of_id) == (run.id, 1, None)
    assert (run.epoch, run.crashes, run.worker, run.started_ms, run.finalized_ms) == (0, 0, None, None, None)


@pytest.mark.requirement("B-02", "S-11")
def test_a_payload_is_kept_to_the_letter(scene: Scene) -> None:
    odd = Json('{ "value" : [1.0, 1e3, -0.0, {"b":1,"a":2}, "\u2028 \U0001f40b", null] }'.encode())

    scene.start(1, input=odd)

    assert scene.run(run_id(1)).input == odd
    assert [run.input for run in scene.claim()] == [odd]


@pytest.mark.requirement("promise-1", "S-59", "fault-44", "C-20", "C-29")
def test_the_same_id_starts_one_run_and_the_first_start_stands(scene: Scene) -> None:
    first = scene.store.start_runs([new_run(1, priority=1)])
    second = scene.store.start_runs([new_run(1, priority=2)])

    assert first == [Started(run_id(1), created=True)]
    assert second == [Started(run_id(1), created=False)]
    assert scene.run(run_id(1)).priority == 1
    assert len(scene.detail(run_id(1)).transitions) == 1


def test_one_call_that_names_a_run_twice_starts_it_once(scene: Scene) -> None:
    started = scene.store.start_runs([new_run(1), new_run(1)])

    assert [one.created for one in started] == [True, False]


@pytest.mark.requirement("C-24")
def test_starting_again_does_not_move_a_run_that_went_on(scene: Scene) -> None:
    held = scene.held(1)

    [again] = scene.store.start_runs([new_run(1)])

    assert not again.created
    assert scene.run(held.id).status is RunStatus.RUNNING


@pytest.mark.requirement("B-06")
def test_a_bulk_start_answers_in_the_order_of_the_runs(scene: Scene) -> None:
    scene.start(2)

    started = scene.store.start_runs([new_run(3), new_run(2), new_run(1)])

    assert started == [
        Started(run_id(3), created=True),
        Started(run_id(2), created=False),
        Started(run_id(1), created=True),
    ]


def test_starting_no_runs_is_no_error(scene: Scene) -> None:
    assert scene.store.start_runs([]) == []


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(new_run(2, input=Json(b'{"value":\xff}')), id="payload is not UTF-8"),
        pytest.param(new_run(2, priority=2**70), id="integer past 64 bits"),
        pytest.param(new_run(2, key="\ud800"), id="lone surrogate"),
    ],
)
@pytest.mark.requirement("B-06", "fault-69", "fault-70")
def test_a_bulk_start_with_one_run_that_cannot_be_stored_starts_none(scene: Scene, bad: NewRun) -> None:
    with pytest.raises(HoldfastError):
        scene.store.start_runs([new_run(1), bad, new_run(3)])

    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {}
    scene.start(4)


@pytest.mark.requirement("promise-6", "S-57")
def test_a_delayed_run_cannot_be_claimed_before_its_time(scene: Scene) -> None:
    delayed = scene.start(1, delay_ms=1_000)
    assert scene.run(delayed).status_reason == "delayed"

    scene.clock.advance(999)
    assert scene.store.wake_due(limit=10) == 0
    assert scene.claim() == []

    scene.clock.advance(1)
    assert scene.store.wake_due(limit=10) == 1
    assert scene.run(delayed).ready_ms == scene.clock.now_ms
    assert [run.id for run in scene.claim()] == [delayed]


def test_a_run_remembers_its_parent_and_root(scene: Scene) -> None:
    scene.start(1)
    scene.start(2, parent_id=run_id(1), parent_key="ship#1", root_id=run_id(1))

    run = scene.run(run_id(2))
    assert (run.parent_id, run.parent_key, run.root_id) == (run_id(1), "ship#1", run_id(1))


@pytest.mark.requirement("promise-10", "C-29", "C-56")
def test_a_run_belongs_to_its_tenant_alone(scene: Scene) -> None:
    scene.start(1, tenant=OTHER_TENANT)

    assert scene.run(run_id(1), OTHER_TENANT).tenant == OTHER_TENANT
    with pytest.raises(RunNotFound):
        scene.run(run_id(1))


@pytest.mark.requirement("S-51", "B-06")
def test_a_start_in_the_callers_transaction_counts_once_it_commits(scene: Scene) -> None:
    scene.start(1)
    with scene.opened.transaction() as connection:
        started = scene.store.start_runs_in(connection, [new_run(1), new_run(2, attributes={"a": "b"})])
        again = scene.store.start_runs_in(connection, [new_run(2)])
        with pytest.raises(RunNotFound):
            scene.run(run_id(2))

    assert started == [Started(run_id(1), created=False), Started(run_id(2), created=True)]
    assert again == [Started(run_id(2), created=False)]
    assert scene.run(run_id(2)).attributes == {"a": "b"}
    assert [run.id for run in scene.claim()] == [run_id(1), run_id(2)]


@pytest.mark.requirement("S-51", "promise-11", "R-50")
def test_a_rolled_back_transaction_starts_nothing(scene: Scene) -> None:
    def start_and_raise() -> None:
        with scene.opened.transaction() as connection:
            scene.store.start_runs_in(connection, [new_run(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_raise()

    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {}
    assert scene.claim() == []


@pytest.mark.requirement("S-51", "B-06")
def test_a_start_takes_part_in_every_kind_of_transaction(scene: Scene) -> None:
    for number, begin in enumerate(scene.opened.transactions.values(), start=1):

        def start(*, keep: bool, at: int = number, begin: Opening = begin) -> None:
            with begin() as connection:
                scene.store.start_runs_in(connection, [new_run(at)])
                if not keep:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            start(keep=False)
        assert scene.store.get_runs(DEFAULT_TENANT, [run_id(number)]) == []

        start(keep=True)
        assert scene.run(run_id(number)).status is RunStatus.QUEUED


@pytest.mark.parametrize(("delay_ms", "timeout_ms"), [(1_000, 400), (400, 1_000), (700, 700)])
@pytest.mark.requirement("promise-6")
def test_a_delayed_start_is_not_delayed_past_its_deadline(scene: Scene, delay_ms: int, timeout_ms: int) -> None:
    delayed = scene.start(1, delay_ms=delay_ms, timeout_ms=timeout_ms)
    first = min(delay_ms, timeout_ms)
    assert scene.run(delayed).wake_ms == scene.clock.now_ms + first

    scene.clock.advance(first)

    assert scene.store.wake_due(limit=10) == 1
    is_deadline = timeout_ms <= delay_ms
    assert scene.run(delayed).status_reason == ("deadline_exceeded" if is_deadline else "timer_elapsed")
    assert [run.id for run in scene.claim()] == [delayed]


@pytest.mark.requirement("C-06", "C-10")
def test_a_run_begins_in_the_line_and_is_then_taken_each_with_its_transition(scene: Scene) -> None:
    scene.start(1)
    begun = scene.run(run_id(1))
    [run] = scene.claim()

    moves = [(one.seq, one.from_status, one.to_status, one.reason) for one in scene.detail(run.id).transitions]

    assert (begun.status, begun.status_reason) == (RunStatus.QUEUED, "started")
    assert scene.run(run.id).status is RunStatus.RUNNING
    assert moves == [
        (1, None, RunStatus.QUEUED, "started"),
        (2, RunStatus.QUEUED, RunStatus.RUNNING, "claimed"),
    ]
