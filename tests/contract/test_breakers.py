"""Of all calls that name a breaker the database knows whether they are made, whoever asks and however many at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.breakers import PROBER_MS, Ticket
from holdfast.core.explain import explain
from holdfast.model.breaker import BreakerRow, BreakerState
from holdfast.model.command import Pause, Settle
from holdfast.model.commit import NewWait
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant
from holdfast.model.run import RunFilter
from holdfast.model.search import WaitingOn
from holdfast.model.status import RunStatus, WaitKind, WaitOutcome
from holdfast.runtime.breakers import answer
from holdfast.store.breakers import (
    Asked,
    Told,
    find_breaker,
    let_through,
    list_breakers,
    list_due,
    write_closed,
    write_open,
)
from tests.contract.scene import ALICE, OTHER_TENANT, Scene, message, new_run, run_id, signal_wait, timer
from tests.contract.test_hints import Ear

pytestmark = pytest.mark.requirement("S-37")

STRIPE = hf.Breaker("stripe", failures=2, within=60, open_for=30, rate=4)


def ask(
    scene: Scene,
    prober: str = "a",
    *,
    breaker: hf.Breaker = STRIPE,
    tenant: Tenant = DEFAULT_TENANT,
    waits: bool = False,
) -> Any:
    """What a call is answered: a Ticket, or None."""
    [heard] = answer(scene.store, [Asked(tenant, breaker, prober, waits)])
    return heard.ticket


def tell(
    scene: Scene, ticket: Ticket, failed: bool | None, *, breaker: hf.Breaker = STRIPE, tenant: Tenant = DEFAULT_TENANT
) -> BreakerRow:
    """Say what came of a call; the breaker then."""
    answer(scene.store, [Told(tenant, breaker, ticket, failed)])
    return row(scene, tenant=tenant)


def row(scene: Scene, name: str = "stripe", tenant: Tenant = DEFAULT_TENANT) -> BreakerRow:
    """The breaker."""
    return scene.store.transact(tenant, lambda statements: find_breaker(statements, tenant, name), read_only=True)


def trip(scene: Scene, *, tenant: Tenant = DEFAULT_TENANT) -> BreakerRow:
    """Let the service fail until the breaker opens."""
    found = row(scene, tenant=tenant)
    for _ in range(STRIPE.failures):
        ticket = ask(scene, tenant=tenant)
        assert ticket is not None
        found = tell(scene, ticket, failed=True, tenant=tenant)
    assert found.state is BreakerState.OPEN
    return found


def breaker_wait(name: str = "stripe", key: str = "charge~breaker1", seq: int = 1) -> NewWait:
    """A wait for a breaker."""
    return NewWait(key=key, seq=seq, kind=WaitKind.BREAKER, signal=name)


def look(scene: Scene) -> list[RunId]:
    """End the waits that are due; whose."""
    due = scene.store.transact(None, list_due, read_only=True)
    return [
        run
        for one in due
        for run in scene.store.transact(one.tenant, lambda s, one=one: let_through(s, one))  # type: ignore[misc]
    ]


def waiting(scene: Scene, *runs: int) -> None:
    """These runs wait for the breaker."""
    for number in runs:
        scene.parked(number, breaker_wait())


def test_after_failures_within_the_window_no_call_is_made_until_the_time_to_try(scene: Scene) -> None:
    first = ask(scene)
    tell(scene, first, failed=True)
    scene.clock.advance(60_000)
    before = tell(scene, ask(scene), failed=True)
    scene.clock.advance(59_999)
    opened = tell(scene, ask(scene), failed=True)

    assert (before.state, len(before.failures)) == (BreakerState.CLOSED, 1)
    assert (opened.state, opened.opened_ms) == (BreakerState.OPEN, scene.clock.now_ms)
    assert opened.retry_ms == scene.clock.now_ms + 30_000
    assert ask(scene) is None
    scene.clock.advance(29_999)
    assert ask(scene) is None
    scene.clock.advance(1)
    assert ask(scene) == Ticket(term=opened.term + 1, probes=True)
    assert ask(scene, "b") is None


def test_a_breaker_is_of_one_tenant_alone_and_a_success_writes_nothing(scene: Scene) -> None:
    trip(scene)

    ticket = ask(scene, tenant=OTHER_TENANT)

    assert ticket == Ticket(term=0)
    assert tell(scene, ticket, failed=False, tenant=OTHER_TENANT).revision == 0
    assert scene.store.transact(None, lambda s: list_breakers(s, OTHER_TENANT), read_only=True) == []
    assert ask(scene, breaker=hf.Breaker("mail")) == Ticket(term=0)


def test_of_many_who_ask_to_try_at_the_same_time_one_does(scene: Scene) -> None:
    trip(scene)
    scene.clock.advance(30_000)
    together, answers = threading.Barrier(4), list[Ticket | None]()

    def call(prober: str) -> None:
        together.wait()
        answers.append(ask(scene, prober))

    threads = [threading.Thread(target=call, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([ticket for ticket in answers if ticket is not None]) == 1
    assert row(scene).state is BreakerState.HALF_OPEN


def test_failures_that_are_told_at_the_same_time_are_all_counted(scene: Scene) -> None:
    wide = hf.Breaker("stripe", failures=8)
    together = threading.Barrier(4)

    def call() -> None:
        together.wait()
        for _ in range(2):
            answer(scene.store, [Told(DEFAULT_TENANT, wide, Ticket(0), failed=True)])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (row(scene).state, len(row(scene).failures)) == (BreakerState.OPEN, 8)


def test_what_comes_of_a_call_that_began_before_it_opened_changes_nothing(scene: Scene) -> None:
    late = [ask(scene) for _ in range(3)]
    opened = trip(scene)

    assert tell(scene, late[0], failed=True) == opened
    assert tell(scene, late[1], failed=False) == opened
    scene.clock.advance(30_000)
    probe = ask(scene)
    trying = row(scene)
    assert tell(scene, late[2], failed=False) == trying
    assert tell(scene, late[0], failed=True) == trying
    closed = tell(scene, probe, failed=False)
    assert closed.state is BreakerState.CLOSED
    assert tell(scene, late[0], failed=True) == closed


def test_a_call_that_tries_and_fails_keeps_it_open_for_longer(scene: Scene) -> None:
    opened = trip(scene)
    lengths: list[int] = []
    for _ in range(5):
        scene.clock.advance(300_000)
        found = tell(scene, ask(scene), failed=True)
        assert (found.state, found.opened_ms) == (BreakerState.OPEN, opened.opened_ms)
        assert found.retry_ms is not None
        lengths.append(found.retry_ms - scene.clock.now_ms)

    assert lengths == [60_000, 120_000, 240_000, 300_000, 300_000]


def test_a_call_that_tries_and_is_heard_of_no_more_blocks_the_others_only_so_long(scene: Scene) -> None:
    trip(scene)
    scene.clock.advance(30_000)
    lost = ask(scene, "a")
    scene.clock.advance(59_999)
    assert ask(scene, "b") is None
    scene.clock.advance(1)

    second = ask(scene, "b")

    assert second is not None
    assert second.probes
    trying = row(scene)
    assert tell(scene, lost, failed=False) == trying
    assert tell(scene, lost, failed=True) == trying
    assert tell(scene, second, failed=False).state is BreakerState.CLOSED


def test_the_run_that_tried_and_lost_its_worker_tries_anew_at_once(scene: Scene) -> None:
    trip(scene)
    scene.clock.advance(30_000)
    lost = ask(scene, "a")

    again = ask(scene, "a")

    assert again is not None
    assert again.probes
    assert tell(scene, lost, failed=False).state is BreakerState.HALF_OPEN
    assert tell(scene, again, failed=False).state is BreakerState.CLOSED


def test_a_call_that_was_stopped_lets_the_next_one_try_at_once(scene: Scene) -> None:
    trip(scene)
    scene.clock.advance(30_000)

    assert tell(scene, ask(scene, "a"), failed=None).state is BreakerState.OPEN
    assert ask(scene, "b") is not None


def test_when_it_is_time_to_try_one_run_that_waits_is_woken_and_another_if_that_does_not_come(scene: Scene) -> None:
    trip(scene)
    waiting(scene, 1, 2, 3)
    scene.parked(4, signal_wait("stripe", 1, "stripe"))
    assert look(scene) == []
    scene.clock.advance(30_000)

    woken = [look(scene), look(scene)]
    for _ in range(3):
        scene.clock.advance(PROBER_MS)
        woken.append(look(scene))

    assert woken == [[run_id(1)], [], [run_id(2)], [run_id(3)], []]
    assert scene.place(run_id(1)) == (RunStatus.QUEUED, True)
    assert scene.run(run_id(1)).status_reason == "breaker_passed"
    assert scene.wait(run_id(1), "charge~breaker1").outcome is WaitOutcome.ELAPSED
    assert scene.detail(run_id(1)).transitions[-1].key == "charge~breaker1"
    assert scene.place(run_id(4)) == (RunStatus.WAITING, False)
    assert row(scene).next_ms is None


def test_each_time_it_is_another_runs_turn_to_try(scene: Scene) -> None:
    trip(scene)
    waiting(scene, 1, 2)
    turns: list[RunId] = []
    for number in range(4):
        scene.clock.advance(400_000)
        [woken] = look(scene)
        turns.append(woken)
        assert tell(scene, ask(scene), failed=True).state is BreakerState.OPEN
        [run] = scene.claim()
        scene.park(run, breaker_wait(key=f"charge~breaker{number + 2}", seq=number + 2))

    assert turns == [run_id(1), run_id(2), run_id(1), run_id(2)]


def test_once_it_has_closed_those_who_wait_go_on_few_at_first_and_never_more_than_its_rate(scene: Scene) -> None:
    trip(scene)
    waiting(scene, *range(1, 16))
    scene.clock.advance(30_000)
    tell(scene, ask(scene), failed=False)

    counts: list[int] = []
    for _ in range(8):
        counts.append(len(look(scene)))
        assert look(scene) == []
        scene.clock.advance(1000)

    assert counts == [1, 2, 4, 4, 4, 0, 0, 0]
    assert row(scene).next_ms is None
    assert all(scene.place(run_id(number)) == (RunStatus.QUEUED, True) for number in range(1, 16))


def test_once_it_has_closed_who_waits_goes_on_in_its_turn_and_who_comes_then_at_once(scene: Scene) -> None:
    trip(scene)
    waiting(scene, *range(1, 4))
    scene.clock.advance(30_000)
    closed = tell(scene, ask(scene), failed=False)

    assert ask(scene, "new") == Ticket(closed.term)
    assert ask(scene, "waits", waits=True) is None
    for count in (1, 2):
        assert len(look(scene)) == count
        scene.clock.advance(1000)
    assert ask(scene, "waits", waits=True) is None
    # Its wait was recorded while the last look was under way: there is one more.
    assert look(scene) == []
    scene.parked(9, breaker_wait())
    assert ask(scene, "later", waits=True) == Ticket(closed.term)
    scene.clock.advance(1000)
    assert look(scene) == [run_id(9)]
    for _ in range(2):
        scene.clock.advance(1000)
        assert look(scene) == []
    assert row(scene).next_ms is None


def test_if_it_opens_again_meanwhile_nobody_else_goes_on(scene: Scene) -> None:
    trip(scene)
    waiting(scene, *range(1, 16))
    scene.clock.advance(30_000)
    tell(scene, ask(scene), failed=False)
    assert len(look(scene)) == 1
    trip(scene)

    scene.clock.advance(29_000)

    assert look(scene) == []


def test_of_workers_that_look_at_the_same_breaker_one_ends_waits(scene: Scene) -> None:
    trip(scene)
    waiting(scene, 1, 2, 3)
    scene.clock.advance(30_000)
    [due] = scene.store.transact(None, list_due, read_only=True)

    ended = [scene.store.transact(DEFAULT_TENANT, lambda s: let_through(s, due)) for _ in range(2)]

    assert ended == [[run_id(1)], []]


def test_a_run_that_a_worker_holds_is_told_that_its_wait_has_ended(scene: Scene) -> None:
    trip(scene)
    run = scene.held(1)
    scene.accept(run, waits=[breaker_wait()])
    ear = Ear(scene)
    scene.clock.advance(30_000)

    assert look(scene) == [run.id]

    assert ear.hears(lambda hint: hint.live is None or run.id in hint.live)
    [update] = scene.store.read_live(ALICE, {run.id: ["charge~breaker1"]})
    assert [wait.outcome for wait in update.waits] == [WaitOutcome.ELAPSED]
    assert scene.run(run.id).status is RunStatus.RUNNING


def test_a_paused_run_stays_paused_and_keeps_nobody_from_trying(scene: Scene) -> None:
    trip(scene)
    waiting(scene, 1, 2)
    scene.order(run_id(1), Pause())
    scene.clock.advance(30_000)

    assert look(scene) == [run_id(1)]
    assert scene.place(run_id(1)) == (RunStatus.PAUSED, False)
    scene.clock.advance(PROBER_MS)
    assert look(scene) == [run_id(2)]


def test_the_agenda_names_when_to_look_next(scene: Scene) -> None:
    def next_ms() -> int | None:
        return scene.store.read_agenda(queues=["default"], codes=["order"]).next_breaker_ms

    assert next_ms() is None
    opened = trip(scene)
    assert next_ms() == opened.retry_ms
    scene.clock.advance(30_000)
    look(scene)
    assert next_ms() is None


def test_one_that_is_opened_by_hand_stays_so_until_it_is_closed_by_hand(scene: Scene) -> None:
    late = ask(scene)

    def by_hand(decide: Any, **given: Any) -> BreakerRow:
        found: BreakerRow = scene.store.transact(
            DEFAULT_TENANT, lambda s: decide(s, DEFAULT_TENANT, "stripe", actor="ann", note="they move house", **given)
        )
        return found

    opened = by_hand(write_open, for_ms=None)
    waiting(scene, 1)
    assert tell(scene, late, failed=False) == opened
    scene.clock.advance(10_000_000)
    assert ask(scene) is None
    assert look(scene) == []
    assert (opened.retry_ms, opened.actor, opened.note) == (None, "ann", "they move house")

    closed = by_hand(write_closed)

    assert (closed.state, by_hand(write_closed)) == (BreakerState.CLOSED, closed)
    assert look(scene) == [run_id(1)]
    assert ask(scene) == Ticket(closed.term)
    again = by_hand(write_open, for_ms=5_000)
    assert again.retry_ms == scene.clock.now_ms + 5_000
    scene.clock.advance(5_000)
    assert ask(scene) is not None


def test_who_waits_for_a_breaker_is_listed_and_is_told_why(scene: Scene) -> None:
    opened = trip(scene)
    waiting(scene, 1)
    scene.parked(2, breaker_wait("mail"))
    scene.parked(3, timer("nap", 1, 1000))
    scene.clock.advance(10_000)

    def listed(name: str | None) -> Sequence[RunId]:
        where = RunFilter(waiting_on=WaitingOn("breaker", name))
        page = scene.store.list_runs(DEFAULT_TENANT, where, limit=10, after=None)
        return sorted(run.id for run in page.runs)

    def reason(number: int) -> Any:
        [found] = [one for one in explain(scene.detail(run_id(number))).reasons if one.kind == "breaker"]
        return found

    assert listed("stripe") == [run_id(1)]
    assert listed(None) == [run_id(1), run_id(2)]
    assert reason(1).text == "charge: the breaker 'stripe' is open since 10 s ago, it tries again in 20 s"
    assert (reason(1).name, reason(1).since_ms, reason(1).until_ms) == ("stripe", opened.opened_ms, opened.retry_ms)
    scene.clock.advance(20_000)
    ask(scene, f"{run_id(9)} charge")
    assert reason(1).text.endswith(f"is open since 30 s ago, and run {run_id(9)} tries now")
    scene.store.transact(
        DEFAULT_TENANT, lambda s: write_open(s, DEFAULT_TENANT, "stripe", for_ms=None, actor="ann", note="no")
    )
    assert reason(1).text.endswith("by ann (no), until `holdfast breakers close stripe`")


def test_a_signal_of_a_breakers_name_ends_no_wait_for_it(scene: Scene) -> None:
    waiting(scene, 1)

    scene.store.send_signal(message(1, None, "stripe"))
    scene.store.send_signal(message(2, run_id(1), "stripe"))

    assert scene.wait(run_id(1), "charge~breaker1").outcome is None


def test_a_person_ends_the_wait_of_one_run(scene: Scene) -> None:
    waiting(scene, 1, 2)

    scene.order(run_id(1), Settle(key="charge~breaker1"))

    assert scene.wait(run_id(1), "charge~breaker1").outcome is WaitOutcome.ELAPSED
    assert scene.place(run_id(1)) == (RunStatus.QUEUED, True)
    assert scene.place(run_id(2)) == (RunStatus.WAITING, False)


def test_waits_of_another_tenants_runs_are_not_ended(scene: Scene) -> None:
    trip(scene)
    scene.store.start_runs([new_run(1, tenant=OTHER_TENANT)])
    [run] = scene.claim()
    scene.park(run, breaker_wait())
    scene.clock.advance(30_000)

    assert look(scene) == []
    assert row(scene).next_ms is None
