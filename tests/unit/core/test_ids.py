"""Ids and names."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.ids import check_run_id, child_id, derive_id, run_id_for_key, shard_of, uuid7
from holdfast.core.names import check_name
from holdfast.errors import UsageError
from holdfast.model.ids import RunId

MOMENTS = st.integers(0, 2**48 - 1)
RANDOM = st.integers(0, 2**74 - 1)
NAMES = st.text(max_size=20)


@given(now_ms=MOMENTS, bits=RANDOM)
@settings(max_examples=100, deadline=None)
def test_a_run_id_is_a_version_7_uuid_that_holds_its_moment_and_all_its_random_bits(now_ms: int, bits: int) -> None:
    text = uuid7(now_ms, bits)

    made = uuid.UUID(text)
    assert (str(made), made.version, made.variant) == (text, 7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms
    assert (made.int >> 64 & 0xFFF) << 62 | made.int & (2**62 - 1) == bits


@given(first=st.tuples(MOMENTS, RANDOM), second=st.tuples(MOMENTS, RANDOM))
@settings(max_examples=100, deadline=None)
def test_run_ids_sort_by_time_and_then_by_their_random_bits(first: tuple[int, int], second: tuple[int, int]) -> None:
    assert (uuid7(*first) < uuid7(*second)) == (first < second)


@given(parts=st.lists(NAMES, max_size=5), others=st.lists(NAMES, max_size=5))
@settings(max_examples=200, deadline=None)
def test_derived_ids_are_equal_for_equal_parts_only(parts: list[str], others: list[str]) -> None:
    text = derive_id(*parts)

    made = uuid.UUID(text)
    assert (str(made), made.version, made.variant) == (text, 8, uuid.RFC_4122)
    assert (text == derive_id(*others)) == (parts == others)


@pytest.mark.requirement("promise-1", "fault-44")
def test_the_run_of_a_key_has_the_same_id_in_every_process_and_release() -> None:
    assert run_id_for_key("default", "hello", "order-17") == "d311e983-eed6-838e-8d57-d542bdcb1ede"
    assert child_id(RunId("018f0000-0000-7000-8000-000000000000"), "child:1") == "7f64ec54-620e-8716-9444-efac840d87ea"


def test_moving_a_letter_from_one_part_to_the_next_gives_another_id() -> None:
    assert derive_id("ab", "c") != derive_id("a", "bc")
    assert run_id_for_key("a", "b", "c") != child_id(RunId("a"), "bc")


@given(bits=RANDOM, shards=st.integers(1, 64))
@settings(max_examples=50, deadline=None)
def test_a_run_stays_in_one_of_the_shards(bits: int, shards: int) -> None:
    run_id = RunId(uuid7(0, bits))

    assert 0 <= shard_of(run_id, shards) < shards
    assert shard_of(run_id, shards) == shard_of(run_id, shards)


def test_runs_are_spread_over_the_shards() -> None:
    shards = {shard_of(run_id_for_key("default", "hello", str(n)), 8) for n in range(200)}

    assert shards == set(range(8))


def test_a_run_id_from_outside_may_be_in_upper_case() -> None:
    run_id = uuid7(1_700_000_000_000, 12345)

    assert check_run_id(run_id.upper()) == run_id


@pytest.mark.requirement("fault-69")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "018f0000000070008000000000000000",
        "{018f0000-0000-7000-8000-000000000000}",
        "018f0000-0000-7000-8000-000000000000\n",
        "018f0000-0000-7000-8000-00000000000g",
        "018f0000-0000-7000-8000-00000000000\uff11",
        "'; drop table runs; --" * 10,
        "\ud800",
        "\0",
    ],
)
def test_what_is_no_uuid_is_no_run_id(text: str) -> None:
    with pytest.raises(UsageError, match="is not a run id"):
        check_run_id(text)


@pytest.mark.requirement("S-14", "fault-69")
@pytest.mark.parametrize(
    "name", ["", "a" * 201, "a\0b", "a\nb", "a\tb", "\x7f", "\ud800", "a\u2028b", "\u202eevil", "\x1b[0m"]
)
def test_a_name_that_is_empty_or_long_or_not_printable_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="signal name") as caught:
        check_name("signal", name)

    str(caught.value).encode()


@pytest.mark.parametrize("name", ["a", "charge-card", "my step", "bestellung_ändern", "注文", "📦", "a" * 200])
def test_a_printable_name_is_taken_as_it_is(name: str) -> None:
    assert check_name("step", name) == name
