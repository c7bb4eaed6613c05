"""The example of notifications that escalate, past the time at which they would have."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

import holdfast as hf
from examples.escalation.workflow import Alert, Level, Notification, app, escalate, outbox
from holdfast.app import DATABASE_VARIABLE
from holdfast.model.status import WaitOutcome

pytestmark = pytest.mark.anyio

WAIT_S = 0.4
LEVELS = [Level("ann", "mail", WAIT_S), Level("bob", "telephone", WAIT_S)]


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    outbox.clear()
    yield
    outbox.clear()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.requirement("C-50", "C-51", "S-31", "C-22", "C-26", "C-58")
async def test_an_alert_that_was_read_escalates_no_more_also_after_its_time() -> None:
    async with app.worker(), app.client() as client:
        read = await client.start(escalate, Alert("read", "disk full", LEVELS))
        while not (await read.explain()).pending_signals:
            await asyncio.sleep(0.01)
        assert await client.signal("alert.read", {"alert": "read", "by": "ann"}) == [read.id]
        assert await read.result(timeout=10) == "read by ann"
        before = await client.detail(read.id)
        # This one begins later and waits as long, twice: when it has ended, the first one's time is over too.
        unread = await client.start(escalate, Alert("unread", "disk full", LEVELS))
        assert await unread.result(timeout=20) == "nobody read it"
        after = await client.detail(read.id)

    assert outbox == [
        Notification("read", "ann", "mail"),
        Notification("unread", "ann", "mail"),
        Notification("unread", "bob", "telephone"),
    ]
    assert [wait.outcome for wait in after.waits] == [WaitOutcome.SIGNALLED]
    assert (after.transitions, after.waits) == (before.transitions, before.waits)


@pytest.mark.requirement("C-50", "C-22")
async def test_an_alert_that_is_read_late_is_read_by_the_next_person() -> None:
    levels = [Level("ann", "mail", 0.05), Level("bob", "telephone", 60)]

    async with app.worker(), app.client() as client:
        run = await client.start(escalate, Alert("late", "disk full", levels))
        while (await _level(client, run.id)) != "bob" or not (await run.explain()).pending_signals:
            await asyncio.sleep(0.01)
        await client.signal("alert.read", {"alert": "late", "by": "bob"})
        assert await run.result(timeout=10) == "read by bob"
        outcomes = [wait.outcome for wait in (await client.detail(run.id)).waits]

    assert outcomes == [WaitOutcome.ELAPSED, WaitOutcome.SIGNALLED]
    assert [one.person for one in outbox] == ["ann", "bob"]


async def _level(client: hf.Client, run_id: str) -> object:
    try:
        return await client.read(run_id, "level")
    except hf.errors.ValueNotFound:
        return None
