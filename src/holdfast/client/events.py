"""Events: what happened to a run, or to all runs of the tenant, first what is recorded and then what happens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Final, TypedDict, TypeVar, Unpack

from holdfast.client.outputs import Outputs
from holdfast.client.watching import Watch
from holdfast.core.ids import check_run_id
from holdfast.errors import UsageError
from holdfast.model.event import Event, EventFilter, EventKind, EventPage
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.status import RunStatus
from holdfast.workflow.duration import unix_milliseconds

PAGE: Final = 2_000
"""How many events one read looks at: less would be dearer for tenants that are few among many."""

SETTLING_S: Final = 0.5
"""How often to look again at what older transactions keep from being told, if no hint comes."""

_E = TypeVar("_E", EventKind, RunStatus)


class EventOptions(TypedDict, total=False):
    """Which events; every given condition must hold."""

    kinds: Iterable[EventKind | str]
    """``transition`` (the default), ``record``: outcomes in the journal, of one run only."""
    reasons: Iterable[str]
    """Any of these reasons of transitions (``claimed``, ``completed``), or kinds of records (``step``)."""
    without: Iterable[str]
    """None of these."""
    statuses: Iterable[RunStatus | str]
    """Transitions to one of these statuses."""
    workflow: str | None
    key: str | None
    """About the step or wait with this key."""
    since: datetime | None
    until: datetime | None


class Events(Outputs):
    """The part of ``Client`` that tells what happens."""

    async def events(
        self,
        run_id: str | None = None,
        *,
        after: str | None = None,
        follow: bool = False,
        speed: float | None = None,
        **options: Unpack[EventOptions],
    ) -> AsyncGenerator[Event]:
        """The events of a run, or of all the tenant's runs: those that are recorded and, if asked, those to come.

        Between the two parts there is no gap, and no event comes twice. Each event has a ``cursor``: handed back as
        ``after``, in whatever process and however late, it goes on behind that event. Transitions of one run come in
        their order; of a tenant in an order that is the same for every reader. A reader may be as slow as it likes:
        nothing is kept for it. Where events were deleted before it read them it gets an event of kind ``gap``.

        Args:
            run_id: the run; all the tenant's runs by default.
            after: the cursor of an event of the same run, or of all.
            follow: go on with what happens; of one run until it has ended, of a tenant for ever.
            speed: play what is recorded at its original pace, this many times as fast: an event comes no sooner after
                the first than it happened after it, divided by ``speed``. Without it all come at once.
            options: see ``EventOptions``.

        Raises:
            RunNotFound: there is no such run, or it was deleted meanwhile.
            UsageError: a condition or the cursor is malformed, or ``speed`` is no positive number.
        """
        checked = None if run_id is None else check_run_id(run_id)
        told = self._tell(checked, filter_events(checked, options), after, follow=follow)
        if speed is not None:
            told = self._pace(told, speed)
        async with aclosing(told):
            async for event in told:
                yield event

    async def _tell(
        self, checked: RunId | None, where: EventFilter, after: str | None, *, follow: bool
    ) -> AsyncGenerator[Event]:
        if not follow:
            while True:
                page = await self._page(where, after)
                for event in page.events:
                    yield event
                if not page.more:
                    return
                after = page.next
        async with Watch(self.store.hints, checked) as watch:
            while True:
                watch.look()
                page = await self._page(where, after)
                after = page.next
                if page.events:
                    watch.found()
                for event in page.events:
                    yield event
                if page.ended:
                    return
                if not page.more:
                    await watch.wait(*([SETTLING_S] if page.settling else []))

    async def _pace(self, told: AsyncGenerator[Event], speed: float) -> AsyncGenerator[Event]:
        if not 0 < speed < math.inf:
            raise UsageError(f"speed is {speed}; it must be a positive number")
        began_ms, first_ms = self._host.monotonic_ms(), None
        async with aclosing(told):
            async for event in told:
                if first_ms is None:
                    began_ms, first_ms = self._host.monotonic_ms(), event.at_ms
                due_ms = began_ms + (event.at_ms - first_ms) / speed
                await asyncio.sleep(max(0.0, due_ms - self._host.monotonic_ms()) / 1000)
                yield event

    async def _page(self, where: EventFilter, after: str | None) -> EventPage:
        return await self._send(self.store.read_events, self.tenant, where, after=after, limit=PAGE)


def filter_events(run_id: RunId | None, options: EventOptions) -> EventFilter:
    """The filter that these options mean. Raises UsageError."""
    return EventFilter(
        run_id=run_id,
        kinds=_words(EventKind, options.get("kinds", ())) or frozenset({EventKind.TRANSITION}),
        reasons=_texts(options.get("reasons", ())),
        without=_texts(options.get("without", ())),
        statuses=_words(RunStatus, options.get("statuses", ())),
        workflow=options.get("workflow"),
        key=options.get("key"),
        from_ms=_moment(options.get("since")),
        before_ms=_moment(options.get("until")),
    )


def _texts(given: Iterable[str]) -> frozenset[str]:
    return frozenset([given] if isinstance(given, str) else given)


def _words(words: type[_E], given: Iterable[_E | str]) -> frozenset[_E]:
    try:
        return frozenset(words(one) for one in ([given] if isinstance(given, str) else given))
    except ValueError as error:
        known = ", ".join(one.value for one in words)
        raise UsageError(f"{error}; there are {known}") from None


def _moment(moment: datetime | None) -> UnixMs | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone")
    return UnixMs(unix_milliseconds(moment))
