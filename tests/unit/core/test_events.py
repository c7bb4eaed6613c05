"""The order of a tenant's events, on every way in which transactions can overtake each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from holdfast.core.events import FeedRow, RunPlace, TenantPlace, decode_place, encode_place, order_feed
from holdfast.errors import UsageError
from holdfast.model.ids import RunId, UnixMs
from holdfast.model.run import Transition
from holdfast.model.status import RunStatus

A, B = RunId("00000000-0000-7000-8000-00000000000a"), RunId("00000000-0000-7000-8000-00000000000b")


def rows_of(positions: dict[RunId, Sequence[int]]) -> list[FeedRow]:
    """The transitions of runs by the positions at which they were written, in the order in which they are read."""
    rows = [
        FeedRow(
            position,
            run_id,
            Transition(seq=seq, from_status=None, to_status=RunStatus.QUEUED, reason="started", at_ms=UnixMs(0)),
            "order",
            seq,
            moved[seq - 2] if seq > 1 else 0,
        )
        for run_id, moved in positions.items()
        for seq, position in enumerate(moved, 1)
    ]
    return sorted(rows, key=lambda row: row.key)


def read_all(rows: list[FeedRow], size: int, *, resume: bool) -> list[tuple[RunId, int]]:
    """Read page by page; with ``resume`` every event is the last before the reader comes back with its cursor."""
    told: list[tuple[RunId, int]] = []
    place = TenantPlace()
    for _ in range(10 * len(rows) + 10):
        ahead = [row for row in rows if row.key > place.key]
        held = [row for row in rows if (row.run_id, row.seq) in place.held]
        found, behind = order_feed(place, ahead[:size], held)
        if not found and behind == place:
            break
        for row, at in found:
            told.append((row.run_id, row.seq))
            if resume:
                behind = at
                break
        decoded = decode_place(encode_place(behind), None)
        assert isinstance(decoded, TenantPlace)
        place = decoded
    return told


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_however_transactions_overtook_each_other_each_run_is_told_in_its_order_and_once(
    size: int, *, resume: bool
) -> None:
    for moved in itertools.product([1, 2, 3, 4], repeat=4):
        rows = rows_of({A: moved, B: (2, 3)})

        told = read_all(rows, size, resume=resume)

        assert [seq for run_id, seq in told if run_id == A] == [1, 2, 3, 4], moved
        assert [seq for run_id, seq in told if run_id == B] == [1, 2]
        assert len(told) == 6


def test_nothing_is_held_when_nobody_was_overtaken() -> None:
    rows = rows_of({A: (1, 2, 3), B: (1, 2, 4)})

    told, place = order_feed(TenantPlace(), rows, ())

    assert [row.key for row, _ in told] == [row.key for row in rows]
    assert place.held == ()


def test_what_was_held_and_deleted_meanwhile_is_forgotten() -> None:
    rows = rows_of({A: (3, 1)})
    _, place = order_feed(TenantPlace(), rows[:1], ())
    assert place.held == ((A, 2),)

    told, place = order_feed(place, (), ())

    assert (told, place.held) == ([], ())


@pytest.mark.parametrize("place", [RunPlace(A, 3, 4), TenantPlace(7, A, 2, 3, ((B, 1),))])
def test_a_cursor_is_read_back_as_it_was_given_out(place: RunPlace | TenantPlace) -> None:
    text = encode_place(place)

    assert decode_place(text, place.run_id if isinstance(place, RunPlace) else None) == place
    with pytest.raises(UsageError):
        decode_place(text, B)
