"""The blocking form of ``Control``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from holdfast.client.control import Control
from holdfast.client.portal import Portal
from holdfast.model.command import Command
from holdfast.model.run import Run


class SyncControl:
    """The part of ``SyncClient`` that operates runs: every method does what its namesake does, and blocks."""

    _portal: Portal

    @property
    def _control(self) -> Control:
        raise NotImplementedError

    def cancel(self, run_id: str, *, compensate: bool = False, actor: str = "", reason: str = "") -> Run:
        """As ``Client.cancel``."""
        return self._portal.call(self._control.cancel(run_id, compensate=compensate, actor=actor, reason=reason))

    def terminate(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.terminate``."""
        return self._portal.call(self._control.terminate(run_id, actor=actor, reason=reason))

    def pause(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.pause``."""
        return self._portal.call(self._control.pause(run_id, actor=actor, reason=reason))

    def resume(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.resume``."""
        return self._portal.call(self._control.resume(run_id, actor=actor, reason=reason))

    def release(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.release``."""
        return self._portal.call(self._control.release(run_id, actor=actor, reason=reason))

    def close_stuck(self, run_id: str, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.close_stuck``."""
        return self._portal.call(self._control.close_stuck(run_id, actor=actor, reason=reason))

    def settle(
        self,
        run_id: str,
        key: str,
        *,
        result: Any = None,
        error: str | BaseException | None = None,
        step: str = "",
        unseen: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.settle``."""
        return self._portal.call(
            self._control.settle(
                run_id, key, result=result, error=error, step=step, unseen=unseen, actor=actor, reason=reason
            )
        )

    def change(
        self,
        run_id: str,
        *,
        priority: int | None = None,
        queue: str | None = None,
        timeout: timedelta | float | None = None,
        drop_deadline: bool = False,
        wake: bool = False,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.change``."""
        return self._portal.call(
            self._control.change(
                run_id,
                priority=priority,
                queue=queue,
                timeout=timeout,
                drop_deadline=drop_deadline,
                wake=wake,
                actor=actor,
                reason=reason,
            )
        )

    def command(self, run_id: str, command: Command, *, actor: str = "", reason: str = "") -> Run:
        """As ``Client.command``."""
        return self._portal.call(self._control.command(run_id, command, actor=actor, reason=reason))

    def retry(self, run_id: str, *, from_start: bool = False, actor: str = "", reason: str = "") -> Run:
        """As ``Client.retry``."""
        return self._portal.call(self._control.retry(run_id, from_start=from_start, actor=actor, reason=reason))

    def fork(
        self,
        run_id: str,
        *,
        before: str | None = None,
        args: Sequence[Any] | None = None,
        results: Mapping[str, Any] = {},
        request_id: str | None = None,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """As ``Client.fork``."""
        return self._portal.call(
            self._control.fork(
                run_id,
                before=before,
                args=args,
                results=results,
                request_id=request_id,
                actor=actor,
                reason=reason,
            )
        )
