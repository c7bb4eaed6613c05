from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from holdfast.store.postgres.sqlstate import Meaning, meaning_of, meaning_of_state


@pytest.mark.requirement("fault-21", "fault-22", "fault-23")
@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("08006", Meaning.LOST),
        ("57P01", Meaning.LOST),
        ("57P03", Meaning.AWAY),
        ("53300", Meaning.AWAY),
        ("53100", Meaning.AWAY),
        ("40001", Meaning.CONFLICT),
        ("40P01", Meaning.CONFLICT),
        ("55P03", Meaning.CONFLICT),
        ("25006", Meaning.MISCONFIGURED),
        ("42501", Meaning.MISCONFIGURED),
        ("28P01", Meaning.MISCONFIGURED),
        ("22P02", Meaning.DATA),
        ("22P05", Meaning.DATA),
        ("23505", Meaning.DATA),
        ("23514", Meaning.DATA),
        ("54001", Meaning.DATA),
        ("42601", Meaning.OTHER),
        ("XX000", Meaning.OTHER),
    ],
)
def test_every_error_of_the_server_has_one_meaning(state: str, meaning: Meaning) -> None:
    assert meaning_of_state(state) is meaning
    assert meaning_of(errors.lookup(state)()) is meaning


def test_an_error_of_the_connection_itself_means_that_it_is_lost() -> None:
    assert meaning_of(psycopg.OperationalError("server closed the connection unexpectedly")) is Meaning.LOST


def test_a_value_that_cannot_be_encoded_is_the_datas_fault() -> None:
    assert meaning_of(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")) is Meaning.DATA
    assert meaning_of(psycopg.DataError("cannot dump")) is Meaning.DATA


def test_what_is_not_the_databases_has_no_meaning_here() -> None:
    assert meaning_of(psycopg.ProgrammingError("the query has 2 placeholders")) is Meaning.OTHER
    assert meaning_of(ZeroDivisionError()) is Meaning.OTHER
