"""What tenants have paused and how much they may run, as the reference store looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.ids import Tenant
from holdfast.model.limit import QueueLimit
from holdfast.model.pause import Pause, bar_of
from holdfast.model.run import Run
from holdfast.model.tenant import TenantPolicy


class Rules:
    """What keeps runs from being claimed."""

    def __init__(
        self,
        pauses: Sequence[Pause] = (),
        policies: Sequence[TenantPolicy] = (),
        limits: Sequence[QueueLimit] = (),
    ) -> None:
        self._pauses = {(pause.tenant, bar_of(pause.kind, pause.name)): pause for pause in pauses}
        self._running_max: dict[tuple[Tenant, str | None], int | None] = {
            (policy.tenant, None): policy.running_max for policy in policies
        }
        self._running_max |= {(limit.tenant, limit.queue): limit.running_max for limit in limits}

    def holds(self, tenant: Tenant, bar: str) -> bool:
        """Whether that pause is there."""
        return (tenant, bar) in self._pauses

    def pauses_of(self, run: Run) -> list[Pause]:
        """What is paused of all that the run belongs to, in the order of the words for it."""
        bars = (bar_of("queue", run.queue), bar_of("tenant", ""), bar_of("workflow", run.workflow))
        return [self._pauses[run.tenant, bar] for bar in bars if self.holds(run.tenant, bar)]

    def recalls(self, run: Run) -> bool:
        """Whether its worker is to give it back."""
        return any(pause.recalls for pause in self.pauses_of(run))

    def running_max(self, tenant: Tenant, queue: str | None = None) -> int | None:
        """How many runs of the tenant workers may hold; in one queue, unless it is None. None: there is no limit."""
        return self._running_max.get((tenant, queue))
