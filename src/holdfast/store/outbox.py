"""Closing events: who is told of the ends of which runs, and the ends that nobody has acknowledged yet.

The row of an end is written by the statement that ends the run, for those who are subscribed at that moment; what is
here is the readers' side, written once for every store. A row stays until it is acknowledged, so no reader needs a
cursor, and an end whose transaction commits late is behind nobody's. A claim leases rows, so that two readers do not
work on the same ones; what is not acknowledged in time is delivered again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from msgspec import json
from sqlalchemy import Integer, Text, cast, delete, func, select, tuple_, update

from holdfast.core.closings import failed_steps
from holdfast.model.closing import EVERY, Closing, Subscription
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.status import RunStatus
from holdfast.store.port import Statements, Store
from holdfast.store.rendering import insert_new
from holdfast.store.tables import OUTBOX, SUBSCRIPTIONS

T = TypeVar("T")

_O: Final = OUTBOX.c
_S: Final = SUBSCRIPTIONS.c
_KEYS: Final = json.Decoder(list[str])


class Outbox:
    """The subscriptions and the outbox of a store; each method is one transaction and may be repeated.

    ``tenant`` is that of the reader; None for the handlers of programs, which take the ends of every tenant.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def subscribe(self, tenant: Tenant | None, name: str, workflows: Sequence[str]) -> None:
        """Have a reader told of every end from now on of runs of these workflows (``EVERY`` for all of them)."""

        def work(statements: Statements) -> None:
            for workflow in workflows:
                row = {"tenant": tenant or EVERY, "workflow": workflow, "name": name, "created_ms": statements.now_ms}
                statements.changed(insert_new(SUBSCRIPTIONS).values(row))

        self._store.transact(tenant, work)

    def unsubscribe(self, tenant: Tenant | None, name: str, workflow: str | None = None) -> bool:
        """Tell a reader no more, of one workflow or of any; with its last subscription goes what waits for it.

        Returns whether there was such a subscription.
        """
        mine = (_S.tenant == (tenant or EVERY), _S.name == name)

        def work(statements: Statements) -> bool:
            gone = delete(SUBSCRIPTIONS).where(*mine)
            if workflow is not None:
                gone = gone.where(_S.workflow == workflow)
            count = statements.changed(gone)
            if not statements.rows(select(_S.workflow).where(*mine).limit(1)):
                statements.changed(delete(OUTBOX).where(*_lines(tenant, name)))
            return count > 0

        return self._store.transact(tenant, work)

    def subscriptions(self, tenant: Tenant | None) -> list[Subscription]:
        """A tenant's subscriptions, or those of the handlers of programs, by name and workflow."""

        def work(statements: Statements) -> list[Subscription]:
            mine = select(_S.name, _S.workflow, _S.created_ms).where(_S.tenant == (tenant or EVERY))
            rows = statements.rows(mine.order_by(_S.name, _S.workflow))
            counts = {
                name: statements.rows(select(func.count()).select_from(OUTBOX).where(*_lines(tenant, name)))[0][0]
                for name in dict.fromkeys(row[0] for row in rows)
            }
            return [
                Subscription(name=row[0], workflow=row[1] or None, created_ms=row[2], undelivered=counts[row[0]])
                for row in rows
            ]

        return self._store.transact(tenant, work, read_only=True)

    def claim(self, tenant: Tenant | None, names: Sequence[str], *, limit: int, lease_ms: int) -> list[Closing]:
        """Up to ``limit`` ends that nobody works on, first ended first; they come again after ``lease_ms``.

        Ends that others are claiming are passed over. Whoever looks again and again only reads while there is nothing.
        """

        def look(statements: Statements) -> bool:
            return any(statements.rows(_free(statements, tenant, name).limit(1)) for name in names)

        def work(statements: Statements) -> list[Closing]:
            found: list[Closing] = []
            for name in names:
                if len(found) < limit:
                    found += _claim(statements, tenant, name, limit - len(found), lease_ms)
            return found

        found = self._store.transact(tenant, look, read_only=True)
        return self._store.transact(tenant, work) if found else []

    def acknowledge(self, closings: Sequence[Closing]) -> None:
        """Deliver these no more."""
        by_name: dict[str, list[tuple[RunId, int]]] = {}
        for one in closings:
            by_name.setdefault(one.subscription, []).append((one.run_id, one.seq))

        def work(statements: Statements) -> None:
            for name, ends in by_name.items():
                statements.changed(delete(OUTBOX).where(_O.subscription == name, _is_one_of(ends)))

        if by_name:
            tenants = {one.tenant for one in closings}
            self._store.transact(tenants.pop() if len(tenants) == 1 else None, work)


def _lines(tenant: Tenant | None, name: str) -> list[Any]:
    mine = [_O.subscription == name]
    return mine if tenant is None else [*mine, _O.tenant == tenant]


def _is_one_of(ends: Sequence[tuple[RunId, int]]) -> Any:
    return tuple_(_O.run_id, _O.seq).in_(list(ends))


_COLUMNS: Final = (
    _O.run_id,
    _O.seq,
    _O.subscription,
    _O.tenant,
    _O.workflow,
    _O.key,
    _O.status,
    _O.reason,
    _O.error_type,
    _O.error_message,
    cast(_O.failed, Text),
    _O.ended_ms,
    cast(_O.deliveries, Integer),
)


def _free(statements: Statements, tenant: Tenant | None, name: str) -> Any:
    # The order is that of an index, also for who only looks whether there is one.
    free = select(_O.run_id, _O.seq).where(*_lines(tenant, name), _O.lease_until_ms <= statements.now_ms)
    return free.order_by(_O.ended_ms, _O.run_id)


def _claim(statements: Statements, tenant: Tenant | None, name: str, limit: int, lease_ms: int) -> list[Closing]:
    pick = _free(statements, tenant, name).limit(limit).with_for_update(skip_locked=True)
    ends = [(RunId(str(row[0])), row[1]) for row in statements.rows(pick)]
    if not ends:
        return []
    leased = update(OUTBOX).where(_O.subscription == name, _is_one_of(ends))
    taken = leased.values(lease_until_ms=statements.now_ms + lease_ms, deliveries=_O.deliveries + 1)
    found = [_closing(row) for row in statements.rows(taken.returning(*_COLUMNS))]
    return sorted(found, key=lambda one: (one.ended_ms, one.run_id, one.seq))


def _closing(row: Sequence[Any]) -> Closing:
    return Closing(
        run_id=RunId(str(row[0])),
        seq=row[1],
        subscription=row[2],
        tenant=Tenant(row[3]),
        workflow=row[4],
        key=row[5],
        status=RunStatus(row[6]),
        reason=row[7],
        error_type=row[8],
        error_message=row[9],
        failed_steps=failed_steps(_KEYS.decode(row[10])),
        ended_ms=UnixMs(row[11]),
        deliveries=row[12],
    )
