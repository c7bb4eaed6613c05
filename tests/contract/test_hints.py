from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from holdfast.model.commit import Finish
from holdfast.model.status import RunStatus
from holdfast.store.port import Hint
from tests.contract.scene import Scene, message, signal_wait, timer

TIMEOUT_S = 20.0


class Ear:
    """Hears a store's hints, from whichever thread they come."""

    def __init__(self, scene: Scene) -> None:
        self._heard: list[Hint] = []
        self._changed = threading.Condition()
        self.stop = scene.store.hints.subscribe(self._listen)

    def _listen(self, hint: Hint) -> None:
        with self._changed:
            self._heard.append(hint)
            self._changed.notify_all()

    def hears(self, wanted: Callable[[Hint], bool]) -> bool:
        """Whether such a hint came, or comes soon."""
        with self._changed:
            return self._changed.wait_for(lambda: any(wanted(hint) for hint in self._heard), TIMEOUT_S)

    def heard(self, wanted: Callable[[Hint], bool]) -> bool:
        """Whether such a hint came by now."""
        with self._changed:
            return any(wanted(hint) for hint in self._heard)


def test_a_start_is_heard_as_work(scene: Scene) -> None:
    ear = Ear(scene)

    scene.start(1)

    assert ear.hears(lambda hint: hint.work)


def test_a_run_that_wakes_is_heard_as_work(scene: Scene) -> None:
    scene.parked(1, timer("nap", 1, 10))
    ear = Ear(scene)
    scene.clock.advance(10)

    scene.store.wake_due(limit=10)

    assert ear.hears(lambda hint: hint.work)


def test_the_end_of_a_run_is_heard(scene: Scene) -> None:
    run = scene.held(1)
    ear = Ear(scene)

    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))

    assert ear.hears(lambda hint: hint.ended is None or run.id in hint.ended)


@pytest.mark.requirement("promise-7")
def test_a_signal_to_a_held_run_is_heard(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, waits=[signal_wait("approval", 1)])
    ear = Ear(scene)

    scene.store.send_signal(message(1, run.id))

    assert ear.hears(lambda hint: hint.live is None or run.id in hint.live)


def test_a_cancel_request_to_a_held_run_is_heard(scene: Scene) -> None:
    run = scene.held(1)
    ear = Ear(scene)

    scene.cancel(run.id)

    assert ear.hears(lambda hint: hint.live is None or run.id in hint.live)


@pytest.mark.requirement("promise-12")
def test_a_listener_that_raises_keeps_nobody_else_from_hearing(scene: Scene) -> None:
    def raises(_: Hint) -> None:
        raise ZeroDivisionError

    scene.store.hints.subscribe(raises)
    ear = Ear(scene)

    scene.start(1)

    assert ear.hears(lambda hint: hint.work)


def test_a_listener_that_left_may_leave_again(scene: Scene) -> None:
    ear = Ear(scene)

    ear.stop()
    ear.stop()

    scene.start(1)
    other = Ear(scene)
    scene.start(2)
    assert other.hears(lambda hint: hint.work)


def test_a_published_hint_is_heard(scene: Scene) -> None:
    run = scene.held(1)
    ear = Ear(scene)

    scene.store.hints.publish(Hint(live=(run.id,)))

    assert ear.hears(lambda hint: hint.live is None or run.id in hint.live)
