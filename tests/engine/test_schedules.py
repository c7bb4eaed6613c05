"""Schedules as programs write them, started by workers, over each store."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.sync import SyncClient
from holdfast.errors import DuplicateName, ScheduleExists, ScheduleNotFound, UsageError, WorkflowNotRegistered
from holdfast.model.schedule import Overlap, TickOutcome
from holdfast.runtime import scheduler
from holdfast.runtime.scheduler import NO_LONGER
from tests.engine.conftest import Engine

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("S-37")]

PATIENCE_S = 60.0


def write_report(app: hf.App) -> hf.App:
    @app.step
    async def gather_numbers(region: str) -> str:
        return f"numbers of {region}"

    @app.workflow
    async def report(region: str) -> str:
        return await gather_numbers(region)

    return app


async def first_run(engine: Engine, schedule: str) -> hf.Run:
    """The first run of a schedule, when it has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while not (ticks := [one for one in await engine.client.schedules.ticks(schedule) if one.run_id]):
            await asyncio.sleep(0.05)
        assert ticks[-1].run_id is not None
        return await engine.client.wait_for_end(ticks[-1].run_id)


@pytest.mark.requirement("promise-6")
async def test_a_declared_schedule_starts_runs_that_show_what_started_them(engine: Engine) -> None:
    @engine.app.workflow(schedule=timedelta(seconds=1))
    async def tidy() -> str:
        return "tidy"

    async with engine.worker():
        run = await first_run(engine, "tidy")
        again = await engine.client.schedules.get("tidy")

    slot = run.attributes["slot"]
    assert isinstance(slot, datetime)
    assert (run.workflow, run.attributes["schedule"]) == ("tidy", "tidy")
    assert run.created_ms >= slot.timestamp() * 1000
    assert run.status is hf.RunStatus.COMPLETED
    assert again.declared_by == engine.app.name
    listed = await engine.client.list("attr.schedule=tidy")
    assert run.id in [one.id for one in listed.runs]


async def test_a_stored_schedule_starts_its_workflow_with_its_arguments(engine: Engine) -> None:
    app = write_report(engine.app)
    put = await engine.client.schedules.put(
        "hourly", hf.Schedule(every=1, overlap="allow"), "report", "eu", actor="ann"
    )

    async with engine.worker():
        run = await first_run(engine, "hourly")

    assert (put.spec.workflow, put.spec.overlap, put.actor) == ("report", Overlap.ALLOW, "ann")
    assert await engine.client.handle(run.id, str).result() == "numbers of eu"
    assert app.schedules == {}


async def test_a_run_is_given_its_slot_where_it_is_asked_for(engine: Engine) -> None:
    @engine.app.workflow
    async def close_day(slot: datetime, region: str) -> str:
        return f"{region} {slot - timedelta(hours=1):%Y-%m-%d %H:%M}"

    await engine.client.schedules.put("daily", "0 6 * * *", close_day, hf.SLOT, "eu")
    first = datetime(2026, 3, 1, 6, tzinfo=UTC)
    [run_id] = await engine.client.schedules.backfill("daily", first, first)

    async with engine.worker():
        assert await engine.client.handle(run_id, str).result(PATIENCE_S) == "eu 2026-03-01 05:00"


async def test_a_graph_is_started_in_the_version_of_its_program_and_a_named_one_in_the_live_one(engine: Engine) -> None:
    @engine.app.step
    async def load() -> str:
        return "loaded"

    graph = engine.app.graph("etl", timeout=60)
    graph.step("load", load)
    engine.app.schedule("nightly", timedelta(seconds=1), graph)

    async with engine.worker():
        run = await first_run(engine, "nightly")
        with pytest.raises(hf.errors.ReleaseNotFound):
            await engine.client.schedules.put("live", timedelta(seconds=1), "etl")
        await engine.client.definitions.promote("etl", 1)
        live = await engine.client.schedules.put("live", timedelta(seconds=1), "etl")
        named = await first_run(engine, "live")

    assert (run.version, named.version, live.spec.version) == (1, 1, None)
    assert run.status is named.status is hf.RunStatus.COMPLETED
    assert run.deadline_ms is not None


async def test_a_schedule_that_is_declared_no_more_is_paused_until_it_is_again(engine: Engine) -> None:
    old = hf.App("orders")

    @old.workflow(schedule=hf.Schedule(cron="0 3 * * *", timezone="Europe/Berlin"))
    async def tidy() -> None: ...

    new = hf.App("orders")

    @new.workflow(schedule=timedelta(hours=1))
    async def other() -> None: ...

    async with engine.worker(old):
        assert (await engine.client.schedules.get("tidy")).paused_ms is None
    async with engine.worker(new):
        paused = await engine.client.schedules.get("tidy")
    async with engine.worker(old):
        resumed = await engine.client.schedules.get("tidy")
        await engine.client.schedules.pause("tidy", actor="ann", reason="moving house")
    async with engine.worker(old):
        kept = await engine.client.schedules.get("tidy")

    assert paused.paused_ms is not None
    assert paused.note == NO_LONGER.format("orders")
    assert resumed.paused_ms is None
    assert resumed.next_ms is not None
    # What a person has paused, a person resumes.
    assert kept.note == "moving house"
    assert await engine.client.schedules.next("tidy") == []


