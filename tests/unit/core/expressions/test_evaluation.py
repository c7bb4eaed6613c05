"""What expressions mean, operator by operator and function by function; the reference page holds the plain cases."""

from __future__ import annotations

import json
import math
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.expressions import (
    ExpressionBudgetExceeded,
    ExpressionError,
    ExpressionNameError,
    ExpressionTypeError,
    ExpressionValueError,
    parse,
)
from holdfast.core.failure import ErrorRegistry, read_failure, rebuild, record_failure

ENV: dict[str, Any] = {
    "m": {"a": 1, "z": None, "k y": [1]},
    "xs": [3, 1, 2],
    "s": "Straße",
    "big": 2**63,
    "inf": math.inf,
    "nan": math.nan,
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        # order and grouping
        ("2 + 3 * 4 - 1", 13),
        ("2 * 3 % 4", 2),
        ("10 - 3 - 2", 5),
        ("1 + 1 == 2 && 2 < 3", True),
        ("false && false || true", True),
        ("true ? false ? 1 : 2 : 3", 2),
        ("-2 + 3", 1),
        ("-xs[0]", -3),
        ("!true || true", True),
        # numbers
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807 - 1", 2**63 - 2),
        ("7 % -3", 1),
        ("-7.5 % 2", -1.5),
        ("1 / 4", 0.25),
        ("9007199254740993 == 9007199254740992.0", False),
        ("big == 9223372036854775808.0", True),
        ("nan == nan", False),
        ("nan <= nan", False),
        ("0.1 + 0.2 == 0.3", False),
        ("round(-2.5)", -3),
        ("round(1.005, 2)", 1.01),
        ("round(-0.001, 2)", 0.0),
        ("round(7, 3)", 7),
        ("round(5e-324, 15)", 0.0),
        ("round(1e300, 15)", 1e300),
        ("int(-2.9)", -2),
        ("int('+5')", 5),
        ("float('1e3')", 1000.0),
        ("string(1.0)", "1.0"),
        ("string(null)", "null"),
        ("bool('false')", False),
        ("sum([])", 0),
        ("sum([1, 2.5])", 3.5),
        ("max(['a', 'b', 'B'])", "b"),
        ("min(2, 1.0, 1)", 1.0),
        ("abs(-2.5)", 2.5),
        # equality
        ("null == null", True),
        ("null == false", False),
        ("[true] == [1]", False),
        ("[[], {}] == [[], {}]", True),
        ("{'a': 1} == {'b': 1}", False),
        ("{'a': [1, 2]} == {'a': [1, 3]}", False),
        ("[] == {}", False),
        ("m == m", True),
        ("'1' != 1", True),
        # texts
        ("upper(s)", "STRASSE"),
        ("'Z' < 'a'", True),
        ("trim('\u00a0 x\\n')", "\u00a0 x"),
        ("split('a--b', '--')", ["a", "b"]),
        ("split('', ',')", [""]),
        ("join([])", ""),
        ("join(['a', 'b'])", "ab"),
        ("contains('abc', '')", True),
        ("glob('', '')", True),
        ("glob('', '*')", True),
        ("glob('ab', 'a')", False),
        ("glob('aba', 'ab*ba')", False),
        ("glob('abba', 'ab*ba')", True),
        ("glob('a.b', 'a?b')", False),
        ("glob('xaybz', '*a*b*')", True),
        ("glob('xbyaz', '*a*b*')", False),
        # containers
        ("1.0 in xs", True),
        ("'z' in m", True),
        ("null in [1, null]", True),
        ("m['k y'][0]", 1),
        ("[[1, 2], [3]][0][1]", 2),
        ("values(m)", [1, [1], None]),
        ("[1] + []", [1]),
        ("size(m) + size(xs) + size(s)", 12),
        # paths
        ("has(m.z)", True),
        ("has(m.a.b)", False),
        ("has(xs.a)", False),
        ("has(m['a'])", True),
        ("has(xs[2])", True),
        ("has(xs[-1])", False),
        ("default(m.z, 1)", None),
        ("default(xs[9], 1 / 0 == 1 ? 1 : 2)", ExpressionValueError),
        ("default(m.a, 1 / 0)", 1),
        # macros
        ("[].all(x, x)", True),
        ("[].any(x, x)", False),
        ("xs.map(x, xs.map(x, x * 2).count(y, y > x))", [2, 3, 2]),
        ("xs.map(x, xs.filter(y, y < x))", [[1, 2], [], [1]]),
        ("[[1], [2]].map(x, x.map(x, x + 1))", [[2], [3]]),
        ("xs.map(x, [x].map(x, x)[0] + x)", [6, 2, 4]),
        ("[1].map(x, [2].map(x, [3].map(y, x + y)))", [[[5]]]),
        ("xs.any(x, x == 3 || x / 0 == 1)", True),
        # errors
        ("nowhere", ExpressionNameError),
        ("xs.map(x, x) == x", ExpressionNameError),
        ("m.b", ExpressionValueError),
        ("m['b']", ExpressionValueError),
        ("xs[3]", ExpressionValueError),
        ("xs[-1]", ExpressionValueError),
        ("xs[1.0]", ExpressionTypeError),
        ("xs[true]", ExpressionTypeError),
        ("m[0]", ExpressionTypeError),
        ("s[0]", ExpressionTypeError),
        ("has(m[null])", ExpressionTypeError),
        ("has(nowhere.a)", ExpressionNameError),
        ("-9223372036854775808 - 1", ExpressionValueError),
        ("-(-9223372036854775807 - 1)", ExpressionValueError),
        ("abs(-9223372036854775808)", ExpressionValueError),
        ("3037000500 * 3037000500", ExpressionValueError),
        ("sum([9223372036854775807, 1])", ExpressionValueError),
        ("1e308 * 10", ExpressionValueError),
        ("1e308 / 1e-308", ExpressionValueError),
        ("1 % 0.0", ExpressionValueError),
        ("inf % 2", ExpressionValueError),
        ("inf - inf", ExpressionValueError),
        ("int(nan)", ExpressionValueError),
        ("int(1e300)", ExpressionValueError),
        ("round(inf)", ExpressionValueError),
        ("round(1.5, -1)", ExpressionValueError),
        ("big + 1", ExpressionValueError),
        ("string(big)", ExpressionValueError),
        ("int('९')", ExpressionValueError),
        ("int('1_000')", ExpressionValueError),
        ("int(' 1')", ExpressionValueError),
        ("float('nan')", ExpressionValueError),
        ("float('1e999')", ExpressionValueError),
        ("bool('yes')", ExpressionValueError),
        ("min([])", ExpressionValueError),
        ("split('a', '')", ExpressionValueError),
        ("1 < 'a'", ExpressionTypeError),
        ("true < false", ExpressionTypeError),
        ("true + 1", ExpressionTypeError),
        ("null + null", ExpressionTypeError),
        ("-null", ExpressionTypeError),
        ("!0", ExpressionTypeError),
        ("1 ? 2 : 3", ExpressionTypeError),
        ("'a' && true", ExpressionTypeError),
        ("false || 1", ExpressionTypeError),
        ("'a' in 'abc'", ExpressionTypeError),
        ("1 in m", ExpressionTypeError),
        ("xs.all(x, x)", ExpressionTypeError),
        ("m.map(x, x)", ExpressionTypeError),
        ("max([true])", ExpressionTypeError),
        ("max([1, 'a'])", ExpressionTypeError),
        ("sum(['a'])", ExpressionTypeError),
        ("join([1])", ExpressionTypeError),
        ("string([])", ExpressionTypeError),
        ("int(true)", ExpressionTypeError),
        ("size(null)", ExpressionTypeError),
    ],
)
def test_an_expression_ends_as_it_should(source: str, value: object) -> None:
    expression = parse(source)

    if isinstance(value, type) and issubclass(value, ExpressionError):
        with pytest.raises(ExpressionError) as refused:
            expression.evaluate(ENV)
        assert type(refused.value) is value
    else:
        assert json.dumps(expression.evaluate(ENV)) == json.dumps(value)


