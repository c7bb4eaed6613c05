"""``client.queues`` of the blocking client."""

from __future__ import annotations

import builtins

from holdfast.client.portal import Portal
from holdfast.client.queues import Queues
from holdfast.model.limit import QueueLimit, QueueRow


class SyncQueues:
    """See ``Queues``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, queues: Queues) -> None:
        self._portal = portal
        self._queues = queues

    def limit(self, queue: str, *, running: int | None, actor: str = "", reason: str = "") -> QueueLimit | None:
        """As ``Queues.limit``."""
        return self._portal.call(self._queues.limit(queue, running=running, actor=actor, reason=reason))

    def get(self, queue: str) -> QueueRow:
        """As ``Queues.get``."""
        return self._portal.call(self._queues.get(queue))

    def list(self) -> builtins.list[QueueRow]:
        """As ``Queues.list``."""
        return self._portal.call(self._queues.list())
