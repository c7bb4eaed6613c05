"""What runs let others read: published values, streams, and the replies to updates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from holdfast.client.messages import Messages, SignalOptions
from holdfast.client.watching import Watch
from holdfast.core.ids import check_run_id, derive_id
from holdfast.core.names import check_name
from holdfast.errors import RunFinished, RunNotFound, UpdateRefused, UpdateTimeout, ValueNotFound
from holdfast.model.ids import Json, RunId, UnixMs
from holdfast.model.run import Entry
from holdfast.model.run import Outputs as FoundOutputs
from holdfast.model.status import TERMINAL_STATUSES, EntryKind, RunStatus
from holdfast.workflow.duration import optional_seconds
from holdfast.workflow.signals import UPDATE_PREFIX, UpdateReply, UpdateRequest

T_co = TypeVar("T_co", covariant=True)

_PAGE: Final = 500

_LINKS_MAX: Final = 20
"""How many links of a chain are asked for a value, from the last one on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(Generic[T_co]):
    """A value that a run published, with what it is worth."""

    value: T_co
    at: datetime
    status: RunStatus
    """The run's status when it was read: of an ended run it is the last word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamItem(Generic[T_co]):
    """One value of a run's stream."""

    offset: int
    """Where it stands: pass it as ``after`` to go on behind it."""
    value: T_co
    at: datetime


