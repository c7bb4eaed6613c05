from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.errors import RunNotFound, UsageError
from holdfast.model.command import Change, Pause
from holdfast.model.commit import Finish
from holdfast.model.event import Event, EventFilter, EventKind, EventPage
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs
from holdfast.model.run import ClaimedRun
from holdfast.model.status import EntryStatus, RunStatus
from holdfast.model.tenant import Ended, Everything
from tests.contract.scene import OTHER_TENANT, RESULT, Scene, entry, message, new_run, run_id, signal_wait
from tests.contract.test_hints import Ear

DONE = Finish(RunStatus.COMPLETED, "completed", result=RESULT)
BOTH = frozenset({EventKind.TRANSITION, EventKind.RECORD})


def page(
    scene: Scene, after: str | None = None, *, limit: int = 100, tenant: Tenant = DEFAULT_TENANT, **where: Any
) -> EventPage:
    return scene.store.read_events(tenant, EventFilter(**where), after=after, limit=limit)


def settled(scene: Scene, after: str | None = None, **given: Any) -> EventPage:
    """A page that was read when no transaction was open any more: whatever else uses the server may hold one."""
    for _ in range(6_000):
        found = page(scene, after, **given)
        if not found.settling:
            return found
        threading.Event().wait(0.01)
    raise AssertionError("a transaction stays open")


def reasons(events: list[Event], of: RunId | None = None) -> list[str]:
    return [event.reason for event in events if of in (None, event.run_id)]


def finish(scene: Scene, run: ClaimedRun, *keys: str) -> None:
    scene.accept(run, entries=[entry(run, key, seq) for seq, key in enumerate(keys, 1)], move=DONE)


@pytest.mark.requirement("R-20", "R-22")
def test_the_events_of_a_run_are_its_transitions_from_the_first_one_on(scene: Scene) -> None:
    run = scene.held(1)
    scene.park(run, signal_wait("w", 1))
    scene.cancel(run.id, actor="ann", note="mistake")

    found = page(scene, run_id=run.id)

    assert [(one.seq, one.reason, one.from_status, one.status) for one in found.events] == [
        (1, "started", None, "queued"),
        (2, "claimed", "queued", "running"),
        (3, "waiting", "running", "waiting"),
        (4, "cancelled", "waiting", "cancelled"),
    ]
    assert (found.events[3].actor, found.events[3].note, found.events[0].workflow) == ("ann", "mistake", "order")
    assert (found.more, found.ended) == (False, True)


@pytest.mark.requirement("R-21")
def test_records_come_where_they_were_made_and_hold_no_payload(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "charge", 1, attempts=2, completed_ms=scene.clock())])
    failed = entry(run, "ship", 2, status=EntryStatus.FAILED, completed_ms=UnixMs(scene.clock() + 60_000))
    scene.accept(run, entries=[failed], move=DONE)

    found = page(scene, run_id=run.id, kinds=BOTH)

    assert [(one.kind, one.reason, one.key) for one in found.events] == [
        ("transition", "started", None),
        ("transition", "claimed", None),
        ("record", "step", "charge"),
        ("record", "step", "ship"),
        ("transition", "completed", None),
    ]
    charge, ship = (one for one in found.events if one.kind is EventKind.RECORD)
    assert (charge.seq, charge.outcome, charge.attempts, ship.outcome) == (1, "completed", 2, "failed")
    assert "paid" not in str(found)


@pytest.mark.requirement("R-21")
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_any_cursor_of_a_run_goes_on_behind_its_event(scene: Scene, limit: int) -> None:
    run = scene.held(1)
    finish(scene, run, "a", "b", "c")
    whole = page(scene, run_id=run.id, kinds=BOTH).events
    assert len(whole) == 6

    for number, event in enumerate(whole):
        rest: list[Event] = []
        after, more = event.cursor, True
        while more:
            found = page(scene, after, run_id=run.id, kinds=BOTH, limit=limit)
            rest += found.events
            after, more = found.next, found.more
        assert rest == whole[number + 1 :]


def test_a_run_that_goes_on_has_not_ended_and_tells_only_what_is_new(scene: Scene) -> None:
    run = scene.held(1)
    first = page(scene, run_id=run.id)

    assert not first.ended
    assert page(scene, first.next, run_id=run.id) == EventPage(events=[], next=first.next)
    finish(scene, run)

    second = page(scene, first.next, run_id=run.id)
    assert (reasons(second.events), second.ended) == (["completed"], True)


