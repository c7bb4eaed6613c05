"""A run that a worker holds is given back to be moved, and goes on in time whatever becomes of who asked for it."""

from __future__ import annotations

import pytest

from holdfast.errors import RunHeld
from holdfast.model.command import Cancel, Change, HandBack, Pause
from holdfast.model.commit import Compensate, Park, Release
from holdfast.model.run import ClaimedRun
from holdfast.model.status import RunStatus
from tests.contract.scene import ALICE, BOB, ERROR, Scene, entry, signal_wait
from tests.contract.test_moving import NEW_CODE, OLD_CODE, PINNED, TO_LETTER

WITHIN_MS = 10_000
RELEASE = Release()


def held(scene: Scene, **given: object) -> ClaimedRun:
    """A run in the middle of its graph, in the hands of a worker."""
    scene.start(1, **{**PINNED, **given})
    [run] = scene.claim(codes=(OLD_CODE,))
    scene.accept(run, entries=[entry(run, "account", 1)])
    return run


def given_back(scene: Scene, **given: object) -> ClaimedRun:
    """The same, when its worker has given it back to be moved."""
    run = held(scene, **given)
    scene.order(run.id, HandBack(WITHIN_MS), actor="ann", note="letters from now on")
    scene.accept(run, move=RELEASE)
    return run


@pytest.mark.requirement("O-02", "C-08")
def test_the_holder_hears_that_it_is_to_give_the_run_back_and_by_whom_is_in_the_log(scene: Scene) -> None:
    run = held(scene)
    with pytest.raises(RunHeld):
        scene.order(run.id, TO_LETTER)
    assert scene.store.read_live(ALICE, {run.id: []}) == []

    after = scene.order(run.id, HandBack(WITHIN_MS), actor="ann", note="letters from now on")

    assert after == scene.run(run.id)
    assert after.aside_until_ms == scene.clock.now_ms + WITHIN_MS
    [news] = scene.store.read_live(ALICE, {run.id: []})
    assert (news.pause_requested, news.cancel_requested) == (True, False)
    asked = scene.detail(run.id).transitions[-1]
    assert (asked.reason, asked.actor, asked.note) == ("move_requested", "ann", "letters from now on")
    assert (asked.from_status, asked.to_status) == (RunStatus.RUNNING, RunStatus.RUNNING)
    scene.accept(run, entries=[entry(run, "more", 2)])


@pytest.mark.requirement("O-02", "C-08")
def test_a_run_that_was_given_back_stands_aside_until_it_is_moved(scene: Scene) -> None:
    run = given_back(scene)

    assert scene.place(run.id) == (RunStatus.QUEUED, False)
    assert scene.run(run.id).stands_aside
    assert scene.claim(codes=(OLD_CODE, NEW_CODE)) == []
    moved = scene.order(run.id, TO_LETTER)

    assert (moved.version, moved.aside_until_ms, moved.wake_ms, moved.stands_aside) == (2, None, None, False)
    assert moved == scene.run(run.id)
    [claimed] = scene.claim(codes=(OLD_CODE, NEW_CODE))
    assert (claimed.version, [one.key for one in claimed.journal]) == (2, ["account"])


@pytest.mark.requirement("promise-12", "O-02")
def test_a_run_whose_mover_does_not_come_goes_on_by_itself(scene: Scene) -> None:
    run = given_back(scene)

    scene.clock.advance(WITHIN_MS - 1)
    assert scene.store.wake_due(limit=10) == 0
    scene.clock.advance(1)
    assert scene.store.wake_due(limit=10) == 1

    [claimed] = scene.claim(codes=(OLD_CODE, NEW_CODE))
    assert (claimed.id, claimed.version) == (run.id, 1)
    assert scene.store.read_live(ALICE, {run.id: []}) == []
    scene.accept(claimed, move=RELEASE)
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_a_run_that_is_given_back_too_late_stands_in_the_line(scene: Scene) -> None:
    run = held(scene)
    scene.order(run.id, HandBack(WITHIN_MS))

    scene.clock.advance(WITHIN_MS)
    assert scene.store.read_live(ALICE, {run.id: []}) == []
    scene.accept(run, move=RELEASE)

    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_an_order_that_is_taken_back_holds_the_run_no_longer(scene: Scene) -> None:
    run = held(scene)
    scene.order(run.id, HandBack(WITHIN_MS))

    scene.order(run.id, HandBack(0), note="not moved")

    assert scene.store.read_live(ALICE, {run.id: []}) == []
    assert scene.detail(run.id).transitions[-1].reason == "move_withdrawn"
    scene.accept(run, move=RELEASE)
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_a_run_that_stands_aside_is_put_into_the_line_by_hand(scene: Scene) -> None:
    run = given_back(scene)

    scene.order(run.id, Change(wake=True))

    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_a_run_stands_aside_no_longer_than_its_deadline(scene: Scene) -> None:
    run = given_back(scene, timeout_ms=WITHIN_MS // 2)

    assert scene.run(run.id).wake_ms == scene.run(run.id).deadline_ms


@pytest.mark.requirement("O-09")
def test_a_pause_and_a_cancel_are_stronger_than_a_mover(scene: Scene) -> None:
    run = held(scene)
    scene.order(run.id, HandBack(WITHIN_MS))
    scene.order(run.id, Pause())
    scene.accept(run, move=RELEASE)
    assert scene.place(run.id) == (RunStatus.PAUSED, False)
    assert scene.run(run.id).wake_ms is None
    assert scene.order(run.id, TO_LETTER).version == 2
    assert scene.place(run.id) == (RunStatus.PAUSED, False)

    scene.start(2, **PINNED)
    [other] = scene.claim(codes=(OLD_CODE,))
    scene.order(other.id, HandBack(WITHIN_MS))
    scene.order(other.id, Cancel())
    scene.accept(other, move=RELEASE)
    assert scene.place(other.id) == (RunStatus.QUEUED, True)


def test_a_run_that_parks_meanwhile_only_waits_and_is_moved_there(scene: Scene) -> None:
    run = held(scene)
    scene.order(run.id, HandBack(WITHIN_MS))
    scene.accept(run, waits=[signal_wait("approval", 2)], move=Park(1))

    assert scene.place(run.id) == (RunStatus.WAITING, False)
    assert scene.run(run.id).wake_ms is None
    assert scene.order(run.id, TO_LETTER).version == 2
    assert scene.place(run.id) == (RunStatus.QUEUED, True)


def test_an_order_outlives_the_worker_that_was_to_give_the_run_back(scene: Scene) -> None:
    run = held(scene)
    scene.order(run.id, HandBack(60_000))
    assert not scene.lose(run)

    [claimed] = scene.claim(BOB, codes=(OLD_CODE,))
    [news] = scene.store.read_live(BOB, {claimed.id: []})
    scene.accept(claimed, move=RELEASE)

    assert news.pause_requested
    assert scene.run(run.id).stands_aside


def test_who_is_not_held_or_undoes_does_not_hear_of_it(scene: Scene) -> None:
    waiting = scene.start(1, **PINNED)
    assert scene.order(waiting, HandBack(WITHIN_MS)).aside_until_ms is None
    [undoing] = scene.claim(codes=(OLD_CODE,))
    scene.accept(undoing, move=Compensate(ERROR, "failed"))

    before = scene.detail(undoing.id)
    scene.order(undoing.id, HandBack(WITHIN_MS))

    assert scene.detail(undoing.id).transitions == before.transitions
    assert scene.store.read_live(ALICE, {undoing.id: []}) == []
