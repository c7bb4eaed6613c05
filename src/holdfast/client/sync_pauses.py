"""``client.pauses`` of the blocking client."""

from __future__ import annotations

import builtins

from holdfast.client.pauses import Pauses
from holdfast.client.portal import Portal
from holdfast.model.pause import Pause


class SyncPauses:
    """See ``Pauses``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, pauses: Pauses) -> None:
        self._portal = portal
        self._pauses = pauses

    def pause(
        self,
        *,
        queue: str | None = None,
        workflow: str | None = None,
        tenant: bool = False,
        recall: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Pause:
        """As ``Pauses.pause``."""
        return self._portal.call(
            self._pauses.pause(queue=queue, workflow=workflow, tenant=tenant, recall=recall, actor=actor, reason=reason)
        )

    def resume(self, *, queue: str | None = None, workflow: str | None = None, tenant: bool = False) -> bool:
        """As ``Pauses.resume``."""
        return self._portal.call(self._pauses.resume(queue=queue, workflow=workflow, tenant=tenant))

    def list(self) -> builtins.list[Pause]:
        """As ``Pauses.list``."""
        return self._portal.call(self._pauses.list())
