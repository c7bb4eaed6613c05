"""What to answer for a run whose rows the database cannot take."""

from __future__ import annotations

from holdfast.model.commit import CommitAnswer, RunCommit
from holdfast.store.port import Hint
from holdfast.store.postgres.commit import Outcome, plan_commit
from holdfast.store.postgres.session import DataRefused, Session
from holdfast.store.postgres.statements import Params


def judge(session: Session, commit: RunCommit, why: str, params: Params) -> Outcome:
    """Refused, if the run is not held under this lease; else broken, ``why`` being what the database said.

    Raises: StoreUnavailable, CommitUnknown.
    """
    plan = plan_commit([commit], shard=params["shard"], now_ms=params["now_ms"])
    try:
        step = plan.fence()
        outcome = plan.outcome([step], [session.write(*step)])
    except (DataRefused, UnicodeEncodeError):
        now_ms = session.read("read_clock", params)[0][0]
        return Outcome(CommitAnswer(now_ms, refused={commit.run_id: "there is no such run"}), Hint())
    if outcome.answer.refused:
        return outcome
    return Outcome(CommitAnswer(outcome.answer.now_ms, broken={commit.run_id: why}), Hint())
