"""Searching runs, in the plainest code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.core.attributes import index_row
from holdfast.core.fingerprint import ErrorFacts, error_facts
from holdfast.model.ids import RunId, Tenant, UnixMs
from holdfast.model.run import Run, RunFilter, RunPage
from holdfast.model.search import AttributeRange, GroupBy, RunGroup, RunOrder
from holdfast.model.status import ACTIVE_STATUSES, WaitKind
from holdfast.store import paging
from holdfast.store.memory.rules import Rules
from holdfast.store.memory.tables import Record, Tables
from holdfast.store.paging import PageCursor, encode_cursor
from holdfast.store.shapes import SERVED, Lead, shape_of

_ASCII_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


def matching(tables: Tables, rules: Rules, tenant: Tenant, where: RunFilter) -> Iterator[Run]:
    """The tenant's runs that the filter lets through, in no particular order."""
    return (record.run for record in _of(tables, tenant) if all(_conditions(record, where, rules).values()))


def page(
    tables: Tables, rules: Rules, tenant: Tenant, where: RunFilter, *, limit: int, after: PageCursor | None
) -> RunPage:
    """A page, of which a window is looked through if the filter says something that the index does not serve."""
    lead = shape_of(where).lead(few_wait=_has_few_waiters(tables, tenant, where))
    records = [record for record in _of(tables, tenant) if all(_served(record, where, lead, rules).values())]
    if where.order is RunOrder.ENDED:
        records = [record for record in records if record.run.finalized_ms is not None]
    oldest = where.order is RunOrder.OLDEST
    records.sort(key=lambda record: _place(record, where), reverse=not oldest)
    if after is not None:
        begin = (after.created_ms, after.id)
        records = [one for one in records if (_place(one, where) > begin if oldest else _place(one, where) < begin)]
    shown = max(limit, 0)
    windowed = any(len(_conditions(one, where, rules)) > len(_served(one, where, lead, rules)) for one in records[:1])
    window = records[: paging.WINDOW] if windowed else records
    found = [record for record in window if all(_conditions(record, where, rules).values())]
    last = None
    if len(found) > shown:
        last = found[shown - 1] if shown else None
    elif windowed and len(window) == paging.WINDOW:
        last = window[-1]
    cursor = None if last is None else encode_cursor(_cursor(last, where))
    return RunPage([record.run for record in found[:shown]], cursor)


def _of(tables: Tables, tenant: Tenant) -> Iterator[Record]:
    return (record for record in tables.records.values() if record.run.tenant == tenant)


def _has_few_waiters(tables: Tables, tenant: Tenant, where: RunFilter) -> bool:
    if where.waiting_on is None or where.waiting_on.name is None or where.waiting_on.in_line:
        return False
    return sum(_waits(record, where, Rules()) for record in _of(tables, tenant)) <= paging.GATHERED


