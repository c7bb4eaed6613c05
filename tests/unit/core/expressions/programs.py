"""Random expressions: well-typed ones with an independent meaning, and ones that need not make sense.

A ``Program`` is a text and a Python function that computes what the text should mean, built side by side. It shares
nothing with the evaluator: not the tree, not the operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

Env = dict[str, Any]
Meaning = Callable[[Env], Any]


class NoValue(Exception):
    """The expression has no value: an overflow, a division by zero, a missing item."""


@dataclass(frozen=True)
class Program:
    """``tight`` says how tightly the text holds together, as in the language's table of operators."""

    tight: int
    text: str
    meaning: Meaning

    def held(self, least: int) -> str:
        return self.text if self.tight >= least else f"({self.text})"


CONDITIONAL, OR, AND, COMPARE, SUM, PRODUCT, UNARY, TIGHT = range(8)
DEPTH: Final = 4


def fit(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise NoValue
    return value


def cut_remainder(a: int, b: int) -> int:
    if b == 0:
        raise NoValue
    return a - b * ((abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1))


NUMBERS: Final[dict[str, tuple[int, Callable[[int, int], int]]]] = {
    "+": (SUM, lambda a, b: a + b),
    "-": (SUM, lambda a, b: a - b),
    "*": (PRODUCT, lambda a, b: a * b),
    "%": (PRODUCT, cut_remainder),
}
ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}

SMALL: Final = st.integers(-20, 20)
INTS: Final = st.one_of(SMALL, SMALL, st.integers(-(2**63), 2**63 - 1))
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x1F600), max_size=5)

ENVIRONMENTS: Final[st.SearchStrategy[Env]] = st.fixed_dictionaries(
    {
        "n": INTS,
        "s": TEXTS,
        "b": st.booleans(),
        "xs": st.lists(INTS, max_size=4),
        "m": st.fixed_dictionaries({"k": INTS}, optional={"maybe": INTS}),
    }
)


@st.composite
def ints(draw: st.DrawFn, scope: tuple[str, ...] = (), deep: int = DEPTH) -> Program:
    form = draw(st.integers(0, 4 if deep <= 0 else 13))
    if form <= 1:
        number = draw(INTS)
        return Program(TIGHT if number >= 0 else UNARY, str(number), lambda _: number)
    if form <= 4:
        name, read = draw(st.sampled_from([*_READS.items(), *((x, _variable(x)) for x in scope)]))
        return Program(TIGHT, name, read)
    if form <= 8:
        return _infix(draw(ints(scope, deep - 1)), draw(st.sampled_from(sorted(NUMBERS))), draw(ints(scope, deep - 1)))
    if form == 9:
        return _choice(draw(bools(scope, deep - 1)), draw(ints(scope, deep - 1)), draw(ints(scope, deep - 1)))
    if form == 10:
        one = draw(ints(scope, deep - 1))
        text = one.held(UNARY)
        return Program(UNARY, f"-({text})" if text[0].isdigit() else f"-{text}", lambda env: fit(-one.meaning(env)))
    if form == 11:
        one, other = draw(ints(scope, deep - 1)), draw(ints(scope, deep - 1))
        name, pick = draw(st.sampled_from([("min", min), ("max", max)]))
        return Program(
            TIGHT, f"{name}({one.text}, {other.text})", lambda env: pick(one.meaning(env), other.meaning(env))
        )
    many = draw(lists(scope, deep - 1))
    if form == 12:
        return Program(TIGHT, f"sum({many.text})", lambda env: _sum(many.meaning(env)))
    x, body = _binding(scope), draw(bools((*scope, _binding(scope)), deep - 1))
    return Program(
        TIGHT,
        f"{many.held(TIGHT)}.count({x}, {body.text})",
        lambda env: len([item for item in many.meaning(env) if body.meaning({**env, x: item})]),
    )


