"""Which version a run executed, and which one its retry executes."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from sqlalchemy import update

from holdfast.errors import RunNotFound
from holdfast.model.definition import SleepNode
from holdfast.model.ids import RunId
from holdfast.store.tables import RUNS
from holdfast.studio import Role
from holdfast.studio.errors import Forbidden, RetryRefused, SnapshotNotFound, WorkflowNotFound, WrongProject
from tests.contract.conftest import Opener
from tests.contract.editing import ONE, TWO, Desk, graph, step
from tests.contract.scene import Scene, entry, run_id
from tests.contract.stores import ManualClock


@pytest.fixture(params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest, open_store: Opener) -> Generator[Scene, None, None]:
    """A stage on the databases whose runs a statement can pin: the reference keeps its runs elsewhere."""
    with open_store(str(request.param), ManualClock()) as opened:
        yield Scene(opened)


def pin(scene: Scene, run: RunId, content_hash: str, version: int) -> None:
    pinned = update(RUNS).where(RUNS.c.id == run).values(definition_hash=content_hash, version=version)
    if scene.opened.kind == "sqlite":  # elsewhere the column is generated
        pinned = pinned.values(code=RUNS.c.workflow + f"@{content_hash[:12]}")
    assert scene.store.transact(None, lambda s: s.changed(pinned)) == 1


@pytest.mark.requirement("L-54", "R-26")
def test_a_run_is_shown_and_retried_at_its_own_version(scene: Scene) -> None:
    desk = Desk(scene.opened)
    first = desk.save(ONE, 0).version
    run = scene.start(50, workflow="signup")
    pin(scene, run, first.hash, 1)
    desk.save(TWO, 1)

    shown = desk.resolver.resolve_run(desk.of(Role.VIEWER), run)
    retried = desk.resolver.resolve_retry(desk.scope(), run)

    assert (shown.version.number, shown.definition) == (1, ONE)
    assert retried == shown
    assert desk.resolver.resolve_retry(desk.scope(), run, on_latest=True).version.number == 2
    with pytest.raises(Forbidden):
        desk.resolver.resolve_retry(desk.of(Role.VIEWER), run)


@pytest.mark.requirement("L-54")
def test_a_retry_on_the_latest_is_refused_if_recorded_steps_are_gone_or_something_else(scene: Scene) -> None:
    desk = Desk(scene.opened)
    second = desk.save(graph(step("a"), step("b"), step("c")), 0).version
    held = scene.held(50, workflow="order")
    scene.accept(held, entries=[entry(held, "a", 1), entry(held, "b#2", 2)])
    renamed = update(RUNS).where(RUNS.c.id == held.id).values(workflow="signup")
    if scene.opened.kind == "sqlite":
        renamed = renamed.values(code="signup")
    scene.store.transact(None, lambda s: s.changed(renamed))
    pin(scene, held.id, second.hash, 1)
    desk.save(graph(SleepNode(key="a", duration_ms=1), step("c")), 1)

    with pytest.raises(RetryRefused) as caught:
        desk.resolver.resolve_retry(desk.scope(), held.id, on_latest=True)

    assert caught.value.missing == "a, b"
    assert desk.resolver.resolve_retry(desk.scope(), held.id).version.number == 1


@pytest.mark.requirement("L-53", "L-54")
def test_the_version_of_a_run_is_found_in_its_own_project_alone(scene: Scene) -> None:
    desk = Desk(scene.opened)
    first = desk.save(ONE, 0).version
    run, loose = scene.start(50, workflow="signup"), scene.start(51, workflow="order")

    with pytest.raises(SnapshotNotFound):
        desk.resolver.resolve_run(desk.scope(), run)
    pin(scene, run, first.hash, 1)
    with pytest.raises(WrongProject):
        desk.resolver.resolve_run(desk.elsewhere, run)
    with pytest.raises(WorkflowNotFound):
        desk.resolver.resolve_run(desk.scope(), loose)
    with pytest.raises(RunNotFound):
        desk.resolver.resolve_run(desk.scope(), run_id(404))
