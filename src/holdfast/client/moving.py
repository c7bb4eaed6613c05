"""Runs that go on with another version of their graph, or with steps that are appended to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from msgspec import structs

from holdfast.client.control import NOTE_MAX, Control
from holdfast.client.definitions import Definitions
from holdfast.client.watching import Watch
from holdfast.core.control import check_move
from holdfast.core.definitions import check_definition, content_hash
from holdfast.core.definitions.appending import append_nodes
from holdfast.core.definitions.documents import read_part
from holdfast.core.definitions.moving import MovePlan, plan_move
from holdfast.core.ids import check_run_id
from holdfast.errors import CommandRefused, HoldfastError, RunHeld
from holdfast.model.command import Change, HandBack, MoveTo, allowed_from
from holdfast.model.definition import Definition, Edge, Node
from holdfast.model.ids import RunId
from holdfast.model.run import Run
from holdfast.workflow.duration import milliseconds, seconds

WAIT: Final = timedelta(seconds=30)
"""How long a worker may take to give a run back that is to be moved."""

ASIDE: Final = timedelta(seconds=5)
"""How much longer a run stands aside for who wants to move it. So long it stands still if that program dies."""

APPENDED = "append"
"""How the source of a version begins that steps were appended to; the run's id follows."""


class Moving(Control):
    """The part of ``Client`` that changes which version a run follows."""

    definitions: Definitions

    async def plan_move(self, run_id: str, version: int | str, mapping: Mapping[str, str] | None = None) -> MovePlan:
        """What ``move`` would do now, and everything that stands against it. Nothing is changed.

        Args:
            run_id: the run.
            version: the version's number, content hash or release.
            mapping: nodes that have another key in that version, old path to new (``outer/inner``).

        Raises:
            CommandRefused: it is a function's run, which follows no version.
            DefinitionNotFound, ReleaseNotFound: there is no such version.
        """
        detail = await self._send(self.store.read_detail, self.tenant, check_run_id(run_id))
        before = await self._pinned(detail.run)
        after = await self.definitions.get(detail.run.workflow, version)
        return plan_move(before, after.definition, detail, mapping or {})

    async def move(
        self,
        run_id: str,
        version: int | str,
        mapping: Mapping[str, str] | None = None,
        *,
        wait: timedelta | float = WAIT,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """Let a run go on with another version of its graph. What is recorded stays, if need be under other keys.

        Whether it can is decided in the transaction that does it, from what is recorded then. A worker that holds the
        run gives it back first, as soon as the handlers that run have ended; it goes on at once when it has been moved,
        and also if it has not. If it waits, it looks again at once. Who follows that version already is answered.

        Args:
            run_id: the run.
            version: the version's number, content hash or release.
            mapping: nodes that have another key in that version, old path to new (``outer/inner``).
            wait: how long a worker may take to give it back; a timedelta, or seconds.
            actor: who asks.
            reason: why.

        Raises:
            MoveRefused: what is recorded disagrees with that version; ``problems`` lists node and reason.
            RunHeld: a handler has not ended in time; nothing was moved.
            CommandRefused: it undoes what it did, it is to be cancelled, it is a function's run, or it was moved by
                somebody else meanwhile.
            DefinitionNotFound, ReleaseNotFound: there is no such version.
        """
        run = await self._send(self.store.get_run, self.tenant, check_run_id(run_id))
        before = await self._pinned(run)
        after = await self.definitions.get(run.workflow, version)
        command = _command(run, before, after.definition, after.version.number, dict(mapping or {}))
        return await self._move(run.id, command, seconds(wait, "wait"), actor=actor, reason=reason)

    async def append(
        self,
        run_id: str,
        *nodes: Node | Mapping[str, Any],
        edges: Iterable[Edge | Mapping[str, Any]] = (),
        wait: timedelta | float = WAIT,
        actor: str = "",
        reason: str = "",
    ) -> Run:
        """Append nodes to the graph that a run follows: to this run's graph, not to any other's.

        A version with these nodes is stored, whose source names the run, and the run is moved to it. A crash between
        the two leaves a version that nobody follows. Asked again with the same nodes, nothing more happens.

        Args:
            run_id: the run.
            nodes: as records of ``holdfast.model.definition``, or as in documents: ``{"kind": "step", "key": ...}``.
                Each handler is the name of a registered step.
            edges: what they come after: ``{"source": ..., "target": ...}``. A node without an edge begins at once.
            wait: how long a worker that holds the run may take to give it back; a timedelta, or seconds.
            actor: who asks.
            reason: why.

        Raises:
            GraphError: a key is taken, an edge leads into an older node, or the graph could not be run.
            DefinitionError: a node or edge is none.
            RunFinished: the run has ended. And as ``move``.
        """
        part = read_part(nodes, edges)
        detail = await self._send(self.store.read_detail, self.tenant, check_run_id(run_id))
        run = detail.run
        before = await self._pinned(run)
        if part.nodes and _has_all(before.nodes, part.nodes) and _has_all(before.edges, part.edges):
            return run
        after = append_nodes(before, part)
        check_definition(after)
        # Nothing is stored for a run that would refuse it; that it still takes it is decided when it is moved.
        given_back = structs.replace(detail, run=structs.replace(run, worker=None))
        check_move(given_back, _command(run, before, after, 0, {}))
        source = f"{APPENDED}:{run.id}"
        put = await self.definitions.put(after, source=source, created_by=actor)
        command = _command(run, before, after, put.version.number, {})
        return await self._move(run.id, command, seconds(wait, "wait"), actor=actor, reason=reason)

    async def _move(self, run_id: RunId, command: MoveTo, wait: timedelta, *, actor: str, reason: str) -> Run:
        """Move the run, and let its worker give it back before, if one holds it."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + wait.total_seconds()
        asked = False
        try:
            while True:
                try:
                    return await self.command(run_id, command, actor=actor, reason=reason)
                except RunHeld:
                    left_s = give_up_s - loop.time()
                    if left_s <= 0:
                        raise
                asked = True
                within_ms = milliseconds(timedelta(seconds=left_s) + ASIDE)
                await self.command(run_id, HandBack(within_ms), actor=actor, reason=reason)
                await self._until_given_back(run_id, give_up_s)
        except BaseException as error:
            if asked:
                await self._let_go_on(run_id, error, actor)
            raise

    async def _until_given_back(self, run_id: RunId, give_up_s: float) -> None:
        async with Watch(self.store.hints, run_id) as watch:
            while True:
                watch.look()
                run = await self._send(self.store.get_run, self.tenant, run_id)
                left_s = give_up_s - asyncio.get_running_loop().time()
                if run.worker is None or left_s <= 0:
                    return
                await watch.wait(left_s)

    async def _let_go_on(self, run_id: RunId, error: BaseException, actor: str) -> None:
        """It is not moved: nobody waits for it any longer. It would go on without this too, but later."""
        why = f"not moved: {error}"[:NOTE_MAX]
        try:
            await self.command(run_id, HandBack(0), actor=actor, reason=why)
            run = await self._send(self.store.get_run, self.tenant, run_id)
            if run.stands_aside:
                await self.command(run_id, Change(wake=True), actor=actor, reason=why)
        except HoldfastError as lost:
            error.add_note(f"run {run_id} goes on by itself by the time that was asked for: {lost}")

    async def _pinned(self, run: Run) -> Definition:
        if run.definition_hash is None:
            allowed = ", ".join(word for word in allowed_from(run.status) if word != "move")
            why = "it is a function's run, which follows no stored version"
            raise CommandRefused(run_id=run.id, status=run.status, command="move", allowed=allowed, why=why)
        return (await self.definitions.get(run.workflow, run.definition_hash)).definition


def _command(run: Run, before: Definition, after: Definition, number: int, mapping: dict[str, str]) -> MoveTo:
    return MoveTo(
        from_hash=run.definition_hash or "",
        before=before,
        version=number,
        definition_hash=content_hash(after),
        after=after,
        mapping=mapping,
    )


def _has_all(known: Sequence[object], asked: Sequence[object]) -> bool:
    return all(one in known for one in asked)
