"""The blocking form of ``Bulk``."""

from __future__ import annotations

import builtins
from datetime import timedelta
from typing import Any, Unpack

from holdfast.client.bulk import Bulk, BulkOptions
from holdfast.client.filters import Filters
from holdfast.client.portal import Portal
from holdfast.model.bulk import Action, BulkError, BulkJob


class SyncBulk:
    """``client.bulk`` of a ``SyncClient``: every method does what its namesake does, and blocks."""

    def __init__(self, portal: Portal, bulk: Bulk) -> None:
        self._portal = portal
        self._bulk = bulk

    def count(self, query: str | None = None, **filters: Unpack[Filters]) -> dict[str, int]:
        """As ``Bulk.count``."""
        return self._portal.call(self._bulk.count(query, **filters))

    def start(self, action: Action | str, query: str | None = None, **options: Unpack[BulkOptions]) -> BulkJob:
        """As ``Bulk.start``."""
        return self._portal.call(self._bulk.start(action, query, **options))

    def signal(
        self, name: str, payload: Any = None, query: str | None = None, **options: Unpack[BulkOptions]
    ) -> BulkJob:
        """As ``Bulk.signal``."""
        return self._portal.call(self._bulk.signal(name, payload, query, **options))

    def get(self, job_id: str) -> BulkJob:
        """As ``Bulk.get``."""
        return self._portal.call(self._bulk.get(job_id))

    def list(self, *, limit: int = 50) -> builtins.list[BulkJob]:
        """As ``Bulk.list``."""
        return self._portal.call(self._bulk.list(limit=limit))

    def errors(self, job_id: str, *, limit: int = 100, after: str | None = None) -> builtins.list[BulkError]:
        """As ``Bulk.errors``."""
        return self._portal.call(self._bulk.errors(job_id, limit=limit, after=after))

    def stop(self, job_id: str, *, actor: str = "") -> BulkJob:
        """As ``Bulk.stop``."""
        return self._portal.call(self._bulk.stop(job_id, actor=actor))

    def wait(self, job_id: str, *, timeout: timedelta | float | None = None) -> BulkJob:
        """As ``Bulk.wait``."""
        return self._portal.call(self._bulk.wait(job_id, timeout=timeout))

    def work(self, job_id: str) -> BulkJob:
        """As ``Bulk.work``."""
        return self._portal.call(self._bulk.work(job_id))