def groups(
    runs: Sequence[Run], by: GroupBy, *, limit: int, bare: bool = False, most: int | None = None
) -> list[RunGroup]:
    """The largest groups; of each no more than ``most`` are counted."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        name = _value(run, by)
        if name is not None:
            members.setdefault(name, []).append(run)
    members = {name: those[:most] for name, those in members.items()}
    found = [RunGroup(name, len(those)) if bare else _group(name, those, by) for name, those in members.items()]
    return sorted(found, key=lambda group: (-group.count, group.value))[: max(limit, 0)]


def _value(run: Run, by: GroupBy) -> str | None:
    match by:
        case GroupBy.STATUS:
            return run.status.value
        case GroupBy.WORKFLOW:
            return run.workflow
        case GroupBy.QUEUE:
            return run.queue
        case GroupBy.ERROR:
            facts = _error(run)
            return None if facts is None else facts.fingerprint


def _group(name: str, runs: list[Run], by: GroupBy) -> RunGroup:
    errors = [facts for run in runs if (facts := _error(run)) is not None]
    label = max(f"{facts.type}: {facts.message}" for facts in errors) if by is GroupBy.ERROR else None
    return RunGroup(name, len(runs), label, max(run.updated_ms for run in runs), max(run.id for run in runs))


def _place(record: Record, where: RunFilter) -> tuple[UnixMs, RunId]:
    cursor = _cursor(record, where)
    return cursor.created_ms, cursor.id


def _cursor(record: Record, where: RunFilter) -> PageCursor:
    run = record.run
    ended = where.order is RunOrder.ENDED and run.finalized_ms is not None
    return PageCursor(run.finalized_ms if ended and run.finalized_ms is not None else run.created_ms, run.id)


def _served(record: Record, where: RunFilter, lead: Lead, rules: Rules) -> dict[str, bool]:
    """Those of the conditions that the index serves by which the other stores go."""
    conditions = _conditions(record, where, rules)
    if lead is Lead.GATHERED:
        return conditions
    return {name: met for name, met in conditions.items() if name in SERVED[lead]}


def _conditions(record: Record, where: RunFilter, rules: Rules) -> dict[str, bool]:
    """Whether the run meets each condition of the filter, under the names that ``SERVED`` knows."""
    run = record.run
    facts = _error(run)
    met = {
        "statuses": not where.statuses or run.status in where.statuses,
        "error_type": where.error_type is None or (facts is not None and facts.type == where.error_type),
        "fingerprint": where.fingerprint is None or (facts is not None and facts.fingerprint == where.fingerprint),
        "created": _between(run.created_ms, where.created_from_ms, where.created_before_ms),
        "updated": _between(run.updated_ms, where.updated_from_ms, where.updated_before_ms),
        "finalized": _between(run.finalized_ms, where.finalized_from_ms, where.finalized_before_ms),
        "waiting": where.waiting_on is None or (run.status in ACTIVE_STATUSES and _waits(record, where, rules)),
        "text": where.text is None or _says(run, facts, _lower(where.text)),
    }
    for name in ("workflow", "version", "queue", "key", "parent_id", "root_id", "forked_from_id"):
        met[name] = getattr(where, name) in (None, getattr(run, name))
    asked = shape_of(where).asked
    for number, (name, value) in enumerate(where.attributes.items()):
        mine = run.attributes.get(name)
        met[f"attribute_{number}"] = mine is not None and index_row(mine) == index_row(value)
    for number, one in enumerate(where.ranges):
        met[f"range_{number}"] = _in_range(run, one)
    return {name: is_met for name, is_met in met.items() if name in asked}


def _says(run: Run, facts: ErrorFacts | None, needle: str) -> bool:
    texts = (run.key or "", run.workflow, "" if facts is None else facts.message)
    return any(needle in _lower(text) for text in texts)


def _waits(record: Record, where: RunFilter, rules: Rules) -> bool:
    wanted = where.waiting_on
    assert wanted is not None
    run = record.run
    if wanted.kind in {"quota", "limit"}:
        kind, _, queue = (record.barred_by or "").partition(":")
        return kind == wanted.kind and wanted.name in (None, queue)
    if wanted.in_line:
        found = (pause for pause in rules.pauses_of(run) if pause.kind == wanted.kind)
        return run.ready_ms is not None and any(wanted.name in (None, pause.name) for pause in found)
    return any(
        wait.kind.value == wanted.kind
        and wanted.name in (None, wait.child_id if wait.kind is WaitKind.CHILD else wait.signal)
        for wait in record.open_waits()
    )


def _in_range(run: Run, wanted: AttributeRange) -> bool:
    if wanted.name not in run.attributes:
        return False
    kind, text, number = index_row(run.attributes[wanted.name])
    other_kind, other_text, other_number = index_row(wanted.value)
    if kind != other_kind:
        return False
    mine, theirs = (text.encode(), number), (other_text.encode(), other_number)
    match wanted.operator:
        case "<":
            return mine < theirs
        case "<=":
            return mine <= theirs
        case ">":
            return mine > theirs
        case ">=":
            return mine >= theirs


def _between(moment: UnixMs | None, from_ms: UnixMs | None, before_ms: UnixMs | None) -> bool:
    if from_ms is None and before_ms is None:
        return True
    if moment is None:
        return False
    return (from_ms is None or moment >= from_ms) and (before_ms is None or moment < before_ms)


def _error(run: Run) -> ErrorFacts | None:
    return None if run.error is None or run.finalized_ms is None else error_facts(run.error)


def _lower(text: str) -> str:
    return text.translate(_ASCII_LOWER)
