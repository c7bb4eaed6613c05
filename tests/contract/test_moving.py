"""A run goes on with another version of its graph: in one transaction, decided from its record as it is then."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from holdfast.errors import CommandRefused, Conflict, MoveRefused, RunFinished
from holdfast.model.catalog import code_name
from holdfast.model.command import Change, Command, MoveTo, Order, Pause, Resume, RunCopy
from holdfast.model.commit import Finish
from holdfast.model.definition import ChildNode, Definition, Edge, Node, SignalNode, StepNode
from holdfast.model.ids import DEFAULT_TENANT, RunId
from holdfast.model.run import ClaimedRun, VersionMove
from holdfast.model.status import EntryKind, RunStatus, WaitOutcome
from tests.contract.scene import (
    Scene,
    attempt,
    child_wait,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
    timer,
)
from tests.contract.test_races import ROUNDS
from tests.contract.together import together

OLD_HASH, NEW_HASH, OTHER_HASH = "a" * 64, "b" * 64, "c" * 64
OLD_CODE, NEW_CODE = code_name("order", OLD_HASH), code_name("order", NEW_HASH)
PINNED = {"version": 1, "definition_hash": OLD_HASH}


def graph(*last: str, account: str = "account", child: str = "pay") -> Definition:
    """A step, a wait and a child side by side, and steps that come after the wait."""
    nodes: tuple[Node, ...] = (
        StepNode(key=account, handler="account"),
        SignalNode(key="approval", signal="approved"),
        ChildNode(key=child, workflow="ship"),
        *(StepNode(key=key, handler=key) for key in last),
    )
    return Definition(workflow="order", nodes=nodes, edges=tuple(Edge(source="approval", target=key) for key in last))


def move(before: Definition, after: Definition, **given: Any) -> MoveTo:
    base: dict[str, Any] = {"from_hash": OLD_HASH, "version": 2, "definition_hash": NEW_HASH}
    return MoveTo(before=before, after=after, **{**base, **given})


TO_LETTER = move(graph("mail"), graph("letter"))
RENAMED = move(graph("mail"), graph("mail", account="user", child="bill"), mapping={"account": "user", "pay": "bill"})


def parked(scene: Scene, number: int = 1, **given: Any) -> ClaimedRun:
    """A run that has done its step, waits, and has a child."""
    scene.start(number, **{**PINNED, **given})
    [run] = scene.claim(codes=(OLD_CODE,))
    child = new_run(number + 500, workflow="ship", parent_id=run.id, parent_key="pay")
    scene.accept(
        run,
        entries=[entry(run, "account", 1)],
        waits=[signal_wait("approval", 2), child_wait("pay", 3, child.id)],
        children=[child],
    )
    scene.park(run)
    return run


def attempted(scene: Scene, of: RunId, command: Command, number: int) -> Any:
    try:
        return scene.store.command(DEFAULT_TENANT, of, Order(id=run_id(3_000_000 + number), command=command))
    except Conflict as refused:
        return refused


@pytest.mark.requirement("promise-5", "C-10")
def test_a_moved_run_is_in_the_line_of_its_new_version_and_its_log_says_between_which(scene: Scene) -> None:
    run = parked(scene)
    before = scene.detail(run.id)

    after = scene.order(run.id, TO_LETTER, actor="ann", note="letters from now on")

    assert (after.version, after.definition_hash, after.code) == (2, NEW_HASH, NEW_CODE)
    assert scene.place(run.id) == (RunStatus.QUEUED, True)
    assert after == scene.run(run.id)
    [made] = scene.detail(run.id).transitions[len(before.transitions) :]
    assert (made.reason, made.actor, made.note) == ("moved", "ann", "letters from now on")
    assert made.moved == VersionMove(from_version=1, to_version=2)
    assert scene.claim(codes=(OLD_CODE,)) == []
    [claimed] = scene.claim(codes=(NEW_CODE,))
    assert (claimed.version, claimed.definition_hash) == (2, NEW_HASH)
    assert [one.key for one in claimed.journal] == ["account"]


@pytest.mark.requirement("promise-2")
def test_records_and_the_places_of_children_get_the_keys_of_the_new_version(scene: Scene) -> None:
    run = parked(scene)
    before = scene.detail(run.id)

    scene.order(run.id, RENAMED)

    after = scene.detail(run.id)
    assert [one.key for one in after.journal] == ["user"]
    assert [one.key for one in after.waits] == ["approval", "bill"]
    assert [one.result for one in after.journal] == [one.result for one in before.journal]
    assert [one.child_id for one in after.waits] == [one.child_id for one in before.waits]
    assert scene.run(run_id(501)).parent_key == "bill"
    assert after.transitions[-1].moved == VersionMove(
        from_version=1, to_version=2, renamed={"account": "user", "pay": "bill"}
    )
    [child] = scene.claim(codes=("ship",))
    scene.accept(child, move=Finish(RunStatus.COMPLETED, "completed", child.input))
    assert scene.wait(run.id, "bill").outcome is WaitOutcome.CHILD_ENDED


def test_failed_attempts_of_items_that_are_done_are_renamed_too(scene: Scene) -> None:
    scene.start(1, **PINNED)
    [run] = scene.claim(codes=(OLD_CODE,))
    scene.accept(run, attempts=[attempt("account", 1)], entries=[entry(run, "account", 1)])
    scene.park(run, timer("account~retry1", 2, 10))

    scene.order(run.id, RENAMED)

    after = scene.detail(run.id)
    assert [one.key for one in after.attempts] == ["user"]
    assert [one.key for one in after.waits] == ["user~retry1"]


@pytest.mark.requirement("promise-9")
def test_a_record_that_disagrees_with_the_new_version_refuses_the_move_and_nothing_is_written(scene: Scene) -> None:
    run = parked(scene)
    before = scene.detail(run.id)
    gone = Definition(workflow="order", nodes=(StepNode(key="account", handler="other"),))

    with pytest.raises(MoveRefused) as refused:
        scene.order(run.id, move(graph("mail"), gone))

    assert [problem.node for problem in refused.value.problems] == ["account", "approval", "pay"]
    assert "calls 'other'" in str(refused.value)
    assert scene.detail(run.id) == before


def test_what_is_not_to_be_moved_is_refused(scene: Scene) -> None:
    held = scene.start(1, **PINNED)
    scene.claim(codes=(OLD_CODE,))
    function = scene.start(2)
    elsewhere = scene.start(3, version=3, definition_hash=OTHER_HASH)

    for run, why in (
        (held, "a worker holds it: pause it first"),
        (function, "it is a function's run"),
        (elsewhere, "it follows version 3 by now"),
    ):
        before = scene.detail(run)
        with pytest.raises(CommandRefused, match=why):
            scene.order(run, TO_LETTER)
        assert scene.detail(run) == before


@pytest.mark.requirement("promise-5")
def test_an_ended_run_is_not_moved(scene: Scene) -> None:
    scene.start(1, **PINNED)
    [run] = scene.claim(codes=(OLD_CODE,))
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", run.input))

    with pytest.raises(RunFinished):
        scene.order(run.id, TO_LETTER)


def test_a_run_that_is_to_be_cancelled_is_not_moved(scene: Scene) -> None:
    run = parked(scene)
    scene.cancel(run.id, compensate=True)

    with pytest.raises(MoveRefused, match="it is to be cancelled"):
        scene.order(run.id, TO_LETTER)


def test_a_paused_run_stays_paused_and_a_delayed_one_delayed(scene: Scene) -> None:
    paused = parked(scene).id
    scene.order(paused, Pause())
    delayed = scene.start(2, delay_ms=100, **PINNED)

    for run in (paused, delayed):
        place, wake_ms = scene.place(run), scene.run(run).wake_ms
        assert scene.order(run, TO_LETTER).version == 2
        assert (scene.place(run), scene.run(run).wake_ms) == (place, wake_ms)

    scene.order(paused, Resume())
    assert [run.id for run in scene.claim(codes=(NEW_CODE,))] == [paused]


def test_a_run_that_was_set_aside_is_moved_and_stays_aside(scene: Scene) -> None:
    scene.start(1, **PINNED)
    [run] = scene.claim(codes=(OLD_CODE,))
    assert scene.lose(run, crashes_max=1)

    assert scene.order(run.id, TO_LETTER).version == 2
    assert scene.place(run.id) == (RunStatus.STUCK, False)


@pytest.mark.requirement("promise-11")
def test_the_same_order_and_a_move_to_where_the_run_is_do_nothing(scene: Scene) -> None:
    run = parked(scene)
    scene.order(run.id, RENAMED, id=run_id(7))
    before = scene.detail(run.id)

    scene.order(run.id, RENAMED, id=run_id(7))
    scene.order(run.id, TO_LETTER)

    assert scene.detail(run.id) == before


def test_a_signal_after_the_plan_and_before_the_move_is_moved_with_its_wait(scene: Scene) -> None:
    run = parked(scene)
    renames_wait = move(
        graph(),
        Definition(
            workflow="order", nodes=(*graph().nodes[:1], SignalNode(key="yes", signal="approved"), *graph().nodes[2:])
        ),
        mapping={"approval": "yes"},
    )

    scene.store.send_signal(message(1, run.id))
    scene.order(run.id, renames_wait)

    assert scene.wait(run.id, "yes").outcome is WaitOutcome.SIGNALLED
    [claimed] = scene.claim(codes=(NEW_CODE,))
    assert claimed.id == run.id


@pytest.mark.requirement("promise-4")
def test_a_claim_and_a_move_that_meet_have_one_winner(scene: Scene) -> None:
    scene.register(codes=[OLD_CODE, NEW_CODE])
    for number in range(1, ROUNDS + 1):
        run = scene.start(number, **PINNED)
        claim, told = together(
            partial(scene.claim_only, scene.register(), codes=(OLD_CODE,)),
            partial(attempted, scene, run, TO_LETTER, number),
        )
        if isinstance(told, Conflict):
            assert [one.id for one in claim.runs] == [run]
            assert scene.run(run).version == 1
            scene.accept(claim.runs[0], move=Finish(RunStatus.COMPLETED, "completed", claim.runs[0].input))
        else:
            assert claim.runs == []
            [moved] = scene.claim(codes=(NEW_CODE,))
            scene.accept(moved, move=Finish(RunStatus.COMPLETED, "completed", moved.input))


@pytest.mark.requirement("promise-7")
def test_a_signal_and_a_move_that_meet_lose_neither(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = parked(scene, number)
        together(
            partial(scene.store.send_signal, message(number, run.id)),
            partial(attempted, scene, run.id, RENAMED, number),
        )
        assert scene.wait(run.id, "approval").outcome is WaitOutcome.SIGNALLED
        [claimed] = scene.claim(codes=(OLD_CODE, NEW_CODE))
        assert (claimed.version, [one.key for one in claimed.journal]) == (2, ["user"])
        scene.accept(claimed, move=Finish(RunStatus.COMPLETED, "completed", claimed.input))


@pytest.mark.requirement("promise-5")
def test_the_end_of_a_child_and_a_move_that_meet_lose_neither(scene: Scene) -> None:
    for number in range(1, ROUNDS + 1):
        run = parked(scene, number)
        [child] = scene.claim(codes=("ship",))
        together(
            partial(scene.commit, child, move=Finish(RunStatus.COMPLETED, "completed", child.input)),
            partial(attempted, scene, run.id, RENAMED, number),
        )
        assert scene.run(child.id).status is RunStatus.COMPLETED
        assert scene.wait(run.id, "bill").outcome is WaitOutcome.CHILD_ENDED
        [claimed] = scene.claim(codes=(OLD_CODE, NEW_CODE))
        scene.accept(claimed, move=Finish(RunStatus.COMPLETED, "completed", claimed.input))


def test_moves_to_two_versions_that_meet_have_one_winner(scene: Scene) -> None:
    elsewhere = move(graph("mail"), graph("stamp"), version=3, definition_hash=OTHER_HASH)
    for number in range(1, ROUNDS + 1):
        run = scene.start(number, **PINNED)
        answers = together(
            partial(attempted, scene, run, TO_LETTER, 2 * number),
            partial(attempted, scene, run, elsewhere, 2 * number + 1),
        )
        moves = [one.moved for one in scene.detail(run).transitions if one.moved is not None]
        assert len(moves) == 1
        assert sum(isinstance(answer, CommandRefused) for answer in answers) == 1


@pytest.mark.requirement("R-51")
def test_records_are_not_copied_by_keys_that_a_move_has_taken_away(scene: Scene) -> None:
    run = parked(scene)
    copy = RunCopy(
        id=run_id(90), source_id=run.id, retry=False, journal=["account"], waits=[], definition_hash=OLD_HASH
    )

    scene.order(run.id, RENAMED)

    with pytest.raises(CommandRefused, match="it was moved to version 2 meanwhile"):
        scene.store.start_copy(DEFAULT_TENANT, copy)


def test_a_moved_run_obeys_other_commands_as_before(scene: Scene) -> None:
    run = parked(scene)
    scene.order(run.id, RENAMED)

    assert scene.order(run.id, Change(priority=7)).version == 2
    assert [one.kind for one in scene.detail(run.id).journal] == [EntryKind.STEP]
    assert [one.moved is None for one in scene.detail(run.id).transitions[-2:]] == [False, True]
