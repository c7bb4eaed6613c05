"""``client.closings`` of the blocking client."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from holdfast.client.closings import LEASE, Closings
from holdfast.client.portal import Portal
from holdfast.model.closing import Closing, Subscription
from holdfast.workflow.workflow import Workflow


class SyncClosings:
    """See ``Closings``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, closings: Closings) -> None:
        self._portal = portal
        self._closings = closings

    def subscribe(self, name: str, *workflows: Workflow[..., Any] | str) -> None:
        """As ``Closings.subscribe``."""
        self._portal.call(self._closings.subscribe(name, *workflows))

    def unsubscribe(self, name: str, workflow: Workflow[..., Any] | str | None = None) -> bool:
        """As ``Closings.unsubscribe``."""
        return self._portal.call(self._closings.unsubscribe(name, workflow))

    def list(self) -> builtins.list[Subscription]:
        """As ``Closings.list``."""
        return self._portal.call(self._closings.list())

    def claim(self, name: str, *, limit: int = 100, lease: timedelta | float = LEASE) -> builtins.list[Closing]:
        """As ``Closings.claim``."""
        return self._portal.call(self._closings.claim(name, limit=limit, lease=lease))

    def acknowledge(self, closings: Iterable[Closing]) -> None:
        """As ``Closings.acknowledge``."""
        self._portal.call(self._closings.acknowledge(closings))

    def follow(self, name: str, *, lease: timedelta | float = LEASE) -> Iterator[Closing]:
        """As ``Closings.follow``."""
        closings = self._closings.follow(name, lease=lease)

        async def following() -> Closing:
            return await anext(closings)

        async def leave() -> None:
            await closings.aclose()

        try:
            while True:
                yield self._portal.call(following())
        finally:
            self._portal.call(leave())
