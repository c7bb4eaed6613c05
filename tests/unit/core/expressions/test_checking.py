"""A definite mistake is found before there are values; what may work passes."""

from __future__ import annotations

import pytest

from holdfast.core.expressions import ExpressionError, ExpressionNameError, ExpressionTypeError, Kind, parse

TYPES = {
    "i": Kind.INT,
    "f": Kind.FLOAT,
    "s": Kind.STRING,
    "b": Kind.BOOL,
    "xs": Kind.LIST,
    "m": Kind.MAP,
    "d": Kind.DYN,
    "n": Kind.NULL,
}


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    ("source", "error", "position"),
    [
        ('"a" + 1', ExpressionTypeError, 4),
        ("s - s", ExpressionTypeError, 2),
        ("d + b", ExpressionTypeError, 2),
        ("-s", ExpressionTypeError, 1),
        ("!i", ExpressionTypeError, 1),
        ("b && i", ExpressionTypeError, 5),
        ("i ? 1 : 2", ExpressionTypeError, 0),
        ("i == s", ExpressionTypeError, 2),
        ("b < b", ExpressionTypeError, 2),
        ("d < xs", ExpressionTypeError, 2),
        ("i in s", ExpressionTypeError, 2),
        ("i in m", ExpressionTypeError, 2),
        ("i.a", ExpressionTypeError, 0),
        ("xs.a", ExpressionTypeError, 0),
        ("xs['a']", ExpressionTypeError, 0),
        ("xs[s]", ExpressionTypeError, 3),
        ("m[i]", ExpressionTypeError, 2),
        ("d[f]", ExpressionTypeError, 2),
        ("s[0]", ExpressionTypeError, 0),
        ("has(s.a)", ExpressionTypeError, 4),
        ("m.all(x, true)", ExpressionTypeError, 0),
        ("xs.filter(x, size(x))", ExpressionTypeError, 13),
        ("size(i)", ExpressionTypeError, 5),
        ("lower(n)", ExpressionTypeError, 6),
        ("round(f, f)", ExpressionTypeError, 9),
        ("size()", ExpressionTypeError, 0),
        ("split(s)", ExpressionTypeError, 0),
        ("s.split(s, s)", ExpressionTypeError, 2),
        ("min()", ExpressionTypeError, 0),
        ("unknown", ExpressionNameError, 0),
        ("xs.all(x, x) && x", ExpressionNameError, 16),
        ("b ? shout(s) : s", ExpressionNameError, 4),
        ("m.__class__()", ExpressionNameError, 2),
        ("[{'a': default(m.x, [unknown])}]", ExpressionNameError, 21),
    ],
)
def test_a_definite_mistake_is_found_at_its_place(source: str, error: type[ExpressionError], position: int) -> None:
    with pytest.raises(error) as refused:
        parse(source).check(TYPES)

    assert refused.value.position == position


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("i + i", Kind.INT),
        ("i + f", Kind.FLOAT),
        ("i / i", Kind.FLOAT),
        ("i + d", Kind.DYN),
        ("d + f", Kind.FLOAT),
        ("d + s", Kind.STRING),
        ("xs + d", Kind.LIST),
        ("d + d", Kind.DYN),
        ("-f", Kind.FLOAT),
        ("i == f", Kind.BOOL),
        ("i == null", Kind.BOOL),
        ("d == s", Kind.BOOL),
        ("d in d", Kind.BOOL),
        ("m.a", Kind.DYN),
        ("xs[0]", Kind.DYN),
        ("m[s]", Kind.DYN),
        ("d.a[0].b > 1", Kind.BOOL),
        ("b ? i : i", Kind.INT),
        ("b ? i : s", Kind.DYN),
        ("xs.map(x, x + 1)", Kind.LIST),
        ("xs.count(x, x > 1)", Kind.INT),
        ("xs.all(s, s > 1)", Kind.BOOL),
        ("has(m.a)", Kind.BOOL),
        ("default(m.a, 1)", Kind.DYN),
        ("min(i, i)", Kind.INT),
        ("max(i, f)", Kind.DYN),
        ("min(xs)", Kind.DYN),
        ("round(f)", Kind.INT),
        ("round(f, 2)", Kind.FLOAT),
        ("abs(d)", Kind.DYN),
        ("size(d)", Kind.INT),
        ("s.lower().split(',')", Kind.LIST),
        ("{'a': i}", Kind.MAP),
        ("null", Kind.NULL),
        ("1.0", Kind.FLOAT),
        ("true", Kind.BOOL),
    ],
)
def test_a_kind_is_known_as_far_as_it_can_be(source: str, kind: Kind) -> None:
    assert parse(source).check(TYPES) is kind


@pytest.mark.parametrize("source", ["shout(1)", "size(1, 2)", "true || shout(1) == 1"])
def test_what_the_check_would_refuse_by_name_or_number_is_never_evaluated(source: str) -> None:
    with pytest.raises((ExpressionNameError, ExpressionTypeError)):
        parse(source).evaluate({})
