"""Approvals: a question that a run asks of people, and what one of them answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, overload

from holdfast.core.forms import form_of
from holdfast.core.names import check_name
from holdfast.errors import NotInWorkflow, UsageError
from holdfast.model.run import Question
from holdfast.workflow.context import require_branch
from holdfast.workflow.duration import milliseconds, optional_seconds

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[T_co]):
    """What somebody answered."""

    approved: bool
    """False for a rejection."""
    by: str
    """Who answered."""
    at: datetime
    """When, by the database's clock."""
    data: T_co
    """What was entered into the form; None without a form, and for a rejection that brings none."""
    comment: str | None


@overload
async def wait_for_approval(
    key: str | None = None,
    *,
    form: type[T],
    title: str | None = None,
    by: Sequence[str] = (),
    escalate_after: timedelta | float | None = None,
    escalate_to: Sequence[str] = (),
    timeout: timedelta | float | None = None,
) -> Decision[T | None]: ...
@overload
async def wait_for_approval(
    key: str | None = None,
    *,
    form: dict[str, Any] | None = None,
    title: str | None = None,
    by: Sequence[str] = (),
    escalate_after: timedelta | float | None = None,
    escalate_to: Sequence[str] = (),
    timeout: timedelta | float | None = None,
) -> Decision[Any]: ...
async def wait_for_approval(
    key: str | None = None,
    *,
    form: Any = None,
    title: str | None = None,
    by: Sequence[str] = (),
    escalate_after: timedelta | float | None = None,
    escalate_to: Sequence[str] = (),
    timeout: timedelta | float | None = None,
) -> Decision[Any]:
    """Ask people for a decision, and wait for the answer of one of them. A rejection is an answer, no error.

    It stands in the inbox (``client.approvals()``) until somebody answers,
    once: ``client.approve``, ``client.reject``.

    Args:
        key: an explicit key in the run's journal, by which the approval is answered.
        form: what an approval has to bring: a type, or a JSON Schema. Checked when somebody answers.
        title: what is asked, for the inbox.
        by: who may answer: names of people or of groups. Anyone by default.
        escalate_after: a timedelta, or seconds: so long after it was asked, ``escalate_to`` may answer as well.
        escalate_to: more names.
        timeout: a timedelta, or seconds; no limit by default.

    Raises:
        ApprovalTimeout: nobody answered in time.
        UsageError: a name or the form cannot be used.
        NotInWorkflow: outside a run.
    """
    escalation = optional_seconds(escalate_after, "escalate_after of hf.wait_for_approval()")
    if (escalation is None) is not (not escalate_to):
        raise UsageError("hf.wait_for_approval() takes escalate_after and escalate_to together, or neither")
    if escalate_to and not by:
        raise UsageError("an approval that anyone may answer has nobody to escalate to: say with by= whom it is for")
    question = Question(
        title=title,
        by=[check_name("approver", name) for name in _names(by, "by")],
        form=None if form is None else form_of(form),
        escalate_after_ms=None if escalation is None else milliseconds(escalation),
        escalate_to=[check_name("approver", name) for name in _names(escalate_to, "escalate_to")],
    )
    limit = optional_seconds(timeout, "the timeout of hf.wait_for_approval()")
    branch = require_branch("hf.wait_for_approval()")
    if branch is None:
        raise NotInWorkflow(operation="hf.wait_for_approval()")
    type_ = Any if form is None or isinstance(form, dict) else form
    return await branch.wait_for_approval(question, timeout=limit, type_=type_, key=key)


def _names(names: Sequence[str], option: str) -> Sequence[str]:
    if isinstance(names, str):
        raise UsageError(f"{option}= takes several names: write {option}=({names!r},)")
    return names