class Outputs(Messages):
    """The part of ``Client`` that reads what runs say while they are under way."""

    async def read(self, run_id: str, name: str, type_: Any = Any) -> Any:
        """The value that a run published last under a name. Raises RunNotFound, ValueNotFound, DecodeError.

        Of a run that continued: what its chain published last, if one of the last 20 links did.
        """
        return (await self.query(run_id, name, type_)).value

    async def query(self, run_id: str, name: str, type_: Any = Any) -> Published[Any]:
        """As ``read``, with when it was published and where the run is: answered without a worker."""
        checked = check_run_id(run_id)
        found = await self._read_published(checked, name)
        if found.status in TERMINAL_STATUSES:
            found = await self._read_of_chain(checked, name, found)
        if not found.entries:
            raise ValueNotFound(run_id=checked, name=name)
        [entry] = found.entries
        value = self._value(entry, type_, f"value {name!r} of run {checked}")
        return Published(value=value, at=_moment(entry.completed_ms), status=found.status)

    async def _read_published(self, run_id: RunId, name: str) -> FoundOutputs:
        kind = EntryKind.PUBLISHED
        return await self._send(self.store.read_outputs, self.tenant, run_id, kind, name, after=None, limit=1)

    async def _read_of_chain(self, run_id: RunId, name: str, found: FoundOutputs) -> FoundOutputs:
        """What the links behind an ended one published last, and the status of the last one."""
        link = await self.get(run_id, newest=True)
        status = link.status
        for _ in range(_LINKS_MAX):
            if link.id == run_id:
                break
            with contextlib.suppress(RunNotFound):
                later = await self._read_published(link.id, name)
                if later.entries:
                    return FoundOutputs(status, later.entries)
            if link.continued_from_id is None:
                break
            try:
                link = await self.get(link.continued_from_id)
            except RunNotFound:
                break
        return FoundOutputs(status, found.entries)

    async def stream(
        self, run_id: str, stream: str, type_: Any = Any, *, after: int = 0
    ) -> AsyncGenerator[StreamItem[Any]]:
        """The values of one of a run's streams from the first one on, and those to come; ends when the run has ended.

        Args:
            run_id: the run.
            stream: the stream's name.
            type_: the values' type; plain JSON by default.
            after: begin behind the item with this offset.

        Raises:
            RunNotFound: there is no such run.
        """
        checked = check_run_id(run_id)
        async with Watch(self.store.hints, checked) as watch:
            while True:
                watch.look()
                found = await self._send(
                    self.store.read_outputs, self.tenant, checked, EntryKind.EMITTED, stream, after=after, limit=_PAGE
                )
                for entry in found.entries:
                    after = entry.seq
                    value = self._value(entry, type_, f"an item of stream {stream!r} of run {checked}")
                    yield StreamItem(offset=entry.seq, value=value, at=_moment(entry.completed_ms))
                if found.entries:
                    watch.found()
                elif found.status in TERMINAL_STATUSES:
                    return
                else:
                    await watch.wait()

    async def update(
        self,
        run_id: str,
        name: str,
        value: Any = None,
        *,
        type_: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Ask a run to change something, and wait for its answer (``hf.updates``). Applied once.

        Args:
            run_id: the run.
            name: the update's name.
            value: any value that can be stored.
            type_: the answer's type; plain JSON by default.
            key: names the request: the same key is applied once and answered the same, however often it is sent.
            timeout: a timedelta, or seconds; no limit by default. The update may still be applied when it passes.

        Raises:
            UpdateRefused: the workflow refused it.
            UpdateTimeout: no answer in time.
            RunFinished: the run ended without an answer.
            RunNotFound: there is no such run.
        """
        checked = check_run_id(run_id)
        limit = optional_seconds(timeout, "timeout")
        check_name("update", name)
        request_id = self._host.new_id() if key is None else derive_id("update", checked, name, check_name("key", key))
        options = SignalOptions(run_id=checked, signal_id=request_id)
        # What continues meanwhile is followed link by link, since any of them may answer; with a key any of them may
        # have answered long ago.
        asked = checked if key is not None else (await self.get(checked, newest=True)).id
        try:
            async with (
                asyncio.timeout(None if limit is None else limit.total_seconds()),
                Watch(self.store.hints, asked) as watch,
            ):
                reply = await self._reply(checked, request_id)
                if reply is None:
                    await self.signal(f"{UPDATE_PREFIX}{name}", UpdateRequest(request_id, value), **options)
                    reply = await self._wait_for_reply(asked, request_id, watch)
        except TimeoutError:
            waited_s = None if limit is None else limit.total_seconds()
            raise UpdateTimeout(run_id=checked, name=name, timeout_s=waited_s) from None
        if reply.refused is not None:
            raise UpdateRefused(run_id=checked, name=name, why=reply.refused)
        where = f"the answer to update {name!r} of run {checked}"
        return self._codec.decoder(type_)(self._codec.encode(reply.value, where), where)

    async def _wait_for_reply(self, run_id: RunId, request_id: str, watch: Watch) -> UpdateReply:
        while True:
            watch.look()
            found = await self._send(
                self.store.read_outputs, self.tenant, run_id, EntryKind.REPLY, request_id, after=None, limit=1
            )
            for entry in found.entries:
                reply: UpdateReply = self._value(entry, UpdateReply, f"the reply to update {request_id}")
                return reply
            if found.status in TERMINAL_STATUSES:
                run_id = await self._successor(run_id, found.status)
                continue
            await watch.wait()

    async def _successor(self, run_id: RunId, status: RunStatus) -> RunId:
        """As which run an ended one continued; of links that are not kept any more, the last. Raises RunFinished."""
        successor = (await self.get(run_id)).continued_as_id
        if successor is None:
            raise RunFinished(run_id=run_id, status=status)
        try:
            return (await self.get(successor)).id
        except RunNotFound:
            newest = (await self.get(run_id, newest=True)).id
            if newest == run_id:
                raise
            return newest

    async def _reply(self, run_id: RunId, request_id: str) -> UpdateReply | None:
        found = await self._send(
            self.store.read_outputs, self.tenant, run_id, EntryKind.REPLY, request_id, after=None, limit=1
        )
        for entry in found.entries:
            reply: UpdateReply = self._value(entry, UpdateReply, f"the reply to update {request_id}")
            return reply
        return None

    def _value(self, entry: Entry, type_: Any, where: str) -> Any:
        return self._codec.decoder(type_)(entry.result or Json(b'{"value":null}'), where)


def _moment(moment_ms: UnixMs) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC)
