"""For whom a transaction acts: one tenant, or all of them. Said to the database only while the wall stands.

``wall.py`` builds the wall. While there is none, nothing is said and nothing costs anything; whether there is one is
asked again every few seconds, so that it may be built and taken down under running processes. What is said ends with
the transaction, and so nothing is left in a connection that a pooler gives to somebody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.model.ids import Tenant
from holdfast.store.postgres.connection import Row
from holdfast.store.postgres.statements import Step

LOOK_S: Final = 5.0
"""How long an answer to "is there a wall?" is believed."""

WORKER_ROLE: Final = "holdfast_worker"
"""Members of this role may act for all tenants."""


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom a transaction acts. Nobody: it sees none of the rows behind the wall."""

    tenant: Tenant | None = None
    everyone: bool = False

    @property
    def step(self) -> Step:
        """The statement that says so."""
        return "enter_tenant", {"tenant": self.tenant or "", "all_tenants": "on" if self.everyone else ""}


NOBODY: Final = Scope()
EVERYONE: Final = Scope(everyone=True)


def scope_of(tenant: Tenant | None) -> Scope:
    """A tenant's own scope; everyone's for None."""
    return EVERYONE if tenant is None else Scope(tenant)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of the wall."""

    stands: bool
    serves_all: bool
    """Whether our role may act for all tenants."""

    @classmethod
    def of(cls, rows: list[Row]) -> Sight:
        """From the row of ``read_wall``."""
        stands, serves_all = rows[0]
        return cls(stands, serves_all)


class Watch:
    """What is known of the wall, for so long as it may be believed. Safe from any thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._seen: tuple[float, Sight] | None = None

    def known(self) -> Sight | None:
        """What was seen lately; None: look again."""
        seen = self._seen
        return seen[1] if seen is not None and self._clock_s() < seen[0] + LOOK_S else None

    def now_s(self) -> float:
        """The moment before a look, to be told to ``learn``."""
        return self._clock_s()

    def learn(self, at_s: float, sight: Sight) -> Sight:
        """Believe what was seen by a look that began at ``at_s``."""
        self._seen = (at_s, sight)
        return sight
