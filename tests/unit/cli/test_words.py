"""Reading what people type and writing what they read."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import typer

from holdfast.cli.durations import parse_duration
from holdfast.cli.output import clean, one_line
from holdfast.cli.shapes import plain_payload
from holdfast.cli.tables import show_ago, show_call, show_span
from holdfast.cli.values import parse_attributes, parse_json
from holdfast.errors import UsageError
from holdfast.model.ids import Json


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("500ms", 0.5), ("1.5h", 5400), ("0", 0)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 h", "1w", "1h30m", "nan", "inf", "1e9", "999999999999d", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(text)


def test_a_bare_word_is_shown_with_the_quotes_it_needs() -> None:
    with pytest.raises(UsageError, match="""write quotes inside quotes: '"o-1"'"""):
        parse_json("o-1", "argument 1")


def test_attributes_keep_what_follows_the_first_equals_sign() -> None:
    assert parse_attributes(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain ünïcode 漢字", "plain ünïcode 漢字"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("a\x00b\x9bc\x7f", "a\\x00b\\x9bc\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("one\ntwo", "one\\ntwo"),
    ],
)
def test_text_of_others_cannot_act_on_the_terminal(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown
    assert clean(hostile).isprintable()


def test_an_error_is_one_line_without_passwords() -> None:
    text = one_line("at postgresql://ann:s3cret@host/db:\n\tno answer")

    assert text == "at postgresql://ann:***@host/db: no answer"


@pytest.mark.parametrize(("ms", "text"), [(0, "0 ms"), (17.4, "17 ms"), (1240, "1.24 s"), (210_000, "3.5 min")])
def test_spans_are_short(ms: float, text: str) -> None:
    assert show_span(ms) == text


def test_moments_are_shown_relative_to_the_databases_clock() -> None:
    assert show_ago(10_000, 3_000) == "7 s ago"
    assert show_ago(10_000, 3_610_000) == "in 1 h"
    assert show_ago(10_000, 10_000 + 7 * 86_400_000 - 5) == "in 7 d"
    assert show_ago(10_000, 9_500) == "now"
    assert show_ago(10_000, None) == ""


def test_payloads_are_unwrapped_and_an_unreadable_one_says_why() -> None:
    assert plain_payload(Json(b'{"value":{"value":1}}')) == {"value": 1}
    assert plain_payload(Json(b'{"value":null}')) is None
    assert plain_payload(Json(b'{"type":"E","message":"m"}')) == {"type": "E", "message": "m"}
    assert list(plain_payload(Json(b"\xff{"))) == ["unreadable"]
    assert plain_payload(Json(json.dumps({"value": 2**70}).encode())) == 2**70


def test_a_call_is_shown_as_it_would_be_typed() -> None:
    assert show_call(Json(b'{"value":{"args":["a",7],"kwargs":{"b":null}}}')) == '("a", 7, b=null)'
    assert show_call(Json(b'{"value":[1]}')) == "[1]"
