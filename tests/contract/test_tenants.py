"""What an operator decides about a tenant: quotas, retention, erasure; and the log that nothing changes."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pytest
from msgspec import structs

from holdfast.errors import QuotaExceeded, RunNotFound
from holdfast.model.command import RunCopy
from holdfast.model.commit import Finish
from holdfast.model.ids import DEFAULT_TENANT, Tenant, UnixMs
from holdfast.model.run import RunFilter
from holdfast.model.status import RunStatus
from holdfast.model.tenant import Ended, Everything, Expired, TenantPolicy
from holdfast.store.tenancy import count_rows, export, list_tenants, read_policy, write_policy
from tests.contract.conftest import Opener
from tests.contract.scene import (
    ERROR,
    INPUT,
    OTHER_TENANT,
    RESULT,
    Scene,
    attempt,
    child_wait,
    entry,
    message,
    new_run,
    run_id,
    signal_wait,
)
from tests.contract.stores import ManualClock, OpenStore

DAY_MS = 86_400_000


def _limit(scene: Scene, **limits: Any) -> None:
    policy = TenantPolicy(tenant=limits.pop("tenant", DEFAULT_TENANT), **limits)
    scene.store.transact(None, lambda statements: write_policy(statements, policy))


def _ended(scene: Scene, number: int, **given: Any) -> None:
    """A run that ended, with a row in each table."""
    run = scene.held(number, attributes={"x": number}, **given)
    wait = signal_wait("w", 2)
    scene.accept(run, entries=[entry(run, "a", 1)], attempts=[attempt("b", 1)], waits=[wait])
    scene.accept(run, move=Finish(RunStatus.COMPLETED, "completed", RESULT))


def _numbers(scene: Scene, tenant: Tenant = DEFAULT_TENANT) -> list[int]:
    page = scene.store.list_runs(tenant, RunFilter(), limit=100, after=None)
    return sorted(int(run.id[-12:], 16) for run in page.runs)


@pytest.mark.requirement("C-56", "promise-12")
def test_a_start_that_exceeds_a_quota_is_refused_as_a_whole(scene: Scene) -> None:
    _limit(scene, queued_max=2)
    scene.start(1)

    with pytest.raises(QuotaExceeded) as caught:
        scene.store.start_runs([new_run(2), new_run(3)])

    facts = (caught.value.tenant, caught.value.quota, caught.value.limit, caught.value.found)
    assert facts == (DEFAULT_TENANT, "queued", 2, 3)
    assert _numbers(scene) == [1]
    scene.start(2)


@pytest.mark.requirement("C-56")
def test_a_quota_is_its_own_tenants_alone(scene: Scene) -> None:
    _limit(scene, queued_max=0)

    scene.start(1, tenant=OTHER_TENANT)

    with pytest.raises(QuotaExceeded):
        scene.start(2)


@pytest.mark.requirement("C-56", "promise-1")
def test_a_start_of_a_run_that_exists_exceeds_nothing(scene: Scene) -> None:
    scene.start(1)
    _limit(scene, queued_max=1)

    [again] = scene.store.start_runs([new_run(1)])

    assert not again.created


@pytest.mark.requirement("C-56")
def test_an_input_larger_than_its_quota_is_refused(scene: Scene) -> None:
    _limit(scene, payload_bytes_max=len(INPUT) - 1)
    with pytest.raises(QuotaExceeded, match="payload_bytes"):
        scene.start(1)

    _limit(scene, payload_bytes_max=len(INPUT))

    scene.start(1)


@pytest.mark.requirement("C-56")
def test_a_start_in_a_callers_transaction_asks_for_quotas_too(opened: OpenStore) -> None:
    scene = Scene(opened)
    _limit(scene, queued_max=0)

    with pytest.raises(QuotaExceeded), opened.transaction() as connection:
        opened.store.start_runs_in(connection, [new_run(1)])

    assert _numbers(scene) == []


@pytest.mark.requirement("C-56", "promise-12")
@pytest.mark.parametrize("retry", [True, False])
def test_a_retry_and_a_fork_ask_for_quotas_as_a_start_does(scene: Scene, retry: bool) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "a", 1)], move=Finish(RunStatus.FAILED, "step_failed", None, ERROR))
    copy = RunCopy(id=run_id(2), source_id=run.id, retry=retry, journal=["a"], waits=[])
    _limit(scene, queued_max=0)

    with pytest.raises(QuotaExceeded, match="queued is 0, and it would be 1"):
        scene.store.start_copy(DEFAULT_TENANT, copy)

    assert _numbers(scene) == [1]
    _limit(scene, queued_max=1)
    assert scene.store.start_copy(DEFAULT_TENANT, copy).created
    assert not scene.store.start_copy(DEFAULT_TENANT, copy).created


@pytest.mark.requirement("C-56")
@pytest.mark.parametrize("given", [{"input": INPUT}, {"replaced": {"a": RESULT}}])
def test_what_a_fork_is_given_instead_counts_as_a_payload(scene: Scene, given: dict[str, Any]) -> None:
    run = scene.held(1)
    scene.accept(run, entries=[entry(run, "a", 1)], move=Finish(RunStatus.COMPLETED, "completed", RESULT))
    _limit(scene, payload_bytes_max=3)

    plain = RunCopy(id=run_id(3), source_id=run.id, retry=False, journal=["a"], waits=[])

    with pytest.raises(QuotaExceeded, match="payload_bytes"):
        scene.store.start_copy(DEFAULT_TENANT, structs.replace(plain, id=run_id(2), **given))

    scene.store.start_copy(DEFAULT_TENANT, plain)
    assert _numbers(scene) == [1, 3]


@pytest.mark.requirement("C-56")
def test_the_children_of_a_run_that_was_let_in_are_not_refused(scene: Scene) -> None:
    run = scene.held(1)
    _limit(scene, queued_max=0, running_max=0)

    scene.accept(run, children=[new_run(2, parent_id=run.id, parent_key="a")])

    assert _numbers(scene) == [1, 2]


@pytest.mark.requirement("R-26", "L-33")
def test_retention_deletes_ended_runs_with_all_that_belongs_to_them(scene: Scene) -> None:
    _ended(scene, 1)
    scene.clock.advance(DAY_MS)
    _ended(scene, 2)
    scene.start(3)
    _ended(scene, 4, tenant=OTHER_TENANT)
    _limit(scene, retention_ms=DAY_MS)
    scene.clock.advance(1)

    assert scene.store.prune(Expired(), limit=100) == 1
    assert scene.store.prune(Expired(), limit=100) == 0

    assert _numbers(scene) == [2, 3]
    assert _numbers(scene, OTHER_TENANT) == [4]
    with pytest.raises(RunNotFound):
        scene.detail(run_id(1))
    assert scene.detail(run_id(2)).journal


@pytest.mark.requirement("L-33")
def test_retention_goes_in_batches(scene: Scene) -> None:
    for number in range(1, 6):
        _ended(scene, number)
        scene.clock.advance(1)

    what = Ended(DEFAULT_TENANT, scene.clock.now_ms)

    assert [scene.store.prune(what, limit=2) for _ in range(3)] == [2, 2, 1]
    assert _numbers(scene) == []


@pytest.mark.requirement("L-33")
def test_retention_keeps_what_a_live_run_refers_to(scene: Scene) -> None:
    parent = scene.held(1)
    scene.accept(
        parent,
        children=[new_run(2, parent_id=run_id(1), parent_key="a")],
        waits=[child_wait("a", 1, run_id(2))],
    )
    [child] = scene.claim()
    _ended(scene, 3, root_id=run_id(4))
    scene.start(4)
    scene.accept(child, move=Finish(RunStatus.COMPLETED, "completed"))
    scene.clock.advance(1)

    assert scene.store.prune(Ended(DEFAULT_TENANT, scene.clock.now_ms), limit=100) == 0
    assert _numbers(scene) == [1, 2, 3, 4]


@pytest.mark.requirement("L-33")
def test_an_erased_tenant_has_nothing_left_and_nobody_else_lost_anything(scene: Scene) -> None:
    for tenant, first in ((DEFAULT_TENANT, 1), (OTHER_TENANT, 11)):
        _ended(scene, first, tenant=tenant)
        scene.held(first + 1, tenant=tenant)
        scene.start(first + 2, tenant=tenant)
        scene.store.send_signal(message(first, run_id(first + 2), tenant=tenant))
        scene.store.send_signal(message(first + 1, None, tenant=tenant))
        _limit(scene, tenant=tenant, queued_max=100)
    kept = [scene.detail(run_id(number), OTHER_TENANT) for number in (11, 12, 13)]
    rows = scene.store.transact(None, lambda s: count_rows(s, OTHER_TENANT), read_only=True)

    done = [scene.store.prune(Everything(DEFAULT_TENANT), limit=2) for _ in range(3)]

    assert done == [2, 1, 0]
    assert scene.store.transact(None, lambda s: count_rows(s, DEFAULT_TENANT), read_only=True) == {}
    assert _numbers(scene) == []
    assert [scene.detail(run_id(number), OTHER_TENANT) for number in (11, 12, 13)] == kept
    assert scene.store.transact(None, lambda s: count_rows(s, OTHER_TENANT), read_only=True) == rows


@pytest.mark.requirement("L-33", "promise-4")
def test_the_worker_of_an_erased_run_is_refused(scene: Scene) -> None:
    run = scene.held(1)
    scene.store.prune(Everything(DEFAULT_TENANT), limit=10)

    assert list(scene.commit(run, entries=[entry(run, "a", 1)]).refused) == [run.id]


@pytest.mark.requirement("C-56")
def test_tenants_are_listed_with_their_limits_and_runs(opened: OpenStore) -> None:
    scene = Scene(opened)
    scene.start(1, tenant=OTHER_TENANT)
    _limit(scene, tenant="zoo", queued_max=5, retention_ms=DAY_MS)
    _limit(scene, tenant="zoo", running_max=7)

    listed = opened.store.transact(None, list_tenants, read_only=True)
    policy = opened.store.transact(None, lambda statements: read_policy(statements, Tenant("zoo")))

    assert policy == TenantPolicy(tenant=Tenant("zoo"), running_max=7)
    assert listed[-1].policy == policy
    if opened.kind != "memory":  # whose runs are no rows
        assert [row.runs for row in listed] == [{"queued": 1}, {}]


@pytest.mark.requirement("L-33")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_export_holds_every_row_of_its_tenant_and_no_other(
    open_store: Opener, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.store.tenancy.PAGE", 2)
    with open_store(kind, ManualClock()) as opened:
        scene = Scene(opened)
        for number in range(1, 6):
            _ended(scene, number)
        _ended(scene, 7, tenant=OTHER_TENANT)
        scene.store.send_signal(message(1, None))

        lines = list(export(opened.store, DEFAULT_TENANT))

        tables = [line.partition(b'"table":"')[2].partition(b'"')[0].decode() for line in lines]
        counted = opened.store.transact(None, lambda s: count_rows(s, DEFAULT_TENANT), read_only=True)
        assert {name: tables.count(name) for name in set(tables)} == counted
        assert counted["transitions"] == 15
        assert not any(run_id(7).encode() in line for line in lines)
        assert sum(b'"input":{"value":1}' in line for line in lines) == 5


TAMPERING = {
    "sqlite": (
        "update holdfast_transitions set reason = 'x'",
        "update holdfast_transitions set key = 'x'",
        "update holdfast_transitions set at_ms = 1 where seq = 3",
        "delete from holdfast_transitions",
    ),
    "postgres": (
        "update holdfast.transitions set reason = 'x'",
        "delete from holdfast.transitions",
        "truncate holdfast.transitions",
    ),
}


@pytest.mark.requirement("C-10", "C-54", "C-28")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nobody_changes_or_deletes_a_transition_of_a_run_that_is_there(open_store: Opener, kind: str) -> None:
    with open_store(kind, ManualClock()) as opened:
        scene = Scene(opened)
        _ended(scene, 1)
        before = scene.detail(run_id(1)).transitions

        for statement in TAMPERING[kind]:
            refused = sqlite3.IntegrityError if kind == "sqlite" else psycopg.errors.CheckViolation
            with pytest.raises(refused), opened.owner_transaction() as connection:
                connection.execute(statement)

        assert scene.detail(run_id(1)).transitions == before


@pytest.mark.requirement("C-56")
def test_a_moment_that_is_not_over_prunes_nothing(scene: Scene) -> None:
    _ended(scene, 1)

    assert scene.store.prune(Ended(DEFAULT_TENANT, UnixMs(scene.clock.now_ms)), limit=10) == 0
