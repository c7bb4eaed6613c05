"""Waits for random scripts, and answers to the questions among them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec

from holdfast.core.approvals import write_question, write_verdict
from holdfast.core.matching import SignalFilter
from holdfast.model.commit import NewWait
from holdfast.model.ids import Json, RunId, Tenant, UnixMs
from holdfast.model.run import Answer, Approval, Question, Run, RunDetail, Verdict, Wait
from holdfast.model.status import WaitKind
from tests.contract.stores import OpenStore

SIGNALS = ("approved", "paid")
PEOPLE = ("ann", "bob", "chief")
FILTERS = [
    Json(msgspec.json.encode(SignalFilter(where=where)))
    for where in ("payload.n > 0", "payload.n == 2", "payload.m == 1")
]
QUESTIONS = [
    write_question(question)
    for question in (
        Question(),
        Question(by=["ann"], escalate_after_ms=100, escalate_to=["chief"]),
        Question(by=["ann", "bob"]),
    )
]


def choose_wait(
    chance: random.Random, seq: int, now_ms: UnixMs, children: Sequence[RunId], delay_ms: int | None
) -> NewWait:
    """A wait of any kind."""
    key, kind = f"w{seq}", chance.choice([*WaitKind, WaitKind.SIGNAL])
    if kind is WaitKind.APPROVAL:
        return NewWait(key=key, seq=seq, kind=kind, request=chance.choice(QUESTIONS), delay_ms=delay_ms)
    if kind is WaitKind.CHILD and children:
        return NewWait(key=key, seq=seq, kind=kind, child_id=chance.choice(children), delay_ms=delay_ms)
    if kind is WaitKind.SIGNAL:
        where = chance.choice((None, None, *FILTERS))
        name = chance.choice(SIGNALS)
        return NewWait(key=key, seq=seq, kind=kind, signal=name, delay_ms=delay_ms, request=where)
    if kind is WaitKind.BREAKER:
        # Of a name that signals have too: they are not to be mixed up.
        return NewWait(key=key, seq=seq, kind=kind, signal=chance.choice(SIGNALS), delay_ms=delay_ms)
    if kind is WaitKind.RETRY or chance.random() < 0.5:
        return NewWait(key=key, seq=seq, kind=WaitKind.RETRY, delay_ms=delay_ms)
    due_ms = UnixMs(now_ms + chance.choice((-5, 0, 30, 500)))
    return NewWait(key=key, seq=seq, kind=WaitKind.TIMER, due_ms=due_ms)


def asked_of(details: Iterable[RunDetail]) -> list[tuple[Run, Wait]]:
    """The approvals that these runs ask for, open ones and closed ones."""
    return [(one.run, wait) for one in details for wait in one.waits if wait.kind is WaitKind.APPROVAL]


def choose_answer(
    chance: random.Random, asked: Sequence[tuple[Run, Wait]], answer_id: RunId, tenants: Sequence[Tenant]
) -> Answer:
    """Somebody's answer, mostly to an open approval of the run's own tenant."""
    still_open = [one for one in asked if one[1].outcome is None]
    run, wait = chance.choice(still_open if still_open and chance.random() < 0.9 else asked)
    name = chance.choice(PEOPLE)
    return Answer(
        id=answer_id,
        tenant=chance.choice((run.tenant, run.tenant, *tenants)),
        run_id=run.id,
        key=chance.choice((wait.key, wait.key, wait.key, "other")),
        names=[name],
        verdict=write_verdict(Verdict(approved=chance.random() < 0.5, by=name)),
    )


def read_inbox(opened: OpenStore, tenant: Tenant, names: Sequence[str], limit: int) -> list[Approval]:
    """All pages of the tenant's inbox."""
    found: list[Approval] = []
    after = None
    while True:
        page = opened.store.list_approvals(tenant, names=names, limit=limit, after=after)
        found += page.approvals
        after = page.next
        if after is None:
            return found
