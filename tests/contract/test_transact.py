"""Statements that are not hot: one transaction, the same answers on every store."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select, update

from holdfast.errors import UsageError
from holdfast.store.port import Statements
from holdfast.store.rendering import insert_new
from holdfast.store.tables import ATTRIBUTES
from tests.contract.scene import run_id
from tests.contract.stores import OpenStore

C = ATTRIBUTES.c
ROW = {"shard": 0, "run_id": run_id(1), "name": "city", "tenant": "t", "kind": "text", "text": "Oslo", "created_ms": 1}


def _insert(statements: Statements) -> int:
    return statements.changed(insert_new(ATTRIBUTES).values(ROW))


def _values(statements: Statements) -> list[str]:
    return [row[0] for row in statements.rows(select(C.text).order_by(C.run_id))]


def test_what_a_transaction_wrote_is_there_for_the_next(opened: OpenStore) -> None:
    written = opened.store.transact(None, _insert)

    assert written == 1
    assert opened.store.transact(None, _values, read_only=True) == ["Oslo"]


def test_inserting_a_row_twice_changes_nothing_the_second_time(opened: OpenStore) -> None:
    opened.store.transact(None, _insert)

    again = opened.store.transact(None, _insert)

    assert again == 0
    assert opened.store.transact(None, _values) == ["Oslo"]


def test_what_the_work_raises_rolls_back_and_comes_out(opened: OpenStore) -> None:
    def work(statements: Statements) -> None:
        _insert(statements)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        opened.store.transact(None, work)

    assert opened.store.transact(None, _values) == []


def test_a_row_that_the_database_refuses_is_a_usage_error(opened: OpenStore) -> None:
    with pytest.raises(UsageError):
        opened.store.transact(None, lambda s: s.changed(insert_new(ATTRIBUTES).values({**ROW, "tenant": None})))

    assert opened.store.transact(None, _values) == []


def test_a_guard_says_how_many_rows_it_let_through(opened: OpenStore) -> None:
    opened.store.transact(None, _insert)

    missed = opened.store.transact(
        None, lambda s: s.changed(update(ATTRIBUTES).where(C.name == "town").values(text="x"))
    )
    met = opened.store.transact(None, lambda s: s.changed(update(ATTRIBUTES).where(C.name == "city").values(text="y")))
    gone = opened.store.transact(None, lambda s: s.rows(delete(ATTRIBUTES).where(C.name == "city").returning(C.text)))

    assert (missed, met, [tuple(row) for row in gone]) == (0, 1, [("y",)])


def test_a_transaction_knows_the_time_of_the_store(opened: OpenStore) -> None:
    assert opened.store.transact(None, lambda s: s.now_ms) == opened.clock.now_ms
    assert opened.store.transact(None, lambda s: s.now_ms, read_only=True) == opened.clock.now_ms
