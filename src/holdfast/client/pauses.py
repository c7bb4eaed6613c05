"""``client.pauses``: queues, workflows and the tenant, paused and resumed as a whole."""

from __future__ import annotations

import builtins
from typing import Final

from holdfast.client.requests import Requests
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.pause import Pause, PauseKind
from holdfast.store.port import Hint

NOTE_MAX: Final = 1000


class Pauses(Requests):
    """What this client's tenant has paused.

    A run whose queue, workflow or tenant is paused is not claimed, whoever its worker may be. Starts are accepted and
    stand in the line, where they keep their place; signals, timers and ends of children close waits as ever. A run that
    a worker holds goes on until it waits or ends, unless the pause recalls it. Other tenants notice nothing.
    """

    async def pause(
        self,
        *,
        queue: str | None = None,
        workflow: str | None = None,
        tenant: bool = False,
        recall: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Pause:
        """Pause one thing; what is paused already stays as it was paused first.

        Args:
            queue: the name of a queue: the tenant's runs in it.
            workflow: the name of a workflow: the tenant's runs of it, in every queue.
            tenant: all runs of the tenant.
            recall: workers give back the runs of it that they hold, as soon as the handlers under way have ended.
            actor: who asks.
            reason: why; ``explain`` of each run that stands still tells it.

        Raises:
            UsageError: not exactly one thing was named.
        """
        from holdfast.store.tenancy import write_pause

        if len(actor) > NOTE_MAX or len(reason) > NOTE_MAX:
            raise UsageError(f"actor and reason may have at most {NOTE_MAX} characters each")
        kind, name = self._thing(queue, workflow, tenant)
        wanted = Pause(
            tenant=self.tenant, kind=kind, name=name, recalls=recall, since_ms=UnixMs(0), actor=actor, note=reason
        )

        def write() -> Pause:
            return self.store.transact(self.tenant, lambda statements: write_pause(statements, wanted))

        found = await self._send(write)
        if recall:
            self.store.hints.publish(Hint(live=None))
        return found

    async def resume(self, *, queue: str | None = None, workflow: str | None = None, tenant: bool = False) -> bool:
        """Take a pause back; whether there was one. Workers hear of it at once."""
        from holdfast.store.tenancy import delete_pause

        kind, name = self._thing(queue, workflow, tenant)

        def delete() -> bool:
            return self.store.transact(
                self.tenant, lambda statements: delete_pause(statements, self.tenant, kind, name)
            )

        found = await self._send(delete)
        self.store.hints.publish(Hint(work=True))
        return found

    async def list(self) -> builtins.list[Pause]:
        """What is paused, by kind and name."""
        from holdfast.store.tenancy import list_pauses

        def read() -> builtins.list[Pause]:
            return self.store.transact(
                self.tenant, lambda statements: list_pauses(statements, self.tenant), read_only=True
            )

        return await self._send(read)

    def _thing(self, queue: str | None, workflow: str | None, tenant: bool) -> tuple[PauseKind, str]:  # noqa: FBT001 - as it was given
        given: builtins.list[tuple[PauseKind, str]] = []
        if queue is not None:
            given.append(("queue", check_name("queue", queue)))
        if workflow is not None:
            given.append(("workflow", check_name("workflow", workflow)))
        if tenant:
            given.append(("tenant", self.tenant))
        if len(given) != 1:
            raise UsageError("name one of queue=, workflow= and tenant=True")
        return given[0]
