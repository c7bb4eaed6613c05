"""Values come back as they were, or are refused before they are stored."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from holdfast.core.codec import DEPTH_MAX, PAYLOAD_BYTES_MAX, Codec
from holdfast.errors import DecodeError, EncodeError, PayloadTooLarge, UsageError
from holdfast.model.ids import Json

CODEC = Codec()
ROOT = Path(__file__).resolve().parents[3]
AccountId = NewType("AccountId", str)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Mode(Enum):
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class Item:
    sku: str
    price: Decimal
    count: int = 1


@dataclass
class Order:
    id: UUID
    items: list[Item]
    placed: datetime
    labels: frozenset[str] = frozenset()
    by_line: dict[int, Item] = field(default_factory=dict[int, Item])
    parent: Order | None = None


class Card(msgspec.Struct, tag=True, frozen=True):
    number: str


class Cash(msgspec.Struct, tag=True, frozen=True):
    amount: int


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Address(TypedDict):
    city: str
    zip: int


class Customer(BaseModel):
    name: str
    born: date | None = None
    tags: set[str] = set()


class Aliased(BaseModel):
    model_config = ConfigDict(strict=True)
    user_id: int = Field(validation_alias="userId", serialization_alias="UserID")
    at: datetime = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Visit:
    customer: Customer
    others: list[Customer]


class Text(str):
    __slots__ = ()


ZONE = timezone(timedelta(hours=5, minutes=30))
LOCAL_MEAN_TIME = timezone(timedelta(minutes=19, seconds=32))
ITEM = Item("a-1", Decimal("9.90"))
ORDER = Order(UUID(int=7), [ITEM], datetime(2026, 3, 1, 12, tzinfo=ZONE), frozenset({"b", "a"}), {2: ITEM})

FAITHFUL: list[tuple[Any, Any]] = [
    (None, None),
    (None, type(None)),
    (True, bool),
    (0, int),
    (-(2**63), int),
    (2**64 - 1, int),
    (2**53 + 1, int),
    (1e22, float),
    (5e-324, float),
    (1.7976931348623157e308, float),
    (0.1 + 0.2, float),
    (3, float),
    (Decimal("1.10"), Decimal),
    (Decimal("1E+400"), Decimal),
    ("", str),
    ("\u2028 \U0001f600 \\u0000 \x7f \x01", str),
    (b"\0\xff", bytes),
    (datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=ZONE), datetime),
    (datetime(2026, 3, 1, tzinfo=timezone(timedelta(minutes=20))), datetime),
    (datetime.min, datetime),  # noqa: DTZ901
    (datetime.max.replace(tzinfo=UTC), datetime),
    (date(1, 1, 1), date),
    (time(23, 59, 59, 999999), time),
    (time(1, tzinfo=UTC), time),
    (timedelta.max, timedelta),
    (timedelta.min, timedelta),
    (timedelta(days=-1, microseconds=1), timedelta),
    (UUID(int=2**128 - 1), UUID),
    (Colour.RED, Colour),
    (Level.HIGH, Level),
    (Mode.FAST, Mode),
    ([1, "a", None], list[int | str | None]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ({"b", "a"}, set[str]),
    (frozenset({(1, 2)}), frozenset[tuple[int, int]]),
    ({"b": 1, "a": 2}, dict[str, int]),
    ({2: "b", -1: "a"}, dict[int, str]),
    ({UUID(int=1): 1}, dict[UUID, int]),
    (ORDER, Order),
    (Order(UUID(int=8), [], datetime(2026, 3, 1), parent=ORDER), Order),  # noqa: DTZ001
    (Card("4711"), Card | Cash),
    (Cash(5), Card | Cash),
    (Point(1), Point),
    ({"city": "Berlin", "zip": 10115}, Address),
    ("on", Literal["on", "off"]),
    (AccountId("x"), AccountId),
    (7, Annotated[int, {"unhashable": "metadata"}]),
    (PurePosixPath("/srv/data"), PurePosixPath),
    (Text("x"), Text),
    (Customer(name="Ada", born=date(1815, 12, 10), tags={"x", "y"}), Customer),
    (Customer(name="Ada"), Customer | None),
    ([Customer(name="Ada")], list[Customer]),
    (Visit(Customer(name="Ada"), [Customer(name="Bob")]), Visit),
    (Aliased.model_validate({"userId": 3}), Aliased),
    (Customer(name="Ada"), Customer | Aliased | int),
    (4, Customer | Aliased | int),
    ({"a": [Customer(name="Ada"), "x"]}, dict[str, list[Customer | str]]),
    ({"a": [1, 2.5, None, {"b": True}]}, Any),
]


def there_and_back(value: object, type_: Any) -> Any:
    return CODEC.decoder(type_)(CODEC.encode(value, "the result"), "the result")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value, '[{"]}\\']
    return value


@pytest.mark.requirement("B-02", "fault-69", "fault-70")
@pytest.mark.parametrize(
    # The order of a set's repr differs between processes, and so must not name a test.
    ("value", "type_"),
    FAITHFUL,
    ids=[f"{number}-{type_!r}" for number, (_, type_) in enumerate(FAITHFUL)],
)
def test_a_value_comes_back_equal_and_of_its_declared_type(value: Any, type_: Any) -> None:
    back = there_and_back(value, type_)

    assert back == value
    assert type(back) is type(value) or type_ is float


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize("value", [None, True, 0, "", [], {}, "text"])
def test_scalars_lists_and_null_are_stored_under_value(value: object) -> None:
    assert json.loads(CODEC.encode(value, "the result")) == {"value": value}


@pytest.mark.requirement("fault-70")
def test_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, there_and_back(-0.0, float)) == -1


def test_the_order_of_a_dict_is_kept_because_a_workflow_may_iterate_over_it() -> None:
    assert list(there_and_back({"b": 1, "a": 2}, dict[str, int])) == ["b", "a"]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab[]{}\\"', max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.requirement("B-02", "fault-70")
@given(value=PLAIN)
@settings(max_examples=150, deadline=None)
def test_every_plain_value_comes_back_equal_and_as_strict_json(value: object) -> None:
    payload = CODEC.encode(value, "the result")

    assert CODEC.decoder(Any)(payload, "the result") == value
    assert json.loads(payload, parse_constant=pytest.fail) == {"value": value}


@given(at=st.datetimes(), length=st.timedeltas(), amount=st.decimals(allow_nan=False), data=st.binary(max_size=50))
@settings(max_examples=75, deadline=None)
def test_times_decimals_and_bytes_are_exact(at: datetime, length: timedelta, amount: Decimal, data: bytes) -> None:
    value = (at, length, amount, data)

    assert there_and_back(value, tuple[datetime, timedelta, Decimal, bytes]) == value


REFUSED: list[tuple[Any, str]] = [
    (2**64, "18446744073709551616 does not fit 64 bits"),
    ([{"a": -(2**63) - 1}], "-9223372036854775809 does not fit 64 bits"),
    (10**5000, "cannot be stored"),
    (float("nan"), "NaN and infinity"),
    ([None, {"rate": float("inf")}], r"at \[1\]\['rate'\]: NaN and infinity"),
    (Point(1, -math.inf), "NaN and infinity"),
    (datetime(1936, 1, 1, tzinfo=LOCAL_MEAN_TIME), "whole minutes"),
    ([time(1, tzinfo=UTC), datetime(1936, 1, 1, tzinfo=LOCAL_MEAN_TIME)], r"at \[1\]: the time zone"),
    ("a\0b", "NUL"),
    ({"k\0": 1}, "NUL"),
    (["ok", "a\0b"], r"at \[1\]: text contains the character NUL"),
    ("\ud800", "lone surrogate"),
    ({"name": ["\udfff"]}, r"at \['name'\]\[0\]: text contains a lone surrogate"),
    (Visit(Customer(name="a\0"), []), r"at \.customer\.name: text contains the character NUL"),
    (1j, "objects of type complex have no JSON form; pass a dataclass"),
    ({"f": [print]}, r"at \['f'\]\[0\]: objects of type builtin_function_or_method"),
    ({None: 1}, "objects of type NoneType"),
    (nested(DEPTH_MAX + 1), "nested deeper than 64 levels"),
    (nested(100), "nested deeper than 64 levels"),
]


@pytest.mark.requirement("fault-69", "fault-70", "fault-71")
@pytest.mark.parametrize(("value", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_json_cannot_hold_is_refused_with_its_place_and_reason(value: object, why: str) -> None:
    with pytest.raises(EncodeError, match=why) as caught:
        CODEC.encode(value, "the result of step 'charge'")

    assert caught.value.where == "the result of step 'charge'"
    str(caught.value).encode()


@given(value=st.lists(st.none() | st.floats(), max_size=4))
@settings(max_examples=75, deadline=None)
def test_no_float_is_ever_stored_as_null(value: list[float | None]) -> None:
    if all(item is None or math.isfinite(item) for item in value):
        assert there_and_back(value, Any) == value
    else:
        with pytest.raises(EncodeError, match="NaN"):
            CODEC.encode(value, "the result")


@given(value=st.integers(-(2**70), 2**70), other=st.text("0123456789.", max_size=25))
@settings(max_examples=100, deadline=None)
def test_integers_fit_64_bits_or_are_refused_and_digits_in_text_do_not_matter(value: int, other: str) -> None:
    if -(2**63) <= value < 2**64:
        assert there_and_back([other, value], Any) == [other, value]
    else:
        with pytest.raises(EncodeError, match="64 bits"):
            CODEC.encode([other, value], "the result")


@pytest.mark.requirement("fault-71", "fault-79")
def test_an_object_that_refers_to_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(EncodeError, match="refers to itself"):
        CODEC.encode(value, "the result")


@pytest.mark.requirement("fault-71")
def test_the_deepest_document_allowed_comes_back() -> None:
    assert there_and_back(nested(DEPTH_MAX), Any) == nested(DEPTH_MAX)


@pytest.mark.requirement("fault-71")
def test_a_wide_document_is_not_a_deep_one() -> None:
    value: Any = [{"a": [1], "b": {}} for _ in range(1000)]

    assert there_and_back(value, Any) == value


@pytest.mark.requirement("fault-52")
def test_a_payload_over_the_limit_is_refused_with_its_size() -> None:
    codec = Codec(payload_bytes_max=100)
    fits = "x" * (100 - len('{"value":""}'))

    assert len(codec.encode(fits, "the result")) == 100
    with pytest.raises(PayloadTooLarge, match="the result is 101 bytes; the limit is 100"):
        codec.encode(fits + "x", "the result")
    with pytest.raises(PayloadTooLarge):
        CODEC.encode("x" * PAYLOAD_BYTES_MAX, "the result")


UNREADABLE: list[tuple[bytes, Any]] = [
    (b"", Any),
    (b"{", Any),
    (b"1", int),
    (b"{}", Any),
    (b'{"value":1,"more":2}', int),
    (b'{"value":"x"}', int),
    (b'{"value":1.5}', int),
    (b'{"value":1e400}', float),
    (b'{"value":NaN}', float),
    (b'{"value":"\xff"}', str),
    (b'{"value":"\\ud800"}', str),
    (b'{"value":' + b"1" * 5000 + b"}", int),
    (b'{"value":' + b"[" * 100 + b"]" * 100 + b"}", Any),
    (b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", Any),
    (b'{"value":' + b"[" * 100_000, Any),
    (b'{"value":' + b'{"a":' * 100_000, Any),
    (b'{"value":{"sku":"a"}}', Item),
    (b'{"value":{"name":"x","born":"never"}}', Customer),
    (b'{"value":{"name":1}}', Customer | Aliased),
    (b'{"value":{"type":"Cheque"}}', Card | Cash),
]


@pytest.mark.requirement("fault-69", "fault-70", "fault-71")
@pytest.mark.parametrize(("payload", "type_"), UNREADABLE, ids=[repr(payload[:40]) for payload, _ in UNREADABLE])
def test_what_does_not_fit_its_type_is_a_decode_error(payload: bytes, type_: Any) -> None:
    with pytest.raises(DecodeError, match="the result of step 'charge' does not fit"):
        CODEC.decoder(type_)(Json(payload), "the result of step 'charge'")


@pytest.mark.requirement("fault-71")
def test_of_a_repeated_key_the_last_one_counts() -> None:
    assert CODEC.decoder(Any)(Json(b'{"value":{"a":1,"a":2}}'), "the result") == {"a": 2}


@given(payload=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: f'{{"value":{text}}}'.encode()))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_value_or_a_decode_error(payload: bytes) -> None:
    try:
        CODEC.decoder(Any)(Json(payload), "the result")
    except DecodeError as error:
        assert error.where == "the result"  # noqa: PT017


def test_an_error_names_the_place_within_the_value_and_the_type() -> None:
    with pytest.raises(DecodeError, match=r"list\[int\].*Expected `int`, got `str` - at `\$\[1\]`"):
        CODEC.decoder(list[int])(Json(b'{"value":[1,"x"]}'), "the result")


@pytest.mark.parametrize("type_", [datetime | str, Item | Order, list[bytes | str], Customer | Codec])
def test_a_type_that_json_cannot_tell_apart_is_refused_before_anything_is_read(type_: Any) -> None:
    with pytest.raises(UsageError):
        CODEC.decoder(type_)


def test_pydantic_is_not_imported_for_programs_that_do_not_use_it() -> None:
    code = (
        "import sys; from holdfast.core.codec import Codec; c = Codec(); c.decoder(int)(c.encode(1, ''), '');"
        "c.fingerprint((1j,), {}); sys.exit('pydantic' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


# Arguments


def charge(order: Order, cents: int, *rest: Decimal, currency: str = "EUR", **labels: date) -> None: ...


def greet(name: Any, /, greeting: Any = "hello") -> None: ...


def later(value: Any) -> None: ...


greet.__annotations__.clear()
later.__annotations__["value"] = "Missing"


def arguments(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    payload = CODEC.encode_arguments(args, kwargs, "the input")
    return CODEC.arguments_decoder(function)(payload, "the input")


def test_arguments_come_back_as_the_function_declares_them() -> None:
    args = (ORDER, 5, Decimal("1.5"), Decimal(2))
    kwargs = {"currency": "USD", "due": date(2026, 1, 2)}

    assert arguments(charge, *args, **kwargs) == (args, kwargs)
    assert arguments(charge, cents=5, order=ORDER) == ((), {"cents": 5, "order": ORDER})
    assert arguments(partial(greet, "x")) == ((), {})


def test_arguments_without_annotations_are_read_as_plain_json() -> None:
    assert arguments(greet, {"a": [1]}, greeting=None) == (({"a": [1]},), {"greeting": None})


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "why"),
    [
        (charge, (ORDER, "5"), {}, "parameter 'cents' in the input does not fit int: Expected `int`, got `str`"),
        (charge, (ORDER, 5, "x"), {}, r"parameter '\*rest' in the input does not fit Decimal"),
        (charge, (ORDER, 5), {"due": 1}, r"parameter '\*\*labels' in the input does not fit date"),
        (charge, (ORDER,), {}, "the parameter 'cents' has no stored value and no default"),
        (charge, (ORDER, 5), {"cents": 5}, "the parameter 'cents' is stored twice"),
        (greet, ("a", "b", "c"), {}, "it takes 2 arguments, 3 are stored"),
        (greet, ("a",), {"gretting": "b"}, "it has no parameter 'gretting'"),
        (greet, (), {"name": "a"}, "it has no parameter 'name'"),
    ],
)
def test_arguments_that_do_not_fit_the_function_are_named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    with pytest.raises(DecodeError, match=why):
        arguments(function, *args, **kwargs)


def plain(*, i: int, s: str, b: bool, f: float, x: Any, d: date | None = None, n: Any = 1) -> None: ...


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(
    given=st.fixed_dictionaries(
        {"i": st.integers(0, 9) | SCALARS, "s": st.just("s") | SCALARS, "b": st.booleans() | SCALARS, "f": SCALARS},
        optional={"x": SCALARS | st.lists(SCALARS, max_size=2), "d": st.just("2026-01-02") | SCALARS, "n": SCALARS},
    )
)
def test_plain_arguments_are_read_as_if_they_had_been_stored(given: dict[str, Any]) -> None:
    try:
        expected = arguments(plain, **given)
    except (DecodeError, EncodeError) as error:
        with pytest.raises(type(error)):
            CODEC.arguments_reader(plain)((), given, "the input")
    else:
        assert repr(CODEC.arguments_reader(plain)((), given, "the input")) == repr(expected)


def test_a_handler_gets_a_copy_of_what_can_be_changed() -> None:
    given = {"name": [1]}

    _, kwargs = CODEC.arguments_reader(later_or_now)((), given, "the input")

    assert kwargs == given
    assert kwargs["name"] is not given["name"]


def later_or_now(name: Any) -> None: ...


@pytest.mark.parametrize("payload", [b'{"value":[1]}', b'{"value":{"arg":[1]}}', b'{"value":{"args":1}}', b"{"])
def test_what_is_no_call_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="the input"):
        CODEC.arguments_decoder(greet)(Json(payload), "the input")


def test_an_argument_without_json_form_is_named_by_its_place() -> None:
    with pytest.raises(
        EncodeError, match=r"the arguments of 'charge' cannot be stored: at \.args\[1\]\['a'\]: objects"
    ):
        CODEC.encode_arguments((1, {"a": 1j}), {}, "the arguments of 'charge'")


def test_an_annotation_that_cannot_be_resolved_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="an annotation of later cannot be resolved"):
        CODEC.arguments_decoder(later)


# Fingerprints

FINGERPRINT = """
from tests.unit.core.test_codec import CODEC, Customer, ORDER
values = (ORDER, {"b", "a", "c"}, {1: "x", "y": frozenset({"p", "q", 1, None})}, Customer(name="A", tags={"k", "l"}))
print(CODEC.fingerprint(values, {"key": values}))
"""


@pytest.mark.requirement("promise-2")
def test_fingerprints_are_the_same_in_processes_with_different_hash_seeds() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert len(seen) == 1
    assert len(seen.pop()) == 16


@given(first=PLAIN, second=PLAIN)
@settings(max_examples=75, deadline=None)
def test_fingerprints_tell_different_arguments_apart(first: object, second: object) -> None:
    same = CODEC.encode(first, "") == CODEC.encode(second, "")

    assert CODEC.fingerprint((first,), {}) == CODEC.fingerprint((first,), {})
    if not same and first != second:
        assert CODEC.fingerprint((first,), {}) != CODEC.fingerprint((second,), {})


@pytest.mark.parametrize(
    "value", [1j, "\ud800", print, {1: print}, nested(5000)], ids=["1j", "text", "f", "dict", "deep"]
)
def test_arguments_without_json_form_have_no_fingerprint(value: object) -> None:
    assert CODEC.fingerprint((value,), {}) == ""
