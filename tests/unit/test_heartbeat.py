"""The worker's sign of life."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import pytest

from holdfast.model.ids import WorkerId
from holdfast.model.run import WorkerInfo
from holdfast.runtime.heartbeat import Heartbeat
from holdfast.runtime.host import ProcessHost
from holdfast.runtime.settings import WorkerSettings
from holdfast.store.memory import MemoryStore
from holdfast.store.port import WORKER_KEPT_MS
from tests.contract.stores import ManualClock

ALICE = WorkerInfo(id=WorkerId("alice"), queues=["default"], codes=["order"], host="box", pid=1)
SETTINGS = WorkerSettings()


@pytest.fixture
def host() -> Generator[ProcessHost, None, None]:
    with closing(ProcessHost()) as host:
        yield host


@pytest.mark.requirement("fault-4", "fault-11")
def test_a_worker_that_was_forgotten_while_its_machine_slept_registers_again(host: ProcessHost) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    store.register_worker(ALICE, lease_ms=SETTINGS.lease_ms)
    heartbeat = Heartbeat(store, host, SETTINGS, worker=ALICE)
    assert heartbeat.beat_once() == clock.now_ms
    clock.advance(2 * WORKER_KEPT_MS)
    store.requeue_lost(limit=1, crashes_max=3)

    assert heartbeat.beat_once() == clock.now_ms

    [row] = store.list_workers()
    assert (row.id, row.lease_until_ms) == (ALICE.id, clock.now_ms + SETTINGS.lease_ms)


def test_a_worker_that_beats_in_time_stays_who_it_was(host: ProcessHost) -> None:
    clock = ManualClock()
    started_ms = clock.now_ms
    store = MemoryStore(clock)
    store.register_worker(ALICE, lease_ms=SETTINGS.lease_ms)
    heartbeat = Heartbeat(store, host, SETTINGS, worker=ALICE)

    for _ in range(5):
        clock.advance(SETTINGS.lease_ms - 1)
        heartbeat.beat_once()

    [row] = store.list_workers()
    assert (row.started_ms, row.heartbeat_ms) == (started_ms, clock.now_ms)
