"""Explanations are sentences."""

from __future__ import annotations

import pytest

from holdfast.core.explain import children_of, explain
from holdfast.model.commit import Compensate, Finish, NewWait, Park
from holdfast.model.ids import Json
from holdfast.model.run import Attempt
from holdfast.model.status import EntryStatus, RunStatus, WaitKind
from holdfast.store.memory import MemoryStore
from tests.contract.scene import ALICE, LEASE_MS, Scene, child_wait, entry, run_id, signal_wait, timer
from tests.contract.stores import ManualClock, OpenStore


@pytest.fixture
def scene() -> Scene:
    clock = ManualClock()
    return Scene(OpenStore("memory", MemoryStore(clock), clock, {}))


@pytest.mark.parametrize(
    ("later_ms", "said"), [(0, "for 7 d more"), (6 * 86_400_000, "for 1 d more"), (8 * 86_400_000, "until now")]
)
@pytest.mark.requirement("C-11")
def test_a_wait_with_a_time_limit_says_how_long_it_still_lasts(scene: Scene, later_ms: int, said: str) -> None:
    week_ms = 7 * 86_400_000
    run = scene.parked(1, timer("nap", 1, week_ms), signal_wait("approval", 2, delay_ms=week_ms))
    scene.clock.advance(later_ms)

    lines = str(explain(scene.detail(run.id))).splitlines()

    assert f"  nap: it sleeps, {said}" in lines
    assert f"  approval: it waits for signal 'approved', {said}" in lines


def test_a_wait_without_a_time_limit_says_so(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("approval", 1))

    assert "approval: it waits for signal 'approved', without a time limit" in str(explain(scene.detail(run.id)))


ROOT = b'{"type":"OSError","message":"no route","retryable":true}'
FAILURE = Json(b'{"type":"Refused","message":"no","retryable":false,"cause":%s}' % ROOT)


def _reason(scene: Scene, number: int, kind: str) -> dict[str, object]:
    [found] = [one for one in explain(scene.detail(run_id(number))).reasons if one.kind == kind]
    return {name: getattr(found, name) for name in found.__struct_fields__}


def _says(scene: Scene, number: int) -> str:
    return str(explain(scene.detail(run_id(number))))


@pytest.mark.requirement("C-11")
def test_a_run_in_line_says_since_when_and_how_many_stand_before_it(scene: Scene) -> None:
    scene.register()
    scene.start(1)
    scene.start(2)
    scene.clock.advance(3_000)

    reason = _reason(scene, 2, "claimable")

    assert (reason["since_ms"], reason["ahead"]) == (scene.clock.now_ms - 3_000, 1)
    assert "since 3 s ago, with 1 run(s) ahead of it in queue 'default'" in _says(scene, 2)


@pytest.mark.requirement("C-11")
def test_a_run_that_no_live_worker_knows_says_which_code_is_missing(scene: Scene) -> None:
    scene.start(1, workflow="unheard_of", queue="slow")

    assert _reason(scene, 1, "no_worker")["ahead"] == 0
    assert "no live worker knows workflow 'unheard_of' and serves queue 'slow'" in _says(scene, 1)


@pytest.mark.requirement("C-11")
def test_a_held_run_names_its_worker_and_the_last_sign_of_life(scene: Scene) -> None:
    scene.held(1)
    scene.clock.advance(2_000)

    reason = _reason(scene, 1, "held")

    assert reason["worker"] == ALICE
    assert reason["until_ms"] == scene.clock.now_ms - 2_000 + LEASE_MS
    assert "last sign of life 2 s ago" in _says(scene, 1)


@pytest.mark.requirement("C-11")
def test_a_held_run_whose_worker_is_lost_says_that_it_is_taken_over(scene: Scene) -> None:
    scene.held(1)
    scene.clock.advance(LEASE_MS + 1)

    assert "its lease has ended: it is taken over soon" in _says(scene, 1)


@pytest.mark.requirement("C-11")
def test_a_delayed_run_says_when_it_starts(scene: Scene) -> None:
    scene.start(1, delay_ms=60_000, timeout_ms=3_600_000)

    assert _reason(scene, 1, "delayed")["until_ms"] == scene.clock.now_ms + 60_000
    assert _reason(scene, 1, "deadline")["until_ms"] == scene.clock.now_ms + 3_600_000
    assert "it starts in 1 min, as asked" in _says(scene, 1)


@pytest.mark.requirement("C-11")
def test_a_retry_says_which_attempt_failed_how_and_when_the_next_begins(scene: Scene) -> None:
    run = scene.held(1)
    retry = NewWait(key="charge~retry3", seq=1, kind=WaitKind.RETRY, delay_ms=5_000)
    attempts = [
        Attempt(key="charge", attempt=n, error=FAILURE, started_ms=run.created_ms, ended_ms=run.created_ms)
        for n in (1, 2)
    ]
    scene.accept(run, waits=[retry], attempts=attempts, move=Park(open_waits=1))

    reason = _reason(scene, 1, "retry")

    assert (reason["attempts"], reason["until_ms"]) == (2, scene.clock.now_ms + 5_000)
    assert "charge: attempt 2 failed (Refused: no); it is tried again in 5 s" in _says(scene, 1)


@pytest.mark.requirement("C-11")
def test_a_run_that_waits_for_a_child_shows_why_the_child_waits(scene: Scene) -> None:
    scene.parked(2, signal_wait("approval", 1))
    scene.parked(1, child_wait("ship", 1, run_id(2)))
    parent, child = scene.detail(run_id(1)), explain(scene.detail(run_id(2)))

    text = str(explain(parent, {run_id(2): child}))

    assert children_of(parent) == [run_id(2)]
    assert "  ship: it waits for child run" in text
    assert "      approval: it waits for signal 'approved'" in text


@pytest.mark.requirement("C-11", "C-54")
def test_an_ended_run_says_which_step_failed_and_the_chain_of_errors(scene: Scene) -> None:
    run = scene.held(1)
    failed = entry(run, "charge", 1, status=EntryStatus.FAILED, result=None, error=FAILURE, attempts=5)
    scene.accept(run, entries=[failed], move=Compensate(FAILURE, "retries_exhausted"))
    scene.accept(run, move=Finish(RunStatus.FAILED, "compensated", error=FAILURE))

    reasons = explain(scene.detail(run.id)).reasons

    assert [one.kind for one in reasons] == ["ended", "failed_step", "cause"]
    assert (reasons[1].key, reasons[1].attempts) == ("charge", 5)
    assert "as failed: compensated" in _says(scene, 1)
    assert "caused by OSError: no route" in _says(scene, 1)
    assert "error: Refused: no" in _says(scene, 1)


def test_an_error_that_cannot_be_read_hides_nothing_else(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Finish(RunStatus.FAILED, "error", error=Json(b"[1]")))

    assert "as failed: error" in _says(scene, 1)
    assert "error: unreadable" in _says(scene, 1)
