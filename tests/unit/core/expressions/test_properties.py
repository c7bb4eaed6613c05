"""What holds of every expression and every value."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from holdfast.core.expressions import (
    Expression,
    ExpressionBudgetExceeded,
    ExpressionError,
    ExpressionSyntaxError,
    ExpressionValueError,
    Kind,
    parse,
)
from holdfast.core.expressions.kinds import KIND_OF_TYPE
from tests.unit.core.expressions.programs import (
    ENVIRONMENTS,
    GARBAGE,
    SOURCES,
    VARIABLES,
    Env,
    NoValue,
    Program,
    bools,
    ints,
    lists,
)

KINDS = {"n": Kind.INT, "s": Kind.STRING, "b": Kind.BOOL, "xs": Kind.LIST, "m": Kind.MAP}


def try_parse(source: str) -> Expression:
    try:
        return parse(source)
    except ExpressionSyntaxError:
        assume(False)
        raise


def outcome(expression: Expression, values: dict[str, Any], *, fuel: int) -> str:
    try:
        return json.dumps(expression.evaluate(values, fuel=fuel))
    except ExpressionError as error:
        return str(error)


@pytest.mark.requirement("L-57")
@settings(max_examples=250, deadline=None)
@given(program=ints() | bools() | lists(), env=ENVIRONMENTS)
def test_a_well_typed_expression_means_what_the_reference_says(program: Program, env: Env) -> None:
    expression = try_parse(program.text)
    try:
        meaning = json.dumps(program.meaning(env))
    except NoValue:
        with pytest.raises(ExpressionValueError):
            expression.evaluate(env)
    else:
        assert json.dumps(expression.evaluate(env)) == meaning


@settings(max_examples=100, deadline=None)
@given(program=ints() | bools() | lists())
def test_a_well_typed_expression_passes_its_check(program: Program) -> None:
    expression = try_parse(program.text)

    assert expression.check(KINDS) in {Kind.INT, Kind.BOOL, Kind.LIST, Kind.DYN}
    assert expression.variables <= set(KINDS)


@settings(max_examples=250, deadline=None)
@given(source=SOURCES)
@example("--5")
@example("-(5)")
@example("-(5.a)")
@example("-5.abs()")
@example("a['b'].c['d e'][0]")
@example("(a ? b : a) ? b : a ? b : a")
@example('"\\u0000\\ud83d\\ude00\x7f\\u2028"')
@example("1e400")
@example("0.1e-300 + 1E22")
def test_the_canonical_form_is_the_same_expression(source: str) -> None:
    expression = try_parse(source)

    again = parse(str(expression))

    assert again == expression
    assert hash(again) == hash(expression)
    assert str(again) == str(expression)
    assert again.paths == expression.paths
    assert copy.copy(expression) == expression


@pytest.mark.requirement("L-57")
@settings(max_examples=400, deadline=None)
@given(source=GARBAGE)
@example("\ud800")
@example("a.in(b)")
@example("a.null()")
@example("in")
def test_whatever_is_no_expression_is_a_syntax_error(source: str) -> None:
    try:
        expression = parse(source)
    except ExpressionSyntaxError as error:
        position = error.position
    else:
        position = 0
        assert parse(str(expression)) == expression

    assert 0 <= position <= len(source)


@pytest.mark.requirement("L-57")
@settings(max_examples=400, deadline=None)
@given(source=SOURCES, values=VARIABLES, fuel=st.integers(0, 400))
def test_every_evaluation_ends_with_a_value_or_a_typed_error(source: str, values: dict[str, Any], fuel: int) -> None:
    expression = try_parse(source)

    ended = outcome(expression, values, fuel=fuel)

    assert outcome(expression, values, fuel=fuel) == ended


@pytest.mark.requirement("L-57")
@settings(max_examples=200, deadline=None)
@given(program=ints() | bools() | lists(), env=ENVIRONMENTS, fuel=st.integers(0, 500))
def test_no_evaluation_takes_more_fuel_than_it_was_given(program: Program, env: Env, fuel: int) -> None:
    expression = try_parse(program.text)
    try:
        used = expression.measure(env, fuel=fuel)
    except ExpressionError:
        return

    assert 0 < used <= fuel
    assert expression.measure(env, fuel=used) == used
    with pytest.raises(ExpressionBudgetExceeded):
        expression.evaluate(env, fuel=used - 1)


@settings(max_examples=300, deadline=None)
@given(source=SOURCES, values=VARIABLES)
def test_a_value_is_of_the_kind_that_the_check_foretold(source: str, values: dict[str, Any]) -> None:
    expression = try_parse(source)
    try:
        foretold = expression.check({name: KIND_OF_TYPE[type(value)] for name, value in values.items()})
        value = expression.evaluate(values)
    except ExpressionError:
        return

    assert foretold in {Kind.DYN, KIND_OF_TYPE[type(value)]}


@settings(max_examples=100, deadline=None)
@given(program=ints() | bools() | lists())
def test_a_well_typed_expression_is_refused_for_its_size_alone(program: Program) -> None:
    try:
        parse(program.text)
    except ExpressionSyntaxError as error:
        why = error.why
    else:
        why = "bytes"

    assert "bytes" in why or "levels" in why
