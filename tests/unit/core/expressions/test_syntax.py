"""What an expression looks like, what it reads, and how a mistake in it is shown."""

from __future__ import annotations

import pytest

from holdfast.core.expressions import NESTING_MAX, SOURCE_BYTES_MAX, ExpressionSyntaxError, parse
from holdfast.errors import UsageError


@pytest.mark.parametrize(
    ("source", "canonical"),
    [
        ("1+2*3", "1 + 2 * 3"),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("((a))", "a"),
        ("a-(b-c)-d", "a - (b - c) - d"),
        ("(a-b)-c", "(a - b) - c"),
        ("a||b&&c", "a || b && c"),
        ("(a||b)&&c", "(a || b) && c"),
        ("!(a==b)", "!(a == b)"),
        ("!a==b", "!a == b"),
        ("- 5", "-5"),
        ("a--5", "a - -5"),
        ("a?b:c?d:e", "a ? b : c ? d : e"),
        ("(a?b:c)?d:e", "(a ? b : c) ? d : e"),
        ("a['b']['c d']", 'a.b["c d"]'),
        ("'it\\'s \"x\"'", '"it\'s \\"x\\""'),
        ("[1,2,]", "[1, 2]"),
        ("{'a':1,}", '{"a": 1}'),
        ("s.lower().startsWith('a')", 'startsWith(lower(s), "a")'),
        ("xs.filter(x,x.ok).size()", "size(xs.filter(x, x.ok))"),
        ("a.b.default(1)", "default(a.b, 1)"),
        ("1E3", "1000.0"),
        ("a.in", "a.in"),
        ("a\n  && b", "a && b"),
    ],
)
def test_there_is_one_way_to_write_an_expression(source: str, canonical: str) -> None:
    expression = parse(source)

    assert str(expression) == canonical
    assert expression.source == source
    assert parse(canonical) == expression


def test_literals_that_python_thinks_equal_are_different_expressions() -> None:
    assert len({parse("1"), parse("1.0"), parse("true"), parse('"1"')}) == 4


@pytest.mark.parametrize(
    ("source", "position", "why"),
    [
        ("", 0, "expected a value, but the expression ends"),
        ("1 +", 3, "expected a value, but the expression ends"),
        ("a = 1", 2, "compare with =="),
        ("a & b", 2, "and is written &&"),
        ("a b", 2, "expected the end, but found b"),
        ("(a", 2, "expected ')'"),
        ("1 < 2 < 3", 6, "comparisons do not chain"),
        ("'abc", 0, "does not end"),
        ("'a\nb'", 0, "does not end"),
        (r"'\x41'", 1, "no such escape"),
        (r"'\ud800'", 0, "surrogate"),
        ("007", 0, "leading zeros"),
        ("12px", 2, "ends in a letter"),
        ("9223372036854775808", 0, "64 bits"),
        ("1" * 1000, 0, "64 bits"),
        ("1e999", 0, "too large"),
        ("{a: 1}", 1, "a string in quotes"),
        ("{'a': 1, 'a': 2}", 9, "already"),
        ("a.5", 2, "a field's name"),
        ("a.'b'", 2, "a field's name"),
        ("a['b'", 5, "expected ']'"),
        ("in", 0, "no name of a variable"),
        ("a.in(b)", 2, "no function"),
        ("all(xs, x, x)", 0, "write items.all"),
        ("xs.all(x)", 3, "write items.all"),
        ("xs.map(1, x)", 3, "a name for the items"),
        ("has(a)", 0, "has(a.b)"),
        ("has(a.b, c)", 0, "has(a.b)"),
        ("default(a, 1)", 0, "default(a.b, fallback)"),
        ("a \x00", 2, "U+0000"),
        ("x => x", 2, "unexpected character"),
    ],
)
def test_a_syntax_error_says_where_and_why(source: str, position: int, why: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as refused:
        parse(source)

    assert refused.value.position == position
    assert why in refused.value.why
    assert refused.value.source == source
    assert isinstance(refused.value, UsageError)


def test_an_error_shows_the_line_with_a_caret() -> None:
    with pytest.raises(ExpressionSyntaxError) as refused:
        parse("a &&\n\t(b + ) && c")

    assert str(refused.value).splitlines()[1:] == ["   (b + ) && c", "        ^"]


def test_an_error_shows_an_excerpt_of_a_long_line_and_no_control_characters() -> None:
    with pytest.raises(ExpressionSyntaxError) as refused:
        parse("a + " * 300 + "\x1b[31m" + " + a" * 300)

    message = str(refused.value)
    assert len(message) < 400
    assert "\x1b" not in message


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    "source",
    [
        "a" * (SOURCE_BYTES_MAX + 1),
        "é" * (SOURCE_BYTES_MAX // 2 + 1),
        "'" + "é" * (SOURCE_BYTES_MAX // 2) + "'",
        "+".join(["1"] * (SOURCE_BYTES_MAX // 2)),  # its canonical form is too long
    ],
)
def test_a_long_expression_is_refused(source: str) -> None:
    with pytest.raises(ExpressionSyntaxError):
        parse(source)


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(", ")"),
        ("[", "]"),
        ("{'a':", "}"),
        ("!", ""),
        ("-", ""),
        ("size(", ")"),
        ("a[", "]"),
        ("xs.map(x,", ")"),
        ("a ? ", " : b"),
        ("a ? b : ", ""),
        ("1 + (", ")"),
        ("", ".a"),
        ("", ".size()"),
        ("", "[0]"),
    ],
)
def test_a_deep_expression_is_refused_at_any_depth(before: str, after: str) -> None:
    for times in (NESTING_MAX * 3, SOURCE_BYTES_MAX // (len(before) + len(after)) - 1):
        with pytest.raises(ExpressionSyntaxError, match=f"deeper than {NESTING_MAX} levels"):
            parse(before * times + "a" + after * times)


def test_the_deepest_expression_that_is_allowed_can_be_read_written_checked_and_evaluated() -> None:
    expression = parse("[" * (NESTING_MAX - 1) + "1" + "]" * (NESTING_MAX - 1))

    assert parse(str(expression)) == expression
    expression.check({})
    expression.evaluate({})


def test_a_long_chain_is_not_a_deep_one() -> None:
    expression = parse(" || ".join(f"a == {number}" for number in range(200)))

    assert expression.evaluate({"a": 199}) is True


@pytest.mark.requirement("L-28")
@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("results.clean.rows > input.min", {("results", "clean", "rows"), ("input", "min")}),
        ("results['step-2'].rows[0].id", {("results", "step-2", "rows", 0, "id")}),
        ("results[input.step].rows", {("results",), ("input", "step")}),
        ("results[input.step].rows[signal.at].x", {("results",), ("input", "step"), ("signal", "at")}),
        ("input.items.all(i, i.ok && i.n < input.max)", {("input", "items"), ("input", "max")}),
        ("input.map(input, input.a)", {("input",)}),
        ("has(a.b) ? a.b : default(c.d, e)", {("a", "b"), ("c", "d"), ("e",)}),
        ("input.xs.filter(x, x > 1)[0].y", {("input", "xs")}),
        ("a[-1]", {("a", -1)}),
        ("a[true]", {("a",)}),
        ("{'k': a.b, 'l': [c]}.k", {("a", "b"), ("c",)}),
        ("1 + 2", set[tuple[str]]()),
    ],
)
def test_an_expression_knows_what_it_reads(source: str, paths: set[tuple[str | int, ...]]) -> None:
    expression = parse(source)

    assert expression.paths == paths
    assert expression.variables == {path[0] for path in paths}