@pytest.mark.requirement("R-20", "R-21")
def test_the_events_of_a_tenant_are_those_of_all_its_runs_and_of_no_other_tenants(scene: Scene) -> None:
    mine, other = scene.held(1), scene.held(2, tenant=OTHER_TENANT)
    finish(scene, other)
    finish(scene, mine)

    found = settled(scene)
    others = settled(scene, tenant=OTHER_TENANT)

    assert {one.run_id for one in found.events} == {mine.id}
    assert {one.run_id for one in others.events} == {other.id}
    assert reasons(found.events) == reasons(others.events) == ["started", "claimed", "completed"]
    assert not found.ended


@pytest.mark.requirement("R-20")
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_any_cursor_of_a_tenant_goes_on_behind_its_event(scene: Scene, limit: int) -> None:
    tenants = [OTHER_TENANT if number % 3 == 0 else DEFAULT_TENANT for number in range(9)]
    scene.store.start_runs([new_run(number, tenant=tenant) for number, tenant in enumerate(tenants)])
    for run in scene.claim():
        finish(scene, run)
    whole = settled(scene).events
    assert len(whole) == 18

    for number, event in enumerate(whole):
        rest: list[Event] = []
        after, more = event.cursor, True
        while more:
            found = page(scene, after, limit=limit)
            rest += found.events
            after, more = found.next, found.more
        assert [one.cursor for one in rest] == [one.cursor for one in whole[number + 1 :]]


def test_a_page_of_a_tenant_goes_past_what_others_did(scene: Scene) -> None:
    scene.store.start_runs([new_run(number, tenant=OTHER_TENANT) for number in range(10)])
    scene.start(20)

    found: list[Event] = []
    after: str | None = None
    for _ in range(12):
        part = page(scene, after, limit=1)
        found += part.events
        after = part.next
        if not part.more:
            break

    assert [one.run_id for one in found] == [run_id(20)]


def test_events_are_filtered_by_reason_status_workflow_key_and_time(scene: Scene) -> None:
    run = scene.parked(1, signal_wait("ok", 1))
    scene.start(2, workflow="ship")
    scene.clock.advance(1_000)
    noon = scene.clock()
    scene.store.send_signal(message(1, run.id))
    end = next(again for again in scene.claim() if again.id == run.id)
    finish(scene, end)

    def told(**where: Any) -> list[str]:
        return reasons(settled(scene, **where).events, run.id)

    assert told(reasons=frozenset({"claimed"})) == ["claimed", "claimed"]
    assert told(without=frozenset({"claimed", "started"})) == ["waiting", "signalled", "completed"]
    assert told(statuses=frozenset({RunStatus.WAITING, RunStatus.COMPLETED})) == ["waiting", "completed"]
    assert told(key="ok") == ["signalled"]
    assert told(workflow="ship") == []
    assert told(from_ms=noon) == ["signalled", "claimed", "completed"]
    assert told(before_ms=noon) == ["started", "claimed", "waiting"]
    assert told(run_id=run.id, from_ms=noon) == ["signalled", "claimed", "completed"]


def test_history_may_begin_at_a_time(scene: Scene) -> None:
    for number in range(30):
        scene.start(number)
        scene.clock.advance(60_000)
    late = UnixMs(scene.clock() - 5 * 60_000)

    for since, numbers in ((late, range(25, 30)), (UnixMs(0), range(30)), (scene.clock(), range(0))):
        found = settled(scene, from_ms=since)
        assert [one.run_id for one in found.events] == [run_id(number) for number in numbers]


@pytest.mark.requirement("promise-10")
def test_another_tenants_run_has_no_events(scene: Scene) -> None:
    scene.held(1)

    for tenant, number in ((OTHER_TENANT, 1), (DEFAULT_TENANT, 2)):
        with pytest.raises(RunNotFound):
            page(scene, tenant=tenant, run_id=run_id(number))


@pytest.mark.parametrize("after", ["", "nonsense", "e30", "Ww" * 9000])
def test_a_cursor_that_nobody_gave_out_is_refused(scene: Scene, after: str) -> None:
    run = scene.held(1)
    with pytest.raises(UsageError):
        page(scene, after)
    with pytest.raises(UsageError):
        page(scene, after, run_id=run.id)


