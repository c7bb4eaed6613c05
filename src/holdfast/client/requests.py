"""What all requests of a client have in common: a store, a tenant, and asking again when an answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from holdfast.core.names import check_name
from holdfast.errors import CommitUnknown, StoreUnavailable
from holdfast.model.ids import DEFAULT_TENANT, Tenant
from holdfast.runtime.backoff import Backoff
from holdfast.runtime.host import Host
from holdfast.store.port import Store

T = TypeVar("T")

TRIES: Final = 5
"""How often a request is sent when the database does not answer: about one second in all."""


class Requests:
    """One tenant, one database."""

    def __init__(self, store: Store, host: Host, *, tenant: Tenant = DEFAULT_TENANT) -> None:
        self.store = store
        self.tenant = Tenant(check_name("tenant", tenant))
        self._host = host

    async def _send(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Send a request again if its answer is lost; tell "not done" from "unknown".

        Reads may be repeated, and a request that writes names its rows, so that a second time does nothing.
        """
        backoff = Backoff(self._host.random)
        unknown: CommitUnknown | None = None
        for remaining in reversed(range(TRIES)):
            try:
                call: Awaitable[T] = self._host.call("client", method, *args, **kwargs)
                return await call
            except CommitUnknown as error:
                unknown = error
                if not remaining:
                    raise
            except StoreUnavailable as error:
                if not remaining:
                    raise (unknown or error) from error
            await asyncio.sleep(backoff.next_s())
        raise AssertionError("unreachable")
