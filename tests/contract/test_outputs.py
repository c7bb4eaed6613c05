from __future__ import annotations

import pytest

from holdfast.errors import RunNotFound
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import Outputs
from holdfast.model.status import EntryKind, RunStatus
from tests.contract.scene import OTHER_TENANT, Scene, entry, run_id


def _read(scene: Scene, name: str, after: int | None, limit: int = 10) -> Outputs:
    return scene.store.read_outputs(DEFAULT_TENANT, run_id(1), EntryKind.EMITTED, name, after=after, limit=limit)


@pytest.mark.requirement("promise-7", "R-25")
def test_a_stream_is_read_in_order_from_an_offset_page_by_page(scene: Scene) -> None:
    run = scene.held(1)
    names = ["a", "b", "a", "a"]
    scene.accept(
        run,
        entries=[entry(run, f"k{seq}", seq, kind=EntryKind.EMITTED, name=name) for seq, name in enumerate(names, 1)],
    )
    scene.accept(run, entries=[entry(run, "step", 5, name="a")])

    assert [one.seq for one in _read(scene, "a", 0).entries] == [1, 3, 4]
    assert [one.seq for one in _read(scene, "a", 1, limit=1).entries] == [3]
    assert [one.seq for one in _read(scene, "a", None).entries] == [4]
    assert _read(scene, "a", 4) == Outputs(RunStatus.RUNNING, [])


@pytest.mark.requirement("promise-4")
def test_a_worker_that_lost_the_run_emits_nothing(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)

    answer = scene.commit(run, entries=[entry(run, "k", 1, kind=EntryKind.EMITTED, name="a")])

    assert list(answer.refused) == [run.id]
    assert _read(scene, "a", 0).entries == []


def test_the_end_of_the_run_is_told_with_its_last_items(scene: Scene) -> None:
    run = scene.held(1)
    last = entry(run, "k", 1, kind=EntryKind.EMITTED, name="a")
    scene.accept(run, entries=[last], move=Finish(RunStatus.COMPLETED, "completed"))

    assert _read(scene, "a", 0) == Outputs(RunStatus.COMPLETED, [last])


@pytest.mark.requirement("promise-10")
def test_what_another_tenants_run_says_is_not_found(scene: Scene) -> None:
    scene.held(1)

    for tenant, run in ((OTHER_TENANT, run_id(1)), (DEFAULT_TENANT, run_id(2))):
        with pytest.raises(RunNotFound):
            scene.store.read_outputs(tenant, run, EntryKind.EMITTED, "a", after=0, limit=1)
