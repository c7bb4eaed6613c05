"""Records made of whole rows, as either driver gives them: ids as text or UUID, payloads as text or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.core.approvals import is_escalated, read_question
from holdfast.core.attributes import read_attributes
from holdfast.errors import StoreCorrupt
from holdfast.model.ids import Json, RunId, Tenant, UnixMs, WorkerId
from holdfast.model.run import Approval, Attempt, Entry, Run, Transition, VersionMove, Wait, WorkerRow
from holdfast.model.search import AttributeValue
from holdfast.model.status import EntryKind, EntryStatus, ParentPolicy, RunStatus, WaitKind, WaitOutcome

Row = Sequence[Any]

_texts = msgspec.json.Decoder(list[str])
_version_moves = msgspec.json.Decoder(VersionMove)
_text_lists = msgspec.json.Decoder(dict[str, list[str]])


def run_from(row: Row) -> Run:
    """A row of ``listings.RUN_COLUMNS``. Raises StoreCorrupt, naming the run, if a value of it cannot be read."""
    try:
        return _run(row)
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(what=f"run {row[0]}", why=str(error)) from error


def _run(row: Row) -> Run:
    given: dict[str, Any] = dict(zip(Run.__struct_fields__, row, strict=True))
    given |= {name: _moment(given[name]) for name in _MOMENTS}
    given |= {name: _payload(given[name]) for name in ("result", "error")}
    given |= {name: _id(given[name]) for name in _OTHERS}
    given |= {name: bool(given[name]) for name in ("cancel_requested", "cancel_compensates", "pause_requested")}
    given |= {
        "id": RunId(str(given["id"])),
        "tenant": Tenant(given["tenant"]),
        "status": RunStatus(given["status"]),
        "input": _given(given["input"]),
        "root_id": RunId(str(given["root_id"])),
        "parent_policy": ParentPolicy(given["parent_policy"]),
        "attributes": _attributes(given["attributes"]),
        "worker": None if given["worker"] is None else WorkerId(str(given["worker"])),
    }
    return Run(**given)


_OTHERS = ("retry_of_id", "forked_from_id", "chain_id", "continued_from_id", "continued_as_id", "parent_id")
_MOMENTS = tuple(name for name in Run.__struct_fields__ if name.endswith("_ms"))


def entry_from(row: Row) -> Entry:
    """A row of ``listings.ENTRY_COLUMNS``."""
    return Entry(
        key=row[0],
        seq=row[1],
        kind=EntryKind(row[2]),
        name=row[3],
        status=EntryStatus(row[4]),
        result=_payload(row[5]),
        error=_payload(row[6]),
        fingerprint=row[7],
        input=_payload(row[8]),
        attempts=row[9],
        epoch=row[10],
        started_ms=UnixMs(row[11]),
        completed_ms=UnixMs(row[12]),
        settled_by=row[13],
    )


def wait_from(row: Row) -> Wait:
    """A row of ``listings.WAIT_COLUMNS``."""
    return Wait(
        key=row[0],
        seq=row[1],
        kind=WaitKind(row[2]),
        signal=row[3],
        child_id=_id(row[4]),
        due_ms=_moment(row[5]),
        opened_ms=UnixMs(row[6]),
        outcome=None if row[7] is None else WaitOutcome(row[7]),
        closed_ms=_moment(row[8]),
        result=_payload(row[9]),
        error=_payload(row[10]),
        child_status=None if row[11] is None else RunStatus(row[11]),
        request=_payload(row[12]),
        note=row[13],
    )


def approval_from(row: Row, now_ms: UnixMs) -> Approval:
    """A row of ``listings.page_of_approvals``. Raises StoreCorrupt if its question cannot be read."""
    try:
        question = read_question(_given(row[5]))
    except ValueError as error:
        raise StoreCorrupt(what=f"approval {row[1]!r} of run {row[0]}", why=str(error)) from error
    return Approval(
        run_id=RunId(str(row[0])),
        key=row[1],
        workflow=row[2],
        opened_ms=UnixMs(row[3]),
        due_ms=_moment(row[4]),
        question=question,
        escalated=is_escalated(question, opened_ms=UnixMs(row[3]), now_ms=now_ms),
    )


def attempt_from(row: Row) -> Attempt:
    """A row of ``listings.ATTEMPT_COLUMNS``."""
    return Attempt(key=row[0], attempt=row[1], error=_given(row[2]), started_ms=UnixMs(row[3]), ended_ms=UnixMs(row[4]))


def transition_from(row: Row) -> Transition:
    """A row of ``listings.TRANSITION_COLUMNS``."""
    return Transition(
        seq=row[0],
        from_status=None if row[1] is None else RunStatus(row[1]),
        to_status=RunStatus(row[2]),
        reason=row[3],
        key=row[4],
        worker=None if row[5] is None else WorkerId(str(row[5])),
        epoch=row[6],
        at_ms=UnixMs(row[7]),
        actor=row[8],
        note=row[9],
        command_id=_id(row[10]),
        moved=None if row[11] is None else _version_moves.decode(_given(row[11])),
    )


def worker_from(row: Row) -> WorkerRow:
    """A row of ``listings.WORKER_COLUMNS``."""
    return WorkerRow(
        id=WorkerId(str(row[0])),
        queues=_list(row[1]),
        codes=_list(row[2]),
        lacks=_lists(row[3]),
        host=row[4],
        pid=row[5],
        version=row[6],
        started_ms=UnixMs(row[7]),
        heartbeat_ms=UnixMs(row[8]),
        lease_until_ms=UnixMs(row[9]),
    )


def _id(value: Any) -> RunId | None:
    return None if value is None else RunId(str(value))


def _moment(value: Any) -> UnixMs | None:
    return None if value is None else UnixMs(value)


def _payload(value: Any) -> Json | None:
    return None if value is None else _given(value)


def _given(value: Any) -> Json:
    return Json(value.encode() if isinstance(value, str) else bytes(value))


def _list(value: list[str] | str | bytes) -> list[str]:
    return _texts.decode(value) if isinstance(value, (str, bytes)) else list(value)


def _lists(value: dict[str, list[str]] | str | bytes) -> dict[str, list[str]]:
    return _text_lists.decode(value) if isinstance(value, (str, bytes)) else value


def _attributes(value: Any) -> dict[str, AttributeValue]:
    return read_attributes(msgspec.json.decode(value) if isinstance(value, (str, bytes)) else value)
