"""Hostile expressions over hostile values end, soon and with little memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any, Final

import pytest

from holdfast.core.expressions import (
    FUEL_DEFAULT,
    LIST_ITEMS_MAX,
    RESULT_BYTES_MAX,
    STRING_CHARS_MAX,
    ExpressionBudgetExceeded,
    ExpressionError,
    ExpressionSyntaxError,
    ExpressionValueError,
    parse,
)


def nest(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


NEEDLE: Final = "a" * 49 + "b" + "a" * 49
"""Python's simple search looks at half of it at every place of a text of nothing but a."""

VALUES: Final[dict[str, Any]] = {
    "nums": list(range(10_000)),
    "rng": [0] * 300,
    "objs": [{"a": number, "s": "x" * 20, "ok": True} for number in range(30_000)],
    "strs": ["xy" * 6] * 10_000,
    "floats": [number + 0.1 for number in range(10_000)],
    "long": "a" * 2_000_000,
    "a29": "a" * 29_999,
    "a24": "a" * 2_400,
    "needle": NEEDLE,
    "half": "a" * 600 + "b" + "a" * 600,
    "stars": "*a" * 1000,
    "ligatures": "ﬃ" * 21_000,
    "sigmas": "Σ" * 65_000,
    "deep": nest(100_000),
    "deeper": nest(100_000),
    "wide": {f"k{number:06}": number for number in range(9_900)},
    "alike": {"é" * 190 + f"{number:06}": number for number in range(5_000)},
    "lists": [[[1, 2, 3]] * 1000] * 10,
}

HOSTILE: Final = [
    # what took ready-made engines seconds, or for ever
    "rng.map(a, rng.map(b, rng.map(c, 1)))",
    "rng.all(a, rng.all(b, rng.all(c, true)))",
    "[0,0,0,0].map(a, [0,0,0,0].map(b, [0,0,0,0].map(c, [0,0,0,0].map(d, [0,0,0,0].map(e, rng.map(f, rng))))))",
    "nums.map(x, nums.map(y, strs.join(long)))",
    "nums.map(x, 'a' + long)",
    "nums.map(x, strs.join())",
    "nums.map(x, nums + nums)",
    "(" + "+".join(["a29"] * 3) + ")" + ".split('a')" * 3,
    "nums.map(x, " + "*".join(["9223372036854775807"] * 50) + ")",
    # searching and comparing
    "nums.map(x, long.contains('b'))",
    "nums.map(x, long.contains(needle))",
    "nums.map(x, a29.contains(needle))",
    "nums.map(x, a24.contains(half))",
    "nums.map(x, glob(a29, '*' + needle + '*'))",
    "nums.map(x, glob(long, '*' + needle + '*' + needle))",
    "nums.map(x, glob(a24, stars))",
    "nums.map(x, glob('a', '*'))",
    "nums.map(x, split(a29, 'a'))",
    "nums.map(x, long == long)",
    "nums.map(x, long <= long)",
    "nums.map(x, startsWith(long, long))",
    "nums.count(x, x in nums)",
    "objs.all(o, o in rng || true)",
    "objs == objs",
    "deep == deeper",
    "lists == lists",
    "nums.map(x, wide == wide)",
    # making
    "nums.map(x, upper(ligatures))",
    "nums.map(x, lower(sigmas))",
    "nums.map(x, keys(wide))",
    "nums.map(x, keys(alike))",
    "nums.map(x, values(wide))",
    "nums.map(x, keys({}))",
    "nums.map(x, sum(floats))",
    "nums.map(x, max(strs))",
    "floats.map(x, round(x, 2))",
    "floats.map(x, float(string(x)))",
    "nums.map(x, [x, {'a': x}])",
    "nums.map(x, " + "+".join(["x"] * 900) + ")",
    "nums.all(x, " + " && ".join(["true"] * 400) + ")",
    "nums.all(x, [{}, [x]] == [{}, [x]])",
    # results that are small in memory and huge as JSON
    "nums.map(x, objs)",
    "nums.map(x, a29)",
    "[" + "objs," * 600 + "]",
    "[" + "long," * 600 + "]",
    "[deep]",
]


def end(source: str) -> str:
    try:
        return f"a value for {parse(source).measure(VALUES)}"
    except ExpressionError as error:
        return error.code


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_expression_ends_within_its_fuel(source: str) -> None:
    expression = parse(source)

    for fuel in (0, 100, 10_000, FUEL_DEFAULT):
        try:
            used = expression.measure(VALUES, fuel=fuel)
        except (ExpressionBudgetExceeded, ExpressionValueError):
            used = fuel
        assert used <= fuel


@pytest.mark.requirement("L-57")
def test_the_bombs_are_refused() -> None:
    for source in HOSTILE[:8]:
        assert end(source) == "expression_budget", source


