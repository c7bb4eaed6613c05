"""``client.breakers`` of the blocking client."""

from __future__ import annotations

import builtins
from datetime import timedelta

from holdfast.client.breakers import Breakers
from holdfast.client.portal import Portal
from holdfast.model.breaker import BreakerStanding


class SyncBreakers:
    """See ``Breakers``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, breakers: Breakers) -> None:
        self._portal = portal
        self._breakers = breakers

    def open(
        self, name: str, *, until_after: timedelta | float | None = None, actor: str = "", reason: str = ""
    ) -> BreakerStanding:
        """As ``Breakers.open``."""
        return self._portal.call(self._breakers.open(name, until_after=until_after, actor=actor, reason=reason))

    def close(self, name: str, *, actor: str = "", reason: str = "") -> BreakerStanding:
        """As ``Breakers.close``."""
        return self._portal.call(self._breakers.close(name, actor=actor, reason=reason))

    def get(self, name: str) -> BreakerStanding:
        """As ``Breakers.get``."""
        return self._portal.call(self._breakers.get(name))

    def list(self) -> builtins.list[BreakerStanding]:
        """As ``Breakers.list``."""
        return self._portal.call(self._breakers.list())
