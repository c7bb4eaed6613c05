"""The blocking form of ``Moving``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from holdfast.client.moving import WAIT, Moving
from holdfast.client.sync_control import SyncControl
from holdfast.core.definitions.moving import MovePlan
from holdfast.model.definition import Edge, Node
from holdfast.model.run import Run


class SyncMoving(SyncControl):
    """The part of ``SyncClient`` that changes which version a run follows."""

    @property
    def _control(self) -> Moving:
        raise NotImplementedError

    def plan_move(self, run_id: str, version: int | str, mapping: Mapping[str, str] | None = None) -> MovePlan:
        """As ``Client.plan_move``."""
        return self._portal.call(self._control.plan_move(run_id, version, mapping))

    def move(
        self,
        run_id: str,
        version: int | str,
        mapping: Mapping[str, str] | None = None,
        *,
        wait: timedelta | float = WAIT,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.move``."""
        return self._portal.call(self._control.move(run_id, version, mapping, wait=wait, actor=actor, reason=reason))

    def append(
        self,
        run_id: str,
        *nodes: Node | Mapping[str, Any],
        edges: Iterable[Edge | Mapping[str, Any]] = (),
        wait: timedelta | float = WAIT,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.append``."""
        appending = self._control.append(run_id, *nodes, edges=edges, wait=wait, actor=actor, reason=reason)
        return self._portal.call(appending)
