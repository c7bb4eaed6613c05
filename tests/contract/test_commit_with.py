from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import UsageError
from holdfast.model.commit import Finish, Release, RunCommit
from holdfast.model.ids import DEFAULT_TENANT
from holdfast.model.run import ClaimedRun, RunFilter
from holdfast.model.status import RunStatus
from holdfast.store.port import count_runs
from tests.contract.scene import RESULT, Scene, entry, new_run, run_id

# A handler's own SQL, in a form that every store has: it starts a run inside the transaction that it was given.


def _handler(scene: Scene, run: ClaimedRun, epoch: int | None = None) -> Callable[[Any], RunCommit]:
    def handle(connection: Any) -> RunCommit:
        scene.store.start_runs_in(connection, [new_run(77)])
        return RunCommit(run_id=run.id, epoch=run.epoch if epoch is None else epoch, entries=[entry(run, "charge", 1)])

    return handle


def _started(scene: Scene) -> bool:
    return bool(scene.store.get_runs(DEFAULT_TENANT, [run_id(77)]))


@pytest.mark.requirement("promise-3", "S-50")
def test_a_handlers_writes_commit_together_with_its_journal_row(scene: Scene) -> None:
    run = scene.held(1)
    handed_over: list[bool] = []

    def handle(connection: Any) -> RunCommit:
        handed_over.append(isinstance(connection, scene.opened.connection))
        scene.store.start_runs_in(connection, [new_run(77)])
        return RunCommit(
            run_id=run.id,
            epoch=run.epoch,
            entries=[entry(run, "charge", 1)],
            move=Finish(RunStatus.COMPLETED, "completed", RESULT),
        )

    answer = scene.store.commit_with(handle, wants=scene.opened.connection)

    assert (answer.refused, answer.broken, answer.now_ms) == ({}, {}, scene.clock.now_ms)
    assert handed_over == [True]
    assert _started(scene)
    assert [one.key for one in scene.detail(run.id).journal] == ["charge"]
    assert scene.run(run.id).status is RunStatus.COMPLETED


@pytest.mark.requirement("promise-3", "B-06")
def test_a_handler_gets_the_kind_of_connection_that_it_wants(scene: Scene) -> None:
    for number, wanted in enumerate(scene.opened.transactions, start=1):
        run = scene.held(number)
        handed_over: list[Any] = []

        def handle(connection: Any, run: ClaimedRun = run, into: list[Any] = handed_over) -> RunCommit:
            into.append(connection)
            scene.store.start_runs_in(connection, [new_run(100 + int(run.id[-2:], 16), workflow="unknown")])
            return RunCommit(run_id=run.id, epoch=run.epoch, entries=[entry(run, "charge", 1)])

        answer = scene.store.commit_with(handle, wants=wanted)

        assert (answer.refused, answer.broken) == ({}, {})
        assert [isinstance(one, wanted) for one in handed_over] == [True]
    count = len(scene.opened.transactions)
    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {"running": count, "queued": count}


@pytest.mark.requirement("promise-3", "promise-4")
def test_a_refused_handlers_writes_are_rolled_back(scene: Scene) -> None:
    run = scene.held(1)

    answer = scene.store.commit_with(_handler(scene, run, epoch=run.epoch - 1), wants=scene.opened.connection)

    assert list(answer.refused) == [run.id]
    assert not _started(scene)
    assert scene.detail(run.id).journal == []


@pytest.mark.requirement("promise-3", "promise-2")
def test_a_broken_handlers_writes_are_rolled_back(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "charge", 1)])

    answer = scene.store.commit_with(_handler(scene, run), wants=scene.opened.connection)

    assert list(answer.broken) == [run.id]
    assert not _started(scene)


@pytest.mark.requirement("promise-3", "promise-11", "S-56")
def test_whatever_a_handler_raises_rolls_back_and_comes_out(scene: Scene) -> None:
    run = scene.held(1)

    def handle(connection: Any) -> RunCommit:
        scene.store.start_runs_in(connection, [new_run(77)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scene.store.commit_with(handle, wants=scene.opened.connection)

    assert not _started(scene)
    assert scene.detail(run.id).journal == []
    scene.accept(run, entries=[entry(run, "charge", 1)])


@pytest.mark.requirement("promise-12", "fault-80")
def test_a_handler_that_raises_a_base_exception_leaves_the_store_usable(scene: Scene) -> None:
    run = scene.held(1)

    def handle(connection: Any) -> RunCommit:
        scene.store.start_runs_in(connection, [new_run(77)])
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        scene.store.commit_with(handle, wants=scene.opened.connection)

    assert not _started(scene)
    scene.accept(run, move=Release())


def test_a_connection_that_the_store_does_not_have_is_a_usage_error(scene: Scene) -> None:
    run = scene.held(1)

    with pytest.raises(UsageError):
        scene.store.commit_with(_handler(scene, run), wants=dict)

    assert count_runs(scene.store, DEFAULT_TENANT, RunFilter()) == {"running": 1}


def test_starting_runs_in_something_else_than_a_connection_is_a_usage_error(scene: Scene) -> None:
    with pytest.raises(UsageError):
        scene.store.start_runs_in(object(), [new_run(1)])
