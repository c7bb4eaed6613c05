"""Limits of queues, written once for both databases. Claims keep within them (``claim_runs``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, select

from holdfast.model.ids import Tenant
from holdfast.model.limit import QueueLimit
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_or_change
from holdfast.store.tables import QUEUES

_Q: Final = QUEUES.c
_LIMIT: Final = [QUEUES.c[name] for name in QueueLimit.__struct_fields__]
_LIMITS: Final = select(*_LIMIT).order_by(_Q.tenant, _Q.queue)


def write_limit(statements: Statements, limit: QueueLimit) -> QueueLimit:
    """Set the limit of a queue."""
    values = {name: getattr(limit, name) for name in QueueLimit.__struct_fields__} | {"set_ms": statements.now_ms}
    put = insert_or_change(QUEUES, values, lambda new: {name: new[name] for name in values})
    [row] = statements.rows(put.returning(*_LIMIT))
    return limit_from(row)


def delete_limit(statements: Statements, tenant: Tenant, queue: str) -> bool:
    """Lift it; whether there was one."""
    return statements.changed(delete(QUEUES).where(_Q.tenant == tenant, _Q.queue == queue)) > 0


def list_limits(statements: Statements, tenant: Tenant | None) -> list[QueueLimit]:
    """The limits of a tenant's queues, or of every one's, in the order of tenant and queue."""
    query = _LIMITS if tenant is None else _LIMITS.where(_Q.tenant == tenant)
    return [limit_from(row) for row in statements.rows(query)]


def limit_from(row: Sequence[Any]) -> QueueLimit:
    """The limit of a row of its columns."""
    values: dict[str, Any] = dict(zip(QueueLimit.__struct_fields__, row, strict=True))
    return QueueLimit(**values)
