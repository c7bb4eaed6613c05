"""``client.queues``: queues, and how many of their runs workers may hold."""

from __future__ import annotations

import builtins
from typing import Final

from holdfast.client.pauses import NOTE_MAX
from holdfast.client.requests import Requests
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import UnixMs
from holdfast.model.limit import QueueLimit, QueueRow
from holdfast.model.run import RunFilter
from holdfast.model.search import GroupBy
from holdfast.model.status import RunStatus
from holdfast.store.port import Hint

GROUPS_MAX: Final = 1_000
RUNNING_MAX: Final = 2**31 - 1


class Queues(Requests):
    """The queues of this client's tenant.

    A limit bounds how many runs of the queue workers hold at the same time, all workers together: a mail server takes
    20 connections, a partner five requests. Runs that wait, for a signal, a timer or a child, are held by nobody and
    count for nothing. What is beyond the limit stays in the line, keeps its place, and is claimed as soon as another
    run of the queue ends or waits. Other queues, and other tenants' runs in a queue of the same name, notice nothing.
    """

    async def limit(self, queue: str, *, running: int | None, actor: str = "", reason: str = "") -> QueueLimit | None:
        """Set the limit of a queue, or lift it; what is set now, None if there is no limit.

        A limit below what workers hold takes nothing from them: no more are claimed until enough of them have left.

        Args:
            queue: the queue's name.
            running: how many of its runs workers may hold, 0 or more; None lifts the limit.
            actor: who asks.
            reason: why.

        Raises:
            UsageError: a bad name, or a number below 0.
        """
        from holdfast.store.queues import delete_limit, write_limit

        check_name("queue", queue)
        if len(actor) > NOTE_MAX or len(reason) > NOTE_MAX:
            raise UsageError(f"actor and reason may have at most {NOTE_MAX} characters each")
        if running is not None and not 0 <= running <= RUNNING_MAX:
            raise UsageError(f"the limit of a queue is a number from 0 to {RUNNING_MAX}, or None; not {running!r}")

        def write() -> QueueLimit | None:
            if running is None:
                self.store.transact(self.tenant, lambda statements: delete_limit(statements, self.tenant, queue))
                return None
            wanted = QueueLimit(
                tenant=self.tenant, queue=queue, running_max=running, set_ms=UnixMs(0), actor=actor, note=reason
            )
            return self.store.transact(self.tenant, lambda statements: write_limit(statements, wanted))

        found = await self._send(write)
        self.store.hints.publish(Hint(work=True))
        return found

    async def get(self, queue: str) -> QueueRow:
        """One queue; without limit, pause and runs if nobody has ever heard of it."""
        check_name("queue", queue)
        found = [row for row in await self.list() if row.queue == queue]
        return found[0] if found else QueueRow(queue=queue, limit=None, pause=None, queued=0, running=0)

    async def list(self) -> builtins.list[QueueRow]:
        """Every queue that has a limit, a pause, or a run that is queued or running; by name."""
        from holdfast.store.queues import list_limits
        from holdfast.store.tenancy import list_pauses

        def read() -> builtins.list[QueueRow]:
            limits, pauses = self.store.transact(
                self.tenant, lambda s: (list_limits(s, self.tenant), list_pauses(s, self.tenant)), read_only=True
            )
            limit_of = {limit.queue: limit for limit in limits}
            pause_of = {pause.name: pause for pause in pauses if pause.kind == "queue"}
            queued, running = self._count(RunStatus.QUEUED), self._count(RunStatus.RUNNING)
            return [
                QueueRow(
                    queue=name,
                    limit=limit_of.get(name),
                    pause=pause_of.get(name),
                    queued=queued.get(name, 0),
                    running=running.get(name, 0),
                )
                for name in sorted({*limit_of, *pause_of, *queued, *running})
            ]

        return await self._send(read)

    def _count(self, status: RunStatus) -> dict[str, int]:
        where = RunFilter(statuses=frozenset({status}))
        groups = self.store.group_runs(self.tenant, where, GroupBy.QUEUE, limit=GROUPS_MAX)
        return {group.value: group.count for group in groups}