@pytest.mark.requirement("L-57")
def test_a_hostile_expression_takes_little_memory() -> None:
    for source in ("nums.map(x, strs.map(s, s + s))", "nums.map(x, upper(ligatures))", "nums.map(x, a29 + a29)"):
        tracemalloc.start()
        end(source)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert peak < 32 * 1024 * 1024, source


@pytest.mark.requirement("L-57")
def test_a_simple_condition_over_ten_thousand_items_is_within_the_default() -> None:
    orders = [{"price": 1}] * LIST_ITEMS_MAX

    assert parse("orders.all(o, o.price > 0)").measure({"orders": orders}) < FUEL_DEFAULT


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    "source",
    [
        "''.__class__",
        "''.__class__.__mro__[1].__subclasses__()",
        "input.__init__.__globals__",
        "input['__class__']",
        "input.get('a')",
        "input.items()",
        "input.keys()[0].format(input)",
        "'{0.__class__}'.format(input)",
        "'%s' % input",
        "'a' * 1000000000",
        "[0] * 1000000000",
        "10 ** 10",
        "__import__('os').system('id')",
        "eval('1')",
        "exec('1')",
        "open('/etc/passwd')",
        "getattr(input, 'a')",
        "(lambda: 0)()",
        "[x for x in input]",
        "input := 1",
        "f'{input}'",
        "true.__class__",
        "size.__globals__",
        "size.__call__(input)",
        "(1).bit_length()",
        "xs.map(__class__, __class__.mro())",
        "`id`",
        "${input}",
        "{{input}}",
        "#{input}",
        "0x10",
        "1 if true else 2",
        "import os",
        "constructor.constructor('return 1')()",
    ],
)
def test_what_opened_other_sandboxes_is_an_error_here(source: str) -> None:
    with pytest.raises(ExpressionError):
        parse(source).evaluate({"input": {"a": 1}, "xs": [1]})


@pytest.mark.requirement("L-57")
@pytest.mark.parametrize(
    ("source", "cap"),
    [
        ("text + text", STRING_CHARS_MAX),
        ("join([text, text])", STRING_CHARS_MAX),
        ("upper(sharp)", STRING_CHARS_MAX),
        ("lower(huge)", STRING_CHARS_MAX),
        ("trim(huge)", STRING_CHARS_MAX),
        ("xs + xs", LIST_ITEMS_MAX),
        ("many.map(x, 1)", LIST_ITEMS_MAX),
        ("many.filter(x, true)", LIST_ITEMS_MAX),
        ("split(commas, ',')", LIST_ITEMS_MAX),
        ("keys(wide)", LIST_ITEMS_MAX),
        ("[doc, doc, doc]", RESULT_BYTES_MAX),
        ("{'a': {'b': [doc, doc, doc]}}", RESULT_BYTES_MAX),
        ("xs.map(x, doc.s)", RESULT_BYTES_MAX),
    ],
)
def test_what_an_expression_makes_is_capped(source: str, cap: int) -> None:
    values: dict[str, Any] = {
        "text": "a" * 40_000,
        "sharp": "ß" * 40_000,
        "huge": "A" * 70_000,
        "xs": list(range(6_000)),
        "many": list(range(10_001)),
        "commas": "," * 10_000,
        "wide": {str(number): 1 for number in range(10_001)},
        "doc": {"s": "a" * 1_500_000},
    }

    with pytest.raises(ExpressionBudgetExceeded, match=f"{cap}"):
        parse(source).evaluate(values)


def test_a_large_document_may_be_handed_on_and_wrapped() -> None:
    doc = {"rows": [{"id": number, "text": "x" * 30} for number in range(40_000)]}
    assert len(json.dumps(doc)) > 2_000_000

    assert parse("{'doc': input}").evaluate({"input": doc}) == {"doc": doc}
    assert parse("input").evaluate({"input": doc}) is doc


def test_a_result_that_cannot_be_written_as_json_is_refused() -> None:
    for part in (nest(100_000), ["\ud800"]):
        with pytest.raises(ExpressionValueError):
            parse("[part]").evaluate({"part": part})


@pytest.mark.requirement("L-57")
def test_hostile_texts_are_refused_whatever_their_length() -> None:
    texts = ["(" * 4096, "[" * 4096, "-" * 4096, "!" * 4096, "'" + "\\'" * 2000, '"' + "a" * 4000, "1" * 4096]
    texts += ["a." * 2048, "a[" * 2048, "a?" * 2048, "{'a':" * 800, "1e" * 2048, "a(" * 2048, "\ud800" * 4096]

    for text in [*texts, *(text * 500 for text in texts)]:
        with pytest.raises(ExpressionSyntaxError):
            parse(text)
