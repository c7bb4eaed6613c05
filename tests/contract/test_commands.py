"""What each command makes of a run from each status, who is told, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import CommandRefused, Conflict, RunFinished, RunNotFound
from holdfast.model.command import (
    Cancel,
    Change,
    CloseStuck,
    Command,
    MoveTo,
    Pause,
    ReleaseStuck,
    Resume,
    Settle,
    Terminate,
    allowed_from,
    word_of,
)
from holdfast.model.commit import Compensate, Finish, Park, Release
from holdfast.model.definition import Definition
from holdfast.model.ids import RunId
from holdfast.model.run import ClaimedRun
from holdfast.model.status import (
    TERMINAL_STATUSES,
    TRANSITIONS,
    ParentPolicy,
    RunStatus,
    WaitOutcome,
)
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    OTHER_TENANT,
    PAYLOAD,
    RESULT,
    Scene,
    child_wait,
    message,
    new_run,
    run_id,
    signal_wait,
    timer,
)

EVERY_COMMAND: list[Command] = [
    Cancel(),
    Terminate(),
    Pause(),
    Resume(),
    ReleaseStuck(),
    CloseStuck(),
    Settle(key="pay", result=RESULT, unseen=True),
    Change(priority=5),
    MoveTo(
        from_hash="a" * 64,
        before=Definition(workflow="order"),
        version=2,
        definition_hash="b" * 64,
        after=Definition(workflow="order"),
    ),
]


def queued(scene: Scene) -> RunId:
    return scene.start(1)


def running(scene: Scene) -> RunId:
    return scene.held(1).id


def waiting(scene: Scene) -> RunId:
    return scene.parked(1, signal_wait("approval", 1)).id


def paused(scene: Scene) -> RunId:
    return scene.order(scene.start(1), Pause()).id


def compensating(scene: Scene) -> RunId:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    scene.park(run, timer("retry", 1, 100))
    return run.id


def stuck(scene: Scene) -> RunId:
    run = scene.held(1)
    assert scene.lose(run, crashes_max=1)
    return run.id


def ended(status: RunStatus) -> Callable[[Scene], RunId]:
    def end(scene: Scene) -> RunId:
        run = scene.held(1)
        scene.accept(run, move=Finish(status, status.value))
        return run.id

    return end


PLACES: dict[RunStatus, Callable[[Scene], RunId]] = {
    RunStatus.QUEUED: queued,
    RunStatus.RUNNING: running,
    RunStatus.WAITING: waiting,
    RunStatus.PAUSED: paused,
    RunStatus.COMPENSATING: compensating,
    RunStatus.COMPLETED: ended(RunStatus.COMPLETED),
    RunStatus.FAILED: ended(RunStatus.FAILED),
    RunStatus.CANCELLED: ended(RunStatus.CANCELLED),
    RunStatus.STUCK: stuck,
}

MOVABLE = (RunStatus.QUEUED, RunStatus.WAITING, RunStatus.PAUSED, RunStatus.STUCK)
OF_ITS_OWN = {(RunStatus.COMPENSATING, "settle"), *((status, "move") for status in MOVABLE)}
"""Refused for this command's sake: the step is none that a run executes which undoes what it did; a function's run
follows no version."""

DONE_ALREADY = {(RunStatus.PAUSED, "pause"), (RunStatus.CANCELLED, "cancel"), (RunStatus.CANCELLED, "terminate")}


@pytest.mark.requirement("S-53", "S-03", "R-13", "promise-5", "S-37")
@pytest.mark.parametrize("command", EVERY_COMMAND, ids=word_of)
@pytest.mark.parametrize("status", list(PLACES))
def test_a_command_is_one_legal_move_or_refused_with_what_would_be_obeyed(
    scene: Scene, status: RunStatus, command: Command
) -> None:
    run = PLACES[status](scene)
    before = scene.detail(run)
    assert before.run.status is status

    if word_of(command) not in allowed_from(status) and (status, word_of(command)) not in DONE_ALREADY | OF_ITS_OWN:
        with pytest.raises(Conflict) as refused:
            scene.order(run, command)
        assert scene.detail(run) == before
        assert refused.value.status is status
        if status not in TERMINAL_STATUSES or status is RunStatus.STUCK:
            assert refused.value.allowed == ", ".join(allowed_from(status))
        return
    if (status, word_of(command)) in OF_ITS_OWN:
        with pytest.raises(CommandRefused):
            scene.order(run, command)
        return
    after = scene.order(run, command, actor="ann", note="an exercise")
    made = scene.detail(run).transitions[len(before.transitions) :]
    if (status, word_of(command)) in DONE_ALREADY:
        assert made == []
        return
    assert word_of(command) in allowed_from(status)
    assert [(one.from_status, one.actor, one.note) for one in made] == [(status, "ann", "an exercise")]
    assert after.status in TRANSITIONS[status].values()
    assert after == scene.run(run)


@pytest.mark.requirement("promise-10", "C-07", "C-08", "C-56")
@pytest.mark.parametrize("command", EVERY_COMMAND, ids=word_of)
def test_a_command_to_another_tenants_run_is_answered_as_for_none(scene: Scene, command: Command) -> None:
    run = queued(scene)
    before = scene.detail(run)

    for tenant_run in (run, run_id(99)):
        with pytest.raises(RunNotFound):
            scene.order(tenant_run, command, tenant=OTHER_TENANT)

    assert scene.detail(run) == before


@pytest.mark.requirement("promise-11", "C-24", "C-28")
def test_an_order_that_is_sent_again_does_nothing_more(scene: Scene) -> None:
    run = queued(scene)
    scene.order(run, Pause(), id=run_id(70))
    scene.order(run, Resume(), id=run_id(71))

    assert scene.order(run, Pause(), id=run_id(70)).status is RunStatus.QUEUED
    assert len(scene.detail(run).transitions) == 3


# Pause and resume


@pytest.mark.requirement("O-09")
def test_a_paused_run_is_not_claimed_until_it_is_resumed(scene: Scene) -> None:
    run = paused(scene)
    assert scene.claim() == []

    scene.order(run, Resume())

    assert [one.id for one in scene.claim()] == [run]


@pytest.mark.requirement("promise-7")
def test_a_wait_that_closes_while_the_run_is_paused_is_found_when_it_resumes(scene: Scene) -> None:
    run = waiting(scene)
    scene.order(run, Pause())

    assert scene.store.send_signal(message(1, run)) == [run]
    assert scene.place(run) == (RunStatus.PAUSED, False)
    scene.order(run, Resume())

    [again] = scene.claim()
    assert [(one.outcome, one.result) for one in again.waits] == [(WaitOutcome.SIGNALLED, PAYLOAD)]


def test_a_child_that_ends_does_not_wake_a_paused_parent(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, parent_id=parent.id, parent_key="ship")])
    scene.park(parent, child_wait("ship", 1, run_id(2)))
    scene.order(parent.id, Pause())
    [child] = scene.claim(BOB)

    scene.accept(child, move=Finish(RunStatus.COMPLETED, "completed", RESULT))

    assert scene.place(parent.id) == (RunStatus.PAUSED, False)
    assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CHILD_ENDED


@pytest.mark.requirement("promise-6")
def test_no_timer_wakes_a_paused_run_and_a_resumed_one_finds_it_due(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 50), timeout_ms=10_000).id
    scene.order(run, Pause())
    scene.clock.advance(60)

    assert scene.store.wake_due(limit=10) == 0
    assert scene.store.read_agenda(queues=["default"], codes=["order"]).next_wake_ms is None
    scene.order(run, Resume())

    [again] = scene.claim()
    assert [one.due_ms for one in again.waits] == [scene.clock.now_ms - 10]


@pytest.mark.parametrize(("waited_ms", "delayed"), [(100, True), (600, False)])
def test_a_delayed_run_that_was_paused_starts_when_its_time_has_come(
    scene: Scene, waited_ms: int, *, delayed: bool
) -> None:
    run = scene.start(1, delay_ms=500)
    scene.order(run, Pause())
    scene.clock.advance(waited_ms)

    after = scene.order(run, Resume())

    assert (after.ready_ms is None) is delayed
    scene.clock.advance(500)
    assert scene.store.wake_due(limit=10) == int(delayed)
    assert [one.id for one in scene.claim()] == [run]


@pytest.mark.parametrize("move", [Release(), Park(open_waits=1)], ids=["released", "parked"])
@pytest.mark.requirement("O-09")
def test_a_held_run_is_paused_when_its_worker_lets_go_of_it(scene: Scene, move: Release | Park) -> None:
    run = scene.held(1)

    asked = scene.order(run.id, Pause())
    assert (asked.status, asked.pause_requested) == (RunStatus.RUNNING, True)
    [news] = scene.store.read_live(ALICE, {run.id: None})
    assert news.pause_requested
    scene.accept(run, waits=[timer("nap", 1, 100)], move=move)

    row = scene.run(run.id)
    assert (row.status, row.ready_ms, row.wake_ms, row.pause_requested) == (RunStatus.PAUSED, None, None, False)
    assert scene.claim() == []


def test_a_pause_outlives_the_worker_that_was_to_obey_it(scene: Scene) -> None:
    run = scene.held(1)
    scene.order(run.id, Pause())
    scene.lose(run)

    [again] = scene.claim(BOB)

    assert again.pause_requested
    scene.accept(again, move=Release())
    assert scene.run(run.id).status is RunStatus.PAUSED


def test_a_pause_that_is_taken_back_in_time_leaves_no_trace_but_in_the_log(scene: Scene) -> None:
    run = scene.held(1)
    scene.order(run.id, Pause())
    scene.order(run.id, Resume())

    scene.accept(run, move=Release())

    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_a_cancel_is_stronger_than_a_pause(scene: Scene) -> None:
    run = scene.held(1)
    scene.order(run.id, Pause())
    assert not scene.cancel(run.id).pause_requested
    with pytest.raises(CommandRefused):
        scene.order(run.id, Pause())

    scene.park(run, timer("nap", 1, 100))

    [again] = scene.claim()
    assert (again.cancel_requested, again.pause_requested) == (True, False)


# Terminate


@pytest.mark.requirement("promise-4", "R-23", "R-25")
@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.COMPENSATING])
def test_a_terminated_run_ends_at_once_and_its_worker_is_fenced(scene: Scene, status: RunStatus) -> None:
    run = scene.held(1)
    if status is RunStatus.COMPENSATING:
        scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))

    after = scene.order(run.id, Terminate())

    assert (after.status, after.terminal_reason, after.worker) == (RunStatus.CANCELLED, "terminated", None)
    assert after.epoch == run.epoch + 1
    answer = scene.commit(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    assert run.id in answer.refused
    assert scene.run(run.id) == after


def test_a_terminated_run_closes_its_waits_and_tells_its_parent(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, parent_id=parent.id, parent_key="ship")])
    scene.park(parent, child_wait("ship", 1, run_id(2)))
    [child] = scene.claim(BOB)
    scene.park(child, timer("nap", 1, 1_000))

    scene.order(child.id, Terminate())

    assert scene.wait(child.id, "nap").outcome is WaitOutcome.CANCELLED
    assert scene.wait(parent.id, "ship").child_status is RunStatus.CANCELLED
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


# Cancel with compensation, and down the tree


@pytest.mark.requirement("O-09", "promise-8")
def test_a_parked_run_that_is_to_undo_what_it_did_is_claimed_for_it(scene: Scene) -> None:
    run = waiting(scene)

    asked = scene.cancel(run, compensate=True)

    assert (asked.status, asked.cancel_requested, asked.cancel_compensates) == (RunStatus.QUEUED, True, True)
    [again] = scene.claim()
    assert (again.id, again.cancel_requested, again.cancel_compensates) == (run, True, True)
    scene.accept(again, move=Compensate(ERROR, "cancelled"))
    scene.accept(again, move=Finish(RunStatus.CANCELLED, "compensated"))
    assert scene.run(run).terminal_reason == "compensated"


def test_a_run_that_never_began_has_nothing_to_undo(scene: Scene) -> None:
    assert scene.cancel(queued(scene), compensate=True).status is RunStatus.CANCELLED


@pytest.mark.requirement("R-07", "R-55")
def test_a_cancelled_runs_reason_is_a_stable_word_and_the_callers_words_stand_in_the_log(scene: Scene) -> None:
    run = waiting(scene)

    scene.cancel(run, actor="ann", note="ordered twice")

    detail = scene.detail(run)
    assert (detail.run.terminal_reason, detail.run.status_reason) == ("cancelled", "cancelled")
    assert (detail.transitions[-1].actor, detail.transitions[-1].note) == ("ann", "ordered twice")


def _family(scene: Scene, policy: ParentPolicy) -> tuple[ClaimedRun, RunId]:
    parent = scene.held(1)
    child = new_run(2, parent_id=parent.id, parent_key="ship", parent_policy=policy)
    scene.accept(parent, children=[child])
    scene.park(parent, child_wait("ship", 1, child.id))
    return parent, child.id


@pytest.mark.requirement("O-09")
@pytest.mark.parametrize("policy", list(ParentPolicy))
@pytest.mark.parametrize("command", [Cancel(), Terminate()], ids=word_of)
def test_the_children_of_a_cancelled_run_follow_as_their_policy_has_it(
    scene: Scene, policy: ParentPolicy, command: Command
) -> None:
    parent, child = _family(scene, policy)

    scene.order(parent.id, command)

    row = scene.run(child)
    assert row.cancel_requested is (policy is not ParentPolicy.ABANDON)
    assert row.cancel_compensates is (policy is ParentPolicy.REQUEST)
    [claimed] = scene.claim(BOB)
    assert (claimed.id, claimed.cancel_requested) == (child, row.cancel_requested)


def test_waiting_paused_and_held_children_are_all_reached(scene: Scene) -> None:
    parent = scene.held(1)
    children = [new_run(number, parent_id=parent.id, parent_key=f"c{number}") for number in (2, 3, 4)]
    scene.accept(parent, children=children)
    parked, stopped, held = scene.claim(BOB)
    scene.park(parked, timer("nap", 1, 10_000))
    scene.park(stopped, timer("nap", 1, 10_000))
    scene.order(stopped.id, Pause())

    scene.cancel(parent.id)
    scene.accept(parent, move=Finish(RunStatus.CANCELLED, "cancelled"))

    assert [scene.place(one.id) for one in (parked, stopped, held)] == [
        (RunStatus.QUEUED, True),
        (RunStatus.QUEUED, True),
        (RunStatus.RUNNING, False),
    ]
    assert [one.cancel_requested for one in scene.store.read_live(BOB, {held.id: None})] == [True]


def test_the_grandchildren_follow_when_the_child_ends(scene: Scene) -> None:
    parent, child = _family(scene, ParentPolicy.CANCEL)
    [claimed] = scene.claim(BOB)
    assert claimed.id == child
    scene.accept(claimed, children=[new_run(3, parent_id=child, parent_key="pack")])
    scene.cancel(parent.id)
    assert not scene.run(run_id(3)).cancel_requested

    scene.accept(claimed, move=Finish(RunStatus.CANCELLED, "cancelled"))

    assert scene.run(run_id(3)).cancel_requested


def test_children_are_stopped_before_their_parent_undoes_what_it_did(scene: Scene) -> None:
    parent, child = _family(scene, ParentPolicy.CANCEL)
    scene.cancel(parent.id, compensate=True)
    [again] = [one for one in scene.claim() if one.id == parent.id]

    scene.accept(again, move=Compensate(ERROR, "cancelled"))

    assert (scene.run(child).cancel_requested, scene.run(child).cancel_compensates) == (True, True)


def test_the_children_of_a_run_that_failed_go_on(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, parent_id=parent.id, parent_key="ship")])

    scene.accept(parent, move=Finish(RunStatus.FAILED, "error", error=ERROR))

    assert not scene.run(run_id(2)).cancel_requested


# Stuck runs


@pytest.mark.requirement("R-08", "R-52", "S-37")
def test_a_stuck_run_that_is_released_goes_on_where_it_was_its_crashes_forgotten(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])
    assert scene.lose(run, crashes_max=1)
    assert scene.wait(run.id, "approval").outcome is None

    after = scene.order(run.id, ReleaseStuck(), actor="ann", note="fixed in 1.4")

    assert (after.status, after.crashes, after.terminal_reason, after.finalized_ms) == (RunStatus.QUEUED, 0, None, None)
    [again] = scene.claim(suspects=0)
    assert (again.id, [one.key for one in again.waits]) == (run.id, ["approval"])
    assert scene.detail(run.id).transitions[-2].actor == "ann"


def test_a_run_that_was_set_aside_while_it_compensated_goes_on_with_that(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "retries_exhausted"))
    assert scene.lose(run, crashes_max=1)

    after = scene.order(run.id, ReleaseStuck())

    assert (after.status, after.error) == (RunStatus.COMPENSATING, ERROR)
    assert [one.status for one in scene.claim()] == [RunStatus.COMPENSATING]


@pytest.mark.requirement("R-52", "S-37")
def test_a_stuck_run_that_is_closed_has_failed(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[timer("nap", 1, 100)], move=Finish(RunStatus.STUCK, "non_determinism", error=ERROR))

    after = scene.order(run.id, CloseStuck())

    assert (after.status, after.terminal_reason, after.error) == (RunStatus.FAILED, "closed", ERROR)
    assert scene.wait(run.id, "nap").outcome is WaitOutcome.CANCELLED


# Leases


@pytest.mark.requirement("promise-4", "L-32", "fault-4")
def test_a_worker_whose_lease_ran_out_claims_nothing(scene: Scene) -> None:
    run = queued(scene)
    scene.register(ALICE, lease_ms=100)
    scene.clock.advance(100)

    assert scene.claim_only(ALICE).runs == []
    assert scene.claim_only(BOB).runs == []

    assert [one.id for one in scene.claim(ALICE)] == [run]


@pytest.mark.requirement("L-55")
def test_a_late_result_counts_until_somebody_else_has_taken_the_run_over(scene: Scene) -> None:
    first, second = scene.held(1), scene.held(2)
    scene.clock.advance(1_000_000)

    scene.accept(first, move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    scene.store.requeue_lost(limit=10, crashes_max=9)
    answer = scene.commit(second, move=Finish(RunStatus.COMPLETED, "completed", RESULT))

    assert scene.run(first.id).status is RunStatus.COMPLETED
    assert second.id in answer.refused


def test_an_ended_run_obeys_nothing(scene: Scene) -> None:
    run = ended(RunStatus.COMPLETED)(scene)

    for command in EVERY_COMMAND:
        with pytest.raises(RunFinished):
            scene.order(run, command)
