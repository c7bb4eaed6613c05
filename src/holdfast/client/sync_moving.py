"""The blocking form of ``Moving``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.client.moving import Moving
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
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.move``."""
        return self._portal.call(self._control.move(run_id, version, mapping, actor=actor, reason=reason))

    def append(
        self,
        run_id: str,
        *nodes: Node | Mapping[str, Any],
        edges: Iterable[Edge | Mapping[str, Any]] = (),
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.append``."""
        return self._portal.call(self._control.append(run_id, *nodes, edges=edges, actor=actor, reason=reason))
