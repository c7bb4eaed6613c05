"""Who may answer an approval, and when: a pure reading of its question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.model.ids import Json, UnixMs
from holdfast.model.run import Question, Verdict

_QUESTION: Final = msgspec.json.Decoder(Question)


class _Stored(msgspec.Struct, frozen=True):
    value: Verdict


_VERDICT: Final = msgspec.json.Decoder(_Stored)


def read_question(request: Json) -> Question:
    """The question that a wait stores. Raises ValueError if it is none."""
    return _QUESTION.decode(request)


def write_question(question: Question) -> Json:
    """The stored form."""
    return Json(msgspec.json.encode(question))


def read_verdict(result: Json) -> Verdict:
    """The verdict that a closed wait stores. Raises ValueError if it is none."""
    return _VERDICT.decode(result).value


def decide_for_others(result: Json | None, actor: str) -> Json | None:
    """The stored verdict of an operator who settles an approval with true or false, whoever was asked; else None."""
    approved = {b'{"value":true}': True, b'{"value":false}': False}.get(b"" if result is None else bytes(result))
    return None if approved is None else write_verdict(Verdict(approved=approved, by=actor))


def write_verdict(verdict: Verdict) -> Json:
    """The stored form: a payload like any other."""
    return Json(msgspec.json.encode(_Stored(verdict)))


def is_escalated(question: Question, *, opened_ms: UnixMs, now_ms: UnixMs) -> bool:
    """Whether those whom it escalates to may answer by now."""
    return question.escalate_after_ms is not None and opened_ms + question.escalate_after_ms <= now_ms


def approvers(question: Question, *, opened_ms: UnixMs, now_ms: UnixMs) -> list[str]:
    """Who may answer now; anyone if empty."""
    if not question.by:
        return []
    more = question.escalate_to if is_escalated(question, opened_ms=opened_ms, now_ms=now_ms) else []
    return list(dict.fromkeys([*question.by, *more]))


def may_answer(question: Question, names: Sequence[str], *, opened_ms: UnixMs, now_ms: UnixMs) -> bool:
    """Whether somebody with these names may answer now."""
    allowed = approvers(question, opened_ms=opened_ms, now_ms=now_ms)
    return not allowed or not set(allowed).isdisjoint(names)
