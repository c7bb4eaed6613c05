"""Runs that continue as new ones: the end of one and the start of the next are one, and nothing is lost between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.core.ids import successor_id
from holdfast.errors import CommandRefused, RunFinished, RunNotFound
from holdfast.model.command import Cancel, Order, Pause, Resume, RunCopy, Settle, Terminate
from holdfast.model.commit import Compensate, Continue, Finish, Park, RunCommit
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId
from holdfast.model.run import ClaimedRun, NewRun, Run, RunFilter
from holdfast.model.status import ParentPolicy, RunStatus, WaitOutcome
from holdfast.model.tenant import Chosen, Ended, TenantPolicy
from holdfast.store.outbox import Outbox
from holdfast.store.tenancy import write_policy
from tests.contract.scene import (
    ALICE,
    BOB,
    ERROR,
    OTHER_TENANT,
    PAYLOAD,
    RESULT,
    Scene,
    check_history,
    child_wait,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
    timer,
)

NEXT = Json(b'{"value":2}')
DONE = Finish(RunStatus.COMPLETED, "completed", RESULT)
FAILED = Finish(RunStatus.FAILED, "error", error=ERROR)


def going_on(run: ClaimedRun) -> Continue:
    """The move of a run that continues."""
    return Continue(successor_id(run.id), NEXT)


def continued(scene: Scene, run: ClaimedRun, **parts: Any) -> Run:
    """Let a held run continue; its successor."""
    scene.accept(run, move=going_on(run), **parts)
    return scene.run(successor_id(run.id))


def claim_one(scene: Scene, wanted: RunId) -> ClaimedRun:
    """Claim the run."""
    [run] = [one for one in scene.claim() if one.id == wanted]
    return run


def chain(scene: Scene, number: int, links: int, **given: Any) -> list[ClaimedRun]:
    """A chain of so many links, the last one held."""
    runs = [scene.held(number, **given)]
    for _ in range(links - 1):
        continued(scene, runs[-1])
        runs.append(claim_one(scene, successor_id(runs[-1].id)))
    return runs


def child_of(scene: Scene, parent: ClaimedRun, **given: Any) -> RunId:
    """A child that the parent starts and waits for, parked."""
    child = new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship", **given)
    scene.accept(parent, children=[child], waits=[child_wait("ship", 1, child.id)], move=Park(open_waits=1))
    return child.id


# --- One commit --------------------------------------------------------------------------------------------------


def test_the_end_of_a_run_that_continues_starts_its_successor(scene: Scene) -> None:
    given: dict[str, Any] = {
        "key": "loop",
        "queue": "slow",
        "priority": 7,
        "timeout_ms": 90_000,
        "attributes": {"area": "north"},
    }
    scene.start(1, **given)
    [run] = scene.claim(queues=["slow"])
    scene.clock.advance(5)

    scene.accept(run, entries=[entry(run, "step", 1)], waits=[timer("nap", 2, 500)], move=going_on(run))

    old, new = scene.run(run.id), scene.run(successor_id(run.id))
    assert (old.status, old.status_reason, old.terminal_reason) == (RunStatus.COMPLETED, "continued", "continued")
    assert (old.finalized_ms, old.worker, old.result) == (scene.clock.now_ms, None, None)
    assert scene.wait(old.id, "nap").outcome is WaitOutcome.CANCELLED
    assert (new.status, new.status_reason, new.ready_ms) == (RunStatus.QUEUED, "continued", scene.clock.now_ms)
    assert (new.input, new.workflow, new.tenant) == (NEXT, old.workflow, old.tenant)
    assert (new.key, new.queue, new.priority, new.attributes) == ("loop", "slow", 7, {"area": "north"})
    assert (new.deadline_ms, new.root_id, new.attempt) == (old.deadline_ms, old.root_id, old.attempt)
    assert (new.retry_of_id, new.forked_from_id, new.epoch, new.started_ms) == (None, None, 0, None)
    assert (old.chain_id, old.link, old.continued_as_id, old.continued_from_id) == (old.id, 1, new.id, None)
    assert (new.chain_id, new.link, new.continued_as_id, new.continued_from_id) == (old.id, 2, None, old.id)
    assert scene.detail(new.id).journal == []
    scene.check_histories()


def test_the_successor_of_a_pinned_run_follows_the_same_version(scene: Scene) -> None:
    scene.start(1, version=3, definition_hash="c" * 64)
    [run] = scene.claim(codes=["order@cccccccccccc"])

    new = continued(scene, run)

    assert (new.version, new.definition_hash, new.code) == (3, "c" * 64, "order@cccccccccccc")


def test_the_successor_has_the_attributes_that_are_set_last_and_is_found_by_them(scene: Scene) -> None:
    run = scene.held(1, attributes={"area": "north", "step": 1})

    new = continued(scene, run, attributes={"area": "south", "step": None})

    assert new.attributes == {"area": "south"}
    found = scene.store.list_runs(DEFAULT_TENANT, RunFilter(attributes={"area": "south"}), limit=10, after=None)
    assert {one.id for one in found.runs} == {run.id, new.id}


@pytest.mark.requirement("promise-4")
def test_a_stale_worker_starts_no_successor(scene: Scene) -> None:
    run = scene.held(1)
    scene.lose(run)
    [again] = scene.claim(BOB)

    answer = scene.store.commit([RunCommit(run_id=run.id, epoch=run.epoch, move=going_on(run))])

    assert list(answer.refused) == [run.id]
    assert scene.store.get_runs(DEFAULT_TENANT, [successor_id(run.id)]) == []
    assert scene.run(run.id).worker == BOB
    assert again.epoch > run.epoch


@pytest.mark.requirement("promise-1", "promise-5")
def test_a_commit_that_is_sent_again_starts_no_second_successor(scene: Scene) -> None:
    run = scene.held(1)
    commit = RunCommit(run_id=run.id, epoch=run.epoch, entries=[entry(run, "step", 1)], move=going_on(run))
    scene.store.commit([commit])
    new = claim_one(scene, successor_id(run.id))
    before = [scene.detail(run.id), scene.detail(new.id)]

    answer = scene.store.commit([commit])

    assert list(answer.refused) == [run.id]
    assert [scene.detail(run.id), scene.detail(new.id)] == before
    assert scene.store.read_progress([run.id])[run.id].status is RunStatus.COMPLETED


def test_a_run_that_compensates_does_not_continue(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=Compensate(ERROR, "error"))

    answer = scene.commit(run, move=going_on(run))

    assert list(answer.refused) == [run.id]
    assert scene.run(run.id).status is RunStatus.COMPENSATING


def test_many_runs_continue_in_one_batch_with_others(scene: Scene) -> None:
    for number in (1, 2, 3, 4):
        scene.start(number)
    one, two, three, stale = scene.claim()
    batch = [
        RunCommit(run_id=one.id, epoch=one.epoch, move=going_on(one)),
        RunCommit(run_id=two.id, epoch=two.epoch, entries=[entry(two, "last", 1)], move=DONE),
        RunCommit(run_id=three.id, epoch=three.epoch, entries=[entry(three, "last", 1)], move=going_on(three)),
        RunCommit(run_id=stale.id, epoch=stale.epoch + 1, move=going_on(stale)),
    ]

    answer = scene.store.commit(batch)

    assert list(answer.refused) == [stale.id]
    assert scene.run(two.id).terminal_reason == "completed"
    for run in (one, three):
        assert scene.run(run.id).terminal_reason == "continued"
        assert scene.place(successor_id(run.id)) == (RunStatus.QUEUED, True)
    scene.check_histories()


def test_an_input_that_cannot_be_stored_ends_nothing(scene: Scene) -> None:
    run = scene.held(1)

    answer = scene.commit(run, move=Continue(successor_id(run.id), Json(b"{not json")))

    assert list(answer.broken) == [run.id]
    assert scene.run(run.id).status is RunStatus.RUNNING
    assert scene.store.get_runs(DEFAULT_TENANT, [successor_id(run.id)]) == []


def test_a_chain_leads_from_each_link_to_its_last(scene: Scene) -> None:
    runs = chain(scene, 1, 5)

    found = {scene.store.get_run(DEFAULT_TENANT, run.id, newest=True).id for run in runs}

    assert found == {runs[-1].id}
    assert [scene.run(run.id).link for run in runs] == [1, 2, 3, 4, 5]
    assert scene.store.get_run(DEFAULT_TENANT, scene.start(2), newest=True).chain_id is None


def test_the_same_key_starts_no_second_chain(scene: Scene) -> None:
    first, *_ = chain(scene, 1, 3, key="loop")

    [started] = scene.store.start_runs([new_run(1, key="loop")])

    assert (started.run_id, started.created) == (first.id, False)


# --- Requests, quotas and ends -----------------------------------------------------------------------------------


def test_a_request_to_cancel_is_the_successors(scene: Scene) -> None:
    run = scene.held(1)
    scene.cancel(run.id, compensate=True)

    new = continued(scene, run)

    assert (new.cancel_requested, new.cancel_compensates) == (True, True)
    assert claim_one(scene, new.id).cancel_requested


def test_a_request_to_pause_pauses_the_successor(scene: Scene) -> None:
    run = scene.held(1)
    scene.order(run.id, Pause())

    new = continued(scene, run)

    assert (new.status, new.status_reason, new.ready_ms) == (RunStatus.PAUSED, "paused", None)
    assert not new.pause_requested
    scene.order(new.id, Resume())
    assert scene.place(new.id) == (RunStatus.QUEUED, True)
    scene.check_histories()


def test_a_successor_asks_for_no_quota(scene: Scene) -> None:
    run = scene.held(1)
    policy = TenantPolicy(tenant=DEFAULT_TENANT, queued_max=0, payload_bytes_max=1)
    scene.store.transact(DEFAULT_TENANT, lambda statements: write_policy(statements, policy))

    assert continued(scene, run).status is RunStatus.QUEUED


@pytest.mark.requirement("B-25")
def test_only_the_last_end_of_a_chain_is_told(scene: Scene) -> None:
    outbox = Outbox(scene.store)
    outbox.subscribe(DEFAULT_TENANT, "audit", ["order"])
    *_, last = chain(scene, 1, 3, key="loop")
    assert outbox.claim(DEFAULT_TENANT, ["audit"], limit=10, lease_ms=1_000) == []

    scene.accept(last, move=DONE)

    [closing] = outbox.claim(DEFAULT_TENANT, ["audit"], limit=10, lease_ms=1_000)
    assert (closing.run_id, closing.key, closing.reason) == (last.id, "loop", "completed")


# --- Commands to links that have ended ---------------------------------------------------------------------------


def test_a_command_to_a_link_is_obeyed_by_the_last_one_once(scene: Scene) -> None:
    first, second, third = chain(scene, 1, 3)
    order = Order(id=run_id(900), command=Pause(), actor="ann")

    answered = scene.store.command(DEFAULT_TENANT, first.id, order)

    assert (answered.id, answered.pause_requested) == (third.id, True)
    scene.accept(third, move=Park(open_waits=0))
    scene.order(third.id, Resume())
    assert scene.store.command(DEFAULT_TENANT, second.id, order).status is RunStatus.QUEUED
    scene.order(first.id, Terminate())
    assert scene.run(third.id).terminal_reason == "terminated"


def test_an_order_that_a_link_has_obeyed_is_not_obeyed_by_its_successor(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)
    order = Order(id=run_id(900), command=Pause())
    scene.store.command(DEFAULT_TENANT, second.id, order)
    scene.accept(second, move=Park(open_waits=0))
    scene.order(second.id, Resume())
    third = continued(scene, claim_one(scene, second.id))

    for asked in (first.id, second.id, third.id):
        answered = scene.store.command(DEFAULT_TENANT, asked, order)
        assert (answered.id, answered.status) == (third.id, RunStatus.QUEUED)


def test_a_command_that_names_a_record_is_not_for_the_successor(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)

    with pytest.raises(RunFinished, match=f"continued as run {second.id}"):
        scene.order(first.id, Settle(key="step", result=RESULT, unseen=True))


def test_a_link_is_not_retried_and_its_last_one_is(scene: Scene) -> None:
    first, last = chain(scene, 1, 2)
    scene.accept(last, move=FAILED)

    with pytest.raises(CommandRefused, match="retry the last run of its chain"):
        scene.store.start_copy(
            DEFAULT_TENANT, RunCopy(id=run_id(70), source_id=first.id, retry=True, journal=[], waits=[])
        )
    again = RunCopy(id=run_id(71), source_id=last.id, retry=True, journal=[], waits=[])
    assert scene.store.start_copy(DEFAULT_TENANT, again).created
    retried = claim_one(scene, run_id(71))
    row = scene.run(retried.id)
    assert (row.root_id, row.attempt, row.chain_id, row.retry_of_id) == (first.id, 2, None, last.id)

    new = continued(scene, retried)

    assert (new.root_id, new.attempt, new.chain_id, new.link) == (first.id, 2, retried.id, 2)
    scene.accept(claim_one(scene, new.id), move=FAILED)
    third = RunCopy(id=run_id(72), source_id=new.id, retry=True, journal=[], waits=[])
    assert scene.store.start_copy(DEFAULT_TENANT, third).created
    assert scene.run(run_id(72)).attempt == 3


def test_a_link_that_continued_is_forked_into_a_run_of_its_own(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)
    copy = RunCopy(id=run_id(70), source_id=first.id, retry=False, journal=[], waits=[])

    assert scene.store.start_copy(DEFAULT_TENANT, copy).created

    fork = scene.run(run_id(70))
    assert (fork.root_id, fork.forked_from_id, fork.chain_id) == (fork.id, first.id, None)
    assert scene.store.get_run(DEFAULT_TENANT, first.id, newest=True).id == second.id


# --- Signals -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("promise-7", "C-52")
def test_signals_that_nobody_consumed_are_the_successors_in_their_order(scene: Scene) -> None:
    run = scene.held(1)
    for number in (1, 2, 3):
        scene.store.send_signal(message(number, run.id, payload=Json(b'{"value":%d}' % number)))
    scene.accept(run, waits=[signal_wait("one", 1)])

    new = claim_one(scene, continued(scene, run).id)

    answer = scene.accept(new, waits=[signal_wait("two", 1), signal_wait("three", 2), signal_wait("four", 3)])
    assert [wait.result for wait in answer.waits[new.id]] == [b'{"value":2}', b'{"value":3}', None]
    assert scene.store.send_signal(message(2, run.id)) == []
    assert scene.wait(new.id, "four").outcome is None


@pytest.mark.requirement("promise-7")
def test_a_signal_to_a_link_reaches_the_last_one(scene: Scene) -> None:
    first, second, third = chain(scene, 1, 3)
    assert scene.store.send_signal(message(1, first.id)) == []
    scene.accept(third, waits=[signal_wait("kept", 1), signal_wait("next", 2)], move=Park(open_waits=1))
    assert scene.wait(third.id, "kept").result == PAYLOAD

    assert scene.store.send_signal(message(2, second.id)) == [third.id]

    assert scene.wait(third.id, "next").outcome is WaitOutcome.SIGNALLED
    assert scene.place(third.id) == (RunStatus.QUEUED, True)


def test_a_signal_to_a_chain_that_has_ended_names_its_last_link(scene: Scene) -> None:
    first, last = chain(scene, 1, 2)
    scene.accept(last, move=DONE)

    with pytest.raises(RunFinished, match=last.id):
        scene.store.send_signal(message(1, first.id))


@pytest.mark.requirement("promise-7")
def test_a_signal_under_way_to_a_run_follows_it_to_its_successor_before_later_ones(scene: Scene) -> None:
    sender, run = scene.held(9), scene.held(1)
    scene.accept(sender, signals=[message(1, run.id, payload=Json(b'{"value":1}'))])
    new = claim_one(scene, continued(scene, run).id)
    scene.accept(sender, signals=[message(2, run.id, payload=Json(b'{"value":2}'))])
    scene.accept(new, waits=[signal_wait("one", 1)])
    scene.accept(new, waits=[signal_wait("two", 2), signal_wait("three", 3)], move=Park(open_waits=2))
    assert scene.wait(new.id, "one").result == b'{"value":1}'

    scene.store.send_signal(message(3, run.id, payload=Json(b'{"value":3}')))

    assert [scene.wait(new.id, key).result for key in ("two", "three")] == [b'{"value":2}', b'{"value":3}']


def test_a_signal_that_is_swept_reaches_the_last_link(scene: Scene) -> None:
    sender = scene.held(9)
    first, _, third = chain(scene, 1, 3)
    scene.accept(third, waits=[signal_wait("one", 1)], move=Park(open_waits=1))
    scene.accept(sender, signals=[message(1, first.id)])

    assert scene.store.sweep_signals(limit=10).woken == 1

    assert scene.wait(third.id, "one").outcome is WaitOutcome.SIGNALLED


def test_a_signal_in_a_transaction_reaches_the_last_link(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)
    scene.accept(second, waits=[signal_wait("one", 1)], move=Park(open_waits=1))
    with scene.opened.transaction() as connection:
        scene.store.send_signal_in(connection, message(1, first.id))
    while scene.store.sweep_signals(limit=10).more:
        pass

    assert scene.wait(second.id, "one").outcome is WaitOutcome.SIGNALLED


@pytest.mark.requirement("promise-7")
def test_what_a_link_consumed_of_a_signal_to_all_its_successor_does_not_consume_again(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.send_signal(message(1, None, keep_ms=60_000))
    scene.accept(run, waits=[signal_wait("one", 1)])
    assert scene.wait(run.id, "one").outcome is WaitOutcome.SIGNALLED

    new = claim_one(scene, continued(scene, run).id)
    scene.accept(new, waits=[signal_wait("again", 1)])
    newer = claim_one(scene, continued(scene, new).id)
    scene.accept(newer, waits=[signal_wait("again", 1)])

    assert scene.wait(newer.id, "again").outcome is None


# --- Families ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("promise-5", "S-57")
def test_a_parent_waits_for_the_last_link_of_its_childs_chain(scene: Scene) -> None:
    parent = scene.held(1)
    child = child_of(scene, parent)
    [one] = scene.claim(BOB)
    two = continued(scene, one)
    assert (two.parent_id, two.parent_key) == (parent.id, "ship")
    assert scene.wait(parent.id, "ship").child_id == two.id
    assert scene.place(parent.id) == (RunStatus.WAITING, False)
    [claimed] = scene.claim(BOB)

    scene.accept(claimed, move=DONE)

    wait = scene.wait(parent.id, "ship")
    assert (wait.outcome, wait.result, wait.child_status) == (
        WaitOutcome.CHILD_ENDED,
        RESULT,
        RunStatus.COMPLETED,
    )
    assert child == one.id
    assert scene.place(parent.id) == (RunStatus.QUEUED, True)


@pytest.mark.parametrize("ends", [False, True])
def test_a_wait_for_a_child_that_continued_before_is_for_the_last_link(scene: Scene, ends: bool) -> None:
    parent = scene.held(1)
    child = new_run(50, workflow="ship", parent_id=parent.id, parent_key="ship")
    scene.accept(parent, children=[child])
    [one] = scene.claim(BOB)
    two = claim_one(scene, continued(scene, one).id)
    last = claim_one(scene, continued(scene, two).id)
    if ends:
        scene.accept(last, move=DONE)

    scene.accept(parent, waits=[child_wait("ship", 1, child.id), signal_wait("other", 2)])

    wait = scene.wait(parent.id, "ship")
    assert wait.child_id == last.id
    assert wait.outcome is (WaitOutcome.CHILD_ENDED if ends else None)
    if not ends:
        scene.accept(last, move=DONE)
        assert scene.wait(parent.id, "ship").result == RESULT


@pytest.mark.parametrize("policy", list(ParentPolicy))
def test_children_that_live_are_the_successors_and_are_cancelled_with_it(scene: Scene, policy: ParentPolicy) -> None:
    run = scene.held(1)
    child = child_of_running(scene, run, policy)

    new = continued(scene, run)

    assert scene.run(child).parent_id == new.id
    scene.order(new.id, Cancel())
    assert scene.run(child).cancel_requested is (policy is not ParentPolicy.ABANDON)


def child_of_running(scene: Scene, run: ClaimedRun, policy: ParentPolicy) -> RunId:
    """A child that the run started and does not wait for."""
    child = NewRun(
        id=run_id(50), workflow="ship", input=NEXT, parent_id=run.id, parent_key="ship", parent_policy=policy
    )
    scene.accept(run, children=[child])
    return child.id


def test_a_parent_and_its_child_continue_in_one_batch(scene: Scene) -> None:
    parent = scene.held(1)
    child_of_running(scene, parent, ParentPolicy.CANCEL)
    scene.accept(parent, waits=[child_wait("ship", 1, run_id(50))])
    [child] = scene.claim(BOB)

    scene.store.commit([RunCommit(run_id=one.id, epoch=one.epoch, move=going_on(one)) for one in (parent, child)])

    assert scene.run(successor_id(child.id)).parent_id == successor_id(parent.id)
    assert scene.wait(parent.id, "ship").outcome is WaitOutcome.CANCELLED


# --- What is deleted ---------------------------------------------------------------------------------------------


def test_of_a_living_chain_what_is_between_its_first_and_its_last_link_is_pruned(scene: Scene) -> None:
    first, second, third, last = chain(scene, 1, 4)
    scene.store.send_signal(message(1, first.id))
    scene.clock.advance(10)

    assert scene.store.prune(Ended(DEFAULT_TENANT, scene.clock.now_ms), limit=100) == 2

    left = {run.id for run in scene.store.get_runs(DEFAULT_TENANT, [one.id for one in (first, second, third, last)])}
    assert left == {first.id, last.id}
    assert scene.store.get_run(DEFAULT_TENANT, first.id, newest=True).id == last.id
    scene.accept(last, waits=[signal_wait("one", 1)])
    assert scene.wait(last.id, "one").result == PAYLOAD


def test_the_first_link_goes_after_all_others(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)
    scene.accept(second, move=DONE)
    assert scene.store.prune(Chosen(DEFAULT_TENANT, [first.id]), limit=10) == 0

    assert scene.store.prune(Chosen(DEFAULT_TENANT, [second.id]), limit=10) == 1
    assert scene.store.prune(Chosen(DEFAULT_TENANT, [first.id]), limit=10) == 1


def test_a_chain_whose_last_link_is_gone_takes_nothing_more(scene: Scene) -> None:
    first, second = chain(scene, 1, 2)
    scene.accept(second, move=DONE)
    scene.store.prune(Chosen(DEFAULT_TENANT, [second.id]), limit=10)

    with pytest.raises(RunFinished):
        scene.store.send_signal(message(1, first.id))
    with pytest.raises(RunFinished):
        scene.cancel(first.id)


@pytest.mark.requirement("promise-10")
def test_another_tenant_finds_no_chain(scene: Scene) -> None:
    first, _ = chain(scene, 1, 2)

    calls: tuple[Callable[[], object], ...] = (
        lambda: scene.store.get_run(OTHER_TENANT, first.id, newest=True),
        lambda: scene.store.send_signal(message(1, first.id, tenant=OTHER_TENANT)),
        lambda: scene.cancel(first.id, tenant=OTHER_TENANT),
    )
    for call in calls:
        with pytest.raises(RunNotFound):
            call()


def test_every_transition_of_a_chain_is_legal(scene: Scene) -> None:
    for run in chain(scene, 1, 3, worker=ALICE):
        check_history(scene.detail(run.id))
