"""Histories that releases recorded, against the engine of now: a change that breaks old journals is noticed here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.core.history import History
from holdfast.model.status import EntryKind, WaitKind
from holdfast.testing import HistoriesParted, read_histories, replay
from tests.golden.recording import FOLDER, record
from tests.golden.shapes import CASES, app, double

FILES = sorted(FOLDER.glob("*.jsonl"))


def test_this_release_has_recorded_histories() -> None:
    assert FILES


@pytest.mark.requirement("promise-9", "fault-56")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_release_recorded_is_replayed_by_this_one(path: Path) -> None:
    report = replay(app, path)

    assert report.replayed >= len(CASES)
    assert report.skipped == {}


@pytest.mark.requirement("fault-56")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_recorded_histories_hold_every_kind_of_operation(path: Path) -> None:
    histories = list(read_histories(path))
    # An update's reply needs a caller who waits for it.
    kinds = set(EntryKind) - {EntryKind.REPLY}

    assert {entry.kind for history in histories for entry in history.journal} >= kinds
    assert {wait.kind for history in histories for wait in history.waits} >= {
        WaitKind.TIMER,
        WaitKind.SIGNAL,
        WaitKind.CHILD,
        WaitKind.RETRY,
    }


@pytest.mark.requirement("fault-55")
def test_a_changed_step_parts_from_a_golden_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(double, "name", "triple")

    with pytest.raises(HistoriesParted) as error:
        replay(app, FILES[0], workflow="three_steps")

    assert "'double'" in str(error.value)


def test_every_shape_replays_as_this_engine_records_it() -> None:
    histories: list[History] = []
    for case in CASES:
        histories += asyncio.run(record(app, case.workflow, *case.args, signals=case.signals, ends=case.ends))

    assert replay(app, histories).replayed == len(histories)