_READS: Final[dict[str, Meaning]] = {
    "n": lambda env: env["n"],
    "m.k": lambda env: env["m"]["k"],
    "m['maybe']": lambda env: _find(env["m"], "maybe"),
    "default(m.maybe, 7)": lambda env: env["m"].get("maybe", 7),
    "xs[1]": lambda env: _item(env["xs"], 1),
    "size(s)": lambda env: len(env["s"]),
}


def _find(values: dict[Any, Any], key: Any) -> Any:
    if key not in values:
        raise NoValue
    return values[key]


def _item(items: list[int], at: int) -> int:
    if at >= len(items):
        raise NoValue
    return items[at]


def _variable(name: str) -> Meaning:
    return lambda env: env[name]


def _binding(scope: tuple[str, ...]) -> str:
    return f"x{len(scope)}"


def _sum(items: list[int]) -> int:
    total = 0
    for item in items:
        total = fit(total + item)
    return total


def _infix(left: Program, operator: str, right: Program) -> Program:
    tight, compute = NUMBERS[operator]
    return Program(
        tight,
        f"{left.held(tight)} {operator} {right.held(tight + 1)}",
        lambda env: fit(compute(left.meaning(env), right.meaning(env))),
    )


def _choice(test: Program, then: Program, otherwise: Program) -> Program:
    return Program(
        CONDITIONAL,
        f"{test.held(OR)} ? {then.text} : {otherwise.text}",
        lambda env: then.meaning(env) if test.meaning(env) else otherwise.meaning(env),
    )


@st.composite
def lists(draw: st.DrawFn, scope: tuple[str, ...] = (), deep: int = DEPTH) -> Program:
    form = draw(st.integers(0, 1 if deep <= 0 else 4))
    if form == 0:
        return Program(TIGHT, "xs", lambda env: env["xs"])
    if form == 1:
        items = [draw(ints(scope, deep - 1)) for _ in range(draw(st.integers(0, 2)))]
        text = ", ".join(item.text for item in items)
        return Program(TIGHT, f"[{text}]", lambda env: [item.meaning(env) for item in items])
    many, x = draw(lists(scope, deep - 1)), _binding(scope)
    if form == 2:
        more = draw(lists(scope, deep - 1))
        return Program(
            SUM, f"{many.held(SUM)} + {more.held(PRODUCT)}", lambda env: many.meaning(env) + more.meaning(env)
        )
    if form == 3:
        body = draw(ints((*scope, x), deep - 1))
        return Program(
            TIGHT,
            f"{many.held(TIGHT)}.map({x}, {body.text})",
            lambda env: [body.meaning({**env, x: item}) for item in many.meaning(env)],
        )
    test = draw(bools((*scope, x), deep - 1))
    return Program(
        TIGHT,
        f"{many.held(TIGHT)}.filter({x}, {test.text})",
        lambda env: [item for item in many.meaning(env) if test.meaning({**env, x: item})],
    )


@st.composite
def bools(draw: st.DrawFn, scope: tuple[str, ...] = (), deep: int = DEPTH) -> Program:
    form = draw(st.integers(0, 2 if deep <= 0 else 9))
    if form == 0:
        return draw(st.sampled_from(_FLAGS))
    if form <= 4:
        operator, compare = draw(st.sampled_from(list(ORDERS.items())))
        left, right = draw(ints(scope, deep - 1)), draw(ints(scope, deep - 1))
        return Program(
            COMPARE,
            f"{left.held(SUM)} {operator} {right.held(SUM)}",
            lambda env: compare(left.meaning(env), right.meaning(env)),
        )
    if form == 5:
        one = draw(bools(scope, deep - 1))
        return Program(UNARY, f"!{one.held(UNARY)}", lambda env: not one.meaning(env))
    if form == 6:
        one, many = draw(ints(scope, deep - 1)), draw(lists(scope, deep - 1))
        text = f"{one.held(SUM)} in {many.held(SUM)}"
        return Program(COMPARE, text, lambda env: _member(many, one, env))
    if form == 7:
        many, x = draw(lists(scope, deep - 1)), _binding(scope)
        body = draw(bools((*scope, x), deep - 1))
        name, join = draw(st.sampled_from([("all", all), ("any", any)]))
        return Program(
            TIGHT,
            f"{many.held(TIGHT)}.{name}({x}, {body.text})",
            lambda env: join(body.meaning({**env, x: item}) for item in many.meaning(env)),
        )
    left, right = draw(bools(scope, deep - 1)), draw(bools(scope, deep - 1))
    if form == 8:
        return Program(OR, f"{left.held(OR)} || {right.held(AND)}", lambda env: left.meaning(env) or right.meaning(env))
    return Program(
        AND, f"{left.held(AND)} && {right.held(COMPARE)}", lambda env: left.meaning(env) and right.meaning(env)
    )


