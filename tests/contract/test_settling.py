"""Outcomes that are given by hand, and changes to a run that nobody holds."""

from __future__ import annotations

import pytest

from holdfast.core.approvals import read_verdict, write_question
from holdfast.errors import CommandRefused
from holdfast.model.command import Change, Pause, Settle
from holdfast.model.commit import NewWait, Park
from holdfast.model.ids import Json
from holdfast.model.run import ClaimedRun, Question, Verdict
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from tests.contract.scene import (
    ERROR,
    PAYLOAD,
    RESULT,
    Scene,
    attempt,
    child_wait,
    new_run,
    run_id,
    signal_wait,
    timer,
)


def _retrying(scene: Scene) -> ClaimedRun:
    run = scene.held(1)
    waits = [NewWait(key="pay~retry1", seq=1, kind=WaitKind.RETRY, delay_ms=60_000)]
    scene.accept(run, attempts=[attempt("pay", 1)], waits=waits, move=Park(open_waits=1))
    return run


@pytest.mark.parametrize("failed", [False, True])
def test_a_failing_step_is_settled_by_hand_and_the_run_goes_on_from_it(scene: Scene, *, failed: bool) -> None:
    run = _retrying(scene)
    command = Settle(key="pay", result=None if failed else RESULT, error=ERROR if failed else None)

    after = scene.order(run.id, command, actor="ann", note="paid by phone")

    assert (after.status, after.ready_ms) == (RunStatus.QUEUED, scene.clock.now_ms)
    [again] = scene.claim()
    [entry] = again.journal
    assert (entry.key, entry.kind, entry.name, entry.settled_by) == ("pay", EntryKind.STEP, "pay", "ann")
    assert (entry.result, entry.error) == (command.result, command.error)
    assert entry.status is (EntryStatus.FAILED if failed else EntryStatus.COMPLETED)
    assert (entry.seq, entry.attempts) == (2, 2)
    assert [one.outcome for one in again.waits] == [WaitOutcome.CANCELLED]
    assert scene.detail(run.id).transitions[-2].key == "pay"


def test_waits_are_settled_by_hand(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(parent, children=[new_run(2, workflow="ship", parent_id=parent.id, parent_key="ship")])
    scene.park(parent, timer("nap", 1, 60_000), signal_wait("approval", 2), child_wait("ship", 3, run_id(2)))

    scene.order(parent.id, Settle(key="nap"))
    scene.order(parent.id, Settle(key="approval", result=PAYLOAD))
    scene.order(parent.id, Settle(key="ship", error=ERROR))

    waits = {one.key: one for one in scene.detail(parent.id).waits}
    assert waits["nap"].outcome is WaitOutcome.ELAPSED
    assert (waits["approval"].outcome, waits["approval"].result) == (WaitOutcome.SIGNALLED, PAYLOAD)
    assert (waits["ship"].child_status, waits["ship"].error) == (RunStatus.FAILED, ERROR)
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("O-09")
@pytest.mark.parametrize("approved", [True, False])
def test_an_approval_is_settled_by_an_operator_with_a_verdict(scene: Scene, *, approved: bool) -> None:
    question = write_question(Question(by=["board"]))
    asked = NewWait(key="ship", seq=1, kind=WaitKind.APPROVAL, request=question)
    run = scene.parked(1, asked)
    with pytest.raises(CommandRefused, match="true or false"):
        scene.order(run.id, Settle(key="ship", result=RESULT), actor="ann")

    scene.order(run.id, Settle(key="ship", result=Json(b'{"value":%s}' % str(approved).lower().encode())), actor="ann")

    wait = scene.wait(run.id, "ship")
    assert wait.outcome is WaitOutcome.ANSWERED
    assert wait.result is not None
    assert read_verdict(wait.result) == Verdict(approved=approved, by="ann")
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("promise-2")
def test_what_is_recorded_is_not_settled_again_and_a_mistyped_key_is_told(scene: Scene) -> None:
    run = _retrying(scene)
    scene.order(run.id, Settle(key="pay", result=RESULT))

    for key in ("pay", "pya", "pay~retry1"):
        with pytest.raises(CommandRefused):
            scene.order(run.id, Settle(key=key, result=PAYLOAD))

    assert [one.result for one in scene.detail(run.id).journal] == [RESULT]


def test_a_step_is_settled_before_it_begins_if_that_is_said(scene: Scene) -> None:
    run = scene.order(scene.start(1), Pause()).id

    after = scene.order(run, Settle(key="charge", result=RESULT, unseen=True))

    assert (after.status, after.status_reason) == (RunStatus.PAUSED, "settled")
    assert [one.key for one in scene.detail(run).journal] == ["charge"]


# Changing


def test_priority_and_queue_of_a_run_in_line_decide_who_is_served_next(scene: Scene) -> None:
    first, second = scene.start(1), scene.start(2)

    scene.order(second, Change(priority=7))
    scene.order(first, Change(queue="slow"))

    assert [one.id for one in scene.claim()] == [second]
    assert [one.id for one in scene.claim(queues=["slow"])] == [first]


def test_a_new_deadline_is_when_a_parked_run_is_woken(scene: Scene) -> None:
    run = scene.parked(1, timer("nap", 1, 60_000), timeout_ms=90_000).id

    assert scene.order(run, Change(timeout_ms=50)).wake_ms == scene.clock.now_ms + 50
    assert scene.order(run, Change(drop_deadline=True)).wake_ms == scene.clock.now_ms + 60_000


def test_a_delayed_or_parked_run_can_be_woken(scene: Scene) -> None:
    delayed, parked = scene.start(1, delay_ms=60_000), scene.parked(2, timer("nap", 1, 60_000)).id

    for run in (delayed, parked):
        after = scene.order(run, Change(wake=True))
        assert (after.status, after.ready_ms, after.wake_ms) == (RunStatus.QUEUED, scene.clock.now_ms, None)

    assert {one.id for one in scene.claim()} == {delayed, parked}
