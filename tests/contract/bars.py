"""Pauses and quotas, chosen at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from holdfast.model.ids import Tenant, UnixMs
from holdfast.model.pause import Pause, PauseKind
from holdfast.model.tenant import TenantPolicy
from holdfast.store.port import Store
from holdfast.store.tenancy import delete_pause, list_pauses, write_pause, write_policy
from tests.contract.steps import Step
from tests.contract.stores import OpenStore


def choose_bar(
    pick: random.Random, model: Store, tenants: Sequence[Tenant], queues: Sequence[str], workflows: Sequence[str]
) -> Step:
    """Pause or resume something, or set how many runs a tenant may have running."""
    tenant = pick.choice(tenants)
    kind: PauseKind = pick.choice(("queue", "workflow", "tenant"))
    name = pick.choice({"queue": queues, "workflow": workflows, "tenant": (tenant,)}[kind])
    match pick.choice(("pause", "pause", "resume", "resume", "limit")):
        case "pause":
            return _pause(Pause(tenant=tenant, kind=kind, name=name, recalls=pick.random() < 0.3, since_ms=UnixMs(0)))
        case "resume":
            paused = model.transact(None, lambda statements: list_pauses(statements, None), read_only=True)
            one = pick.choice(paused) if paused else None
            return _resume(tenant, kind, name) if one is None else _resume(one.tenant, one.kind, one.name)
        case _:
            return _limit(TenantPolicy(tenant=tenant, running_max=pick.choice((None, None, 0, 1, 3))))


def _pause(wanted: Pause) -> Step:
    return Step(("pause", wanted.kind), lambda opened: opened.store.transact(None, lambda s: write_pause(s, wanted)))


def _resume(tenant: Tenant, kind: PauseKind, name: str) -> Step:
    def act(opened: OpenStore) -> Any:
        return opened.store.transact(None, lambda statements: delete_pause(statements, tenant, kind, name))

    return Step(("resume", kind), act)


def _limit(policy: TenantPolicy) -> Step:
    return Step(("limit",), lambda opened: opened.store.transact(None, lambda s: write_policy(s, policy)))
