"""Explanations are sentences."""

from __future__ import annotations

import pytest

from holdfast.core.explain import explain
from holdfast.store.memory import MemoryStore
from tests.contract.scene import Scene, signal_wait, timer
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
