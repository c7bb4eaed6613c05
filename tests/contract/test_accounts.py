"""What a tenant stores is counted now and then; one that has passed its quota starts and sends nothing more."""

from __future__ import annotations

import pytest

from holdfast.errors import QuotaExceeded
from holdfast.model.command import RunCopy
from holdfast.model.commit import Finish, Park
from holdfast.model.ids import DEFAULT_TENANT, Json, RunId, Tenant, WorkerId
from holdfast.model.status import EntryKind, RunStatus
from holdfast.model.tenant import Everything, Expired, TenantPolicy
from holdfast.store.accounts import EVERY_MS, count_due, read_account
from holdfast.store.tenancy import write_policy
from tests.contract.scene import (
    ERROR,
    INPUT,
    OTHER_TENANT,
    PAYLOAD,
    RESULT,
    Scene,
    attempt,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
)

END = Finish(RunStatus.COMPLETED, "completed", RESULT)


def allow(scene: Scene, most: int | None, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Set how many bytes the tenant may store."""
    policy = TenantPolicy(tenant=tenant, stored_bytes_max=most)
    scene.store.transact(None, lambda statements: write_policy(statements, policy))


def count(scene: Scene, tenant: Tenant = DEFAULT_TENANT) -> int:
    """Do what workers do about once a minute; what was counted last."""
    scene.store.prune(Expired(), limit=100)
    return scene.store.transact(None, lambda statements: read_account(statements, tenant), read_only=True)


def later(scene: Scene, tenant: Tenant = DEFAULT_TENANT) -> int:
    """The same when it is time to count again."""
    scene.clock.advance(EVERY_MS)
    return count(scene, tenant)


@pytest.mark.requirement("C-56")
def test_all_payloads_of_a_tenant_are_counted(scene: Scene) -> None:
    allow(scene, 10_000)
    run = scene.held(1)
    scene.start(2, tenant=OTHER_TENANT)
    assert count(scene) == len(INPUT)

    words = Json('{"word":"größe"}'.encode())
    said = [
        entry(run, "step", 1, result=words),
        entry(run, "said", 2, kind=EntryKind.PUBLISHED, name="said", result=words),
        entry(run, "item", 3, kind=EntryKind.EMITTED, name="items", result=words),
    ]
    inputs = sum(len(one.input or b"") for one in said)
    scene.accept(run, entries=said, attempts=[attempt("step", 1)], waits=[signal_wait("w", 4)], move=Park(1))
    expected = len(INPUT) + 3 * len(words) + inputs + len(ERROR)
    assert later(scene) == expected

    # A signal stands in its row, and in the wait that it closed.
    scene.store.send_signal(message(1, run.id))
    assert later(scene) == expected + 2 * len(PAYLOAD)
    [again] = [one for one in scene.claim() if one.id == run.id]
    scene.accept(again, move=END)
    assert later(scene) == expected + 2 * len(PAYLOAD) + len(RESULT)


@pytest.mark.requirement("C-56")
def test_a_tenant_that_has_passed_its_quota_starts_retries_and_sends_nothing(scene: Scene) -> None:
    waiting = scene.parked(1, signal_wait("w", 1))
    failed = scene.held(2)
    scene.accept(failed, move=Finish(RunStatus.FAILED, "error", error=ERROR))
    allow(scene, 1)
    stored = count(scene)

    with pytest.raises(QuotaExceeded) as refused:
        scene.store.start_runs([new_run(3)])
    assert (refused.value.quota, refused.value.limit, refused.value.found) == ("stored_bytes", 1, stored)
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        scene.store.send_signal(message(1, waiting.id))
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        scene.store.send_signal(message(2, None))
    with pytest.raises(QuotaExceeded, match="stored_bytes"):
        scene.store.start_copy(
            DEFAULT_TENANT, RunCopy(id=run_id(4), source_id=failed.id, retry=True, journal=[], waits=[])
        )
    with pytest.raises(QuotaExceeded, match="stored_bytes"), scene.opened.transaction() as connection:
        scene.store.send_signal_in(connection, message(3, waiting.id))
    assert scene.wait(waiting.id, "w").outcome is None

    # What is known already exceeds nothing, and another tenant is not meant.
    assert not scene.store.start_runs([new_run(1)])[0].created
    scene.start(5, tenant=OTHER_TENANT)

    allow(scene, stored)
    scene.start(6)
    assert scene.store.send_signal(message(1, waiting.id)) == [waiting.id]


@pytest.mark.requirement("C-56", "promise-2")
def test_a_run_that_has_begun_records_all_it_has_to_whatever_is_stored(scene: Scene) -> None:
    allow(scene, 1)
    run = scene.held(1)
    listener = scene.parked(2, signal_wait("w", 1))
    count(scene)
    with pytest.raises(QuotaExceeded):
        scene.store.start_runs([new_run(9)])

    child = new_run(3, parent_id=run.id, parent_key="child", root_id=run.id)
    news = message(1, listener.id)
    scene.accept(run, entries=[entry(run, "step", 1)], children=[child], signals=[news])
    while scene.store.sweep_signals(limit=10).more:
        pass
    scene.accept(run, move=END)

    assert scene.run(run.id).status is RunStatus.COMPLETED
    assert scene.run(RunId(child.id)).status is RunStatus.QUEUED
    assert scene.place(listener.id) == (RunStatus.QUEUED, True)


@pytest.mark.requirement("C-56")
def test_what_is_deleted_is_not_counted_any_more(scene: Scene) -> None:
    run = scene.held(1)
    scene.accept(run, move=END)
    allow(scene, 1)
    assert count(scene) > 1

    policy = TenantPolicy(tenant=DEFAULT_TENANT, stored_bytes_max=1, retention_ms=1)
    scene.store.transact(None, lambda statements: write_policy(statements, policy))

    assert later(scene) == 0
    scene.start(2)
    scene.store.prune(Everything(DEFAULT_TENANT), limit=100)
    assert count(scene) == 0


def test_what_was_counted_a_moment_ago_is_not_counted_again(scene: Scene) -> None:
    allow(scene, 1_000)
    assert count(scene) == 0
    scene.start(1)

    scene.clock.advance(EVERY_MS - 1)
    assert count(scene) == 0
    scene.clock.advance(1)
    assert count(scene) == len(INPUT)


def test_a_tenant_without_the_quota_is_never_counted(scene: Scene) -> None:
    scene.start(1)

    assert count(scene) == 0
    assert scene.register(WorkerId("w"))


def test_a_count_that_took_long_does_not_overwrite_a_later_one(scene: Scene) -> None:
    allow(scene, 10_000)

    def count_slowly(_: Tenant) -> int:
        scene.clock.advance(EVERY_MS)
        count_due(scene.store, lambda _: 7)
        return 99

    count_due(scene.store, count_slowly)

    assert scene.store.transact(None, lambda s: read_account(s, DEFAULT_TENANT), read_only=True) == 7
