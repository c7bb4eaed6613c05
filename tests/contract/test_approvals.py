from __future__ import annotations

import msgspec
import pytest

from holdfast.core.approvals import read_verdict, write_question, write_verdict
from holdfast.errors import ApprovalClosed, ApprovalNotFound, NotAnApprover, RunNotFound, UsageError
from holdfast.model.commit import NewWait
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import Answer, Approval, Question, Verdict
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from tests.contract.scene import OTHER_TENANT, Scene, run_id, signal_wait

BOARD = Question(title="May it ship?", by=["ann", "board"], escalate_after_ms=100, escalate_to=["chief"])


def approval_wait(key: str, seq: int, question: Question = BOARD, *, delay_ms: int | None = None) -> NewWait:
    """A question to people."""
    return NewWait(key=key, seq=seq, kind=WaitKind.APPROVAL, request=write_question(question), delay_ms=delay_ms)


def reply(number: int, to: RunId, key: str = "ship", *names: str, approved: bool = True) -> Answer:
    """An answer with the id of this number, by ann unless told otherwise."""
    who = list(names) or ["ann"]
    verdict = Verdict(approved=approved, by=who[0], data=msgspec.Raw(b'{"day":3}'), comment="fine")
    return Answer(
        id=run_id(2_000_000 + number),
        tenant=DEFAULT_TENANT,
        run_id=to,
        key=key,
        names=who,
        verdict=write_verdict(verdict),
    )


def inbox(scene: Scene, *names: str) -> list[Approval]:
    """The first hundred open approvals that somebody with these names may answer."""
    return scene.store.list_approvals(DEFAULT_TENANT, names=names, limit=100, after=None).approvals


@pytest.mark.requirement("promise-7", "C-51")
def test_an_answer_closes_the_approval_and_makes_its_run_claimable(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1))
    scene.clock.advance(7)

    assert scene.store.send_signal(reply(1, run.id)) == [run.id]

    wait = scene.wait(run.id, "ship")
    assert (wait.outcome, wait.closed_ms) == (WaitOutcome.ANSWERED, scene.clock.now_ms)
    assert wait.result is not None
    verdict = read_verdict(wait.result)
    assert (verdict.approved, verdict.by, bytes(verdict.data), verdict.comment) == (True, "ann", b'{"day":3}', "fine")
    row = scene.run(run.id)
    assert (row.status, row.status_reason) == (RunStatus.QUEUED, "answered")
    assert scene.detail(run.id).transitions[-1].key == "ship"


@pytest.mark.requirement("promise-7", "C-50")
def test_the_second_answer_is_refused_and_changes_nothing(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1))
    scene.store.send_signal(reply(1, run.id))
    before = scene.detail(run.id)

    with pytest.raises(ApprovalClosed) as refused:
        scene.store.send_signal(reply(2, run.id, "ship", "board", approved=False))

    assert refused.value.outcome == "answered"
    assert scene.detail(run.id) == before


@pytest.mark.requirement("promise-11")
def test_the_same_answer_again_is_no_conflict_and_changes_nothing(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1))
    scene.store.send_signal(reply(1, run.id))
    before = scene.detail(run.id)

    assert scene.store.send_signal(reply(1, run.id)) == [run.id]

    assert scene.detail(run.id) == before


@pytest.mark.requirement("C-50")
def test_only_those_who_were_asked_may_answer_until_it_escalates(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1))
    scene.clock.advance(99)
    with pytest.raises(NotAnApprover, match="ann, board"):
        scene.store.send_signal(reply(1, run.id, "ship", "chief"))
    assert [one.escalated for one in inbox(scene, "ann")] == [False]
    assert inbox(scene, "chief") == []

    scene.clock.advance(1)

    assert [one.escalated for one in inbox(scene, "chief")] == [True]
    with pytest.raises(NotAnApprover):
        scene.store.send_signal(reply(1, run.id, "ship", "zoe"))
    assert scene.store.send_signal(reply(2, run.id, "ship", "bob", "chief")) == [run.id]


def test_an_approval_for_nobody_in_particular_is_answered_by_anyone(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1, Question()))

    assert [one.run_id for one in inbox(scene, "zoe")] == [run.id]
    assert scene.store.send_signal(reply(1, run.id, "ship", "zoe")) == [run.id]


@pytest.mark.requirement("C-50")
def test_an_approval_whose_time_is_over_takes_no_answer(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1, delay_ms=50))
    scene.clock.advance(51)
    assert scene.store.wake_due(limit=10) == 1

    with pytest.raises(ApprovalClosed) as refused:
        scene.store.send_signal(reply(1, run.id))

    assert refused.value.outcome == "elapsed"
    assert inbox(scene) == []


@pytest.mark.requirement("C-50")
def test_the_timer_of_an_answered_approval_does_nothing(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1, delay_ms=50))
    scene.store.send_signal(reply(1, run.id))
    before = scene.detail(run.id)
    scene.clock.advance(51)

    assert scene.store.wake_due(limit=10) == 0
    assert scene.detail(run.id).transitions == before.transitions


def test_the_end_of_a_run_closes_its_approvals(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1))
    scene.cancel(run.id)

    with pytest.raises(ApprovalClosed) as refused:
        scene.store.send_signal(reply(1, run.id))

    assert refused.value.outcome == "cancelled"


def test_an_answer_to_a_held_run_closes_the_wait_without_moving_the_run(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[approval_wait("ship", 1)])

    assert scene.store.send_signal(reply(1, run.id)) == [run.id]

    assert scene.place(run.id) == (RunStatus.RUNNING, False)
    assert scene.wait(run.id, "ship").outcome is WaitOutcome.ANSWERED


def test_what_is_no_approval_cannot_be_answered(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("ship", 1))

    with pytest.raises(ApprovalNotFound):
        scene.store.send_signal(reply(1, run.id))
    with pytest.raises(ApprovalNotFound):
        scene.store.send_signal(reply(1, run.id, "other"))


@pytest.mark.requirement("promise-10")
def test_another_tenants_approval_is_not_found(scene: Scene) -> None:
    run = scene.parked(1, approval_wait("ship", 1), tenant=OTHER_TENANT)

    with pytest.raises(RunNotFound):
        scene.store.send_signal(reply(1, run.id))

    assert inbox(scene) == []
    theirs = scene.store.list_approvals(OTHER_TENANT, names=["ann"], limit=10, after=None)
    assert [one.run_id for one in theirs.approvals] == [run.id]


def test_the_inbox_lists_open_approvals_oldest_first_page_by_page(scene: Scene) -> None:
    for number in (3, 1, 2):
        scene.parked(number, approval_wait("a", 1), approval_wait("b", 2, Question(by=["zoe"])))
        scene.clock.advance(1)

    found: list[tuple[RunId, str]] = []
    after: str | None = None
    while True:
        page = scene.store.list_approvals(DEFAULT_TENANT, names=[], limit=2, after=after)
        found += [(one.run_id, one.key) for one in page.approvals]
        after = page.next
        if after is None:
            break

    assert found == [(run_id(number), key) for number in (3, 1, 2) for key in ("a", "b")]
    assert [one.run_id for one in inbox(scene, "zoe")] == [run_id(3), run_id(1), run_id(2)]
    [first, *_] = inbox(scene)
    assert (first.workflow, first.question) == ("order", BOARD)


def test_a_cursor_that_the_inbox_did_not_give_out_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError, match="cursor"):
        scene.store.list_approvals(DEFAULT_TENANT, names=[], limit=2, after="nonsense")
