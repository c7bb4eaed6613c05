"""What programs and people tell runs: signals, and answers to approvals.

Every request that writes is named before it is sent (a run's id, a signal's id, an answer's id), so that an answer that
was lost can be asked for again without doing anything twice.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Required, TypedDict, Unpack

from msgspec import json

from holdfast.client.reading import Reading
from holdfast.core.approvals import read_question, write_verdict
from holdfast.core.codec import Codec
from holdfast.core.forms import misfits
from holdfast.core.ids import check_run_id, derive_id
from holdfast.core.names import check_name
from holdfast.errors import ApprovalNotFound, FormMismatch, UsageError
from holdfast.model.ids import DEFAULT_TENANT, RunId, Tenant
from holdfast.model.run import Answer, ApprovalPage, Signal, Verdict
from holdfast.model.status import WaitKind
from holdfast.runtime.host import Host
from holdfast.store.port import Store
from holdfast.workflow.duration import milliseconds, seconds

PAGE_MAX = 1000
"""The most rows of a page."""

_MISFITS_MAX = 10


class SignalOptions(TypedDict, total=False):
    """How a signal is sent."""

    run_id: str | None
    """The run; all of the tenant that wait for it, if None."""
    keep: timedelta | float | None
    """How long it is kept for waits to come; a timedelta, or seconds. Without it one to a single run is kept until
    it is consumed, and one to all not at all. Each run consumes one to all at most once."""
    key: str | None
    """Any text that names the message: the same key is delivered once per name and receiver, however often it is
    sent, for as long as the signal is kept."""
    signal_id: str | None
    """The same, as a UUID."""
    connection: Any
    """Your own open transaction on the same database: it is sent if and when you commit, and delivered soon after."""


class AnswerOptions(TypedDict, total=False):
    """A person's answer to an approval."""

    by: Required[str]
    """Who answers; recorded."""
    groups: Iterable[str]
    """The groups that the person belongs to, as far as they may be asked."""
    data: Any
    """What was entered into the form."""
    comment: str | None


class Messages(Reading):
    """The part of ``Client`` that talks to runs."""

    def __init__(
        self, store: Store, host: Host, *, tenant: Tenant = DEFAULT_TENANT, codec: Codec | None = None
    ) -> None:
        super().__init__(store, host, tenant=tenant)
        self._codec = codec or Codec()

    async def signal(self, name: str, payload: Any = None, **options: Unpack[SignalOptions]) -> builtins.list[RunId]:
        """Send a signal to one run, or to every run of the tenant that waits for it.

        To one run: kept until a wait takes it, also if none is open yet. Signals of one sender arrive in the order in
        which they were sent.

        Args:
            name: the signal's name.
            payload: any value that can be stored.
            options: see ``SignalOptions``.

        Returns:
            the runs whose wait it closed at once. Of a signal to more than 1,000 runs, the first ones: workers go on
            from there.

        Raises:
            RunNotFound, RunFinished: of the one run.
        """
        signal = self._new_signal(name, payload, options)
        connection = options.get("connection")
        if connection is None:
            return await self._send(self.store.send_signal, signal)
        send_async = getattr(self.store, "send_signal_in_async", None)
        if send_async is not None and type(connection).__name__.startswith("Async"):
            await send_async(connection, signal)
        else:
            self.store.send_signal_in(connection, signal)
        return []

    def signal_in(self, connection: Any, name: str, payload: Any, options: SignalOptions) -> None:
        """Send a signal in the caller's open transaction, on the caller's own thread."""
        self.store.send_signal_in(connection, self._new_signal(name, payload, options))

    def _new_signal(self, name: str, payload: Any, options: SignalOptions) -> Signal:
        check_name("signal", name)
        run_id, keep = options.get("run_id"), options.get("keep")
        key, signal_id = options.get("key"), options.get("signal_id")
        if key is not None and signal_id is not None:
            raise UsageError("signal() takes key= or signal_id=, not both")
        receiver = None if run_id is None else check_run_id(run_id)
        kept = None if keep is None else seconds(keep, "keep")
        if key is not None:
            made = derive_id("signal key", name, receiver or "", check_name("key", key))
        else:
            made = self._host.new_id() if signal_id is None else check_run_id(signal_id)
        return Signal(
            id=RunId(made),
            tenant=self.tenant,
            name=name,
            payload=self._codec.encode(payload, f"the payload of signal {name!r}"),
            run_id=receiver,
            keep_ms=None if kept is None else milliseconds(kept),
        )

    async def approvals(self, names: Iterable[str] = (), *, limit: int = 50, after: str | None = None) -> ApprovalPage:
        """The inbox: a page of open approvals, oldest first; pass its ``next`` as ``after`` for the page behind it.

        Args:
            names: only those that somebody with one of these names (a person's, or a group's) may answer now.
            limit: the most approvals of a page, 1 to 1000.
            after: where the page begins.
        """
        if not 1 <= limit <= PAGE_MAX:
            raise UsageError(f"limit must be between 1 and {PAGE_MAX}, not {limit}")
        if isinstance(names, str):
            raise UsageError(f"approvals() takes several names: write [{names!r}]")
        return await self._send(self.store.list_approvals, self.tenant, names=[*names], limit=limit, after=after)

    async def approve(self, run_id: str, key: str = "approval", **answer: Unpack[AnswerOptions]) -> None:
        """Approve what a run asks, for a person: once, recorded with who and when.

        Args:
            run_id: the run.
            key: the approval's key in its journal.
            answer: see ``AnswerOptions``; ``by`` is required.

        Raises:
            FormMismatch: the data does not fit the form.
            NotAnApprover: somebody else has to answer.
            ApprovalClosed: it was answered before, or is not waited for any more.
            ApprovalNotFound, RunNotFound: there is no such approval.
        """
        await self._answer(run_id, key, answer, approved=True)

    async def reject(self, run_id: str, key: str = "approval", **answer: Unpack[AnswerOptions]) -> None:
        """Reject what a run asks. As ``approve``; a rejection need not bring data."""
        await self._answer(run_id, key, answer, approved=False)

    async def _answer(self, run_id: str, key: str, given: AnswerOptions, *, approved: bool) -> None:
        checked = check_run_id(run_id)
        by, data = given["by"], given.get("data")
        where = f"the data of approval {key!r} of run {checked}"
        detail = await self._send(self.store.read_detail, self.tenant, checked)
        wait = next((one for one in detail.waits if one.key == key and one.kind is WaitKind.APPROVAL), None)
        if wait is None or wait.request is None:
            raise ApprovalNotFound(run_id=checked, key=key)
        stored = self._codec.encode(data, where)
        form = read_question(wait.request).form
        # The wait's row never changes what it asks, so that the form holds when the answer is recorded too.
        if form is not None and (approved or data is not None):
            wrong = misfits(form, json.decode(stored)["value"])
            if wrong:
                raise FormMismatch(run_id=checked, key=key, why="; ".join(wrong[:_MISFITS_MAX]))
        verdict = Verdict(approved=approved, by=by, data=self._codec.unwrap(stored), comment=given.get("comment"))
        answer = Answer(
            id=RunId(self._host.new_id()),
            tenant=self.tenant,
            run_id=checked,
            key=key,
            names=[check_name("approver", by), *given.get("groups", ())],
            verdict=write_verdict(verdict),
        )
        self._codec.check_size(answer.verdict, where)
        await self._send(self.store.send_signal, answer)