def test_a_cursor_belongs_to_its_run_or_to_all(scene: Scene) -> None:
    one, two = scene.held(1), scene.held(2)
    of_one = page(scene, run_id=one.id).events[0].cursor
    of_all = settled(scene).events[0].cursor

    for after, of in ((of_one, two.id), (of_one, None), (of_all, one.id)):
        with pytest.raises(UsageError, match="another run"):
            page(scene, after, run_id=of)


def test_records_are_told_of_one_run_only(scene: Scene) -> None:
    with pytest.raises(UsageError, match="name it"):
        page(scene, kinds=BOTH)


def test_a_reader_that_deletion_overtook_is_told_of_the_gap_once(scene: Scene) -> None:
    gone, kept = scene.held(1), scene.held(2)
    slow = settled(scene, limit=1).events[0].cursor
    finish(scene, gone)
    up_to_date = settled(scene).next
    scene.clock.advance(10)
    scene.store.prune(Ended(DEFAULT_TENANT, UnixMs(scene.clock())), limit=10)
    finish(scene, kept)

    found = settled(scene, slow)

    assert [one.kind for one in found.events[:1]] == [EventKind.GAP]
    assert {one.run_id for one in found.events[1:]} == {kept.id}
    assert EventKind.GAP not in {one.kind for one in settled(scene, found.events[0].cursor).events}
    assert EventKind.GAP not in {one.kind for one in settled(scene, found.events[-1].cursor).events}
    assert reasons(settled(scene, up_to_date).events) == ["completed"]
    assert EventKind.GAP not in {one.kind for one in settled(scene).events}
    with pytest.raises(RunNotFound):
        page(scene, run_id=gone.id)


def test_positions_are_never_used_twice(scene: Scene) -> None:
    run = scene.held(1)
    finish(scene, run)
    after = settled(scene).next
    scene.store.prune(Everything(DEFAULT_TENANT), limit=10)

    scene.start(2)

    assert reasons(settled(scene, after).events) == ["started"]


def test_what_a_rolled_back_transaction_did_is_no_event(scene: Scene) -> None:
    def start_and_fail() -> None:
        with scene.opened.transaction() as connection:
            scene.store.start_runs_in(connection, [new_run(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_fail()
    scene.start(2)

    assert [one.run_id for one in settled(scene).events] == [run_id(2)]


def test_a_transaction_that_commits_late_is_not_missed(scene: Scene) -> None:
    if scene.opened.kind != "postgres":
        return  # one writer: nobody can begin before another and commit after it
    seen: list[RunId | None] = []
    with scene.opened.transaction() as connection:
        scene.store.start_runs_in(connection, [new_run(1)])
        scene.start(2)
        early = page(scene)
        seen += [one.run_id for one in early.events]
        assert early.settling
    late = settled(scene, early.next)

    assert sorted(map(str, [*seen, *(one.run_id for one in late.events)])) == [run_id(1), run_id(2)]


def test_a_watched_run_is_heard_of_whatever_it_does(scene: Scene) -> None:
    run, other = scene.held(1), scene.held(2)
    ear = Ear(scene)
    stop = scene.store.hints.watch(run.id)

    scene.accept(run, entries=[entry(run, "a", 1)])
    assert ear.hears(lambda hint: hint.moved is None or run.id in hint.moved)
    stop()
    stop()
    ear = Ear(scene)
    scene.accept(other, entries=[entry(other, "a", 1)])
    finish(scene, run)
    assert ear.hears(lambda hint: hint.ended is None or run.id in hint.ended)
    assert not ear.heard(lambda hint: hint.moved != () and not hint.work)


def test_whoever_watches_all_runs_hears_of_claims_too(scene: Scene) -> None:
    scene.start(1)
    scene.register()
    ear = Ear(scene)
    stop = scene.store.hints.watch(None)

    [run] = scene.claim_only(scene.register()).runs

    assert ear.hears(lambda hint: hint.moved is None or run.id in hint.moved)
    stop()


def test_commands_are_events(scene: Scene) -> None:
    run = scene.start(1)
    scene.order(run, Change(priority=5))
    scene.order(run, Pause())

    assert reasons(page(scene, run_id=run).events) == ["started", "changed", "paused"]
