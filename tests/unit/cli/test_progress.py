"""``holdfast runs watch``: a run of however many items fits a screen."""

from __future__ import annotations

import io

import pytest
from msgspec import structs
from rich.console import Console

from holdfast.cli.progress import LINES_MAX, news, progress_of, progress_view
from holdfast.core.codec import Codec
from holdfast.model.definition import Definition, Edge, MapNode, StepNode
from holdfast.model.ids import DEFAULT_TENANT, Json, UnixMs
from holdfast.model.run import Entry, RunDetail, Wait
from holdfast.model.status import EntryKind, EntryStatus, RunStatus, WaitKind, WaitOutcome
from holdfast.store.memory import MemoryStore
from tests.contract.scene import new_run, run_id

GRAPH = Definition(
    workflow="big",
    nodes=(StepNode(key="prepare", handler="h"), MapNode(key="fetch", handler="h", over="results.prepare")),
    edges=(Edge(source="prepare", target="fetch"),),
)


def record(key: str, seq: int, result: object = None, *, failed: bool = False) -> Entry:
    return Entry(
        key=key,
        seq=seq,
        kind=EntryKind.STEP,
        name=key,
        status=EntryStatus.FAILED if failed else EntryStatus.COMPLETED,
        result=None if failed else Codec().encode(result, "a result"),
        error=Json(b"{}") if failed else None,
        epoch=1,
        started_ms=UnixMs(0),
        completed_ms=UnixMs(10),
    )


def detail_of(entries: list[Entry], waits: list[Wait] | None = None) -> RunDetail:
    store = MemoryStore(lambda: UnixMs(50))
    store.start_runs([new_run(1, workflow="big", input=Codec().encode_arguments((3,), {}, "an input"))])
    return structs.replace(store.read_detail(DEFAULT_TENANT, run_id(1)), journal=entries, waits=waits or [])


@pytest.mark.requirement("O-05", "S-37")
def test_the_items_of_a_map_are_one_line_that_says_how_many_of_how_many() -> None:
    entries = [record("prepare", 1, list(range(400)))]
    entries += [record(f"fetch[{number}]", number + 2, failed=number == 7) for number in range(120)]

    prepared, fetched = progress_of(detail_of(entries), GRAPH)

    assert (prepared.name, prepared.done, prepared.of) == ("prepare", 1, None)
    assert (fetched.name, fetched.done, fetched.failed, fetched.of) == ("fetch[…]", 119, 1, 400)
    assert str(fetched) == "fetch[…] 119 of 400, 1 failed"


def test_iterations_and_children_are_counted_by_what_became_of_them() -> None:
    waits = [
        Wait(key="pay#1", seq=2, kind=WaitKind.CHILD, child_id=run_id(5), opened_ms=UnixMs(1)),
        Wait(
            key="pay#2",
            seq=3,
            kind=WaitKind.CHILD,
            child_id=run_id(6),
            opened_ms=UnixMs(1),
            outcome=WaitOutcome.CHILD_ENDED,
            closed_ms=UnixMs(2),
            child_status=RunStatus.FAILED,
        ),
    ]

    [warmed, paid] = progress_of(detail_of([record("warm#1/x", 1)], waits), None)

    assert (warmed.name, warmed.done) == ("warm#…/x", 1)
    assert (paid.waiting, paid.failed) == (1, 1)


def test_only_what_has_changed_is_news() -> None:
    before = progress_of(detail_of([record("a", 1), record("b[0]", 2)]), None)
    after = progress_of(detail_of([record("a", 1), record("b[0]", 2), record("b[1]", 3)]), None)

    assert news(after, {one.name: str(one) for one in before}) == ["b[…] 2"]


def test_a_run_of_thousands_of_steps_fits_a_screen() -> None:
    entries = [record(f"step{number}", number + 1) for number in range(3000)]
    waits = [
        Wait(key=f"nap{number}", seq=4000 + number, kind=WaitKind.TIMER, due_ms=UnixMs(99), opened_ms=UnixMs(1))
        for number in range(50)
    ]
    detail = detail_of(entries, waits)
    text = io.StringIO()

    Console(file=text, width=120).print(progress_view(detail, progress_of(detail, None)))

    lines = text.getvalue().splitlines()
    assert len(lines) < LINES_MAX + 30
    assert "and 45 more" in text.getvalue()
