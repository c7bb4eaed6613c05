"""A breaker's name means one declaration within an App."""

from __future__ import annotations

import pytest
from msgspec import structs

import holdfast as hf
from holdfast.core.definitions import names_needed, validate
from holdfast.core.definitions.canonical import canonical_bytes
from holdfast.errors import UsageError
from holdfast.model.definition import StepNode
from holdfast.runtime.codes import Codes

pytestmark = pytest.mark.requirement("S-37")


async def work() -> None:
    """A step."""


def test_another_declaration_of_the_same_name_is_refused_where_it_is_made() -> None:
    app = hf.App("shop")
    charge = app.step(name="charge", breaker=hf.Breaker("stripe"))(work)
    app.step(name="refund", breaker=hf.Breaker("stripe"))(work)
    other = hf.Breaker("stripe", failures=9)

    with pytest.raises(UsageError, match="breaker 'stripe' is declared twice, and differently"):
        app.step(name="void", breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        app.transaction(name="book", breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        charge.with_options(breaker=other)
    with pytest.raises(UsageError, match="declared twice"):
        charge.compensate_with(breaker=other)(work)
    assert list(app.breakers) == ["stripe"]
    assert hf.App("another").step(name="charge", breaker=other)(work).options.breaker == other


def test_one_call_may_name_another_breaker() -> None:
    app = hf.App("shop")
    charge = app.step(name="charge", breaker=hf.Breaker("stripe"))(work)

    other = charge.with_options(breaker=hf.Breaker("adyen"))

    assert (charge.options.breaker, other.options.breaker) == (hf.Breaker("stripe"), hf.Breaker("adyen"))
    assert charge.with_options(key="one").options.breaker == hf.Breaker("stripe")
    assert list(app.breakers) == ["stripe", "adyen"]


def test_a_graph_names_breakers_and_one_without_is_the_document_that_it_was() -> None:
    app = hf.App("shop")
    charge = app.step(name="charge", breaker=hf.Breaker("stripe"))(work)
    plain = app.graph("plain").step("charge", charge).build()
    named = app.graph("named").step("charge", charge, breaker=hf.Breaker("adyen")).build()

    assert canonical_bytes(plain) == b'{"nodes":[{"handler":"charge","key":"charge","kind":"step"}],"workflow":"plain"}'
    assert names_needed(plain).breakers == frozenset()
    assert names_needed(named).breakers == {"adyen"}
    assert list(app.breakers) == ["stripe", "adyen"]
    with pytest.raises(UsageError, match="declared twice"):
        app.graph("other").step("charge", charge, breaker=hf.Breaker("adyen", failures=9))


def test_a_program_that_does_not_declare_a_documents_breaker_lacks_it() -> None:
    app, other = hf.App("shop"), hf.App("other")
    charge = app.step(name="charge")(work)
    other.step(name="charge")(work)
    definition = app.graph("pay").step("charge", charge, breaker=hf.Breaker("stripe")).build()

    assert Codes(app).missing(definition) == []
    assert Codes(other).missing(definition) == ["breaker 'stripe'"]
    assert [
        problem.node
        for problem in validate(
            structs.replace(
                definition,
                nodes=[structs.replace(node, breaker="") for node in definition.nodes if isinstance(node, StepNode)],
            )
        )
    ] == ["charge"]
