"""Approvals for random scripts: what is asked, and who answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from holdfast.core.approvals import write_question, write_verdict
from holdfast.model.ids import RunId, Tenant
from holdfast.model.run import Answer, Approval, Question, Run, RunDetail, Verdict, Wait
from holdfast.model.status import WaitKind
from tests.contract.stores import OpenStore

PEOPLE = ("ann", "bob", "chief")
QUESTIONS = [
    write_question(question)
    for question in (
        Question(),
        Question(by=["ann"], escalate_after_ms=100, escalate_to=["chief"]),
        Question(by=["ann", "bob"]),
    )
]


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


def read_inbox(opened: OpenStore, tenant: Tenant, names: Sequence[str], limit: int) -> Iterator[Approval]:
    """All pages of the tenant's inbox."""
    after = None
    while True:
        page = opened.store.list_approvals(tenant, names=names, limit=limit, after=after)
        yield from page.approvals
        after = page.next
        if after is None:
            return
