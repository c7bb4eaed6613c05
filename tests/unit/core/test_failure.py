"""Errors are stored as safe, bounded data and come back as exceptions of registered types."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import errors
from holdfast.core.failure import (
    CAUSES_MAX,
    MESSAGE_BYTES_MAX,
    TRACEBACK_BYTES_MAX,
    ErrorRegistry,
    Failure,
    read_failure,
    rebuild,
    record_failure,
)
from holdfast.core.retry import NonRetryable, RetryAfter
from holdfast.errors import EncodeError, HoldfastError, RunFailed, StepError, StepTimeout, StoreCorrupt
from holdfast.model.ids import Json


class PaymentDeclined(Exception):
    def __init__(self, card: str, *, code: int) -> None:
        super().__init__(f"card {card} declined ({code})")
        self.card = card
        self.code = code


class Doubling(Exception):
    def __init__(self, text: str) -> None:
        super().__init__("doubled " + text)


class NeedsMore(Exception):
    def __init__(self, connection: object) -> None:
        self.connection = connection

    def __str__(self) -> str:
        return f"{type(self.connection).__name__} refused"


class BrokenText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> Any:
        return 7  # noqa: PLE0307


class HostileAttributes(Exception):
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class OurOwn(HoldfastError):
    code = "our_own"
    template = "{what} is wrong"


REGISTRY = ErrorRegistry()
for _cls in (PaymentDeclined, Doubling, NeedsMore, OurOwn):
    REGISTRY.register(_cls)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def there_and_back(error: BaseException, registry: ErrorRegistry = REGISTRY) -> Exception:
    return rebuild(read_failure(record_failure(error, retryable=True)), registry)


@pytest.mark.requirement("S-58")
def test_an_error_is_stored_as_type_message_traceback_and_retryability() -> None:
    stored = json.loads(record_failure(raised(ValueError("no such card")), retryable=False))

    assert stored["type"] == "ValueError"
    assert stored["message"] == "no such card"
    assert stored["retryable"] is False
    assert stored["args"] == ["no such card"]
    assert "raise error\nValueError: no such card" in stored["traceback"]
    assert "code" not in stored


@pytest.mark.requirement("S-58")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("text"),
        ValueError("a", 1, 2.5, None, [True, {"b": 1}]),
        KeyError("missing"),
        ZeroDivisionError(),
        FileNotFoundError(2, "No such file", "/srv/data"),
        ConnectionRefusedError(111, "refused"),
        StopIteration(3),
        NonRetryable("no such account"),
    ],
    ids=repr,
)
def test_a_registered_error_comes_back_as_itself(error: Exception) -> None:
    back = there_and_back(error)

    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)


@pytest.mark.requirement("S-58")
@pytest.mark.parametrize(
    "error",
    [
        PaymentDeclined("4711", code=51),
        Doubling("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError(("a", "tuple")),
        ValueError(object),
        RetryAfter(30, "busy"),
    ],
    ids=repr,
)
def test_an_error_that_cannot_be_made_from_its_arguments_keeps_type_and_message(error: Exception) -> None:
    back = there_and_back(error)

    assert type(back) is type(error)
    assert back.args == (str(error),)


def test_the_plain_attributes_of_an_error_come_back_for_the_handlers_that_look_at_them() -> None:
    declined = there_and_back(PaymentDeclined("4711", code=51))
    later = there_and_back(RetryAfter(30, "busy"))

    assert isinstance(declined, PaymentDeclined)
    assert (declined.card, declined.code) == ("4711", 51)
    assert isinstance(later, RetryAfter)
    assert later.retry_after == 30


@pytest.mark.requirement("S-58")
def test_a_type_that_is_not_registered_becomes_a_step_error_with_its_name_and_message() -> None:
    back = there_and_back(PaymentDeclined("4711", code=51), ErrorRegistry())

    assert isinstance(back, StepError)
    assert back.type.endswith(".PaymentDeclined")
    assert back.message == "card 4711 declined (51)"


def test_a_type_whose_text_needs_what_was_not_stored_becomes_a_step_error() -> None:
    back = there_and_back(NeedsMore(object()))

    assert isinstance(back, StepError)
    assert back.message == "object refused"


def test_the_stored_traceback_is_a_note_of_the_rebuilt_error() -> None:
    back = there_and_back(raised(ValueError("x")))

    assert any("raise error\nValueError: x" in note for note in back.__notes__)


@pytest.mark.requirement("S-58")
@pytest.mark.parametrize(
    "error",
    [
        StepTimeout(step="charge", timeout_s=1.5),
        EncodeError(where="the result", why="because"),
        RunFailed(run_id="r", reason="error", error="ValueError: x"),
        OurOwn(what="it"),
        HoldfastError("plain", run_id="r"),
        StepError(type="stripe.CardError", message="declined"),
    ],
    ids=repr,
)
def test_our_own_errors_come_back_with_their_facts(error: HoldfastError) -> None:
    payload = record_failure(error, retryable=False)
    back = rebuild(read_failure(payload), REGISTRY)

    assert json.loads(payload)["code"] == error.code
    assert type(back) is type(error)
    assert isinstance(back, HoldfastError)
    assert (back.facts, str(back)) == (error.facts, str(error))


def test_a_fact_that_is_no_plain_value_comes_back_as_text() -> None:
    back = there_and_back(OurOwn(what=ValueError("x")))

    assert isinstance(back, OurOwn)
    assert back.what == "x"


def test_every_class_of_our_own_tree_is_registered() -> None:
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        if issubclass(cls, HoldfastError):
            assert REGISTRY.find(f"{cls.__module__}.{cls.__qualname__}") is cls


# Causes and groups


@pytest.mark.requirement("S-58")
def test_the_chain_of_causes_is_kept_up_to_five() -> None:
    error: BaseException = ValueError("0")
    for number in range(1, 10):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer

    back: BaseException | None = there_and_back(error)
    messages: list[str] = []
    while back is not None:
        messages.append(str(back))
        back = back.__cause__

    assert messages == ["9", "8", "7", "6", "5", "4"]
    assert len(messages) == CAUSES_MAX + 1


def test_an_error_during_handling_another_is_kept_unless_it_was_suppressed() -> None:
    error = ValueError("outer")
    error.__context__ = KeyError("inner")
    assert isinstance(there_and_back(error).__cause__, KeyError)

    error.__suppress_context__ = True
    assert there_and_back(error).__cause__ is None


@pytest.mark.requirement("fault-79")
def test_errors_that_cause_each_other_are_stored_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    failure = read_failure(record_failure(first, retryable=True))

    assert failure.cause is not None
    assert failure.cause.message == "second"
    assert failure.cause.cause is None


@pytest.mark.requirement("S-58")
def test_a_group_lists_its_members_and_comes_back_as_a_group() -> None:
    group = ExceptionGroup("two of three", [ValueError("a"), ExceptionGroup("inner", [PaymentDeclined("1", code=2)])])

    back: Any = there_and_back(group)

    assert type(back) is ExceptionGroup
    assert back.message == "two of three"
    assert [repr(member) for member in back.exceptions] == [
        "ValueError('a')",
        "ExceptionGroup('inner', [PaymentDeclined('card 1 declined (2)')])",
    ]


def test_of_a_huge_group_the_first_ten_members_are_stored() -> None:
    failure = read_failure(
        record_failure(ExceptionGroup("g", [ValueError(str(n)) for n in range(1000)]), retryable=True)
    )

    assert [member.message for member in failure.members] == [str(n) for n in range(10)]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BaseExceptionGroup("g", [SystemExit()])]
)
def test_what_is_no_exception_but_stops_the_program_comes_back_as_a_step_error(error: BaseException) -> None:
    back = there_and_back(error)

    assert isinstance(back, StepError)
    assert back.type == type(error).__name__


# Broken, huge and hostile errors


def deep_recursion() -> BaseException:
    def down(level: int) -> int:
        return down(level + 1) + 1

    try:
        return ValueError(down(0))
    except RecursionError as error:
        return error


def recursive_args() -> Exception:
    args: list[Any] = []
    args.append(args)
    return ValueError(args)


def named(name: str) -> Exception:
    cls: type[Exception] = type(name, (Exception,), {})
    return cls("x")


AWKWARD: list[Callable[[], BaseException]] = [
    BrokenText,
    NoText,
    HostileAttributes,
    deep_recursion,
    recursive_args,
    lambda: ValueError("x" * 10_000_000),
    lambda: ValueError("\U0001f600" * 5_000),
    lambda: ValueError("a\0b\x1b[31m\ud800\x85\r"),
    lambda: ValueError(float("nan"), 2**70, b"\xff", {1: 2}, {"\0": 1}),
    lambda: ValueError(sys.modules),
    lambda: ValueError(BrokenText()),
    lambda: named("Odd\x1b" * 1000),
    lambda: OurOwn(what=object(), **{"\0": "x"}),
    lambda: PaymentDeclined("x" * 1_000_000, code=1),
    lambda: ExceptionGroup("\0", [BrokenText(), recursive_args()]),
]


@pytest.mark.requirement("fault-69", "fault-79")
@pytest.mark.parametrize("make", AWKWARD)
def test_any_error_is_stored_as_bounded_safe_text_and_comes_back_as_an_exception(
    make: Callable[[], BaseException],
) -> None:
    error = raised(make())

    payload = record_failure(error, retryable=True)
    failure = read_failure(payload)

    stored = json.loads(payload, parse_constant=pytest.fail)
    assert len(payload) < 200_000
    assert len(failure.message.encode()) <= MESSAGE_BYTES_MAX
    assert len(failure.traceback.encode()) <= TRACEBACK_BYTES_MAX
    assert all(character in "\n\t" or character.isprintable() or ord(character) > 0x9F for character in texts(stored))
    assert isinstance(rebuild(failure, REGISTRY), Exception)


def texts(stored: object) -> str:
    """All texts of a document, names included, as one."""
    return "".join(msgspec.json.decode(text) for text in re.findall(rb'"(?:[^"\\]|\\.)*"', msgspec.json.encode(stored)))


def test_of_a_long_traceback_both_ends_are_kept() -> None:
    error = raised(ValueError("start " + "x" * 100_000 + " end"))

    text = read_failure(record_failure(error, retryable=True)).traceback

    assert text.startswith("Traceback (most recent call last)")
    assert "bytes left out" in text
    assert text.endswith(" end\n")


@given(args=st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), max_size=4))
@settings(max_examples=75, deadline=None)
def test_whatever_the_arguments_are_type_and_text_come_back(args: list[Any]) -> None:
    error = ValueError(*args)

    back = there_and_back(error)

    assert type(back) is ValueError
    if str(error).isprintable() and len(str(error)) < 500:
        assert str(back) == str(error)


# Whatever is stored


@pytest.mark.requirement("fault-69", "fault-71")
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":1,"message":"x","retryable":true}',
        b'{"type":"x","message":"\xff","retryable":true}',
        b'{"cause":' * 100_000,
        b'{"value":1}',
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_a_payload_that_is_no_error_is_a_corrupt_row(payload: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="a stored error cannot be read"):
        read_failure(Json(payload))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
TYPES = st.sampled_from(
    [
        "",
        ".",
        "builtins.eval",
        "os.system",
        "ExceptionGroup",
        "OSError",
        "UnicodeDecodeError",
        "ImportError",
        "SystemExit",
        "holdfast.errors.RunFailed",
        "holdfast.errors.HoldfastError",
        "holdfast.core.retry.RetryAfter",
        "__main__.PaymentDeclined",
        f"{__name__}.PaymentDeclined",
        f"{__name__}.NeedsMore",
        f"{__name__}.OurOwn",
    ]
)
FAILURES = st.builds(
    Failure,
    type=TYPES | st.text(max_size=8),
    message=st.text(max_size=8),
    retryable=st.booleans(),
    traceback=st.text(max_size=8),
    args=st.none() | st.lists(JSON, max_size=4),
    facts=st.none() | st.dictionaries(st.sampled_from(["self", "message", "args", "facts", "__class__", "x"]), JSON),
)


@pytest.mark.requirement("fault-79")
@given(failure=FAILURES, member=FAILURES, cause=FAILURES)
@settings(max_examples=100, deadline=None)
def test_rebuilding_never_fails_whatever_is_stored(failure: Failure, member: Failure, cause: Failure) -> None:
    whole = msgspec.structs.replace(failure, members=[member], cause=cause)

    error = rebuild(whole, REGISTRY)

    assert isinstance(error, Exception)
    assert isinstance(str(error), str)
    assert isinstance(error.__cause__, Exception)


def test_a_stored_chain_longer_than_we_write_is_cut() -> None:
    failure = Failure(type="ValueError", message="x", retryable=True)
    for _ in range(500):
        failure = Failure(type="ValueError", message="x", retryable=True, cause=failure, members=[failure])

    assert isinstance(rebuild(failure, REGISTRY), ValueError)


def test_a_name_in_data_is_never_imported() -> None:
    name = "antigravity.Flying"

    assert isinstance(rebuild(Failure(type=name, message="x", retryable=True), REGISTRY), StepError)
    assert "antigravity" not in sys.modules


# The registry


def test_the_exceptions_of_a_functions_module_are_registered() -> None:
    @wraps(raised)
    def step() -> None: ...

    registry = ErrorRegistry()
    registry.register_module_of(step)

    assert type(there_and_back(PaymentDeclined("1", code=2), registry)) is PaymentDeclined


def test_a_callable_without_globals_registers_nothing() -> None:
    ErrorRegistry().register_module_of(len)


def exception_class(module: str, name: str) -> type[Exception]:
    return type(name, (Exception,), {"__module__": module})


def test_an_exception_of_the_main_program_is_found_from_a_process_that_imports_it() -> None:
    registry = ErrorRegistry()
    here, main = exception_class("shop", "Declined"), exception_class("__main__", "Refused")
    registry.register(here)
    registry.register(main)

    assert registry.find("__main__.Declined") is here
    assert registry.find("shop.Refused") is main
    assert registry.find("bank.Declined") is None
    assert registry.find("__main__.ValueError") is None


def test_two_classes_of_one_name_are_not_mistaken_for_each_other() -> None:
    registry = ErrorRegistry()
    for module in ("shop", "bank"):
        registry.register(exception_class(module, "Declined"))

    assert registry.find("__main__.Declined") is None