@settings(max_examples=200, deadline=None)
@given(text=st.text("ab", max_size=12), pattern=st.text("ab*", max_size=8))
def test_glob_agrees_with_trying_everything(text: str, pattern: str) -> None:
    assert parse("glob(t, p)").evaluate({"t": text, "p": pattern}) is _matches(text, pattern)


def _matches(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_matches(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return text[:1] == pattern[0] and _matches(text[1:], pattern[1:])


def test_keys_come_in_their_own_order_whatever_a_database_made_of_it() -> None:
    forth, back = {"b": 1, "a": 2, "ab": 3}, {"ab": 3, "a": 2, "b": 1}

    for source in ("keys(m)", "values(m)", "keys(m).map(k, m[k])"):
        assert parse(source).evaluate({"m": forth}) == parse(source).evaluate({"m": back})


def test_a_part_of_the_variables_is_handed_on_as_it_is() -> None:
    order = {"id": 1}

    assert parse("input.order").evaluate({"input": {"order": order}}) is order


def test_an_evaluation_changes_no_variable() -> None:
    values = {"xs": [1, 2], "m": {"a": [1]}}

    parse("xs + xs == xs.map(x, x) + m.a || {'a': xs}.a + m.a == xs").evaluate(values)

    assert values == {"xs": [1, 2], "m": {"a": [1]}}


class Level(IntEnum):
    LOW = 1


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    "foreign", [Level.LOW, object(), (1, 2), {1, 2}, b"x", 1j, type, print, {1: 2}.keys(), [object()], {"a": object()}]
)
def test_python_objects_are_no_values(foreign: object) -> None:
    for source in ("v", "v + 1", "v.a", "v[0]", "v < 1", "-v", "size(v)", "[v].map(x, x)", "v.all(x, x)", "v in v"):
        value: object = None
        try:
            value = parse(source).evaluate({"v": foreign})
        except ExpressionError:
            continue
        assert type(value) in {bool, int, list, dict}  # what is nested in plain containers is not looked into


def test_keys_that_are_no_strings_are_refused() -> None:
    for source in ("keys(m)", "values(m)"):
        with pytest.raises(ExpressionTypeError):
            parse(source).evaluate({"m": {1: 2, "a": 3}})


def test_no_error_shows_a_value() -> None:
    values = {"secret": "hunter2", "m": {"hunter2": 1}, "xs": ["hunter2"]}

    for source in ("secret + 1", "int(secret)", "m[secret]['x']", "m['x']", "sum(xs)", "xs.all(x, x)", "secret.a"):
        with pytest.raises(ExpressionError) as refused:
            parse(source).evaluate(values)
        assert "hunter2" not in str(refused.value)


def test_an_error_survives_being_stored() -> None:
    registry = ErrorRegistry()
    registry.register(ExpressionValueError)
    with pytest.raises(ExpressionValueError) as refused:
        parse("1 / 0").evaluate({})

    again = rebuild(read_failure(record_failure(refused.value, retryable=False)), registry)

    assert type(again) is ExpressionValueError
    assert str(again) == str(refused.value)
    assert isinstance(again, ExpressionValueError)
    assert again.code == "expression_value"
    assert again.position == 2


def test_an_evaluation_may_be_given_less_fuel() -> None:
    with pytest.raises(ExpressionBudgetExceeded):
        parse("xs.all(x, x > 0)").evaluate(ENV, fuel=5)
