"""Schedules on every store: a slot starts one run, whoever looks at it and whatever happens in between."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from holdfast.core.codec import Codec
from holdfast.core.schedules import BURST, BURST_PAUSE_MS, LATE_MS, LOOK_MS, SLOT, fill_slot, plan, run_key
from holdfast.errors import QuotaExceeded, ScheduleExists, ScheduleNotFound
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant, UnixMs
from holdfast.model.run import Run, RunFilter
from holdfast.model.schedule import (
    CatchUp,
    Cron,
    Every,
    Overlap,
    ScheduleRow,
    ScheduleSpec,
    TickCause,
    TickOutcome,
    TickRow,
)
from holdfast.model.status import RunStatus
from holdfast.model.tenant import Everything, TenantPolicy
from holdfast.runtime.pins import Pins
from holdfast.runtime.scheduler import RETRY_MS, new_run, tick_once
from holdfast.store.port import Statements
from holdfast.store.schedules import (
    DUE_MAX,
    TICKS_KEPT,
    delete_schedule,
    find_schedule,
    list_due,
    list_schedules,
    list_ticks,
    pause_schedule,
    put_schedule,
    record_plan,
    resume_schedule,
    start_aside,
)
from holdfast.store.tenancy import write_policy
from tests.contract.conftest import Opener
from tests.contract.scene import INPUT, OTHER_TENANT, Scene
from tests.contract.stores import START_MS, ManualClock

pytestmark = pytest.mark.requirement("S-37", "promise-6")

MINUTE = 60_000
HOUR = 60 * MINUTE
EVERY_MINUTE = Every(every_ms=MINUTE)
FIRST = UnixMs((START_MS // MINUTE + 1) * MINUTE)


def put(scene: Scene, name: str = "report", *, tenant: Tenant = DEFAULT_TENANT, **given: Any) -> ScheduleRow:
    base: dict[str, Any] = {"timing": EVERY_MINUTE, "workflow": "order", "overlap": Overlap.ALLOW}
    spec = ScheduleSpec(**{**base, **given})
    return scene.store.transact(tenant, lambda s: put_schedule(s, tenant, name, spec, payload=INPUT))


def find(scene: Scene, name: str = "report", tenant: Tenant = DEFAULT_TENANT) -> ScheduleRow:
    return scene.store.transact(tenant, lambda s: find_schedule(s, tenant, name))


def history(scene: Scene, name: str = "report", limit: int = 1_000) -> list[TickRow]:
    """Oldest first."""
    found = scene.store.transact(
        DEFAULT_TENANT, lambda s: list_ticks(s, DEFAULT_TENANT, name, limit=limit), read_only=True
    )
    return found[::-1]


def tick(scene: Scene) -> bool:
    return tick_once(scene.store, Pins(scene.store), random=lambda: 0.0)


def tick_at(scene: Scene, at_ms: int) -> None:
    scene.clock.now_ms = UnixMs(at_ms)
    tick(scene)


def runs(scene: Scene, tenant: Tenant = DEFAULT_TENANT) -> list[Run]:
    """By slot."""
    found = scene.store.list_runs(tenant, RunFilter(), limit=1_000, after=None).runs
    return sorted(found, key=lambda run: str(run.attributes["slot"]))


def slots(scene: Scene) -> list[int]:
    """The slots of the runs that were started."""
    found = [run.attributes["slot"] for run in runs(scene)]
    return [int(slot.timestamp() * 1000) for slot in found if isinstance(slot, datetime)]


def outcomes(scene: Scene) -> list[tuple[str, int, int, int | None]]:
    """What came of the slots: outcome, first, last and count, in minutes from the first slot on."""
    return [
        (one.outcome.value, (one.slot_ms - FIRST) // MINUTE, (one.until_ms - FIRST) // MINUTE, one.slots)
        for one in history(scene)
    ]


def end(scene: Scene, *run_ids: RunId) -> None:
    for run in scene.claim():
        assert not run_ids or run.id in run_ids
        scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed"))


# --- A slot's run ------------------------------------------------------------------------------------------------


def test_a_slot_starts_a_run_that_carries_schedule_and_slot(scene: Scene) -> None:
    row = put(scene, queue="reports", priority=7, timeout_ms=5_000, attributes={"region": "eu"})
    assert (row.next_ms, row.due_ms) == (FIRST, FIRST)

    tick_at(scene, FIRST + 3)

    [run] = runs(scene)
    slot = datetime.fromtimestamp(FIRST / 1000, UTC)
    assert run.attributes == {"region": "eu", "schedule": "report", "slot": slot}
    assert (run.workflow, run.queue, run.priority, run.input) == ("order", "reports", 7, INPUT)
    assert run.deadline_ms == FIRST + 3 + 5_000
    assert run.key == f"schedule:report:{slot:%Y-%m-%dT%H:%M:%SZ}"
    [entry] = history(scene)
    assert (entry.slot_ms, entry.outcome, entry.run_id, entry.at_ms) == (FIRST, TickOutcome.STARTED, run.id, FIRST + 3)
    assert find(scene).next_ms == FIRST + MINUTE


def test_a_slot_never_comes_early(scene: Scene) -> None:
    put(scene)

    tick_at(scene, FIRST - 1)

    assert runs(scene) == []
    assert history(scene) == []


def test_a_slot_starts_one_run_however_often_it_is_looked_at(scene: Scene) -> None:
    put(scene)
    for _ in range(3):
        tick_at(scene, FIRST)

    assert slots(scene) == [FIRST]


def test_of_two_that_decide_about_the_same_slot_one_does_it(scene: Scene) -> None:
    put(scene)
    scene.clock.now_ms = FIRST
    [row] = scene.store.transact(None, list_due)
    assert isinstance(row, ScheduleRow)
    decided = plan(row, FIRST, under_way=False)
    starts = [new_run(row, None, FIRST)]

    first = scene.store.transact(DEFAULT_TENANT, lambda s: record_plan(s, row, decided, starts))
    second = scene.store.transact(DEFAULT_TENANT, lambda s: record_plan(s, row, decided, starts))

    assert first is not None
    assert first[0].created
    assert second is None
    assert slots(scene) == [FIRST]
    assert len(history(scene)) == 1


def test_what_was_decided_before_a_schedule_was_changed_is_not_done(scene: Scene) -> None:
    put(scene)
    scene.clock.now_ms = FIRST
    [row] = scene.store.transact(None, list_due)
    assert isinstance(row, ScheduleRow)
    decided = plan(row, FIRST, under_way=False)

    scene.store.transact(DEFAULT_TENANT, lambda s: pause_schedule(s, DEFAULT_TENANT, "report", actor="ann", note=""))
    done = scene.store.transact(DEFAULT_TENANT, lambda s: record_plan(s, row, decided, [new_run(row, None, FIRST)]))

    assert done is None
    assert runs(scene) == []


def test_many_schedulers_at_once_start_each_slot_once(scene: Scene) -> None:
    for number in range(5):
        put(scene, f"report-{number}")
    scene.clock.now_ms = FIRST
    pins = Pins(scene.store)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(tick_once, scene.store, pins, random=lambda: 0.5) for _ in range(8)]:
            done.result()

    assert sorted(str(run.attributes["schedule"]) for run in runs(scene)) == [f"report-{n}" for n in range(5)]


def test_the_start_and_the_move_are_one_transaction(scene: Scene) -> None:
    put(scene)
    scene.clock.now_ms = FIRST
    [row] = scene.store.transact(None, list_due)
    assert isinstance(row, ScheduleRow)
    decided = plan(row, FIRST, under_way=False)

    def fail(statements: Statements) -> None:
        record_plan(statements, row, decided, [new_run(row, None, FIRST)])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scene.store.transact(DEFAULT_TENANT, fail)

    assert runs(scene) == []
    assert find(scene).next_ms == FIRST
    assert history(scene) == []
    tick(scene)
    assert slots(scene) == [FIRST]


def test_the_agenda_names_the_next_tick_and_the_start_is_told(scene: Scene) -> None:
    heard: list[bool] = []
    scene.store.hints.subscribe(lambda hint: heard.append(hint.work))
    assert scene.store.read_agenda(queues=["default"], codes=["order"]).next_tick_ms is None
    put(scene)
    put(scene, "later", timing=Every(every_ms=HOUR))

    assert scene.store.read_agenda(queues=["default"], codes=["order"]).next_tick_ms == FIRST
    heard.clear()
    tick_at(scene, FIRST)

    assert True in heard
    assert scene.store.read_agenda(queues=["default"], codes=["order"]).next_tick_ms == FIRST + MINUTE


def test_a_run_that_is_there_already_is_not_started_again(scene: Scene) -> None:
    row = put(scene)
    scene.store.start_runs([new_run(row, None, FIRST)])

    tick_at(scene, FIRST)

    assert slots(scene) == [FIRST]
    assert find(scene).next_ms == FIRST + MINUTE


def test_a_jitter_delays_each_slot_by_its_own_and_keeps_the_slot(scene: Scene) -> None:
    row = put(scene, jitter_ms=40_000)
    assert row.due_ms is not None
    assert row.next_ms == FIRST
    delays: set[int] = set()
    for number in range(5):
        due_ms = find(scene).due_ms
        assert due_ms is not None
        delays.add(due_ms - FIRST - number * MINUTE)
        tick_at(scene, due_ms - 1)
        assert len(runs(scene)) == number
        tick_at(scene, due_ms)

    assert slots(scene) == [FIRST + number * MINUTE for number in range(5)]
    assert len(delays) > 1
    assert all(0 <= delay <= 40_000 for delay in delays)


# --- Overlap -----------------------------------------------------------------------------------------------------


def test_a_slot_is_skipped_while_a_run_is_under_way(scene: Scene) -> None:
    put(scene, overlap=Overlap.SKIP)
    for minute in range(3):
        tick_at(scene, FIRST + minute * MINUTE)
    end(scene)
    tick_at(scene, FIRST + 3 * MINUTE)

    assert slots(scene) == [FIRST, FIRST + 3 * MINUTE]
    assert outcomes(scene) == [("started", 0, 0, 1), ("skipped", 1, 1, 1), ("skipped", 2, 2, 1), ("started", 3, 3, 1)]


def test_one_slot_waits_for_the_end_of_the_run_and_others_do_not(scene: Scene) -> None:
    put(scene, overlap=Overlap.QUEUE)
    for minute in range(3):
        tick_at(scene, FIRST + minute * MINUTE)
    row = find(scene)
    assert row.queued_ms == FIRST + MINUTE
    assert row.due_ms == scene.clock.now_ms + LOOK_MS

    tick_at(scene, FIRST + 2 * MINUTE + LOOK_MS)
    assert len(runs(scene)) == 1
    end(scene)
    tick_at(scene, FIRST + 2 * MINUTE + 2 * LOOK_MS)

    assert slots(scene) == [FIRST, FIRST + MINUTE]
    assert outcomes(scene) == [("started", 0, 0, 1), ("queued", 1, 1, 1), ("skipped", 2, 2, 1), ("started", 1, 1, 1)]
    assert find(scene).due_ms == FIRST + 3 * MINUTE


def test_runs_may_overlap_if_they_are_allowed_to(scene: Scene) -> None:
    put(scene, overlap=Overlap.ALLOW)
    for minute in range(3):
        tick_at(scene, FIRST + minute * MINUTE)

    assert len(runs(scene)) == 3


# --- Catching up -------------------------------------------------------------------------------------------------

DOWN = 180


@pytest.mark.parametrize("catch_up", CatchUp)
def test_of_the_slots_of_three_hours_without_a_scheduler_the_policy_decides(scene: Scene, catch_up: CatchUp) -> None:
    put(scene, catch_up=catch_up)
    back_ms = FIRST + (DOWN - 1) * MINUTE + MINUTE // 2 + LATE_MS

    tick_at(scene, back_ms)
    bursts = 1
    while (due_ms := find(scene).due_ms) is not None and due_ms <= back_ms + 10_000:
        tick_at(scene, due_ms)
        bursts += 1

    minutes = [(slot - FIRST) // MINUTE for slot in slots(scene)]
    match catch_up:
        case CatchUp.ALL:
            assert minutes == list(range(DOWN + 1))
            assert bursts == 2
            assert back_ms + BURST_PAUSE_MS == scene.clock.now_ms
        case CatchUp.ONE:
            assert minutes == [DOWN]
            assert outcomes(scene) == [("missed", 0, DOWN - 1, DOWN), ("started", DOWN, DOWN, 1)]
        case CatchUp.NONE:
            # The newest one is on time.
            assert minutes == [DOWN]
            assert outcomes(scene)[0] == ("missed", 0, DOWN - 1, DOWN)
    assert find(scene).next_ms == FIRST + (DOWN + 1) * MINUTE


def test_none_is_caught_up_with_if_none_is_wanted(scene: Scene) -> None:
    put(scene, timing=Every(every_ms=HOUR), catch_up=CatchUp.NONE)
    first = UnixMs((START_MS // HOUR + 1) * HOUR)

    tick_at(scene, first + LATE_MS + 1)

    assert runs(scene) == []
    [missed] = history(scene)
    assert (missed.outcome, missed.slot_ms, missed.run_id) == (TickOutcome.MISSED, first, None)
    assert find(scene).next_ms == first + HOUR


def test_a_burst_is_bounded(scene: Scene) -> None:
    put(scene, catch_up=CatchUp.ALL)

    tick_at(scene, FIRST + 500 * MINUTE)

    assert len(runs(scene)) == BURST


@pytest.mark.parametrize("catch_up", [CatchUp.ALL, CatchUp.ONE])
def test_the_window_bounds_how_far_back_it_is_caught_up(scene: Scene, catch_up: CatchUp) -> None:
    put(scene, catch_up=catch_up, window_ms=10 * MINUTE, timing=Every(every_ms=5 * MINUTE))
    first = UnixMs((START_MS // (5 * MINUTE) + 1) * 5 * MINUTE)

    tick_at(scene, first + 60 * MINUTE + 2 * MINUTE)

    expected = {CatchUp.ALL: [first + 55 * MINUTE, first + 60 * MINUTE], CatchUp.ONE: [first + 60 * MINUTE]}
    assert slots(scene) == expected[catch_up]
    missed = history(scene)[0]
    assert (missed.outcome, missed.slots) == (TickOutcome.MISSED, 13 - len(expected[catch_up]))


def test_years_without_a_scheduler_cost_no_more_than_hours(scene: Scene) -> None:
    put(scene, timing=Every(every_ms=1_000))

    tick_at(scene, START_MS + 10 * 365 * 24 * HOUR)

    assert len(runs(scene)) == 1
    missed = history(scene)[0]
    assert (missed.outcome, missed.slots) == (TickOutcome.MISSED, None)


def test_slots_that_are_skipped_in_a_row_are_one_entry(scene: Scene) -> None:
    put(scene, overlap=Overlap.SKIP, catch_up=CatchUp.ALL)

    tick_at(scene, FIRST + 50 * MINUTE)

    assert outcomes(scene) == [("started", 0, 0, 1), ("skipped", 1, 50, 50)]


# --- Changes -----------------------------------------------------------------------------------------------------


def test_putting_it_again_changes_nothing_and_another_time_begins_after_now(scene: Scene) -> None:
    put(scene)
    scene.clock.advance(1_000)
    assert put(scene).next_ms == FIRST
    assert put(scene, priority=3).next_ms == FIRST

    changed = put(scene, timing=Cron(expression="0 0 1 1 *", timezone="Europe/Berlin"))

    assert changed.next_ms is not None
    assert datetime.fromtimestamp(changed.next_ms / 1000, UTC) == datetime(2023, 12, 31, 23, 0, tzinfo=UTC)


def test_a_new_one_does_not_take_the_place_of_another(scene: Scene) -> None:
    put(scene)
    spec = ScheduleSpec(timing=EVERY_MINUTE, workflow="ship")

    def create(statements: Statements) -> ScheduleRow:
        return put_schedule(statements, DEFAULT_TENANT, "report", spec, payload=INPUT, must_be_new=True)

    with pytest.raises(ScheduleExists):
        scene.store.transact(DEFAULT_TENANT, create)

    assert find(scene).spec.workflow == "order"


def test_while_it_is_paused_no_slot_comes_and_none_is_caught_up(scene: Scene) -> None:
    put(scene, catch_up=CatchUp.ALL)
    paused = scene.store.transact(
        DEFAULT_TENANT, lambda s: pause_schedule(s, DEFAULT_TENANT, "report", actor="ann", note="moving")
    )
    assert (paused.next_ms, paused.due_ms, paused.actor, paused.note) == (None, None, "ann", "moving")
    assert put(scene, priority=1).due_ms is None

    tick_at(scene, FIRST + 10 * MINUTE)
    scene.clock.advance(1)
    resumed = scene.store.transact(DEFAULT_TENANT, lambda s: resume_schedule(s, DEFAULT_TENANT, "report", actor="ann"))
    tick_at(scene, FIRST + 11 * MINUTE)

    assert resumed.paused_ms is None
    assert slots(scene) == [FIRST + 11 * MINUTE]


def test_a_slot_that_waits_is_given_up_by_a_pause(scene: Scene) -> None:
    put(scene, overlap=Overlap.QUEUE)
    for minute in range(2):
        tick_at(scene, FIRST + minute * MINUTE)

    scene.store.transact(DEFAULT_TENANT, lambda s: pause_schedule(s, DEFAULT_TENANT, "report", actor="", note=""))

    assert outcomes(scene)[-1] == ("skipped", 1, 1, 1)
    assert find(scene).queued_ms is None


def test_a_deleted_one_takes_its_history_along_and_leaves_its_runs(scene: Scene) -> None:
    put(scene)
    tick_at(scene, FIRST)

    gone = [scene.store.transact(DEFAULT_TENANT, lambda s: delete_schedule(s, DEFAULT_TENANT, "report")) for _ in "ab"]

    assert gone == [True, False]
    assert len(runs(scene)) == 1
    with pytest.raises(ScheduleNotFound):
        history(scene)
    put(scene)
    assert history(scene) == []


def test_runs_that_are_started_aside_leave_the_next_slot_alone_and_have_their_place_in_the_history(
    scene: Scene,
) -> None:
    row = put(scene)
    past = UnixMs(FIRST - 5 * MINUTE)

    def aside(cause: TickCause, slot_ms: UnixMs) -> list[bool]:
        made = {slot_ms: new_run(row, None, slot_ms, cause=cause, request_id="once")}
        done = scene.store.transact(DEFAULT_TENANT, lambda s: start_aside(s, DEFAULT_TENANT, "report", made, cause))
        return [one.created for one in done]

    assert aside(TickCause.TRIGGER, scene.clock.now_ms) == [True]
    assert aside(TickCause.TRIGGER, UnixMs(scene.clock.now_ms + 5)) == [False]
    assert aside(TickCause.BACKFILL, past) == [True]
    assert aside(TickCause.BACKFILL, past) == [False]
    assert [(one.cause.value, one.slot_ms) for one in history(scene)] == [("trigger", START_MS), ("backfill", past)]
    assert find(scene).next_ms == FIRST


def test_a_slot_whose_zone_has_changed_its_mind_is_planned_anew(scene: Scene) -> None:
    put(scene, timing=Cron(expression="0 12 * * *", timezone="Europe/Berlin"))
    row = find(scene)
    assert row.next_ms is not None
    # Recorded under other rules, an hour too early.
    early = UnixMs(row.next_ms - HOUR)
    stale = structs.replace(row, next_ms=early, due_ms=early)

    decided = plan(stale, early, under_way=False)

    assert decided.ticks == ()
    assert (decided.next_ms, decided.due_ms) == (row.next_ms, row.next_ms)


# --- Trouble -----------------------------------------------------------------------------------------------------


def test_a_schedule_that_cannot_start_its_run_says_why_and_is_in_nobodys_way(scene: Scene) -> None:
    policy = TenantPolicy(tenant=OTHER_TENANT, queued_max=0)
    scene.store.transact(None, lambda s: write_policy(s, policy))
    put(scene, tenant=OTHER_TENANT, catch_up=CatchUp.ALL)
    put(scene, "zz")

    tick_at(scene, FIRST)

    assert slots(scene) == [FIRST]
    row = find(scene, tenant=OTHER_TENANT)
    assert "queued" in row.problem
    assert (row.next_ms, row.due_ms) == (FIRST, FIRST + RETRY_MS)
    assert runs(scene, OTHER_TENANT) == []

    scene.store.transact(None, lambda s: write_policy(s, TenantPolicy(tenant=OTHER_TENANT)))
    tick_at(scene, FIRST + RETRY_MS)
    assert len(runs(scene, OTHER_TENANT)) == 1
    assert find(scene, tenant=OTHER_TENANT).problem == ""


def test_a_trigger_asks_for_the_quota_and_starts_nothing_beyond_it(scene: Scene) -> None:
    scene.store.transact(None, lambda s: write_policy(s, TenantPolicy(tenant=DEFAULT_TENANT, queued_max=0)))
    row = put(scene)
    made = {FIRST: new_run(row, None, FIRST)}

    with pytest.raises(QuotaExceeded):
        scene.store.transact(
            DEFAULT_TENANT, lambda s: start_aside(s, DEFAULT_TENANT, "report", made, TickCause.BACKFILL)
        )

    assert runs(scene) == []
    assert history(scene) == []


def test_the_newest_entries_of_a_history_are_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.store.schedules.TICKS_KEPT", 5)
    put(scene)
    for minute in range(8):
        tick_at(scene, FIRST + minute * MINUTE)

    assert [one.number for one in history(scene)] == [4, 5, 6, 7, 8]
    assert TICKS_KEPT == 1_000


@pytest.mark.requirement("promise-10")
def test_a_tenant_sees_and_erases_its_own_schedules_only(scene: Scene) -> None:
    put(scene)
    put(scene, tenant=OTHER_TENANT)
    tick_at(scene, FIRST)

    mine = scene.store.transact(DEFAULT_TENANT, lambda s: list_schedules(s, DEFAULT_TENANT, limit=10, after=""))
    assert [row.tenant for row in mine] == [DEFAULT_TENANT]
    while scene.store.prune(Everything(OTHER_TENANT), limit=100):
        pass

    with pytest.raises(ScheduleNotFound):
        find(scene, tenant=OTHER_TENANT)
    assert len(history(scene)) == 1


def test_more_that_are_due_than_are_looked_at_together_are_all_started(scene: Scene) -> None:
    for number in range(DUE_MAX + 1):
        put(scene, f"report-{number}")
    scene.clock.now_ms = FIRST

    more = [tick(scene), tick(scene)]

    assert more == [True, False]
    assert len(runs(scene)) == DUE_MAX + 1


def test_the_slot_is_given_to_the_run_in_the_place_that_was_left_for_it() -> None:
    codec = Codec()
    call = codec.encode_arguments((SLOT, 1.10, {"a": [SLOT]}), {"at": SLOT}, "a call")

    filled = fill_slot(call, FIRST)

    assert filled == (
        b'{"value":{"args":["2023-11-14T22:14:00Z",1.1,{"a":[{"holdfast.slot":true}]}],'
        b'"kwargs":{"at":"2023-11-14T22:14:00Z"}}}'
    )
    assert fill_slot(INPUT, FIRST) == INPUT


def test_every_slot_has_a_key_of_its_own() -> None:
    keys = {run_key("a", TickCause.SLOT, UnixMs(slot)) for slot in (FIRST, FIRST + 1, FIRST + 1_000)}

    assert len(keys) == 3
    assert run_key("a", TickCause.SLOT, FIRST) == run_key("a", TickCause.BACKFILL, FIRST)


@pytest.mark.requirement("promise-10")
def test_behind_a_wall_each_tenants_slots_are_started_and_its_schedules_are_its_own(open_store: Opener) -> None:
    with open_store("walled", ManualClock()) as opened:
        scene = Scene(opened)
        put(scene)
        put(scene, tenant=OTHER_TENANT, overlap=Overlap.SKIP)

        tick_at(scene, FIRST)
        tick_at(scene, FIRST + MINUTE)

        assert [len(runs(scene, tenant)) for tenant in (DEFAULT_TENANT, OTHER_TENANT)] == [2, 1]
        theirs = scene.store.transact(OTHER_TENANT, lambda s: list_schedules(s, DEFAULT_TENANT, limit=10, after=""))
        assert theirs == []