def _member(many: Program, one: Program, env: Env) -> bool:
    wanted = one.meaning(env)
    return wanted in many.meaning(env)


_FLAGS: Final = [
    Program(TIGHT, "true", lambda _: True),
    Program(TIGHT, "b", lambda env: env["b"]),
    Program(TIGHT, "has(m.maybe)", lambda env: "maybe" in env["m"]),
    Program(TIGHT, 's.contains("a")', lambda env: "a" in env["s"]),
    Program(COMPARE, 's == "a"', lambda env: env["s"] == "a"),
]


# What need not make sense

SCALARS: Final = st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats() | TEXTS
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner, max_size=3),
    max_leaves=8,
)
VARIABLES: Final = st.dictionaries(st.sampled_from(["a", "b", "x"]), VALUES)

_ATOMS: Final = st.sampled_from(
    ["null", "true", "0", "1", "-3", "2.5", "1e300", "9223372036854775807", '"a"', "'b*'", "a", "b", "x", "[]", "{}"]
)
_SHAPES: Final = [
    "{0}.a", "{0}['c d']", "{0}[{1}]", "[{0}, {1}]", '{{"a": {0}, "b": {1}}}', "!{0}", "-{0}", "{0} && {1}",
    "{0} || {1}", "{0} == {1}", "{0} < {1}", "{0} >= {1}", "{0} in {1}", "{0} + {1}", "{0} - {1}", "{0} * {1}",
    "{0} / {1}", "{0} % {1}", "{0} ? {1} : {2}", "({0})", "{0}.all(x, {1})", "{0}.any(x, {1})", "{0}.map(x, {1})",
    "{0}.filter(x, {1})", "{0}.count(x, {1})", "has({0}.a)", "has({0}[{1}])", "default({0}.b, {1})", "size({0})",
    "int({0})", "float({0})", "string({0})", "bool({0})", "min({0}, {1})", "max({0})", "abs({0})", "sum({0})",
    "round({0}, {1})", "lower({0})", "upper({0})", "trim({0})", "split({0}, {1})", "join({0}, {1})",
    "startsWith({0}, {1})", "endsWith({0}, {1})", "contains({0}, {1})", "glob({0}, {1})", "keys({0})", "values({0})",
    "{0}.size()", "nothing({0})", "round({0})", "join({0})", "abs({0}, {1})",
]  # fmt: skip

SOURCES: Final = st.recursive(
    _ATOMS,
    lambda inner: st.tuples(st.sampled_from(_SHAPES), inner, inner, inner).map(lambda made: made[0].format(*made[1:])),
    max_leaves=14,
)
"""Texts that mostly parse; whether they mean anything is another matter."""

_PIECES: Final = [
    "a", "b", "null", "in", "1", "1.5", ".5", "1e9", '"s"', '"', "'", "\\", "\\u12", "&&", "||", "&", "!", "==", "=",
    "<", "<=", "?", ":", ".", ",", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "%", " ", "\n", "\t", "\x00", "é",
    "has(", "default(", ".map(", ".all(x,", "__class__", "@", "#", "$", "\ud800", "00", "1a",
]  # fmt: skip
GARBAGE: Final = st.lists(st.sampled_from(_PIECES), max_size=30).map("".join) | st.text(max_size=40)
