"""Pauses, quotas, limits and breakers, chosen at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause, PauseKind
from holdfast.model.tenant import TenantPolicy
from holdfast.store.port import Store
from holdfast.store.queues import delete_limit, write_limit
from holdfast.store.tenancy import delete_pause, list_pauses, write_pause, write_policy
from tests.contract.inbox import SIGNALS
from tests.contract.steps import Step
from tests.contract.stores import OpenStore


def choose_bar(
    pick: random.Random, model: Store, tenants: Sequence[Tenant], queues: Sequence[str], workflows: Sequence[str]
) -> Step:
    """Pause or resume something, end waits for a breaker, or limit how many runs of a tenant or queue workers hold."""
    tenant = pick.choice(tenants)
    kind: PauseKind = pick.choice(("queue", "workflow", "tenant"))
    name = pick.choice({"queue": queues, "workflow": workflows, "tenant": (tenant,)}[kind])
    match pick.choice(("pause", "pause", "resume", "resume", "quota", "limit", "pass")):
        case "pause":
            return _pause(Pause(tenant=tenant, kind=kind, name=name, recalls=pick.random() < 0.3, since_ms=UnixMs(0)))
        case "resume":
            paused = model.transact(None, lambda statements: list_pauses(statements, None), read_only=True)
            one = pick.choice(paused) if paused else None
            return _resume(tenant, kind, name) if one is None else _resume(one.tenant, one.kind, one.name)
        case "pass":
            return _pass(tenant, pick.choice(SIGNALS), limit=pick.choice((0, 1, 2, 50)))
        case "quota":
            return _allow(TenantPolicy(tenant=tenant, running_max=pick.choice((None, None, 0, 1, 3))))
        case _:
            return _limit(tenant, pick.choice(queues), pick.choice((None, None, 0, 1, 2)))


def _pause(wanted: Pause) -> Step:
    return Step(("pause", wanted.kind), lambda opened: opened.store.transact(None, lambda s: write_pause(s, wanted)))


def _resume(tenant: Tenant, kind: PauseKind, name: str) -> Step:
    def act(opened: OpenStore) -> Any:
        return opened.store.transact(None, lambda statements: delete_pause(statements, tenant, kind, name))

    return Step(("resume", kind), act)


def _pass(tenant: Tenant, breaker: str, *, limit: int) -> Step:
    def act(opened: OpenStore) -> Any:
        return opened.store.transact(tenant, lambda s: s.end_waits(tenant, breaker, after=None, limit=limit))

    return Step(("pass",), act)


def _allow(policy: TenantPolicy) -> Step:
    return Step(("quota",), lambda opened: opened.store.transact(None, lambda s: write_policy(s, policy)))


def _limit(tenant: Tenant, queue: str, most: int | None) -> Step:
    def act(opened: OpenStore) -> Any:
        if most is None:
            return opened.store.transact(None, lambda s: delete_limit(s, tenant, queue))
        wanted = QueueLimit(tenant=tenant, queue=queue, running_max=most, set_ms=UnixMs(0))
        return opened.store.transact(None, lambda s: write_limit(s, wanted))

    return Step(("limit",), act)