async def test_it_is_pulled_by_hand_once_for_each_request(engine: Engine) -> None:
    write_report(engine.app)
    schedules = engine.client.schedules
    await schedules.create("yearly", "@yearly", "report", "eu")
    await schedules.pause("yearly")

    first = await schedules.trigger("yearly", request_id="a")
    again = await schedules.trigger("yearly", request_id="a")
    other = await schedules.trigger("yearly")

    assert first == again != other
    async with engine.worker():
        assert await engine.client.handle(first, str).result(PATIENCE_S) == "numbers of eu"
    assert [one.cause.value for one in await schedules.ticks("yearly")] == ["trigger", "trigger"]
    with pytest.raises(ScheduleNotFound):
        await schedules.trigger("weekly")
    with pytest.raises(UsageError, match="request"):
        await schedules.trigger("yearly", request_id="x" * 65)


async def test_a_backfill_starts_the_slots_that_have_no_run(engine: Engine) -> None:
    write_report(engine.app)
    schedules = engine.client.schedules
    await schedules.create("daily", hf.Schedule(cron="0 6 * * *", timezone="Europe/Berlin"), "report", "eu")
    first, last = datetime(2026, 3, 27, 5, tzinfo=UTC), datetime(2026, 3, 30, 4, tzinfo=UTC)

    started = await schedules.backfill("daily", first, last)
    again = await schedules.backfill("daily", first - timedelta(days=1), last)

    slots = sorted(
        [str((await engine.client.get(run_id)).attributes["slot"]) for run_id in started],
    )
    assert slots == [f"2026-03-{day} 0{hour}:00:00+00:00" for day, hour in ((27, 5), (28, 5), (29, 4), (30, 4))]
    assert len(again) == 1
    row = await schedules.get("daily")
    assert schedules.run_of(row, first) in started
    with pytest.raises(UsageError, match="time zone"):
        await schedules.backfill("daily", datetime(2026, 1, 1), last)  # noqa: DTZ001 - the mistake
    with pytest.raises(UsageError, match="1000 slots"):
        await schedules.backfill("daily", first - timedelta(days=2_000), last)


async def test_a_blocking_program_asks_for_the_same(engine: Engine) -> None:
    app = write_report(engine.app)

    def work() -> None:
        with closing(SyncClient(engine.client)) as client:
            schedules = client.schedules
            made = schedules.create("daily", "0 6 * * *", "report", "eu")
            assert schedules.put("daily", "0 6 * * *", app.find_workflow("report"), "eu").next_ms == made.next_ms
            with pytest.raises(ScheduleExists):
                schedules.create("daily", "0 7 * * *", "report", "eu")
            [following, later] = schedules.next("daily", count=2)
            assert later - following == timedelta(days=1)
            assert made.next_ms == following.timestamp() * 1000
            assert schedules.list() == [schedules.get("daily")]
            assert schedules.pause("daily", actor="ann", reason="away").note == "away"
            assert schedules.resume("daily").paused_ms is None
            assert client.get(schedules.trigger("daily")).workflow == "report"
            assert schedules.backfill("daily", later - timedelta(days=9), later - timedelta(days=9)) != []
            assert [one.outcome for one in schedules.ticks("daily")] == [TickOutcome.STARTED] * 2
            assert schedules.delete("daily")
            assert schedules.list() == []

    await asyncio.to_thread(work)


# --- Misconfiguration fails at once ------------------------------------------------------------------------------


async def test_what_cannot_be_fails_where_it_is_written(engine: Engine) -> None:
    app = write_report(engine.app)
    report = app.find_workflow("report")
    mistakes: list[dict[str, Any]] = [
        {"cron": "61 * * * *"},
        {"cron": "0 0 31 2 *"},
        {"cron": "* * * * *", "every": 5},
        {},
        {"every": 0.5},
        {"cron": "@daily", "timezone": "Mars/Olympus"},
        {"cron": "@daily", "overlap": "often"},
        {"cron": "@daily", "catch_up": "some"},
        {"cron": "@daily", "attributes": {"slot": 1}},
        {"cron": "@daily", "priority": 5_000},
        {"cron": "@daily", "jitter": -1},
    ]
    for wrong in mistakes:
        with pytest.raises(UsageError):
            hf.Schedule(**wrong)
    with pytest.raises(UsageError, match="region"):
        app.schedule("nothing given", "@daily", report)
    app.schedule("daily", "@daily", report, "eu")
    with pytest.raises(DuplicateName):
        app.schedule("daily", "@daily", report, "us")
    with pytest.raises(UsageError, match="missing"):

        @app.workflow(schedule="@daily")
        async def needs_more(region: str) -> str:
            return region

    with pytest.raises(UsageError):
        await engine.client.schedules.put("x" * 101, "@daily", report, "eu")
    with pytest.raises(WorkflowNotRegistered):
        await engine.client.schedules.put("typo", "@daily", "reprot", "eu")


async def test_a_worker_whose_schedule_cannot_be_stored_does_not_start(engine: Engine) -> None:
    app = write_report(engine.app)
    app.schedule("daily", "@daily", app.find_workflow("report"), object())

    with pytest.raises(hf.errors.EncodeError, match="daily"):
        async with engine.worker():
            pass


async def test_an_idle_worker_does_nothing_for_schedules_that_are_not_due(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = write_report(engine.app)
    for number in range(20):
        await engine.client.schedules.put(f"yearly-{number}", "@yearly", app.find_workflow("report"), "eu")
    looks: list[str] = []

    def look(*_args: object, **_more: object) -> int:
        looks.append("a look")
        return 0

    monkeypatch.setattr(scheduler, "tick_once", look)

    async with engine.worker():
        await asyncio.sleep(0.3)

    assert looks == []
