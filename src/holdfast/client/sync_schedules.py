"""The blocking form of ``Schedules``."""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta
from typing import Any

from holdfast.client.portal import Portal
from holdfast.client.schedules import Schedules
from holdfast.model.ids import RunId
from holdfast.model.schedule import ScheduleRow, TickRow
from holdfast.workflow.schedule import Schedule
from holdfast.workflow.workflow import Workflow


class SyncSchedules:
    """``client.schedules`` of a ``SyncClient``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, schedules: Schedules) -> None:
        self._portal = portal
        self._schedules = schedules

    def put(
        self,
        name: str,
        schedule: Schedule | str | timedelta,
        workflow: Workflow[..., Any] | str,
        /,
        *args: Any,
        actor: str = "",
    ) -> ScheduleRow:
        """As ``Schedules.put``."""
        return self._portal.call(self._schedules.put(name, schedule, workflow, *args, actor=actor))

    def create(
        self,
        name: str,
        schedule: Schedule | str | timedelta,
        workflow: Workflow[..., Any] | str,
        /,
        *args: Any,
        actor: str = "",
    ) -> ScheduleRow:
        """As ``Schedules.create``."""
        return self._portal.call(self._schedules.create(name, schedule, workflow, *args, actor=actor))

    def get(self, name: str) -> ScheduleRow:
        """As ``Schedules.get``."""
        return self._portal.call(self._schedules.get(name))

    def list(self, *, limit: int = 100, after: str = "") -> builtins.list[ScheduleRow]:
        """As ``Schedules.list``."""
        return self._portal.call(self._schedules.list(limit=limit, after=after))

    def ticks(self, name: str, *, limit: int = 50, before: int | None = None) -> builtins.list[TickRow]:
        """As ``Schedules.ticks``."""
        return self._portal.call(self._schedules.ticks(name, limit=limit, before=before))

    def next(self, name: str, *, count: int = 10) -> builtins.list[datetime]:
        """As ``Schedules.next``."""
        return self._portal.call(self._schedules.next(name, count=count))

    def pause(self, name: str, *, actor: str = "", reason: str = "") -> ScheduleRow:
        """As ``Schedules.pause``."""
        return self._portal.call(self._schedules.pause(name, actor=actor, reason=reason))

    def resume(self, name: str, *, actor: str = "") -> ScheduleRow:
        """As ``Schedules.resume``."""
        return self._portal.call(self._schedules.resume(name, actor=actor))

    def delete(self, name: str) -> bool:
        """As ``Schedules.delete``."""
        return self._portal.call(self._schedules.delete(name))

    def trigger(self, name: str, *, request_id: str | None = None) -> RunId:
        """As ``Schedules.trigger``."""
        return self._portal.call(self._schedules.trigger(name, request_id=request_id))

    def backfill(self, name: str, first: datetime, last: datetime) -> builtins.list[RunId]:
        """As ``Schedules.backfill``."""
        return self._portal.call(self._schedules.backfill(name, first, last))
