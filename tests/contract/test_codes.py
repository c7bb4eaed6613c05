"""Runs are claimed by the code that they need: a function workflow's name, or one version of a graph."""

from __future__ import annotations

import pytest

from holdfast.core.explain import explain
from holdfast.model.catalog import code_name
from holdfast.model.commit import RunCommit
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.store.port import UNASKED_MAX
from tests.contract.scene import ALICE, BOB, Scene, new_run, run_id

OLD, NEW = "a1" * 32, "b2" * 32


def _start(scene: Scene, number: int, *, version: int, digest: str, queue: str = "default") -> RunId:
    new = new_run(number, workflow="signup", version=version, definition_hash=digest, queue=queue)
    scene.store.start_runs([new])
    return new.id


@pytest.mark.requirement("promise-9", "B-56", "L-25", "R-54")
def test_a_run_keeps_the_version_that_it_was_started_with(scene: Scene) -> None:
    started = _start(scene, 1, version=3, digest=OLD)
    again = new_run(1, workflow="signup", version=4, definition_hash=NEW)

    assert not scene.store.start_runs([again])[0].created
    [claimed] = scene.claim(codes=[code_name("signup", OLD)])

    assert (claimed.id, claimed.version, claimed.definition_hash) == (started, 3, OLD)
    run = scene.store.get_run(DEFAULT_TENANT, started)
    assert (run.version, run.definition_hash, run.code) == (3, OLD, "signup@a1a1a1a1a1a1")


@pytest.mark.requirement("promise-9", "R-54")
def test_a_worker_without_a_runs_version_does_not_claim_it(scene: Scene) -> None:
    old, new = _start(scene, 1, version=1, digest=OLD), _start(scene, 2, version=2, digest=NEW)
    scene.start(3, workflow="signup")

    assert [run.id for run in scene.claim(ALICE, codes=[code_name("signup", NEW)])] == [new]
    assert [run.id for run in scene.claim(BOB, codes=["signup"])] == [run_id(3)]
    assert [run.id for run in scene.claim(BOB, codes=["signup", code_name("signup", OLD)])] == [old]


def test_the_agenda_names_codes_that_wait_and_were_not_asked_for(scene: Scene) -> None:
    _start(scene, 1, version=1, digest=OLD)
    _start(scene, 2, version=1, digest=OLD, queue="slow")
    _start(scene, 3, version=2, digest=NEW)
    scene.start(4, workflow="order")
    old, new = code_name("signup", OLD), code_name("signup", NEW)

    def unasked(*codes: str, unwanted: tuple[str, ...] = (), queues: tuple[str, ...] = ("default",)) -> list[str]:
        return scene.store.read_agenda(queues=queues, codes=codes, unwanted=unwanted).unasked

    assert unasked() == ["order", old, new]
    assert unasked("order", new) == [old]
    assert unasked("order", unwanted=(old,)) == [new]
    assert unasked(queues=("slow", "default", "none")) == ["order", old, new]
    assert unasked(queues=("none",)) == []

    scene.claim(codes=[old, "order"])
    assert unasked() == [new]


def test_the_agenda_names_a_bounded_number_of_codes(scene: Scene) -> None:
    scene.store.start_runs([new_run(number, workflow=f"flow-{number:03}") for number in range(1, UNASKED_MAX + 11)])

    named = scene.store.read_agenda(queues=["default"], codes=["flow-001"]).unasked

    assert named == [f"flow-{number:03}" for number in range(2, UNASKED_MAX + 2)]


def test_what_a_worker_lacks_is_told_by_explain(scene: Scene) -> None:
    started = _start(scene, 1, version=2, digest=NEW)
    scene.register(ALICE, codes=["signup", code_name("signup", OLD)], host="box", pid=7)
    scene.register(BOB, lacks={code_name("signup", NEW): ["step 'letter'", "step 'stamp'"]}, host="box", pid=8)

    detail = scene.store.read_detail(DEFAULT_TENANT, started)
    [reason] = explain(detail).reasons

    assert [(worker.id, list(worker.lacks.values())) for worker in detail.workers] == [
        (BOB, [["step 'letter'", "step 'stamp'"]])
    ]
    assert reason.kind == "no_worker"
    assert "no live worker knows version 2 of workflow 'signup' (b2b2b2b2b2b2)" in reason.text
    assert f"worker {BOB} (process 8 on box) lacks step 'letter', step 'stamp'" in reason.text


def test_children_are_started_with_the_version_that_was_chosen_for_them(scene: Scene) -> None:
    parent = scene.start(1)
    scene.claim()
    child = new_run(2, workflow="signup", version=5, definition_hash=NEW, parent_id=parent, parent_key="child")

    scene.store.commit([RunCommit(run_id=parent, epoch=1, children=[child])])

    [claimed] = scene.claim(BOB, codes=[code_name("signup", NEW)])
    assert (claimed.id, claimed.version) == (child.id, 5)
